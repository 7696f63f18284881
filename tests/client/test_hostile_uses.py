"""Uses of the resilient client that its guide does not show, and that broke it before."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from polvo_adapters.client import ClientConfig, LoggingConfig, ResilientClient
from polvo_adapters.client.exceptions import (
    ClientClosedError,
    ClientConfigurationError,
    MyAPIError,
    ServerError,
    ServiceUnavailableError,
    UnknownSettingError,
)
from polvo_adapters.testing import FailureServer
from tests.support.client_scenes import BASE, ScriptedServer, TaskClock, answer, make_client, names

OWN, OTHER = "https://user:hunter22@api.example.com/v1", "https://other.example.com"


class TestWhereACallGoes:
    """The credential of the base URL, the host in errors and the URL in logs follow from where a call goes."""

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("/login?next=https://other.example.com/x", "https://api.example.com/v1/login"),
            ("login?next=https://other.example.com/x#a", "https://api.example.com/v1/login"),
            ("/proxy/https://other.example.com/x", "https://api.example.com/v1/proxy/https://other.example.com/x"),
            ("//other.example.com/x", None),  # httpx takes it for a path below the base URL
            ("http://", None),
            ("https://api.example.com/v1/users", "https://api.example.com/v1/users"),
            ("HTTPS://API.example.com:443/v1/users", None),
            (httpx.URL("https://api.example.com/v1/users"), "https://api.example.com/v1/users"),
        ],
    )
    async def test_own_origin(self, url: Any, place: str | None) -> None:
        server = ScriptedServer(404)
        async with make_client(server, base_url=OWN) as client:
            with pytest.raises(MyAPIError) as caught:
                await client.get(url)
        assert server.requests[0].url.host == "api.example.com"
        assert server.requests[0].headers["Authorization"].startswith("Basic ")
        assert "other.example.com" not in str(caught.value.host)
        if place is not None:
            assert caught.value.url == place
            assert caught.value.host == "api.example.com"

    @pytest.mark.parametrize(
        "url",
        [
            f"{OTHER}/x",
            "http://api.example.com/v1/users",  # the password was meant for TLS
            "https://api.example.com:8443/v1/users",
            "https://api.example.com.other.example.com/",
            "https://api.example.com@other.example.com/",
            httpx.URL(f"{OTHER}/?next=https://api.example.com"),
        ],
        ids=str,
    )
    async def test_other_origins(self, url: Any) -> None:
        server = ScriptedServer(200)
        async with make_client(server, base_url=OWN) as client:
            await client.get(url)
        assert server.requests[0].headers.get("Authorization") != "Basic dXNlcjpodW50ZXIyMg=="

    async def test_redirects(self) -> None:
        server = ScriptedServer(
            answer(302, {"Location": "/b"}),
            answer(307, {"Location": f"{OTHER}/x"}),
            answer(302, {"Location": OWN}),
            200,
        )
        async with make_client(server, base_url="https://user:hunter22@api.example.com") as client:
            await client.get("/a")
        assert ["Authorization" in each.headers for each in server.requests[:3]] == [True, True, False]

    async def test_auth_none_sends_none(self) -> None:
        server = ScriptedServer(200)
        async with make_client(server, base_url=OWN) as client:
            await client.get("/a", auth=None)
        assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "url", ["/a\nb", "/a\x1b[31m", "/a\u2028b", "/" + "a" * 70_000, "/x" * 3000], ids=lambda url: url[:9]
)
async def test_a_url_adds_no_line_to_a_log_and_is_not_shown_in_full(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with make_client(ScriptedServer(404)) as client:
        with pytest.raises(MyAPIError) as caught:
            await client.get(url)
    for text in (str(caught.value), caplog.messages[-1]):
        assert text.isprintable()
        assert len(text) < 1000


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key"])
@pytest.mark.parametrize(
    "value", ["hunter22\n", " hunter22", "hunter22 ", "hunter22\r\nX: y", "hunter22\0", "a\vhunter22"]
)
async def test_a_header_that_cannot_be_sent_is_quoted_nowhere(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with FailureServer() as server:
        async with ResilientClient(ClientConfig(base_url=server.url)) as client:
            with pytest.raises(ClientConfigurationError, match=f"value of '{name}'") as caught:
                await client.get("/health", headers={name: value})
    assert "hunter22" not in "".join(traceback.format_exception(caught.value)) + caplog.text


class TestClosing:
    async def test_calls_that_wait_for_a_retry_or_a_slot_end_at_once(self) -> None:
        server = ScriptedServer(answer(503, {"Retry-After": "50"}))
        config = ClientConfig(base_url=BASE, bulkhead={"max_concurrency": 2})  # type: ignore[arg-type]
        client = ResilientClient(config, transport=httpx.MockTransport(server.handle))
        calls = [asyncio.create_task(client.get("/a")) for _ in range(4)]
        await server.received(2)
        await asyncio.sleep(0.01)
        await client.close()
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert names(results) == ["ServiceUnavailableError"] * 2 + ["ClientClosedError"] * 2
        assert "the client is closed" in str(results[0])
        assert len(server.requests) == 2

    async def test_a_call_whose_connection_is_closed_waits_for_no_retry(self) -> None:
        with FailureServer() as server:
            async with ResilientClient(ClientConfig(base_url=server.url)) as client:
                call = asyncio.create_task(client.get("/msg?delay=5000"))
                while server.counters["received"] < 1:  # noqa: ASYNC110 - it counts in another thread
                    await asyncio.sleep(0.002)
            with pytest.raises(MyAPIError, match="the client is closed"):
                await asyncio.wait_for(call, 0.9)

    async def test_from_another_thread(self) -> None:
        server = ScriptedServer(answer(503, {"Retry-After": "50"}))
        client = ResilientClient(ClientConfig(base_url=BASE), transport=httpx.MockTransport(server.handle))
        call = asyncio.create_task(client.get("/a"))
        await server.received(1)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(lambda: asyncio.run(client.close()))
        with pytest.raises((ServiceUnavailableError, ClientClosedError)):
            await asyncio.wait_for(call, 1)


async def test_a_redirect_to_another_origin_is_a_success_of_this_one() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/bad":
            return httpx.Response(500)
        there = f"{OTHER}/good" if request.url.host == "api.example.com" else ""
        return httpx.Response(302, headers={"Location": there}) if there else httpx.Response(200)

    settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 2}, "retry": {"max_attempts": 1}}
    async with make_client(ScriptedServer(serve), **settings) as client:
        for _ in range(4):
            await client.get("/good")
            with pytest.raises(ServerError):
                await client.get("/bad")


@pytest.mark.parametrize("location", ["http://[bad", "http://a:b/", "//[", "http://x:99999999/", "\x7f", ""], ids=repr)
async def test_a_redirect_to_no_url_is_an_error_of_the_client_or_an_answer(location: str) -> None:
    async with make_client(ScriptedServer(answer(302, {"Location": location}), 200)) as client:
        (result,) = await asyncio.gather(client.get("/a"), return_exceptions=True)
    assert isinstance(result, (MyAPIError, httpx.Response))


class TestForms:
    @pytest.mark.parametrize("make", [lambda: b"0123", lambda: io.BytesIO(b"0123"), lambda: ("n", b"0123", "a/b")])
    async def test_a_form_with_files_is_sent_again_as_a_whole(self, make: Any) -> None:
        bodies: list[bytes] = []

        async def serve(request: httpx.Request) -> httpx.Response:
            bodies.append(await request.aread())
            return httpx.Response(503 if len(bodies) < 3 else 200)

        async with make_client(ScriptedServer(serve)) as client:
            await client.post("/a", data={"name": "value"}, files={"file": make()})
        assert len(bodies) == 3
        assert bodies == [bodies[0]] * 3
        assert b"0123" in bodies[0]

    async def test_one_with_a_pipe_is_sent_once(self) -> None:
        class Pipe(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                return 0

        server = ScriptedServer(503)
        async with make_client(server) as client:
            with pytest.raises(ServiceUnavailableError, match="can be read only once"):
                await client.post("/a", files={"file": io.BufferedReader(Pipe())})
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("API_TIMEOUT", "API_TIMEOUT_CONNECT, API_TIMEOUT_READ"),
        ("API_RETRY", "API_RETRY_MAX_ATTEMPTS"),
        ("API_LOGGING", "API_LOGGING_LEVEL"),
        ("API_FOLLOW_REDIRECT", "did you mean API_FOLLOW_REDIRECTS"),
        ("API_BASEURL", "did you mean API_BASE_URL"),
        ("API_USERAGENT", "did you mean API_USER_AGENT"),
        ("API_VERIFYSSL", "did you mean API_VERIFY_SSL"),
        ("API_CIRCUITBREAKER_FAILURE_THRESHOLD", "did you mean API_CIRCUIT_BREAKER_FAILURE_THRESHOLD"),
    ],
)
def test_a_variable_that_is_meant_for_a_setting_is_refused(name: str, advice: str) -> None:
    with pytest.raises(UnknownSettingError, match=advice):
        ClientConfig.from_env(environ={"API_BASE_URL": BASE, name: "1"})


@pytest.mark.parametrize(
    "name", ["API_KEY", "API_URL", "API_TOKEN", "API_BASE_URL_V2", "API_USER", "API_VERIFY_KEY", "API_TIMEOUTS"]
)
def test_a_variable_of_another_program_is_not(name: str) -> None:
    assert ClientConfig.from_env(environ={"API_BASE_URL": BASE, name: "1"}) == ClientConfig(base_url=BASE)


@pytest.mark.parametrize(
    "settings",
    [
        {"retry": {"max_wait_seconds": 1e308}},
        {"retry": {"multiplier": 1e308, "max_wait_seconds": 1e308, "max_attempts": 10**300}},
        {"timeout": {"read": sys.float_info.max, "write": sys.float_info.max}},
        {"circuit_breaker": {"recovery_timeout": 1e300}},
    ],
    ids=str,
)
async def test_settings_without_an_end_work(settings: Any) -> None:
    async with make_client(ScriptedServer(500, 200), TaskClock(), **settings) as client:
        assert (await client.get("/a")).status_code == 200


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), float("nan"), float("inf")], ids=["huge", "-huge", "nan", "inf"]
)
def test_numbers_that_no_clock_has_are_refused_by_name(value: Any) -> None:
    with pytest.raises(ClientConfigurationError, match="read must be a number above 0"):
        ClientConfig(base_url=BASE, timeout={"read": value})  # type: ignore[arg-type]


@pytest.fixture
def renamed_levels() -> Iterator[None]:
    """As recipes for coloured logs do it."""
    for level, name in ((logging.INFO, "\033[32mINFO"), (logging.WARNING, "WARN"), (logging.DEBUG, "TRACE")):
        logging.addLevelName(level, name)
    yield
    for level, name in ((logging.INFO, "INFO"), (logging.WARNING, "WARNING"), (logging.DEBUG, "DEBUG")):
        logging.addLevelName(level, name)


@pytest.mark.usefixtures("renamed_levels")
async def test_levels_of_other_names_lose_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str]] = []

    class Log:
        def __getattr__(self, name: str) -> Any:
            if name not in ("debug", "info", "warning"):
                raise AttributeError(name)
            return lambda event, **_: heard.append((name, event))

    fake = SimpleNamespace(is_configured=lambda: True, get_logger=lambda _: Log())
    monkeypatch.setitem(sys.modules, "structlog", fake)
    config = LoggingConfig(level="DEBUG", logger_name="renamed_levels")
    async with make_client(ScriptedServer(200, 404), logging=config) as client:
        await client.get("/a")
        with pytest.raises(MyAPIError):
            await client.get("/a")
    events = [("debug", "request"), ("debug", "attempt")]
    assert heard == [*events, ("info", "response"), *events, ("warning", "failed")]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_with_a_date_is_kept(status: int) -> None:
    clock = TaskClock()

    def ask_for(seconds: float) -> Any:
        date = formatdate(clock.wall() + seconds, usegmt=True)
        return answer(status, {"Retry-After": date})

    async with make_client(ScriptedServer(ask_for(20), 200, ask_for(7200)), clock) as client:
        await client.post("/a")
        assert 18 <= clock.waits[0] <= 21
        with pytest.raises(MyAPIError) as caught:
            await client.post("/a")
    assert (caught.value.retry_after or 0) > 7000
    assert len(clock.waits) == 1


async def test_answers_of_pytest_httpx_are_retried(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("pytest_httpx")
    mock = request.getfixturevalue("httpx_mock")
    mock.add_response(status_code=503)
    mock.add_exception(httpx.ReadTimeout("slow"))
    mock.add_response(json={"ok": 1})
    async with ResilientClient(ClientConfig(base_url=BASE), clock=TaskClock()) as client:
        assert (await client.post("/a", json={})).json() == {"ok": 1}
    assert len({each.headers["X-Request-ID"] for each in mock.get_requests()}) == 1
