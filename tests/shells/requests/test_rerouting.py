"""Requests to another place: what goes along."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import requests

from polvo_adapters.core.calls import Call
from polvo_adapters.core.destinations import withheld_headers
from polvo_adapters.shells.httpx.rerouting import reroute as elsewhere_in_httpx
from polvo_adapters.shells.requests.rerouting import drop_foreign_cookies, reroute
from polvo_adapters.testing import FailureServer

URL = "https://api.example.com/items"
HARMLESS = {
    "Accept": "text/x",
    "Content-Type": "text/plain",
    "If-None-Match": "1",
    "Range": "bytes=0-9",
    "User-Agent": "me",
    "X-HTTP-Method-Override": "DELETE",
    "Idempotency-Key": "1",
}
SECRET = {"Authorization": "a", "Cookie": "b", "X-Api-Key": "c", "Proxy-Authorization": "d", "X-Anything": "e"}


def prepared() -> requests.PreparedRequest:
    session = requests.Session()
    session.cookies["id"] = "f"
    return session.prepare_request(requests.Request("POST", URL, headers={**HARMLESS, **SECRET}, data=b"body"))


@pytest.mark.parametrize("anonymous", [False, True])
def test_headers_of_requests(anonymous: bool) -> None:
    request = prepared()
    request.headers["Host"] = "virtual.example"
    before = dict(request.headers)
    copy = reroute(request, Call("POST", "https://backup.example.com/items", anonymous=anonymous))
    assert (copy.url, copy.method, copy.body) == ("https://backup.example.com/items", "POST", b"body")
    assert (SECRET.keys() <= copy.headers.keys()) is not anonymous
    assert copy.headers.keys() >= HARMLESS.keys()
    assert ("Host" in copy.headers, copy.headers["Content-Length"]) == (False, "4")
    assert (request.url, dict(request.headers)) == (URL, before)
    if anonymous:
        assert set(SECRET.values()).isdisjoint(copy.headers.values())
        copy.prepare_cookies(copy._cookies or {})  # as a session does when it sends once more
        assert "Cookie" not in copy.headers


def test_the_host_header_stays_at_its_origin() -> None:
    request = prepared()
    request.headers["Host"] = "virtual.example"
    copy = reroute(request, Call("POST", "https://API.example.com:443/v2/items", anonymous=True))
    assert copy.headers["Host"] == "virtual.example"


@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://backup.example.com:8443/items", "backup.example.com:8443"),
        ("https://backup.example.com:443/items", "backup.example.com"),
        ("https://[::1]/items", "[::1]"),
        ("https://api.example.com/v2/items", "virtual.example"),
    ],
)
def test_headers_of_httpx(url: str, host: str, anonymous: bool) -> None:
    extensions: dict[str, Any] = {"sni_hostname": "api.example.com", "timeout": {"read": 5}}
    named = {**HARMLESS, **SECRET, "Host": "virtual.example"}
    request = httpx.Request("POST", URL, headers=named, content=b"body", extensions=extensions)
    copy = elsewhere_in_httpx(request, Call("POST", url, anonymous=anonymous))
    assert (copy.url, copy.method, copy.read()) == (httpx.URL(url), "POST", b"body")
    assert all((name in copy.headers) is not anonymous for name in SECRET)
    assert all(name in copy.headers for name in HARMLESS)
    assert (copy.headers.get_list("host"), copy.headers["content-length"]) == ([host], "4")
    assert ("sni_hostname" in copy.extensions) == (host == "virtual.example")
    assert (copy.extensions["timeout"], request.headers["host"]) == ({"read": 5}, "virtual.example")


def test_names_are_compared_in_any_case() -> None:
    assert withheld_headers(["ACCEPT", "Accept", "authorization", "AUTHORIZATION", "X-New"]) == [
        "authorization",
        "AUTHORIZATION",
        "X-New",
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_cookies_of_another_origin_are_not_stored(stream: bool, server: FailureServer) -> None:
    class Elsewhere(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            response = super().send(*args, **keywords)
            drop_foreign_cookies(response, requests.Request("GET", "http://first.example/").prepare())
            return response

    session = requests.Session()
    session.mount("http://", Elsewhere())
    url = f"{server.url}/fault/status?code=200&body=x&header=Set-Cookie:+a=b&header=Set-Cookie:+c=d"
    response = session.get(url, stream=stream)
    assert len(session.cookies) == 0
    assert response.cookies.get_dict() == {"a": "b", "c": "d"}
    assert (response.headers["Set-Cookie"], response.content) == ("a=b, c=d", b"x")


def test_cookies_of_the_same_origin_stay(server: FailureServer) -> None:
    session = requests.Session()
    url = f"{server.url}/fault/status?code=200&body=x&header=Set-Cookie:+a=b"
    response = session.get(url)
    drop_foreign_cookies(response, response.request)
    assert response.raw._original_response.msg["Set-Cookie"] == "a=b"


def test_what_has_no_raw_response_has_no_cookies() -> None:
    drop_foreign_cookies(requests.Response(), requests.Request("GET", "http://first.example/").prepare())
