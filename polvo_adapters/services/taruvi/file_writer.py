"""Downloads that are written to a file of the caller."""

from __future__ import annotations

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
        self._start = target.tell() if target is not None and _is_seekable(target) else None
        self.error: BaseException | None = None

    def write(self, chunk: bytes) -> None:
        """Write a part of the body."""
        target: Any = self._target
        left = memoryview(chunk)
        try:
            while left:
                written = target.write(left)
                left = left[written if isinstance(written, int) and written > 0 else len(left) :]
        except Exception as error:
            self.error = error
            raise

    def take_back(self) -> None:
        """Cut the file off where it was before; one that cannot be cut off keeps what it has."""
        if self._target is None or self._start is None:
            return
        try:
            self._target.seek(self._start)
            self._target.truncate()
        except (OSError, ValueError):
            pass


def _is_seekable(target: BinaryIO) -> bool:
    seekable = getattr(target, "seekable", None)
    return bool(seekable()) if callable(seekable) else False
