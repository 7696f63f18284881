"""The errors of the resilient client: which, what they hold and say, and what they never show."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.client import ClientConfig, ResilientClient, exceptions
from polvo_adapters.client.exceptions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ClientConfigurationError,
    InvalidRequestError,
    MyAPIError,
    NotFoundError,
    PoolTimeoutError,
    ServerError,
    ServerTimeoutError,
    ServiceUnavailableError,
)
from polvo_adapters.testing import FailureServer
from tests.support.client_scenes import ScriptedServer, answer, make_client

ONCE: dict[str, Any] = {"retry": {"max_attempts": 1}}
SPECIAL = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    408: ServerTimeoutError,
    422: InvalidRequestError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServiceUnavailableError,
}
TRANSPORT: list[tuple[Exception, type[MyAPIError], str]] = [
    (httpx.ConnectError("All connection attempts failed"), APIConnectionError, "All connection attempts failed"),
    (httpx.ConnectTimeout("x"), APITimeoutError, "no connection within 60 s after 1 attempt"),
    (httpx.ReadTimeout("x"), APITimeoutError, "raise TimeoutConfig.read"),
    (httpx.WriteTimeout("x"), APITimeoutError, "raise TimeoutConfig.write"),
    (httpx.PoolTimeout("x"), PoolTimeoutError, "raise TimeoutConfig.pool"),
    (httpx.ReadError("x"), APIConnectionError, "the connection broke (ReadError)"),
    (httpx.WriteError("x"), APIConnectionError, "the connection broke (WriteError)"),
    (httpx.CloseError("x"), APIConnectionError, "the connection broke (CloseError)"),
    (httpx.RemoteProtocolError("Set-Cookie: hunter22"), APIConnectionError, "breaks the rules of HTTP after 1 attempt"),
    (httpx.ProxyError("407 hunter22"), APIConnectionError, "check the proxy"),
    (httpx.UnsupportedProtocol("x"), ClientConfigurationError, "cannot be sent (UnsupportedProtocol)"),
    (httpx.LocalProtocolError("header hunter22"), ClientConfigurationError, "cannot be sent (LocalProtocolError)"),
    (httpx.DecodingError("x"), MyAPIError, "cannot be decoded"),
    (polvo.DeadlineExceeded("x"), APITimeoutError, "deadline of the call is over"),
    (polvo.TokenRefreshError("no token", reason="invalid_grant"), MyAPIError, "no token"),
]


async def fail(client: ResilientClient, method: str = "GET", path: str = "/a", **arguments: Any) -> MyAPIError:
    with pytest.raises(MyAPIError) as caught:
        await client.request(method, path, **arguments)
    return caught.value


async def test_each_status_has_its_error() -> None:
    statuses = range(400, 600)
    async with make_client(ScriptedServer(*statuses), **ONCE, circuit_breaker={"failure_threshold": 200}) as client:
        errors = [await fail(client) for _ in statuses]
    assert [error.status_code for error in errors] == list(statuses)
    for error, status in zip(errors, statuses, strict=True):
        assert type(error) is SPECIAL.get(status, ServerError if status >= 500 else APIStatusError)
        assert isinstance(error, polvo.PolvoError)


async def test_a_status_below_400_is_an_answer() -> None:
    for status in (200, 201, 204, 302, 304, 399):
        async with make_client(ScriptedServer(answer(status))) as client:
            assert (await client.get("/a")).status_code == status


@pytest.mark.parametrize(("raised", "kind", "text"), TRANSPORT, ids=lambda value: type(value).__name__)
async def test_each_exception_has_its_error(raised: Exception, kind: type[MyAPIError], text: str) -> None:
    async with make_client(ScriptedServer(raised), **ONCE) as client:
        error = await fail(client)
    assert type(error) is kind
    assert text in str(error)
    assert "hunter22" not in str(error)
    # The text of one of these may be the value of a header: it is not shown.
    assert error.__cause__ is (None if isinstance(raised, httpx.LocalProtocolError) else raised)
    assert error.__cause__ is raised or "hunter22" not in "".join(traceback.format_exception(error))
    assert error.response is None
    assert error.status_code is None


async def test_other_exceptions_come_out_as_they_are() -> None:
    for raised in (ZeroDivisionError("mine"), KeyError("mine"), RuntimeError("mine")):
        async with make_client(ScriptedServer(raised)) as client:
            with pytest.raises(type(raised), match="mine"):
                await client.get("/a")


async def test_an_error_holds_what_is_known() -> None:
    async with make_client(ScriptedServer(answer(503, {"Retry-After": "2"})), retry={"max_attempts": 2}) as client:
        error = await fail(client, "POST", "/orders?key=hunter22", request_id="mine", json={"password": "hunter22"})
    assert (error.method, error.url) == ("POST", "https://api.example.com/orders")
    assert (error.host, error.attempts, error.request_id, error.retry_after) == ("api.example.com", 2, "mine", 2.0)
    assert error.response is not None
    assert error.response.status_code == 503
    assert error.request is not None
    assert error.request.headers["X-Request-ID"] == "mine"
    assert error.polvo is not None
    assert len(error.polvo.attempts) == 2


@pytest.mark.parametrize("trouble", [404, 500, httpx.ReadTimeout("x"), httpx.ConnectError("x")], ids=repr)
async def test_nothing_secret_shows_nor_is_pickled(trouble: Any) -> None:
    secret = "hunter22"
    made = trouble
    if isinstance(trouble, int):
        made = answer(trouble, {"Set-Cookie": f"session={secret}"})
    base = f"https://user:{secret}@api.example.com"
    async with make_client(ScriptedServer(made), base_url=base, **ONCE) as client:
        error = await fail(
            client, "POST", f"/hooks/{secret}0123456789abcdef?key={secret}",
            headers={"Authorization": f"Bearer {secret}", "Cookie": secret}, json={"password": secret},
        )  # fmt: skip
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is type(error)
        assert (str(copied), copied.args) == (str(error), error.args)
        assert (copied.status_code, copied.request_id, copied.attempts) == (
            error.status_code,
            error.request_id,
            error.attempts,
        )
        assert copied.request is None
    assert secret.encode() not in pickle.dumps(error)
    assert secret not in str(error)
    assert secret not in repr(error)
    assert secret not in "".join(traceback.format_exception_only(type(error), error))


@pytest.mark.parametrize("name", exceptions.__all__)
def test_each_class_can_be_raised_by_tests_of_users(name: str) -> None:
    kind = getattr(exceptions, name)
    error = kind("down", retry_after=3.0)
    assert str(error) == "down"
    assert issubclass(kind, MyAPIError)
    assert (error.status_code, error.retry_after, error.request_id) == (None, 3.0, "")
    assert str(pickle.loads(pickle.dumps(error))) == "down"
    assert kind().args == ("",)


def test_the_tree_is_that_of_the_guide() -> None:
    retried = (APITimeoutError, ServerTimeoutError, ServiceUnavailableError, ServerError)
    final = (AuthenticationError, NotFoundError, InvalidRequestError)
    assert all(issubclass(each, APIConnectionError) and not issubclass(each, APIStatusError) for each in retried)
    assert all(issubclass(each, APIStatusError) and not issubclass(each, APIConnectionError) for each in final)
    assert not issubclass(ServiceUnavailableError, ServerError)
    assert not issubclass(PoolTimeoutError, (APIConnectionError, APIStatusError))


async def test_the_timeout_of_a_call_is_the_one_that_is_named() -> None:
    with FailureServer() as server:
        async with ResilientClient(ClientConfig(base_url=server.url, **ONCE)) as client:
            error = await fail(client, path="/msg?delay=2000", timeout=httpx.Timeout(5.0, read=0.05))
    assert type(error) is APITimeoutError
    assert "no answer within 0.05 s after 1 attempt" in str(error)
    assert isinstance(error.__cause__, httpx.ReadTimeout)


async def test_a_url_that_is_none_is_refused() -> None:
    async with make_client(ScriptedServer(200)) as client:
        assert isinstance(await fail(client, path="https://api.example.com:port/"), ClientConfigurationError)


async def test_too_many_redirects_say_so() -> None:
    loop = answer(302, {"Location": "https://api.example.com/a"})
    async with make_client(ScriptedServer(loop)) as client:
        assert "too many redirects" in str(await fail(client))


async def test_a_deadline_around_a_call_is_a_timeout() -> None:
    with FailureServer() as server:
        async with ResilientClient(ClientConfig(base_url=server.url)) as client:
            with polvo.call(deadline=0.1):
                error = await fail(client, path="/msg?delay=2000")
    assert type(error) is APITimeoutError


async def test_an_event_hook_that_raises_for_status_changes_nothing() -> None:
    async def raise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    client = make_client(ScriptedServer(404))
    client._open().event_hooks = {"response": [raise_for_status]}
    assert type(await fail(client)) is NotFoundError
    await client.close()


async def test_errors_of_many_calls_at_a_time_are_their_own() -> None:
    server = ScriptedServer(lambda request: asyncio.sleep(0, httpx.Response(int(request.url.path[1:]))))
    async with make_client(server, **ONCE, circuit_breaker={"failure_threshold": 1000}) as client:
        results = await asyncio.gather(
            *[client.get(f"/{status}") for status in range(400, 500)], return_exceptions=True
        )
    assert [error.status_code for error in results if isinstance(error, MyAPIError)] == list(range(400, 500))
    assert all(f"/{error.status_code}:" in str(error) for error in results if isinstance(error, MyAPIError))
