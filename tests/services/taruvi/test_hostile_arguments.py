"""What any parameter of any operation does with a value that it does not expect: it is named, and nothing is sent."""

from __future__ import annotations

import inspect
from contextlib import suppress

import pytest

from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi import ConfigurationError, TaruviError
from polvo_adapters.services.taruvi.operations import Reply
from tests.services.taruvi.every_operation import (
    KINDS,
    FakeRunner,
    fits,
    fitting_arguments,
    list_operations,
    list_parameters,
    make_hostile_values,
)

OPERATIONS = list(list_operations())
PARAMETERS = [(kind, name, each) for kind, name in OPERATIONS for each in list_parameters(kind, name)]


@pytest.mark.parametrize(("kind", "name"), OPERATIONS, ids=lambda each: getattr(each, "__name__", each))
def test_the_fitting_arguments_of_each_operation_send_something(kind: type, name: str) -> None:
    """Otherwise the tests below would pass for the wrong reason."""
    runner = FakeRunner(lambda _: Reply(200, b"{}"))
    with suppress(taruvi.ResponseError):
        getattr(kind(runner, *KINDS[kind]), name)(**fitting_arguments(kind, name))
    assert runner.calls


@pytest.mark.parametrize(
    ("kind", "name", "parameter"),
    PARAMETERS,
    ids=[f"{kind.__name__}.{name}.{each.name}" for kind, name, each in PARAMETERS],
)
def test_a_value_of_the_wrong_kind_is_named(kind: type, name: str, parameter: inspect.Parameter) -> None:
    problems = []
    for hostile, value in make_hostile_values().items():
        runner = FakeRunner(lambda _: Reply(200, b"{}"))
        arguments = {**fitting_arguments(kind, name), parameter.name: value}
        try:
            getattr(kind(runner, *KINDS[kind]), name)(**arguments)
        except ConfigurationError as error:
            if parameter.name not in str(error).partition(":")[0] or runner.calls:
                problems.append((hostile, str(error)))
        except TaruviError:
            pass
        except Exception as error:  # noqa: BLE001 - the test is about those
            problems.append((hostile, repr(error)[:200]))
        if runner.calls and not fits(parameter.annotation, value):
            problems.append((hostile, f"sent: {str(runner.calls[0]._asdict())[:200]}"))
    assert problems == []
