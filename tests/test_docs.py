"""The documentation is true: every Python block of README and docs runs, against a failure server."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters
from polvo_adapters.testing import FailureServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run(page: Path, server: FailureServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page one after the other, as a reader would, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        code = block.replace("http://127.0.0.1:8000", server.url)
        exec(compile(code, str(page), "exec"), namespace)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs/index.md").read_text()
    listed = set(re.search(r"```{toctree}\n:hidden:\n\n(.*?)```", index, re.DOTALL)[1].split())
    assert listed == {page.stem for page in PAGES} - {"README", "index"}


def test_the_build_runs_the_test_command_of_the_readme() -> None:
    commands = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]
    tests = [command for command in commands if "pytest" in command]
    assert len(tests) == 1
    assert tests[0] in (ROOT / ".ci/run").read_text().splitlines()


def test_every_public_name_is_documented() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    errors = {name for name in polvo_adapters.__all__ if name in vars(polvo_adapters.errors)}
    missing = {name for name in polvo_adapters.__all__ if name not in pages} - errors - {"__version__"}
    assert missing == set()


def test_the_dependencies_are_the_ones_that_the_design_page_defends() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = [re.split(r"[ <>=]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line]
    text = (ROOT / "docs/design.md").read_text().partition("## Dependencies")[2]
    assert all(name in text for name in names)
