"""The records of a token cache, read without a key and without changing the file.

Theory of operation. A cache is read as it is, and not through `TokenCache` or `SQLiteStore`: these set a corrupt file
aside and create a missing one. The key of a record names the owner of the token (`OAuth2._identify`); the state in it
is a `LifecycleState`, whose token is sealed.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from polvo_adapters.cli import render
from polvo_adapters.errors import PolvoError
from polvo_adapters.refresh.lifecycle import LifecycleState
from polvo_adapters.stores import file_trust, private_files
from polvo_adapters.stores import token_cache as cache_file
from polvo_adapters.stores.codec import Undecodable, decode
from polvo_adapters.stores.shared_clock import SharedClock
from polvo_adapters.stores.sqlite_schema import read_clock

_SQLITE = b"SQLite format 3\0"
FIELDS = ("server", "tenant", "flow", "client", "scope", "audience", "resource", "user")


class TokenRecord(NamedTuple):
    """A record of a token cache.

    Attributes:
        key: Its name.
        life: The state in it, or None where that cannot be read.
    """

    key: str
    life: LifecycleState | None

    @property
    def owner(self) -> dict[str, str]:
        """The owner of the token: the fields of the key that are not empty."""
        parts = self.key.split(" ")[1:]
        if len(parts) == len(FIELDS):
            named = dict(zip(FIELDS, parts, strict=True))
        elif len(parts) == 4 and parts[0] == "jwt":
            named = {"server": parts[1], "tenant": parts[2], "flow": "login", "user": parts[3]}
        else:
            named = {"server": " ".join(parts)}
        return {name: unquote(part) for name, part in named.items() if part != "-"}

    @property
    def token(self) -> str:
        """The token, sealed or not; empty where there is none."""
        return "" if self.life is None else self.life.token

    @property
    def generation(self) -> int | None:
        """The number of the token among those before it, or None where the record cannot be read."""
        return None if self.life is None else self.life.generation

    def state(self, now: float) -> tuple[str, str]:
        """Return the state of the token, and the reason or an empty string.

        Args:
            now: Time of the cache, in seconds.
        """
        life = self.life
        if life is None:
            return "unreadable", ""
        if now < life.right_ends_at:
            return "refreshing", ""
        if life.failures:
            return "failed", life.reason
        if not life.token:
            return "cleared", ""
        return ("fresh" if now < life.stale_at else "stale" if now < life.expires_at else "expired"), ""

    def left(self, now: float) -> float | None:
        """Return the seconds until the token expires, or None where that is unknown, or there is no token."""
        life = self.life
        if life is None or not life.token or math.isinf(life.expires_at):
            return None
        return life.expires_at - now

    @property
    def is_sealed(self) -> bool | None:
        """Whether the token is encrypted, or None where there is none."""
        return self.token.startswith("sealed:") if self.token else None


class Cache(NamedTuple):
    """A token cache as it was read.

    Attributes:
        path: Its file.
        records: Its records, ordered by key.
        now: Its time, in seconds.
        sqlite: Whether it is the file of a SQLiteStore.
    """

    path: str
    records: list[TokenRecord]
    now: float
    sqlite: bool

    def find(self, key: str) -> TokenRecord | None:
        """Return the record of a key, or None."""
        return next((record for record in self.records if record.key == key), None)

    def record(self, wanted: str) -> TokenRecord:
        """Return a record.

        Args:
            wanted: Its number in the list, or its key.

        Raises:
            PolvoError: There is no such record.
        """
        for number, record in enumerate(self.records, 1):
            if wanted in (record.key, str(number)):
                return record
        raise PolvoError(f"{self.path}: there is no record {wanted!r}; the list has {len(self.records)}")


def read(path: str) -> Cache:
    """Return the records of a token cache.

    Args:
        path: The file.

    Raises:
        PolvoError: The file does not exist, is no token cache, or cannot be read.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        sqlite = _is_sqlite(path)
        clock = SharedClock(time.time)
        texts = _read_sqlite(path, clock) if sqlite else _read_json(path, clock)
    except FileNotFoundError:
        problem = "there is no such file"
    except (cache_file.Corrupt, file_trust.Unfit, sqlite3.Error) as error:
        problem = f"it cannot be read as a token cache: {error}"
    except OSError as error:
        problem = f"it cannot be read: {error.strerror or type(error).__name__}"
    else:
        found = [_parse_record(key, text) for key, text in sorted(texts.items()) if key.startswith("token ")]
        return Cache(path, [each for each in found if each is not None], clock.now(), sqlite)
    raise PolvoError(f"{path}: {problem}")


def _is_sqlite(path: str) -> bool:
    for end in ("", "-wal", "-shm", "-journal"):
        file_trust.check_path(path + end)
    file_trust.check_directory(path)
    with open(path, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _read_json(path: str, clock: SharedClock) -> dict[str, str]:
    found = private_files.read(path)
    if found is None:
        raise FileNotFoundError(path)
    parsed = cache_file.parse(found.data)
    clock.follow(parsed.time, parsed.ahead, parsed.starts.get(clock.boot))
    return parsed.states


def _read_sqlite(path: str, clock: SharedClock) -> dict[str, str]:
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        has_boots = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'boots_1'").fetchone()
        seen, ahead, _, start = read_clock(connection, clock.boot if has_boots else None)
        rows = connection.execute("SELECT key, state FROM states_1").fetchall()
    clock.follow(seen, ahead, start)
    return {bytes(key).decode("utf-8", "surrogatepass"): bytes(text).decode("ascii", "replace") for key, text in rows}


def _parse_record(key: str, text: str) -> TokenRecord | None:
    """Return a record, or None where its state is not that of a token."""
    try:
        state: Any = decode(text)
    except Undecodable:
        return TokenRecord(key, None)
    return TokenRecord(key, state) if type(state) is LifecycleState else None


def print_error(error: OSError, screen: render.Screen) -> int:
    """Print an error in one line, and return the exit code.

    Args:
        error: The error.
        screen: The console.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    screen.say(re.sub(r"\btoken_cache=", "--token-cache ", text))
    return 1
