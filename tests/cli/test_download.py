"""`polvo download`, run for real against a server that cuts its bodies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from polvo_adapters.__main__ import main
from polvo_adapters.runtime.clock import SystemClock
from tests.support.cutting_server import Entity, serve

PLAIN = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "uniform", staticmethod(lambda low, high: low))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def test_a_file_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(Entity(PLAIN), cuts=[1000]) as server:
        assert main(["download", server.url]) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "file.bin").read_bytes() == PLAIN
    assert out == f"{tmp_path / 'file.bin'}: 102,400 bytes\n"
    assert re.search(r"1 200 OK.*the body broke off after 1000 bytes.*2 206 Partial Content", err, re.DOTALL)


def test_without_a_terminal_nothing_but_the_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Entity(PLAIN)) as server:
        assert main(["download", server.url, "-o", str(tmp_path / "x"), "-H", "X-A: b"]) == 0
        assert server.seen[0].headers["x-a"] == "b"
    assert capsys.readouterr() == (f"{tmp_path / 'x'}: 102,400 bytes\n", "")


def test_a_download_that_breaks_off_can_be_called_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["-o", str(tmp_path / "x"), "--attempts", "2"]
    with serve(Entity(PLAIN), cuts=[1000, 0]) as server:
        assert main(["download", server.url, *command]) == 3
        assert "1000 bytes are kept, so that the same download goes on from there" in capsys.readouterr().err
        assert main(["download", server.url, *command]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x'}: 102,400 bytes, 1,000 of them from an earlier run\n"
    assert (tmp_path / "x").read_bytes() == PLAIN


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Entity(PLAIN)) as server:
        assert main(["download", server.url.rpartition("/")[0] + "/", "-o", str(tmp_path)]) == 1
        assert "name the file" in capsys.readouterr().err
        assert main(["download", server.url, "-o", str(tmp_path / "none" / "x")]) == 1
        assert "No such file or directory" in capsys.readouterr().err
    with serve(Entity(PLAIN), cuts=[10], rest="changed") as server:
        assert main(["download", server.url, "-o", str(tmp_path / "x"), "--on-change", "fail"]) == 3
        assert "the entity changed" in capsys.readouterr().err
    assert main(["download", "http://127.0.0.1:9/x", "-o", str(tmp_path / "x"), "--attempts", "1"]) == 3
    assert list(tmp_path.iterdir()) == []
