"""The rules by which the rest of a body may be asked for, and put behind what is there already.

Theory of operation. Two responses are parts of the same bytes only where a *strong* validator says so (RFC 9110 section
8.8.1): a strong entity tag, or a `Last-Modified` that lies so far back that no second change can hide in the same
second. Everything else, such as equal lengths, is a guess. So there is no rest without a validator in the first
response, and no part of it is used unless it names the very same one.

    the first response                                  its rest
    --------------------------------------------------  ------------------------------------------------------
    a weak or malformed ETag                            cannot be asked for, whatever its Last-Modified says
    no ETag, Last-Modified a minute or more before Date is asked for with the date
    neither; `Accept-Ranges: none`; several ranges      cannot be asked for

    the answer to the request for the rest              what becomes of it
    --------------------------------------------------  ------------------------------------------------------
    206 from the position, same validator and encoding  it is the rest, or the beginning of it
    200, same validator, encoding and length            its beginning is skipped
    412, or another validator                           the entity has changed
    anything else                                       nothing is proved

Positions count bytes of the encoded body, as ranges do (RFC 9110 section 14.1.2): the caller's decoder stays where it
is, and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from polvo_adapters.headers.times import parse_date

_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]+"')
_CONTENT_RANGE = re.compile(r"bytes[ \t]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_CLOCK_DIFFERENCE = 60.0
"""Seconds by which Date must be later than Last-Modified, as the two may come from different clocks.

RFC 9110 section 8.8.2.2 is content with one second where both are known to come from the same clock, which a client
does not know; RFC 7232 named this minute.
"""
CONDITIONS = frozenset({"if-none-match", "if-modified-since", "if-unmodified-since", "if-match", "if-range", "range"})
"""Headers of a request that those of the request for the rest take the place of, in lower case."""


class ContentRange(NamedTuple):
    """Which bytes of the whole a response has.

    Attributes:
        first: Position of the first byte.
        last: Position of the last byte.
        total: Length of the whole, or None where it is not known.
    """

    first: int
    last: int
    total: int | None


def parse_content_range(text: str | None) -> ContentRange | None:
    """Return the value of a Content-Range of bytes, or None where it is missing, malformed or contradicts itself.

    Source: RFC 9110 section 14.4.
    """
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


def find_validator(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the header that proves that two responses are parts of the same bytes, and its value, or None.

    Args:
        headers: Headers of a response; names are looked up in lower case.

    Source: RFC 9110 sections 8.8.2.2 and 13.1.5.
    """
    tag = headers.get("etag")
    if tag is not None:  # then a date must not be sent in If-Range
        return ("etag", tag.strip()) if _STRONG_TAG.fullmatch(tag.strip()) else None
    text = (headers.get("last-modified") or "").strip()
    modified, date = parse_date(text), parse_date(headers.get("date") or "")
    if modified is None or date is None or date - modified < _CLOCK_DIFFERENCE:
        return None
    return "last-modified", text


class Unproved(NamedTuple):
    """Why there is no rest that could be put behind what is there.

    Attributes:
        reason: The reason, for a person.
        changed: Whether the entity is another one by now.
    """

    reason: str
    changed: bool = False


class Rest(NamedTuple):
    """What to take from a response to the request for the rest.

    Attributes:
        skip: How many bytes of its body come before the position, and are to be thrown away.
        end: Position behind the last byte to take; None for everything that comes.
        whole: Position behind the last byte of the whole body; None where it is still not known.
    """

    skip: int
    end: int | None
    whole: int | None


class Entity(NamedTuple):
    """What a response says of the bytes that its body is a part of.

    Attributes:
        name: Name of the header that is the validator.
        validator: Its value.
        encoding: The content encoding, or an empty string.
        first: Position of the first byte of the body.
        end: Position behind its last byte, or None where it is not known.
        total: Length of the whole, or None.
    """

    name: str
    validator: str
    encoding: str
    first: int
    end: int | None
    total: int | None

    def ask_for_rest(self, headers: Mapping[str, str], received: int) -> dict[str, str]:
        """Return the headers of the request for the rest.

        Args:
            headers: Headers of the request for the whole; conditions and ranges among them are replaced.
            received: How many bytes of the body are there.
        """
        kept = {name: value for name, value in headers.items() if _lower(name) not in CONDITIONS}
        return {**kept, **self.make_conditions(received)}

    def make_conditions(self, received: int) -> dict[str, str]:
        """Return the headers that make a request one for the rest.

        Args:
            received: How many bytes of the body are there. Without any, the request asks for all of them, under no
                condition, as servers differ over a range that leaves out nothing.
        """
        is_part = self.end is not None and self.end != self.total
        if not (received or self.first or is_part):
            return {}
        last = self.end - 1 if is_part and self.end is not None else ""
        first = self.first + received - self._overlap(received)
        return {"Range": f"bytes={first}-{last}", "If-Range": self.validator}

    def check_rest(self, received: int, status: int, headers: Mapping[str, str]) -> Rest | Unproved:
        """Return what to take from a response to the request for the rest, or why nothing can be taken.

        Args:
            received: How many bytes of the body are there.
            status: Status of the response.
            headers: Its headers.
        """
        if status == 412:
            return Unproved("the entity has changed (412)", changed=True)
        if status not in (200, 206):
            return Unproved(f"the server answered {status} to the request for the rest")
        value = (headers.get(self.name) or "").strip()
        if value != self.validator:
            if value:
                return Unproved("the entity has changed", changed=True)
            return Unproved("the server did not say that it is the same entity")
        if _encoding_of(headers) != self.encoding:
            return Unproved("the rest has another content encoding")
        position = self.first + received
        if status == 200:
            return self._check_whole(position, headers)
        return self._check_part(position, self._overlap(received), headers)

    def _overlap(self, received: int) -> int:
        """Return how many bytes are asked for once more: where the end is not known, the last may be there already."""
        return 1 if self.end is None and received else 0

    def _check_whole(self, position: int, headers: Mapping[str, str]) -> Rest | Unproved:
        length = content_length(headers)
        if self.total is not None and length is not None and length != self.total:
            return Unproved("the entity has another length")
        whole = length if self.end is None else self.end
        return Rest(position, whole, whole)

    def _check_part(self, position: int, overlap: int, headers: Mapping[str, str]) -> Rest | Unproved:
        part = parse_content_range(headers.get("content-range"))
        if part is None or part.first != position - overlap:
            return Unproved("the server sent another range than it was asked for")
        total = self.total if part.total is None else part.total
        end = total if self.end is None else self.end
        if (self.total is not None and total != self.total) or end is None or part.last >= end:
            return Unproved("the server sent another range than it was asked for")
        return Rest(overlap, part.last + 1, end)


def describe_entity(method: str | None, status: int, headers: Mapping[str, str]) -> Entity | Unproved:
    """Return the entity of a response, or why its rest can never be asked for.

    Args:
        method: Method of the request.
        status: Status of the response.
        headers: Headers of the response; names are looked up in lower case.
    """
    if method != "GET" or status not in (200, 206):
        return Unproved("only a GET with a body has a rest")
    validator = find_validator(headers)
    if validator is None:
        return Unproved("the response has no strong validator (a strong ETag, or an old enough Last-Modified)")
    if (headers.get("accept-ranges") or "").strip().lower() == "none":
        return Unproved("the server says that it knows no ranges")
    length, encoding = content_length(headers), _encoding_of(headers)
    if status == 200:
        return Entity(*validator, encoding, 0, length, length)
    part = parse_content_range(headers.get("content-range"))
    if part is None or (length is not None and length != part.last + 1 - part.first):
        return Unproved("the response has several ranges, or none that can be read")
    return Entity(*validator, encoding, part.first, part.last + 1, part.total)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the length in bytes that a response says its body has, or None where it says nothing that counts.

    Args:
        headers: Headers of the response; names are looked up in lower case.
    """
    if "transfer-encoding" in headers:  # which overrides it (RFC 9112 section 6.3)
        return None
    text = (headers.get("content-length") or "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


def _encoding_of(headers: Mapping[str, str]) -> str:
    return (headers.get("content-encoding") or "").strip().lower()


def _lower(name: str | bytes) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else name).lower()
