"""The log of the resilient client: which lines, by which logger, plain and structured, and nothing secret in them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from polvo_adapters.client import LoggingConfig
from polvo_adapters.client.exceptions import MyAPIError
from tests.support.client_scenes import ScriptedServer, TaskClock, answer, make_client, names

NAME = "my_resilient_client"


@pytest.fixture(autouse=True)
def root_hears_all(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    before = logging.getLogger("polvo_adapters.client").level
    caplog.set_level(logging.DEBUG)
    yield
    logging.getLogger("polvo_adapters.client").setLevel(before)
    logging.getLogger(NAME).setLevel(logging.NOTSET)


async def call(*answers: Any, level: str = "DEBUG", include: bool = True, **settings: Any) -> ScriptedServer:
    """Make a call, as seen by the handlers of the root logger."""
    server = ScriptedServer(*answers)
    config = LoggingConfig(level=level, include_request_id=include, logger_name=NAME)
    async with make_client(server, TaskClock(), logging=config, **settings) as client:
        try:
            await client.post(
                "/a?key=hunter22", headers={"Authorization": "Bearer hunter22", "Cookie": "hunter22"},
                json={"password": "hunter22"}, request_id="id-of-the-call",
            )  # fmt: skip
        except MyAPIError:
            pass
    return server


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    ours = [record for record in caplog.records if record.name == NAME or record.name.startswith("polvo_adapters")]
    return [(record.levelname, record.polvo_event) for record in ours]  # type: ignore[attr-defined]


async def test_at_debug_everything_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    await call(answer(503, {"Retry-After": "2"}), 200)
    assert told(caplog) == [
        ("DEBUG", "request"),
        ("DEBUG", "attempt"),
        ("DEBUG", "retry"),
        ("DEBUG", "attempt"),
        ("INFO", "response"),
    ]
    assert all(record.name == NAME for record in caplog.records if record.name not in ("httpx", "asyncio"))
    assert "503, Retry-After 2 s; attempt 2 of 3 in " in caplog.text
    assert "POST https://api.example.com/a: 200 in " in caplog.text


async def test_a_failure_is_said_with_the_circuit_that_it_opens(caplog: pytest.LogCaptureFixture) -> None:
    await call(500, retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 1})
    assert told(caplog) == [
        ("DEBUG", "request"),
        ("DEBUG", "attempt"),
        ("WARNING", "circuit"),
        ("WARNING", "failed"),
    ]
    record: Any = caplog.records[-1]
    assert (record.polvo_status, record.polvo_attempt, record.polvo_method) == (500, 1, "POST")
    assert (record.polvo_url, record.polvo_failure) == ("https://api.example.com/a", "ServerError")


async def test_a_wait_for_a_slot_is_said_before_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def serve(request: httpx.Request) -> httpx.Response:
        await gate.wait()
        return httpx.Response(200)

    config = LoggingConfig(level="DEBUG", logger_name=NAME)
    server = ScriptedServer(serve)
    async with make_client(server, logging=config, bulkhead={"max_concurrency": 1}) as client:
        calls = [asyncio.create_task(client.get(path)) for path in ("/a", "/b")]
        while "waiting up to" not in caplog.text:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*calls)
    record: Any = next(record for record in caplog.records if "waiting up to" in record.getMessage())
    assert "GET https://api.example.com/b: bulkhead, all 1 slots are in use; waiting up to " in record.getMessage()
    assert (record.levelname, record.polvo_event, record.name) == ("DEBUG", "wait", NAME)


@pytest.mark.parametrize(
    ("level", "answers", "events"),
    [
        ("INFO", [500, 200], ["response"]),
        ("WARNING", [500, 200], []),
        ("WARNING", [404], ["failed"]),
        ("ERROR", [404], []),
        ("CRITICAL", [500], []),
    ],
)
async def test_each_level_says_what_it_promises(
    level: str, answers: list[int], events: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await call(*answers, level=level)
    assert [event for _, event in told(caplog)] == events


@pytest.mark.parametrize(
    "trouble", [500, 404, 200, httpx.ReadTimeout("hunter22"), httpx.ReadError("hunter22")], ids=repr
)
async def test_nothing_secret_is_said(trouble: Any, caplog: pytest.LogCaptureFixture) -> None:
    await call(answer(trouble, {"Set-Cookie": "hunter22"}) if isinstance(trouble, int) else trouble)
    ours = [record for record in caplog.records if record.name == NAME]
    assert ours
    assert all("hunter22" not in f"{record.getMessage()} {vars(record)}" for record in ours)


@pytest.mark.parametrize("include", [True, False])
async def test_the_request_id_is_said_as_configured(include: bool, caplog: pytest.LogCaptureFixture) -> None:
    await call(500, 200, include=include)
    ours = [record for record in caplog.records if record.name == NAME]
    assert {"id-of-the-call" in f"{record.getMessage()} {vars(record)}" for record in ours} == {include}


async def test_only_the_level_of_its_own_logger_is_set(caplog: pytest.LogCaptureFixture) -> None:
    root, parent = logging.getLogger().level, logging.getLogger("polvo_adapters").level
    await call(200, level="ERROR")
    assert logging.getLogger(NAME).level == logging.ERROR
    assert (logging.getLogger().level, logging.getLogger("polvo_adapters").level) == (root, parent)
    assert logging.getLogger(NAME).handlers == []
    assert logging.getLogger(NAME).propagate


async def test_a_handler_that_raises_harms_no_call() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    handler = Broken()
    logging.getLogger(NAME).addHandler(handler)
    try:
        assert len((await call(500, 200)).requests) == 2
    finally:
        logging.getLogger(NAME).removeHandler(handler)


@pytest.fixture
def structlog_of_the_guide() -> Iterator[None]:
    structlog = pytest.importorskip("structlog")
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("structlog_of_the_guide")
async def test_where_structlog_is_configured_each_event_is_json(caplog: pytest.LogCaptureFixture) -> None:
    config = LoggingConfig(level="DEBUG", logger_name=NAME)
    async with make_client(ScriptedServer(503, 200, 404), logging=config) as client:
        await client.get("/a?key=hunter22", request_id="mine")
        with pytest.raises(MyAPIError):
            await client.get("/b%d%s")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == NAME]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("request", "debug"),
        ("attempt", "debug"),
        ("retry", "debug"),
        ("attempt", "debug"),
        ("response", "info"),
        ("request", "debug"),
        ("attempt", "debug"),
        ("failed", "warning"),
    ]
    assert all(line["logger"] == NAME and line["timestamp"] for line in lines)
    response = lines[4]
    assert (response["method"], response["url"]) == ("GET", "https://api.example.com/a")
    assert (response["status"], response["attempt"], response["request_id"]) == (200, 2, "mine")
    assert "hunter22" not in "".join(map(str, lines))


def test_the_listener_of_the_log_keeps_the_lines_of_the_library_out() -> None:
    from polvo_adapters.client.client_log import ClientLog
    from polvo_adapters.core.notices import LogListener

    assert issubclass(ClientLog, LogListener)
    assert names([ClientLog(LoggingConfig())]) == ["ClientLog"]


async def test_an_asynchronous_logger_of_structlog_is_not_left_unawaited() -> None:
    structlog = pytest.importorskip("structlog")
    written = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
        logger_factory=structlog.PrintLoggerFactory(file=written),
    )
    try:
        async with make_client(ScriptedServer(200)) as client:
            await client.get("/a")
    finally:
        structlog.reset_defaults()
    assert json.loads(written.getvalue())["event"] == "response"
