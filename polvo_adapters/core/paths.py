r"""Paths that no server reads as leading upward.

Theory of operation. Where a path begins with a boundary (the directory of a tenant, the prefix of an API), what follows
is safe only if no server on its way finds a parent directory in it. Servers disagree on what a path means:

    server                           reads as a parent directory
    -------------------------------  ----------------------------------------------------------------
    decodes, then normalises         ..%2F  %2e%2e/  (nginx, Apache)
    decodes once more behind that    %252e%252e/  ..%252F  (a proxy in front of an application)
    removes path parameters          ..;/  ..;a=1/  (Tomcat, Jetty, Spring)
    cuts off a query once decoded    ..%3Fx  ..%23x
    knows other separators           ..\   ..%5C  (IIS, Windows)
    drops spaces or controls         ..%20/  .%09./  ..%00  (Windows, C)
    drops what is no text            .%FF./
    decodes overlong UTF-8           %c0%ae%c0%ae/  %c0%af
    decodes another notation         %u002e%u002e/  (IIS)
    folds characters                 U+FF0E  U+2024  U+2025  U+FF0F  U+2215 (NFKC; the best fit of Windows code pages)
    keeps the low byte               U+FF2E (old Node)
    removes "../", and only once     ....//

So a path is decoded again and again until it stays the same. Each stage is examined as it is and folded, and refused if
a segment of it is "." or "..", leaving aside what some server drops. What decodes more often than any server has a
reason to is refused as well. All else passes: "group%2Fproject", "a..b", "..." and ".hidden" climb in no reading.

(RFC 3986 sections 2.4, 3.3 and 5.2.4; RFC 3629 section 10 for overlong forms; Unicode Technical Report 36 section 3.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MOST_DECODINGS = 8
"""How often a path may be percent-encoded."""

TOO_DEEP = "it is percent-encoded too many times"

_PLAIN = re.compile(r"[A-Za-z0-9_~@$&=/-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_WIDE_ESCAPE = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
_CLIMBING = re.compile(r"\.\.?(?:[;,:?#].*)?", re.DOTALL)
_UPWARD = re.compile(r"\.\.(?:[;,:?#].*)?", re.DOTALL)
_SEPARATOR = re.compile(r"[/\\]")
_DROPPED = re.compile(r"[\s+]+")  # a form decoder reads a plus sign as a space
_NO_TEXT = re.compile(r"[\ud800-\udfff]")
_STRIPPED = re.compile(r"\.\.[/\\]")
# Bytes that are no UTF-8 are decoded to \udc80-\udcff, so that an overlong form is some of these and a last character.
_OVERLONG = re.compile(
    "(?:([\udcc0\udcc1])|\udce0([\udc80\udc81])|\udcf0\udc80([\udc80\udc81])|\udcf8\udc80{2}([\udc80\udc81])"
    "|\udcfc\udc80{3}([\udc80\udc81]))(.)",
    re.DOTALL,
)
_BEST_FIT = str.maketrans(
    {
        **dict.fromkeys("\u2044\u2215\u29f8\u2571", "/"),
        **dict.fromkeys("\u00a5\u20a9\u2216\u29f5\u29f9\u2572", "\\"),
        **dict.fromkeys("\u3002\u0701\u0702\ua4f8\ua60e\U00010a50", "."),
    }
)


def find_climb(path: str) -> str:
    """Return the reason that a server may read a path as leading out of its directory, or an empty string.

    Args:
        path: The path below a boundary, percent-encoded or not.
    """
    if _PLAIN.fullmatch(path):
        return ""
    for reading in _readings(path):
        if reading is None:
            return TOO_DEEP
        if _CONTROL.search(reading):
            return "it has a control character, encoded or not"
        if _climbs(reading):
            return "it has '.' or '..' as a segment, encoded or not"
    return ""


def decodings(path: str) -> Iterator[str | None]:
    """Yield a path as it is, decoded, decoded twice and so on; None at the end if it is encoded too many times.

    Bytes that are no UTF-8 are yielded as lone surrogates.
    """
    for _ in range(MOST_DECODINGS):
        yield path
        decoded = _decode(path)
        if decoded == path:
            return
        path = decoded
    yield None


def _readings(path: str) -> Iterator[str | None]:
    """Yield all that servers may take a path for; None if it is encoded too many times."""
    for text in decodings(path):
        yield text
        if text is not None:
            yield from _foldings(text)
    folded = path
    for _ in range(MOST_DECODINGS):  # what is folded first may be an escape then: U+FF05 is a percent sign
        before, folded = folded, _fold(_decode(folded))
        yield from _foldings(folded)
        if folded == before:
            return
    yield None


def _foldings(text: str) -> Iterator[str]:
    folded = _fold(text)
    yield folded
    yield _STRIPPED.sub("", folded)
    if not text.isascii():
        yield _fold(_NO_TEXT.sub("", text))  # without what would be an overlong form


def _decode(text: str) -> str:
    text = _WIDE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogateescape"), text)


def _fold(text: str) -> str:
    """Return a text as servers read it that take similar characters for one, and drop invisible ones."""
    if text.isascii():
        return text
    text = _NO_TEXT.sub("", _OVERLONG.sub(_read_overlong, text))
    text = unicodedata.normalize("NFKC", text).translate(_BEST_FIT)
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


def _read_overlong(found: re.Match[str]) -> str:
    lead = next(group for group in found.groups() if group)
    return chr((ord(lead) & 1) << 6 | ord(found[6]) & 0x3F)


def _climbs(text: str) -> bool:
    if any(_is_dots(segment, _CLIMBING) for segment in _SEPARATOR.split(text)):
        return True
    if text.isascii():
        return False
    low = "".join(chr(ord(character) & 0xFF) for character in text)
    return any(_is_dots(segment, _UPWARD) for segment in _SEPARATOR.split(low))


def _is_dots(segment: str, dots: re.Pattern[str]) -> bool:
    kept = _DROPPED.sub("", segment)
    return dots.fullmatch(kept) is not None or (kept != segment and kept.strip(".") == "" != kept)
