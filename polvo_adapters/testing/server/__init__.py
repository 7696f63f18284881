"""The failure server: a web server on loopback that fails on request; `python -m polvo_adapters.testing.server`.

failure_server       FailureServer: accepts connections, and serves them on a thread of its own
listening            the loopback addresses that it listens on
connection           one connection: requests in, replies out, and every way to close it
http_messages        reading and writing HTTP/1.x
routes               which endpoint serves which path; /echo, /quota and /counters
message_endpoints    /msg, /fail/* and /health
oauth_endpoints      a small authorization server; issued_tokens has the tokens that it issued
login_endpoints      its pages for users; pending_logins has the logins that were begun
faults               resets, drips, truncated bodies and other things that go wrong
journal, state       the requests that were received, and what the server remembers

Each name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from polvo_adapters.testing.server.failure_server import FailureServer, main
    from polvo_adapters.testing.server.journal import RequestRecord

__all__ = ["FailureServer", "RequestRecord", "main"]

_HOMES = {
    **dict.fromkeys(("FailureServer", "main"), "polvo_adapters.testing.server.failure_server"),
    "RequestRecord": "polvo_adapters.testing.server.journal",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
