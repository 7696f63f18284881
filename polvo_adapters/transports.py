"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`."""

from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport, PolicyTransport  # isort: skip - says what lacks
from polvo_adapters.shells.httpx.resilient import AsyncResilientTransport, ResilientTransport

__all__ = ["AsyncPolicyTransport", "AsyncResilientTransport", "PolicyTransport", "ResilientTransport"]
