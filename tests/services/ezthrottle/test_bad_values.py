"""Values of any type, where a caller or a receiver gives one: an error that names the field, never a raw one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from polvo_adapters.services.ezthrottle import (
    ArgumentError,
    EZThrottle,
    EZThrottleError,
    LocalEngine,
    Step,
    WebhookReceiver,
    sign_webhook,
    verify_webhook_signature,
)

HUGE = 10**400
BAD: list[Any] = [
    *(None, 0, -1, 1.5, True, float("nan"), float("inf"), HUGE, -HUGE, "", " ", "x", "\ud800", "a\nb", b"x", b""),
    *(
        [],
        [1],
        ["x"],
        [None],
        [[1]],
        [HUGE],
        ["a", "a"],
        (),
        {},
        {"a": 1},
        {1: 2},
        {"a": object()},
        {"a": float("nan")},
    ),
    *(
        [{"url": 5}],
        [{"url": "http://x", "regions": 5}],
        {"max_retries": HUGE},
        {"retry_codes": 5},
        object(),
        len,
        Step,
    ),
    *("http://", "//x", "ftp://x", "http://x:99999/", "http://[::1", "http://x\0"),
]
SETTERS = [name for name in dir(Step) if not name.startswith("_") and name not in ("execute", "to_job")]
URL = "http://127.0.0.1:9/"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(retry=False) as made:
        made._dispatcher.stop()  # what is accepted is not to be executed
        yield made


@pytest.mark.parametrize("setter", SETTERS)
def test_a_setter_refuses_a_value_by_its_name_or_the_job_can_be_submitted(setter: str, engine: LocalEngine) -> None:
    for value in BAD:
        reason, job = compile_with(setter, value)
        assert reason is None or setter in reason
        if job:
            json.dumps(job)
            assert engine.submit(job)["job_id"]


def compile_with(setter: str, value: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the field that is refused, or the job."""
    step = Step().url(URL)
    try:
        getattr(step, setter)(value)
        return None, step.to_job()
    except ArgumentError as error:
        return error.reason, {}


CALLS: dict[str, Callable[[LocalEngine, Any], object]] = {
    "client of a step": lambda _, value: Step(value).url(URL).to_job(),
    "client of execute": lambda _, value: Step().url(URL).execute(value),
    "trigger_on_error": lambda _, value: Step().fallback(Step(), value),
    "trigger_on_timeout": lambda _, value: Step().fallback(Step(), None, value),
    "timeout_ms": lambda _, value: Step().on_failure(Step(), value),
    "submit": lambda engine, value: engine.submit(value),
    "nested job": lambda engine, value: EZThrottle(engine=engine).submit_job(URL, on_success=value),
    "status": lambda engine, value: engine.status(value),
    "cancel": lambda engine, value: engine.cancel(value),
    "resolve": lambda engine, value: engine.resolve(value, done=True),
    "wait": lambda engine, value: engine.wait("x", value),
    "secrets of a receiver": lambda _, value: WebhookReceiver(value),
    "payload": lambda _, value: WebhookReceiver("s" * 16).receive(value, "t=1,v1=ab"),
    "header": lambda _, value: WebhookReceiver("s" * 16).receive(b"{}", value),
    "secret": lambda _, value: verify_webhook_signature(b"x", "t=1,v1=ab", value),
    "tolerance": lambda _, value: verify_webhook_signature(b"x", "t=1,v1=ab", "s", value),
    "signed payload": lambda _, value: sign_webhook(value, "s"),
    "signing secret": lambda _, value: sign_webhook(b"x", value),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_value_leads_to_a_raw_error(call: str, engine: LocalEngine) -> None:
    for value in BAD:
        with suppress(EZThrottleError):
            CALLS[call](engine, value)


@pytest.mark.parametrize(
    "field", ["regions", "workers", "honours_keys", "key_header", "webhook_secrets", "store", "keep"]
)
@pytest.mark.parametrize("value", [-1, "a b", b"x", [5], ..., {"a": 5}], ids=repr)
def test_a_setting_of_the_engine_is_refused_by_its_name(field: str, value: Any) -> None:
    if (field, value) == ("webhook_secrets", "a b"):
        return
    with pytest.raises(ArgumentError) as caught:
        LocalEngine(**{field: value})
    assert caught.value.reason == field


@pytest.mark.parametrize("path", ["", 5, b"jobs", ["a"]], ids=repr)
def test_a_path_is_the_name_of_a_directory(path: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        LocalEngine(path)
    assert caught.value.reason == "path"


@pytest.mark.parametrize("secret", ["", " ", "\ud800", ["good", ""]], ids=ascii)
def test_a_secret_that_signs_nothing_is_refused(secret: Any) -> None:
    for make in (WebhookReceiver, lambda value: LocalEngine(webhook_secrets=value)):
        with pytest.raises(ArgumentError):
            make(secret)
