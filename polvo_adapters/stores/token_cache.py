"""Token states in one small file that the processes of a machine share.

Theory of operation. A decision looks whether the file is still the one it knows, which costs one system call. What it
decides without moving a state ends there. Otherwise it takes the lock between processes, looks again, decides again and
replaces the file as a whole (`polvo_adapters.stores.private_files`). Transitions are pure, so that to decide twice does
no harm. The file is JSON:

    {"polvo_adapters": "token cache", "version": 1, "time": 1700000000.0, "ahead": 0.0, "states": {key: text}}

A text is what `polvo_adapters.stores.codec` makes of a state. It is read only when somebody asks for its key, and
otherwise copied as it is: other processes may have machines that are unknown here. Secrets within are sealed by others.

**The clock** is one for all who share the file, as that of `SQLiteStore`: wall time, never before the largest time
seen; `ahead` is by how much it runs before the wall clock where that was set back.

**What goes wrong** with the file does not go wrong with the call:

    what                                        what the cache does
    ------------------------------------------  -----------------------------------------------------------------
    full disk, read-only or lost directory,     decides in the memory of this process from the last states known,
    unreadable file                             tries again every second, and then carries over what has moved
    corrupt file                                sets it aside (never deletes it), and begins a new one
    one state that cannot be read               the same, and takes the others over
    file deleted                                begins a new one
    others use it for longer than 5 s           raises PolvoError
    symlink, directory, device; no directory    raises ConfigurationError

Where a state has moved in memory and in the file, the file's counts. A file that is gone has no say. Each change is
logged once, and told to `listeners`.

**Forks** wait for the decision that is under way; the child begins with a lock of its own.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from polvo_adapters.core.machines import Event, Refused
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.stores import private_files
from polvo_adapters.stores import private_files as files
from polvo_adapters.stores.codec import Undecodable, decode, encode
from polvo_adapters.stores.persistent import PersistentStore

_AGAIN = 1.0  # seconds until a file that failed is tried again

_log = logging.getLogger("polvo_adapters")
_registry = threading.Lock()
_caches: weakref.WeakSet[TokenCache] = weakref.WeakSet()
_held: list[threading.Lock] = []  # those that are held across a fork


class _News(NamedTuple):
    """Something to tell as soon as no lock is held."""

    level: int
    text: str
    change: StateChange | None = None


class _Decision(NamedTuple):
    verdicts: tuple[Any, ...]
    moved: dict[str, str]
    unreadable: list[str]


class TokenCache(PersistentStore):
    """Keep token states in a file, for all processes of this machine that name the same one.

    To construct it touches nothing; the file is made by the first decision that moves a state.

    Args:
        path: The file; `~` is expanded. It has mode 0600, on a local disk. Where only its directory is missing, that
            is made, with mode 0700.
        max_keys: How many keys are kept; beyond that the one that moved least recently goes.
        now: Clock in seconds that all processes share; it may go back, the cache's time does not.

    Attributes:
        path: The file.
        listeners: Called with a StateChange when the file is lost, found again or set aside.

    Raises:
        ConfigurationError: `max_keys` is not positive, or the path cannot be one.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_keys: int = 10_000, now: Callable[[], float] = time.time
    ) -> None:
        if max_keys < 1:
            raise ConfigurationError(
                f"TokenCache(max_keys={max_keys!r}): max_keys must be a whole number of at least 1"
            )
        super().__init__()
        given = os.fspath(path)
        if not given or "\0" in given:
            raise ConfigurationError(f"TokenCache(path={given!r}): path must name a file")
        self.path = os.path.abspath(os.path.expanduser(given))
        self.listeners: list[Callable[[StateChange], object]] = []
        self._max_keys = max_keys
        self._now = now
        self._wait: Callable[[float], object] = time.sleep
        self._texts: dict[str, str] = {}  # as they are in the file
        self._pending: dict[str, str] = {}  # as they are to be, where it could not be written
        self._file: private_files.Identity | None = None
        self._corrupt = ""  # what is wrong with that file
        self._seen, self._ahead, self._agreed = float("-inf"), 0.0, 0.0  # the last is `ahead` as the file has it
        self._used = self._failed = False
        self._again = 0.0
        self._news: list[_News] = []
        self._lock = threading.Lock()
        with _registry:
            _caches.add(self)

    def set_aside(self, reason: str, key: str | None = None, state: Any = None) -> str | None:
        """Rename the file because nobody can use what is in it, and begin a new one.

        Several threads and processes find that out at the same time; one of them does it.

        Args:
            reason: The reason, for the log.
            key: Only if this key still has `state`. Without it: only if the file is the one that was last read.
            state: The state that nobody can use.

        Returns:
            Where the file is now, or None where it was set aside already or cannot be.

        Raises:
            ConfigurationError: What is at the path can never be used.
            PolvoError: Others did not let go of the file in time.
        """
        with self._alone():
            try:
                with private_files.locked(self.path + ".lock", self._wait):
                    if key is not None:
                        self._look()
                        if self._pending.get(key, self._texts.get(key)) != encode(state):
                            return None
                    return self._put_aside(reason, {})
            except OSError as error:
                self._lose(error)
                self._file, self._texts, self._pending = None, {}, {}  # memory begins anew, and looks again
                return None

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self._alone():
            verdicts = self._settled(events)
        self._pass_on(verdicts)
        return verdicts

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thread at a time decide, and tell the news when it has."""
        lock = self._lock
        if not lock.acquire(timeout=private_files.PATIENCE):
            raise self._busy()
        try:
            yield
        except private_files.FileInUse:
            raise self._busy() from None
        except private_files.Unfit as error:
            raise ConfigurationError(f"TokenCache({self.path!r}): {error}") from None
        finally:
            news, self._news = self._news, []
            lock.release()
            for item in news:
                self._tell(item)

    def _settled(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Decide by the file, or by memory as long as there is none."""
        if not self._failed or time.monotonic() >= self._again:
            try:
                return self._by_file(events)
            except PolvoError:
                raise  # which is an OSError too
            except OSError as error:
                self._lose(error)
        decision = self._moved(events)
        self._pending = self._latest(self._pending, decision.moved)
        return decision.verdicts

    def _by_file(self, events: Sequence[Event]) -> tuple[Any, ...]:
        if not self._used:
            directory = os.path.dirname(self.path)
            if private_files.make_directory(directory):
                self._news.append(
                    _News(logging.INFO, f"made the directory {directory} for the token cache {self.path}")
                )
            self._used = True
        self._look()
        decision = None if self._corrupt or self._pending else self._moved(events)
        if decision is None or decision.moved or decision.unreadable or self._set_back():
            with private_files.locked(self.path + ".lock", self._wait):
                decision = self._written(events)
        if self._failed:
            self._failed = False
            self._report(logging.INFO, "can be used again", "memory", "file", "the file can be used again")
        return decision.verdicts

    def _written(self, events: Sequence[Event]) -> _Decision:
        """Decide, and write what has moved; the caller has the lock."""
        self._look()
        if self._corrupt:
            self._put_aside(self._corrupt, self._pending)
        decision = self._moved(events)
        bad = decision.unreadable
        if any(key in self._texts for key in bad):
            states = {**self._texts, **self._pending}
            self._put_aside("a state in it cannot be read", {key: states[key] for key in states if key not in bad})
        for key in bad:
            self._pending.pop(key, None)
        if decision.moved or self._pending or self._set_back():
            states = self._latest(self._latest(self._texts, self._pending), decision.moved)
            data = render(CacheContent(states, self._seen, self._ahead))
            self._file = private_files.write(self.path, data, self._file)
            self._texts, self._pending, self._agreed = states, {}, self._ahead
        return decision

    def _set_back(self) -> bool:
        """Tell whether the wall clock was set back and the file does not say so: time would stand still for others."""
        return self._file is not None and self._ahead != self._agreed

    def _look(self) -> None:
        """Read the file if it is another one than the one that was read."""
        if private_files.identity(self.path) == self._file:
            return
        found = private_files.read(self.path)
        if found is None:  # who has deleted it, or has lost the disk, did not mean what moved in memory
            self._file, self._corrupt, self._texts = None, "", {}
            return
        if found.widely:
            text = f"the token cache {self.path} could be read by others; it is for its owner alone (mode 0600) now"
            self._news.append(_News(logging.WARNING, text))
        self._file = found.identity
        try:
            content = parse(found.data)
        except Corrupt as error:
            self._corrupt = str(error)
            return
        known, self._corrupt, self._texts = self._texts, "", content.states
        self._pending = {key: text for key, text in self._pending.items() if self._texts.get(key) == known.get(key)}
        self._seen, self._ahead, self._agreed = max(self._seen, content.time), content.ahead, content.ahead

    def _put_aside(self, reason: str, keep: dict[str, str]) -> str | None:
        """Set the file aside; the caller has the lock, and writes what is to be kept."""
        aside = None if self._file is None else private_files.set_aside(self.path, self._file)
        self._file, self._corrupt, self._texts, self._pending = None, "", {}, dict(keep)
        if aside is not None:
            text = f"cannot be used ({reason}); it was set aside as {aside}, and a new one is begun"
            self._report(logging.WARNING, text, "file", "set aside", reason)
        return aside

    def _moved(self, events: Sequence[Event]) -> _Decision:
        """Put the events to their machines."""
        now = self._time()
        before: dict[str, Any] = {}
        states: dict[str, Any] = {}
        verdicts, unreadable = [], []
        for machine, key, event in events:
            if key not in states:
                text = self._pending.get(key, self._texts.get(key))
                try:
                    before[key] = machine.initial if text is None else decode(text)
                except Undecodable:
                    before[key] = machine.initial
                    unreadable.append(key)
                states[key] = before[key]
            # A time that an event names is on the clock of the caller.
            told = event.shifted(now - time.monotonic()) if hasattr(event, "shifted") else event
            states[key], verdict = machine.transition(states[key], told, now)
            verdicts.append(verdict)
        if any(verdict is False or type(verdict) is Refused for verdict in verdicts):
            return _Decision(tuple(verdicts), {}, unreadable)
        moved = {key: encode(state) for key, state in states.items() if state != before[key]}
        return _Decision(tuple(verdicts), moved, unreadable)

    def _latest(self, texts: dict[str, str], moved: dict[str, str]) -> dict[str, str]:
        """Return texts in the order in which they moved, as many as are kept."""
        kept = {key: text for key, text in texts.items() if key not in moved}
        kept.update(moved)
        for key in list(kept)[: -self._max_keys]:
            del kept[key]
        return kept

    def _time(self) -> float:
        """Return the time, never before one that was seen."""
        now = self._now() + self._ahead
        if now < self._seen:
            self._ahead, now = self._ahead + self._seen - now, self._seen
        self._seen = now
        return now

    def _lose(self, error: OSError) -> None:
        self._again = time.monotonic() + _AGAIN
        if not self._failed:
            self._failed = True
            reason = error.strerror or type(error).__name__
            text = f"cannot be used ({reason}); until it can, this process decides by itself"
            self._report(logging.WARNING, text, "file", "memory", reason)

    def _report(self, level: int, text: str, before: str, after: str, reason: str) -> None:
        what = f"token cache {self.path}"
        self._news.append(_News(level, f"the {what} {text}", StateChange(what, before, after, reason)))

    def _tell(self, news: _News) -> None:
        _log.log(news.level, "%s", news.text)
        if news.change is not None:
            notify(list(self.listeners), news.change)

    def _busy(self) -> PolvoError:
        return PolvoError(
            f"the token cache {self.path} was in use by others for more than {private_files.PATIENCE:g} s; look for a "
            f"process that is stopped and holds {self.path}.lock, or for a disk that is slow",
            reason="store busy",
        )

    def __repr__(self) -> str:
        return f"<TokenCache {self.path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopened, (self.path, self._max_keys, self._now))


def _reopened(path: str, max_keys: int, now: Callable[[], float]) -> TokenCache:
    return TokenCache(path, max_keys=max_keys, now=now)


def _before_fork() -> None:
    _registry.acquire()
    _held.extend(cache._lock for cache in _caches if cache._lock.acquire(timeout=private_files.PATIENCE))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for cache in _caches:
        cache._lock = threading.Lock()  # a thread that was slow may have held it, and does not exist here
        cache._later.clear()  # the parent puts it to the cache
        cache._news.clear()
    _registry.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

_NAME = "token cache"

_VERSION = 1

_FAR = 1e11  # seconds, some 3,000 years; beyond that a clock would not tick any more


class Corrupt(ValueError):
    """The file is not what `render` makes; the message says why, and shows nothing of it."""


class CacheContent(NamedTuple):
    """What is in the file.

    Attributes:
        states: Text of the state of each key; the one that moved last is last.
        time: Largest time seen, in seconds.
        ahead: Seconds by which the time runs before the wall clock.
    """

    states: dict[str, str]
    time: float
    ahead: float


def render(content: CacheContent) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: They are more than would be read again.
    """
    value = {
        "polvo_adapters": _NAME,
        "version": _VERSION,
        "time": content.time,
        "ahead": content.ahead,
        "states": content.states,
    }
    data = json.dumps(value, indent=1).encode("ascii") + b"\n"
    if len(data) > files.LARGEST:
        raise files.too_large(len(data))
    return data


def parse(data: bytes | None) -> CacheContent:
    """Return what is in a file.

    Args:
        data: Its bytes, or None where they were too many.

    Raises:
        Corrupt: It is something else.
    """
    if data is None:
        raise Corrupt("it is too large")
    value = _value(data)
    if type(value) is not dict or value.get("polvo_adapters") != _NAME:
        raise Corrupt("it is not a token cache")
    if type(version := value.get("version")) is not int or version != _VERSION:
        raise Corrupt("it is of another version")
    states = value.get("states")
    if type(states) is not dict or not all(type(text) is str for text in states.values()):
        raise Corrupt("its states are not what they should be")
    return CacheContent(states, _seconds(value.get("time")), _seconds(value.get("ahead", 0.0)))


def _value(data: bytes) -> object:
    value: object = None
    with suppress(ValueError, RecursionError):  # not passed on: such an error holds what was read
        value = json.loads(data.decode("ascii"))
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not -_FAR <= value <= _FAR:  # not a number is not within
        raise Corrupt("its time is not what it should be")
    return float(value)
