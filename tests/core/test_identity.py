"""Who makes a request, and what may select its answer: told apart, stable, and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.auth.attach.credential import OwnedHeaderValue
from polvo_adapters.core.identity import (
    HARMLESS_HEADERS,
    KEY_HEADERS,
    KEY_PARAMETERS,
    PLAIN_SENDER,
    Credential,
    Sender,
    digest_caller,
    digest_each,
    digest_selectors,
    list_selectors,
    name_difference,
)

Headers = list[tuple[str, Any]]
URL = "https://api.example.com/items"


def who(headers: Headers, url: str = URL, **keywords: Any) -> str:
    return digest_caller(headers, url, **keywords)


def what(headers: Headers, url: str = URL, sender: Sender = PLAIN_SENDER, **keywords: Any) -> str:
    return digest_selectors(list_selectors(headers, url, "", sender, **keywords))


# The caller -----------------------------------------------------------------------------------------------------------


def test_without_a_credential_the_caller_is_unknown() -> None:
    assert who([]) == ""
    assert who([("Accept", "text/html"), ("Cookie", "id=1"), ("X-Request-Id", "1")], URL + "?page=1") == ""


@pytest.mark.parametrize("name", sorted(KEY_HEADERS))
def test_key_headers_tell_callers_apart_in_any_case(name: str) -> None:
    assert len(who([(name, "one")])) == 32
    assert who([(name.title(), "one")]) == who([(name, "one")]) != who([(name, "other")])


@pytest.mark.parametrize("name", sorted(KEY_PARAMETERS))
def test_key_parameters_tell_callers_apart(name: str) -> None:
    assert who([], f"{URL}?{name}=one&page=2") == who([], f"{URL}?page=3&{name}=one#there")
    assert who([], f"{URL}?{name}=one") != who([], f"{URL}?{name}=two")


@pytest.mark.parametrize("name", [*sorted(HARMLESS_HEADERS), "X-Anything", "Cookie", "User-Agent"])
def test_what_differs_from_request_to_request_splits_no_caller(name: str) -> None:
    key = ("Authorization", "Bearer a")
    assert who([key, (name, "1")]) == who([(name, "2"), key]) == who([key])


@pytest.mark.parametrize("name", ["key", "token", "license", "client_id"])
def test_a_parameter_that_may_name_an_object_counts_where_its_value_is_like_a_key(name: str) -> None:
    keys = [f"{URL}?{name}=AIzaSyD4x9{letter}vC8bQ2w" for letter in "ab"]
    assert who([], keys[0]) != who([], keys[1]) != ""
    for value in ("order-7", "a/b.txt", "2", "customers", "0b6f1c3e-8f4e-4a51-9f0a-1c2d3e4f5a6b"):
        assert who([], f"{URL}?{name}={value}") == ""


SIGNED = {
    "OAuth 1.0a": 'OAuth oauth_consumer_key="{key}", oauth_token="t", oauth_nonce="{nonce}", oauth_signature="{nonce}"',
    "SigV4": "AWS4-HMAC-SHA256 Credential={key}/20261129/eu/s3/aws4_request, SignedHeaders=host, Signature={nonce}",
    "Digest": 'Digest username="{key}", realm="r", nonce="{nonce}", uri="/", response="{nonce}"',
    "Hawk": 'Hawk id="{key}", ts="{nonce}", nonce="{nonce}", mac="{nonce}"',
    "Signature": 'Signature keyId="{key}",algorithm="hs2019",signature="{nonce}"',
}


@pytest.mark.parametrize("scheme", SIGNED)
def test_of_a_signature_the_key_counts_alone(scheme: str) -> None:
    def signed(key: str, nonce: str) -> str:
        return who([("Authorization", SIGNED[scheme].format(key=key, nonce=nonce))])

    assert signed("k1", "n1") == signed("k1", "n2") != signed("k2", "n1")


ALIKE = {
    "a name that is a URL": 'Signature keyId="https://m.example/users/{key}#main",signature="s"',
    "a name with a domain": 'Digest username="ACME/{key}", realm="r", nonce="n"',
    "a name with a space": 'Digest username="John {key}", realm="r"',
    "a name with a comma": 'Digest username="Smith, {key}", realm="r"',
    "a name with a quote": 'Digest username="a\\"b {key}", realm="r"',
    "an encoded name": "Digest username*=UTF-8''{key}, realm=\"id=1\"",
    "a long name": f'Hawk id="{"a" * 300}{{key}}"',
    "no name": 'Digest realm="id=1", {key}',
    "an open quote": 'Digest username="{key}, realm=r',
    "a long header": f'Digest username="a", {" " * 9000}, oauth_token="{{key}}"',
    "a token": "OAuth {key}",
}


@pytest.mark.parametrize("kind", ALIKE)
def test_two_keys_with_much_in_common_are_two(kind: str) -> None:
    one, other = ([("Authorization", ALIKE[kind].format(key=key))] for key in ("alice", "bob"))
    assert who(one) != who(other)
    assert what(one) != what(other)


ANEW = {
    "id in the URI": 'Digest username="a", realm="r", uri="/x?id={nonce}", response="{nonce}"',
    "id in the extension": 'Hawk id="a", ts="{nonce}", ext="b, id={nonce}", mac="{nonce}"',
    "SigV2": "AWS AKID:{nonce}=",
    "Azure": "SharedKey account:{nonce}=",
    "Azure, by HMAC": "HMAC-SHA256 Credential=a&SignedHeaders=host&Signature={nonce}",
    "Alibaba": "OSS AKID:{nonce}=",
    "Akamai": "EG1-HMAC-SHA256 client_token=a;access_token=b;timestamp={nonce};nonce={nonce};signature={nonce}",
    "Tencent": "TC3-HMAC-SHA256 Credential=a/2026-11-29/cvm/tc3_request, SignedHeaders=host, Signature={nonce}",
    "Huawei": "SDK-HMAC-SHA256 Access=a, SignedHeaders=host, Signature={nonce}",
    "Google": "GOOG4-HMAC-SHA256 Credential=a/20261129/auto/storage/goog4_request, Signature={nonce}",
    "Kong": 'hmac username="a", algorithm="hmac-sha256", headers="date", signature="{nonce}"',
    "MAC": 'MAC id="a", ts="{nonce}", nonce="{nonce}", mac="{nonce}"',
}


@pytest.mark.parametrize("scheme", ANEW)
def test_a_signature_made_anew_splits_no_caller(scheme: str) -> None:
    one, other = ([("Authorization", ANEW[scheme].format(nonce=nonce))] for nonce in ("n1", "n2"))
    assert who(one) == who(other) != ""
    assert what(one) == what(other)


def test_a_header_of_bytes_is_as_one_of_text() -> None:
    named = Credential.of("X-Tenant-Key")
    one, other = (digest_caller([("X-Tenant-Key", key)], URL, named=named) for key in (b"1", b"2"))
    assert one == digest_caller([("X-Tenant-Key", "1")], URL, named=named) != other
    for name, value in [("Date", "1"), ("User-Agent", "python-requests/2"), ("X-Odd", "1"), ("Authorization", "a")]:
        assert what([(name, value)]) == what([(name, value.encode())])
    assert what([("Date", b"1")]) == what([("Date", b"2")])


SIGNED_QUERIES = {
    "OAuth 1.0a": "?oauth_consumer_key={key}&oauth_nonce={nonce}&oauth_timestamp={nonce}&oauth_signature={nonce}",
    "SigV4": "?X-Amz-Credential={key}%2F20261129%2Feu&X-Amz-Date={nonce}&X-Amz-Expires=9&X-Amz-Signature={nonce}",
    "SigV2": "?AWSAccessKeyId={key}&Expires={nonce}&Signature={nonce}",
}


@pytest.mark.parametrize("scheme", SIGNED_QUERIES)
def test_a_signed_url_is_the_same_when_it_is_signed_anew(scheme: str) -> None:
    def signed(key: str, nonce: str) -> str:
        return URL + SIGNED_QUERIES[scheme].format(key=key, nonce=nonce)

    assert who([], signed("k1", "n1")) == who([], signed("k1", "n2")) != who([], signed("k2", "n1"))
    assert what([], signed("k1", "n1")) == what([], signed("k1", "n2")) != what([], signed("k2", "n1"))


def test_an_owner_takes_the_place_of_its_value() -> None:
    def owned(owner: str, value: str) -> Headers:
        return [("X-Odd", OwnedHeaderValue.of(owner, value))]

    assert who(owned("o1", "t1")) == who(owned("o1", "t2")) != who(owned("o2", "t1"))
    assert who(owned("", "t1")) != who(owned("", "t2"))
    assert what(owned("o1", "t1")) == what(owned("o1", "t2")) != what(owned("o2", "t1"))
    for place, url in (("?code", URL + "?code={}"), ("x-odd", URL)):
        seen = []
        for owner, value in (("o1", "t1"), ("o1", "t2"), ("o2", "t1")):
            headers = [("X-Odd", value)] if place == "x-odd" else []
            address = url.format(value)
            seen.append((who(headers, address, owners={place: owner}), what(headers, address, owners={place: owner})))
        assert seen[0] == seen[1]
        assert seen[0][0] != seen[2][0]
        assert seen[0][1] != seen[2][1]


@pytest.mark.parametrize(
    ("named", "one", "two"),
    [
        ("X-Tenant-Key", ([("X-Tenant-Key", "a")], URL), ([("X-Tenant-Key", "b")], URL)),
        ("?licence", ([], URL + "?licence=a"), ([], URL + "?licence=b")),
        ("cookie:sid", ([("Cookie", "a=1; sid=x")], URL), ([("Cookie", "sid=y; a=1")], URL)),
        (["X-One", "?two"], ([("X-One", "a")], URL + "?two=1"), ([("X-One", "a")], URL + "?two=2")),
    ],
)
def test_the_user_names_where_a_credential_is(named: Any, one: Any, two: Any) -> None:
    credential = Credential.of(named)
    assert who(*one) == who(*two)
    assert who(*one, named=credential) != who(*two, named=credential) != ""


@pytest.mark.parametrize("named", ["", "?", "cookie:", "two words", ["X-One", "a:b"]])
def test_what_names_no_place_is_refused(named: Any) -> None:
    with pytest.raises(ValueError, match="credential="):
        Credential.of(named)


# What selects an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["User-Agent", "Host", "Accept", "X-Anything", "Cookie", *sorted(KEY_HEADERS)])
def test_every_header_counts_that_is_not_known_to_be_harmless(name: str) -> None:
    assert what([(name, "a")]) != what([(name, "b")]) != what([])


@pytest.mark.parametrize("name", sorted(HARMLESS_HEADERS))
def test_harmless_headers_select_nothing(name: str) -> None:
    assert what([(name.title(), "a"), ("X", "y")]) == what([("x", "y"), (name, "b")]) == what([("X", "y")])


def test_the_user_names_harmless_headers_and_the_library_is_no_selector() -> None:
    assert what([("X-Run", "1")], harmless={"x-run"}) == what([("X-Run", "2")], harmless={"x-run"})
    agents = [what([("User-Agent", agent)]) for agent in ("python-requests/2.32", "python-requests/2.34", "mine/1")]
    assert agents[0] == agents[1] != agents[2]


def test_all_that_is_not_in_the_request_counts() -> None:
    senders = [
        PLAIN_SENDER,
        *(Sender(certificate) for certificate in ("a.pem", ("a.pem", "a.key"), ["a.pem", "b.key"], Path("b.pem"))),
        *(Sender(verify=verify) for verify in (False, None, "ca.pem")),
        Sender(proxies={"http": "http://p"}),
        Sender(proxies={"https": "http://p"}),
        Sender(transport="1"),
        Sender(transport="2"),
    ]
    assert len({what([], sender=sender) for sender in senders}) == len(senders)
    assert what([], sender=Sender(proxies={})) == what([])
    urls = (URL, URL + "/", URL + "?a=1", URL + "?a=2", "http://api.example.com/items")
    assert len({what([], url) for url in urls}) == 5
    assert what([], URL + "#a") == what([], URL)


pairs = st.lists(st.tuples(st.sampled_from(["A", "b", "Cookie"]), st.text(max_size=5) | st.binary(max_size=5)))


@given(one=pairs, two=pairs)
def test_two_requests_are_one_only_if_their_headers_are_the_same(one: Headers, two: Headers) -> None:
    def same(headers: Headers) -> list[tuple[str, str]]:
        return sorted((n.lower(), v.decode("latin-1") if isinstance(v, bytes) else v) for n, v in headers)

    assert (what(one) == what(two)) == (same(one) == same(two))


def test_a_header_is_not_two_that_look_like_it() -> None:
    assert what([("a", "b"), ("c", "d")]) != what([("a", "b\nheader c:d")])
    assert who([("authorization", "a"), ("x-api-key", "b")]) != who([("authorization", "a\nx-api-key:b")])


def test_text_and_bytes_are_the_same_and_nothing_unfit_does_harm() -> None:
    assert who([("Authorization", b"Bearer a")]) == who([("Authorization", "Bearer a")])
    assert len(who([("Authorization", "\udc80")])) == 32
    assert len(what([("X", "\udc80\0"), ("Y", 5)])) == 32


def test_differences_are_named_and_nothing_is_shown() -> None:
    def each(headers: Headers, sender: Sender = PLAIN_SENDER, salt: str = "key") -> str:
        return digest_each(list_selectors(headers, URL + "?q=hidden", "", sender), salt)

    one = each([("Authorization", "Bearer s3cret"), ("Accept", "a")])
    assert "s3cret" not in one
    assert "hidden" not in one
    assert name_difference(one, one) == ""
    assert name_difference(one, each([("Authorization", "Bearer s3cret"), ("Accept", "b")])) == "header accept"
    assert name_difference(one, each([("Accept", "a")], Sender(verify=False))) == "header authorization, verify"
    assert each([("A", "1")]) != each([("A", "1")], salt="another key")
