"""The application of docs/async.md, served by a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer
from tests.test_docs import blocks, on_failure_server

PAGE = Path(__file__).parents[2] / "docs/async.md"


def test_the_application_of_the_docs_serves(server: FailureServer) -> None:
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    (code,) = (block for block in blocks(PAGE, "python") if "FastAPI(" in block)
    namespace: dict[str, Any] = {"polvo": polvo}
    exec(compile(on_failure_server(code, server.url), str(PAGE), "exec"), namespace)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        application = uvicorn.Server(uvicorn.Config(namespace["app"], log_level="warning"))
        thread = threading.Thread(target=application.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            statuses = asyncio.run(_ask(f"http://127.0.0.1:{listening.getsockname()[1]}/my/orders"))
        finally:
            application.should_exit = True
            thread.join(20)
    assert statuses == [200] * 20
    assert not thread.is_alive()
    assert len(server.requests) == 20
    assert server.open_connections <= 20


async def _ask(url: str) -> list[int]:
    async with polvo.AsyncSession(trust_env=False) as session:
        return [response.status_code for response in await asyncio.gather(*(session.get(url) for _ in range(20)))]
