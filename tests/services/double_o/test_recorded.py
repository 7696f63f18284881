"""The recording of the published client, repeated by it against the stand-in, and by this library's client."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import oo as published
import pytest

from polvo_adapters.services import double_o
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.services.double_o.recorded_cases import CASES, UNREPEATED, World
from tests.support.double_o_server import DoubleOServer

RECORDED = {
    row["case"]: row for row in map(json.loads, (Path(__file__).parent / "recorded.jsonl").read_text().splitlines())
}
PORT = re.compile(r"(?<=port=)\d+")
TIMEOUT = re.compile(r"(?<=read timeout=)[\d.]+")

ERROR = "raised"
IMPROVED: dict[str, tuple[int, str, Any]] = {
    # how many requests, and what is returned or raised, where ours is better on purpose
    "sync other client other base_url hits the same global cache": (0, ERROR, "SecretError"),
    "sync proxy headers override": (0, ERROR, "ArgumentError"),
    "sync proxy path with ../ and ?": (0, ERROR, "ArgumentError"),
    "sync export_env": (1, "returned", str(('POLVO_T_A="1"\nPOLVO_T_B="q\\"uo\\\\te"\n', "0o600"))),
    "sync export_env newline value": (1, ERROR, "EnvError"),
    "sync export_env non-string value": (1, ERROR, "EnvError"),
    "sync load_env non-string value": (1, ERROR, "EnvError"),
    "sync get_secret 200 error 'Author not found' (substring auth)": (1, ERROR, "SecretError"),
    "sync get_secret 200 error is dict": (1, ERROR, "SecretError"),
    "sync proxy 204 empty": (1, "returned", None),
    "sync retries=2 get_secret HTTP 429": (3, ERROR, "SecretError"),
    "sync retries=2 get_secret HTTP 500": (3, ERROR, "SecretError"),
    "sync retries=2 get_secret HTTP 503": (3, ERROR, "SecretError"),
    "sync retries=2 proxy POST dropped conn (non-idempotent resend)": (1, ERROR, "ProxyError"),
    "sync retries=2 proxy POST read timeout (non-idempotent resend)": (1, ERROR, "ProxyError"),
    "sync token with newline": (0, ERROR, "TokenError"),
    "sync token non-latin1": (0, ERROR, "TokenError"),
    "8 threads cold cache (stampede)": (1, "returned", 8),
    "module get_secret base_url=http://127.0.0.1:9 (ignored?)": (0, ERROR, "SecretError"),
}


def make_call(world: World, case: str) -> tuple[str, Any, str]:
    """Make the call, and return how it ended, its result, and its message."""
    try:
        with world.closing:
            return "returned", CASES[case](world), ""
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        return ERROR, f"{type(error).__module__}.{type(error).__name__}", str(error)


def normalize(text: str, server: DoubleOServer) -> str:
    return TIMEOUT.sub("S", PORT.sub("N", text.replace(server.url, "http://RECORDER")))


def test_every_row_of_the_recording_is_repeated_or_told_why_not() -> None:
    assert set(RECORDED) == set(CASES) | set(UNREPEATED)
    assert set(IMPROVED) <= set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_published_client_works_against_the_stand_in_as_recorded(
    case: str, double_o_server: DoubleOServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published.client, "_default_client", None)
    published.invalidate_cache()
    try:
        kind, value, message = make_call(World(published, double_o_server, tmp_path, asks_once=False), case)
    finally:
        published.invalidate_cache()
        default = published.client._default_client
        if default is not None:
            default.close()
        gc.collect()  # what it leaves open is its own affair
    row = RECORDED[case]
    assert [request.recorded() for request in double_o_server.received] == row["requests"]
    assert (kind, value) == ((ERROR, row["raised"]) if ERROR in row else ("returned", row["returned"]))
    assert normalize(message, double_o_server) == normalize(row.get("message", ""), double_o_server)


@pytest.mark.parametrize("case", CASES)
def test_ours_sends_and_returns_what_was_recorded_or_better(
    case: str, double_o_server: DoubleOServer, tmp_path: Path
) -> None:
    double_o.invalidate_cache()
    try:
        kind, value, _ = make_call(
            World(double_o, double_o_server, tmp_path, asks_once=True, clock=VirtualClock()), case
        )
    finally:
        double_o.invalidate_cache()
    row = RECORDED[case]
    recorded = (ERROR, row["raised"].rpartition(".")[2]) if ERROR in row else ("returned", row["returned"])
    count, *expected = IMPROVED.get(case, (len(row["requests"]), *recorded))
    assert [kind, value.rpartition(".")[2] if kind == ERROR else value] == expected
    sent = [request.recorded() for request in double_o_server.received]
    assert sent == [*row["requests"], *row["requests"][-1:] * count][:count]
    if case in IMPROVED:
        assert (len(row["requests"]), *recorded) != (count, *expected)


# ---- The description of the published client


def blocks() -> list[str]:
    """Return the code of the description; that of the asynchronous client is not served yet."""
    described = importlib.metadata.metadata("double-o")
    text = str(described.get_payload() or described["Description"])
    found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if "AsyncClient" not in block]


@pytest.mark.parametrize("block", blocks())
def test_the_code_of_the_description_runs_with_another_module_name(
    block: str, double_o_server: DoubleOServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("polvo_adapters.services.double_o.settings.BASE_URL", double_o_server.url)
    code = block.replace("import oo\n", "import polvo_adapters.services.double_o as oo\n")
    code = code.replace("from oo import", "from polvo_adapters.services.double_o import")
    for address in ("http://localhost:3001", "http://your-server:8080"):
        code = code.replace(address, double_o_server.url)
    exec(compile(code, "description", "exec"), {"__name__": "__main__"})
    assert double_o_server.received
    assert all(request.headers.get("Authorization", "").startswith("Bearer ") for request in double_o_server.received)


def test_the_description_has_code() -> None:
    assert len(blocks()) >= 7
