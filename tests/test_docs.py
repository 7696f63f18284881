"""The documentation is true: every Python block of README and docs runs, against a failure server."""

from __future__ import annotations

import codeop
import doctest
import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters
from polvo_adapters.policies.defaults import SESSION_BREAKER, DefaultDeadline
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT
from polvo_adapters.testing import FailureServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SERVED = ("https://api.example.com", "https://id.example.com", "https://us.example.com", "http://127.0.0.1:8000")
"""Origins in snippets that the failure server stands in for."""
DOWN = ("https://eu.example.com",)
"""Origins in snippets at which no server listens."""

PATHS = {
    "account": "oauth/protected",
    "exports": "fault/drip?size=1000&interval=0.1&key=exports",
    "files/model.bin": "fault/status?code=200&key=files",
    "feed": "fault/status?code=999&times=1&key=feed",
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


RUN_ELSEWHERE = {"client": "tests/client/test_guide.py", "taruvi": "tests/services/taruvi/test_guide.py"}
"""Pages with blocks as the interpreter of asyncio runs them, or for other servers, and the tests that run them."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


RUN_HERE = [page for page in PAGES if blocks(page, "python") and page.stem not in RUN_ELSEWHERE]


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


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.stem)
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
    assert [test for test in RUN_ELSEWHERE.values() if not (ROOT / test).exists()] == []


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.stem)
def test_python_blocks_can_be_pasted_into_the_interpreter(page: Path) -> None:
    """There, a line without indentation must not follow a suite, nor a blank line be within one."""
    for block in blocks(page, "python"):
        assert find_first_unpastable(block) is None, f"{page.name}: put a blank line after a suite, and none into one"


def find_first_unpastable(block: str) -> str | None:
    """Return the line of a block at which the interpreter fails, or goes on waiting."""
    compiled, lines = codeop.CommandCompiler(), list[str]()
    for line in block.splitlines():
        lines.append(line)
        try:
            if compiled("\n".join(lines)) is not None:
                lines = []
        except SyntaxError:
            return line
    return lines[-1] if lines else None


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/tutorial.md"], ids=lambda page: page.stem)
def test_a_new_user_pastes_the_page(page: Path, server: FailureServer, tmp_path: Path) -> None:
    """Into the interpreter itself, block by block; each prints what the page says that it prints."""
    pasted = on_failure_server("\n".join(blocks(page, "python")), server.url)
    command = [sys.executable, "-i", "-c", "import sys; sys.ps1 = sys.ps2 = ''"]
    done = subprocess.run(command, input=pasted, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert re.search(
        r"3 attempts in .*\n +503 after .*\n +waited .*Retry-After 0\.2 s.*\n +503 .*\n +waited .*\n +200", done.stdout
    )


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_path_of_the_repository_that_a_page_names_exists() -> None:
    """Modules, folders and tests, from the root, from the package, or from any folder of it."""
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.py")]
    folders = {f"/{file.rpartition('/')[0]}/" for file in files}
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for name in re.findall(r"`([a-z_][\w/]*\.py|[a-z_]\w*/[\w/]*/)`", page.read_text()):
            known = folders if name.endswith("/") else [f"/{file}" for file in files]
            assert any(f"/{name}" in each for each in known), f"{page.name}: {name}"


def test_every_module_that_a_docstring_names_exists() -> None:
    """With the name of a function or class of the module behind it, or without."""
    package = ROOT / "polvo_adapters"
    for path in package.rglob("*.py"):
        for name in set(re.findall(r"`polvo_adapters\.([a-z_.]+)(?:\.[A-Z]\w*)?`", path.read_text())):
            parts = package.joinpath(*name.split("."))
            if parts.exists() or parts.with_suffix(".py").exists():
                continue
            module = parts.parent / "__init__.py" if parts.parent.is_dir() else parts.parent.with_suffix(".py")
            assert module.exists(), f"{path.name}: {name}"
            assert re.search(rf"\b{parts.name}\b", module.read_text()), f"{path.name}: {name}"


def test_the_design_page_lists_every_tag_of_a_stored_state() -> None:
    text = (ROOT / "docs/design.md").read_text()
    modules = "".join(path.read_text() for path in (ROOT / "polvo_adapters").rglob("*.py"))
    tags = re.findall(r'^@stored_as\("([\w.-]+)"', modules, re.MULTILINE)
    assert len(tags) > 10
    assert [tag for tag in tags if f"`{tag}`" not in text] == []


def test_no_row_of_a_table_stands_apart_from_it() -> None:
    """A row after a blank line is shown as text."""
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for first, second in re.findall(r"(?<!\|)\n(\|.*)\n(.*)", prose):
            assert re.fullmatch(r"\|[\s:|-]+\|", second), f"{page.name}: {first}"


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


DEFAULTS = {
    "breaker": (polvo_adapters.breaker.CircuitBreaker,),
    "bulkhead": (polvo_adapters.bulkhead.Bulkhead, polvo_adapters.bulkhead.AdaptiveBulkhead),
    "fallback": (polvo_adapters.fallback.Fallback, polvo_adapters.fallback.StaleCache),
    "hedge": (polvo_adapters.hedge.Hedge,),
    "idempotency": (polvo_adapters.idempotency.IdempotencyKeys, polvo_adapters.idempotency.Record),
    "ratelimit": (polvo_adapters.ratelimit.AdaptiveRateLimit, polvo_adapters.ratelimit.TokenBucket),
    "regions": (polvo_adapters.regions.Regions,),
    "retry": (polvo_adapters.retry.ExponentialBackoff, polvo_adapters.retry.RetryBudget),
}
"""The page whose table has the defaults of a policy."""


@pytest.mark.parametrize(("page", "policy"), [(page, policy) for page, all_of in DEFAULTS.items() for policy in all_of])
def test_every_default_has_its_reason(page: str, policy: type) -> None:
    """Each keyword with a default has a row of the table, which is linked from the table of the session."""
    text = (
        (ROOT / f"docs/{page}.md").read_text().partition("## Every default, in one sentence")[2].partition("\n## ")[0]
    )
    fields = inspect.signature(policy).parameters.values()
    names = {field.name for field in fields if field.default is not field.empty}
    missing = {name for name in names if f"`{name}`" not in text and f"`{policy.__name__}.{name}`" not in text}
    assert missing == set()
    assert f"{page}.md#every-default-in-one-sentence" in (ROOT / "docs/session.md").read_text()
    reasons = [row.split("|")[3].strip() for row in text.splitlines() if row.startswith("| ")]
    assert len(reasons) > 5
    assert all(reasons)


def test_the_table_of_the_session_has_the_figures_of_the_code() -> None:
    text = (ROOT / "docs/session.md").read_text().partition("## Defaults")[2].partition("\n## ")[0]
    breaker = SESSION_BREAKER
    for figure in (
        f"{polvo_adapters.retry.ExponentialBackoff().max_attempts} attempts",
        f"| `timeout` | {DEFAULT_TIMEOUT:g} s |",
        f"| `deadline` | {DefaultDeadline().seconds(1):g} s",
        f"last {breaker['window_calls']} calls",
        f"at least {breaker['minimum_throughput']}",
        f"opens for {breaker['recovery_timeout']:g} s",
        f"up to {breaker['max_recovery_timeout']:g} s",
    ):
        assert figure in text


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
