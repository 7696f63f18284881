"""The token cache under threads, processes, forks, kills and full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from polvo_adapters.core.machines import Event, Wake
from polvo_adapters.stores import private_files
from polvo_adapters.stores.token_cache import TokenCache
from tests.support.killed_caches import LOOK, MANY, ONE, rounds
from tests.support.store_contract import never, saying

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
limits = pytest.mark.skipif(os.name != "posix", reason="this system has no limits of size")

COUNTER = """
import sys, threading
from polvo_adapters.stores.token_cache import TokenCache
from polvo_adapters.core.machines import Event
from tests.support.store_contract import Counter

cache = TokenCache(sys.argv[1])

def count():
    for _ in range(25):
        cache.decide([Event(Counter(10**9), "a", 1)])
        cache.decide([Event(Counter(10**9), "a", 0)])

threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

FULL = """
import logging, os, resource, sys
from pathlib import Path
from polvo_adapters.stores import persistent
from polvo_adapters.stores.token_cache import TokenCache
from tests.support.killed_caches import LOOK, ONE

persistent.RETRY_SECONDS = 0.0
path = Path(sys.argv[1])
cache, changes, messages = TokenCache(path), [], []
cache.listeners.append(changes.append)
handler = logging.Handler()
handler.emit = lambda record: messages.append(record.levelname)
logger = logging.getLogger("polvo_adapters")
logger.addHandler(handler)
logger.setLevel("INFO")

assert cache.decide(ONE) == (1,)
before = path.read_bytes()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
assert [cache.decide(ONE) for _ in range(5)] == [(2,), (3,), (4,), (5,), (6,)]
assert path.read_bytes() == before
assert sorted(os.listdir(path.parent)) == ["tokens.json", "tokens.json.lock"], os.listdir(path.parent)
assert TokenCache(path).decide(LOOK) == (1,)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert cache.decide(LOOK) == (6,)
assert TokenCache(path).decide(LOOK) == (6,)
assert [(change.before, change.after) for change in changes] == [("file", "memory"), ("memory", "file")], changes
assert messages == ["WARNING", "INFO"], messages
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def in_child(check: Callable[[], object]) -> int:
    """Fork, and return 0 if what is checked in the child is true."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_threads_of_processes_lose_no_update(path: Path) -> None:
    processes = [run(COUNTER, path) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert ([process.returncode for process in processes], outputs) == ([0] * 4, [""] * 4)
    assert TokenCache(path).decide(LOOK) == (400,)


def test_threads_with_a_cache_each_lose_no_update(path: Path) -> None:
    caches = [TokenCache(path) for _ in range(8)]

    def count(cache: TokenCache) -> None:
        for _ in range(25):
            cache.decide(ONE)

    threads = [threading.Thread(target=count, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert TokenCache(path).decide(LOOK) == (200,)


@limits
def test_a_full_disk_damages_nothing_and_nothing_is_lost(path: Path) -> None:
    process = run(FULL, path)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill like that")
def test_what_a_killed_process_was_told_is_there_and_nothing_is_stuck(tmp_path: Path) -> None:
    assert rounds(60, tmp_path).written > 120


@forks
def test_parent_and_child_share_the_file(path: Path) -> None:
    cache = TokenCache(path)
    cache.decide(ONE)
    assert in_child(lambda: [cache.decide(ONE) for _ in range(20)][-1] == (21,)) == 0
    assert cache.decide(ONE) == (22,)


@forks
def test_a_fork_in_the_middle_of_decisions_leaves_nothing_locked(path: Path) -> None:
    cache, stop = TokenCache(path), threading.Event()

    def count() -> None:
        while not stop.is_set():
            cache.decide(ONE)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(lambda: cache.decide([Event(MANY, "b", 1)])) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert cache.decide([Event(MANY, "b", 0)]) == (10,)


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_that_lives_on_keeps_no_lock_of_its_parent(path: Path) -> None:
    reading, writing = os.pipe()
    with private_files.hold_lock(f"{path}.lock"):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
    os.close(reading)
    try:
        assert TokenCache(path).decide(ONE) == (1,)
    finally:
        os.close(writing)
        os.waitpid(child, 0)


@forks
def test_a_child_leaves_what_is_late_and_who_is_parked_to_its_parent(path: Path) -> None:
    cache = TokenCache(path)
    cache.defer(ONE)
    cache.park("name", never)
    assert in_child(lambda: cache.decide([saying(Wake(("name",)))]) and cache.decide(LOOK) == (0,)) == 0
    assert cache.decide(LOOK) == (1,)
