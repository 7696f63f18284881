"""Modules that show those of another package, with names of ours in the place of some.

Theory of operation. A mirror copies nothing. Each look-up of a name is passed on to the original module, and only where
that still holds what its package defines is ours returned in its place. So a test that puts a mock into the original,
`mock.patch("requests.get")`, reaches code that uses the mirror as well. What is set on a mirror is set in the original
too, until it is deleted or set back, except for the names that are ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

_MISSING = object()


class Replacement(NamedTuple):
    """What stands in the place of a name.

    Attributes:
        ours: The object of ours.
        home: The module that defines the original.
    """

    ours: Any
    home: ModuleType

    def replaces(self, value: Any, name: str) -> bool:
        """Return whether a value is what its package defines, and not what other code has put there.

        It is not compared with what was found at import, which may itself have happened below a patch.
        """
        if isinstance(value, FunctionType):  # the name of a mock made by autospec is that of the original
            return value.__globals__ is self.home.__dict__ and value.__name__ == name
        if isinstance(value, type):
            return (value.__module__, value.__qualname__) == (self.home.__name__, name)
        return value is self.home


class Mirror(ModuleType):
    """A module that shows another one.

    Args:
        name: Its name.
        original: The module that it shows.
        ours: What stands in the place of names of the original.
    """

    _original: ModuleType
    _ours: dict[str, Replacement]
    _before: dict[str, Any]
    """Values of the original, by the names that have been set here."""

    def __init__(self, name: str, original: ModuleType, ours: Mapping[str, Replacement]) -> None:
        super().__init__(name, original.__doc__)
        show(self, original, ours)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._original, name)
        replacement = self._ours.get(name)
        return replacement.ours if replacement is not None and replacement.replaces(value, name) else value

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        replacement, before = state["_ours"].get(name), state["_before"]
        if replacement is None and name not in before:
            if name in state:  # what belongs to this module, such as __spec__
                super().__setattr__(name, value)
                return
            before[name] = getattr(state["_original"], name, _MISSING)
        if value is (before[name] if replacement is None else replacement.ours):  # as when a patch is undone
            self._restore(name)
            return
        super().__setattr__(name, value)  # here too, as a patch within a patch looks for it in `__dict__`
        if replacement is None:
            setattr(state["_original"], name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._before:  # as when a patch is undone that found the name here by `__getattr__` alone
            self._restore(name)
        elif name in self.__dict__ or name in self._ours:
            super().__delattr__(name)
        else:
            delattr(self._original, name)

    def _restore(self, name: str) -> None:
        """Undo what was set by a name, here and in the original."""
        self.__dict__.pop(name, None)
        if name in self._before:
            value = self._before.pop(name)
            if value is _MISSING:
                delattr(self._original, name)
            else:
                setattr(self._original, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._original), *self.__dict__})


def show(module: ModuleType, original: ModuleType, ours: Mapping[str, Replacement]) -> None:
    """Let a module show another one, as a `Mirror`; what it has itself comes first."""
    module.__dict__.update(_original=original, _ours=dict(ours), _before={})
    if type(module) is not Mirror:
        module.__class__ = Mirror


class MirrorFinder:
    """Finder and loader of the submodules of a mirror, which are those of the original.

    Args:
        name: Name of the mirror.
        original: Name of the original package.
    """

    def __init__(self, name: str, original: str) -> None:
        self._prefix = f"{name}."
        self._original = f"{original}."

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the signature of a finder
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec of a submodule that the original has, or None for any other module."""
        if not name.startswith(self._prefix) or importlib.util.find_spec(self._name_of_original(name)) is None:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system to make a module, which the original then takes the place of."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the original in the place of the module."""
        sys.modules[module.__name__] = importlib.import_module(self._name_of_original(module.__name__))

    def _name_of_original(self, name: str) -> str:
        return self._original + name.removeprefix(self._prefix)


def add_submodules(name: str, original: str, mirrors: Mapping[str, ModuleType]) -> None:
    """Let the submodules of a mirror be imported, at any depth, as the very modules of the original package.

    Args:
        name: Name of the mirror.
        original: Name of the original package.
        mirrors: Submodules that are mirrors themselves.
    """
    for each, module in tuple(sys.modules.items()):
        if each.startswith(f"{original}."):
            sys.modules[name + each.removeprefix(original)] = module
    for each, module in mirrors.items():
        sys.modules[f"{name}.{each}"] = module
    # First, as any other finder would load the files of the original for a second time.
    if not any(isinstance(finder, MirrorFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MirrorFinder(name, original))
