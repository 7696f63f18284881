"""The blocks of the page on Taruvi run as they stand, one after the other, against the stand-in."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services.taruvi import AsyncClient
from tests.support.taruvi_server import FILE, TaruviServer

PAGE = (Path(__file__).parents[3] / "docs/taruvi.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
VARIABLES = {"TARUVI_USERNAME": "alice@example.com", "TARUVI_PASSWORD": "secret123", "TARUVI_JWT": "access-env"}
EXPECTED = {
    "print(auth_client.is_authenticated)": "True\nFalse\n",
    "Poll for result": "Task started: task-1\nStatus: PENDING, waiting...\nCompleted: {'rows': 7}\n",
    "print(user['email'])": "alice@example.com\n",
    "print(roles)": "['admin', 'editor', 'viewer']\n",
    "print(mode)": "RuntimeMode.EXTERNAL\nNone\nNone\n",
    "for resource_id, actions": "doc1: {'view': True, 'edit': True, 'delete': False}\n",
    'Returns: {"API_KEY"': "API_KEY: api_key\nDATABASE_URL: api_key\nSTRIPE_KEY: api_key\n",
    "print(settings['site_name'])": "Example\n{}\n",
}
"""What blocks print that have such a line."""


def place(code: str, url: str) -> str:
    """Return a block that calls the stand-in, and whose ellipses are values."""
    code = re.sub(r'"(?:https://api\.taruvi\.cloud|http://localhost:8000)"', f'"{url}"', code)
    code = code.replace('api_url="..."', f'api_url="{url}"').replace('app_slug="..."', 'app_slug="my-app"')
    return code.replace("resources=[...],", 'resources=[{"kind": "document", "id": "doc1"}],')


def run(code: str, namespace: dict[str, Any]) -> None:
    """Run a block, with `await` at its top level if it has one."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(code, "docs/taruvi.md", "exec", flags)
    result = eval(compiled, namespace)
    if asyncio.iscoroutine(result):
        asyncio.run(_finish(result, namespace))


async def _finish(block: Coroutine[Any, Any, None], namespace: dict[str, Any]) -> None:
    """Run a block to its end, and close the clients that it leaves open, before their event loop ends."""
    await block
    for value in namespace.values():
        if isinstance(value, AsyncClient):
            await value.close()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, taruvi_server: TaruviServer, tmp_path: Path) -> Mapping[str, Any]:
    """Return what a reader has: variables, files, and no patience."""
    for name, value in {**VARIABLES, "TARUVI_API_URL": taruvi_server.url, "TARUVI_APP_SLUG": "my-app"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda _: None)
    for name in ("photo1.jpg", "photo2.jpg"):
        (tmp_path / name).write_bytes(FILE)
    taruvi_server.results.append("PENDING")
    return {"__name__": "guide"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the guide opens files that it does not close
def test_the_blocks_of_the_guide_run(
    example: dict[str, Any], taruvi_server: TaruviServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(BLOCKS) == 52
    for block in BLOCKS:
        run(place(block, taruvi_server.url), example)
        if "def main(params, user_data)" in block:
            assert example["main"]({}, {})["user_count"] == 2
        printed = capsys.readouterr().out
        assert "Unexpected" not in printed
        for line, text in EXPECTED.items():
            if line in block:
                assert printed == text, block
