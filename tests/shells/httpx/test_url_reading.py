"""URLs of httpx as text, with their origin: exactly what httpx writes, and what is read in that."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import httpx
import pytest

from polvo_adapters.core.calls import find_place
from polvo_adapters.shells.httpx import url_reading
from polvo_adapters.shells.httpx.url_reading import read_url, write_place

HOSTS = [
    "api.example.com",
    "API.example.COM",
    "bücher.example",
    "[::1]",
    "127.0.0.1",
    "a%20b.test",
    "xn--bcher-kva.test",
]
PORTS = ["", ":80", ":443", ":8080"]
PATHS = ["", "/", "/a/b", "/a%2Fb", "/ä", "?x=1", "/x?", "/x?a=b&c=d", "/x#y", "/x?y#z", "//x"]
PARTS = product(("http", "https"), HOSTS, PORTS, PATHS)
URLS = [
    *(f"{scheme}://{host}{port}{path}" for scheme, host, port, path in PARTS),
    *("http://user:secret@api.example.com/x", "http://@api.example.com/x", "/relative", "", "mailto:a@b.test"),
]


@pytest.mark.parametrize("read", [httpx.URL, read_url], ids=["httpx", "here"])
@pytest.mark.parametrize("is_known", [True, False])
def test_it_is_what_httpx_writes(
    read: Callable[[str], httpx.URL], is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_reading, "_IS_KNOWN", is_known)
    for text in URLS:
        url = read(text)
        assert write_place(url) == find_place(str(url))
