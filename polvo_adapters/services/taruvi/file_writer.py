"""Downloads that are written to a file of the caller."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any, BinaryIO


class FileWriter:
    """Writes what comes to the file of the caller; what was written of a body that breaks off is taken back.

    Attributes:
        error: What the file raised, which is the caller's to see as it is, or None.

    Args:
        target: The file, or None where there is none.
    """

    def __init__(self, target: BinaryIO | None) -> None:
        self._target = target
        self._start, self._is_at_end = _find_place(target)
        self.error: BaseException | None = None

    def write(self, chunk: bytes) -> None:
        """Write a part of the body."""
        target: Any = self._target
        left = chunk
        try:
            while left:
                written = target.write(left)
                left = left[written if isinstance(written, int) and written > 0 else len(left) :]
        except Exception as error:
            self.error = error
            raise

    def take_back(self) -> None:
        """Go back to where the file was before, and cut it off there if it had ended there.

        A file that cannot go back keeps what it has, and one that went on after that place what was overwritten.
        """
        if self._target is None or self._start is None:
            return
        with suppress(OSError, ValueError):
            self._target.seek(self._start)
            if self._is_at_end:
                self._target.truncate()


def _find_place(target: BinaryIO | None) -> tuple[int | None, bool]:
    """Return where a file is, or None where it cannot be asked or go back; and whether it ends there."""
    seekable = getattr(target, "seekable", None)
    if target is None or not callable(seekable) or not seekable():
        return None, False
    start = target.tell()
    end = target.seek(0, io.SEEK_END)
    target.seek(start)
    return start, end == start
