"""The tables of a `SQLiteStore`: a row per key, and a row for the clock.

The order of rows in `states_1` is the order of use: a state that is used while the store is more than half full is
written anew, as the last row. The row of the clock, which every decision writes, has the number of states, since SQLite
would count them one by one.

`aside_1` has the last hundred states that could not be read and were begun anew, for a person to look at.
`boots_1` has a row for each of the last starts of a machine; see `polvo_adapters.stores.shared_clock`.

A version of this library that writes something else uses tables of another number, so that both can share a file.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, NamedTuple

from polvo_adapters.core.machines import Machine
from polvo_adapters.stores.base import is_pinned
from polvo_adapters.stores.codec import Undecodable, decode, decode_state
from polvo_adapters.stores.memory import CANDIDATES
from polvo_adapters.stores.shared_clock import LONGEST

SCHEMA = """
    CREATE TABLE IF NOT EXISTS states_1 (turn INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, state TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS clock_1 (one INTEGER PRIMARY KEY CHECK (one = 1), seen REAL, ahead REAL, keys INTEGER);
    CREATE TABLE IF NOT EXISTS boots_1 (turn INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE, start REAL NOT NULL);
    CREATE TABLE IF NOT EXISTS aside_1 (turn INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, state);
    INSERT OR IGNORE INTO clock_1 VALUES (1, NULL, 0.0, 0);
"""
_READ_CLOCK = "SELECT seen, ahead, keys, (SELECT start FROM boots_1 WHERE boot = ?) FROM clock_1"
_READ_OLD_CLOCK = "SELECT seen, ahead, keys, NULL FROM clock_1"
_FORGET_BOOTS = "DELETE FROM boots_1 WHERE turn <= (SELECT max(turn) FROM boots_1) - 8"


class ClockRow(NamedTuple):
    """The clock.

    Attributes:
        seen: Largest time seen, or minus infinity.
        ahead: Seconds by which the store's time is ahead of the wall clocks, at least.
        keys: Number of states.
        start: The store's time when the clock of this start of the machine was zero, or None where that is unknown.
    """

    seen: float
    ahead: float
    keys: int
    start: float | None = None


def read_clock(connection: sqlite3.Connection, boot: str | None) -> ClockRow:
    """Return the clock.

    Args:
        connection: A connection.
        boot: Name of the start of the machine, or None for a file that no version with `boots_1` has opened.

    Raises:
        sqlite3.DatabaseError: There is none, or it has values that no clock has.
    """
    ask = (_READ_OLD_CLOCK,) if boot is None else (_READ_CLOCK, (boot,))
    row = connection.execute(*ask).fetchone()
    if row is not None:
        seen, ahead, keys, start = row
        if seen is None:
            seen = -math.inf
        is_time = (seen == -math.inf or _is_time(seen)) and _is_time(ahead) and (start is None or _is_time(start))
        if is_time and type(keys) is int:
            return ClockRow(seen, ahead, keys, start)
    raise sqlite3.DatabaseError("its clock is broken")


def _is_time(value: Any) -> bool:
    return type(value) is float and abs(value) <= LONGEST  # false for nan


def write_clock(connection: sqlite3.Connection, clock: ClockRow, boot: str, is_start_new: bool) -> None:
    """Set the clock.

    Args:
        connection: A connection in a transaction.
        clock: The clock.
        boot: Name of the start of the machine.
        is_start_new: Whether its start is to be written too.
    """
    connection.execute("UPDATE clock_1 SET seen = ?, ahead = ?, keys = ?", clock[:3])
    if is_start_new:
        connection.execute("REPLACE INTO boots_1 (boot, start) VALUES (?, ?)", (boot, clock.start))
        connection.execute(_FORGET_BOOTS)


def read_state(connection: sqlite3.Connection, key: bytes, machine: Machine) -> Any:
    """Return the state of a key, or the initial one if there is none.

    Raises:
        Undecodable: It cannot be read, or is no state of the machine.
    """
    row = connection.execute("SELECT state FROM states_1 WHERE key = ?", (key,)).fetchone()
    return machine.initial if row is None else decode_state(row[0], machine)


def set_state_aside(connection: sqlite3.Connection, key: bytes) -> None:
    """Copy the state of a key that cannot be read to where the last ones of these are kept."""
    connection.execute("REPLACE INTO aside_1 (key, state) SELECT key, state FROM states_1 WHERE key = ?", (key,))
    connection.execute("DELETE FROM aside_1 WHERE turn <= (SELECT max(turn) FROM aside_1) - 100")


def write_state(
    connection: sqlite3.Connection, key: bytes, state: str, keys: int, max_keys: int, now: float
) -> tuple[int, bool]:
    """Write a state, and forget those unused for longest if there are too many.

    Args:
        connection: A connection in a transaction.
        key: The key.
        state: Text of the state.
        keys: Number of states before.
        max_keys: How many are kept.
        now: The store's time in seconds.

    Returns:
        The number of states, and whether there was room for this one.
    """
    if 2 * keys > max_keys:  # the order of use matters only to a store that is nearly full
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
    """Forget this many states, those unused for longest first; return how many were forgotten."""
    from polvo_adapters.policies.idempotency import record  # noqa: F401 - registers the class of records

    forgotten: list[tuple[int]] = []
    kept: list[tuple[int]] = []
    for turn, state in connection.execute(
        "SELECT turn, state FROM states_1 ORDER BY turn LIMIT ?", (number + CANDIDATES,)
    ):
        (kept if _must_stay(state, now) else forgotten).append((turn,))
        if len(forgotten) == number:
            break
    connection.executemany("DELETE FROM states_1 WHERE turn = ?", forgotten)
    # As the last ones, so that the next search begins behind them.
    last = "UPDATE states_1 SET turn = (SELECT max(turn) FROM states_1) + 1 WHERE turn = ?"
    connection.executemany(last, kept)
    return len(forgotten)


def _must_stay(text: Any, now: float) -> bool:
    try:
        return is_pinned(decode(text), now)
    except Undecodable:
        if type(text) is not bytes:
            return False  # a number: no version writes that
        return b'"record.' in text or b'"records.State"' in text  # a record of another version may be in doubt
