"""The file that a download is written to, beside its target, until it is whole.

Theory of operation. A target is replaced by one rename, so that no reader ever sees a part of it, and what was there
before stays until then. Where the rest can be asked for later, the partial file has a name that the next download of
the same URL to the same target finds, and a note beside it of what was being downloaded:

    report.pdf                       the target
    .report.pdf.3f0c9a21.part        its beginning; the number is made of the URL
    .report.pdf.3f0c9a21.part.json   the validator, the length, and what the disk certainly has

**One process at a time** writes to it: it holds a lock on the open file. Another one writes to a file of its own, under
a name that is used once, and the last rename wins. So does one on a system without such locks, or one that finds there
a file of another user, which could hold anything.

**What is there** is what was written, as long as the machine has not stopped: after that a file may be longer than what
has reached the disk. So the note names the boot, and the length up to which the file was certainly written out.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import stat
import sys
from contextlib import suppress
from typing import NamedTuple

from polvo_adapters.stores.private_files import sync_directory
from polvo_adapters.stores.shared_clock import UNKNOWN_BOOT, read_boot

if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:  # noqa: ARG001
        return False
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another has it, or the file system has none
            return False
        return True


_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_LONGEST_NOTE = 4096
_LONGEST_NAME = 180  # bytes; file systems allow 255, and some is added
_USUAL_MODE = 0o666  # as the umask leaves it
_TRIES = 5
_numbers = itertools.count()


class Origin(NamedTuple):
    """What a partial file is the beginning of.

    Attributes:
        name: Name of the header that is the validator.
        validator: Its value.
        total: Length of the whole in bytes, or None where it is not known.
    """

    name: str
    validator: str
    total: int | None


class PartialFile:
    """The open file of one download.

    Args:
        target: Where the whole is to be; an absolute path whose links are resolved.
        url: The URL, which selects what an earlier download has left.

    Attributes:
        origin: What the bytes in it are the beginning of, or None where nothing is proved of them.
        size: How many bytes are in it.

    Raises:
        OSError: It cannot be made; or the target is no file that can be replaced.
    """

    def __init__(self, target: str, url: str) -> None:
        self._mode = _mode_of(target)
        self._target = target
        self._path = _name_partial(target, url)
        self._note = f"{self._path}.json"
        self.origin: Origin | None = None
        self.size = 0
        self._is_refused = False
        found = self._open_shared()
        self._is_shared = found is not None
        self._descriptor = self._open_own() if found is None else found
        if self._is_shared:
            self._take_up()

    def _open_shared(self) -> int | None:
        """Return the descriptor of the file that the next download finds, locked, or None where it is not to be had."""
        for _ in range(_TRIES if sys.platform != "win32" else 0):
            try:
                descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | _SAFE, self._mode)
            except OSError:
                return None  # a link, or a file of another user; where it is the directory, the next attempt says so
            found = os.fstat(descriptor)
            if not _is_ours(found) or not _try_lock(descriptor):
                os.close(descriptor)
                return None
            # Its last owner may have renamed it since, and then it is the target.
            with suppress(FileNotFoundError):
                if os.path.samestat(found, os.lstat(self._path)):
                    return descriptor
            os.close(descriptor)
        return None

    def _open_own(self) -> int:
        self._path = f"{self._path[:-5]}.{os.getpid()}-{next(_numbers)}.part"
        return os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | _SAFE, self._mode)

    def _take_up(self) -> None:
        """Find out what is there already, and forget it where nothing is proved of it."""
        size = os.fstat(self._descriptor).st_size
        try:
            with open(os.open(self._note, os.O_RDONLY | _SAFE), "rb") as file:
                note = json.loads(file.read(_LONGEST_NOTE))
            origin = Origin(str(note["name"]), str(note["validator"]), note["total"])
            is_same_boot = note["boot"] == read_boot() != UNKNOWN_BOOT
            certain = size if is_same_boot else min(size, int(note["certain"]))
            is_known = origin.total is None or isinstance(origin.total, int)
        except (OSError, ValueError, KeyError, TypeError):
            origin, certain, is_known = None, 0, False
        if origin is None or not is_known or certain <= 0 or (origin.total is not None and certain > origin.total):
            self.begin(None)
            return
        self.origin = origin
        self.cut(certain)

    def begin(self, origin: Origin | None) -> None:
        """Begin anew, with a note of what is to come where the rest of it can be asked for."""
        with suppress(FileNotFoundError):
            os.unlink(self._note)
        self.cut(0)
        self.origin = origin
        if origin is not None and self._is_shared:
            self._write_note(origin, 0)

    def cut(self, size: int) -> None:
        """Forget what lies behind so many bytes."""
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        self.size = size

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes, but none behind some that the disk has refused, of which a task may not have heard yet."""
        if self._is_refused:
            raise OSError(errno.EIO, "the disk has refused what comes before", self._target)
        rest = memoryview(data)
        try:
            while rest:
                count = os.write(self._descriptor, rest)
                self.size += count
                rest = rest[count:]
        except OSError:
            self._is_refused = True
            raise

    def finish(self) -> None:
        """Put the file in the place of the target, once it is on the disk.

        Raises:
            OSError: It cannot be written out or renamed.
        """
        if self._mode != _USUAL_MODE:
            os.chmod(self._path, self._mode)  # which the umask may have narrowed
        os.fsync(self._descriptor)
        os.replace(self._path, self._target)
        with suppress(OSError):
            os.unlink(self._note) if self._is_shared else None
        sync_directory(os.path.dirname(self._target))
        self._path = ""
        self.close()

    def keep(self) -> bool:
        """Leave the file to a later download, where that can ask for the rest, and return whether it was left."""
        if self._is_shared and self.origin is not None and self.size and not self._is_refused:
            with suppress(OSError):
                os.fsync(self._descriptor)
                self._write_note(self.origin, self.size)
                self.close()
                return True
        self.remove()
        return False

    def remove(self) -> None:
        """Remove the file."""
        for path in (self._note, self._path) if self._is_shared else (self._path,):
            with suppress(OSError):
                os.unlink(path) if path else None
        self._path = ""
        self.close()

    def close(self) -> None:
        """Close the file, and with it the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write_note(self, about: Origin, certain: int) -> None:
        note = {**about._asdict(), "boot": read_boot(), "certain": certain}
        temporary = f"{self._note}.tmp"
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _SAFE, 0o600), "w") as file:
            json.dump(note, file)
        os.replace(temporary, self._note)


def _name_partial(target: str, url: str) -> str:
    directory, name = os.path.split(target)
    digest = hashlib.sha256(f"{name}\n{url}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    shown = name if len(os.fsencode(name)) <= _LONGEST_NAME else ""
    return os.path.join(directory, f".{shown}.{digest}.part")


def _mode_of(target: str) -> int:
    """Return the mode that the file is to have: that of the target, or else what the umask leaves of the usual one.

    Raises:
        OSError: The target is no file that can be replaced.
    """
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return _USUAL_MODE
    if not stat.S_ISREG(found.st_mode):
        raise FileExistsError(f"{target} is not a regular file, and is not replaced; name another path")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it may not be written", target)
    return stat.S_IMODE(found.st_mode) & 0o777


def _is_ours(found: os.stat_result) -> bool:
    """Return whether a file was made by this user for this purpose: another could hold anything, or be anything."""
    is_own = found.st_uid == getattr(os, "geteuid", lambda: found.st_uid)()
    return stat.S_ISREG(found.st_mode) and is_own and found.st_nlink == 1 and not found.st_mode & stat.S_IWOTH
