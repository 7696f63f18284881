"""Credentials told apart, and not kept."""

from __future__ import annotations

import pytest

from polvo_adapters.credentials import digest

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
