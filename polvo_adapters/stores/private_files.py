"""Files that hold secrets: for their owner alone, never through a symlink, and replaced as a whole.

Theory of operation. Only a file is opened that no other user can have put there, can change or can read
(`polvo_adapters.stores.file_trust`). It is written beside its place and renamed into it, so that a reader finds the old
or the new one and never a half, whenever the writer is killed. Writers take turns by a lock on a file of its own
(`flock`, which ends with its process); readers need none. The holder of the lock removes what a killed writer left
beside the file.

A file differs from the one before in device, inode, time and size. As a file system gives a new file the inode of one
that is gone, and its clock ticks only every few milliseconds, a writer dates its file later than the one it replaces.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from polvo_adapters.stores.file_trust import Unfit, check_directory, check_file, check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 5.0
"""Seconds to wait for other threads and processes that use a file."""
LARGEST = 64 << 20
"""Bytes; a file of more is not read."""

_PAUSE = 0.001  # seconds between two tries to lock, at first
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STEPS = (1, 1_000, 2_000_000_000)  # nanoseconds: what file systems can tell apart, from good to bad
_numbers = itertools.count()


class FileInUse(Exception):
    """Other threads or processes did not release the lock in time."""


class Identity(NamedTuple):
    """What distinguishes a file from any other that was or will be at its path."""

    device: int
    inode: int
    time: int
    size: int


class FileContent(NamedTuple):
    """What was read.

    Attributes:
        data: The bytes, or None if there are more than `LARGEST`.
        identity: The file.
    """

    data: bytes | None
    identity: Identity

    def __repr__(self) -> str:
        return f"<FileContent of {self.identity}>"


def identity(path: str) -> Identity | None:
    """Return which file is at a path, or None where there is none.

    Raises:
        OSError: The system refuses to say.
    """
    try:
        return _identity_of(os.lstat(path))
    except FileNotFoundError:
        return None


def read(path: str, checked: bool = True) -> FileContent | None:
    """Return what is in a file, or None if there is none.

    Args:
        path: The file.
        checked: Whether the owner and the mode of the file and its directory are checked.

    Raises:
        Unfit: It is a symlink or no regular file, or other users can put it there, change it or read it.
        OSError: It cannot be read.
    """
    try:
        descriptor = _open(path, os.O_RDONLY, checked)
    except FileNotFoundError:
        os.stat(os.path.dirname(path))  # a directory that is gone is no file that was deleted
        return None
    try:
        return FileContent(_read_all(descriptor), _identity_of(os.fstat(descriptor)))
    finally:
        os.close(descriptor)


def read_own(path: str) -> bytes | None:
    """Return what is in a file of this user that others may read and not write, or None if there is none.

    Raises:
        Unfit: It is a symlink or no regular file, or other users can put it there or change it.
        OSError: It cannot be read, or is too large.
    """
    try:
        check_path(path, private=False)
        descriptor = os.open(path, os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return None
    try:
        check_file(path, os.fstat(descriptor), private=False)
        data = _read_all(descriptor)
    finally:
        os.close(descriptor)
    if data is None:
        raise OSError(errno.EFBIG, f"no more than {LARGEST} bytes are read", path)
    return data


def write(path: str, data: bytes, before: Identity | None = None) -> Identity:
    """Replace a file as a whole; the caller has the lock.

    Args:
        path: The file.
        data: The new content.
        before: The file that is there now.

    Returns:
        The new file.

    Raises:
        OSError: It cannot be written; the old file is unchanged.
    """
    directory, name = os.path.split(path)
    _remove_orphans(directory, name)
    temporary = f"{path}.{os.getpid()}-{next(_numbers)}.tmp"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _SAFE, 0o600)
    try:
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)  # the umask may have taken even this
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        written = _date_later(temporary, before)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)
    return written


def set_aside(path: str, seen: Identity) -> str | None:
    """Rename a file to `<path>.corrupt-<n>`, unless another file is at its path; the caller has the lock.

    Returns:
        Its new path, or None if it is gone already.

    Raises:
        OSError: It cannot be renamed.
    """
    if identity(path) != seen:
        return None
    aside = unused_name(path)
    os.rename(path, aside)
    sync_directory(os.path.dirname(path))
    return aside


def unused_name(path: str, ends: Sequence[str] = ("",)) -> str:
    """Return the first `<path>.corrupt-<n>` that names no file, with none of the ends."""
    names = (f"{path}.corrupt-{number}" for number in itertools.count(1))
    return next(name for name in names if not any(os.path.lexists(name + end) for end in ends))


def make_directory(directory: str) -> bool:
    """Make a directory for its owner alone, if its parent exists.

    Returns:
        Whether it was missing.

    Raises:
        Unfit: Its parent is missing, or something else has its name.
        OSError: It cannot be made.
    """
    if os.path.isdir(directory):
        return False
    if os.path.isdir(os.path.dirname(directory)):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            if os.path.isdir(directory):
                return False  # another process was faster
        else:
            os.chmod(directory, 0o700)  # the umask may have taken even this
            return True
    raise Unfit(f"its directory {directory} does not exist; make it first")


@contextmanager
def hold_lock(path: str, wait: Callable[[float], object] = time.sleep, checked: bool = True) -> Iterator[None]:
    """Hold a lock that one process at a time can hold.

    Args:
        path: The file to lock; it is made, and stays.
        wait: Sleeps for that many seconds.
        checked: Whether the owner and the mode of the file and its directory are checked.

    Raises:
        FileInUse: Others did not release it within `PATIENCE`.
        Unfit: It is a symlink or no regular file, or other users can put it there, change it or read it.
        OSError: It cannot be locked.
    """
    give_up_at = time.monotonic() + PATIENCE
    pause = _PAUSE
    while (descriptor := try_to_lock(path, checked)) is None:
        if time.monotonic() > give_up_at:
            raise FileInUse
        wait(random.uniform(0.2, 1.0) * pause)  # or two processes would always try at the same time
        pause = min(2 * pause, 16 * _PAUSE)
    try:
        yield
    finally:
        # A child that was forked meanwhile has the file open too; to close it here alone would unlock nothing.
        unlock(descriptor)
        os.close(descriptor)


def try_to_lock(path: str, checked: bool) -> int | None:
    """Return the descriptor of the lock, or None if another process has it."""
    descriptor = _open(path, os.O_CREAT | os.O_RDWR, checked)
    try:
        if hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            with suppress(OSError):  # the umask may have taken even this; or it belongs to another user
                os.fchmod(descriptor, 0o600)
        # If it was deleted since, others lock another file.
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Release the lock of a descriptor."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Release the lock of a descriptor."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _open(path: str, flags: int, checked: bool) -> int:
    """Open a regular file, and nothing else, without waiting for a writer of a pipe."""
    check_path(path, checked)
    if checked:
        check_directory(path)
    try:
        descriptor = os.open(path, flags | _SAFE, 0o600)
    except OSError:
        check_path(path, checked)
        raise
    try:
        check_file(path, os.fstat(descriptor), checked)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _identity_of(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _read_all(descriptor: int) -> bytes | None:
    data = bytearray()
    while len(data) <= LARGEST:
        part = os.read(descriptor, 1 << 20)
        if not part:
            return bytes(data)
        data += part
    return None


def _date_later(path: str, before: Identity | None) -> Identity:
    """Date a file later than the one that it is to replace, and return which file it is."""
    written = _identity_of(os.lstat(path))
    for step in _STEPS:
        if before is None or written.time > before.time:
            break
        os.utime(path, ns=(before.time + step, before.time + step))
        written = _identity_of(os.lstat(path))
    return written


def _remove_orphans(directory: str, name: str) -> None:
    orphan = re.compile(re.escape(name) + r"\.\d+-\d+\.tmp")
    for found in os.listdir(directory):
        if orphan.fullmatch(found):
            with suppress(OSError):
                os.unlink(os.path.join(directory, found))


def sync_directory(directory: str) -> None:
    """Write the names in a directory to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def too_large_error(size: int) -> OSError:
    """Return the error for a file that could be written and not be read again."""
    return OSError(errno.EFBIG, f"it would take {size} bytes, and no more than {LARGEST} are read; lower max_keys")
