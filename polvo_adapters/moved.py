"""The former paths of modules that have moved, so that older imports and pickles keep working.

`moved.txt` lists them. The import system asks the finder last, so that other imports are not slowed down.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]


@lru_cache(maxsize=1)
def read_moves() -> tuple[dict[str, str], dict[str, str]]:
    """Return the new paths of each module, by its old path, and new names, by old path and name."""
    from importlib.resources import files

    lines = files(_PACKAGE).joinpath("moved.txt").read_text("ascii").splitlines()
    return (
        dict(line.split(": ") for line in lines if ": " in line and not line.startswith("#")),
        dict(line.split(" = ") for line in lines if " = " in line and not line.startswith("#")),
    )


class MovedModuleFinder:
    """Finder and loader of former modules, whose names are looked up where they are now."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004 - the signature of a finder
        """Return the spec of a module that has moved, or None for any other."""
        package, _, short = name.partition(".")
        if package != _PACKAGE or short not in read_moves()[0]:
            return None
        is_package = any(old.startswith(f"{short}.") for old in read_moves()[0])
        return ModuleSpec(name, MovedModuleFinder(), is_package=is_package)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave it to the import system to make an empty module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Give the module a `__getattr__` (PEP 562)."""
        before = module.__name__.partition(".")[2]
        modules, names = read_moves()
        homes = modules[before].split()

        def load(asked: str) -> Any:
            name = names.get(f"{before}.{asked}", asked)
            for home in () if asked.startswith("__") else homes:  # what looks at every module imports nothing
                found = importlib.import_module(f"{_PACKAGE}.{home}")
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {asked!r}; it is {', '.join(homes)} now")

        module.__getattr__ = load  # type: ignore[method-assign]


def install_finder() -> None:
    """Let the import system find modules that have moved, after all other finders."""
    if MovedModuleFinder not in sys.meta_path:
        sys.meta_path.append(MovedModuleFinder)
