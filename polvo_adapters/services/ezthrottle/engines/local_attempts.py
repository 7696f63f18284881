"""The attempts of a job of the local engine: a session of this library for each way of making them.

    field of the job                      policy
    ------------------------------------  ---------------------------------------------------------------------------
    retry_policy.max_retries, retry_codes  ExponentialBackoff, in the same region
    regions, execution_mode               Regions: "race" and "fanout"; one after the other for a method that is unsafe
    region_policy, max_reroutes,          Regions in mode "fallback"
    reroute_codes
    idempotent_key                        IdempotencyKeys with a Record in the store: an attempt is written down before
                                          it leaves, and never made again without its key
    on_failure_timeout_ms, timeout_ms     deadline

A code that `retry_policy` names is repeated for a POST as well, since the caller has said so and the server has
answered. A lost answer is not, unless the server honours keys.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.http import SAFE_METHODS
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.idempotency import IdempotencyKeys, Record
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import make_policy
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.local_call import CallEnd, is_idempotent, make_call
from polvo_adapters.shells.requests.session import Session
from polvo_adapters.stores.base import Store

_MOST_SESSIONS = 64
_BEFORE_SENDING = ("no connection", "connect timeout")
_REROUTE_CODES = (500, 502, 503, 504)
_LEASE = 1.0
"""Seconds after which a request counts as abandoned: only the process that holds the directory has any under way."""
_MOST_BODY = 4 << 20


class Plan(NamedTuple):
    """How the attempts of a job are made: jobs with equal plans share a session.

    Attributes:
        serves: Origin of the URLs; empty where there are no regions.
        urls: Base URLs of the regions.
        mode: Mode of the regions.
        region_policy: Their policy, in mode "fallback".
        max_reroutes: How many other regions are tried at most, in mode "fallback"; None for all.
        reroute_codes: Statuses that send the call on.
        max_retries: How often it is repeated in a region at most; None for the default.
        retry_codes: Statuses that are repeated; None for the default.
        unsafe: Whether the method is one of those that must not be repeated after a lost answer.
        named: Whether the caller has named the statuses that send the call on.
    """

    serves: str
    urls: tuple[str, ...]
    mode: str
    region_policy: str
    max_reroutes: int | None
    reroute_codes: tuple[int, ...]
    max_retries: int | None
    retry_codes: tuple[int, ...] | None
    unsafe: bool
    named: bool = False


class Attempts:
    """Makes the attempts of jobs.

    Args:
        regions: Base URLs of regions by name.
        store: Where circuits, quotas and the records of keys live.
        clock: Time and chance.
        honours_keys: Whether the servers honour keys.
        key_header: Name of the header with the key.
        keep: Seconds for which a finished operation is known.
        session: Other keywords of the sessions.
    """

    def __init__(
        self,
        regions: Mapping[str, str],
        store: Store,
        clock: Clock,
        *,
        honours_keys: bool,
        key_header: str,
        keep: float,
        session: Mapping[str, Any],
    ) -> None:
        self._regions = {name: checks.check_url("regions", url).rstrip("/") for name, url in regions.items()}
        self._store, self._clock, options = store, clock, dict(session)
        retry = make_policy("retry", options.pop("retry", True)) or ExponentialBackoff(max_attempts=1)
        self._retry = retry if isinstance(retry, ExponentialBackoff) else None
        if self._retry is None:
            options["retry"] = retry
        self._options = options
        self._honours_keys, self.key_header = honours_keys, key_header
        record = Record(ttl=keep, lease=_LEASE, max_body=_MOST_BODY)
        self._keys = IdempotencyKeys(header=key_header, supported=honours_keys, record=record)
        self._sessions: OrderedDict[Plan, Session] = OrderedDict()
        self._lock = threading.Lock()
        forks.register(self)
        self._find_session(Plan("", (), "", "", None, (), None, None, True))  # a keyword that cannot work is told now

    def check(self, job: Mapping[str, Any]) -> None:
        """Raise ArgumentError where a job, or one that is chained to it, names a region that is none."""
        self._make_plan(job)
        for name in ("fallback_job", "on_success", "on_failure"):
            if name in job:
                self.check(job[name])

    def attempt(self, job: Mapping[str, Any], key: str, seconds: float | None, *, forget: bool = False) -> CallEnd:
        """Make the call of a job, with all its retries and regions, and return how it ended.

        Args:
            job: The job.
            key: Key of the operation.
            seconds: Seconds that it may take, or None.
            forget: Whether it was found out that an earlier request was not processed, whatever the record says.
        """
        session = self._find_session(self._make_plan(job))
        keywords: dict[str, Any] = {} if seconds is None else {"deadline": seconds}
        fields = dict(job.get("headers", {}))
        given = next((value for name, value in fields.items() if name.lower() == self.key_header.lower()), None)
        sent = given or encode_key(key)
        if given is None and not is_idempotent(job["method"]):
            fields[self.key_header] = sent
        end = make_call(session, job, headers=fields, **keywords)
        if end.caller is None:
            return end
        operation = session.operation(job["url"], sent, caller=end.caller)
        if forget and end.in_doubt:
            operation.forget()
            return make_call(session, job, headers=fields, **keywords)
        if operation.state == "done":  # by a process that was killed; its response was too long to keep
            return CallEnd(200, url=job["url"])
        return end

    def _make_plan(self, job: Mapping[str, Any]) -> Plan:
        policy = job.get("retry_policy", {})
        unsafe = not is_idempotent(job["method"]) and not self._honours_keys
        retry_codes = tuple(policy["retry_codes"]) if "retry_codes" in policy else None
        retries = (policy.get("max_retries"), retry_codes, unsafe)
        own = origin(job["url"])
        urls = self._resolve(job, own)
        if own.startswith("https://") and urls and not any(url.lower().startswith("https://") for url in urls):
            raise checks.refuse("regions", "the call is to https://, and none of their base URLs is")
        if not urls or urls == (own,):
            return Plan("", (), "", "", None, (), *retries)
        codes = tuple(policy.get("reroute_codes", (c for c in _REROUTE_CODES if c not in (retry_codes or ()))))
        mode, region_policy, reroutes = job.get("execution_mode", "race"), "fallback", None
        if mode == "race" and job["method"] not in SAFE_METHODS:
            mode, region_policy = "fallback", job.get("region_policy", "fallback")
            reroutes = policy.get("max_reroutes")
            if region_policy == "fallback":
                urls = tuple(dict.fromkeys((*urls, *self._regions.values())))
        return Plan(own, urls, mode, region_policy, reroutes, codes, *retries, "reroute_codes" in policy)

    def _resolve(self, job: Mapping[str, Any], own: str) -> tuple[str, ...]:
        """Return the base URLs of a job's regions: a name that the engine does not know is where the URL leads."""
        urls = []
        for name in job.get("regions", ()):
            url = self._regions.get(name) or (name.rstrip("/") if "://" in name else None)
            if url is None and job.get("region_policy") == "strict":
                raise checks.refuse("regions", f"{name!r} has no base URL; name it in LocalEngine(regions=...)")
            urls.append(own if url is None else url)
        return tuple(dict.fromkeys(urls))

    def _find_session(self, plan: Plan) -> Session:
        with self._lock:
            session = self._sessions.get(plan)
            if session is None:
                session = self._sessions[plan] = self._make_session(plan)
                if len(self._sessions) > _MOST_SESSIONS:
                    self._sessions.popitem(last=False)  # its connections are closed with it
            self._sessions.move_to_end(plan)
            return session

    def _make_session(self, plan: Plan) -> Session:
        options = dict(self._options)
        if self._retry is not None:
            options["retry"] = _make_retry(plan, self._retry)
        if plan.urls:
            options["regions"] = _make_regions(plan)
        return Session(**options, idempotency=self._keys, store=self._store, clock=self._clock)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for session in self._sessions.values():
                session.close()

    def after_fork_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()


def encode_key(key: str) -> str:
    """Return a key as a header can carry it: as it is, or a digest of it."""
    if key.isascii() and key.isprintable() and " " not in key:
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _make_retry(plan: Plan, default: ExponentialBackoff) -> ExponentialBackoff:
    """Return the retries of a job: those of the engine, with what the job says in their place."""
    attempts = default.max_attempts if plan.max_retries is None else plan.max_retries + 1
    if plan.retry_codes is None:
        retry_on = frozenset(default.retry_on) - set(plan.reroute_codes)
        again = frozenset(default.retry_after_on) - set(plan.reroute_codes)
        return replace(default, max_attempts=attempts, retry_on=retry_on, retry_after_on=again)
    codes = frozenset(plan.retry_codes)
    again = frozenset(default.retry_after_on) & codes
    named = replace(default, max_attempts=attempts, retry_on=codes, retry_after_on=again)
    return replace(named, methods=None, exceptions=_BEFORE_SENDING) if plan.unsafe else named


def _make_regions(plan: Plan) -> Regions:
    keywords: dict[str, Any] = {"reroute_codes": plan.reroute_codes, "serves": plan.serves}
    if plan.mode == "fallback":
        keywords.update(region_policy=plan.region_policy, max_reroutes=plan.max_reroutes)
    if plan.mode == "fanout":
        keywords["methods"] = None  # the caller wants the work done in each of them
    kind = NamedReroutes if plan.named else Regions
    return kind(plan.urls, mode=plan.mode, **keywords)  # type: ignore[arg-type]


class NamedReroutes(Regions):
    """Regions whose `reroute_codes` the caller has named, so that they send a POST on as well."""

    def _find_final(self, call: Call, outcome: Outcome, last: bool) -> Outcome | None:
        if outcome.failure is None and outcome.status in self.reroute_codes:
            return None
        return super()._find_final(call, outcome, last)
