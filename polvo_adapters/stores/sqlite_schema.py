"""What `SQLiteStore` writes into its file: a row per key, and a row for the clock.

The order of rows in `states_1` is the order of use, as far as it matters: a state that is used while the store is
more than half full is written anew, as the last row. How many there are is counted in the row of the clock, which
every decision writes, since SQLite would count them one by one.

A version of this library that writes something else takes tables of another number and lets these be, so that both
can use one file side by side.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, NamedTuple

from polvo_adapters.core.machines import Machine
from polvo_adapters.stores.codec import Undecodable, decode
from polvo_adapters.stores.memory import CANDIDATES, is_pinned

SCHEMA = """
    CREATE TABLE IF NOT EXISTS states_1 (turn INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, state TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS clock_1 (one INTEGER PRIMARY KEY CHECK (one = 1), seen REAL, ahead REAL, keys INTEGER);
    INSERT OR IGNORE INTO clock_1 VALUES (1, NULL, 0.0, 0);
"""


class ClockRow(NamedTuple):
    """The row of the clock.

    Attributes:
        seen: The largest time seen, or minus infinity.
        ahead: How far the store's time is ahead of the wall clock, because that was set back.
        keys: How many states there are.
    """

    seen: float
    ahead: float
    keys: int


def read_clock(connection: sqlite3.Connection) -> ClockRow:
    """Return the clock.

    Raises:
        sqlite3.DatabaseError: There is none, or it is no clock.
    """
    row = connection.execute("SELECT seen, ahead, keys FROM clock_1").fetchone()
    if row is not None:
        seen, ahead, keys = row
        if seen is None:
            seen = -math.inf
        if type(seen) is type(ahead) is float and type(keys) is int and seen < math.inf and math.isfinite(ahead):
            return ClockRow(seen, ahead, keys)
    raise sqlite3.DatabaseError("its clock is broken")


def write_clock(connection: sqlite3.Connection, clock: ClockRow) -> None:
    """Set the clock."""
    connection.execute("UPDATE clock_1 SET seen = ?, ahead = ?, keys = ?", clock)


def read_state(connection: sqlite3.Connection, key: bytes, machine: Machine) -> Any:
    """Return the state of a key: the initial one where there is none, or none that could be of the machine.

    Raises:
        Undecodable: There is none that could be of the machine, and that is durable.
    """
    initial = machine.initial
    row = connection.execute("SELECT state FROM states_1 WHERE key = ?", (key,)).fetchone()
    if row is None:
        return initial
    try:
        return _of(initial, decode(row[0]))
    except Undecodable:
        if getattr(machine, "durable", False):
            raise
        return initial


def _of(initial: Any, state: Any) -> Any:
    """Return a state that could be of the machine that begins like this."""
    if isinstance(initial, (tuple, dict)) and type(state) is not type(initial):
        raise Undecodable("a state of another kind")
    if isinstance(initial, dict) and not initial.keys() <= state.keys():
        raise Undecodable("a state of another kind")
    return state


def write_state(
    connection: sqlite3.Connection, key: bytes, state: str, keys: int, max_keys: int, now: float
) -> tuple[int, bool]:
    """Write a state, and forget the ones unused for longest where there are too many.

    Returns:
        How many there are, and whether there was room for this one.
    """
    if 2 * keys > max_keys:  # before that, the order of use matters to nobody
        known = connection.execute("DELETE FROM states_1 WHERE key = ?", (key,)).rowcount
        keys -= known
        if keys >= max_keys:
            keys -= _forget(connection, keys + 1 - max_keys, now)
            if keys >= max_keys and not known:
                return keys, False
    elif connection.execute("UPDATE states_1 SET state = ? WHERE key = ?", (state, key)).rowcount:
        return keys, True
    connection.execute("INSERT INTO states_1 (key, state) VALUES (?, ?)", (key, state))  # as the last row
    return keys + 1, True


def _forget(connection: sqlite3.Connection, number: int, now: float) -> int:
    """Forget so many states, those unused for longest first, and return how many could go."""
    from polvo_adapters.policies.idempotency import record  # noqa: F401 - or a process without records could not read those of others

    gone: list[tuple[int]] = []
    stay: list[tuple[int]] = []
    for turn, state in connection.execute(
        "SELECT turn, state FROM states_1 ORDER BY turn LIMIT ?", (number + CANDIDATES,)
    ):
        (stay if _stays(state, now) else gone).append((turn,))
        if len(gone) == number:
            break
    connection.executemany("DELETE FROM states_1 WHERE turn = ?", gone)
    # As the last ones, so that the next search begins behind them.
    last = "UPDATE states_1 SET turn = (SELECT max(turn) FROM states_1) + 1 WHERE turn = ?"
    connection.executemany(last, stay)
    return len(gone)


def _stays(text: Any, now: float) -> bool:
    try:
        return is_pinned(decode(text), now)
    except Undecodable:
        return _looks_like_record(text)  # of another version, and it may be in doubt


def _looks_like_record(text: Any) -> bool:
    data = text if isinstance(text, bytes) else str(text).encode()
    return b'"record.' in data or b'"records.State"' in data
