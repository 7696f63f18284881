"""Paths that no server reads as leading upward: a table of what is known, and servers that read each in its own way."""

from __future__ import annotations

import itertools
import re
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.paths import MOST_DECODINGS, decodings, find_climb

DOTS = [
    "..",
    "%2e%2e",
    ".%2E",
    "%252e%252e",
    "%25252e.",
    "%%32e%%32e",
    "%c0%ae%c0%ae",
    "%c0%2e.",
    "%e0%80%ae.",
    "%f0%80%80%ae.",
    "%25c0%25ae.",
    "%u002e%u002e",
    "%uff0e.",
    "\uff0e\uff0e",
    "%EF%BC%8E%EF%BC%8E",
    "\u2024.",
    "\u2025",
    "\ufe52.",
    "\ufe30",
    "\uff052e\uff052e",
    ".\u200b.",
    ".%FF.",
    ".%09.",
    ".%0a.",
    "..%00",
    "..%20",
    "..+",
    "..;",
    "..;a=1",
    "..%3Ba",
    "..%253Ba",
    "..%3Fx",
    "..%23x",
    "..::$DATA",
]
SEPARATORS = [
    "/",
    "\\",
    "%2f",
    "%5C",
    "%252F",
    "%255c",
    "%c0%af",
    "%c1%9c",
    "%u2215",
    "\uff0f",
    "\u2215",
    "\uff3c",
    "\xa5",
    "//",
    "/%2f",
]
HARMLESS = [
    "",
    "/",
    "orders/7",
    "projects/group%2Fproject/issues",
    "a..b",
    "...",
    "a/.../b",
    ".well-known/openid-configuration",
    "..data/config",
    ".hidden",
    "v1.2/..x",
    "x..",
    "DOMAIN%5Cuser",
    "a;b=c/d",
    "a%20b",
    "100%25",
    "100%",
    "caf%E9",
    "%C3%BCber",
    "größe",
    "名前/大中",
    "wiki/Ю",
    "a//b",
    "x%3Fy",
    "https://example.com/x",
    "a:b@c",
    "orders:search",
    "+49",
    "a+b",
]


@pytest.mark.parametrize("dots", DOTS)
def test_what_climbs_is_refused(dots: str) -> None:
    for separator in SEPARATORS:
        for path in (f"{dots}{separator}globex", f"/{dots}{separator}globex", f"x{separator}{dots}", f"x/{dots}/y"):
            assert find_climb(path), path


@pytest.mark.parametrize("path", HARMLESS)
def test_what_does_not_climb_passes(path: str) -> None:
    assert find_climb(path) == ""


ATTACKS = ["....//x", "..%c1/x", "\uff2e\uff2e/x", "x/%EF%BC%AE%EF%BC%AE", "..././x", "a%00b", "%0a"]
DEEP = ["%" + "25" * 20 + "41", "\uff05" + "25" * 20]


@pytest.mark.parametrize("path", ATTACKS + DEEP)
def test_what_only_an_attack_has_is_refused(path: str) -> None:
    assert find_climb(path)


def test_the_decodings_end() -> None:
    assert list(decodings("a%2520b")) == ["a%2520b", "a%20b", "a b"]
    assert len(list(decodings("%" + "25" * 99))) == MOST_DECODINGS + 1


def test_a_long_path_takes_no_long() -> None:
    began = time.perf_counter()
    for piece in ("%25", "..a/", "\uff0e", "%c0", ";", "%u0025"):
        find_climb(piece * (60_000 // len(piece)))
    assert time.perf_counter() - began < 5


# ------------------------------------------------------------------------------------------ servers


def _overlong(data: bytes) -> str:
    """Decode UTF-8 as a decoder without checks does."""
    text, position = "", 0
    while position < len(data):
        lead = data[position]
        length = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        code = lead if length == 1 else lead & (0x7F >> length)
        for byte in data[position + 1 : position + length]:
            code = code << 6 | byte & 0x3F
        text += chr(code) if code < 0x110000 else "?"
        position += length
    return text


STEPS: dict[str, Callable[[str], str]] = {
    "decode": lambda path: unquote(path, errors="replace"),
    "drop what is no text": lambda path: unquote(path, errors="ignore"),
    "latin-1": lambda path: unquote(path, encoding="latin-1"),
    "overlong": lambda path: _overlong(unquote_to_bytes(path)),
    "wide": lambda path: re.sub("%u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), path),
    "parameters": lambda path: re.sub(";[^/]*", "", path),
    "query": lambda path: re.split("[?#]", path)[0],
    "backslash": lambda path: path.replace("\\", "/"),
    "NFKC": lambda path: unicodedata.normalize("NFKC", path),
    "spaces": lambda path: "/".join(segment.strip() for segment in path.split("/")),
    "plus": lambda path: path.replace("+", " "),
    "controls": lambda path: re.sub("[\0-\x1f]", "", path),
    "C": lambda path: path.partition("\0")[0],
    "invisible": lambda path: "".join(each for each in path if unicodedata.category(each) != "Cf"),
    "merge": lambda path: re.sub("//+", "/", path),
    "strip once": lambda path: path.replace("../", ""),
    "same": lambda path: path,
}


def _normalise(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _is_below(path: str, prefix: str) -> bool:
    return (path + "/").startswith(prefix + "/")


PIECES = [*DOTS, *SEPARATORS, "x", "a", ".", "%", "25", "2e", "%25", ";", "?", "#", "%FF", "%c0", "\xae", "%00", " "]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=8).map("".join),
    st.lists(st.sampled_from(sorted(STEPS)), max_size=5),
)
def test_what_passes_stays_below_its_prefix_at_every_server(path: str, steps: list[str]) -> None:
    if find_climb(path):
        return
    for sent in (path, quote(path, safe="/%;:@&=+$,!~*'()", errors="replace")):
        seen = "/t/acme/" + sent
        for step in steps:
            seen = STEPS[step](seen)
            assert _is_below(_normalise(seen), "/t/acme"), (seen, step)


KNOWN_SERVERS = {
    "decodes, then normalises": ["decode"],
    "decodes twice": ["decode", "decode"],
    "parameters, then decodes": ["parameters", "decode"],
    "decodes, then parameters": ["decode", "parameters"],
    "IIS": ["decode", "wide", "decode", "backslash", "spaces"],
    "old IIS": ["overlong", "backslash", "overlong"],
    "folds": ["decode", "NFKC", "backslash", "decode"],
    "C": ["decode", "C"],
    "Node": ["decode", "backslash", "controls", "merge"],
}


@pytest.mark.parametrize("server", KNOWN_SERVERS)
def test_the_servers_of_these_tests_can_be_climbed(server: str) -> None:
    climbed = 0
    for dots, separator in itertools.product(DOTS, SEPARATORS):
        seen = f"/t/acme/{dots}{separator}globex"
        for step in KNOWN_SERVERS[server]:
            seen = STEPS[step](seen)
        climbed += not _is_below(_normalise(seen), "/t/acme")
    assert climbed > 0
