"""Token caches that fail, vanish, are damaged, or belong to another user: calls go on, and listeners are notified."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from polvo_adapters.auth import OAuth2, TokenCache
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.stores import persistent, sqlite_file
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.auth.tokens.test_sharing import refreshes
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import HERE, Crowd, Shifted, at_once, place, plain_session, settings_of

KEY, OTHER = Fernet.generate_key(), Fernet.generate_key()
THREADS = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    folder.mkdir()
    return folder / "cache"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "RETRY_SECONDS", 0.0)


class Program:
    """A program that uses a token: what it gets, and what it is told."""

    def __init__(self, oidc: OIDCProvider, cache: Any, clock: Shifted | None = None, **settings: Any) -> None:
        self.oidc, self.clock, self.changes = oidc, clock or Shifted(), list[StateChange]()
        self.oauth = OAuth2(token_cache=cache, clock=self.clock, listeners=[self.changes.append], **settings)

    def get(self, ahead: float = 0.0) -> int:
        self.clock.ahead = ahead
        with plain_session(self.oauth) as session:
            return session.get(self.oidc.api_url).status_code

    def many(self, ahead: float = 0.0) -> Counter[Any]:
        self.clock.ahead = ahead
        with plain_session(self.oauth) as session:
            return Counter(at_once(THREADS, lambda _: session.get(self.oidc.api_url).status_code))

    @property
    def told(self) -> list[tuple[str, str]]:
        """Changes in the storage, without those of the token itself."""
        return [(change.before, change.after) for change in self.changes if not change.what.startswith("token http")]


def file_cache(path: Path, clock: Shifted) -> TokenCache:
    return TokenCache(path, now=clock.wall, elapsed=clock.now)


# The disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["vanishes", "becomes a file"])
def test_the_directory_goes_and_comes_back(
    oidc: OIDCProvider, path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    clock, settings = Shifted(), settings_of(oidc)
    program = Program(oidc, file_cache(path, clock), clock, **settings)
    oidc.reset()
    assert program.get() == 200
    program.changes.clear()

    away = path.parent.with_name("away")
    path.parent.rename(away)
    if how == "becomes a file":
        path.parent.touch()
    assert [program.get(100.0 * expiry) for expiry in (1, 2, 3)] == [200] * 3
    assert refreshes(oidc) == (4, 0)
    assert program.told == [("file", "memory")]
    assert "until it can, this process decides by itself" in caplog.text

    if how == "becomes a file":
        path.parent.unlink()
    away.rename(path.parent)
    assert program.get(400.0) == 200
    assert program.told == [("file", "memory"), ("memory", "file")]
    another = Program(oidc, file_cache(path, clock), clock, **settings)
    assert another.get(400.0) == 200
    assert another.get(500.0) == 200
    assert refreshes(oidc) == (6, 0)


FULL = """
import json, resource, sys
from polvo_adapters.auth import OAuth2, TokenCache
from polvo_adapters.stores import persistent
from tests.support.token_sharing import Shifted, plain_session

persistent.RETRY_SECONDS = 0.0
given, changes, clock = json.loads(sys.argv[1]), [], Shifted()
oauth = OAuth2(
    token_cache=TokenCache(given["path"], now=clock.wall, elapsed=clock.now),
    clock=clock,
    listeners=[changes.append],
    **given["settings"],
)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with plain_session(oauth) as session:
    for clock.ahead, full in [(0, False), (100, True), (200, True), (200, False), (300, False)]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 if full else soft, hard))
        assert session.get(given["url"]).status_code == 200
told = [(change.before, change.after) for change in changes if change.what.startswith("token cache")]
assert told == [("file", "memory"), ("memory", "file")], told
"""


def test_a_full_disk(oidc: OIDCProvider, path: Path) -> None:
    settings, clock = settings_of(oidc), Shifted()
    oidc.reset()
    given = json.dumps({"path": str(path), "url": oidc.api_url, "settings": settings})
    done = subprocess.run([sys.executable, "-W", "error", "-c", FULL, given], cwd=HERE, timeout=60, check=False)
    assert done.returncode == 0
    assert refreshes(oidc) == (4, 0)
    assert Program(oidc, file_cache(path, clock), clock, **settings).get(400.0) == 200
    assert refreshes(oidc) == (5, 0)


class Moody(MemoryStore):
    """A store of the user's, which raises arbitrary exceptions, and forgets nothing."""

    error: BaseException | None = None

    def decide(self, events: Any) -> tuple[Any, ...]:
        if self.error is not None:
            raise self.error
        return super().decide(events)


@pytest.mark.parametrize(
    "error", [RuntimeError("password=hunter2"), KeyError("x"), OSError(5, "I/O"), UnicodeError(), MemoryError()]
)
def test_a_store_that_raises(oidc: OIDCProvider, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    clock = Shifted()
    store = Moody(now=clock.now)
    settings = settings_of(oidc)
    program = Program(oidc, store, clock, **settings)
    oidc.reset()
    assert program.get() == 200
    store.error = error
    assert program.many(100.0) == Counter({200: THREADS})
    assert program.get(200.0) == 200
    store.error = None
    assert program.get(300.0) == 200
    assert refreshes(oidc) == (4, 0)
    assert program.told == [("the store", "memory"), ("memory", "the store")]
    assert "hunter2" not in caplog.text
    assert type(error).__name__ in caplog.text
    assert Program(oidc, store, clock, **settings).get(300.0) == 200  # which finds the newest token in it
    assert refreshes(oidc) == (4, 0)


def test_a_database_that_others_do_not_let_go_of(
    oidc: OIDCProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.2)
    clock, settings = Shifted(), settings_of(oidc)
    program = Program(oidc, SQLiteStore(path, now=clock.wall, elapsed=clock.now), clock, **settings)
    oidc.reset()
    assert program.get() == 200
    program.changes.clear()
    blocking = sqlite3.connect(path, isolation_level=None)
    try:
        blocking.execute("BEGIN IMMEDIATE")
        assert program.get() == 200  # the store is not asked as long as the token holds
        assert program.told == []
        assert program.get(100.0) == 200
        assert program.told == [("the store", "memory")]
    finally:
        blocking.close()
    assert program.get(200.0) == 200
    assert program.told == [("the store", "memory"), ("memory", "the store")]
    assert Program(oidc, SQLiteStore(path, now=clock.wall, elapsed=clock.now), clock, **settings).get(200.0) == 200
    assert refreshes(oidc) == (3, 0)


def test_what_can_never_work_is_said(oidc: OIDCProvider, path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match="is a directory; name a file in it"):
        Program(oidc, str(path), **settings_of(oidc)).get()


# The file ---------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(2000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change_a_state(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["states"] = dict.fromkeys(content["states"], "garbage")
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("damage", [truncate, garbage, empty, change_a_state])
def test_a_damaged_file_is_set_aside_and_calls_go_on(
    oidc: OIDCProvider, path: Path, damage: Callable[[Path], None]
) -> None:
    clock, settings = Shifted(), settings_of(oidc)
    program = Program(oidc, file_cache(path, clock), clock, **settings)
    oidc.reset()
    assert program.get() == 200
    program.changes.clear()
    damage(path)
    left = path.read_bytes()
    assert program.many(100.0) == Counter({200: THREADS})  # with the refresh token that it has in memory
    assert [change for change in program.told if change[1] == "set aside"] == [("file", "set aside")]
    assert [aside.read_bytes() for aside in path.parent.glob("cache.corrupt-*")] == [left]
    assert Program(oidc, file_cache(path, clock), clock, **settings).get(100.0) == 200
    assert refreshes(oidc) == (2, 0)


def test_a_file_that_was_deleted_is_written_again(oidc: OIDCProvider, path: Path) -> None:
    clock, settings = Shifted(), settings_of(oidc)
    program = Program(oidc, file_cache(path, clock), clock, **settings)
    oidc.reset()
    for expiry in range(3):
        assert program.many(100.0 * expiry) == Counter({200: THREADS})
        path.unlink()
    assert program.get(300.0) == 200
    assert Program(oidc, file_cache(path, clock), clock, **settings).get(300.0) == 200
    assert refreshes(oidc) == (4, 0)


# The key ----------------------------------------------------------------------------------------------------------


def machine(oidc: OIDCProvider, **more: Any) -> dict[str, Any]:
    """Return settings whose tokens can always be had anew."""
    return {"client_id": "cc", "client_secret": "cc-secret", "token_url": oidc.token_url, **more}


@pytest.mark.parametrize("ahead", [0.0, 100.0], ids=["fresh", "expired"])
@pytest.mark.parametrize("kind", ["cache", "sqlite"])
def test_a_token_of_another_key_is_left_as_it_is(oidc: OIDCProvider, path: Path, kind: str, ahead: float) -> None:
    clock = Shifted()

    def start(key: Any) -> Program:
        return Program(oidc, place(kind, str(path), clock), clock, encryption_key=key, **machine(oidc))

    assert start(OTHER).get() == 200
    sealed = re.findall(rb"sealed:1:[\w=-]+", path.read_bytes())
    oidc.reset()
    for number in (1, 2):
        program = start(KEY)
        assert program.many(ahead) == Counter({200: THREADS})
        assert (oidc.counts()["token"], program.told) == (number, [("the store", "memory")])
        assert any("encryption_key=[new, former]" in change.reason for change in program.changes)
    assert re.findall(rb"sealed:1:[\w=-]+", path.read_bytes()) == sealed != []
    assert list(path.parent.glob("cache.corrupt-*")) == []
    issued = 3 if ahead else 2  # an expired token is replaced
    assert (start([KEY, OTHER]).get(), oidc.counts()["token"]) == (200, issued), "the former key opens it still"


@pytest.mark.parametrize("kind", ["cache", "sqlite"])
def test_two_keys_do_not_disturb_each_other(oidc: OIDCProvider, path: Path, kind: str) -> None:
    clock = Shifted()
    programs = [
        Program(oidc, place(kind, str(path), clock), clock, encryption_key=key, **machine(oidc)) for key in (KEY, OTHER)
    ]
    oidc.reset()
    for expiry in range(10):
        for program in programs:
            assert program.get(100.0 * expiry) == 200
    assert oidc.counts()["token"] == 20
    assert list(path.parent.glob("cache.corrupt-*")) == []
    assert [change for program in programs for change in program.told if change[1] == "memory"] == [
        ("the store", "memory")
    ]


def test_a_copy_beside_another_key_file_is_left_as_it_is(oidc: OIDCProvider, path: Path) -> None:
    assert Program(oidc, str(path), **machine(oidc)).get() == 200
    copy = path.with_name("copy")
    assert Program(oidc, str(copy), **machine(oidc, scope="api:read")).get() == 200  # makes its key file
    shutil.copyfile(path, copy)
    program = Program(oidc, str(copy), **machine(oidc))
    assert program.get() == 200
    assert program.told == [("the store", "memory")]
    assert copy.read_bytes() == path.read_bytes()


def test_swapped_records_are_not_taken_for_each_other(oidc: OIDCProvider, path: Path) -> None:
    scopes = ["api:read", "api:write"]
    for scope in scopes:
        assert Program(oidc, str(path), **machine(oidc, scope=scope)).get() == 200
    content = json.loads(path.read_text(encoding="utf-8"))
    assert len(content["states"]) == 2
    content["states"] = dict(zip(content["states"], reversed(content["states"].values()), strict=True))
    path.write_text(json.dumps(content), encoding="utf-8")
    program = Program(oidc, str(path), **machine(oidc, scope="api:read"))
    with plain_session(program.oauth) as session:
        assert session.get(oidc.api_url).json()["scope"] == "api:read"
    assert program.told == [("file", "set aside")]


def test_a_new_key_reads_what_the_old_one_sealed(oidc: OIDCProvider, path: Path) -> None:
    settings = settings_of(oidc)
    oidc.reset()
    for keys in (OTHER, [KEY, OTHER], [KEY, OTHER]):
        program = Program(oidc, str(path), encryption_key=keys, **settings)
        assert program.get() == 200
        assert [change for change in program.told if change[1] != "created"] == []
    assert refreshes(oidc) == (1, 0)


def test_processes_with_a_file_of_another_key(oidc: OIDCProvider, path: Path) -> None:
    assert Program(oidc, str(path), encryption_key=OTHER, **machine(oidc)).get() == 200
    oidc.reset()
    settings = machine(oidc, encryption_key=KEY.decode())
    with Crowd(oidc.api_url, "cache", path, settings, processes=2, threads=8) as crowd:
        assert crowd.round(0.0) == Counter({200: 16})
        assert crowd.round(100.0) == Counter({200: 16})
    assert oidc.counts()["token"] == 4, "one per process and round"
    assert list(path.parent.glob("cache.corrupt-*")) == []


def test_where_no_key_file_can_be_made_tokens_live_in_memory(oidc: OIDCProvider, tmp_path: Path) -> None:
    told: list[StateChange] = []
    name = "n" * 252  # which leaves no room for the ending of a key file
    oauth = OAuth2(
        "client_credentials", "cc", "cc-secret", oidc.token_url, token_cache=tmp_path / name, listeners=[told.append]
    )
    with plain_session(oauth) as session:
        assert [session.get(oidc.api_url).status_code for _ in range(2)] == [200, 200]
    assert (told[0].before, told[0].after) == ("the store", "memory")
    assert list(tmp_path.iterdir()) == []
