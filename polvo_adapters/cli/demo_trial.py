"""The trial of the demo: clients carry out a plan at a failure server, and the results are counted.

Theory of operation. Each client works through the plan on a thread of its own, one call after the other, and all
of them at the same time. Each call has a key per client, so that the server's journal tells their requests apart.
A call may never end: it runs on a thread of its own too, and after `patience` seconds it is abandoned and counted as
stuck. It ends when the server stops.

Every figure comes from one of two sources: the result or exception of the call, or the server's journal, which has
how often a request was processed and how much of its body arrived.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from polvo_adapters.cli.demo_plan import PlannedCall
from polvo_adapters.runtime.workers import WORKERS, NoThreadError
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.testing.server.failure_server import FailureServer, RequestRecord

_Value = TypeVar("_Value")
Ending = Literal["success", "error status", "exception", "stuck"]

ATTEMPTS = 4
"""How often the clients that retry send a request at most."""
BACKOFF = 0.1
"""Seconds that their waits start from."""
PASTED: dict[str, Any] = {
    "total": ATTEMPTS - 1,
    "allowed_methods": None,
    "status_forcelist": [429, 500, 502, 503, 504],
    "backoff_factor": BACKOFF,
}
"""The arguments that many code bases pass to urllib3's `Retry`."""


@dataclass(frozen=True)
class Limits:
    """The times that bound a trial, in seconds.

    Attributes:
        timeout: For each silence of the server; every client has it.
        deadline: For a whole call of the ResilientAdapter; the other clients have none.
        patience: After which the demo abandons a call.
    """

    timeout: float = 0.5
    deadline: float = 1.5
    patience: float = 2.0


class TrialClient(NamedTuple):
    """A way to make calls.

    Attributes:
        name: For the server's keys and for people.
        make_adapter: Returns the adapter that it mounts.
    """

    name: str
    make_adapter: Callable[[Limits], HTTPAdapter]


class TrialResult(NamedTuple):
    """The end of one call.

    Attributes:
        call: The call.
        ending: How it ended.
        detail: The status, or the class of the exception.
        times_processed: How often the server did the work, or may have.
        arrived_empty: Whether the server processed it without the caller's body.
    """

    call: PlannedCall
    ending: Ending
    detail: str
    times_processed: int = 0
    arrived_empty: bool = False

    @property
    def is_duplicated(self) -> bool:
        """Whether work that must be done once was done more often."""
        return self.call.scenario.method == "POST" and self.times_processed > 1

    @property
    def is_right(self) -> bool:
        """Whether the caller got what it asked for, and the server did what was asked, and no more."""
        return self.ending == "success" and not (self.is_duplicated or self.arrived_empty)


@dataclass(frozen=True)
class Figures:
    """The results of a plan for one client.

    Attributes:
        client: Name of the client.
        results: The end of each call, in the order of the plan.
        requests_received: Requests that the server received, retries included.
        seconds: How long the plan took.
    """

    client: str
    results: tuple[TrialResult, ...]
    requests_received: int
    seconds: float

    def count(self, ending: Ending) -> int:
        """Return how many calls ended in this way."""
        return sum(result.ending == ending for result in self.results)

    @property
    def right(self) -> int:
        """Calls that went right."""
        return sum(result.is_right for result in self.results)

    @property
    def wrong_unnoticed(self) -> int:
        """Calls that look like successes to the caller, and are none."""
        return self.count("success") - self.right

    @property
    def duplicates(self) -> int:
        """POSTs that the server processed more than once."""
        return sum(result.is_duplicated for result in self.results)

    @property
    def empty_uploads(self) -> int:
        """Calls that the server processed without the caller's body."""
        return sum(result.arrived_empty for result in self.results)


def _make_resilient(limits: Limits) -> HTTPAdapter:
    return ResilientAdapter({"max_attempts": ATTEMPTS, "base": BACKOFF}, limits.deadline)


CLIENTS = (
    TrialClient("requests alone", lambda _: HTTPAdapter()),
    TrialClient("ResilientAdapter", _make_resilient),
    TrialClient("pasted Retry", lambda _: HTTPAdapter(max_retries=Retry(**PASTED))),
)


def run_all(
    plan: Sequence[PlannedCall],
    server: FailureServer,
    limits: Limits,
    on_ending: Callable[[TrialClient, Ending], None] = lambda _client, _ending: None,
) -> list[Figures]:
    """Let all CLIENTS carry out a plan at the same time, and return their figures in the order of CLIENTS.

    Args:
        plan: The calls.
        server: A running server.
        limits: Times.
        on_ending: Called for each call that ended, on the client's thread.
    """
    futures = [
        _run_in_background(partial(run, plan, client, server, limits, partial(on_ending, client))) for client in CLIENTS
    ]
    wait(futures)
    return [future.result() for future in futures]


def run(
    plan: Sequence[PlannedCall],
    client: TrialClient,
    server: FailureServer,
    limits: Limits,
    on_ending: Callable[[Ending], None] = lambda _ending: None,
) -> Figures:
    """Let one client carry out a plan; see `run_all`."""
    session = requests.Session()
    session.mount(server.url, client.make_adapter(limits))
    session.trust_env = False  # a proxy must not come between two ends of one process
    started = time.monotonic()
    endings: list[tuple[PlannedCall, Ending, str]] = []
    for call in plan:
        ending, detail = _carry_out(call, session, server.url + call.target(client.name), limits)
        endings.append((call, ending, detail))
        on_ending(ending)
    seconds = time.monotonic() - started
    session.close()
    return _count(client, endings, server.requests, seconds)


def _carry_out(call: PlannedCall, session: requests.Session, url: str, limits: Limits) -> tuple[Ending, str]:
    def send() -> int:
        body = iter([call.payload]) if call.scenario.upload == "generator" else call.payload
        return session.request(call.scenario.method, url, data=body, timeout=limits.timeout).status_code

    future = _run_in_background(send)
    wait([future], timeout=limits.patience)
    if not future.done():
        return "stuck", "stuck"
    error = future.exception()
    if error is not None:
        return "exception", type(error).__name__
    status = future.result()
    return ("success" if status < 400 else "error status"), str(status)


def _run_in_background(function: Callable[[], _Value]) -> Future[_Value]:
    """Run a function on a thread that does not keep the process from ending, or here where there is none."""
    future: Future[_Value] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - `Future.result` raises it
            future.set_exception(error)

    try:
        WORKERS.run(work)
    except NoThreadError:
        work()
    return future


def _count(
    client: TrialClient,
    endings: Sequence[tuple[PlannedCall, Ending, str]],
    records: Sequence[RequestRecord],
    seconds: float,
) -> Figures:
    requests_received, results = 0, []
    by_key: defaultdict[str, list[RequestRecord]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    for call, ending, detail in endings:
        received = by_key[call.key(client.name)]
        requests_received += len(received)
        lengths = [record.body_length for record in received if record.processed]
        empty = bool(call.payload) and 0 in lengths
        results.append(TrialResult(call, ending, detail, len(lengths), empty))
    return Figures(client.name, tuple(results), requests_received, seconds)
