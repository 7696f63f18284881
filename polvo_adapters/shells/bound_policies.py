"""Policies of an adapter or transport: how a call begins and ends, for every shell.

for_call  returns the policies for what is said for one call, and what is said to adapters below
begin     gives the request its idempotency key and its id, and makes the Call that the policies see
report    makes the report, once the flow has ended
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polvo_adapters.context.call import LogicalCall
from polvo_adapters.context.tenant import current_tenant, tenant_blocks
from polvo_adapters.core.calls import Body, Call, find_place, origin
from polvo_adapters.core.effects import Policy, PolicyTraits, compose
from polvo_adapters.core.http import text_of
from polvo_adapters.core.identity import (
    PLAIN_SENDER,
    Credential,
    Sender,
    digest_caller,
    digest_each,
    digest_selectors,
    list_selectors,
)
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Report
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.core.validate import require_members
from polvo_adapters.core.verdict import SERVED
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.one_call import CallSettings, adapt
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.redaction import strip_url
from polvo_adapters.shells import request_identity
from polvo_adapters.shells.credential_owners import credential_owners, credential_parameters
from polvo_adapters.shells.given_up import IN_MEMORY, digest_request, given_up_requests
from polvo_adapters.shells.request_marks import NO_MARKS, read_marks
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.request_ids import RequestIDs
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation

_MOST_ADAPTED = 64
_NO_PARAMETERS: frozenset[str] = frozenset()
_STORE_MEMBERS = ("decide", "defer", "park", "unpark")


class BoundPolicies:
    """The policies of one adapter or transport, and what is prepared once for all its calls.

    Args:
        owner: Name of the adapter or transport, for messages.
        policies: The policies, outermost first.
        store: Where state lives; None for the memory of the owner.
        clock: Time, for the memory of the owner.
        asks: Whether the owner sends by urllib3.
        credential: Where the API takes its credential, see `polvo_adapters.core.identity.Credential.of`.

    Attributes:
        policies: The policies.
        identifies: Whether a policy needs to know who makes a request.
        reroutes: Whether calls go to regions, unless a redirect has led them to another host.
        flow: Function that makes the flow of a call.
        store: Where state lives, until the owner is given another store.
        keys: The policy of idempotency keys, or None.
        resumes: Whether bodies that break off are to go on where they broke off.
        races: Whether attempts may be raced.

    Raises:
        TypeError: A policy or the store lacks a member that its protocol asks for.
    """

    __slots__ = (
        "_adapted",
        "_asks",
        "_counts",
        "_credential",
        "_given_up",
        "_harmless",
        "_ids",
        "_judges",
        "_keeps",
        "_listeners",
        "_owner",
        "_usual",
        "flow",
        "identifies",
        "keys",
        "policies",
        "races",
        "reroutes",
        "resumes",
        "store",
    )

    def __init__(
        self,
        owner: str,
        policies: Sequence[Policy],
        store: Store | None,
        clock: Any,
        credential: str | Sequence[str] | Credential | None = None,
        *,
        asks: bool = False,
    ) -> None:
        for policy in policies:
            require_members(owner, policy, "a policy", "flow")
        if store is not None:
            _require_store(owner, store)
        traits: list[tuple[Any, PolicyTraits]] = [(policy, PolicyTraits.of(policy)) for policy in policies]
        self._owner, self.policies, self._asks = owner, policies, asks
        self._adapted: dict[Any, BoundPolicies] = {}
        self.store: Store = MemoryStore(now=clock.now) if store is None else store
        self.flow = compose(policies)
        self.resumes = retry_place(policies) is not None and any(each.resumes for _, each in traits)
        self.races = any(each.races for _, each in traits)
        self._given_up = given_up_requests(self.store)
        self._counts = any(each.counts_credentials for _, each in traits)
        self._keeps = any(each.keeps_answers for _, each in traits)
        self._listeners = tuple(listener for _, each in traits for listener in each.call_listeners)
        self._judges = tuple(judge for _, each in traits for judge in each.judges)
        self.keys: IdempotencyKeys | None = next((policy for policy, each in traits if each.makes_keys), None)
        self._ids: RequestIDs | None = next((policy for policy, each in traits if each.makes_request_ids), None)
        ids = () if self._ids is None else (self._ids.header.lower(), self._ids.correlation_header.lower())
        self._credential = credential if isinstance(credential, Credential) else Credential.of(credential)
        self._harmless = frozenset(ids).union(*(each.harmless_headers for _, each in traits))
        self.identifies = self._counts or self._keeps
        # The fields of most calls from `idempotent` to `patient`, so that they are worked out once.
        is_usual = self.keys is None and self._ids is None and not (self.identifies or asks)
        self._usual = Call("", "", listeners=self._listeners, judges=self._judges)[5:25] if is_usual else None
        self.reroutes = any(each.stack_option == "regions" for _, each in traits)

    def for_call(
        self, settings: CallSettings, inner: object = None
    ) -> tuple[BoundPolicies, CallSettings, CallSettings | None]:
        """Return the policies for what is said for one call, and what is said here and to adapters below.

        Args:
            settings: What is said.
            inner: The adapter or transport below, which may have policies as well.
        """
        below = options_of_all(inner) - _options_of(self.policies)
        here, handed = settings.split(below)
        return self._adapt_or_recall(here), here, handed

    def _adapt_or_recall(self, settings: CallSettings) -> BoundPolicies:
        said = settings.policies
        if not said:
            return self
        try:
            known = self._adapted.get(said)
        except TypeError:  # a policy of the user's own that has no hash
            return self._adapt(settings)
        if known is None:
            known = self._adapt(settings)
            if len(self._adapted) >= _MOST_ADAPTED:
                self._adapted.clear()
            self._adapted[said] = known
        return known

    def _adapt(self, settings: CallSettings) -> BoundPolicies:
        return self.with_policies(adapt(self.policies, settings))

    def with_policies(self, policies: Sequence[Policy]) -> BoundPolicies:
        """Return other policies of the same owner."""
        return BoundPolicies(self._owner, policies, self.store, None, self._credential, asks=self._asks)

    def begin(
        self,
        request: Any,
        url: str,
        body: Body,
        now: float,
        sender: Sender = PLAIN_SENDER,
        outer: LogicalCall | None = None,
        settings: CallSettings | None = None,
        *,
        rerouted: bool = False,
        place: tuple[str, str, str] | None = None,
    ) -> Call:
        """Give a request its key and its id, and return its Call.

        Args:
            request: A request of `requests` or httpx, to whose headers the key and the id are added.
            url: Its absolute URL.
            body: Whether its body can be sent again.
            now: The time on the clock of the owner.
            sender: What of the request is not in it; only looked at where `identifies`.
            outer: The logical call that the request is part of, on the same clock, or None.
            settings: What is said for this call, or None.
            rerouted: Whether a redirect has led to it from another origin.
            place: The URL with its origin and host, see `Call.place`, where they are known.

        Raises:
            IdempotencyKeyError: A key cannot be made or sent.
            ConfigurationError: A key was said, and there is no policy of keys.
        """
        marks, given_up, usual, parameters = read_marks(request), self._given_up.known, self._usual, _NO_PARAMETERS
        tenant, key, content = current_tenant() if tenant_blocks.get() else "", "", ""
        has_more = given_up or tenant or rerouted
        if usual and place and settings is None and outer is None and marks is NO_MARKS and not has_more:
            return new_tuple(Call, (request.method or "", url, body, now, None, *usual, place))
        if settings is not None and settings.operation is not None:
            request_identity.assign_operation_key(self.keys, settings.operation, request)
        if self.keys is not None:
            key, content = request_identity.assign_key(self.keys, request, tenant)
        request_id = "" if self._ids is None else request_identity.assign_request_id(self._ids, request)
        at, deadline = (now, None) if outer is None else outer[1:3]
        if "?" in url and (self._asks or marks is not NO_MARKS):
            parameters = credential_parameters(request)
        caller = answer = selectors = ""
        if self.identifies:
            caller, answer, selectors = self._identify(request, url, sender, key if content else "")
        call = new_tuple(
            Call,
            (
                request.method or "",
                url,
                body,
                at,
                deadline,
                key != "" and self.keys.supported,  # type: ignore[union-attr]  # without the policy there is no key
                caller,
                answer,
                1,  # attempt
                False,  # anonymous
                "",  # stored_token
                tenant,
                key,
                content,
                parameters,
                request_id,
                selectors,
                self._asks,
                bool(given_up) and body in IN_MEMORY and self._digest(request, url, caller) in given_up,
                False,  # unsafe
                (),  # labels
                self._listeners,
                rerouted,
                (*marks.judges, *self._judges) if marks.judges else self._judges,
                outer is not None and outer.is_default,  # patient
                find_place(url) if place is None and self.policies else place,  # or else only the report asks for it
            ),
        )
        return call if settings is None else self._describe(call, settings)

    def _describe(self, call: Call, settings: CallSettings) -> Call:
        """Return the call with what is said of it."""
        unsafe = settings.idempotent is False
        return call._replace(
            idempotent=(call.idempotent or settings.idempotent is True) and not unsafe,
            unsafe=unsafe,
            labels=settings.labels,
            listeners=(*self._listeners, *settings.listeners),
        )

    def _identify(self, request: Any, url: str, sender: Sender, key: str) -> tuple[str, str, str]:
        """Return digests of the caller, of all that may select the answer, and of each of that where there is a key."""
        owners = credential_owners(request)
        items = request.headers.items()
        caller = digest_caller(items, url, sender.certificate, owners, self._credential)
        if not self._keeps:
            return caller, "", ""
        found = list_selectors(items, url, caller, sender, owners, self._harmless)
        return caller, digest_selectors(found), digest_each(found, key) if key else ""

    def _digest(self, request: Any, url: str, caller: str) -> bytes:
        """Return what stands for a request among those that were given up."""
        return digest_request(request, url, caller or self.find_caller(request, url))

    def find_caller(self, request: Any, url: str, certificate: object = None) -> str:
        """Return the digest of the caller of a request, as `Call.credential` has it."""
        return digest_caller(request.headers.items(), url, certificate, credential_owners(request), self._credential)

    def report(self, call: Call, request: Any, outcome: Outcome, entries: Sequence[Entry], seconds: float) -> Report:
        """Return the report on a call that has ended, and mark its request as complete.

        Args:
            call: What `begin` returned.
            request: The request that it was given.
            outcome: How the flow ended.
            entries: Everything that the driver performed.
            seconds: How long it took.
        """
        _, status, headers, error, failure, _, _, _, note, _, _, _, _, _, quotas, judged = (
            outcome  # faster than by name
        )
        report = Report(call.method, call.host, entries, note, quotas, seconds)
        if call.labels:
            report.labels = call.labels
        refused = False
        if judged and judged[0] is not SERVED:
            report.verdict = verdict = judged[0]
            refused = verdict.is_refusal
        keys, ids = self.keys, self._ids
        if ids is not None:
            report.request_id = text_of(request.headers.get(ids.header) or "")  # an inner adapter may have removed it
        if (keys is not None or ids is not None) and error is None:
            report.replayed = keys is not None and call.key != "" and keys.is_replayed(headers)
            request_identity.mark_complete(request, status, verdict_of(call, outcome))
        del error  # see errors.py, "Errors and frames"
        if failure is not None or status >= 500 or call.repeated or refused:
            self._given_up.note_end(call, outcome, entries, lambda: self._digest(request, call.url, call.credential))
        return report


def _require_store(owner: str, store: Any) -> None:
    if isinstance(store, (str, os.PathLike)):  # of which nothing is shown: it may hold a password
        text = os.fspath(store)
        advice = "there is none for servers" if "://" in text else "for a file it is SQLiteStore(path)"
        raise TypeError(f"{owner}: store must be a store, MemoryStore() or SQLiteStore(path), and not text; {advice}")
    require_members(owner, store, "a store", *_STORE_MEMBERS)


def _options_of(policies: Sequence[Policy]) -> frozenset[str]:
    """Return the keywords of the standard stack that policies stand for."""
    return frozenset(PolicyTraits.of(policy).stack_option for policy in policies)


def options_of_all(adapter: object) -> frozenset[str]:
    """Return the keywords of the policies of an adapter or transport and of those below, as far as they are ours."""
    options: frozenset[str] = frozenset()
    while isinstance(adapter, PolicyControls):
        options |= _options_of(adapter.policies)
        adapter = getattr(adapter, "inner", None)
    return options


class PolicyControls:
    """What adapters and transports offer to look at the state of their policies and to control it manually."""

    policies: tuple[Policy, ...]
    store: Any
    _bound: BoundPolicies

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

    def operation(
        self, url: str, key: str, *, caller: str | None = None, request: Any = None, certificate: object = None
    ) -> Operation:
        """Return the operation of an idempotency key, to look at it or to resolve a doubt.

        Args:
            url: An absolute URL; the key belongs to its origin, and to the current tenant.
            key: The key.
            caller: The caller that the key belongs to, as `caller` of an IdempotencyError says it; by default the one
                who would make the request.
            request: A prepared request with the credential of the caller; without one, and without `caller`, it is
                one without a credential.
            certificate: The client certificate of that request, as `requests` takes it.

        Raises:
            ConfigurationError: There is no record of keys among the policies.
        """
        from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
        from polvo_adapters.policies.idempotency.record import Record
        from polvo_adapters.shells.operation_control import Operation

        for policy in self.policies:
            if isinstance(policy, IdempotencyKeys) and isinstance(policy.record, Record):
                if caller is None:
                    caller = (
                        ""
                        if request is None
                        else self._bound.find_caller(request, str(request.url or url), certificate)
                    )
                place = policy.store_key(origin(url), current_tenant(), key, caller)
                return Operation(self.store, policy.record, place)
        raise ConfigurationError(
            f"there is no record of idempotency keys for {origin(url)}; use idempotency={{'record': True}}, or ask for "
            "another URL"
        )
