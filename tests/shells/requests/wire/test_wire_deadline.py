"""One deadline for every phase: whatever the server does, and by whatever the caller reads.

How exact it is, the benchmark `deadlines` says; here the bound is generous, for a slow machine is no defect.
"""

from __future__ import annotations

import time

import pytest
import requests

import polvo_adapters as polvo
from tests.support.deadline_scenes import SCENES

DEADLINE = 0.4


@pytest.mark.parametrize("name", SCENES)
def test_the_deadline_holds(name: str) -> None:
    with SCENES[name](DEADLINE) as call:
        began = time.monotonic()
        with pytest.raises(polvo.DeadlineExceeded) as caught:
            call()
        seconds = time.monotonic() - began
    assert isinstance(caught.value, requests.Timeout)
    assert DEADLINE * 0.9 < seconds < DEADLINE + 2  # what is slow without the deadline takes three seconds more
