"""Which bodies of httpx can be sent again, and how: a retry, a redirect, an auth object or the caller does so.

body                                              can be sent again
------------------------------------------------  ---------------------------------------------------------------
bytes, text, JSON, a form                         several times at once
multipart, of bytes                               several times at once
multipart, of files that can be rewound           one after the other; httpx rewinds each to its beginning
a file that can be rewound, for a `Client`        one after the other; it is rewound here to where it was at first
everything else, such as a generator              not; to send it again on purpose raises ReplayError
"""

from __future__ import annotations

from typing import Any

import httpx

from polvo_adapters.core.calls import Body
from polvo_adapters.errors import ReplayError

_ONE_SHOT = ("__next__", "__anext__", "read", "aread")
_MULTIPART = "httpx._multipart.MultipartStream"  # not public
_POSITION = "_polvo_position"  # where a file was before it was sent for the first time, on the stream that sends it


def kind_of_stream(request: httpx.Request) -> Body:
    """Return whether the body of a request, which is no ByteStream, can be sent again; note where a file begins."""
    stream: Any = request.stream
    if f"{type(stream).__module__}.{type(stream).__qualname__}" == _MULTIPART:
        return _kind_of_multipart(stream)
    if _is_rewindable(stream):
        return "rewindable"
    position = None if _is_spent(stream) else _find_position(getattr(stream, "_stream", None))
    if position is None:
        return "once"
    stream.__dict__[_POSITION] = position
    return "rewindable"


def _kind_of_multipart(stream: Any) -> Body:
    files = [field.file for field in getattr(stream, "fields", ()) if hasattr(field, "file")]
    read = [file for file in files if not isinstance(file, (str, bytes))]
    if not read:
        return "replayable" if hasattr(stream, "fields") else "once"
    return "rewindable" if all(_find_position(file) is not None for file in read) else "once"


def _find_position(file: Any) -> int | None:
    """Return where a file is, or None where it cannot be rewound."""
    try:
        return int(file.tell()) if callable(getattr(file, "read", None)) and file.seekable() else None
    except Exception:  # noqa: BLE001 - a file of the user's may raise anything
        return None


def rewind(request: httpx.Request) -> None:
    """Set the file that is the body of a request back to where it was at first.

    Raises:
        ReplayError: It cannot be.
    """
    stream = _find_file_stream(request.stream)
    if stream is None:
        return
    try:
        stream._stream.seek(vars(stream)[_POSITION])
    except Exception as error:
        raise ReplayError(
            f"the file that is the body of this request cannot be rewound: {type(error).__name__}",
            host=request.url.host,
        ) from error


def _find_file_stream(stream: Any) -> Any:
    """Return the stream whose file can be rewound, which another one may wrap, or None."""
    return next((each for each in (stream, getattr(stream, "_stream", None)) if _is_rewindable(each)), None)


def _is_rewindable(stream: Any) -> bool:
    return _POSITION in getattr(stream, "__dict__", ())


def prepare_body(request: httpx.Request) -> None:
    """Set a body that was sent before back to its beginning.

    httpx notices that a body is gone for generators only, in the middle of the request; a file would simply be at its
    end. Bodies of other classes begin anew each time, or look after that themselves.

    Raises:
        ReplayError: The body is gone, and would be sent as an empty one.
    """
    stream: Any = request.stream
    if not _is_spent(stream):
        return
    if _is_rewindable(stream):
        rewind(request)
    elif any(hasattr(getattr(stream, "_stream", None), name) for name in _ONE_SHOT):
        raise ReplayError(
            "the body of this request was sent before, and cannot be read again; give `content` as bytes, or make a "
            "new request",
            host=request.url.host,
        )


def _is_spent(stream: Any) -> bool:
    return bool(getattr(stream, "_is_stream_consumed", False))  # of the classes in httpx._content, not public either
