"""The origin and the host of a call, by which all its state is kept."""

from __future__ import annotations

import pickle
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call, _parse_prefix, find_host, find_place, origin

URLS = [
    "https://api.example.com",
    "https://api.example.com/",
    "HTTPS://API.Example.COM:443/items",
    "http://api.example.com:8080/a/b?c=http://other.test/",
    "http://user:secret@api.example.com/x",
    "http://api.example.com?x=/y",
    "http://api.example.com#/y",
    "http://[::1]:8000/x",
    "http://[::1/x",
    "ws://api.example.com:80/x",
    "//api.example.com/x",
    "api.example.com/x",
    "a/b://c/d",
    "http:/x",
    "http:///x",
    "",
    "http://",
]


def find_slowly(url: str) -> tuple[str, str]:
    """Return origin and host by the part before the first slash of the path."""
    end = url.find("/", url.find("://") + 3)
    return _parse_prefix(url if end < 0 else url[:end])


@pytest.mark.parametrize("url", URLS)
def test_the_short_way_and_the_long_one_agree(url: str) -> None:
    assert (origin(url), find_host(url)) == find_slowly(url)


@given(st.text(alphabet="ab:/?#@[].%1", max_size=16))
def test_they_agree_on_anything(rest: str) -> None:
    for url in (rest, f"http://{rest}", f"http:{rest}"):
        assert (origin(url), find_host(url)) == find_slowly(url)


@pytest.mark.parametrize("url", URLS)
def test_a_call_knows_its_place_until_it_goes_elsewhere(url: str) -> None:
    call = Call("GET", url, place=find_place(url))
    assert (call.origin, call.host) == (origin(url), find_host(url))
    elsewhere = call._replace(url="https://other.test/x")
    assert (elsewhere.origin, elsewhere.host) == ("https://other.test", "other.test")


def test_a_call_shows_nothing_of_its_place() -> None:
    url = "https://user:pa55word@api.example.com/x?token=1"
    assert "pa55word" in urlsplit(url).netloc
    assert "pa55word" not in repr(Call("GET", url, place=find_place(url)))
    assert pickle.loads(pickle.dumps(Call("GET", url, place=find_place(url)))).origin == "https://api.example.com"
