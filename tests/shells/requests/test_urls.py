"""URLs as they are sent."""

from __future__ import annotations

import pytest
import requests

from polvo_adapters.shells.requests.urls import origin_as_sent, parse_as_requests
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
    assert origin_as_sent(url) == origin


@pytest.mark.parametrize("url", ["orders", "", "http://", "http://[", "foo://[", "http://a:99999/"])
def test_what_is_no_url_is_an_error_of_requests(url: str) -> None:
    with pytest.raises(requests.RequestException) as caught:
        parse_as_requests(url)
    assert isinstance(caught.value, ValueError)


def test_an_error_of_ours_shows_nothing_of_the_url() -> None:
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        parse_as_requests("foo://user:s3cret@[")
    assert "s3cret" not in f"{caught.value!r}{caught.value.__cause__!r}"
