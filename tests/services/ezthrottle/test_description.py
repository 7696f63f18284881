"""The code of the published client's description runs with another module name, on both engines.

Half of its blocks begin a line with a dot and are no Python; the chains of these are put in parentheses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services import ezthrottle as ez
from tests.support.ezthrottle_server import KEY, EZThrottleServer

TEXT = (Path(__file__).parent / "description.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROUNDS = 3


def parenthesize(code: str) -> str:
    """Put chains that begin at a line of their own in parentheses."""
    return re.sub(r"^([ ]*)(Step\(client\)\n(?:\1    .*\n)+)", r"\1(\n\1\2\1)\n", code, flags=re.MULTILINE)


class EnoughRounds(Exception):
    """A loop that would never end has run often enough."""


@pytest.fixture(params=["hosted", "local"])
def engine(request: pytest.FixtureRequest, server: EZThrottleServer) -> Iterator[ez.Engine]:
    made: ez.Engine = ez.HostedEngine(KEY, server.url) if request.param == "hosted" else ez.LocalEngine()
    yield made
    made.close()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
@pytest.mark.filterwarnings("ignore:queue_request:DeprecationWarning")
def test_a_block_runs(
    number: int,
    engine: ez.Engine,
    server: EZThrottleServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds = iter(range(ROUNDS - 1))

    def sleep(seconds: float) -> None:
        if next(rounds, None) is None:
            raise EnoughRounds

    code = parenthesize(
        BLOCKS[number].replace("from ezthrottle import", "from polvo_adapters.services.ezthrottle import")
    )
    code = re.sub(r"https://[\w.-]+", server.url, code).replace('api_key="your_api_key"', "engine=engine")
    names: dict[str, Any] = {name: getattr(ez, name) for name in ez.__all__}
    names |= {"engine": engine, "client": ez.EZThrottle(engine=engine), "order_id": 7, "time": time}
    if "time.sleep" in code:
        monkeypatch.setitem(names, "time", type("Clock", (), {"sleep": staticmethod(sleep)}))
        with pytest.raises(EnoughRounds):
            exec(compile(code, "description", "exec"), names)
    else:
        exec(compile(code, "description", "exec"), names)
    if isinstance(engine, ez.LocalEngine):
        assert engine.drain(10)
    assert server.received
    if "while True" in code:
        assert len(server.received) == ROUNDS
    if "print" in code:
        assert re.fullmatch(r"Job ID: job_\w+\n", capsys.readouterr().out)


def test_there_are_all_blocks() -> None:
    assert len(BLOCKS) == 12
