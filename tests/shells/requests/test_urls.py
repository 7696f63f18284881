"""URLs as they are sent."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.shells.requests.url_reading import parse_as_requests
from polvo_adapters.shells.urls import make_absolute, origin_as_sent, resolve
from polvo_adapters.testing import FailureServer


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://api.example.com", "http://api.example.com/"),
        ("HTTP://API.example.com/x?a=b#c", "http://api.example.com/x?a=b#c"),
        ("http://api.example.com/a/../b", "http://api.example.com/b"),
        ("http://api.example.com/a/%2e%2E/b", "http://api.example.com/b"),
        ("http://api.example.com/a/%252e%252e/b", "http://api.example.com/a/%252e%252e/b"),
        ("http://b\u00fccher.example/x y", "http://xn--bcher-kva.example/x%20y"),
        ("http://evil.example\\@api.example.com/x", "http://evil.example/%5C@api.example.com/x"),
    ],
)
def test_as_sent(url: str, sent: str) -> None:
    assert parse_as_requests(url).url == sent


@pytest.mark.parametrize("path", ["/a/../b", "/a/./b?c=../d", "/a%2fb/..;/c", "//a//b", "/ü x", "?a=b", ""])
def test_the_server_sees_the_same(path: str, server: FailureServer) -> None:
    requests.get(server.url + path)
    parts = parse_as_requests(server.url + path)
    assert server.requests[0].path == (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://user:pw@api.example.com:80/x", "http://api.example.com"),
        ("http://evil.example\\@api.example.com/x", "http://evil.example"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_as_sent(url, parse_as_requests) == origin


@pytest.mark.parametrize("url", ["orders", "", "http://", "http://[", "foo://[", "http://a:99999/"])
def test_what_is_no_url_is_an_error_of_requests(url: str) -> None:
    with pytest.raises(requests.RequestException) as caught:
        parse_as_requests(url)
    assert isinstance(caught.value, ValueError)


def test_an_error_of_ours_shows_nothing_of_the_url() -> None:
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        parse_as_requests("foo://user:s3cret@[")
    assert "s3cret" not in f"{caught.value!r}{caught.value.__cause__!r}"


BASES = ["http://api.example.com/", "http://api.example.com/v1/", "https://user:pw@api.example.com:8443/a/b/"]
RELATIVE = [
    *(
        f"redirect/{scheme}://{place}"
        for scheme in ("http", "https", "ftp", "1")
        for place in ("x", "u:p@evil.example.com/y?z")
    ),
    "redirect/https://example.com/x",
    "proxy?url=http://example.com/x",
    "x#http://example.com/",
    "x;y=http://example.com/",
    "a/b://c",
    "1http://x",
    "+http://x",
    "://x",
    "x y://z",
    "ü://x",
    "http%3A//x",
]
ABSOLUTE = ["http://x.example/y", "HTTPS://x.example/", " http://x.example/y", "\nhttp://x.example/y", "foo+b.1-c://x"]


@pytest.mark.parametrize("url", RELATIVE)
@pytest.mark.parametrize("base", BASES)
def test_a_url_within_a_relative_url_leaves_it_relative(base: str, url: str) -> None:
    got = make_absolute(url, base, "", None, parse_as_requests)
    assert got == base + url
    joined = urljoin(base, url)  # which loses empty segments of paths, against RFC 3986 section 5.2.4
    assert got.replace("//", "/") == joined.replace("//", "/")
    assert resolve(url, base, "", None, parse_as_requests).is_home
    sent = requests.Request("GET", got).prepare().url or ""
    assert urlsplit(sent)[:2] == urlsplit(base)[:2]
    assert origin_as_sent(got, parse_as_requests) == origin_as_sent(base, parse_as_requests)


@pytest.mark.parametrize("url", ABSOLUTE)
@pytest.mark.parametrize("base", BASES)
def test_a_url_with_a_scheme_is_absolute(base: str, url: str) -> None:
    assert make_absolute(url, base, "", None, parse_as_requests) == url
    assert urlsplit(urljoin(base, url.strip())) == urlsplit(url.strip())


def test_a_custom_method_of_an_api_is_a_path() -> None:
    assert make_absolute("orders:search", "http://api.example.com/v1", "", None, parse_as_requests) == (
        "http://api.example.com/v1/orders:search"
    )


@given(st.text(max_size=12) | st.sampled_from(RELATIVE + ABSOLUTE))
def test_a_relative_url_never_leaves_the_server(url: str) -> None:
    base = "http://api.example.com/v1"
    resolved = resolve(url, base, "", None, parse_as_requests)
    if resolved.url != url:
        assert origin_as_sent(resolved.url, parse_as_requests) == "http://api.example.com"
