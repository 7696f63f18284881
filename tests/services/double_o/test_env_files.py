"""Variables: all or none, into the process or a file that shells read as it was meant."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.services.double_o import env_files

NAMES = st.from_regex(r"POLVO_[A-Z_]{1,8}", fullmatch=True)


@pytest.mark.parametrize(
    "variables",
    [
        {"GOOD": "1", "BAD": 5},
        {"GOOD": "1", "BAD": None},
        {"GOOD": "1", "BAD": ["hidden"]},
        {"GOOD": "1", "BAD": True},
        {"GOOD": "1", "BAD": "hidden\x00"},
        {"GOOD": "1", "BAD": "hidden\ud800"},
        {"GOOD": "1", "": "hidden"},
        {"GOOD": "1", "A=B": "hidden"},
        {"GOOD": "1", "A\x00B": "hidden"},
        {"GOOD": "1", 5: "hidden"},
    ],
)
@pytest.mark.parametrize("file", [False, True])
def test_what_cannot_be_a_variable_is_told_without_its_value(variables: dict[Any, Any], file: bool) -> None:
    problem = env_files.find_problem(variables, file=file)
    assert problem.endswith("nothing was changed")
    assert "hidden" not in problem
    assert "GOOD" not in problem


@pytest.mark.parametrize(
    "value",
    ["a\nB=1", "a\rb", "a\x0bb", "a\x1bb", "a\x85b", "a\u2028b", "a\x7fb", "it's $5", "`id`'", "$HOME\\n"],
)
def test_what_readers_of_files_do_not_agree_on_is_refused(value: str) -> None:
    assert env_files.find_problem({"A": value}) == ""
    assert env_files.find_problem({"A": value}, file=True)


@pytest.mark.parametrize("name", ["A-B", "A B", "1A", "A\nB", "export A", "A;id", "Ä", "A.b", "#A"])
def test_names_that_do_something_else_in_a_file_are_refused(name: str) -> None:
    assert env_files.find_problem({name: "x"}, file=True)


@given(st.dictionaries(NAMES, st.text(max_size=20), max_size=4))
def test_a_shell_reads_what_was_written(variables: dict[str, str]) -> None:
    if env_files.find_problem(variables, file=True):
        return
    script = "set -a; . /dev/stdin; env -0"
    text = env_files.format_lines(variables)
    assert len(text.splitlines()) == len(variables)
    done = subprocess.run(
        ["sh", "-c", script], input=text.encode(), env={}, capture_output=True, check=True, timeout=20
    )
    seen = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry.startswith("POLVO_"))
    assert seen == variables
    assert done.stderr == b""


@pytest.mark.parametrize(
    "value", ["$(touch {})", "`touch {}`", "${{X:-$(touch {})}}", '"; touch {}; "', "'; touch {}; '"]
)
def test_a_shell_runs_nothing_of_a_value(value: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    variables = {"A": value.format(trap)}
    if not env_files.find_problem(variables, file=True):
        text = env_files.format_lines(variables)
        subprocess.run(["sh", "-c", ". /dev/stdin"], input=text.encode(), check=True, timeout=20)
    assert not trap.exists()


def test_load_sets_all_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLVO_OLD", "old")
    monkeypatch.delenv("POLVO_NEW", raising=False)
    with pytest.raises(ValueError, match="null"):  # as where a system refuses what looked good
        env_files.set_variables({"POLVO_NEW": "1", "POLVO_OLD": "2", "POLVO_BAD": "a\0"})
    assert (os.environ["POLVO_OLD"], "POLVO_NEW" in os.environ) == ("old", False)
    env_files.set_variables({"POLVO_NEW": "1", "POLVO_OLD": "2"})
    assert (os.environ["POLVO_NEW"], os.environ["POLVO_OLD"]) == ("1", "2")
    del os.environ["POLVO_NEW"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_file_is_its_owners_alone(umask: int, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        env_files.write_file(str(path), "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == [".env"]


def test_appending_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env_files.write_file(".env", "A=1\n", append=True)
    env_files.write_file(".env", "B=2\n", append=True)
    assert Path(".env").read_text() == "\nA=1\n\nB=2\n"


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("append", [False, True])
def test_on_a_full_disk_the_old_file_stays(append: bool, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("old")
    with disk_of(1000), pytest.raises(OSError, match="too large"):
        env_files.write_file(str(path), "x" * 100_000, append=append)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [".env"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        env_files.write_file(str(tmp_path / "nowhere" / ".env"), "x")


WRITER = """
import itertools, sys
from polvo_adapters.services.double_o import env_files as environment
for number in itertools.count():
    environment.write_file(sys.argv[1], "ab"[number % 2] * 200_000)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    for count in range(1, 6):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            guard = threading.Timer(30, writer.kill)
            guard.start()
            for _ in range(count):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            writer.wait(30)
            guard.cancel()
            guard.join()
        assert path.read_text() in ("a" * 200_000, "b" * 200_000)
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
