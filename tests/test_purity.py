"""The pure layers import nothing but what is known to be pure, and call nothing that reads or writes.

That nothing pure imports from a layer above is for the contracts of import-linter in `pyproject.toml`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "polvo_adapters"
LAYERS = ("core", "headers", "policies")
SINGLE = ("errors.py", "redaction.py", "refresh/lifecycle.py", "refresh/refresh_flow.py", "refresh/spent_tokens.py")
PURE = sorted(
    [*(PACKAGE / name for name in SINGLE), *(path for layer in LAYERS for path in (PACKAGE / layer).rglob("*.py"))]
)
ALLOWED = {
    "__future__",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "difflib",
    "email.utils",
    "functools",
    "itertools",
    "hashlib",
    "inspect",  # parameters of functions of the user's own
    "importlib",  # late imports of our own
    "json",
    "math",
    "re",
    "requests.exceptions",
    "typing",
    "unicodedata",
    "urllib.parse",
}
FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
FORBIDDEN_ATTRIBUTES = {"now", "today", "utcnow", "fromtimestamp", "formatdate", "localtime"}


def imported(tree: ast.Module) -> set[str]:
    """Return the modules that are imported at run time; names under TYPE_CHECKING are not."""
    checking = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def allowed(name: str) -> bool:
    if name.startswith("polvo_adapters."):
        path = PACKAGE.joinpath(*name.split(".")[1:])
        modules = (path.with_suffix(".py"), path.parent.with_suffix(".py"))
        return any(each in PURE for each in (*modules, path / "__init__.py", path.parent / "__init__.py"))
    return any(name == module or name.startswith(module + ".") for module in ALLOWED)


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_pure_modules_import_only_what_is_pure(path: Path) -> None:
    impure = {name for name in imported(ast.parse(path.read_text())) if not allowed(name)}
    assert impure == set()


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_pure_modules_do_nothing(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            assert not (node.func.attr in FORBIDDEN_ATTRIBUTES and owner in ("datetime", "date", "time")), owner


@pytest.mark.parametrize(
    "source",
    ["import time", "from time import monotonic", "import random", "from polvo_adapters.runtime.clock import SYSTEM"],
)
def test_the_check_itself_finds_what_it_looks_for(source: str) -> None:
    assert not all(allowed(name) for name in imported(ast.parse(source)))
