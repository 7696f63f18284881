"""Files that another user has put there, can change or can read: each file of each store, and its directory."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.auth.tokens.sealing import make_sealer
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.clock import SystemClock
from polvo_adapters.services.double_o import env_files
from polvo_adapters.stores import file_trust, private_files
from polvo_adapters.stores.file_trust import Unfit, check_directory
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.sqlite_file import Database
from polvo_adapters.stores.token_cache import TokenCache
from tests.support.store_contract import Counter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this system has neither owners nor modes")

ONE = [Event(Counter(10**9), "a", 1)]
OTHER = 54321


class Plants:
    """Ways in which another user prepares a path; what cannot be done without root, the system is made to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def give_away(self, path: Path) -> None:
        """Let a file, a link or a directory belong to another user."""
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
            return
        given = os.lstat(path).st_ino
        for name in ("stat", "lstat", "fstat"):
            self.monkeypatch.setattr(os, name, partial(self._say_other, getattr(os, name), given))

    @staticmethod
    def _say_other(ask: Callable[..., os.stat_result], given: int, *args: Any, **more: Any) -> os.stat_result:
        found = ask(*args, **more)
        return os.stat_result((*found[:4], OTHER, *found[5:])) if found.st_ino == given else found

    def leave_group(self, path: Path) -> None:
        """Let a directory belong to a group that this process is not in."""
        if os.geteuid() == 0:
            os.chown(path, -1, OTHER)
            return
        self.monkeypatch.setattr(file_trust.os, "getegid", lambda: OTHER)
        self.monkeypatch.setattr(file_trust.os, "getgroups", list)


def link(path: Path, plants: Plants) -> None:
    path.with_name("precious").write_bytes(b"precious")
    path.symlink_to("precious")


def dangling_link(path: Path, plants: Plants) -> None:
    path.symlink_to("made")


def link_to_directory(path: Path, plants: Plants) -> None:
    path.symlink_to(path.parent)


def hard_link(path: Path, plants: Plants) -> None:
    path.touch(0o600)
    os.link(path, path.with_name("second"))


def with_mode(mode: int) -> Callable[[Path, Plants], None]:
    def plant(path: Path, plants: Plants) -> None:
        path.touch()
        path.chmod(mode)

    plant.__name__ = f"mode_{mode:04o}"
    return plant


def of_another(path: Path, plants: Plants) -> None:
    path.touch(0o600)
    plants.give_away(path)


def pipe(path: Path, plants: Plants) -> None:
    os.mkfifo(path, 0o600)


PLANTS = [link, dangling_link, link_to_directory, hard_link, of_another, pipe]
PLANTS += [with_mode(mode) for mode in (0o666, 0o644, 0o640, 0o620, 0o604, 0o602)]


def use_sqlite(path: Path, **more: Any) -> Any:
    store = SQLiteStore(path, **more)
    try:
        return store.decide(ONE)
    finally:
        store.close()


def use_cache(path: Path, **more: Any) -> Any:
    return TokenCache(path, **more).decide(ONE)


def use_key(path: Path, **more: Any) -> Any:
    return make_sealer(None, str(path), more.get("check_files", True))


PLACES: list[tuple[Callable[..., Any], str]] = [
    *((use_sqlite, end) for end in ("", "-wal", "-shm", "-journal")),
    *((use_cache, end) for end in ("", ".lock")),
    *((use_key, end) for end in (".key", ".lock")),
]


@pytest.fixture
def plants(monkeypatch: pytest.MonkeyPatch) -> Plants:
    return Plants(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize(("use", "end"), PLACES)
def test_nothing_that_another_user_has_put_there_is_used(
    path: Path, plants: Plants, use: Callable[..., Any], end: str, plant: Callable[[Path, Plants], None]
) -> None:
    planted = Path(f"{path}{end}")
    if end.startswith("-"):
        SQLiteStore(path).close()  # which removes what is beside the file
    plant(planted, plants)
    before = sorted(os.listdir(path.parent)), os.lstat(planted)
    with pytest.raises(ConfigurationError) as caught:
        use(path)
    assert str(planted) in str(caught.value)
    assert any(advice in str(caught.value) for advice in ("chmod 600", "chown", "remove the", "name a file"))
    after = sorted(set(os.listdir(path.parent)) - {f"{path.name}.lock"}), os.lstat(planted)
    assert (after[0], after[1].st_mode, after[1].st_size) == (
        [name for name in before[0] if name != f"{path.name}.lock"], before[1].st_mode, before[1].st_size
    )  # fmt: skip
    assert not path.with_name("made").exists()


@pytest.mark.parametrize("use", [use_sqlite, use_cache, use_key])
@pytest.mark.parametrize(("mode", "group"), [(0o777, "own"), (0o707, "own"), (0o775, "other"), (0o770, "other")])
def test_a_directory_that_others_can_write_to_is_refused(
    path: Path, plants: Plants, use: Callable[..., Any], mode: int, group: str
) -> None:
    path.parent.chmod(mode)
    if group == "other":
        plants.leave_group(path.parent)
    with pytest.raises(ConfigurationError, match=r"other users can write to its directory .*mkdir -m 700"):
        use(path)
    assert list(path.parent.iterdir()) == []
    assert use(path, check_files=False)


@pytest.mark.parametrize("use", [use_sqlite, use_cache, use_key])
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o770, 0o1777])
def test_a_directory_in_which_others_cannot_replace_a_file_is_used(
    path: Path, use: Callable[..., Any], mode: int
) -> None:
    path.parent.chmod(mode)
    assert use(path)


@pytest.mark.parametrize("use", [use_sqlite, use_cache, use_key])
def test_a_directory_of_another_user_is_refused(path: Path, plants: Plants, use: Callable[..., Any]) -> None:
    plants.give_away(path.parent)
    with pytest.raises(ConfigurationError, match=r"belongs to the user .*mkdir -m 700"):
        use(path)
    assert list(path.parent.iterdir()) == []


def test_a_link_on_the_way_is_followed_unless_it_is_of_another_user(tmp_path: Path, plants: Plants) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "first").symlink_to("real")
    (tmp_path / "real" / "second").symlink_to(tmp_path / "first" / "inner")
    place = tmp_path / "first" / "second" / "state"
    check_directory(str(place))
    check_directory(str(place))
    plants.give_away(tmp_path / "real" / "second")
    with pytest.raises(Unfit, match=r"second, on the way to .*, is a symbolic link of another user"):
        check_directory(str(place))
    check_directory(str(tmp_path / "first" / "inner" / "state"))


def test_links_in_a_circle_are_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Unfit):
        check_directory(str(tmp_path / "a" / "state"))


@pytest.mark.parametrize("plant", [of_another, hard_link, *PLANTS[6:]], ids=lambda plant: plant.__name__)
@pytest.mark.parametrize(("use", "end"), PLACES[4:])
def test_what_is_not_checked_is_used_and_no_link_is_followed(
    path: Path, plants: Plants, use: Callable[..., Any], end: str, plant: Callable[[Path, Plants], None]
) -> None:
    if end == ".key":
        use(path)
        os.unlink(f"{path}.lock")
        key = Path(f"{path}.key").read_bytes()
        os.unlink(f"{path}.key")
    planted = Path(f"{path}{end}")
    plant(planted, plants)
    if end == ".key":
        planted.write_bytes(key)
    assert use(path, check_files=False)
    planted.unlink(missing_ok=True)
    path.with_name("state.key").unlink(missing_ok=True)
    link(planted, plants)
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        use(path, check_files=False)


@pytest.mark.parametrize("kind", [SQLiteStore, TokenCache])
def test_the_choice_travels_with_the_store_and_to_its_key(path: Path, kind: Any) -> None:
    path.parent.chmod(0o777)
    store = pickle.loads(pickle.dumps(kind(path, check_files=False)))
    assert store.decide(ONE) == (1,)
    with pytest.raises(ConfigurationError, match="other users can write"):
        TokenStorageFactory(TokenCache(path), True, None, SystemClock(), ()).make_storage("").load_sealer()
    TokenStorageFactory(store, True, None, SystemClock(), ()).make_storage("").load_sealer()
    assert path.with_name("state.key").exists()


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_a_store_in_use_looks_again_when_it_opens_again(path: Path, plants: Plants, end: str) -> None:
    store = SQLiteStore(path)
    store.decide(ONE)
    store.close()
    planted = Path(f"{path}{end}")
    planted.unlink(missing_ok=True)
    link(planted, plants)
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        store.decide(ONE)
    planted.unlink()
    assert store.decide(ONE)[0] >= 1
    store.close()


def test_a_file_that_is_replaced_by_a_link_while_it_is_open_is_not_followed(path: Path, plants: Plants) -> None:
    store = SQLiteStore(path)
    store.decide(ONE)
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        store.decide(ONE)
    store.close()


def test_what_was_planted_between_the_check_and_the_opening_is_found(
    path: Path, plants: Plants, monkeypatch: pytest.MonkeyPatch
) -> None:
    SQLiteStore(path).close()
    connect = sqlite3.connect

    def late(*args: Any, **more: Any) -> Any:
        hard_link(Path(f"{path}-wal"), plants)
        return connect(*args, **more)

    monkeypatch.setattr(sqlite3, "connect", late)
    with pytest.raises(ConfigurationError, match="a hard link"):
        SQLiteStore(path)


def test_another_store_of_this_process_keeps_its_locks(path: Path) -> None:
    """A file that SQLite has open must not be opened and closed for a check: POSIX would take the locks away."""
    store, code = SQLiteStore(path), (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 0, isolation_level=None)\n"
        "try: c.execute('BEGIN IMMEDIATE'); print('taken')\n"
        "except sqlite3.OperationalError as error: print(error)"
    )  # fmt: skip
    connection = store._database.connection()
    connection.execute("BEGIN IMMEDIATE")
    Database(str(path))._refuse_unfit()
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert said == "database is locked\n"
    connection.execute("ROLLBACK")
    store.close()


# Files that others may read.


@pytest.mark.parametrize("plant", [link, hard_link, of_another, pipe, with_mode(0o666), with_mode(0o602)])
def test_no_content_of_another_user_gets_into_a_file_of_variables(
    tmp_path: Path, plants: Plants, plant: Callable[[Path, Plants], None]
) -> None:
    path = tmp_path / ".env"
    plant(path, plants)
    with pytest.raises(Unfit):
        env_files.write_file(str(path), "A=1\n", append=True)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600, 0o664])
def test_a_file_of_variables_may_be_readable_before(tmp_path: Path, mode: int) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(mode)
    env_files.write_file(str(path), "B=1\n", append=True)
    assert path.read_text() == "A=1\n\nB=1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_not_there_has_no_content(tmp_path: Path) -> None:
    assert private_files.read_own(str(tmp_path / "none")) is None


def test_no_descriptor_is_left_open_or_passed_on(path: Path, plants: Plants) -> None:
    before = os.listdir("/dev/fd")
    for plant in (hard_link, with_mode(0o644), of_another):
        plant(path, plants)
        with pytest.raises(ConfigurationError):
            use_cache(path)
        path.unlink()
        path.with_name("second").unlink(missing_ok=True)
    assert len(os.listdir("/dev/fd")) == len(before)
