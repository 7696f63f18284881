"""What is done to an SDK: a stand-in that fails, a clock that moves when it is slept on, and what came of it."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import random
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import requests

import polvo_adapters as polvo
import polvo_adapters.requests
from polvo_adapters.runtime.clock import SystemTime

sys.path.append(str(Path(__file__).parent.parent))

import scene_time
from sdk_table import SDK
from stand_in import StandIn

FAULTS = ("none", "429 once", "429", "503", "reset", "answer lost once")
"""None; one 429 with Retry-After; an outage of these, of 503, of resets; a request that is carried out unanswered."""
ERROR = {"id": "busy", "message": "busy", "ok": False, "error_code": 503, "description": "busy"}
"""What the stand-in says of a failure, in the words of several APIs."""
MOST_WAITS = 25
"""Waits after which an SDK is taken to go on for ever."""


class Endless(BaseException):
    """An SDK that goes on for ever."""


class Measured(NamedTuple):
    """What came of one call of an SDK.

    Attributes:
        result: What it returned, or the class of what it raised.
        raised: Whether it raised.
        received: How many requests arrived.
        processed: How many of them the server carried out.
        waited: Virtual seconds that passed.
        calls: How many calls an adapter of this package made.
    """

    result: str
    raised: bool
    received: int
    processed: int
    waited: float
    calls: int


class Api(StandIn):
    """Answers every request of an SDK alike, but fails as a scene wants."""

    def __init__(self, sdk: SDK) -> None:
        super().__init__()
        self.sdk = sdk
        self.resets = True
        self.begin("none")

    def begin(self, fault: str) -> None:
        """Fail in this way from now on, and count anew."""
        self.fault, self.received, self.processed = fault, 0, 0

    def choose(self, method: str, path: str) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and content of the answer to a request."""
        self.received += 1
        first = self.received == 1
        if self.fault == "503":
            return 503, {}, ERROR
        if self.fault == "429" or (self.fault == "429 once" and first):
            return 429, {"Retry-After": "1"}, ERROR
        if self.fault == "reset":
            return 0, {}, b""
        self.processed += 1
        if self.fault == "answer lost once" and first:
            return 0, {}, b""
        if method in ("GET", "HEAD"):
            return 200, {}, self.sdk.answer
        receipt = self.sdk.answer if self.sdk.receipt is None else self.sdk.receipt
        return self.sdk.status, {}, b"" if self.sdk.status == 204 else receipt


class SceneTime:
    """A time that moves on when it is slept on, for SDKs and for this package."""

    def __init__(self) -> None:
        self.slept, self.waits = 0.0, 0

    def sleep(self, seconds: float) -> None:
        """Move on by that much."""
        self.slept += max(0.0, seconds)
        self.waits += 1
        if self.waits > MOST_WAITS:
            raise Endless

    @contextmanager
    def in_force(self, sdk: SDK):
        """Put this time in the place of that of the machine."""
        with ExitStack() as patches:
            patches.enter_context(mock.patch.object(scene_time, "now", self))
            for name in ("sleep", "time", "monotonic"):
                patches.enter_context(mock.patch.object(time, name, getattr(scene_time, name)))
            patches.enter_context(mock.patch.object(SystemTime, "now", staticmethod(scene_time.monotonic)))
            patches.enter_context(mock.patch.object(SystemTime, "wall", staticmethod(scene_time.time)))
            for module in sdk.datetimes:
                scene_datetime = type("SceneDatetime", (dt.datetime,), {"now": staticmethod(scene_time.datetime_now)})
                patches.enter_context(mock.patch.object(importlib.import_module(module), "datetime", scene_datetime))
            yield


class Installing:
    """This package, whose `install` has keywords besides those that it is given.

    Args:
        **keywords: The keywords.
    """

    def __init__(self, **keywords: Any) -> None:
        self._keywords = keywords

    def install(self, session: requests.Session, **keywords: Any) -> requests.Session:
        """Make a session resilient."""
        return polvo.install(session, **self._keywords, **keywords)


@cache
def measure(sdk: SDK, fault: str, *, write: bool, ours: bool, deadline: float | None = None) -> Measured:
    """Make a client of an SDK, let the stand-in fail, and return what becomes of one call.

    Args:
        sdk: The SDK.
        fault: One of FAULTS.
        write: Whether to write.
        ours: Whether this package is in it.
        deadline: That of each call, in seconds, where this package is installed.
    """
    scene = SceneTime()
    with Api(sdk) as api, scene.in_force(sdk), count_calls() as calls, mock.patch.dict(os.environ):
        random.seed(0)
        names = {"url": api.url, "port": int(api.url.rpartition(":")[2]), "requests": requests}
        names.update(polvo=Installing(deadline=deadline), polvo_adapters=polvo)
        exec(sdk.setup, names)
        exec(sdk.ours if ours else sdk.bare, names)
        api.begin(fault)
        calls.clear()
        began = scene.slept
        try:
            result, raised = repr(eval(sdk.write if write else sdk.read, names)), False
        except Endless:
            result, raised = "goes on for ever", True
        except Exception as error:  # noqa: BLE001 - it is what the caller of the SDK gets
            result, raised = f"{type(error).__module__}.{type(error).__qualname__}", True
        return Measured(result, raised, api.received, api.processed, scene.slept - began, len(calls))


@contextmanager
def count_calls():
    """Yield a list that has an element for each call of an adapter of this package."""
    calls: list[None] = []
    send = polvo.PolicyAdapter.send

    def counted(self, request, **keywords):
        calls.append(None)
        return send(self, request, **keywords)

    with mock.patch.object(polvo.PolicyAdapter, "send", counted):
        yield calls
