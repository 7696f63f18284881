"""The guide of the resilient client is true: each of its blocks runs as it stands."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polvo_adapters.client.exceptions import APIConnectionError, NotFoundError
from polvo_adapters.testing import FailureServer
from tests.support.client_scenes import ScriptedServer, make_client
from tests.support.guide import list_blocks, redirect, run_block, shorten_waits

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
BLOCKS = list_blocks(PAGE)
NEEDED = {"fastapi": "fastapi", "structlog": "structlog"}


@pytest.fixture(autouse=True)
def loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what the page does to loggers, and do without its handler."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    names = ("polvo_adapters.client", "my_resilient_client", "my_client")
    yield
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog = sys.modules.get("structlog")
    if structlog is not None:
        structlog.reset_defaults()


@pytest.fixture
def guide_server() -> Iterator[FailureServer]:
    """The server at the port of the guide, or at another one where that is taken."""
    server = FailureServer(port=8000)
    try:
        server.start()
    except OSError:
        server = FailureServer()
        server.start()
    yield server
    server.stop()


def run_blocks() -> tuple[dict[str, Any], list[str]]:
    """Run the blocks one after the other, as a reader would, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    tests: list[str] = []
    for number, block in enumerate(BLOCKS):
        missing = [name for name in NEEDED if f"import {name}" in block or f"from {name}" in block]
        if all(has_library(name) for name in missing):
            tests += run_block(block, namespace, f"block {number} of {PAGE.name}")
    return namespace, tests


def has_library(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def test_every_block_runs_as_it_stands(
    guide_server: FailureServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    redirect(guide_server, monkeypatch)
    monkeypatch.setenv("API_BASE_URL", "http://localhost:8000")
    waits = shorten_waits(monkeypatch)
    namespace, tests = run_blocks()
    said = capsys.readouterr().out
    assert {
        "test_retry_behavior",
        "test_circuit_breaker",
        "test_bulkhead",
        "test_resilience_patterns",
        "test_my_service",
        "test_against_real_server",
        "main",
    } <= set(tests)
    for line in (
        "Message ID: ",
        "Successfully recovered from failures via retries!",
        "Circuit breaker successfully opened!",
        "Successful requests: ",
        "did you mean max_attempts?",
    ):
        assert line in said
    assert all(1.0 <= wait <= 60.0 for wait in waits)
    for environment in ("production", "staging", "development"):
        monkeypatch.setenv("PROD_API_URL", "https://prod.example.com")
        monkeypatch.setenv("STAGING_API_URL", "https://staging.example.com")
        assert namespace["create_config_for_environment"](environment).base_url


def test_the_tests_of_the_page_are_not_skipped_unseen() -> None:
    assert len(BLOCKS) >= 29
    assert sum("async with create_resilient_client" in block for block in BLOCKS) >= 14


def test_the_server_answers_every_path_that_the_page_calls(server: FailureServer) -> None:
    called = {path for block in BLOCKS for path in re.findall(r"""client\.\w+\(\s*"(/[^"]*)\"""", block)}
    assert {"/users", "/users/123", "/create-order", "/data"} <= called
    with httpx.Client(base_url=server.url) as user:
        missing = {path for path in called if user.post(path).status_code == 404}
        assert user.get("/unknown").status_code == 404
    assert missing == {"/protected-resource"}  # its block handles that


@pytest.fixture
def guide(server: FailureServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks that only define something have defined."""
    redirect(server, monkeypatch)
    shorten_waits(monkeypatch)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCKS:
        if block.startswith(("import asyncio\nimport os", "from polvo_adapters.client import ClientConfig, Tim")):
            run_block(block, namespace)
    for block in BLOCKS:
        if block.startswith("from polvo_adapters.client.exceptions import (\n    API"):
            exec(block.partition("\nasync with")[0], namespace)
    for block in BLOCKS:
        if "async def robust_api_call" in block or "async def api_operation" in block or "check_client" in block:
            exec("from polvo_adapters.client import ResilientClient", namespace)
            run_block(block, namespace)
    return namespace


def test_the_recovery_on_top_tries_again_and_raises_the_last(
    guide: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept, real = list[float](), asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    guide["asyncio"] = type("asyncio", (), {"sleep": staticmethod(sleep)})

    async def recover(*answers: Any) -> int:
        server = ScriptedServer(*answers)
        async with make_client(server, retry={"max_attempts": 1}) as client:
            try:
                await guide["robust_api_call"](client, "/a")
            finally:
                slept.append(-len(server.requests))
        return len(server.requests)

    assert asyncio.run(recover(500, httpx.ReadError("x"), 200)) == 3
    with pytest.raises(APIConnectionError):
        asyncio.run(recover(500))
    with pytest.raises(NotFoundError):
        asyncio.run(recover(404))
    assert slept == [5, 5, -3, 5, 5, -3, -1]
    assert "Service unavailable after 3 attempts" in capsys.readouterr().out


def test_the_strategy_of_errors_passes_on_what_it_does_not_handle(guide: dict[str, Any]) -> None:
    async def operate(status: int) -> Any:
        async with make_client(ScriptedServer(status), retry={"max_attempts": 1}) as client:
            return await guide["api_operation"](client)

    assert asyncio.run(operate(200)).status_code == 200
    assert (asyncio.run(operate(401)), asyncio.run(operate(404))) == (None, None)
    for status in (500, 409):
        with pytest.raises(guide["APIConnectionError"] if status == 500 else guide["APIStatusError"]):
            asyncio.run(operate(status))


def test_the_health_check_says_whether_the_service_is_up(
    guide: dict[str, Any], server: FailureServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from polvo_adapters.client import ClientConfig, ResilientClient, RetryConfig

    async def check() -> bool:
        config = ClientConfig(base_url=server.url, retry=RetryConfig(max_attempts=1))
        async with ResilientClient(config) as client:
            return bool(await guide["check_client_health"](client))

    assert asyncio.run(check())
    server.stop()
    assert not asyncio.run(check())
    assert "Client health check failed: GET http://127.0.0.1:" in capsys.readouterr().out


def test_the_fastapi_example_serves(server: FailureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    redirect(server, monkeypatch)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("from polvo_adapters.client import ClientConfig, ResilientClient", namespace)
    run_block(next(block for block in BLOCKS if block.startswith("from fastapi")), namespace)

    async def serve() -> httpx.Response:
        web = uvicorn.Server(uvicorn.Config(namespace["app"], port=0, log_level="error", ws="none"))
        task = asyncio.create_task(web.serve())
        while not web.started:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
        port = web.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as user:
            response = await user.get(f"http://127.0.0.1:{port}/proxy-data")
        web.should_exit = True
        await task
        return response

    response = asyncio.run(serve())
    assert response.status_code == 200
    assert response.json()["method"] == "GET"
    assert "x-request-id" in {name.lower() for name in response.json()["headers"]}
    assert namespace["resilient_client"].is_closed
