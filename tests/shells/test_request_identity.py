"""How requests get their keys: when, how long one lasts, what a hash covers, and which keys and bodies are refused."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
import uuid
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

import polvo_adapters as polvo
from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.verdict import SERVED
from polvo_adapters.errors import ConfigurationError, IdempotencyKeyError
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.shells import request_identity

URL = "https://api.example.com/orders?shop=1"
UNIQUE, HASH, RECORDED = IdempotencyKeys(), IdempotencyKeys("hash"), IdempotencyKeys(record=True)


def prepared(method: str = "POST", url: str = URL, data: Any = b"{}", **keywords: Any) -> requests.PreparedRequest:
    return requests.Request(method, url, data=data, **keywords).prepare()


def key(keys: IdempotencyKeys, request: Any, tenant: str = "") -> str:
    return request_identity.assign_key(keys, request, tenant).key


# When, and how long.


def test_keys_are_random_uuids() -> None:
    made = {key(UNIQUE, prepared()) for _ in range(100)}
    assert len(made) == 100
    assert all(str(uuid.UUID(each)) == each and uuid.UUID(each).version == 4 for each in made)
    assert {uuid.UUID(each).variant for each in made} == {uuid.RFC_4122}


@pytest.mark.parametrize("method", ["POST", "PATCH", "post"])
def test_a_request_is_given_a_key_in_its_own_headers(method: str) -> None:
    theirs = {"Accept": "text/plain"}
    request = prepared(method, headers=theirs)
    assert key(UNIQUE, request) == request.headers["Idempotency-Key"]
    assert theirs == {"Accept": "text/plain"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_other_methods_are_given_none(method: str) -> None:
    request = prepared(method)
    assert request_identity.assign_key(UNIQUE, request, "") == ("", "")
    assert "Idempotency-Key" not in request.headers


@pytest.mark.parametrize(
    ("method", "found"), [("POST", "mine"), ("PUT", "mine"), ("DELETE", "mine"), ("GET", ""), ("HEAD", "")]
)
@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
def test_a_key_of_the_callers_wins(method: str, found: str, name: str) -> None:
    request = prepared(method, headers={name: "mine"})
    assert key(UNIQUE, request) == found
    assert request.headers["Idempotency-Key"] == "mine"
    assert key(UNIQUE, prepared(headers={name: b"mine"})) == "mine"


def test_without_the_policy_there_is_no_key() -> None:
    assert request_identity.assign_key(None, prepared(), "") == ("", "")


@pytest.mark.parametrize("status", [401, 407, 408, 425, 429, 500, 503, None])
def test_a_repeat_keeps_the_key(status: int | None) -> None:
    request = prepared()
    first = key(UNIQUE, request)
    if status is not None:  # None: the call has ended in an exception
        request_identity.mark_complete(
            request, status, verdict_of(Call("GET", "https://a.test/"), Outcome(status=status))
        )
    assert key(UNIQUE, request) == key(UNIQUE, request.copy()) == first


@pytest.mark.parametrize("status", [200, 201, 303, 402, 404, 422])
def test_the_same_prepared_request_sent_anew_is_another_operation(status: int) -> None:
    request = prepared()
    first = key(UNIQUE, request)
    hop = request.copy()
    request_identity.mark_complete(request, status, verdict_of(Call("GET", "https://a.test/"), Outcome(status=status)))
    assert key(UNIQUE, hop) == first
    second = key(UNIQUE, request)
    assert second != first
    assert key(UNIQUE, request) == second


def test_a_callers_key_stays_when_a_prepared_request_is_sent_anew() -> None:
    request = prepared(headers={"Idempotency-Key": "mine"})
    key(UNIQUE, request)
    request_identity.mark_complete(request, 200, SERVED)
    assert key(UNIQUE, request) == "mine"


def test_a_key_that_the_caller_puts_in_later_wins() -> None:
    request = prepared()
    key(UNIQUE, request)
    request_identity.mark_complete(request, 200, SERVED)
    request.headers["Idempotency-Key"] = "mine"
    assert key(UNIQUE, request) == "mine"


def test_a_request_with_a_key_can_be_pickled() -> None:
    request = prepared()
    first = key(UNIQUE, request)
    assert key(UNIQUE, pickle.loads(pickle.dumps(request))) == first


def test_a_function_makes_keys() -> None:
    keys = IdempotencyKeys(lambda request: request.headers.get("X-Order"))
    assert key(keys, prepared(headers={"X-Order": "order-7"})) == "order-7"
    assert key(keys, prepared()) == ""
    assert key(keys, httpx.Request("POST", URL, headers={"X-Order": "order-7"})) == "order-7"
    with pytest.raises(IdempotencyKeyError, match="has returned a int"):
        key(IdempotencyKeys(lambda request: 7), prepared())  # type: ignore[arg-type, return-value]


# Form.


@pytest.mark.parametrize("bad", ["", " ", "a b", "a\tb", "a\nb", "a\x00b", "a\x7f", "ключ", "a" * 256, " a", "a "])
def test_keys_that_cannot_be_sent(bad: str) -> None:
    request = prepared()
    with pytest.raises(IdempotencyKeyError) as caught:
        key(IdempotencyKeys(lambda request: bad or " "), request)
    assert isinstance(caught.value, ConfigurationError)
    assert "nothing was sent" in str(caught.value)
    assert bad.strip() == "" or bad not in str(caught.value)
    assert "Idempotency-Key" not in request.headers
    request.headers["Idempotency-Key"] = bad
    with pytest.raises(IdempotencyKeyError):
        key(UNIQUE, request)


def test_the_length_is_that_of_the_key() -> None:
    keys = IdempotencyKeys(lambda request: "a" * 10, style="structured", max_length=10)
    assert key(keys, prepared()) == "a" * 10
    with pytest.raises(IdempotencyKeyError, match="has 11 characters, and max_length is 10"):
        key(keys, prepared(headers={"Idempotency-Key": "a" * 11}))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50))
def test_structured_keys_are_strings_in_quotes(text: str) -> None:
    keys = IdempotencyKeys(lambda request: text, style="structured")
    request = prepared()
    assert key(keys, request) == text
    value = request.headers["Idempotency-Key"]
    assert (value[0], value[-1]) == ('"', '"')
    assert re.sub(r"\\(.)", r"\1", value[1:-1]) == text
    assert key(keys, request.copy()) == text


@pytest.mark.parametrize("bad", ['"', '"abc', '"a"b"', '"a\\"', '"a\\b"', '""'])
def test_a_structured_key_that_is_none(bad: str) -> None:
    with pytest.raises(IdempotencyKeyError):
        key(IdempotencyKeys(style="structured"), prepared(headers={"Idempotency-Key": bad}))


def test_a_bare_key_of_the_callers_is_taken_as_it_is() -> None:
    assert key(IdempotencyKeys(style="structured"), prepared(headers={"Idempotency-Key": "mine"})) == "mine"
    assert key(UNIQUE, prepared(headers={"Idempotency-Key": '"mine"'})) == '"mine"'


def test_another_header() -> None:
    keys = IdempotencyKeys(header="PayPal-Request-Id")
    request = prepared()
    assert request.headers.get("PayPal-Request-Id") is None
    assert key(keys, request) == request.headers["PayPal-Request-Id"]


# Hashes.


def test_the_hash_is_the_documented_one() -> None:
    frames = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (b"polvo-idempotency-key-1", b"acme", b"POST", b"https://api.example.com/orders?shop=1")
    )
    assert key(HASH, prepared(), "acme") == sha256(frames + b"{}").hexdigest()


def test_the_hash_of_a_request_never_changes() -> None:
    expected = "d93f50452157de606c240751823cc4184e4c3a6ef0e005a1dbfb497a2828642e"
    assert key(HASH, prepared(), "acme") == expected
    assert key(HASH, httpx.Request("POST", URL, content=b"{}"), "acme") == expected
    code = "from tests.shells.test_request_identity import *; print(key(HASH, prepared(), 'acme'))"
    root = Path(__file__).parents[2]
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        told = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True)
        assert told.stdout.decode().strip() == expected


PARTS = st.tuples(
    st.sampled_from(["", "a", "ab", "b"]), st.sampled_from(["POST", "PATCH"]), st.text("ab/?=", max_size=6)
)


@given(PARTS, PARTS, st.binary(max_size=4), st.binary(max_size=4))
def test_requests_that_differ_have_other_hashes(one: Any, other: Any, body: bytes, body2: bytes) -> None:
    def digest(parts: tuple[str, str, str], body: bytes) -> str:
        tenant, method, rest = parts
        return request_identity.hash_request(method, f"https://a.example/{rest}", lambda: iter([body]), tenant)

    def normal(parts: tuple[str, str, str]) -> tuple[str, ...]:
        return (*parts[:2], parts[2][:-1] if parts[2].endswith("?") and parts[2].count("?") == 1 else parts[2])

    assert (digest(one, body) == digest(other, body2)) == ((normal(one), body) == (normal(other), body2))


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://API.example.com/orders?shop=1",
        "https://api.example.com:443/orders?shop=1",
        "https://user:pass@api.example.com/orders?shop=1",
        "https://api.example.com/orders?shop=1#top",
    ],
)
def test_urls_that_name_the_same_have_the_same_hash(url: str) -> None:
    assert key(HASH, prepared(url=url)) == key(HASH, prepared())


@pytest.mark.parametrize("rest", ["", "?shop=1", "?shop=1&size=%26"])
@pytest.mark.parametrize("name", ["api_key", "a b", "k&=", "ключ"])
def test_a_credential_in_the_query_does_not_count(rest: str, name: str) -> None:
    def hashes(value: str) -> set[str]:
        auths = polvo.auth.api_key(value, query=name), polvo.auth.api_key(polvo.Secret(lambda: value), query=name)
        return {key(HASH, prepared(url="https://api.example.com/orders" + rest, auth=auth)) for auth in auths}

    assert hashes("first") == hashes("a second&=") == {key(HASH, prepared(url="https://api.example.com/orders" + rest))}


def test_what_the_caller_puts_in_the_query_counts() -> None:
    auth = polvo.auth.api_key("k", query="api_key")
    urls = ["https://api.example.com/orders", URL, "https://api.example.com/orders?shop=2"]
    assert len({key(HASH, prepared(url=url, auth=auth)) for url in urls}) == 3
    one, other = (prepared(url=f"https://api.example.com/orders?api_key={each}") for each in "ab")
    assert key(HASH, one) != key(HASH, other)


def test_headers_do_not_count() -> None:
    assert key(HASH, prepared(headers={"Authorization": "Bearer s3cret", "Date": "now"})) == key(HASH, prepared())


def bodies() -> dict[str, Any]:
    file = io.BytesIO(b"header{}")
    file.seek(6)
    return {
        "bytes": prepared(data=b"{}"),
        "text": prepared(data="{}"),
        "file": prepared(data=io.BytesIO(b"{}")),
        "file, not from its start": prepared(data=file),
        "text file": prepared(data=io.StringIO("{}")),
        "bytearray": _with_body(bytearray(b"{}")),
        "memoryview": _with_body(memoryview(b"{}")),
        "httpx": httpx.Request("POST", URL, content=b"{}"),
        "httpx stream of bytes": httpx.Request("POST", URL, stream=httpx.ByteStream(b"{}")),
        "httpx file": httpx.Request("POST", URL, content=io.BytesIO(b"{}")),
    }


def _with_body(body: Any) -> requests.PreparedRequest:
    request = prepared()
    request.body = body
    return request


@pytest.mark.parametrize("form", bodies())
def test_a_body_has_one_hash_in_every_form_and_stays_as_it_was(form: str) -> None:
    request = bodies()[form]
    position = request.body.tell() if hasattr(getattr(request, "body", None), "tell") else None
    assert key(HASH, request) == key(HASH, prepared())
    named = request_identity.assign_key(RECORDED, request, "")
    assert named.content == request_identity.assign_key(RECORDED, prepared(), "").content != ""
    if position is not None:
        assert request.body.tell() == position


def test_no_body_is_an_empty_body() -> None:
    assert key(HASH, prepared(data=None)) == key(HASH, httpx.Request("POST", URL)) == key(HASH, _with_body(b""))


class Pipe(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class Broken(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        raise OSError("disk s3cret")


@pytest.mark.parametrize(
    "request_",
    [
        prepared(data=(part for part in (b"{", b"}"))),
        _with_body(Pipe()),
        _with_body(Broken(b"{}")),
        _with_body(object()),
        httpx.Request("POST", URL, content=(part for part in (b"{", b"}"))),
        httpx.Request("POST", URL, content=Pipe()),
        httpx.Request("POST", URL, content=Broken(b"{}")),
        httpx.Request("POST", URL, files={"one": b"{}", "other": Pipe()}),
        httpx.Request("POST", URL, files={"one": b"{}", "other": Broken(b"{}")}),
    ],
    ids=["generator", "pipe", "broken", "object"]
    + [f"httpx {kind}" for kind in ("generator", "pipe", "broken", "multipart pipe", "multipart broken")],
)
@pytest.mark.parametrize("keys", [HASH, RECORDED])
def test_bodies_that_cannot_be_read_without_consuming_them_are_refused(keys: IdempotencyKeys, request_: Any) -> None:
    with pytest.raises(IdempotencyKeyError, match="which cannot be read without consuming it") as caught:
        key(keys, request_)
    assert caught.value.reason == "body"
    assert key(UNIQUE, request_) != ""


def test_a_generator_that_was_refused_is_whole() -> None:
    body = (part for part in (b"{", b"}"))
    with pytest.raises(IdempotencyKeyError):
        key(HASH, prepared(data=body))
    assert list(body) == [b"{", b"}"]


def test_the_boundary_of_a_multipart_body_does_not_count() -> None:
    one, other = (prepared(data=None, files={"file": ("a.txt", b"content")}) for _ in range(2))
    assert one.body != other.body
    assert key(HASH, one) == key(HASH, other)
    assert (
        request_identity.assign_key(RECORDED, one, "").content
        == request_identity.assign_key(RECORDED, other, "").content
    )
    assert key(HASH, one) != key(HASH, prepared(data=None, files={"file": ("a.txt", b"other")}))


def multipart(content: Any, **keywords: Any) -> httpx.Request:
    return httpx.Request("POST", URL, data={"order": "7"}, files={"file": ("a.txt", content)}, **keywords)


def test_nor_does_that_of_httpx() -> None:
    one, other = multipart(b"content"), multipart(io.BytesIO(b"content"))
    assert one.headers["Content-Type"] != other.headers["Content-Type"]
    assert key(HASH, one) == key(HASH, other)
    assert (
        request_identity.assign_key(RECORDED, one, "").content
        == request_identity.assign_key(RECORDED, other, "").content
    )
    assert key(HASH, one) != key(HASH, multipart(b"other"))
    assert key(HASH, multipart(io.BytesIO(b"other"))) == key(HASH, multipart(b"other"))


@pytest.mark.parametrize("position", [0, 3])
def test_a_file_of_httpx_is_sent_whole_and_from_where_it_was(position: int) -> None:
    def file() -> io.BytesIO:
        made = io.BytesIO(b"content" * 20_000)
        made.seek(position)
        return made

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    makers: list[Any] = [
        lambda content: multipart(content, headers=headers),
        lambda content: httpx.Request("POST", URL, content=content),
    ]
    for make in makers:
        content = file()
        request = make(content)
        key(HASH, request)
        assert content.tell() == position
        assert request.read() == make(file()).read()


def test_content_covers_method_and_body() -> None:
    contents = {
        request_identity.assign_key(RECORDED, prepared(method, data=data), "").content
        for method in ("POST", "PATCH")
        for data in (b"1", b"2", None)
    }
    assert len(contents) == 6
    assert request_identity.assign_key(UNIQUE, prepared(), "").content == ""


def test_a_large_file_is_read_in_pieces() -> None:
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            assert size is not None
            Counting.largest = max(Counting.largest, size if size >= 0 else 1 << 40)
            return super().read(size)

    key(HASH, _with_body(Counting(b"x" * 1_000_000)))
    assert Counting.largest == 65_536


def test_a_random_key_obeys_the_settings_too() -> None:
    assert re.fullmatch(r'"[0-9a-f-]{36}"', _sent(IdempotencyKeys(style="structured")))
    with pytest.raises(IdempotencyKeyError, match="has 36 characters, and max_length is 35"):
        key(IdempotencyKeys(max_length=35), prepared())
    assert len(_sent(IdempotencyKeys(max_length=36))) == 36


def _sent(keys: IdempotencyKeys) -> str:
    request = prepared()
    key(keys, request)
    return str(request.headers["Idempotency-Key"])
