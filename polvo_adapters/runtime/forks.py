"""What objects do when the process forks.

A forked child has the memory of its parent, but only the thread that forked: a lock that another thread held is never
released there, and a socket or a database connection is used by both processes. An object that has any of these
registers when it is constructed, and is forgotten with its last reference.

Python has such a lock for each module that is being imported. Much of this package is imported when it is first used,
so a fork waits until no other thread is doing that: in the child, the module could never be imported.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from typing import Protocol

from polvo_adapters.runtime.logs import logger, say

_PATIENCE = 5.0  # seconds to wait before a fork: for the lock of an object, and for imports
_PACKAGE = __name__.partition(".")[0]

_log = logger("forks")


class ForkAware(Protocol):
    """An object that holds locks, threads or connections."""

    def after_fork_in_child(self) -> None:
        """Replace in the child what belongs to the parent: called while there is one thread."""


class ForkGuarded(ForkAware, Protocol):
    """An object that no other thread may use while the process forks.

    Attributes:
        lock: Held by the thread that uses the object, and by the thread that forks; the child has to replace it.
    """

    lock: threading.Lock

    def before_fork(self) -> None:
        """Close what a child must not inherit; the lock is held."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_guarded: weakref.WeakSet[ForkGuarded] = weakref.WeakSet()
_registry = threading.Lock()  # of _guarded; held over a fork, so that no such object is constructed meanwhile
_held: list[ForkGuarded] = []  # objects whose lock is held over a fork


def register(target: ForkAware) -> None:
    """Call `after_fork_in_child` of an object in every child that is forked while the object exists."""
    _aware.add(target)


def register_guarded(target: ForkGuarded) -> None:
    """Hold the lock of an object over every fork, and call its methods before the fork and in the child."""
    with _registry:
        _guarded.add(target)


def _wait_for_imports() -> None:
    """Wait until no other thread imports a module of this package."""
    ends = time.monotonic() + _PATIENCE
    while threading.active_count() > 1 and _is_importing() and time.monotonic() < ends:
        time.sleep(0.001)


def _is_importing() -> bool:
    """Return whether a module of this package is being imported, as the machinery of imports notes in its spec."""
    loaded = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == _PACKAGE]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in loaded)


def _before_fork() -> None:
    _wait_for_imports()
    _registry.acquire()
    for target in _guarded:
        if target.lock.acquire(timeout=_PATIENCE):
            _held.append(target)
            target.before_fork()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _registry.release()


def _after_fork_in_child() -> None:
    _held.clear()
    _registry.release()
    for target in (*_guarded, *_aware):
        try:
            target.after_fork_in_child()
        except Exception:  # noqa: BLE001, PERF203 - one that fails must not leave others with locks that stay locked
            text, name = "%s could not be prepared for use in a forked process", type(target).__name__
            say(_log, logging.ERROR, "fork", text, name, what=name, exc_info=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
