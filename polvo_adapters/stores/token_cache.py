"""Token states in one small file that the processes of a machine share.

Theory of operation. A decision looks whether the file is still the one it knows, which costs one system call. If it
moves no state, it ends there. Otherwise it takes the lock between processes, looks again, decides again and replaces
the file as a whole (`polvo_adapters.stores.private_files`). Transitions are pure, so that deciding twice does no harm.
The file is JSON:

    {"polvo_adapters": "token cache", "version": 1, "time": 1700000000.0, "ahead": 0.0, "starts": {boot: 1699990000.0},
     "states": {key: text}}

A text is what `polvo_adapters.stores.codec` makes of a state. It is read only when an event has its key, and otherwise
copied as it is: other processes may have machines that are unknown here. Secrets within are sealed by the auth objects.
`time`, `ahead` and `starts`, those of the last starts of a machine, are explained in
`polvo_adapters.stores.shared_clock`.

**A problem** with the file does not fail the call:

    problem                                     what the cache does
    ------------------------------------------  -----------------------------------------------------------------
    full disk, read-only or lost directory,     decides in the memory of this process from the last states known,
    unreadable file                             tries again every second, and then carries over what has moved
    corrupt file                                sets it aside (never deletes it), and begins a new one
    one state that cannot be read               the same, and takes the others over
    file deleted                                begins a new one
    others use it for longer than 5 s           raises PolvoError
    symlink, directory, device; no directory;   raises ConfigurationError
    other users can reach the file              the same (see `polvo_adapters.stores.file_trust`)

Where a state has moved in memory and in the file, the file's state is kept; a deleted file does not undo what moved in
memory. Each change is logged once, and given to `listeners`.

**Forks** wait for the decision in progress; the child begins with a lock of its own.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NamedTuple

from polvo_adapters.core.machines import Event, Machine
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.stores import private_files
from polvo_adapters.stores.codec import decode_state, encode
from polvo_adapters.stores.file_trust import Unfit
from polvo_adapters.stores.persistent import PersistentStore
from polvo_adapters.stores.shared_clock import LONGEST, SharedClock

_NAME = "token cache"
_VERSION = 1
_MOST_STARTS = 8


class _Decision(NamedTuple):
    verdicts: tuple[Any, ...]
    moved: dict[str, str]
    unreadable: list[str]


class TokenCache(PersistentStore):
    """A store of token states in a file, for all processes of this machine that name the same one.

    Constructing it touches nothing; the first decision that moves a state makes the file.

    Args:
        path: The file; `~` is expanded. It has mode 0600, on a local disk. If only its directory is missing, that is
            made, with mode 0700.
        max_keys: How many keys are kept; beyond that the one that moved least recently is forgotten.
        now: Unix time in seconds. A new file begins with it; from then on the cache's time moves by what elapses,
            however wrong the wall clock of a process is.
        elapsed: Clock in seconds that all processes share and that never goes back; None for that of the system.
        check_files: False to use files of other owners and modes, and directories that other users can write to: for a
            file system that has no owners, or a volume of another user.

    Attributes:
        path: The file.
        listeners: Called with a StateChange when the file is lost, found again or set aside.

    Raises:
        ConfigurationError: `max_keys` is not positive, or the path cannot be one.
    """

    kind = _NAME

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_keys: int = 10_000,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] | None = None,
        check_files: bool = True,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"TokenCache: path must name a file, such as 'tokens.json', and not {type(path).__name__}")
        name = os.fspath(path)
        if not name or "\0" in name or "://" in name:  # which is not shown, as a URL may have a password
            raise ConfigurationError(
                "TokenCache: path must name a file, such as 'tokens.json', and not a URL or nothing"
            )
        super().__init__(name, max_keys, SharedClock(now, elapsed=elapsed), check_files)
        if os.path.isdir(self.path):
            raise ConfigurationError(f"TokenCache: {self.path} is a directory; name a file in it, such as tokens.json")
        self._busy_advice = f"and holds {self.path}.lock"
        self.listeners: list[Callable[[StateChange], object]] = []
        self._sleep: Callable[[float], object] = time.sleep
        self._texts: dict[str, str] = {}  # the states in the file
        self._pending: dict[str, str] = {}  # the states that could not be written to it
        self._file: private_files.Identity | None = None
        self._corrupt = ""  # what is wrong with that file
        self._starts: dict[str, float] = {}  # of the starts of a machine in the file
        self._is_prepared = False
        forks.register_guarded(self)

    def set_aside(self, reason: str, key: str | None = None, state: Any = None) -> str | None:
        """Rename the file because its content is of no use, and begin a new one.

        Several threads and processes find that out at the same time; one of them renames it.

        Args:
            reason: The reason, for the log.
            key: Only if this key still has `state`. Without it: only if the file is the one that was last read.
            state: The state that is of no use.

        Returns:
            Where the file is now, or None if it was set aside already or cannot be.

        Raises:
            ConfigurationError: What is at the path can never be used.
            PolvoError: Other threads or processes did not release the file in time.
        """
        with self._exclusive():
            try:
                with self._lock_file():
                    if key is not None:
                        self._look()
                        if self._pending.get(key, self._texts.get(key)) != encode(state):
                            return None
                    return self._rename_aside(reason, {})
            except OSError as error:
                self._fail(_describe(error))
                self._file, self._texts, self._pending = None, {}, {}  # memory begins anew, and looks again
                return None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with super()._exclusive():
            try:
                yield
            except private_files.FileInUse:
                raise self._busy_error() from None
            except Unfit as error:
                raise ConfigurationError(f"TokenCache({self.path!r}): {error}") from None

    def _lock_file(self) -> AbstractContextManager[None]:
        return private_files.hold_lock(self.path + ".lock", self._sleep, self.check_files)

    def _decide_by_file(self, events: Sequence[Event]) -> tuple[Any, ...] | None:
        try:
            self._make_directory()
            self._look()
            decision = None if self._corrupt or self._pending else self._try_events(events)
            if decision is None or decision.moved or decision.unreadable or self._is_clock_new():
                with self._lock_file():
                    decision = self._write(events)
        except PolvoError:
            raise  # which is an OSError too
        except OSError as error:
            self._fail(_describe(error))
            return None
        return decision.verdicts

    def _decide_by_memory(self, events: Sequence[Event]) -> tuple[Any, ...]:
        decision = self._try_events(events)
        self._pending = self._merge(self._pending, decision.moved)
        return decision.verdicts

    def _make_directory(self) -> None:
        if self._is_prepared:
            return
        directory = os.path.dirname(self.path)
        if private_files.make_directory(directory):
            self._log_later(logging.INFO, f"made the directory {directory} for the token cache {self.path}")
        self._is_prepared = True

    def _write(self, events: Sequence[Event]) -> _Decision:
        """Decide, and write what has moved; the caller has the lock."""
        self._look()
        if self._corrupt:
            self._rename_aside(self._corrupt, self._pending)
        decision = self._try_events(events)
        unreadable = decision.unreadable
        if any(key in self._texts for key in unreadable):
            states = {**self._texts, **self._pending}
            readable = {key: text for key, text in states.items() if key not in unreadable}
            self._rename_aside("a state in it cannot be read", readable)
        for key in unreadable:
            self._pending.pop(key, None)
        if decision.moved or self._pending or self._is_clock_new():
            states = self._merge(self._merge(self._texts, self._pending), decision.moved)
            content = self._make_content(states)
            self._file = private_files.write(self.path, render(content), self._file)
            self._texts, self._pending = states, {}
            self._follow(content)
        return decision

    def _is_clock_new(self) -> bool:
        """Return whether the file does not know this start of the machine: others would begin it at another time."""
        return self._file is not None and self._clock.is_start_new

    def _make_content(self, states: dict[str, str]) -> CacheContent:
        """Return the content of the file with these states, and the time."""
        clock = self._clock
        starts = {boot: start for boot, start in self._starts.items() if boot != clock.boot}
        starts[clock.boot] = clock.start or 0.0
        for boot in list(starts)[:-_MOST_STARTS]:
            del starts[boot]
        return CacheContent(states, clock.seen, clock.ahead, starts)

    def _look(self) -> None:
        """Read the file if it is another one than the one that was read."""
        if private_files.identity(self.path) == self._file:
            return
        found = private_files.read(self.path, self.check_files)
        if found is None:  # to delete a file, or to lose the disk, does not undo what moved in memory
            self._file, self._corrupt, self._texts = None, "", {}
            return
        self._file = found.identity
        try:
            content = parse(found.data)
        except Corrupt as error:
            self._corrupt = str(error)
            return
        known, self._corrupt, self._texts = self._texts, "", content.states
        self._pending = {key: text for key, text in self._pending.items() if self._texts.get(key) == known.get(key)}
        self._follow(content)

    def _follow(self, content: CacheContent) -> None:
        self._starts = content.starts
        self._clock.follow(content.time, content.ahead, content.starts.get(self._clock.boot))

    def _rename_aside(self, reason: str, remaining: dict[str, str]) -> str | None:
        """Set the file aside; the caller has the lock, and writes the remaining states."""
        aside = None if self._file is None else private_files.set_aside(self.path, self._file)
        self._file, self._corrupt, self._texts, self._pending = None, "", {}, dict(remaining)
        if aside is not None:
            text = f"cannot be used ({reason}); it was set aside as {aside}, and a new one is begun"
            self._report(logging.WARNING, text, "file", "set aside", reason)
        return aside

    def _try_events(self, events: Sequence[Event]) -> _Decision:
        """Put the events to their machines."""

        def read(machine: Machine, key: str) -> Any:
            text = self._pending.get(key, self._texts.get(key))
            return machine.initial if text is None else decode_state(text, machine)

        _, verdicts, before, after, unreadable = self._transition(events, read)
        moved = {key: encode(state) for key, state in after.items() if state != before[key]}
        return _Decision(verdicts, moved, list(unreadable))

    def _merge(self, texts: dict[str, str], moved: dict[str, str]) -> dict[str, str]:
        """Return texts in the order in which they moved, as many as are kept."""
        kept = {key: text for key, text in texts.items() if key not in moved}
        kept.update(moved)
        for key in list(kept)[: -self._max_keys]:
            del kept[key]
        return kept

    def _notify(self, change: StateChange) -> None:
        notify(list(self.listeners), change)

    def __repr__(self) -> str:
        return f"<TokenCache {self.path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        clock = self._clock
        return (_open_again, (self.path, self._max_keys, clock.wall, clock.given, self.check_files))


def _open_again(
    path: str,
    max_keys: int,
    now: Callable[[], float],
    elapsed: Callable[[], float] | None = None,
    check_files: bool = True,
) -> TokenCache:
    """Return the cache of a pickle; earlier versions gave the first three arguments."""
    return TokenCache(path, max_keys=max_keys, now=now, elapsed=elapsed, check_files=check_files)


def _describe(error: OSError) -> str:
    return error.strerror or type(error).__name__


class Corrupt(ValueError):
    """The file is not what `render` makes; the message gives the reason, and shows no content."""


@unpicklable
class CacheContent(NamedTuple):
    """The content of the file.

    Attributes:
        states: Text of the state of each key; the one that moved last is last.
        time: Largest time seen, in seconds.
        ahead: Seconds by which the time is ahead of the wall clocks, at least.
        starts: The time when the clock of each start of a machine was zero.
    """

    states: dict[str, str]
    time: float
    ahead: float
    starts: dict[str, float]

    def __repr__(self) -> str:
        return f"<CacheContent of {len(self.states)} keys>"  # without encryption, the texts are tokens


def render(content: CacheContent) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: There are more than would be read again.
    """
    value = {
        "polvo_adapters": _NAME,
        "version": _VERSION,
        "time": content.time,
        "ahead": content.ahead,
        "starts": content.starts,
        "states": content.states,
    }
    data = json.dumps(value, indent=1).encode("ascii") + b"\n"
    if len(data) > private_files.LARGEST:
        raise private_files.too_large_error(len(data))
    return data


def parse(data: bytes | None) -> CacheContent:
    """Return the content of a file.

    Args:
        data: Its bytes, or None if there are more than are read.

    Raises:
        Corrupt: It is not a token cache of this version.
    """
    if data is None:
        raise Corrupt("it is too large")
    value = _load_json(data)
    if type(value) is not dict or value.get("polvo_adapters") != _NAME:
        raise Corrupt("it is not a token cache")
    if type(version := value.get("version")) is not int or version != _VERSION:
        raise Corrupt("it is of another version")
    states = value.get("states")
    if type(states) is not dict or not all(type(text) is str for text in states.values()):
        raise Corrupt("its states are not what they should be")
    starts = value.get("starts", {})  # not in a file of an older version
    if type(starts) is not dict:
        raise Corrupt("its time is not what it should be")
    known = {boot: _seconds(start) for boot, start in starts.items()}
    return CacheContent(states, _seconds(value.get("time")), _seconds(value.get("ahead", 0.0)), known)


def _load_json(data: bytes) -> object:
    value: object = None
    with suppress(ValueError, RecursionError):  # not passed on: such an error holds what was read
        value = json.loads(data.decode("ascii"))
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not -LONGEST <= value <= LONGEST:  # false for nan
        raise Corrupt("its time is not what it should be")
    return float(value)
