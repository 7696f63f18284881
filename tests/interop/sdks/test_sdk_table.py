"""Nothing gets worse below SDKs that are built on `requests`, and the page about them tells what was measured."""

from __future__ import annotations

import gc
import warnings
from importlib.metadata import version

import pytest
from sdk_page import PAGE, render_class, render_row
from sdk_scenes import FAULTS, Measured, measure
from sdk_table import ARGUMENT, ATTRIBUTE, DROP_IN, IS_SESSION, SDKS

pytestmark = pytest.mark.filterwarnings("ignore")  # what SDKs warn of, and the sockets that they leave open

EVERY_SDK = pytest.mark.parametrize("sdk", SDKS, ids=[sdk.name for sdk in SDKS])
EVERY_WAY = pytest.mark.parametrize(
    ("sdk", "write"),
    [
        pytest.param(sdk, write, id=f"{sdk.name} {way}")
        for sdk in SDKS
        for way, write in (("reads", False), ("writes", True))
        if sdk.write or not write
    ],
)
EXTRA_REQUESTS = 2
"""Requests that a call of an SDK which repeats by itself may make beyond those that it makes without this package."""
ATTEMPTS = 3
"""Attempts of the default policy, and so of a call of an SDK which repeats nothing."""


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left():
    """Free the sockets of SDKs here, where their warnings are ignored."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def is_worse(bare: Measured, ours: Measured, served: Measured, write: bool) -> list[str]:
    """Return what is worse with this package than without."""
    most = max(bare.received + EXTRA_REQUESTS, ATTEMPTS) if bare.received > 1 else ATTEMPTS
    found = {
        "result": ours.result not in (bare.result, served.result),
        "fails": ours.raised and not bare.raised,
        "requests": ours.received > most,
        "processed": write and ours.processed > max(bare.processed, 1),
        "waits": ours.waited > 2 * bare.waited + 5,
    }
    return [name for name, is_so in found.items() if is_so]


@EVERY_WAY
def test_nothing_gets_worse(sdk, write):
    served = measure(sdk, "none", write=write, ours=False)
    assert not served.raised, served.result
    for fault in FAULTS:
        bare = measure(sdk, fault, write=write, ours=False)
        ours = measure(sdk, fault, write=write, ours=True)
        assert is_worse(bare, ours, served, write) == [], (fault, bare, ours)
        assert (bare.calls, ours.calls > 0) == (0, True), fault


@EVERY_WAY
def test_a_deadline_makes_nothing_worse(sdk, write):
    """It ends a call earlier, but with the answer of the server, or with an exception of requests or the SDK."""
    for fault in FAULTS:
        bare = measure(sdk, fault, write=write, ours=False)
        ours = measure(sdk, fault, write=write, ours=True, deadline=20.0)
        assert not ours.result.startswith("polvo"), (fault, ours)
        worse = is_worse(bare, ours, measure(sdk, "none", write=write, ours=False), write)
        assert set(worse) <= {"result"}, (fault, bare, ours)


@EVERY_SDK
def test_a_429_is_served_where_the_sdk_does_not_repeat_it(sdk):
    """Whatever becomes of it without this package."""
    served = measure(sdk, "none", write=False, ours=True)
    assert measure(sdk, "429 once", write=False, ours=True).result == served.result


@EVERY_SDK
def test_the_page_tells_what_was_measured(sdk):
    """Of another release of an SDK the numbers may differ; the rest of its row is the same."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {sdk.name} |")]
    assert len(rows) == 1
    told, measured = rows[0].split(" | "), render_row(sdk).split(" | ")
    compared = len(told) if told[1] == version(sdk.package) else 5
    assert (told[0], told[2:compared]) == (measured[0], measured[2:compared])
    assert render_class(sdk) in PAGE.read_text()


def test_every_way_in_is_measured():
    assert len({sdk.package for sdk in SDKS}) >= 30
    assert {sdk.kind for sdk in SDKS} >= {ARGUMENT, ATTRIBUTE, DROP_IN, IS_SESSION}


@pytest.mark.parametrize(
    ("worse", "name"),
    [
        ({"result": "polvo_adapters.errors.DeadlineExceeded"}, "result"),
        ({"result": "requests.exceptions.ConnectionError", "raised": True}, "fails"),
        ({"received": 4}, "requests"),
        ({"processed": 2}, "processed"),
        ({"waited": 6.0}, "waits"),
    ],
)
def test_what_is_worse_is_found(worse, name):
    bare = Measured("503", False, 1, 0, 0.0, 0)
    served = Measured("200", False, 1, 1, 0.0, 0)
    assert is_worse(bare, bare, served, write=True) == []
    assert name in is_worse(bare, bare._replace(**worse), served, write=True)
