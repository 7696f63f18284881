"""What registered objects do when the process forks."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import polvo_adapters
from polvo_adapters.runtime import forks
from tests.support.token_sharing import until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]


class Aware:
    """Counts the forks that it lives through as a child."""

    def __init__(self, *, fails: bool = False) -> None:
        self.forked, self.fails = 0, fails

    def after_fork_in_child(self) -> None:
        self.forked += 1
        if self.fails:
            raise ZeroDivisionError


class Guarded(Aware):
    """Notes whether its lock was held before the fork."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.was_locked: list[bool] = []

    def before_fork(self) -> None:
        self.was_locked.append(self.lock.locked())

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self.lock = threading.Lock()


def in_child(check: Callable[[], bool]) -> bool:
    """Return what a check returns in a forked child."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_can_import_what_another_thread_was_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would wait there for ever, for a thread that the child has not."""
    (tmp_path / "imported_in_time.py").write_text("import time\ntime.sleep(0.3)\nIS_WHOLE = True\n", "utf-8")
    monkeypatch.setattr(polvo_adapters, "__path__", [*polvo_adapters.__path__, str(tmp_path)])
    name = "polvo_adapters.imported_in_time"
    thread = threading.Thread(target=importlib.import_module, args=(name,))

    def check() -> bool:
        signal.alarm(20)
        return importlib.import_module(name).IS_WHOLE is True

    try:
        thread.start()
        until(lambda: name in sys.modules)
        assert in_child(check)
    finally:
        thread.join(20)
        sys.modules.pop(name, None)


def test_an_object_is_called_in_the_child_and_not_in_the_parent() -> None:
    aware = Aware()
    forks.register(aware)
    assert in_child(lambda: aware.forked == 1)
    assert aware.forked == 0


def test_the_lock_of_a_guarded_object_is_held_over_the_fork_and_free_after_it() -> None:
    guarded = Guarded()
    forks.register_guarded(guarded)
    assert in_child(lambda: guarded.was_locked == [True] and guarded.lock.acquire(timeout=5))
    assert guarded.was_locked == [True]
    assert guarded.lock.acquire(timeout=5)


def test_a_lock_that_stays_held_delays_the_fork_and_does_not_prevent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_PATIENCE", 0.05)
    guarded = Guarded()
    forks.register_guarded(guarded)
    with guarded.lock:
        assert in_child(lambda: guarded.was_locked == [] and guarded.lock.acquire(timeout=5))
    assert guarded.lock.acquire(timeout=5)


def test_an_object_that_fails_does_not_keep_the_others_from_being_called() -> None:
    objects = [Aware(fails=number % 2 == 0) for number in range(6)]
    for each in objects:
        forks.register(each)
    assert in_child(lambda: [each.forked for each in objects] == [1] * 6)


def test_objects_may_be_registered_after_a_fork() -> None:
    guarded = Guarded()
    assert in_child(lambda: forks.register_guarded(guarded) is None)
    forks.register_guarded(guarded)
    assert guarded in forks._guarded


def test_an_object_is_forgotten_with_its_last_reference() -> None:
    aware = Aware()
    forks.register(aware)
    before = len(forks._aware)
    del aware
    gc.collect()
    assert len(forks._aware) < before
