"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`."""

from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport, PolicyTransport

__all__ = ["AsyncPolicyTransport", "PolicyTransport"]
