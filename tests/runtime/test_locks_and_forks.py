"""Every lock of the package after a fork: found by looking through modules and objects, held, and free in the child."""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import os
import pkgutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import requests

import polvo_adapters
import polvo_adapters.requests as dropin
from polvo_adapters.auth import OAuth2, Token, loopback
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.workers import WORKERS
from polvo_adapters.secrets import Secret
from polvo_adapters.services.double_o.cache import SecretCache
from polvo_adapters.shells.httpx.exchange import RacingHTTPXExchange
from polvo_adapters.shells.requests.exchange import RacingExchange
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.token_cache import TokenCache
from polvo_adapters.testing import FailureServer
from tests.support.token_sharing import until

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]

PACKAGE = Path(polvo_adapters.__file__).parent
LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))

# Where the package makes what threads wait for ----------------------------------------------------------------------

HOMES = ("threading", "queue", "concurrent.futures", "multiprocessing", "functools", "_thread")
KINDS = (
    *("Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "local", "allocate_lock"),
    *("SimpleQueue", "Queue", "LifoQueue", "PriorityQueue", "Future", "ThreadPoolExecutor", "cached_property"),
)
LOCAL = "a local variable of the thread that waits, which cannot fork meanwhile"
KNOWN = {
    ("auth/loopback.py", "Future"): LOCAL,
    ("auth/loopback.py", "Lock"): "after_fork_in_child",
    ("auth/loopback.py", "SimpleQueue"): "its threads are those of a login in progress, which is the parent's",
    ("services/taruvi/sync_sender.py", "ThreadPoolExecutor"): LOCAL,
    ("auth/tokens/token_storage.py", "Lock"): "after_fork_in_child",
    ("cli/demo.py", "Lock"): "a local variable of a command",
    ("cli/demo_trial.py", "Future"): "a local variable of a command",
    ("drivers/beside.py", "Future"): "a local variable of a task of the parent, which waits for it",
    ("drivers/races.py", "SimpleQueue"): LOCAL,
    ("drivers/sync.py", "Event"): LOCAL,
    ("refresh/background.py", "Event"): "SharedCalls forgets them in the child",
    ("runtime/forks.py", "Lock"): "held by the fork itself, and released in the child",
    ("runtime/serial_thread.py", "Future"): "SerialThread forgets them in the child",
    ("runtime/shared_call.py", "Event"): "SharedCalls and BoundedCalls forget them in the child",
    ("runtime/shared_call.py", "Future"): "SharedCalls and BoundedCalls forget them in the child",
    ("runtime/workers.py", "SimpleQueue"): "Workers forgets them in the child",
    ("secrets/batch.py", "SimpleQueue"): LOCAL,
    ("services/ezthrottle/engines/local.py", "Condition"): "LocalEngine makes it anew in the child",
    ("services/ezthrottle/engines/local.py", "Lock"): "after_fork_in_child",
    ("services/ezthrottle/engines/local_dispatcher.py", "Event"): "LocalEngine makes a new one in the child",
    ("services/ezthrottle/engines/local_attempts.py", "Lock"): "after_fork_in_child",
    ("services/ezthrottle/engines/local_queue.py", "Lock"): "LocalEngine makes the queue anew in the child",
    ("services/ezthrottle/engines/local_records.py", "Lock"): "LocalEngine makes the records anew in the child",
    ("services/ezthrottle/webhooks.py", "Lock"): "after_fork_in_child",
    ("services/double_o/cache.py", "Future"): "SecretCache forgets them in the child",
    ("services/double_o/cache.py", "Lock"): "after_fork_in_child",
    ("shells/cancellation.py", "Lock"): "after_fork_in_child",
    ("shells/httpx/api.py", "Lock"): "after_fork_in_child",
    ("shells/requests/api.py", "Lock"): "after_fork_in_child",
    ("shells/requests/exchange.py", "RLock"): "after_fork_in_child",
    ("shells/requests/wire/sockets.py", "Event"): "the handshake that it belongs to is that of a thread of the parent",
    ("shells/requests/wire/sockets.py", "RLock"): "after_fork_in_child of RacingExchange",
    ("stores/base.py", "RLock"): "after_fork_in_child",
    ("stores/memory.py", "RLock"): "after_fork_in_child",
    ("stores/persistent.py", "Lock"): "after_fork_in_child",
    ("stores/sqlite_file.py", "RLock"): "after_fork_in_child of SQLiteStore",
    ("testing/server/journal.py", "Lock"): "after_fork_in_child",
}
"""The only places, and why each is safe in a forked child. A new one has to be named here; see forks.py."""


def made_in(tree: ast.Module) -> Iterator[str]:
    """Yield the kind of everything that a module makes for threads to wait for, subclasses of `local` included."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in HOMES
        for alias in node.names
    }
    for node in ast.walk(tree):
        used: list[ast.expr] = []
        if isinstance(node, ast.Call):
            used = [node.func, *(word.value for word in node.keywords if word.arg == "default_factory")]
        elif isinstance(node, ast.ClassDef):
            used = node.bases
        elif isinstance(node, ast.FunctionDef):
            used = node.decorator_list
        for each in used:
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in HOMES:
                name = each.attr
            elif isinstance(each, ast.Name) and each.id in imported:
                name = each.id
            else:
                continue
            if name in KINDS:
                yield name


def test_every_place_that_makes_a_lock_is_known() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), kind)
        for path in PACKAGE.rglob("*.py")
        for kind in made_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(KNOWN)


# Every lock that can be found ---------------------------------------------------------------------------------------


def modules() -> list[ModuleType]:
    """Return all modules of the package that can be imported here."""
    for found in pkgutil.walk_packages(polvo_adapters.__path__, "polvo_adapters."):
        if "__main__" not in found.name and not found.name.startswith("polvo_adapters.requests."):
            try:
                importlib.import_module(found.name)
            except ImportError:  # of an extra that is not installed
                continue
    return [module for name, module in sys.modules.items() if name.partition(".")[0] == "polvo_adapters"]


def is_ours(kind: type) -> bool:
    return str(getattr(kind, "__module__", "")).partition(".")[0] == "polvo_adapters"


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots included."""
    found = dict(getattr(thing, "__dict__", {}))
    for base in type(thing).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            if hasattr(thing, private):
                found[name] = getattr(thing, private)
    return found


def lock_in(value: Any) -> Any:
    """Return the lock that a value is, or has inside, or None."""
    if isinstance(value, threading.Event):
        value = value._cond  # type: ignore[attr-defined]
    elif isinstance(value, Future):
        value = value._condition
    elif isinstance(value, functools.cached_property):
        value = getattr(value, "lock", None)
    if isinstance(value, threading.Condition):
        value = value._lock  # type: ignore[attr-defined]
    return value if isinstance(value, LOCK_TYPES) else None


def holders() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the attributes of all modules, classes and objects of the package, with a name for each."""
    for module in modules():
        yield module.__name__, dict(vars(module))
    for thing in gc.get_objects():
        if isinstance(thing, type):
            if is_ours(thing):
                yield thing.__qualname__, dict(vars(thing))
        elif is_ours(type(thing)):
            yield f"{type(thing).__qualname__} {id(thing)}", attributes_of(thing)


def all_locks() -> dict[str, Any]:
    """Return the locks that these attributes are, or have inside, by where they were found."""
    locks = {}
    for where, attributes in list(holders()):
        for name, value in attributes.items():
            if name.startswith("_BaseServer__"):
                continue  # of the standard library, and only in use during a login
            inside = value.values() if type(value) is dict else value if type(value) in (list, tuple, set) else ()
            for number, each in enumerate([value, *inside]):
                lock = lock_in(each)
                if lock is not None:
                    locks[f"{where}.{name} {number}"] = lock
    locks.pop("polvo_adapters.runtime.forks._registry 0", None)  # held by the fork, see test_forks.py
    return locks


class Held:
    """A thread that holds locks; a context manager."""

    def __init__(self, locks: list[Any]) -> None:
        self._locks, self._held, self._over = locks, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def _hold(self) -> None:
        held = [lock for lock in self._locks if lock.acquire(timeout=5)]
        self._held.set()
        self._over.wait(60)
        for lock in held:
            lock.release()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._held.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)


def report_of_child(check: Callable[[], str]) -> str:
    """Return the text that a check returns in a forked child, or its exception."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = check()
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            text = repr(error)
        os.write(writer, text.encode()[:60000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def population(tmp_path: Path) -> Iterator[list[Any]]:
    """One of each object that has a lock, or once had."""
    import httpx

    request = requests.Request("GET", "http://127.0.0.1:1/").prepare()
    oauth = OAuth2(fetch=lambda _: Token("t"), client_id="c", token_cache=tmp_path / "tokens")
    oauth.token()
    gate = Bulkhead(max_concurrency=1)
    server = FailureServer()
    with loopback._Listener(0, "/callback") as listener, server:
        yield [
            MemoryStore(),
            SQLiteStore(tmp_path / "store"),
            TokenCache(tmp_path / "cache"),
            oauth,
            oauth.httpx(),
            Secret(lambda: "value"),
            SecretCache(),
            SharedCalls(),
            RacingExchange(None, None, request, {"stream": False}, SYSTEM),
            RacingHTTPXExchange(httpx.HTTPTransport(), httpx.Request("GET", "http://x.test/"), SYSTEM, stream=False),
            polvo_adapters.Session(hedge=True, bulkhead=gate, circuit_breaker=True, rate_limit="adaptive"),
            dropin.Session(),
            listener,
            server,
        ]


def test_every_lock_that_is_held_at_a_fork_is_free_in_the_child(
    population: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_PATIENCE", 0.01)
    # Not those of calls that other tests have left on threads which hang: in a child no caller waits for them.
    left = {where for where in all_locks() if where.startswith("SharedCall ")}
    locks = {where: lock for where, lock in all_locks().items() if where not in left}
    kinds = Counter(where.partition(" ")[0].partition(".")[0] for where in locks)
    expected = {
        *("MemoryStore", "SQLiteStore", "TokenCache", "TokenStorage", "SecretCache", "RacingExchange", "Sockets"),
        *("RacingHTTPXExchange", "SharedConnections", "_Listener", "Journal", "polvo_adapters"),
    }
    assert set(kinds) >= expected, "the test has become blind"

    def check() -> str:
        found = all_locks().items()
        stuck = [where for where, lock in found if where not in left and not lock.acquire(blocking=False)]
        return "\n".join(sorted(stuck))

    with Held(list(locks.values())):
        assert report_of_child(check) == ""
    assert population, "it must live until here"


# What a child does while the parent is busy ---------------------------------------------------------------------------


def test_a_refresh_that_the_parent_shares_is_begun_anew_in_the_child() -> None:
    released, asked = threading.Event(), threading.Event()
    parent = os.getpid()

    def fetch(_: Token | None) -> Token:
        if os.getpid() == parent:
            asked.set()
            released.wait(20)
        return Token("token")

    calls = SharedCalls()
    first = calls.join("key", lambda _: fetch(None), SYSTEM.now(), 30)
    assert asked.wait(10)
    try:
        text = report_of_child(
            lambda: calls.join("key", lambda _: fetch(None), SYSTEM.now(), 30).result(10, SYSTEM).access_token
        )
        assert text == "token"
    finally:
        released.set()
    assert first.result(10, SYSTEM).access_token == "token"


def test_a_child_has_threads_of_its_own_where_the_parent_has_used_all() -> None:
    released = threading.Event()
    for _ in range(20):
        WORKERS.run(lambda: released.wait(20))

    def check() -> str:
        done = threading.Event()
        WORKERS.run(done.set)
        return f"{done.wait(10)} {WORKERS.busy <= 1}"

    try:
        assert report_of_child(check) == "True True"
    finally:
        released.set()
    until(lambda: WORKERS.busy == 0)


def test_the_verbs_work_in_a_child_that_was_forked_in_the_middle_of_calls(server: FailureServer) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            polvo_adapters.get(server.url + "/echo")
            polvo_adapters.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()

    def check() -> str:
        polvo_adapters.close()
        status = polvo_adapters.get(server.url + "/echo").status_code
        polvo_adapters.close()
        return str(status)

    try:
        assert [report_of_child(check) for _ in range(10)] == ["200"] * 10
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def test_a_call_in_a_race_may_go_on_in_a_child() -> None:
    """An attempt on a worker thread forks, while another thread cancels it."""

    class Exchange(RacingExchange):
        def _attempt(self, effect: Send) -> Outcome:
            return Outcome()

    request = requests.Request("GET", "http://127.0.0.1:1/").prepare()
    exchange = Exchange(None, None, request, {"stream": False}, SYSTEM)
    with Held([exchange._lock, exchange._sockets._lock]):
        effect: Any = None
        assert report_of_child(lambda: str(exchange.send(effect) == Outcome())) == "True"
