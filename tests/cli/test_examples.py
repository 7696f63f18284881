"""The examples of the help and of the page on the command line, as they stand, in the home directory of a new user."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from polvo_adapters.__main__ import main
from polvo_adapters.cli.arguments import make_parser
from polvo_adapters.runtime.clock import SystemClock
from polvo_adapters.testing import FailureServer
from tests.support.cutting_server import Entity, serve

PAGE = (Path(__file__).parents[2] / "docs/command-line.md").read_text()


def list_examples() -> list[list[str]]:
    """Return the arguments of each example, those that need the token of another after that."""
    help_text = (make_parser().epilog or "").partition("examples:")[2]
    lines = [line.strip() for line in help_text.splitlines() if line.strip()]
    found = [line.partition(" -m polvo_adapters ")[2] or line.partition("polvo ")[2] for line in lines]
    found += re.findall(r"^\$ polvo (.*)$", PAGE, re.MULTILINE)
    return sorted((shlex.split(line) for line in found), key=lambda arguments: arguments[0] == "tokens")


EXAMPLES = list_examples()


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return what stands for the hosts of the examples, in an empty home directory."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("EZTHROTTLE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "uniform", staticmethod(lambda low, high: 0.02))
    with FailureServer() as server, serve(Entity(b"content")) as files:
        yield {
            "https://files.example.com/model.bin": files.url,
            "https://id.example.com": f"{server.url}/automatic",
            "https://api.example.com/": f"{server.url}/echo?",
            "https://app.example.com/": f"{server.url}/echo?",
        }


def place(argument: str, urls: dict[str, str], home: Path) -> str:
    """Return an argument as the shell hands it over, with the stand-ins in place of the hosts."""
    for url, other in urls.items():
        argument = argument.replace(url, other)
    return str(home / argument[2:]) if argument.startswith("~/") else argument


def test_every_example_works_at_once(urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [arguments[0] for arguments in EXAMPLES]
    assert len(EXAMPLES) >= 15
    assert {"get", "post", "download", "job", "probe", "login", "tokens", "demo"} <= set(commands)
    for arguments in EXAMPLES:
        words = [place(word, urls, tmp_path) for word in arguments if word not in (">", "items.json")]
        code = main([*words, "--calls", "1"] if words[0] == "demo" else words)
        assert code == 0, (arguments, capsys.readouterr())


def test_a_directory_that_is_missing_is_made_where_its_name_ends_in_a_slash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Entity(b"content")) as server:
        assert main(["download", server.url, "-o", f"{tmp_path}/models/"]) == 0
        assert (tmp_path / "models" / "file.bin").read_bytes() == b"content"
        assert main(["download", server.url, "-o", f"{tmp_path}/no/models/"]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
