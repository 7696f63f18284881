"""The last good response to a request, for the time when there is no better one (stale-if-error).

Theory of operation. All responses are kept in one state, so that the store stays bounded however many URLs are
requested. A response is found again only by the same request: method, URL, tenant, and the identity that the shell
makes of all headers and of the client certificate. Of URL and identity only digests are kept, as both may hold secrets.

    event           kept for the request  state                                           verdict
    --------------  --------------------  ----------------------------------------------  ------------------------
    StoreResponse   anything              it instead, as used last; the least recently    True
                                          used go until count and bytes are in bounds
    LookUpResponse  nothing               as before                                       None
    LookUpResponse  too old               gone                                            None
    LookUpResponse  young enough          it, as used last                                StoredResponse
    DropResponse    anything              gone, and all whose key begins like this        True

**Stored** (RFC 9111) is a response to GET or HEAD without a body, with status 200, whose own body was read to its end.
Not one with `Cache-Control: no-store`; nor one that must not be served without asking the server: `no-cache`,
`must-revalidate`, `proxy-revalidate`; nor one that depends on something unknown, `Vary: *`; nor one that refuses in its
body. Cookies that it sets are left out: they would undo what the server has set since.

**Dropped** is a response that the server took back, by any other response that says something of the resource (404,
403, or a 200 that must not be stored); and all responses of a URL after an unsafe request to it that was not an error
(RFC 9111, section 4.4).

**The age** of a response is what its Age header said when it came, and the time since. It is served no longer than
`max_age`, and no longer than the server's own `stale-if-error` after its `max-age` (RFC 5861, section 4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.http import SAFE_METHODS, lasting_headers
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.stored_types import stored_as

_METHODS = frozenset({"GET", "HEAD"})
_FORBIDDING = frozenset({"no-store", "no-cache", "must-revalidate", "proxy-revalidate"})
_SILENT = frozenset({304, 408, 425})  # statuses below 500 that say nothing of what the resource is now
_PART = 8  # the part of max_bytes that a single response may take
_SECONDS = re.compile(r"[0-9]{1,64}")


class StoreResponse(NamedTuple):
    """Event: a good response came, `age` seconds old; it is too old at the age of `until` seconds."""

    key: str
    age: float
    until: float
    headers: tuple[tuple[str, str], ...]
    body: bytes


class LookUpResponse(NamedTuple):
    """Event: a request needs its last good response."""

    key: str


class DropResponse(NamedTuple):
    """Event: responses whose keys begin like this are no longer good."""

    key: str


@stored_as("stale-response.1")
class StoredResponse(NamedTuple):
    """A response in the state: it was `age` seconds old at `at`, and takes `size` bytes."""

    at: float
    age: float
    until: float
    size: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<StoredResponse of {self.size} bytes>"  # which may be private

    def age_at(self, now: float) -> float:
        """Return its age in seconds."""
        return self.age + max(0.0, now - self.at)


@stored_as("stale-cache.1")
class StaleCacheState(NamedTuple):
    """Responses by key, the least recently used first, and their bytes in all."""

    kept: dict[str, StoredResponse]
    size: int


@explain_arguments
@dataclass(frozen=True)
class StaleCache:
    """The last good response to the same request, as long as it is not too old.

    Args:
        max_age: Age in seconds at which a response is too old.
        max_entries: How many responses are kept.
        max_bytes: How many bytes they may take in all; a response larger than an eighth of that is not kept.
        harmless_headers: Names of request headers that may differ, besides those that are known to select no response.

    Raises:
        ValueError: A value is out of range.

    Source: RFC 5861, section 4; RFC 9111, sections 4.2.4, 4.4 and 5.2.2.
    """

    max_age: float = 3600.0
    max_entries: int = 256
    max_bytes: int = 8 * 1024 * 1024
    harmless_headers: Collection[str] = ()

    def __post_init__(self) -> None:
        validate.number(self, "max_age", 0, above=True, infinite=True)
        validate.count(self, "max_entries", 1)
        validate.count(self, "max_bytes", _PART)

    def learn(self, call: Call, outcome: Outcome) -> Event | None:
        """Return the event for a response that was no failure, or None where it says nothing of the cache."""
        if call.method not in _METHODS:
            if call.method in SAFE_METHODS or outcome.failure is not None or not 200 <= outcome.status < 400:
                return None
            return self._event(DropResponse(_url_key(call)))
        if not is_identifiable(call) or outcome.failure is not None:
            return None
        key, named = _response_key(call), outcome.headers
        control = _parse_directives(named.get("cache-control"))
        if _is_good(call, outcome, control):
            until = min(self.max_age, _allowed_age(control))
            age = _parse_age(named.get("age"))
            return self._event(StoreResponse(key, age, until, lasting_headers(named), outcome.body or b""))
        if outcome.status < 500 and outcome.status not in _SILENT and not verdict_of(call, outcome).is_refusal:
            return self._event(DropResponse(key))
        return None

    def look_up(self, call: Call) -> Event | None:
        """Return the event that asks for the last good response, or None where there cannot be one."""
        if call.method in _METHODS and is_identifiable(call):
            return self._event(LookUpResponse(_response_key(call)))
        return None

    def _event(self, event: StoreResponse | LookUpResponse | DropResponse) -> Event:
        # Policies that share a store share the state, if they agree on how large it may be.
        return Event(self, f"last good responses, {self.max_entries} in {self.max_bytes} bytes", event)

    @property
    def initial(self) -> StaleCacheState:
        """A cache that keeps nothing yet."""
        return StaleCacheState({}, 0)

    def transition(
        self, state: StaleCacheState, event: StoreResponse | LookUpResponse | DropResponse, now: float
    ) -> tuple[StaleCacheState, Any]:
        """Store, look up or drop; see the table of this module."""
        if type(event) is StoreResponse:
            return self._store(state, event, now), True
        if type(event) is DropResponse:
            return _remove(state, [key for key in state.kept if key.startswith(event.key)]), True
        found = state.kept.get(event.key)
        if found is None:
            return state, None
        age = found.age_at(now)
        if age > min(found.until, self.max_age):
            return _remove(state, [event.key]), None
        kept = dict(state.kept)
        kept[event.key] = kept.pop(event.key)  # inserted last: the order of a dict is the order of use
        return StaleCacheState(kept, state.size), found._replace(at=now, age=age)

    def _store(self, state: StaleCacheState, event: StoreResponse, now: float) -> StaleCacheState:
        key, age, until, named, body = event
        size = len(key) + len(body) + sum([len(name) + len(value) for name, value in named])
        kept, total = dict(state.kept), state.size
        if key in kept:
            total -= kept.pop(key).size
        if age <= until and size <= self.max_bytes // _PART:
            kept[key] = StoredResponse(now, age, until, size, named, body)
            total += size
        while kept:
            name, first = next(iter(kept.items()))
            fits = len(kept) <= self.max_entries and total <= self.max_bytes
            if fits and first.age_at(now) <= first.until:
                break
            total -= kept.pop(name).size
        return StaleCacheState(kept, total)


def is_identifiable(call: Call) -> bool:
    """Return whether everything is known that the response depends on: not where the request has a body."""
    return call.body == "none" and call.identity != ""


def _remove(state: StaleCacheState, keys: list[str]) -> StaleCacheState:
    if not keys:
        return state
    kept, total = dict(state.kept), state.size
    for key in keys:
        total -= kept.pop(key).size
    return StaleCacheState(kept, total)


def _response_key(call: Call) -> str:
    return f"{_url_key(call)} {call.method} {call.identity}{of_tenant(call.tenant)}"


def _url_key(call: Call) -> str:
    url = call.url.partition("#")[0].encode("utf-8", "surrogatepass")
    return blake2b(url, digest_size=16).hexdigest()


def _is_good(call: Call, outcome: Outcome, control: Mapping[str, str]) -> bool:
    if outcome.status != 200 or outcome.body is None or not _FORBIDDING.isdisjoint(control):
        return False
    if "*" in (outcome.headers.get("vary") or ""):
        return False
    return verdict_of(call, outcome).kind == "served"


def _parse_directives(text: str | None) -> Mapping[str, str]:
    """Return the directives of Cache-Control; a quoted list is split as well, which forbids too much at worst."""
    parts = (part.partition("=") for part in (text or "").lower().split(","))
    return {name.strip(' \t"'): value.strip(' \t"') for name, _, value in parts}


def _allowed_age(control: Mapping[str, str]) -> float:
    """Return the age up to which the server allows a response to be used in an emergency, in seconds."""
    stale, fresh = control.get("stale-if-error", ""), control.get("max-age", "")
    if not _SECONDS.fullmatch(stale):
        return math.inf
    return float(stale) + (float(fresh) if _SECONDS.fullmatch(fresh) else 0.0)


def _parse_age(text: str | None) -> float:
    return float(text) if text and _SECONDS.fullmatch(text.strip()) else 0.0
