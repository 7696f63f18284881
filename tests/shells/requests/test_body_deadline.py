"""A body that is read after the deadline raises DeadlineExceeded, however it is read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer
from tests.support.leaping_clock import Leap


def read_in_pieces(response: requests.Response, read: Callable[[int], Any]) -> None:
    while read(5):
        pass


WAYS: dict[str, Callable[[requests.Response], object]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "iter_content": lambda response: list(response.iter_content(10)),
    "iter_lines": lambda response: list(response.iter_lines()),
    "for ... in response": lambda response: list(response),
    "raw.read": lambda response: response.raw.read(),
    "raw.read(5)": lambda response: read_in_pieces(response, response.raw.read),
    "raw.read1": lambda response: read_in_pieces(response, response.raw.read1),
    "raw.stream": lambda response: list(response.raw.stream(10)),
    "for ... in raw": lambda response: list(response.raw),
    "copyfileobj": lambda response: shutil.copyfileobj(response.raw, io.BytesIO()),
    "BufferedReader": lambda response: io.BufferedReader(response.raw).read(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["", "&chunked=1"])
@pytest.mark.parametrize("bulkhead", [None, 3])
def test_a_dripping_body(way: str, framing: str, bulkhead: int | None, server: FailureServer, leap: Leap) -> None:
    """The deadline is looked at again and again; each look takes two seconds of it."""
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(deadline=20, retry=False, bulkhead=bulkhead))
    response = session.get(f"{server.url}/fault/drip?size=100000&interval=0.01{framing}", stream=True, timeout=20)
    leap.at_each_look(2.0)
    with pytest.raises(polvo.DeadlineExceeded, match="the deadline is over and the body is not complete") as caught:
        WAYS[way](response)
    assert isinstance(caught.value, requests.Timeout)
    assert caught.value.host == server.url.partition("://")[2]
    assert isinstance(caught.value.__cause__, Exception)
    session.close()
