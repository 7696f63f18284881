"""The last good response to a request, for the time when there is no better one (stale-if-error).

Theory of operation. All responses are kept in one state, so that the store stays bounded however many URLs are asked
for. A response is found again only by the same request: method, URL, tenant, and the identity that the shell makes of
all headers and of the client certificate. Of URL and identity only digests are kept, as both may hold secrets.

    event    kept for the request   state                                            verdict
    -------  ---------------------  -----------------------------------------------  ----------------------------
    Keep     whatever               it instead, as used last; those unused for       True
                                    longest go until count and bytes are in bounds
    Find     nothing                as it was                                        None
    Find     too old                gone                                             None
    Find     young enough           it, as used last                                 Found: its age and all of it
    Forget   whatever               gone, and all that begins with the same key      True

**What is kept** (RFC 9111): an answer to GET or HEAD without a body, with status 200, whose own body was read to its
end. Not one with `Cache-Control: no-store`; nor one that must not be served without asking the server: `no-cache`,
`must-revalidate`, `proxy-revalidate`; nor one that depends on what nobody knows, `Vary: *`; nor one that refuses in
its body. Cookies that it sets are left out: they would undo what the server has set since.

**What is forgotten**: a response that the server took back, by any other answer that says something of the resource
(404, 403, or a 200 that is not to be kept); and all responses of a URL after an unsafe request to it that was not an
error (RFC 9111, section 4.4).

**How old** a response is: as old as its Age header said when it came, and the time since. It is served no longer than
`max_age`, and no longer than the server's own `stale-if-error` after its `max-age` (RFC 5861, section 4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.http import lasting
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.stored_types import stored_as

_METHODS = frozenset({"GET", "HEAD"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_FORBIDDING = frozenset({"no-store", "no-cache", "must-revalidate", "proxy-revalidate"})
_UNTOLD = frozenset({304, 408, 425, 429})  # answers below 500 that say nothing of what the resource is now
_NONE: Mapping[str, str] = {}
_PART = 8  # of max_bytes: what a single response may take
_SECONDS = re.compile(r"[0-9]{1,64}")


class StoreResponse(NamedTuple):
    """A good response.

    Attributes:
        key: Names the request.
        age: How old it was when it came, in seconds.
        until: Age at which it is too old, in seconds, by what its server said.
        headers: Names and values.
        body: The whole body.
    """

    key: str
    age: float
    until: float
    headers: tuple[tuple[str, str], ...]
    body: bytes


class LookUpResponse(NamedTuple):
    """A request is in need of one."""

    key: str


class DropResponse(NamedTuple):
    """What is kept under keys that begin like this is no longer good."""

    key: str


class StaleResponse(NamedTuple):
    """The last good response.

    Attributes:
        age: How old it is, in seconds.
        headers: Names and values.
        body: The body.
    """

    age: float
    headers: tuple[tuple[str, str], ...]
    body: bytes


@stored_as("stale-response.1")
class StoredResponse(NamedTuple):
    """A response in the state: it was `age` seconds old at `at`, and takes `size` bytes."""

    at: float
    age: float
    until: float
    size: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@stored_as("stale-cache.1")
class StaleCacheState(NamedTuple):
    """Responses by key, the one unused for longest first, and their bytes in all."""

    kept: dict[str, StoredResponse]
    size: int


@dataclass(frozen=True)
class StaleCache:
    """Serve the last good response to the same request, as long as it is not too old.

    Args:
        max_age: How old it may be, in seconds.
        max_entries: How many responses are kept.
        max_bytes: How many bytes they may take in all; a response larger than an eighth of that is not kept.

    Raises:
        ValueError: A value is out of range.

    Source: RFC 5861, section 4; RFC 9111, sections 4.2.4, 4.4 and 5.2.2.
    """

    max_age: float = 3600.0
    max_entries: int = 256
    max_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        validate.number(self, "max_age", 0, above=True, infinite=True)
        validate.count(self, "max_entries", 1)
        validate.count(self, "max_bytes", _PART)

    def learned(self, call: Call, outcome: Outcome) -> Event | None:
        """Return what the store is to be told of an answer that was no failure, or None."""
        if call.method not in _METHODS:
            if call.method in _SAFE or outcome.failure is not None or not 200 <= outcome.status < 400:
                return None
            return Event(self, self._place, DropResponse(_url_key(call)))
        if not told_apart(call) or outcome.failure is not None:
            return None
        key, told = _key(call), outcome.headers
        control = _directives(told.get("cache-control"))
        if _is_good(outcome, control):
            until = min(self.max_age, _longest(control))
            return Event(
                self, self._place, StoreResponse(key, _age(told.get("age")), until, lasting(told), outcome.body or b"")
            )
        if outcome.status < 500 and outcome.status not in _UNTOLD:
            return Event(self, self._place, DropResponse(key))
        return None

    def wanted(self, call: Call) -> Event | None:
        """Return how to ask the store for the last good response, or None where there cannot be one."""
        if call.method in _METHODS and told_apart(call):
            return Event(self, self._place, LookUpResponse(_key(call)))
        return None

    @property
    def _place(self) -> str:
        # Who shares a store shares the state, if they agree on how large it may be.
        return f"last good responses, {self.max_entries} in {self.max_bytes} bytes"

    @property
    def initial(self) -> StaleCacheState:
        """Nothing kept."""
        return StaleCacheState({}, 0)

    def transition(
        self, state: StaleCacheState, event: StoreResponse | LookUpResponse | DropResponse, now: float
    ) -> tuple[StaleCacheState, Any]:
        """Keep, find or forget; see the table of this module."""
        if type(event) is StoreResponse:
            return self._keep(state, event, now), True
        if type(event) is DropResponse:
            return _without(state, [key for key in state.kept if key.startswith(event.key)]), True
        found = state.kept.get(event.key)
        if found is None:
            return state, None
        age = _aged(found, now)
        if age > min(found.until, self.max_age):
            return _without(state, [event.key]), None
        kept = dict(state.kept)
        kept[event.key] = kept.pop(event.key)  # inserted last: the order of a dict is the order of use
        return StaleCacheState(kept, state.size), StaleResponse(age, found.headers, found.body)

    def _keep(self, state: StaleCacheState, event: StoreResponse, now: float) -> StaleCacheState:
        key, age, until, told, body = event
        size = len(key) + len(body) + sum([len(name) + len(value) for name, value in told])
        kept, total = dict(state.kept), state.size
        before = kept.pop(key, None)
        if before is not None:
            total -= before.size
        if age <= until and size <= self.max_bytes // _PART:
            kept[key] = StoredResponse(now, age, until, size, told, body)
            total += size
        while kept:
            first = next(iter(kept))
            if (
                len(kept) <= self.max_entries
                and total <= self.max_bytes
                and _aged(kept[first], now) <= kept[first].until
            ):
                break
            total -= kept.pop(first).size
        return StaleCacheState(kept, total)


def told_apart(call: Call) -> bool:
    """Tell whether everything that the answer depends on is known: not where the request has a body."""
    return call.body == "none" and call.identity != ""


def _without(state: StaleCacheState, keys: list[str]) -> StaleCacheState:
    if not keys:
        return state
    kept, total = dict(state.kept), state.size
    for key in keys:
        total -= kept.pop(key).size
    return StaleCacheState(kept, total)


def _aged(kept: StoredResponse, now: float) -> float:
    return kept.age + max(0.0, now - kept.at)


def _key(call: Call) -> str:
    return f"{_url_key(call)} {call.method} {call.identity}{of_tenant(call.tenant)}"


def _url_key(call: Call) -> str:
    url = call.url.partition("#")[0].encode("utf-8", "surrogatepass")
    return blake2b(url, digest_size=16).hexdigest()


def _is_good(outcome: Outcome, control: Mapping[str, str]) -> bool:
    told = outcome.headers
    if outcome.status != 200 or outcome.body is None or not _FORBIDDING.isdisjoint(control):
        return False
    if "*" in (told.get("vary") or ""):
        return False
    return headers.throttled(told, 200, outcome.body, outcome.wall) is None


def _directives(text: str | None) -> Mapping[str, str]:
    """Return the directives of Cache-Control; a quoted list is taken apart as well, which forbids rather too much."""
    if not text:
        return _NONE
    parts = (part.partition("=") for part in text.lower().split(","))
    return {name.strip(' \t"'): value.strip(' \t"') for name, _, value in parts}


def _longest(control: Mapping[str, str]) -> float:
    """Return the age up to which the server allows a response to be used in an emergency, in seconds."""
    stale, fresh = control.get("stale-if-error", ""), control.get("max-age", "")
    if not _SECONDS.fullmatch(stale):
        return math.inf
    return float(stale) + (float(fresh) if _SECONDS.fullmatch(fresh) else 0.0)


def _age(text: str | None) -> float:
    return float(text) if text and _SECONDS.fullmatch(text.strip()) else 0.0
