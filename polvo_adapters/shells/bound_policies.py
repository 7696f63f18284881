"""Policies of an adapter or transport: how a call begins and ends, for every shell.

begin     gives the request its idempotency key and its id, and makes the Call that the policies see
report    makes the report, once the flow has ended
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polvo_adapters.context.call import LogicalCall
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import Body, Call, origin
from polvo_adapters.core.effects import Policy, PolicyTraits, compose
from polvo_adapters.core.http import text_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Report
from polvo_adapters.core.validate import require_members
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.redaction import strip_url
from polvo_adapters.shells import credential_digest, request_identity
from polvo_adapters.shells.given_up import IN_MEMORY, digest_request, given_up_requests
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.request_ids import RequestIDs
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation

_STORE_MEMBERS = ("decide", "defer", "park", "unpark")


class BoundPolicies:
    """The policies of one adapter or transport, and what is prepared once for all its calls.

    Args:
        owner: Name of the adapter or transport, for messages.
        policies: The policies, outermost first.
        store: Where state lives; None for the memory of the owner.
        clock: Time, for the memory of the owner.

    Attributes:
        flow: Function that makes the flow of a call.
        policies: The policies, outermost first.
        store: Where state lives, until the owner is given another store.
        keys: The policy of idempotency keys, or None.
        resumes: Whether bodies that break off are to go on where they broke off.
        retries: Whether a policy retries.

    Raises:
        TypeError: A policy or the store lacks a member that its protocol asks for.
    """

    __slots__ = ("_counts", "_given_up", "_ids", "_keeps", "flow", "keys", "policies", "resumes", "retries", "store")

    def __init__(self, owner: str, policies: Sequence[Policy], store: Store | None, clock: Any) -> None:
        for policy in policies:
            require_members(owner, policy, "a policy", "flow")
        if store is not None:
            require_members(owner, store, "a store", *_STORE_MEMBERS)
        traits: list[tuple[Any, PolicyTraits]] = [(policy, PolicyTraits.of(policy)) for policy in policies]
        self.store: Store = MemoryStore(now=clock.now) if store is None else store
        self.flow = compose(policies)
        self.policies = tuple(policies)
        self.retries = retry_place(policies) is not None
        self.resumes = self.retries and any(each.resumes for _, each in traits)
        self._given_up = given_up_requests(self.store)
        self._counts = any(each.counts_credentials for _, each in traits)
        self._keeps = any(each.keeps_answers for _, each in traits)
        self.keys: IdempotencyKeys | None = next((policy for policy, each in traits if each.makes_keys), None)
        self._ids: RequestIDs | None = next((policy for policy, each in traits if each.makes_request_ids), None)

    def begin(
        self,
        request: Any,
        url: str,
        body: Body,
        now: float,
        certificate: object = None,
        outer: LogicalCall | None = None,
    ) -> Call:
        """Give a request its key and its id, and return its Call.

        Args:
            request: A request of `requests` or httpx, to whose headers the key and the id are added.
            url: Its absolute URL.
            body: Whether its body can be sent again.
            now: The time on the clock of the owner.
            certificate: The client certificate, as `requests` takes it.
            outer: The logical call that the request is part of, on the same clock, or None.

        Raises:
            IdempotencyKeyError: A key cannot be made or sent.
        """
        tenant = current_tenant()
        key, content = request_identity.assign_key(self.keys, request, tenant)
        request_id = "" if self._ids is None else request_identity.assign_request_id(self._ids, request)
        at, deadline = (now, None) if outer is None else outer[1:3]
        return Call(
            request.method or "",
            url,
            body,
            at,
            deadline,
            key != "" and self.keys.supported,  # type: ignore[union-attr]  # without the policy there is no key
            credential_digest.digest(request.headers.items()) if self._counts else "",
            credential_digest.identity(request.headers.items(), certificate) if self._keeps else "",
            tenant=tenant,
            key=key,
            content=content,
            secret_parameters=credential_digest.credential_parameters(request) if content else frozenset(),
            request_id=request_id,
            repeated=bool(self._given_up) and body in IN_MEMORY and digest_request(request, url) in self._given_up,
        )

    def report(self, call: Call, request: Any, outcome: Outcome, entries: Sequence[Entry], seconds: float) -> Report:
        """Return the report on a call that has ended, and mark its request as complete.

        Args:
            call: What `begin` returned.
            request: The request that it was given.
            outcome: How the flow ended.
            entries: Everything that the driver performed.
            seconds: How long it took.
        """
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas, seconds)
        keys, ids = self.keys, self._ids
        if ids is not None:
            report.request_id = text_of(request.headers.get(ids.header) or "")  # an inner adapter may have removed it
        if outcome.error is None and (keys is not None or ids is not None):
            report.replayed = keys is not None and call.key != "" and keys.is_replayed(outcome.headers)
            request_identity.mark_complete(request, outcome.status)
        if outcome.failure is not None or outcome.status >= 429 or call.repeated:
            self._given_up.note_end(call, outcome, entries, lambda: digest_request(request, call.url))
        return report


class PolicyControls:
    """What adapters and transports offer to look at the state of their policies and to control it manually."""

    policies: tuple[Policy, ...]
    store: Any

    def circuit(self, url: str) -> Circuit:
        """Return the circuit that a URL belongs to, to look at it or to control it manually.

        Args:
            url: An absolute URL; its origin and the current tenant select the circuit, unless the policy has a key.

        Raises:
            ConfigurationError: There is no circuit breaker among the policies.
        """
        from polvo_adapters.policies.breaker.policy import CircuitBreaker
        from polvo_adapters.shells.circuit_control import Circuit

        for policy in self.policies:
            for gate in PolicyTraits.of(policy).gates or (policy,):
                if isinstance(gate, CircuitBreaker):
                    return Circuit(self.store, gate, gate.name(Call("GET", url, tenant=current_tenant())))
        raise ConfigurationError(f"there is no circuit breaker for {strip_url(url)}; mount one, or ask for another URL")

    def operation(self, url: str, key: str) -> Operation:
        """Return the operation of an idempotency key, to look at it or to resolve a doubt.

        Args:
            url: An absolute URL; the key belongs to its origin, and to the current tenant.
            key: The key.

        Raises:
            ConfigurationError: There is no record of keys among the policies.
        """
        from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
        from polvo_adapters.policies.idempotency.record import Record
        from polvo_adapters.shells.operation_control import Operation

        for policy in self.policies:
            if isinstance(policy, IdempotencyKeys) and isinstance(policy.record, Record):
                return Operation(self.store, policy.record, policy.store_key(origin(url), current_tenant(), key))
        raise ConfigurationError(
            f"there is no record of idempotency keys for {origin(url)}; use idempotency={{'record': True}}, or ask for "
            "another URL"
        )
