"""Downloads, and bodies that go on where they broke off, cancelled at every single await."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, overload

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2
from polvo_adapters.shells.httpx.pools import find_pool
from tests.shells.httpx.test_cancellation import MOST
from tests.shells.httpx.test_cancelled_shells import RETRY, STACK, call_until, count_files
from tests.support.cutting_server import CuttingServer, Entity, serve
from tests.support.token_sharing import until

WIRE = bytes(range(256)) * 300
_names = count()


class EverySecond(Sequence[int | None]):
    """Every second answer is cut off."""

    def __len__(self) -> int:
        return MOST * MOST

    @overload
    def __getitem__(self, index: int) -> int | None: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int | None]: ...

    def __getitem__(self, index: Any) -> Any:
        return None if index % 2 else 40_000


async def read(client: polvo.AsyncSession, url: str, _: Path) -> None:
    async with client.stream("GET", url) as response:
        assert await response.aread() == WIRE


async def read_or_break(client: polvo.AsyncSession, url: str, _: Path) -> None:
    try:
        await read(client, url, _)
    except httpx.RemoteProtocolError:
        pass  # the rest is refused


async def download(client: polvo.AsyncSession, url: str, folder: Path) -> None:
    path = folder / "file.bin"
    await client.download(url, path)
    assert path.read_bytes() == WIRE
    path.unlink()


def fetch(_: Any) -> dict[str, Any]:
    return {"access_token": f"token-{next(_names)}", "expires_in": 3600}


SCENES: dict[str, Any] = {
    "resume": (read, {}, {}),
    "resume after a reset": (read, {"deed": "reset"}, {}),
    "resume, with a token that is refused": (read_or_break, {"rest": 401}, {"auth": True}),
    "download": (download, {}, {}),
    "download that is cut": (download, {"cuts": EverySecond()}, {}),
}


@pytest.fixture
def cutting(request: pytest.FixtureRequest) -> Iterator[CuttingServer]:
    with serve(Entity(WIRE), **{"cuts": EverySecond(), **request.param}) as server:
        yield server


@pytest.mark.parametrize("how", ["cancel", "timeout"])
@pytest.mark.parametrize(("call", "cutting", "options"), SCENES.values(), ids=SCENES, indirect=["cutting"])
async def test_a_body_leaves_nothing_behind(
    call: Any, cutting: CuttingServer, options: dict[str, Any], how: str, tmp_path: Path
) -> None:
    keywords = {**STACK, "resume": True, "retry": {**RETRY, "max_attempts": 5}}
    if "auth" in options:
        keywords["auth"] = OAuth2(fetch=fetch)
    async with polvo.AsyncSession(**keywords) as client:
        number, files, pool = 0, count_files(), find_pool(client._transport)
        while await call_until(lambda: call(client, cutting.url, tmp_path), number, how):
            number += 1
            assert number < MOST
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert [each for each in pool.connections if not each.is_idle()] == []
            assert not pool._requests
        assert number > 2
    assert os.listdir(tmp_path) == []  # the last download was not cancelled
    await asyncio.to_thread(until, lambda: count_files() <= files + 1)  # when the server has closed its side
