"""The file of a `SQLiteStore`: opened, created, set aside, and told apart from the files of others.

Theory of operation. A connection is used for one process and one file. It is closed, and the file opened anew, in a
forked child, and where another file has come to the path (it was deleted, or another process set it aside).

**Trusted** only where no other user can have put it there (`polvo_adapters.stores.file_trust`), and what SQLite puts
beside it likewise. SQLite opens files by their paths. So they are looked at before SQLite opens them, and again when it
has, before a state is read or written. They are never opened for that: to close a file that SQLite has open would take
its locks away (POSIX).

**Created** by the operating system, empty and with mode 0600, before SQLite opens it: SQLite itself would leave the
mode to the umask for a moment. The files that SQLite puts beside it inherit the mode.

**Set aside** when SQLite finds it corrupt: renamed to `<path>.corrupt-<n>`, after the files beside it, as SQLite would
take the write-ahead log of the old file for one of the new. Several processes find out at the same time. A lock on the
directory, which ends with its process, and a second look at which file it is, let one of them rename it.

**Forks.** SQLite keeps, per process, what it believes to have locked. A child inherits the belief and not the locks.
So all connections are closed before a fork, and none is opened until it is over. A connection that was inherited all
the same, because a fork was not made by Python, is kept and never used.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.stores.file_trust import Unfit, check_directory, check_path
from polvo_adapters.stores.private_files import PATIENCE, unused_name
from polvo_adapters.stores.sqlite_schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

_APPLICATION = 0x706F6C76  # marks a file as one of ours; `file` shows it
_BESIDE = ("-wal", "-shm", "-journal")
_FAULTS = ("no such table", "no such column", "unsupported file format")

_log = logger("stores")
# Closing a file that SQLite has open too would take its locks away (POSIX). A finalizer may open a file meanwhile.
_opening = threading.RLock()
_inherited: list[sqlite3.Connection] = []


class Database:
    """One file and the connection to it; the store that owns it lets one thread at a time use it.

    Args:
        path: The file.
        checked: Whether the owners and modes of the file and its directory are checked.
    """

    def __init__(self, path: str, checked: bool = True) -> None:
        self.path = path
        self._checked = checked
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._first: tuple[int, int] | None = None
        self._replaced = False
        self._process = os.getpid()

    def connection(self) -> sqlite3.Connection:
        """Return a connection to what is at the path now, created if there is nothing.

        Raises:
            sqlite3.Error: SQLite cannot open it.
            OSError: The system cannot.
            ConfigurationError: It is a database of something else, or other users can reach it.
        """
        connection = self._connection
        if connection is not None and self._process == os.getpid() and self._file == _identity(self.path):
            if connection.in_transaction:  # an interrupt came between two lines
                connection.rollback()
            return connection
        # Seen before the old file is closed, as the new one may get its number.
        self._replaced = self._replaced or self._first not in (None, _identity(self.path))
        self.close()
        with _opening:
            self._refuse_unfit()
            _create(self.path)
            self._refuse_unfit()
            file = _identity(self.path)
            connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            connection.text_factory = bytes  # the codec refuses what is no UTF-8
        try:
            _prepare(connection)
            self._refuse_unfit()
        except BaseException:
            connection.close()
            self._file = file
            raise
        self._connection, self._file, self._process = connection, file, os.getpid()
        self._first = self._first or file
        return connection

    def _refuse_unfit(self) -> None:
        """Raise ConfigurationError where other users can reach the file, its directory, or what is beside it."""
        try:
            for end in ("", *_BESIDE):
                name = self.path + end
                if os.path.islink(name) or not os.path.isdir(name):  # SQLite opens no directory: memory decides
                    check_path(name, self._checked)
            if self._checked:
                check_directory(self.path)
        except Unfit as error:
            raise ConfigurationError(str(error)) from None

    @property
    def is_begun_anew(self) -> bool:
        """Whether states that were in the store are lost: the file was set aside, deleted or replaced."""
        return self._replaced or os.path.lexists(f"{self.path}.corrupt-1")

    def close(self) -> None:
        """Close the connection, unless it was inherited from the parent process."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._process != os.getpid():
            _inherited.append(connection)
            return
        with suppress(sqlite3.Error):
            connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def set_aside(self) -> bool:
        """Rename the file that was found corrupt, unless another process has done so; return False if it cannot be."""
        corrupt = self._file
        self.close()
        try:
            with _lock_directory(os.path.dirname(self.path) or "."):
                if corrupt is None or _identity(self.path) != corrupt:
                    return True
                aside = unused_name(self.path, ("", *_BESIDE))
                for end in (*_BESIDE, ""):
                    with suppress(FileNotFoundError):
                        os.rename(self.path + end, aside + end)
        except OSError:
            return False
        text = "the store %s is corrupt; it was set aside as %s, and a new one is begun"
        say(_log, logging.WARNING, "store", text, self.path, aside, what=f"store {self.path}", reason="corrupt")
        return True

    def after_fork_in_child(self) -> None:
        """Replace the lock of this module, which a thread of the parent may have held."""
        global _opening  # noqa: PLW0603 - the lock is that of all files of the process
        _opening = threading.RLock()


def _identity(path: str) -> tuple[int, int] | None:
    """Return which file is at a path, or None where there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _create(path: str) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not os.path.exists(path):
            raise


def _prepare(connection: sqlite3.Connection) -> None:
    """Make an empty file one of ours, and refuse a database of something else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if application != _APPLICATION and (application or tables) and b"clock_1" not in tables:
        raise ConfigurationError("the file is a database of something else; give the store a path of its own")
    _switch_to_wal(connection)
    # A process that is killed loses nothing by it; a machine without power loses the last moments.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Write ahead; SQLite does not wait by itself where another process switches at the same time."""
    give_up_at = time.monotonic() + PATIENCE
    while True:
        is_last = time.monotonic() > give_up_at
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if is_last or not is_busy(error):
                raise
        time.sleep(0.01)


def is_busy(error: BaseException) -> bool:
    """Return whether others use the database; the errors of Python 3.10 have no code."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def is_corrupt(error: BaseException) -> bool:
    """Return whether the content of the file is at fault, a missing table included."""
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes a broken schema, and Python cannot read the message
        return b"malformed database schema" in error.object
    return type(error) is sqlite3.DatabaseError or any(fault in str(error) for fault in _FAULTS)


@contextmanager
def _lock_directory(directory: str) -> Iterator[None]:
    """Let one process at a time rename files in a directory, where the system has such a lock."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
