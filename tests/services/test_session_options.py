"""The keywords of clients of services, beside their own: those of a session, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import polvo_adapters.services.double_o as oo
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.services import ezthrottle, taruvi
from polvo_adapters.services.double_o.settings import ClientSettings

URL = "http://127.0.0.1:9"
Make = Callable[..., Any]


def make_taruvi(**keywords: Any) -> Any:
    return taruvi.Client(api_url=URL, app_slug="app", env_file=None, **keywords)


def make_async_taruvi(**keywords: Any) -> Any:
    return make_taruvi(mode="async", **keywords)


def make_ezthrottle(**keywords: Any) -> Any:
    return ezthrottle.EZThrottle("key", URL, **keywords)


def make_hosted(**keywords: Any) -> Any:
    return ezthrottle.HostedEngine("key", URL, **keywords)


SYNC: dict[Make, str] = {
    oo.Client: "Client",
    make_taruvi: "Client",
    make_ezthrottle: "EZThrottle",
    make_hosted: "HostedEngine",
    ezthrottle.LocalEngine: "LocalEngine",
}
ASYNC: dict[Make, str] = {oo.AsyncClient: "AsyncClient", make_async_taruvi: "Client"}
OF_A_SESSION = ("adapters", "cert", "cookies", "headers", "hooks", "params", "proxies", "stream", "trust_env", "verify")
OF_OTHERS = ("auth", "raise_for_status", "session", "nonsense", "max_attempts", "failure_threshold")
USES = {
    ("max_retries", oo.Client): "use retries=",
    ("max_retries", oo.AsyncClient): "use retries=",
    ("max_retries", make_ezthrottle): "use retries=",
    ("max_retries", make_hosted): "use retries=",
    ("max_retries", ezthrottle.LocalEngine): "retry_policy",
    ("retries", ezthrottle.LocalEngine): "retry_policy",
    ("retries", make_taruvi): "use max_retries=",
    ("retries", make_async_taruvi): "use max_retries=",
    ("base_url", make_taruvi): "use api_url=",
    ("base_url", make_async_taruvi): "use api_url=",
    ("base_url", make_ezthrottle): "use tracktags_url=",
    ("base_url", make_hosted): "use tracktags_url=",
    ("base_url", ezthrottle.LocalEngine): "the URL of each step",
    ("auth", make_taruvi): "signInWithToken",
    ("auth", oo.Client): "the token of each call",
    ("auth", oo.AsyncClient): "the token of each call",
    ("auth", make_ezthrottle): "Step.headers",
    ("proxies", make_ezthrottle): "HTTPS_PROXY in the environment",
    ("proxies", make_async_taruvi): "use proxy=",
    ("verify", oo.Client): "REQUESTS_CA_BUNDLE in the environment",
    ("failure_threshold", make_taruvi): "circuit_breaker={'failure_threshold'",
}


@pytest.mark.parametrize("name", [*OF_A_SESSION, *OF_OTHERS])
@pytest.mark.parametrize("make", SYNC)
def test_a_client_refuses_by_its_own_name_what_its_session_cannot_use(make: Make, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: "secret"})
    text = str(caught.value)
    assert text.startswith(SYNC[make])
    assert "session." not in text, "there is no session to reach"
    assert "secret" not in text.replace("webhook_secrets", "")


@pytest.mark.parametrize("name", OF_OTHERS)
@pytest.mark.parametrize("make", ASYNC)
def test_so_does_an_asynchronous_client(make: Make, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: "secret"})
    assert str(caught.value).startswith(ASYNC[make])


@pytest.mark.parametrize(("name", "make"), USES)
def test_it_says_what_to_use(name: str, make: Make) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: 3})
    assert USES[name, make] in str(caught.value)


@pytest.mark.parametrize("name", ["bulkhead", "circuit_breaker", "fallback", "hedge", "rate_limit", "retry", "resume"])
@pytest.mark.parametrize("make", [*SYNC, *ASYNC])
def test_every_part_of_the_session_can_be_switched_off(make: Make, name: str) -> None:
    made = make(**{name: False})
    closing = made.close()
    if asyncio.iscoroutine(closing):
        asyncio.run(closing)


@pytest.mark.parametrize("name", ["timeout", "retries", "max_retries", "deadline", "api_key", "api_url", "site_slug"])
@pytest.mark.parametrize("make", [make_taruvi, make_async_taruvi, make_ezthrottle])
def test_a_setting_that_is_assigned_is_not_ignored(make: Make, name: str) -> None:
    made, maker = make(), "EZThrottle" if make is make_ezthrottle else "Client"
    unknown = {"max_retries", "api_url", "site_slug"} if make is make_ezthrottle else {"retries"}
    if name not in unknown:
        with pytest.raises(AttributeError, match=rf"{maker}: {name} cannot be set; .* by {maker}\({name}=\.\.\.\)$"):
            setattr(made, name, "x")
    made.anything_else = 1  # as a test may, or a caller with a note


@pytest.mark.parametrize("name", sorted(StackOptions.__annotations__))
@pytest.mark.parametrize("make", [*SYNC, *ASYNC])
def test_nor_is_an_option_of_its_session(make: Make, name: str) -> None:
    made = make()
    if name == "deadline" and isinstance(made, ClientSettings):
        made.deadline = 3.0
        assert made.deadline == 3.0
        return
    with pytest.raises(AttributeError, match=f"{name} cannot be set; say it when it is made"):
        setattr(made, name, False)


def test_an_asynchronous_client_takes_the_keywords_of_httpx() -> None:
    asyncio.run(oo.AsyncClient(URL, headers={"X-A": "b"}, trust_env=False, http1=True).close())
