"""The file below `SQLiteStore`: opened, created, set aside, and told apart from the files of others.

Theory of operation. A connection is good for one process and one file. It is given up, and the file opened anew, in a
child of a fork, and where another file has come to the path (somebody deleted it, or another process set it aside).

**Created** by the operating system, empty and with mode 0600, before SQLite opens it: SQLite itself would leave the
mode to the umask for a moment. What SQLite puts beside the file inherits the mode.

**Set aside** when SQLite finds it corrupt: renamed to `<path>.corrupt-<n>`, what lies beside it first, as SQLite would
take the write-ahead log of the old file for one of the new. Several processes find out at the same time; a lock on
the directory, which dies with its process, and a second look at which file it is let one of them do it.

**Forks.** SQLite keeps, per process, what it believes to have locked. A child inherits the belief and not the locks.
So all connections are closed before a fork, and nobody opens one until it is over; one that was inherited all the
same, because a fork did not tell Python, is kept and never touched.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.stores.sqlite_schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 5.0
"""Seconds to wait for others who use the database."""

_APPLICATION = 0x706F6C76  # marks a file as one of ours; `file` shows it
_BESIDE = ("-wal", "-shm", "-journal")
_FAULTS = ("no such table", "no such column", "unsupported file format")

_log = logging.getLogger("polvo_adapters")
_opening = threading.Lock()  # closing a file that SQLite has open too would take its locks away (POSIX)
_inherited: list[sqlite3.Connection] = []
_registry = threading.Lock()
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[Database] = []  # those whose lock is held across a fork


class Database:
    """One file and the connection to it.

    Args:
        path: The file.
        forked: What to do in the child of a fork.

    Attributes:
        lock: Held by whoever calls anything else here, and over a fork.
    """

    def __init__(self, path: str, forked: Callable[[], object]) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._forked = forked
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._first: tuple[int, int] | None = None
        self._replaced = False
        self._process = os.getpid()
        with _registry:
            _databases.add(self)

    def connection(self) -> sqlite3.Connection:
        """Return a connection to what is at the path now, created if there is nothing.

        Raises:
            sqlite3.Error: SQLite cannot open it.
            OSError: The system cannot.
            ConfigurationError: It is a database of something else.
        """
        connection = self._connection
        if connection is not None and self._process == os.getpid() and self._file == _identity(self.path):
            if connection.in_transaction:  # an interrupt came between two lines
                connection.rollback()
            return connection
        # Seen before the old file is let go of, as the new one may get its number.
        self._replaced = self._replaced or self._first not in (None, _identity(self.path))
        self.close()
        with _opening:
            _create(self.path)
            file = _identity(self.path)
            connection = sqlite3.connect(self.path, PATIENCE, isolation_level=None, check_same_thread=False)
            connection.text_factory = bytes  # what is no UTF-8 is for the decoder to refuse
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            self._file = file
            raise
        self._connection, self._file, self._process = connection, file, os.getpid()
        self._first = self._first or file
        return connection

    @property
    def begun_anew(self) -> bool:
        """Whether what was once in the store is lost: the file was set aside, deleted or replaced."""
        return self._replaced or os.path.lexists(f"{self.path}.corrupt-1")

    def close(self) -> None:
        """Give up the connection."""
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

    def set_aside(self) -> None:
        """Rename the file that was found corrupt, unless another process has done so.

        Raises:
            OSError: It cannot be renamed.
        """
        corrupt = self._file
        self.close()
        with _alone_in(os.path.dirname(self.path) or "."):
            if corrupt is None or _identity(self.path) != corrupt:
                return
            number = 1
            while any(os.path.lexists(f"{self.path}.corrupt-{number}{end}") for end in ("", *_BESIDE)):
                number += 1
            aside = f"{self.path}.corrupt-{number}"
            for end in (*_BESIDE, ""):
                with suppress(FileNotFoundError):
                    os.rename(self.path + end, aside + end)
        _log.warning("the store %s is corrupt; it was set aside as %s, and a new one is begun", self.path, aside)


def _identity(path: str) -> tuple[int, int] | None:
    """Return which file is at a path, or None where there is none."""
    try:
        found = os.stat(path)
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
    """Make an empty file one of ours, and refuse one of somebody else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if application != _APPLICATION and (application or tables) and b"clock_1" not in tables:
        raise ConfigurationError("the file is a database of something else; give the store a path of its own")
    _write_ahead(connection)
    # A process that is killed loses nothing by it; a machine without power loses the last moments.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL, for which SQLite does not wait where another process does the same."""
    ends = time.monotonic() + PATIENCE
    while not _switched(connection, last=time.monotonic() > ends):
        time.sleep(0.01)


def _switched(connection: sqlite3.Connection, *, last: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        if last or not is_busy(error):
            raise
        return False
    return True


def is_busy(error: BaseException) -> bool:
    """Tell whether others use the database; Python 3.10 does not tell the code of an error."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def is_corrupt(error: BaseException) -> bool:
    """Tell whether what is in the file is at fault, a table that is missing included."""
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes a broken schema, and Python cannot read the message
        return b"malformed database schema" in error.object
    return type(error) is sqlite3.DatabaseError or any(fault in str(error) for fault in _FAULTS)


@contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Let one process at a time rename what is in a directory, where the system has such a lock."""
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


def _before_fork() -> None:
    _registry.acquire()
    for database in _databases:
        if database.lock.acquire(timeout=PATIENCE):
            _held.append(database)
            database.close()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _registry.release()


def _after_fork_in_child() -> None:
    global _opening, _registry  # the threads that may have held them do not exist here
    _opening, _registry = threading.Lock(), threading.Lock()
    _held.clear()
    for database in _databases:
        database.lock = threading.Lock()
        database._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
