"""When the rest of a body may be asked for, and what is taken for it: only what is proved."""

from __future__ import annotations

import re
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.ranges import (
    ContentRange,
    Entity,
    Rest,
    Unproved,
    describe_entity,
    find_validator,
    parse_content_range,
)

DATE = 1_700_000_000


def at(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-0/1", ContentRange(0, 0, 1)),
        ("bytes 5-9/10", ContentRange(5, 9, 10)),
        ("Bytes  5-9/*", ContentRange(5, 9, None)),
        (" bytes 5-9/10 ", ContentRange(5, 9, 10)),
        *[
            (text, None)
            for text in (
                None,
                "",
                "bytes */10",
                "bytes 9-5/10",
                "bytes 5-10/10",
                "bytes 5-9",
                "bytes 5-/10",
                "bytes -5-9/10",
                "bytes +5-9/10",
                "bytes 5-9/10, bytes 1-2/10",
                "items 5-9/10",
                "5-9/10",
                "bytes 5-9/ten",
                "bytes \uff15-\uff19/10",
                "bytes 1234567890123456789-2/3",
            )
        ],
    ],
)
def test_a_content_range_is_read_or_refused(text: str | None, expected: ContentRange | None) -> None:
    assert parse_content_range(text) == expected


@given(
    st.text(max_size=40) | st.from_regex(re.compile(r"bytes \d{0,4}-\d{0,4}/(\d{0,4}|\*)", re.ASCII), fullmatch=True)
)
def test_a_content_range_that_is_read_is_possible(text: str) -> None:
    found = parse_content_range(text)
    if found is not None:
        assert 0 <= found.first <= found.last
        assert found.total is None or found.last < found.total


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"etag": '"a"'}, ("etag", '"a"')),
        ({"etag": ' "a" ', "last-modified": at(0)}, ("etag", '"a"')),
        ({"etag": 'W/"a"'}, None),
        ({"etag": 'w/"a"'}, None),
        ({"etag": "a"}, None),
        ({"etag": ""}, None),
        ({"etag": '""'}, None),
        ({"etag": '"a b"'}, None),
        ({"etag": '"a", "b"'}, None),
        # With a tag that is no good, a date must not be used (RFC 9110 section 13.1.5).
        ({"etag": 'W/"a"', "last-modified": at(0), "date": at(DATE)}, None),
        ({"last-modified": at(DATE - 60), "date": at(DATE)}, ("last-modified", at(DATE - 60))),
        ({"last-modified": at(DATE - 59), "date": at(DATE)}, None),
        ({"last-modified": at(DATE), "date": at(DATE)}, None),
        ({"last-modified": at(DATE + 99), "date": at(DATE)}, None),
        ({"last-modified": at(0)}, None),
        ({"last-modified": "yesterday", "date": at(DATE)}, None),
        ({"last-modified": at(0), "date": "now"}, None),
        ({}, None),
    ],
)
def test_only_a_strong_validator_proves_anything(headers: dict[str, str], expected: tuple[str, str] | None) -> None:
    assert find_validator(headers) == expected


TAG = {"etag": '"a"'}


@pytest.mark.parametrize(
    ("method", "status", "headers", "expected"),
    [
        ("GET", 200, {**TAG, "content-length": "10"}, (0, 10, 10)),
        ("GET", 200, {**TAG, "content-length": "10", "transfer-encoding": "chunked"}, (0, None, None)),
        ("GET", 200, {**TAG, "content-length": "-1"}, (0, None, None)),
        ("GET", 200, TAG, (0, None, None)),
        ("GET", 206, {**TAG, "content-range": "bytes 3-7/10"}, (3, 8, 10)),
        ("GET", 206, {**TAG, "content-range": "bytes 3-7/*"}, (3, 8, None)),
        ("GET", 206, {**TAG, "content-range": "bytes 3-7/10", "content-length": "5"}, (3, 8, 10)),
        ("GET", 206, {**TAG, "content-range": "bytes 3-7/10", "content-length": "6"}, None),
        ("GET", 206, {**TAG, "content-type": "multipart/byteranges; boundary=x"}, None),
        ("GET", 200, {**TAG, "accept-ranges": "none"}, None),
        ("GET", 200, {**TAG, "accept-ranges": "bytes"}, (0, None, None)),
        ("GET", 200, {}, None),
        *[("GET", status, TAG, None) for status in (101, 201, 203, 204, 301, 304, 404, 500)],
        *[(method, 200, TAG, None) for method in ("HEAD", "POST", "PUT", "DELETE", "get", None)],
    ],
)
def test_a_response_says_what_its_bytes_are(
    method: str | None, status: int, headers: dict[str, str], expected: object
) -> None:
    entity = describe_entity(method, status, headers)
    assert (entity[-3:] if isinstance(entity, Entity) else None) == expected


WHOLE = Entity("etag", '"a"', "", 0, 10, 10)
PART = Entity("etag", '"a"', "", 3, 8, 10)
OPEN = Entity("etag", '"a"', "gzip", 0, None, None)


@pytest.mark.parametrize(
    ("entity", "received", "expected"),
    [
        (WHOLE, 4, {"Range": "bytes=4-", "If-Range": '"a"'}),
        (PART, 2, {"Range": "bytes=5-7", "If-Range": '"a"'}),
        (PART, 0, {"Range": "bytes=3-7", "If-Range": '"a"'}),
        (OPEN, 4, {"Range": "bytes=3-", "If-Range": '"a"'}),
        (WHOLE, 0, {}),
        (OPEN, 0, {}),
    ],
)
def test_the_rest_is_asked_for_under_the_condition_that_it_is_the_same(
    entity: Entity, received: int, expected: dict[str, str]
) -> None:
    asked = {"Accept": "*/*", "range": "bytes=1-2", "If-None-Match": '"x"', "if-range": '"y"', "IF-MATCH": "*"}
    assert entity.ask_for_rest(asked, received) == {"Accept": "*/*", **expected}


CHANGED, NOTHING = "changed", "nothing"


@pytest.mark.parametrize(
    ("entity", "status", "headers", "expected"),
    [
        (WHOLE, 206, {**TAG, "content-range": "bytes 4-9/10"}, Rest(0, 10, 10)),
        (WHOLE, 206, {**TAG, "content-range": "bytes 4-9/*"}, Rest(0, 10, 10)),
        (WHOLE, 206, {**TAG, "content-range": "bytes 4-6/10"}, Rest(0, 7, 10)),
        (PART, 206, {**TAG, "content-range": "bytes 7-7/10"}, Rest(0, 8, 8)),
        (OPEN, 206, {**TAG, "content-encoding": "gzip", "content-range": "bytes 3-9/10"}, Rest(1, 10, 10)),
        (OPEN, 206, {**TAG, "content-encoding": "gzip", "content-range": "bytes 3-3/4"}, Rest(1, 4, 4)),
        (OPEN, 206, {**TAG, "content-encoding": "gzip", "content-range": "bytes 4-9/10"}, NOTHING),
        (OPEN, 206, {**TAG, "content-encoding": "gzip", "content-range": "bytes 3-9/*"}, NOTHING),
        (OPEN, 206, {**TAG, "content-range": "bytes 3-9/10"}, NOTHING),
        (WHOLE, 206, {**TAG, "content-encoding": "gzip", "content-range": "bytes 4-9/10"}, NOTHING),
        (WHOLE, 206, {**TAG, "content-range": "bytes 3-9/10"}, NOTHING),
        (WHOLE, 206, {**TAG, "content-range": "bytes 5-9/10"}, NOTHING),
        (WHOLE, 206, {**TAG, "content-range": "bytes 4-9/11"}, NOTHING),
        (WHOLE, 206, {**TAG, "content-range": "bytes 4-10/11"}, NOTHING),
        (PART, 206, {**TAG, "content-range": "bytes 7-9/10"}, NOTHING),
        (WHOLE, 206, TAG, NOTHING),
        (WHOLE, 206, {"content-range": "bytes 4-9/10"}, NOTHING),
        (WHOLE, 206, {"etag": 'W/"a"', "content-range": "bytes 4-9/10"}, CHANGED),
        (WHOLE, 206, {"etag": '"b"', "content-range": "bytes 4-9/10"}, CHANGED),
        (WHOLE, 200, {**TAG, "content-length": "10"}, Rest(4, 10, 10)),
        (WHOLE, 200, TAG, Rest(4, 10, 10)),
        (PART, 200, TAG, Rest(7, 8, 8)),
        (OPEN, 200, {**TAG, "content-encoding": "gzip"}, Rest(4, None, None)),
        (OPEN, 200, {**TAG, "content-encoding": "gzip", "content-length": "12"}, Rest(4, 12, 12)),
        (WHOLE, 200, {**TAG, "content-length": "11"}, NOTHING),
        (WHOLE, 200, {**TAG, "content-encoding": "br"}, NOTHING),
        (WHOLE, 200, {"etag": '"b"'}, CHANGED),
        (WHOLE, 200, {}, NOTHING),
        (WHOLE, 412, {}, CHANGED),
        *[(WHOLE, status, TAG, NOTHING) for status in (204, 302, 304, 403, 404, 416, 503)],
    ],
)
def test_an_answer_is_the_rest_only_where_it_proves_that(
    entity: Entity, status: int, headers: dict[str, str], expected: object
) -> None:
    found = entity.check_rest(4, status, headers)
    if isinstance(found, Unproved):
        assert expected == (CHANGED if found.changed else NOTHING)
        assert found.reason
    else:
        assert found == expected


@given(
    st.binary(min_size=1, max_size=30),
    st.data(),
)
def test_what_is_taken_and_what_was_there_are_the_whole(wire: bytes, data: st.DataObject) -> None:
    """A server that answers correctly, with a part of any length: the pieces are the bytes, whatever the split."""
    entity = describe_entity("GET", 200, {**TAG, "content-length": str(len(wire))})
    assert isinstance(entity, Entity)
    received = wire[: data.draw(st.integers(1, len(wire)))]
    while len(received) < len(wire):
        asked = entity.ask_for_rest({}, len(received))
        first = int(asked["Range"][6:-1])
        last = data.draw(st.integers(first, len(wire) - 1))
        rest = entity.check_rest(len(received), 206, {**TAG, "content-range": f"bytes {first}-{last}/{len(wire)}"})
        assert isinstance(rest, Rest)
        assert rest.end == last + 1
        received += wire[first : last + 1][rest.skip :][: rest.end - len(received)]
    assert received == wire
