"""Files that are to be uploaded, as the caller describes them."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.taruvi import checks

_ANY_KIND = "application/octet-stream"
_FORM = "a file is a dict with 'file' and 'name', or a tuple of name, file and perhaps type"


@unpicklable
class Upload(NamedTuple):
    """A file that is to be uploaded.

    Attributes:
        name: Its name.
        source: Its content: bytes, or a file that is open for reading in binary mode.
        kind: Its type.
        path: Where it goes in the bucket.
        metadata: What is kept with it.
    """

    name: str
    source: Any
    kind: str
    path: str
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return f"<Upload {self.name}>"

    def read(self) -> bytes:
        """Return the content, of a file from where it stands; the file stays open."""
        if isinstance(self.source, (bytes, bytearray, memoryview)):
            return bytes(self.source)
        problem, content = "", None
        try:
            content = self.source.read()
        except (OSError, ValueError) as error:  # the second of a file that is closed
            problem = f"it cannot be read ({type(error).__name__})"
        if problem or not isinstance(content, bytes):
            raise checks.refuse("files", problem or "a file is not open in binary mode")
        return content


def describe_upload(given: object) -> Upload:
    """Return a file that is to be uploaded; nothing is read yet.

    Args:
        given: A dict with "file", "name" and perhaps "path", "content_type" and "metadata"; or a tuple of name, file
            and perhaps type.
    """
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(("name", "file", "content_type"), given, strict=False))
    if not isinstance(given, Mapping) or "file" not in given:
        raise checks.refuse("files", _FORM)
    source = given["file"]
    is_file = callable(getattr(source, "read", None)) and not isinstance(source, type)
    if not is_file and not isinstance(source, (bytes, bytearray, memoryview)):
        raise checks.refuse("files", "'file' must be bytes, or a file that is open for reading in binary mode")
    found = given.get("name") or getattr(source, "name", "")
    name = checks.require_text(
        "files", given.get("name") or (os.path.basename(found) if isinstance(found, str) else "")
    )
    kind = given.get("content_type") or mimetypes.guess_type(name)[0] or _ANY_KIND
    path = given.get("path") or name
    metadata = given.get("metadata") or {}
    return Upload(
        name,
        source,
        _require_kind(kind),
        checks.require_text("files", path),
        checks.require_json("files", checks.require_mapping("files", metadata)),
    )


def _require_kind(value: object) -> str:
    kind = checks.require_text("files", value)
    if not kind.isascii() or not kind.isprintable():
        raise checks.refuse("files", "a content type has a character that cannot be sent in a header")
    return kind
