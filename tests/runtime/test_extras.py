"""The command for a missing library works from where the user is."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import polvo_adapters
from polvo_adapters.runtime import extras
from polvo_adapters.version import require_python

PACKAGE = Path(polvo_adapters.__file__).parent


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that lets the package be installed in a way."""

    def install(origin: dict[str, Any] | None, *, from_clone: bool = False) -> Path:
        place = tmp_path / "it's a clone"
        place.mkdir(exist_ok=True)
        if from_clone:
            (place / "setup.cfg").touch()
        text = None if origin is None else json.dumps(origin).replace("CLONE", place.as_uri())
        found = SimpleNamespace(read_text=lambda _: text)
        monkeypatch.setattr(extras.metadata, "distribution", lambda _: found)
        monkeypatch.setattr(extras, "_BESIDE", place)
        monkeypatch.setattr(extras.shutil, "which", lambda _: sys.executable)
        return place

    return install


def test_from_an_index(installed: Any) -> None:
    installed(None)
    assert extras.install_command("cli") == "python -m pip install 'polvo_adapters[cli]'"


def test_from_a_clone_that_is_not_installed(installed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = installed(None, from_clone=True)
    monkeypatch.chdir(clone)
    assert extras.install_command("cli") == "python -m pip install '.[cli]'"
    monkeypatch.chdir(tmp_path)
    command = extras.install_command("cli")
    assert extras.shlex.split(command) == ["python", "-m", "pip", "install", f"{clone}[cli]"]


@pytest.mark.parametrize("is_editable", [True, False])
def test_installed_from_a_clone(installed: Any, is_editable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = installed({"url": "CLONE", "dir_info": {"editable": is_editable}}, from_clone=is_editable)
    monkeypatch.chdir(clone)
    assert extras.install_command("cli") == f"python -m pip install {'-e ' if is_editable else ''}'.[cli]'"


def test_a_clone_that_hides_what_is_installed_from_another(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = installed({"url": "file:///other", "dir_info": {"editable": True}}, from_clone=True)
    monkeypatch.chdir(clone)
    assert extras.install_command("vault") == "python -m pip install '.[vault]'"


def test_a_clone_that_is_gone(installed: Any) -> None:
    installed({"url": "file:///nowhere/at/all", "dir_info": {}})
    assert extras.install_command("cli") == "python -m pip install 'polvo_adapters[cli]'"


def test_from_a_repository(installed: Any) -> None:
    installed({"url": "https://git.test/p.git", "vcs_info": {"vcs": "git"}})
    assert extras.install_command("cli") == "python -m pip install 'polvo_adapters[cli] @ git+https://git.test/p.git'"


def test_a_python_that_is_not_the_first_on_the_path(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(None)
    monkeypatch.setattr(extras.shutil, "which", lambda _: "/other/python")
    monkeypatch.chdir(Path(sys.executable).parent.parent)
    assert extras.install_command("cli").startswith(f"bin/{Path(sys.executable).name} -m pip install ")


@pytest.mark.parametrize("running", [(3, 9), (3, 8), (2, 7)])
def test_an_old_python_is_refused_in_one_line(running: tuple[int, ...]) -> None:
    with pytest.raises(ImportError) as caught:
        require_python(running)
    found = ".".join(map(str, running))
    assert str(caught.value) == f"polvo_adapters needs Python 3.10 or later, and this is Python {found}"


@pytest.mark.parametrize("running", [(3, 10), (3, 14), (4, 0)])
def test_other_pythons_are_not_refused(running: tuple[int, ...]) -> None:
    require_python(running)


def test_an_old_python_gets_as_far_as_the_refusal() -> None:
    """What is executed before it has a syntax that Python 3.8 knows, and imports nothing else of this package."""
    ast.parse((PACKAGE / "version.py").read_text(), feature_version=(3, 8))
    before = []
    for line in ast.parse((PACKAGE / "__init__.py").read_text(), feature_version=(3, 8)).body:
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call):
            assert ast.unparse(line) == "require_python()"
            break
        before += [line.module] if isinstance(line, ast.ImportFrom) else []
    assert before == ["__future__", "typing", "polvo_adapters.version"]


def test_the_command_is_written_in_one_place_only() -> None:
    """A message that writes `pip install` itself names an index where the user has a clone."""
    found = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.name != "extras.py" and "pip install" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "pip install" in node.value
    ]
    assert not found


WITHOUT = """
import sys
for name in ("httpx", "persistqueue", "dotenv", "keyring", "rich", "boto3"):
    sys.modules[name] = None
import pathlib
import polvo_adapters as polvo
from polvo_adapters.services import double_o, ezthrottle, taruvi

pathlib.Path(".env").write_text("TARUVI_API_URL=http://x")
CALLS = {
    "AsyncSession": lambda: polvo.AsyncSession(),
    "transports": lambda: __import__("polvo_adapters.transports"),
    "aio": lambda: __import__("polvo_adapters.aio"),
    "client": lambda: __import__("polvo_adapters.client"),
    "double-o": lambda: double_o.AsyncClient(),
    "double-o with keywords": lambda: double_o.AsyncClient(headers={}),
    "taruvi": lambda: taruvi.Client("http://x", "app", mode="async", env_file=None),
    "taruvi, .env": lambda: taruvi.Client(app_slug="app"),
    "queue": lambda: ezthrottle.LocalEngine("jobs"),
    "keyring": lambda: polvo.Secret("keyring://a/b").get(),
    "aws": lambda: polvo.Secret("aws-ssm:///a").get(),
}
for name, call in CALLS.items():
    try:
        call()
    except Exception as error:
        print(name, "|", str(error).splitlines()[0])
    else:
        print(name, "| nothing was missing")
assert not pathlib.Path("jobs").exists()
"""


def test_whatever_is_missing_is_told_with_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT]
    path = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=path)
    told = dict(line.split(" | ") for line in done.stdout.splitlines())
    extra = {"taruvi, .env": "dotenv", "queue": "queue", "keyring": "keyring", "aws": "aws"}
    assert len(told) == 11
    for name, text in told.items():
        assert re.search(rf" needs .*: \S+ -m pip install (-e )?'\S+\[{extra.get(name, 'httpx')}\]'", text), (
            name,
            text,
        )
