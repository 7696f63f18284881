"""What makes an adapter that wraps another look like the one that it wraps.

Theory of operation. The wrapped adapter was made for code that goes on to use it: it reads its settings, changes its
pools, calls its methods, asks for its class. That code now meets the wrapping adapter. So an adapter with an `inner` is
of a class made for that purpose, with `Wrapping` in front of its own class:

    name                                              read            write and delete
    ------------------------------------------------  --------------  ----------------------------------------------
    defined by the class of the wrapping adapter      its own         its own
    method of HTTPAdapter that this class leaves      the inner's     the inner's
    anything else                                     its own, or     its own if it has one; otherwise the inner's,
                                                      the inner's     or for a subclass of the caller's its own

`isinstance` holds for both classes. A class that the caller has derived is named by the caller, and so stays the
`__class__` of its objects. Adapters without an `inner` have nothing of this, and bear no cost of it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.shells.extended_class import extend

_OURS = "polvo_adapters."
_KEPT = {"send", "close"}
_STATE = frozenset({*HTTPAdapter.__attrs__, "poolmanager", "proxy_manager"})
"""What an HTTPAdapter has of its own; a wrapping adapter has no pools."""


_assign = object.__dict__["__class__"].__set__


def become_wrapping(adapter: Any) -> None:
    """Give an adapter that has an `inner` the class that makes it look like that, where its class can be extended."""
    kind: Any = type(adapter)
    if isinstance(adapter, Wrapping) or "inner" not in vars(adapter):
        return
    with suppress(TypeError):  # a class with slots, or one that expects keywords of its subclasses
        _assign(adapter, _wrapping_class(kind))


class Wrapping:
    """The mixin of adapters that wrap another."""

    # Without `__slots__`: an object can take on another class only where both lie in memory in the same way.
    _class_timeout: Any
    """The default timeout of that class, unless the caller has derived it and says otherwise."""
    _wrapping_kind: type
    """The class of the adapter without this mixin."""
    inner: Any

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Tell the class below nothing: it is not derived by the caller."""

    @property
    def timeout(self) -> Any:
        """The timeout of an attempt for which the caller named none: that of the wrapped adapter, if it has one."""
        state = self.__dict__
        if "timeout" in state:
            return state["timeout"]
        return getattr(state["inner"], "timeout", self._class_timeout)

    @timeout.setter
    def timeout(self, value: Any) -> None:
        state = self.__dict__
        if "timeout" not in state and hasattr(state["inner"], "timeout"):
            state["inner"].timeout = value
        else:
            state["timeout"] = value

    def __setattr__(self, name: str, value: Any) -> None:
        if self._owns(name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.__dict__["inner"], name, value)

    def __delattr__(self, name: str) -> None:
        if self._owns(name):
            object.__delattr__(self, name)
        else:
            delattr(self.__dict__["inner"], name)

    def _owns(self, name: str) -> bool:
        """Return whether an attribute of a name is this adapter's, and not the wrapped one's."""
        if name in self.__dict__ or name in type(self)._own_names:  # type: ignore[attr-defined]
            return True
        return not _is_ours(self._wrapping_kind) and name not in _STATE and name not in _METHODS

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind: Any = self._wrapping_kind
        if kind.__reduce__ is not object.__reduce__:
            return kind.__reduce__(self)
        return _make_empty, (kind,), self.__getstate__()  # type: ignore[attr-defined]


def _claim(self: Any) -> type:
    """Return the class that an adapter says to have."""
    kind: type = self._wrapping_kind
    inner = self.__dict__.get("inner")
    return kind if inner is None or not _is_ours(kind) else inner.__class__


class _Forwarded:
    """A method of the wrapped adapter."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, adapter: Any, kind: Any = None) -> Any:
        if adapter is None:
            return getattr(HTTPAdapter, self._name)
        return getattr(adapter.__dict__["inner"], self._name)


_METHODS = frozenset(
    name
    for name, value in {**vars(BaseAdapter), **vars(HTTPAdapter)}.items()
    if callable(value) and not name.startswith("__") and name not in _KEPT
)


@lru_cache(maxsize=256)
def _wrapping_class(kind: Any) -> type:
    """Return the class of wrapping adapters of a class."""
    left = {name: _Forwarded(name) for name in _METHODS if _is_standard(_definer(kind, name))}
    above = [base for base in kind.__mro__ if base is not object and not base.__module__.startswith("requests.")]
    own = {name for base in (*above, Wrapping) for name in vars(base)} - left.keys()
    members = {**left, "__class__": property(_claim, _assign), "_own_names": frozenset(own), "_wrapping_kind": kind}
    if _is_standard(_definer(kind, "timeout")):
        members["_class_timeout"] = getattr(kind, "timeout", None)
    else:  # the caller's class has a way of its own
        members["timeout"] = vars(_definer(kind, "timeout"))["timeout"]
    made: type = extend(kind, Wrapping, **members)
    return made


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith(_OURS)


def _is_standard(definer: type | None) -> bool:
    """Return whether a method is defined by `requests` or by this package, and not by the caller."""
    return definer is None or definer in (BaseAdapter, HTTPAdapter) or _is_ours(definer)


def _definer(kind: type, name: str) -> type | None:
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def _make_empty(kind: Any) -> Any:
    return kind.__new__(kind)
