"""Nothing gets past the checks that could leave the place where it belongs."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.services.double_o import checks

PIECES = [
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%252e",
    "/",
    "//",
    "%2f",
    "%5c",
    "\\",
    "?",
    "%3f",
    "#",
    "a",
    "b.c",
    ";",
    "%",
    "%25",
]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "v1/../../secret",
        "v1/..",
        "..",
        ".",
        "v1/./x",
        "%2e%2e/secret",
        "%2E./secret",
        "%252e%252e/secret",
        "%25252e%25252e/secret",
        "..%2fsecret",
        "v1%2f..%2f..%2fsecret",
        "..;/secret",
        "..;a=b/secret",
        "%c0%ae%c0%ae/secret",
        "..\\secret",
        "v1%5c..%5csecret",
        "v1/x?x=1",
        "v1/x%3fx=1",
        "v1/x%253Fx=1",
        "v1/x#y",
        "v1/x%23y",
        "//evil.test/x",
        "/x",
        "v1//x",
        "v1/%2fx",
        "v1/x\r\nX: 1",
        "v1/x%0d%0aX: 1",
        "v1/x\x00",
        "v1/x%00",
        "v1/%zz",
        "v1/%",
        "%%32%65%%32%65/secret",
        ".. /secret",
        "",
        None,
        b"v1/x",
        5,
        "%" + "25" * 20 + "2e",
    ],
)
def test_paths_that_are_refused(path: object) -> None:
    assert checks.check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "v1/chat/completions",
        "v1/models/",
        "a",
        "...",
        "v1/..x",
        "v1/x..",
        "v1/a:b@c,d=e&f",
        "v1/größe",
        "a%20b",
        "v1/%41",
        "a;b",
    ],
)
def test_paths_that_are_not(path: str) -> None:
    assert checks.check_path(path) == ""


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join))
def test_what_passes_stays_below_its_prefix_however_often_it_is_decoded(path: str) -> None:
    if checks.check_path(path):
        return
    request = requests.Request("GET", f"http://host.test/api/proxy/{path}").prepare()
    parts = urlsplit(request.url)
    assert (parts.netloc, parts.query, parts.fragment) == ("host.test", "", "")
    seen = parts.path
    for _ in range(12):
        assert posixpath.normpath(seen).startswith("/api/proxy/")
        assert not set("?#\\") & set(seen)
        seen = unquote(seen)
    assert unquote(quote(path)) == path


@given(st.text())
def test_a_token_that_passes_can_be_sent_as_it_is(token: str) -> None:
    if not checks.check_token(token):
        request = requests.Request("GET", "http://host.test/", headers={"Authorization": f"Bearer {token}"}).prepare()
        assert str(request.headers["Authorization"]).split() == ["Bearer", token]


@pytest.mark.parametrize(
    "token", ["", None, b"tok", 5, "a b", "a\n", " a", "tok\r\nX: 1", "tok☃", "tök", "a\x00", "a\x7f"]
)
def test_tokens_that_are_refused(token: object) -> None:
    problem = checks.check_token(token)
    assert problem
    assert "tok" not in problem


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer x"},
        {"AUTHORIZATION": "Bearer x"},
        {"authorization ": "Bearer x"},
        {b"Authorization": "Bearer x"},
        {"Proxy-Authorization": "x"},
        {"Host": "evil.test"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"X": "a\r\nAuthorization: x"},
        {"X\r\nAuthorization": "x"},
        {"X": "☃"},
        {"X": None},
        {"X": 5},
        {"": "x"},
        [("X", "y")],
        "X: y",
    ],
)
def test_headers_that_are_refused(headers: object) -> None:
    problem = checks.check_headers(headers)
    assert problem
    assert "Bearer" not in problem


def test_headers_that_are_not() -> None:
    assert checks.check_headers({"X-Trace": "a, b\t;ü", "Content-Type": "application/vnd.x", "Y": ""}) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host.test",
        "//host.test",
        "ftp://host.test",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user:hidden@host.test",
        "http://hidden@host.test",
        "http://host.test/?a=hidden",
        "http://host.test/#hidden",
        "http://host.test:port",
        "http://[::1",
        "http://host.test\\@evil.test",
        "http://host.test/ a",
        "http://host.test\n",
        None,
        5,
        b"http://host.test",
    ],
)
def test_base_urls_that_are_refused(url: object) -> None:
    problem = checks.check_base_url(url)
    assert problem
    assert "hidden" not in problem


@pytest.mark.parametrize(
    "url", ["http://localhost:3001", "https://host.test/prefix/", "http://[::1]:80", "HTTP://HOST.test"]
)
def test_base_urls_that_are_not(url: str) -> None:
    assert checks.check_base_url(url) == ""
