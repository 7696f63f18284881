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

from polvo_adapters.flow import Machine
from polvo_adapters.stores.encoding import Undecodable, decode

SCHEMA = """
    CREATE TABLE IF NOT EXISTS states_1 (turn INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, state TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS clock_1 (one INTEGER PRIMARY KEY CHECK (one = 1), seen REAL, ahead REAL, keys INTEGER);
    INSERT OR IGNORE INTO clock_1 VALUES (1, NULL, 0.0, 0);
"""


class Clock(NamedTuple):
    """The row of the clock.

    Attributes:
        seen: The largest time seen, or minus infinity.
        ahead: How far the store's time is ahead of the wall clock, because that was set back.
        keys: How many states there are.
    """

    seen: float
    ahead: float
    keys: int


def read_clock(connection: sqlite3.Connection) -> Clock:
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
            return Clock(seen, ahead, keys)
    raise sqlite3.DatabaseError("its clock is broken")


def write_clock(connection: sqlite3.Connection, clock: Clock) -> None:
    """Set the clock."""
    connection.execute("UPDATE clock_1 SET seen = ?, ahead = ?, keys = ?", clock)


def read_state(connection: sqlite3.Connection, key: bytes, machine: Machine) -> Any:
    """Return the state of a key: the initial one where there is none, or none that could be of the machine."""
    initial = machine.initial
    row = connection.execute("SELECT state FROM states_1 WHERE key = ?", (key,)).fetchone()
    if row is None:
        return initial
    try:
        state = decode(row[0])
    except Undecodable:
        return initial
    if isinstance(initial, (tuple, dict)) and type(state) is not type(initial):
        return initial
    if isinstance(initial, dict) and not initial.keys() <= state.keys():
        return initial
    return state


def write_state(connection: sqlite3.Connection, key: bytes, state: str, keys: int, max_keys: int) -> int:
    """Write a state, forget the ones unused for longest where there are too many, and return how many there are."""
    if 2 * keys > max_keys:  # before that, the order of use matters to nobody
        keys -= connection.execute("DELETE FROM states_1 WHERE key = ?", (key,)).rowcount
    elif connection.execute("UPDATE states_1 SET state = ? WHERE key = ?", (state, key)).rowcount:
        return keys
    connection.execute("INSERT INTO states_1 (key, state) VALUES (?, ?)", (key, state))  # as the last row
    keys += 1
    if keys > max_keys:
        over = "DELETE FROM states_1 WHERE turn IN (SELECT turn FROM states_1 ORDER BY turn LIMIT ?)"
        keys -= connection.execute(over, (keys - max_keys,)).rowcount
    return keys
