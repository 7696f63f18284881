"""Lets clients carry out a plan at a failure server, and counts what they and the server saw.

Theory of operation. Each client works through the plan on a thread of its own, one call after the other, and all
of them at the same time. Each call has a key per client, so that the server's journal tells their requests apart.
A call may never come back: it runs on a thread of its own too, and after `patience` seconds it is left behind and
counted as stuck. It ends when the server stops.

Every figure comes from one of two sources: what the call returned or raised, or the server's journal, which knows
how often a request was processed and how much of its body arrived.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from polvo_adapters.cli.demo_plan import PlannedCall
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
"""What many code bases give to urllib3's `Retry`."""


@dataclass(frozen=True)
class Limits:
    """The times that bound a trial, in seconds.

    Attributes:
        timeout: For each silence of the server; every client has it.
        deadline: For a whole call; only the adapter knows such a thing.
        patience: After which the demo leaves a call behind.
    """

    timeout: float = 0.75
    deadline: float = 2.0
    patience: float = 3.0


class TrialClient(NamedTuple):
    """A way to make calls.

    Attributes:
        name: For the server's keys and for people.
        session: Makes the session, given the URL of the server.
    """

    name: str
    session: Callable[[str, Limits], requests.Session]


class TrialResult(NamedTuple):
    """How one call ended.

    Attributes:
        call: The call.
        ending: In which way.
        detail: The status, or the class of the exception.
        times_processed: How often the server did the work, or may have.
        arrived_empty: Whether the server processed it without the body that the caller gave.
    """

    call: PlannedCall
    ending: Ending
    detail: str
    times_processed: int = 0
    arrived_empty: bool = False

    @property
    def duplicated(self) -> bool:
        """Whether work that must be done once was done more often."""
        return self.call.scenario.method == "POST" and self.times_processed > 1


@dataclass(frozen=True)
class Figures:
    """What came of a plan in the hands of one client.

    Attributes:
        client: Name of the client.
        results: How each call ended, in the order of the plan.
        requests_received: Requests that the server received, repeats included.
        seconds: How long it took.
    """

    client: str
    results: tuple[TrialResult, ...]
    requests_received: int
    seconds: float

    def count(self, ending: Ending) -> int:
        """Return how many calls ended in a way."""
        return sum(result.ending == ending for result in self.results)

    @property
    def duplicates(self) -> int:
        """POSTs that the server processed more than once."""
        return sum(result.duplicated for result in self.results)

    @property
    def empty_uploads(self) -> int:
        """Calls that the server processed without the body that the caller gave."""
        return sum(result.arrived_empty for result in self.results)


def bare(_url: str, _limits: Limits) -> requests.Session:
    """Return a plain session."""
    return requests.Session()


def pasted(url: str, _limits: Limits) -> requests.Session:
    """Return a session with the urllib3 `Retry` that many code bases hold a copy of."""
    session = requests.Session()
    session.mount(url, HTTPAdapter(max_retries=Retry(**PASTED)))
    return session


def resilient(url: str, limits: Limits) -> requests.Session:
    """Return a session with the adapter of this library."""
    session = requests.Session()
    session.mount(url, ResilientAdapter({"max_attempts": ATTEMPTS, "base": BACKOFF}, limits.deadline))
    return session


CLIENTS = (
    TrialClient("requests alone", bare),
    TrialClient("ResilientAdapter", resilient),
    TrialClient("pasted Retry", pasted),
)


def run_all(
    plan: Sequence[PlannedCall],
    server: FailureServer,
    limits: Limits,
    on_ending: Callable[[TrialClient, Ending], None] = lambda _client, _ending: None,
) -> list[Figures]:
    """Let all CLIENTS carry out a plan at the same time.

    Args:
        plan: The calls.
        server: A running server.
        limits: Times.
        on_ending: Told of each call that ended, on the client's thread.

    Returns:
        What came of it, in the order of CLIENTS.
    """

    def work(client: TrialClient) -> Callable[[], Figures]:
        return lambda: run(plan, client, server, limits, lambda ending: on_ending(client, ending))

    futures = [_in_background(work(client)) for client in CLIENTS]
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
    session = client.session(server.url, limits)
    session.trust_env = False  # a proxy has no business between two ends of one process
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
        method, body = call.scenario.method, _body(call)
        return session.request(method, url, data=body, timeout=limits.timeout).status_code

    future = _in_background(send)
    wait([future], timeout=limits.patience)
    if not future.done():
        return "stuck", "stuck"
    error = future.exception()
    if error is not None:
        return "exception", type(error).__name__
    status = future.result()
    return ("success" if status < 400 else "error status"), str(status)


def _body(call: PlannedCall) -> bytes | Iterator[bytes] | None:
    if call.scenario.upload == "none":
        return None
    return iter([call.payload]) if call.scenario.upload == "generator" else call.payload


def _in_background(function: Callable[[], _Value]) -> Future[_Value]:
    """Run a function on a thread that keeps nobody waiting, not even the end of the process."""
    future: Future[_Value] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=work, name="polvo demo", daemon=True).start()
    return future


def _count(
    client: TrialClient,
    endings: Sequence[tuple[PlannedCall, Ending, str]],
    records: Sequence[RequestRecord],
    seconds: float,
) -> Figures:
    received: Counter[str] = Counter(record.key for record in records)
    processed: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        if record.processed:
            processed[record.key].append(record.body_length)
    results = []
    for call, ending, detail in endings:
        lengths = processed[call.key(client.name)]
        empty = bool(call.payload) and 0 in lengths
        results.append(TrialResult(call, ending, detail, len(lengths), empty))
    sent = sum(received[call.key(client.name)] for call, _, _ in endings)
    return Figures(client.name, tuple(results), sent, seconds)
