"""The documentation is true: every Python block of README and docs runs, against a failure server."""

from __future__ import annotations

import doctest
import logging
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters
from polvo_adapters.testing import FailureServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = {"taruvi": "tests/services/taruvi/test_guide.py"}
"""Pages whose blocks need another server, and the tests that run them."""

SERVED = ("https://api.example.com", "https://id.example.com", "https://us.example.com", "http://127.0.0.1:8000")
"""Origins in snippets that the failure server stands in for."""
DOWN = ("https://eu.example.com",)
"""Origins in snippets at which no server listens."""

PATHS = {
    "account": "oauth/protected",
    "exports": "fault/drip?size=1000&interval=0.1&key=exports",
    "files/model.bin": "fault/status?code=200&key=files",
    "feed": "fault/status?code=420&times=1&key=feed",
    "history": "quota?limit=1&window=30&dialect=draft-8&key=history",
    "invoices": "fault/status?code=503&times=3&key=invoices",
    "items": "quota?limit=20&window=2&dialect=draft-8&key=items",
    "jobs": "fault/status?code=500&times=1&key=jobs",
    "news": "fault/status?code=503&after=1&key=news",
    "orders": "echo",
    "orders?page=2": "echo?page=2",
    "payments": "fault/reset?times=1&key=payments",
    "plans": "fault/status?code=429&retry_after=3600&key=plans",
    "prices": "fault/status?code=503&retry_after=0.1&times=2&key=prices",
    "recommendations": "fault/status?code=502&key=recommendations",
    "search": "fault/hang?times=1&key=search",
    "transfers": "fault/reset?key=transfers",
    "users": "fault/reset?times=1&key=users",
}
"""What the failure server does at a path of a snippet, in a whole URL or in a relative one."""


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """Undo what a page does to loggers."""
    names = [name for name in logging.Logger.manager.loggerDict if name.startswith("polvo_adapters")]
    before = [(log, log.level, list(log.handlers)) for log in map(logging.getLogger, names)]
    yield
    for log, level, handlers in before:
        log.setLevel(level)
        log.handlers = handlers


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def on_failure_server(code: str, url: str) -> str:
    """Return a snippet that calls the failure server where it calls the API of an example."""

    def replaced(match: re.Match[str]) -> str:
        return f'"{match[1]}{PATHS.get(match[2], match[2])}"'

    code = re.sub(r'"(https://\w+\.example\.com/|)([^"\s]*)"', replaced, code)
    for origin in SERVED:
        code = code.replace(origin, url)
    for origin in DOWN:
        code = code.replace(origin, "http://127.0.0.1:1")
    return code


def run(code: str, namespace: dict[str, Any], page: Path) -> None:
    """Run a block, or step through the session with the interpreter that it shows."""
    if not code.startswith(">>> "):
        exec(compile(code, str(page), "exec"), namespace)
        return
    session = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), 0)
    doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(session, clear_globs=False)
    namespace.update(session.globs)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python") and page.stem not in GUIDES], ids=lambda page: page.stem
)
def test_python_blocks_run(
    page: Path,
    server: FailureServer,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run the blocks of a page one after the other, as a reader would, in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "(?:python|pycon)"):
        run(on_failure_server(block, server.url), namespace, page)


def test_every_guide_has_a_test() -> None:
    assert [test for test in GUIDES.values() if not (ROOT / test).exists()] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    """Each page once, in a group that has a caption."""
    index = (ROOT / "docs/index.md").read_text()
    groups = re.findall(r"```{toctree}\n:hidden:\n:caption: \w+\n\n(.*?)```", index, re.DOTALL)
    assert len(groups) == index.count("{toctree}")
    listed = [page for group in groups for page in group.split()]
    assert sorted(listed) == sorted({page.stem for page in PAGES} - {"README", "index"})


def test_the_build_runs_the_test_command_of_the_readme() -> None:
    commands = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]
    tests = [command for command in commands if "pytest" in command]
    assert len(tests) == 1
    assert tests[0] in (ROOT / ".ci/run").read_text().splitlines()


def test_every_public_name_is_documented() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    missing = {name for name in polvo_adapters.__all__ if name not in pages} - {"__version__"}
    assert missing == set()


def test_the_page_on_errors_has_every_error() -> None:
    """In a table, not only in the reference."""
    tables = (ROOT / "docs/errors.md").read_text().partition("```{eval-rst}")[0]
    errors = {name for name in polvo_adapters.__all__ if name in vars(polvo_adapters.errors)}
    assert {name for name in errors if f"`{name}`" not in tables} == set()


def test_the_glossary_is_in_alphabetical_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)


def test_the_dependencies_are_the_ones_that_the_design_page_defends() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = [re.split(r"[ <>=]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line]
    text = (ROOT / "docs/design.md").read_text().partition("## Dependencies")[2]
    assert all(name in text for name in names)
