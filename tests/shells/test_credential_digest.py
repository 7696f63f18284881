"""Credentials are told apart and not kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.shells.credential_digest import digest, identity

Headers = list[tuple[str, "str | bytes"]]

NAMES = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "private-token",
    "x-shopify-access-token",
    "x-access-token",
)


def test_without_a_credential_the_digest_is_empty() -> None:
    assert digest([]) == ""
    assert digest([("Accept", "text/html"), ("Cookie", "id=1")]) == ""


@pytest.mark.parametrize("name", NAMES)
def test_headers_that_hold_credentials_are_known_in_any_case(name: str) -> None:
    assert len(digest([(name, "one")])) == 16
    assert digest([(name.title(), "one")]) == digest([(name, "one")])
    assert digest([(name, "one")]) != digest([(name, "other")])


def test_other_headers_do_not_matter() -> None:
    assert digest([("Authorization", "a"), ("Accept", "b")]) == digest([("Accept", "c"), ("Authorization", "a")])


def test_text_and_bytes_are_the_same_credential() -> None:
    assert digest([("Authorization", b"Bearer a")]) == digest([("Authorization", "Bearer a")])


def test_text_that_cannot_be_sent_does_no_harm() -> None:
    assert len(digest([("Authorization", "\udc80")])) == 16


def test_two_headers_are_not_one_that_is_put_together() -> None:
    assert digest([("authorization", "a"), ("x-api-key", "b")]) != digest([("authorization", "ab")])


def test_a_digest_does_not_contain_the_credential() -> None:
    assert "s3cret" not in digest([("Authorization", "Bearer s3cret")])


headers = st.lists(st.tuples(st.sampled_from(["A", "b", "Cookie"]), st.text(max_size=5) | st.binary(max_size=5)))


@given(one=headers, two=headers)
def test_requests_have_one_identity_only_if_their_headers_are_the_same(one: Headers, two: Headers) -> None:
    def same(headers: Headers) -> list[tuple[str, str]]:
        return sorted(
            (name.lower(), value.decode("latin-1") if isinstance(value, bytes) else value) for name, value in headers
        )

    assert (identity(one) == identity(two)) == (same(one) == same(two))


def test_a_header_is_not_two_that_look_like_it() -> None:
    assert identity([("a", "b"), ("c", "d")]) != identity([("a", "b\0c:d")])
    assert identity([("a", "b")], "c") != identity([("a", "b"), ("c", "")])


@pytest.mark.parametrize("name", ["User-Agent", "Host", "Accept", "Range", "Cache-Control", "X-Anything", *NAMES])
def test_the_identity_counts_what_an_answer_may_depend_on(name: str) -> None:
    assert identity([(name, "a")]) != identity([(name, "b")]) != identity([])


@pytest.mark.parametrize("name", ["X-Request-ID", "Date", "Idempotency-Key", "Connection", "traceparent"])
def test_the_identity_leaves_out_what_differs_from_request_to_request(name: str) -> None:
    assert identity([(name, "a"), ("X", "y")]) == identity([("x", "y"), (name, "b")])


def test_the_identity_counts_the_client_certificate() -> None:
    certificates = [None, "a.pem", ("a.pem", "a.key"), ["a.pem", "b.key"], Path("b.pem")]
    assert len({identity([], certificate) for certificate in certificates}) == 5


def test_an_identity_is_a_digest_that_shows_nothing() -> None:
    name = identity([("Authorization", b"Bearer s3cret"), ("X", "\udc80\0"), ("Y", 5)], "s3cret.pem")
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")
