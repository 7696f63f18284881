"""What is in a token cache, for commands that look at it: nothing is changed, no key is needed.

Theory of operation. A cache is read as it is, and not through `TokenCache` or `SQLiteStore`: these set a corrupt file
aside and make one that is missing, which is not for who only looks. The key of a record tells whose token it is
(`OAuth2._owner`); the state in it is a `Life`, whose token is sealed.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from rich.text import Text

from polvo_adapters.cli import render
from polvo_adapters.errors import PolvoError
from polvo_adapters.refresh.lifecycle import LifecycleState
from polvo_adapters.stores import private_files
from polvo_adapters.stores import token_cache as cache_file
from polvo_adapters.stores.codec import Undecodable, decode
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.sqlite_schema import read_clock
from polvo_adapters.stores.token_cache import TokenCache

_SQLITE = b"SQLite format 3\0"
_FIELDS = ("server", "tenant", "flow", "client", "scope", "audience", "resource", "user")


class TokenRecord(NamedTuple):
    """A record of a token cache.

    Attributes:
        key: Its name.
        life: What it holds, or None where that cannot be read.
        owner: Whose token it is: the fields of the key that say something.
    """

    key: str
    life: LifecycleState | None
    owner: dict[str, str]

    def state(self, now: float) -> tuple[str, str]:
        """Return in which state the token is, and why, as far as there is a reason.

        Args:
            now: Time of the cache, in seconds.
        """
        life = self.life
        if life is None:
            return "unreadable", ""
        if now < life.until:
            return "refreshing", ""
        if life.failures:
            return "failed", life.reason
        if not life.token:
            return "cleared", ""
        return ("fresh" if now < life.stale else "stale" if now < life.expires else "expired"), ""

    def left(self, now: float) -> float | None:
        """Return in how many seconds the token expires, or None where nobody knows, or there is none."""
        life = self.life
        if life is None or not life.token or math.isinf(life.expires):
            return None
        return life.expires - now

    @property
    def sealed(self) -> bool | None:
        """Whether the token is encrypted, or None where there is none."""
        if self.life is None or not self.life.token:
            return None
        return self.life.token.startswith("sealed:")


class Cache(NamedTuple):
    """What was read.

    Attributes:
        path: Where.
        records: Ordered by key.
        now: The cache's time, in seconds.
        sqlite: Whether it is the file of a SQLiteStore.
    """

    path: str
    records: list[TokenRecord]
    now: float
    sqlite: bool

    def record(self, wanted: str) -> TokenRecord:
        """Return the record of a number in the list, or of a key.

        Args:
            wanted: As the user has written it.

        Raises:
            PolvoError: There is none.
        """
        for number, record in enumerate(self.records, 1):
            if wanted in (record.key, str(number)):
                return record
        raise PolvoError(f"{self.path}: there is no record {wanted!r}; the list has {len(self.records)}")

    def store(self) -> TokenCache | SQLiteStore:
        """Return the store that the file belongs to."""
        return SQLiteStore(self.path) if self.sqlite else TokenCache(self.path)


def place(token_cache: str, tenant: str) -> str:
    """Return the path of the file that holds the tokens of a tenant; see `auth.tokens.storage_factory`."""
    path = os.path.abspath(os.path.expanduser(token_cache))
    return path.replace("{tenant}", quote(tenant, safe="").replace(".", "%2E"))


def read(path: str) -> Cache:
    """Return what is in a token cache.

    Args:
        path: The file.

    Raises:
        PolvoError: It is not there, is none, or cannot be read.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        with open(path, "rb") as file:
            sqlite = file.read(len(_SQLITE)) == _SQLITE
        texts, seen, ahead = _rows(path) if sqlite else _states(path)
    except FileNotFoundError:
        problem = "there is no such file"
    except (cache_file.Corrupt, private_files.Unfit, sqlite3.Error) as error:
        problem = f"it cannot be read as a token cache: {error}"
    except OSError as error:
        problem = f"it cannot be read: {error.strerror or type(error).__name__}"
    else:
        found = [_record(key, text) for key, text in sorted(texts.items()) if key.startswith("token ")]
        return Cache(path, [each for each in found if each is not None], max(time.time() + ahead, seen), sqlite)
    raise PolvoError(f"{path}: {problem}")


def _states(path: str) -> tuple[dict[str, str], float, float]:
    found = private_files.read(path)
    if found is None:
        raise FileNotFoundError(path)
    parsed = cache_file.parse(found.data)
    return parsed.states, parsed.time, parsed.ahead


def _rows(path: str) -> tuple[dict[str, str], float, float]:
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        clock = read_clock(connection)
        rows = connection.execute("SELECT key, state FROM states_1").fetchall()
    texts = {bytes(key).decode("utf-8", "surrogatepass"): bytes(text).decode("ascii", "replace") for key, text in rows}
    return texts, clock.seen, clock.ahead


def _record(key: str, text: str) -> TokenRecord | None:
    """Return a record, or None where it is none of a token."""
    try:
        state: Any = decode(text)
    except Undecodable:
        return TokenRecord(key, None, owner(key))
    return TokenRecord(key, state, owner(key)) if type(state) is LifecycleState else None


def owner(key: str) -> dict[str, str]:
    """Return whose token a record holds, as its key says it.

    Args:
        key: Name of the record.
    """
    parts = key.split(" ")[1:]
    if len(parts) == len(_FIELDS):
        named = dict(zip(_FIELDS, parts, strict=True))
    elif len(parts) == 4 and parts[0] == "jwt":
        named = {"server": parts[1], "tenant": parts[2], "flow": "login", "user": parts[3]}
    else:
        named = {"server": " ".join(parts)}
    return {name: unquote(part) for name, part in named.items() if part != "-"}


def failed(error: OSError, screen: render.Screen) -> int:
    """Tell what went wrong, in one line, and return the exit code.

    Args:
        error: What was raised.
        screen: Where to.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    screen.print(Text(render.visible(text)), soft_wrap=True)
    return 1
