"""Downloads to files, by any library: whole or not at all, and continued where an earlier one broke off.

Theory of operation. A download is a streamed GET with `resume` whose body goes to a `PartialFile`, which takes the
place of the target once it is whole. What an earlier download has left is not asked for again, only its rest, under
the rules of `polvo_adapters.core.ranges`. Three things may then end the attempt to go on, and begin something anew:

    the entity has changed        the file is begun anew, or the call fails, as `on_change` says
    the rest cannot be had        the file is begun anew, once: an old partial file is no reason to fail
    the rest was refused where    the chain of redirects is begun anew, and asks for the rest: signed URLs expire;
    a redirect had led            as long as each chain brings bytes

It asks for no content encoding, so that positions in the file are positions in the entity. Where the server encodes all
the same, the file gets the decoded bytes, and cannot be continued by a later download.

A `DownloadJob` decides all that, and waits for nothing but the disk. The shell sends, reads, and writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.ranges import CONDITIONS, Entity, Rest, Unproved, content_length, describe_entity
from polvo_adapters.errors import ConfigurationError, EntityChangedError, StatusError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.error_notes import add_note
from polvo_adapters.stores.partial_files import Origin, PartialFile

OnChange = Literal["restart", "fail"]
Progress = Callable[[int, "int | None"], object]

_MOST_RESTARTS = 3
_ANSWERS_TO_RANGES = (200, 206, 412, 416)
_NO_NAMES = ("", ".", "..")


class Download(NamedTuple):
    """A download that has ended well.

    Attributes:
        path: Where the file is.
        size: Its length in bytes.
        continued_from: How many of them an earlier download had left.
        response: The last response, with its report.
    """

    path: Path
    size: int
    continued_from: int
    response: Any


def choose_target(path: str | os.PathLike[str], url: str) -> str:
    """Return the absolute path of the file; in a directory, the name is the last segment of the URL.

    Names that the server gives (Content-Disposition, redirects) are ignored: it would choose the file that is written.

    Raises:
        ConfigurationError: The URL names no file.
    """
    text = os.fspath(path)
    if not os.path.isdir(text) and not text.endswith(("/", os.sep)):
        return os.path.realpath(text)
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if name in _NO_NAMES or not name.isprintable() or any(character in name for character in '/\\:*?"<>|'):
        raise ConfigurationError(
            f"{text} is a directory, and the URL does not end in the name of a file; name the file"
        )
    return os.path.realpath(os.path.join(text, name))


def _make_named_directory(path: str | os.PathLike[str]) -> None:
    """Make the directory that a path names by a slash at its end, if only that is missing."""
    text = os.fspath(path)
    if text.endswith(("/", os.sep)):
        with suppress(FileExistsError):
            os.mkdir(text)


@unpicklable
class DownloadJob:
    """One download, over as many calls as it takes.

    Args:
        url: The absolute URL, which names the file in a directory, and selects what an earlier download has left.
        path: The file, or a directory to put it in.
        on_change: What to do where the entity changes while it is downloaded.
        progress: A function that is called with the number of bytes that have come, and of those that there will be, or
            None where that is not known.
        make_status_error: Makes the error for the status of a response.

    Raises:
        ConfigurationError: The URL names no file, or `on_change` is neither of the two.
        OSError: The file cannot be made.
    """

    def __init__(
        self,
        url: str,
        path: str | os.PathLike[str],
        on_change: OnChange,
        progress: Progress | None,
        make_status_error: Callable[[Any], Exception],
    ) -> None:
        if on_change not in ("restart", "fail"):
            raise ConfigurationError(f"on_change={on_change!r}: expected 'restart' or 'fail'")
        self.target = choose_target(path, url)
        _make_named_directory(path)
        self.partial = PartialFile(self.target, url)
        self._on_change, self._progress, self._make_status_error = on_change, progress, make_status_error
        self._restarts = 0
        self._is_encoded = False
        self._before = self._total = None  # type: int | None
        self.continued_from = self.partial.size

    @property
    def writes_parts(self) -> bool:
        """Whether what has come of a body that breaks off is of use to a later download."""
        return self.partial.origin is not None

    def prepare(self, headers: MutableMapping[str, str]) -> None:
        """Let the headers of the next call ask for what is missing.

        Args:
            headers: A copy of those that the caller gives, which looks names up in any case.
        """
        headers.setdefault("Accept-Encoding", "identity")
        origin_, self._before = self.partial.origin, self.partial.size
        if origin_ is not None and self.partial.size:
            if self.partial.size == origin_.total:  # the last byte proves that the whole is still the same
                self.partial.cut(self.partial.size - 1)
            for name in CONDITIONS:
                headers.pop(name, None)
            headers.update(_entity_of(origin_).make_conditions(self.partial.size))

    def take_up(self, response: Any) -> bool:
        """Prepare the file for the body of a response, and return whether that is to be written to it.

        Raises:
            StatusError: The response comes without a file.
            EntityChangedError: The entity changes too often, or must not change.
        """
        partial, status = self.partial, response.status_code
        if partial.origin is not None and partial.size and status in _ANSWERS_TO_RANGES:
            rest = _entity_of(partial.origin).check_rest(partial.size, status, response.headers)
            if isinstance(rest, Rest) and rest.skip == 0:
                self._note_total(response)
                return True
            if isinstance(rest, Unproved) and rest.changed:
                self._note_change(response)
            self._begin(None)
            if status != 200:
                return False  # ask for the whole
        if status >= 400:
            raise self._make_status_error(response)
        if status not in (200, 203):
            raise StatusError(
                f"{_host_of(response)}: the answer is no file, but {status}; check the URL",
                request=response.request,
                response=response,
                host=_host_of(response),
            )
        self._begin(response)
        self._note_total(response)
        return True

    def _begin(self, response: Any) -> None:
        """Begin the file anew, with what a response says of it, or None."""
        self.continued_from = 0
        if response is None:
            self.partial.begin(None)
            return
        entity = describe_entity(response.request.method, response.status_code, response.headers)
        self._is_encoded = bool(response.headers.get("content-encoding"))
        can_go_on = isinstance(entity, Entity) and not self._is_encoded
        self.partial.begin(Origin(entity.name, entity.validator, entity.total) if can_go_on else None)  # type: ignore[union-attr]

    def _note_total(self, response: Any) -> None:
        origin_ = self.partial.origin
        total = content_length(response.headers) if origin_ is None else origin_.total
        self._total = None if self._is_encoded else total

    def report_progress(self) -> Any:
        """Call `progress`, if there is one, and return its result: of a coroutine function, the coroutine."""
        return None if self._progress is None else self._progress(self.partial.size, self._total)

    def goes_on(self, response: Any, error: Exception, unproved: Unproved | None) -> bool:
        """Return whether to ask once more after a body that broke off and did not go on by itself.

        Args:
            response: The response.
            error: The error of the break.
            unproved: Why the body did not go on; None where nothing was asked for.

        Raises:
            EntityChangedError: The entity changes too often, or must not change.
        """
        partial = self.partial
        if unproved is None:
            return False
        if unproved.changed:
            self._note_change(response, error)
            self._begin(None)
            return True
        return bool(response.history) and partial.origin is not None and partial.size > (self._before or 0)

    def _note_change(self, response: Any, error: Exception | None = None) -> None:
        """Count a change of the entity, and raise EntityChangedError where it changes too often, or must not change."""
        self._restarts += 1
        if self._on_change == "restart" and self._restarts <= _MOST_RESTARTS:
            return
        self.partial.begin(None)
        raise EntityChangedError(
            f"{_host_of(response)}: the entity changed while it was downloaded, and no file was written; download it "
            "again" + ("" if self._on_change == "restart" else ", or use on_change='restart'"),
            request=response.request,
            response=response,
            host=_host_of(response),
        ) from error

    def finish(self, response: Any) -> Download:
        """Put the file in its place, and return the download.

        Raises:
            OSError: The file cannot be written out or renamed.
        """
        self.partial.finish()
        return Download(Path(self.target), self.partial.size, self.continued_from, response)

    def keep_for_later(self, error: BaseException, *, of_disk: bool) -> None:
        """Keep what has come for a later download, and say so on the error that the download ends with.

        Args:
            error: The error.
            of_disk: Whether the file could not be written; then nothing is kept, above all where the disk is full.
        """
        try:
            if of_disk:
                self.partial.remove()
            elif self.partial.keep() and isinstance(error, Exception):
                add_note(
                    error, f"polvo: {self.partial.size} bytes are kept, so that the same download goes on from there"
                )
        finally:
            del error  # see errors.py, "Errors and frames"


def _entity_of(origin_: Origin) -> Entity:
    return Entity(origin_.name, origin_.validator, "", 0, origin_.total, origin_.total)


def _host_of(response: Any) -> str:
    return find_host(str(response.url or ""))
