"""Files that an earlier version wrote are read: a store's states, and pickles.

`states.sqlite` and `pickles.json` were written by commit 9c7c6da, before modules moved into layers. They are never
written anew.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import sqlite3
from pathlib import Path

import pytest

import polvo_adapters as polvo
import polvo_adapters.policies
from polvo_adapters.stores import SQLiteStore
from polvo_adapters.stores.encoding import decode, encode

HERE = Path(__file__).parent


def texts() -> list[str]:
    with sqlite3.connect(f"file:{HERE / 'states.sqlite'}?mode=ro&immutable=1", uri=True) as connection:
        return [text for (text,) in connection.execute("SELECT state FROM states_1")]


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(shutil.copy(HERE / "states.sqlite", tmp_path))


def test_every_state_is_read_and_written_in_the_form_of_today() -> None:
    for module in pkgutil.walk_packages(polvo_adapters.policies.__path__, "polvo_adapters.policies."):
        importlib.import_module(module.name)  # whoever has a machine has imported the classes of its states
    states = [decode(text) for text in texts()]
    assert len(states) == 14
    assert [decode(encode(state)) for state in states] == states


def test_a_circuit_that_was_open_is_open(store: SQLiteStore) -> None:
    adapter = polvo.BreakerAdapter(failure_threshold=2, store=store)
    status = adapter.circuit("http://localhost:18765").status
    assert (status.state, status.why) == ("open", "2 failures in a row")


def test_an_operation_that_was_done_is_done(store: SQLiteStore) -> None:
    adapter = polvo.IdempotencyAdapter(record=True, store=store)
    assert adapter.operation("http://127.0.0.1:18765", '"order-1"').state == "done"
