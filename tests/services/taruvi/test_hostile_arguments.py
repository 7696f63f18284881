"""What any parameter of any operation does with a value that it does not expect: it is named, and nothing is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

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


SETTINGS = ("api_url", "app_slug", "mode", "timeout", "max_retries", "site_slug", "wire", "env_file", "allow_http")
KINDS_OF_SETTINGS: dict[str, Any] = {"timeout": (int, float), "max_retries": int, "allow_http": bool, "env_file": str}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_the_wrong_kind_is_named(name: str) -> None:
    fitting: dict[str, Any] = {"api_url": "http://a.test", "app_slug": "a", "env_file": None}
    kinds = KINDS_OF_SETTINGS.get(name, ())
    problems = [
        (hostile, problem)
        for hostile, value in make_hostile_values().items()
        for problem in [find_problem(name, partial(taruvi.Client, **{**fitting, name: value}))]
        if problem and not (problem == "taken" and (value is None or isinstance(value, kinds)))
    ]
    assert problems == []


def find_problem(name: str, use: Callable[[], Any]) -> str:
    """Return what is wrong with how a value is refused, "taken" where it is not; or an empty string."""
    try:
        use()
    except ConfigurationError as error:
        return "" if name in str(error).partition(":")[0] else str(error)
    except Exception as error:  # noqa: BLE001 - the test is about those
        return repr(error)[:200]
    return "taken"


@pytest.mark.parametrize("name", ["username", "password", "token", "token_type"])
def test_a_credential_of_the_wrong_kind_is_named(name: str) -> None:
    auth = taruvi.Client("http://a.test", "a", mode="async", allow_http=True).auth
    sign: Any = auth.signInWithPassword if name in ("username", "password") else auth.signInWithToken
    fitting = {"username": "alice", "password": "x"} if sign == auth.signInWithPassword else {"token": "x"}
    problems = [
        (hostile, problem)
        for hostile, value in make_hostile_values().items()
        for problem in [find_problem(name, partial(sign, **{**fitting, name: value}))]
        if problem and not (problem == "taken" and isinstance(value, str) and value)
    ]
    assert problems == []


def test_a_keyword_of_the_session_that_cannot_work_is_an_error_of_this_service() -> None:
    with pytest.raises(ConfigurationError, match="Deadline"):
        taruvi.Client("http://a.test", "a", deadline=-1)
