"""Structured fields: what another implementation reads is read the same, and what is broken does no harm."""

from __future__ import annotations

import base64
import string
from decimal import Decimal
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers.structured import MOST_MEMBERS, Item, read_dictionary, read_list

KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True)
PRINTABLE = "".join(chr(code) for code in range(32, 127))
BARE = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.decimals(-(10**11), 10**11, allow_nan=False, places=3),
    st.text(PRINTABLE, max_size=12),
    st.from_regex(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,8}", fullmatch=True).map(http_sf.Token),
    st.binary(max_size=8),
    st.booleans(),
    st.text(string.ascii_letters + "äß €", max_size=6).map(http_sf.DisplayString),
)
PARAMETERS = st.dictionaries(KEYS, BARE, max_size=3)
ITEMS = st.tuples(BARE, PARAMETERS)
MEMBERS = st.one_of(ITEMS, st.tuples(st.lists(ITEMS, max_size=3), PARAMETERS))


def to_plain(value: Any) -> Any:
    """Return a value of the other implementation in our form."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (http_sf.Token, http_sf.DisplayString)):
        return str(value)
    if isinstance(value, list):
        return tuple(convert_item(each) for each in value)
    return value


def convert_item(pair: Any) -> Any:
    value, parameters = pair
    return to_plain(value), {key: to_plain(each) for key, each in parameters.items()}


def decode_ours(read: Item) -> Any:
    """Return an item with its byte sequences decoded, which our reader does not do."""

    def decode(value: Any) -> Any:
        if isinstance(value, bytes):
            return base64.b64decode(value)
        return tuple(decode_ours(each) for each in value) if isinstance(value, tuple) else value

    return decode(read.value), {key: decode(value) for key, value in read.parameters.items()}


@given(st.lists(MEMBERS, min_size=1, max_size=6))
def test_lists_are_read_as_another_implementation_reads_them(members: list[Any]) -> None:
    text = http_sf.ser(members)
    expected = http_sf.parse(text.encode(), tltype="list")
    assert [decode_ours(each) for each in read_list(text)] == [convert_item(each) for each in expected]


@given(st.dictionaries(KEYS, MEMBERS, min_size=1, max_size=6))
def test_dictionaries_are_read_as_another_implementation_reads_them(members: dict[str, Any]) -> None:
    text = http_sf.ser(members)
    expected = http_sf.parse(text.encode(), tltype="dictionary")
    assert {key: decode_ours(each) for key, each in read_dictionary(text).items()} == {
        key: convert_item(each) for key, each in expected.items()
    }


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ('"a" ; q = 1 ;W=2', [("a", {"q": 1, "w": 2})]),
        ("a,, b", [("a", {}), ("b", {})]),
        ("a b, c", [("c", {})]),
        ('"a, "b";r=5', []),
        ('"a\\x", c', [("c", {})]),
        ("1.2.3, 4", [(4, {})]),
        ("1;a=, 2", [(1, {}), (2, {})]),
        ("(1 2, 3", [(3, {})]),
        ("1234567890123456, 1", [(1, {})]),
        ("1,", [(1, {})]),
        ("  1", [(1, {})]),
        ("@1659578233", [(1659578233, {})]),
        ("", []),
        ("\x00", []),
        ("é, 1", [(1, {})]),
    ],
)
def test_good_will(text: str, members: list[Any]) -> None:
    assert read_list(text) == members


def test_a_key_in_upper_case_and_a_broken_member() -> None:
    read = read_dictionary("LIMIT = 5, =3, reset=x y, remaining=1, flag;a")
    assert read == {"limit": (5, {}), "remaining": (1, {}), "flag": (True, {"a": True})}


@given(st.text(max_size=60) | st.text('";,=()\\ a1:?@%', max_size=60))
def test_nothing_raises(text: str) -> None:
    read_list(text)
    read_dictionary(text)


def test_members_are_bounded() -> None:
    assert len(read_list("1," * 10_000)) == MOST_MEMBERS
    assert len(read_dictionary(",".join(f"a{i}" for i in range(10_000)))) == MOST_MEMBERS
