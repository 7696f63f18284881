"""Requests that were given up, so that code above this package which repeats them repeats alone.

Theory of operation. An SDK with a loop of four attempts, above an adapter with three, makes twelve requests of one call
in an outage. No code tells that it has such a loop, but its next call does: it is the same request. So a call that has
used up its attempts is remembered by a digest of its request, and the same request is sent once per call from then on,
until one of them is served. A program that polls does no harm in an outage either.

    a call                                             remembered   its attempts
    -------------------------------------------------  -----------  ----------------
    the first one that fails after several attempts    from now on  all of them
    the same request again                             as before    one
    the same request, served                           no more      one

**The same request** has the same method, URL, body and caller. Other headers do not count, as SDKs number their
attempts there. Only a request without a body, or with one in memory, is ever the same.

They are remembered by the adapters that share a store, in this process, where the code above them is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

from polvo_adapters.core.calls import Call
from polvo_adapters.core.identity import strip_signature
from polvo_adapters.core.judgement import was_served
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.call_log import count_attempts
from polvo_adapters.shells.credential_owners import credential_owners

IN_MEMORY = ("none", "replayable")
"""Bodies by which a request may be known again."""

_MOST = 1024
_by_store: WeakKeyDictionary[Any, GivenUpRequests] = WeakKeyDictionary()


class GivenUpRequests:
    """The requests that were given up by the adapters that share a store; without a lock, as single steps suffice."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, None] = {}
        """The digests of these requests."""

    def __contains__(self, digest: bytes) -> bool:
        return digest in self.known

    def note_end(self, call: Call, outcome: Outcome, entries: Sequence[Entry], digest: Callable[[], bytes]) -> None:
        """Remember a request that was given up after several attempts, and forget one that was served again.

        Args:
            call: The call.
            outcome: How it ended.
            entries: Everything that was performed for it.
            digest: Makes the digest of its request.
        """
        if was_served(call, outcome):
            if call.repeated:
                self.known.pop(digest(), None)
        elif not call.repeated and call.body in IN_MEMORY and count_attempts(entries) > 1:
            self.known[digest()] = None
            if len(self.known) > _MOST:
                with suppress(RuntimeError, StopIteration):  # another thread remembers or forgets one right now
                    self.known.pop(next(iter(self.known)), None)


def given_up_requests(store: Any) -> GivenUpRequests:
    """Return the requests that were given up by the adapters that share a store."""
    return _by_store.setdefault(store, GivenUpRequests())


def digest_request(request: Any, url: str, caller: str) -> bytes:
    """Return what stands for a request, of which nothing can be read off.

    Args:
        request: A request of `requests` or httpx, without a body or with one in memory.
        url: Its absolute URL.
        caller: Digest of its caller.
    """
    body = getattr(request, "body", None) if hasattr(request, "body") else request.read()
    found = (request.method, strip_signature(url, credential_owners(request)), caller)
    digest = blake2b(ascii(found).encode(), digest_size=16)
    for part in body if isinstance(body, (list, tuple)) else (body,):
        digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else bytes(part or b""))
    return digest.digest()
