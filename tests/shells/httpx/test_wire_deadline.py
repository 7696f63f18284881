"""One deadline for every phase under httpx too, whatever the server does; see the benchmark `deadlines`."""

from __future__ import annotations

import gc
import time

import pytest
import requests

import polvo_adapters as polvo
from tests.support.httpx_deadline_scenes import SCENES

DEADLINE = 0.4


@pytest.mark.parametrize("name", SCENES)
def test_the_deadline_holds(name: str) -> None:
    kind, scene = SCENES[name]
    with scene(kind, DEADLINE) as call:
        began = time.monotonic()
        with pytest.raises(polvo.DeadlineExceeded) as caught:
            call()
        seconds = time.monotonic() - began
    assert isinstance(caught.value, requests.Timeout)
    gc.collect()  # which warns of a socket that was not closed
    assert DEADLINE * 0.9 < seconds < DEADLINE + 2  # what is slow without the deadline takes three seconds more
