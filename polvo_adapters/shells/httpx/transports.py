"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`.

    client = httpx.AsyncClient(transport=AsyncPolicyTransport(Deadline(10), ExponentialBackoff()))

A transport does not know whether the client will stream the body. It reads the body as part of the attempt, so
that one that breaks off is retried; for streams, and for all that never ends, say `stream=True`.

The report of a call is in `response.extensions["polvo"]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    raise ImportError("polvo_adapters.transports needs httpx: python -m pip install 'polvo_adapters[httpx]'") from error

from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, compose
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Report
from polvo_adapters.drivers import aio, sync
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells import credential_digest, request_identity
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.httpx.exchange import AsyncExchange, SyncExchange, body_of, given_up, synthesize_response
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
    from polvo_adapters.policies.request_ids import RequestIDs
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation


class _Policies:
    """What both transports share: settings, and how a call begins and ends."""

    def __init__(self, policies: tuple[Policy, ...], store: Store | None, clock: Any, *, stream: bool) -> None:
        self.policies = policies
        self.store = MemoryStore(now=clock.now) if store is None else store
        self.clock = clock
        self.stream = stream
        self._flow = compose(policies)
        self._counts = any(getattr(policy, "counts_credentials", False) for policy in policies)
        self._keeps = any(getattr(policy, "keeps_answers", False) for policy in policies)
        self._keys: IdempotencyKeys | None = _having(policies, "makes_keys")
        self._ids: RequestIDs | None = _having(policies, "makes_request_ids")

    def circuit(self, url: str) -> Circuit:
        """Return the circuit that a URL belongs to; see `PolicyAdapter.circuit`."""
        from polvo_adapters.shells.circuit_control import find

        return find(self.policies, self.store, url)

    def operation(self, url: str, key: str) -> Operation:
        """Return what is known of an idempotency key; see `PolicyAdapter.operation`."""
        from polvo_adapters.shells.operation_control import find

        return find(self.policies, self.store, url, key)

    def _call(self, request: httpx.Request) -> Call:
        tenant = current_tenant()
        key, content = request_identity.assign_key(self._keys, request, tenant)
        if self._ids is not None:
            request_identity.assign_request_id(self._ids, request)
        headers = request.headers.items()
        return Call(
            request.method,
            str(request.url),
            body_of(request),
            self.clock.now(),
            credential=credential_digest.digest(headers) if self._counts else "",
            identity=credential_digest.identity(headers) if self._keeps else "",
            tenant=tenant,
            key=key,
            content=content,
        )

    def _end(self, call: Call, request: httpx.Request, outcome: Outcome, entries: list[Entry]) -> httpx.Response:
        elapsed = self.clock.now() - call.started
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas, elapsed)
        if self._ids is not None:
            report.request_id = request.headers[self._ids.header]
        if outcome.error is not None:
            try:
                raise attach_report(outcome.error, report)
            finally:
                del outcome
        response: httpx.Response | None = outcome.response
        if response is None or given_up(response):
            response = synthesize_response(outcome, request)
        if self._keys is not None or self._ids is not None:
            report.replayed = self._keys is not None and call.key != "" and self._keys.replayed(outcome.headers)
            request_identity.mark_complete(request, outcome.status)
        response.extensions["polvo"] = report
        return response


def _having(policies: tuple[Policy, ...], attribute: str) -> Any:
    return next((policy for policy in policies if getattr(policy, attribute, False)), None)


class PolicyTransport(_Policies, httpx.BaseTransport):
    """Send the requests of an `httpx.Client` as policies say.

    Args:
        *policies: The policies, outermost first.
        inner: The transport to send through; by default an `httpx.HTTPTransport`.
        store: Where state lives that outlives a call; share it with adapters to share the state.
        clock: Time and chance; tests pass a virtual clock.
        stream: Hand responses over before their body is read.
        **http_transport_keywords: Those of `httpx.HTTPTransport`, without `inner`.
    """

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.BaseTransport | None = None,
        store: Store | None = None,
        clock: Clock = SYSTEM,
        stream: bool = False,
        **http_transport_keywords: Any,
    ) -> None:
        super().__init__(policies, store, clock, stream=stream)
        self.inner = httpx.HTTPTransport(**http_transport_keywords) if inner is None else inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.BaseTransport`."""
        call, entries = self._call(request), list[Entry]()
        exchange = SyncExchange(self.inner, request, self.clock, stream=self.stream)
        outcome = sync.drive(self._flow(call), exchange, self.store, self.clock, entries)
        if outcome.error is not None or not exchange.owns(outcome):
            exchange.close()
        try:
            return self._end(call, request, outcome, entries)
        finally:
            del outcome  # or an error, its traceback and this frame would keep each other alive

    def close(self) -> None:
        """Close the transport below."""
        self.inner.close()


class AsyncPolicyTransport(_Policies, httpx.AsyncBaseTransport):
    """Send the requests of an `httpx.AsyncClient` as policies say; arguments as for PolicyTransport."""

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.AsyncBaseTransport | None = None,
        store: Store | None = None,
        clock: aio.AsyncClock = aio.ASYNC_SYSTEM,
        stream: bool = False,
        **http_transport_keywords: Any,
    ) -> None:
        super().__init__(policies, store, clock, stream=stream)
        self.inner = httpx.AsyncHTTPTransport(**http_transport_keywords) if inner is None else inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        call, entries = self._call(request), list[Entry]()
        exchange = AsyncExchange(self.inner, request, self.clock, stream=self.stream)
        outcome = await aio.drive(self._flow(call), exchange, self.store, self.clock, entries)
        if outcome.error is not None or not exchange.owns(outcome):
            await exchange.discard()
        try:
            return self._end(call, request, outcome, entries)
        finally:
            del outcome  # or an error, its traceback and this frame would keep each other alive

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()
