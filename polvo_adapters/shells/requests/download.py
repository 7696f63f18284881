"""Downloads to files: whole or not at all, and continued where an earlier one broke off.

Theory of operation. A download is a streamed GET with `resume` whose body goes to a `PartialFile`, which takes the
place of the target once it is whole. What an earlier download has left is asked for no further: its rest is, under the
rules of `polvo_adapters.core.ranges`. Three things may then end the attempt to go on, and begin something anew:

    the entity has changed        the file is begun anew, or the call fails, as `on_change` says
    the rest cannot be had        the file is begun anew, once: an old partial file is no reason to fail
    the rest was refused where    the chain of redirects is begun anew, with the rest: signed URLs expire; as long as
    a redirect had led            each chain brings bytes

It asks for no content encoding, so that positions in the file are positions in the entity. Where the server encodes all
the same, the file gets the decoded bytes, and cannot be continued by a later download.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.ranges import Entity, Rest, Unproved, content_length, describe_entity
from polvo_adapters.errors import ConfigurationError, EntityChangedError, StatusError
from polvo_adapters.shells.error_notes import add_note
from polvo_adapters.shells.status_error import status_error
from polvo_adapters.stores.partial_files import Origin, PartialFile

OnChange = Literal["restart", "fail"]
Progress = Callable[[int, "int | None"], object]

_PIECE = 1 << 16  # bytes
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
    response: requests.Response


def download(
    get: Callable[..., requests.Response],
    url: str,
    path: str | os.PathLike[str],
    *,
    on_change: OnChange = "restart",
    progress: Progress | None = None,
    absolute_url: str = "",
    **keywords: Any,
) -> Download:
    """Download a URL to a file; see `polvo_adapters.Session.download`.

    Args:
        get: The `get` of a session.
        url: The URL, as that takes it.
        path: The file, or a directory to put it in.
        on_change: What to do where the entity changes while it is downloaded.
        progress: A function that is called with the bytes that are there, and those that there will be or None.
        absolute_url: The same URL, where the session completes it.
        **keywords: Further keywords of `get`.
    """
    if on_change not in ("restart", "fail"):
        raise ConfigurationError(f"on_change={on_change!r}: expected 'restart' or 'fail'")
    target = choose_target(path, absolute_url or url)
    partial = PartialFile(target, absolute_url or url)
    job = _Job(get, url, partial, on_change, progress, keywords)
    try:
        response = job.run()
        partial.finish()
    except requests.RequestException as error:
        if partial.keep():
            add_note(error, f"polvo: {partial.size} bytes are kept, so that the same download goes on from there")
        raise
    except OSError:
        partial.remove()  # above all where the disk is full
        raise
    except BaseException:
        partial.keep()
        raise
    return Download(Path(target), partial.size, job.continued_from, response)


def choose_target(path: str | os.PathLike[str], url: str) -> str:
    """Return the absolute path of the file; in a directory, the name is the last segment of the URL.

    What the server says of a name (Content-Disposition, redirects) is not asked: it would choose which file is written.

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


class _Job:
    """One download, over as many calls as it takes."""

    def __init__(
        self,
        get: Callable[..., requests.Response],
        url: str,
        partial: PartialFile,
        on_change: OnChange,
        progress: Progress | None,
        keywords: dict[str, Any],
    ) -> None:
        self._get, self._url, self._keywords = get, url, {"resume": True, **keywords, "stream": True}
        self._partial, self._on_change, self._progress = partial, on_change, progress
        self._restarts = 0
        self._is_encoded = False
        self.continued_from = partial.size

    def run(self) -> requests.Response:
        """Download until the file is whole, and return the last response."""
        while True:
            before = self._partial.size
            response = self._ask()
            try:
                with closing(response):
                    if self._take_up(response):
                        self._write(response)
                        return response
            except requests.exceptions.ChunkedEncodingError as error:
                if not self._goes_on(response, error, before):
                    raise
            except requests.ConnectionError as error:  # a body that went silent
                if not self._goes_on(response, error, before):
                    raise

    def _ask(self) -> requests.Response:
        headers = CaseInsensitiveDict(self._keywords.get("headers") or {})
        headers.setdefault("Accept-Encoding", "identity")
        origin_, size = self._partial.origin, self._partial.size
        if origin_ is not None and size:
            if size == origin_.total:  # the last byte proves that the whole is still the same
                self._partial.cut(size - 1)
            asked = _entity_of(origin_).ask_for_rest(headers, self._partial.size)
            headers = CaseInsensitiveDict(asked)
        return self._get(self._url, **{**self._keywords, "headers": headers})

    def _take_up(self, response: requests.Response) -> bool:
        """Prepare the file for the body of a response, and return whether that is to be written to it."""
        partial, status = self._partial, response.status_code
        if partial.origin is not None and partial.size and status in _ANSWERS_TO_RANGES:
            rest = _entity_of(partial.origin).check_rest(partial.size, status, response.headers)
            if isinstance(rest, Rest) and rest.skip == 0:
                return True
            if isinstance(rest, Unproved) and rest.changed:
                self._note_change(response)
            self._begin(None)
            if status != 200:
                return False  # ask for the whole
        if status >= 400:
            raise status_error(response)
        if status not in (200, 203):
            raise StatusError(
                f"{_host_of(response)}: the answer is no file, but {status}; check the URL",
                request=response.request,
                response=response,
                host=_host_of(response),
            )
        self._begin(response)
        return True

    def _begin(self, response: requests.Response | None) -> None:
        """Begin the file anew, with what a response says of it."""
        self.continued_from = 0
        if response is None:
            self._partial.begin(None)
            return
        entity = describe_entity(response.request.method, response.status_code, response.headers)
        self._is_encoded = bool(response.headers.get("content-encoding"))
        can_go_on = isinstance(entity, Entity) and not self._is_encoded
        self._partial.begin(Origin(entity.name, entity.validator, entity.total) if can_go_on else None)  # type: ignore[union-attr]

    def _write(self, response: requests.Response) -> None:
        partial, progress = self._partial, self._progress
        origin_, length = partial.origin, content_length(response.headers)
        total = origin_.total if origin_ is not None else length
        total = None if self._is_encoded else total
        if progress is not None:
            progress(partial.size, total)
        begin = partial.size
        try:
            for piece in response.iter_content(_PIECE):
                partial.write(piece)
                if progress is not None:
                    progress(partial.size, total)
        except requests.RequestException as error:
            if partial.origin is not None:
                partial.write(_salvage(response, partial.size - begin))
            for note in getattr(error.args[0] if error.args else None, "__notes__", ()):
                add_note(error, note)
            error.polvo = getattr(response, "polvo", None)  # type: ignore[attr-defined]
            raise

    def _goes_on(self, response: requests.Response, error: Exception, before: int) -> bool:
        """Return whether to ask once more after a body that broke off and did not go on by itself."""
        partial = self._partial
        unproved = getattr(getattr(response.raw, "_resuming", None), "unproved", None)
        if unproved is None:
            return False
        if unproved.changed:
            self._note_change(response, error)
            self._begin(None)
            return True
        return bool(response.history) and partial.origin is not None and partial.size > before

    def _note_change(self, response: requests.Response, error: Exception | None = None) -> None:
        """Count a change of the entity.

        Raises:
            EntityChangedError: It changes too often, or must not change.
        """
        self._restarts += 1
        if self._on_change == "restart" and self._restarts <= _MOST_RESTARTS:
            return
        self._partial.begin(None)
        raise EntityChangedError(
            f"{_host_of(response)}: the entity changed while it was downloaded, and no file was written; download it "
            "again" + ("" if self._on_change == "restart" else ", or use on_change='restart'"),
            request=response.request,
            response=response,
            host=_host_of(response),
        ) from error


def _entity_of(origin_: Origin) -> Entity:
    return Entity(origin_.name, origin_.validator, "", 0, origin_.total, origin_.total)


def _salvage(response: requests.Response, written: int) -> bytes:
    """Return what urllib3 had read of a body, and kept for a larger piece, before that broke off.

    Args:
        response: The response, without content encoding.
        written: How many bytes of its body were handed out.
    """
    raw: Any = response.raw
    with suppress(AttributeError, HTTPError, OSError, ValueError):
        kept = raw.tell() - written
        return bytes(raw.read(kept)) if kept > 0 else b""
    return b""


def _host_of(response: requests.Response) -> str:
    return find_host(response.url or "")
