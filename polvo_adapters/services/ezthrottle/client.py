"""The client: an engine for jobs, and a session for the calls that are made in this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from polvo_adapters.errors import DeadlineExceeded, StatusError
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import make_policy
from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.engine import Engine
from polvo_adapters.services.ezthrottle.engines.hosted import EZTHROTTLE_URL, TRACKTAGS_URL, HostedEngine
from polvo_adapters.services.ezthrottle.errors import EZThrottleError, InDoubtError, UnsupportedError
from polvo_adapters.services.ezthrottle.frugal import FrugalRun
from polvo_adapters.services.ezthrottle.jobs import make_job
from polvo_adapters.services.ezthrottle.results import JobResult
from polvo_adapters.services.ezthrottle.step import Job, Step, StepType
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.requests.session import Session

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

SHORTEST_SECRET = 16
_ENGINE_METHODS = ("submit", "status", "wait", "cancel", "close", "attempt_headers")
_WEBHOOK_SERVER = frozenset({"webhook_server", "start_webhook_server", "webhook_port"})
"""Arguments of the published client for a server that verified nothing."""
_KEYWORDS = ("api_key", "tracktags_url", "ezthrottle_url", "engine", "timeout", "retries", "deadline", "clock")
_ENGINE_ATTRIBUTES = ("knows_status", "repeats_safely")
_UNREACHED = frozenset({"no connection", "connect timeout"})


@partial(fix_options, maker="EZThrottle", more=_KEYWORDS, changeable=("engine",))
@unpicklable
class EZThrottle:
    """A client for any number of threads.

    Args:
        api_key: The API key of the hosted service; by default `EZTHROTTLE_API_KEY`. Not needed with another engine.
        tracktags_url: Address of the proxy of the hosted service.
        ezthrottle_url: Address of the hosted service behind the proxy.
        engine: Executes the jobs; by default the hosted service.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte.
        retries: How often a request to the hosted service is sent again at most.
        deadline: Seconds for a whole submission; by default `timeout` for each attempt.
        clock: Time and chance; tests pass a virtual clock.
        **session: Keywords of `polvo_adapters.Session` for the calls that this process makes itself, such as
            `rate_limit`, `circuit_breaker` or `retry`.

    Raises:
        ArgumentError: There is no API key, or a value cannot work.
        TypeError: There is no such keyword.
    """

    def __init__(
        self,
        api_key: str | None = None,
        tracktags_url: str = TRACKTAGS_URL,
        ezthrottle_url: str = EZTHROTTLE_URL,
        *,
        engine: Engine | None = None,
        timeout: float = 30,
        retries: int = 2,
        deadline: float | None = None,
        clock: Clock = SYSTEM,
        **session: Any,
    ) -> None:
        for name in _WEBHOOK_SERVER & session.keys():
            raise checks.refuse(name, "there is no built-in webhook server; see WebhookReceiver for one of your own")
        checks.check_session_options(session, "EZThrottle", _KEYWORDS)
        self._hosted: HostedEngine | None = None
        if engine is None:
            key = os.environ.get("EZTHROTTLE_API_KEY") if api_key is None else api_key
            self._hosted = engine = HostedEngine(
                checks.check_api_key(key),
                tracktags_url,
                ezthrottle_url,
                timeout=timeout,
                retries=retries,
                deadline=deadline,
                clock=clock,
            )
        missing = [name for name in _ENGINE_METHODS if not callable(getattr(engine, name, None))]
        missing += [name for name in _ENGINE_ATTRIBUTES if not isinstance(getattr(engine, name, None), bool)]
        if missing:
            kind = type(engine).__name__
            raise checks.refuse("engine", f"it must be an engine, such as LocalEngine(...); {kind} has no {missing[0]}")
        self.engine: Engine = engine
        retry = make_policy("retry", session.get("retry", True))
        self._retry = retry
        self.session = Session(**{"timeout": timeout, "clock": clock, **session})

    # ---- Steps

    def execute_step(self, step: Step) -> JobResult:
        """Execute a step; see `Step.execute`."""
        if step._type is StepType.FRUGAL:
            return FrugalRun(self, step).execute()
        return self._submit(step.to_job())

    def _submit(self, job: Job) -> JobResult:
        return JobResult(self.engine.submit(job), self.engine)

    def make_retry(self, forwarded: Collection[int]) -> Any:
        """Return the retries of a call made here: none on a status that is forwarded, as the engine has its own."""
        if not isinstance(self._retry, ExponentialBackoff):
            return self._retry is not None
        retry_on = frozenset(self._retry.retry_on) - frozenset(forwarded)
        retry_after_on = frozenset(self._retry.retry_after_on) - frozenset(forwarded)
        return replace(self._retry, retry_on=retry_on, retry_after_on=retry_after_on)

    def find_job(self, job_id: str) -> JobResult:
        """Return what has become of a job, given the id that an earlier result had, also in another process.

        Args:
            job_id: The id.

        Raises:
            UnknownJobError: The engine has no such job, or has it no more.
            UnsupportedError: The engine does not know the results of jobs.
        """
        return JobResult(self.engine.status(job_id), self.engine)

    # ---- Calls without a step

    def submit_job(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhooks: Iterable[Mapping[str, Any]] | None = None,
        webhook_quorum: int = 1,
        regions: Iterable[str] | None = None,
        region_policy: str = "fallback",
        execution_mode: str = "race",
        retry_policy: Mapping[str, Any] | None = None,
        fallback_job: Mapping[str, Any] | None = None,
        on_success: Mapping[str, Any] | None = None,
        on_failure: Mapping[str, Any] | None = None,
        on_failure_timeout_ms: int | None = None,
        idempotent_key: str | None = None,
        retry_at: int | None = None,
    ) -> JobResult:
        """Submit a job, and return its result; the arguments are the fields of the job, see `Step`.

        Raises:
            ArgumentError: A field cannot work; nothing was sent.
            EZThrottleError: The job could not be submitted.
        """
        fields = {name: value for name, value in locals().items() if name != "self" and value is not None}
        return self._submit(make_job(fields))

    def queue_request(
        self,
        url: str,
        webhook_url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        retry_at: int | None = None,
    ) -> JobResult:
        """Submit a job with one webhook. Deprecated: use `Step`."""
        warnings.warn(
            "queue_request is deprecated; use Step(client).url(...).method(...).webhooks([{'url': ...}]).execute()",
            DeprecationWarning,
            stacklevel=2,
        )
        webhooks = [{"url": webhook_url, "has_quorum_vote": True}]
        return self.submit_job(url, method, headers, body, metadata=metadata, webhooks=webhooks, retry_at=retry_at)

    def queue_and_wait(
        self, url: str, webhook_url: str | None = None, method: str = "GET", *, timeout: float = 300, **fields: Any
    ) -> JobResult:
        """Submit a job, and wait for its result.

        Args:
            url: URL of the call.
            webhook_url: Where the result is delivered to as well.
            method: HTTP method.
            timeout: Seconds to wait at most.
            **fields: Other arguments of `submit_job`.

        Raises:
            UnsupportedError: The engine does not know the results of jobs; nothing was submitted.
            JobTimeoutError: The job did not end in time; it goes on.
        """
        checks.check_seconds("timeout", timeout)
        fields.pop("poll_interval", None)
        if not self.engine.knows_status:
            raise UnsupportedError(
                "queue_and_wait: the engine delivers results to webhooks only; nothing was submitted: use submit_job "
                "with webhooks, or LocalEngine",
                reason="queue_and_wait",
            )
        if webhook_url is not None:
            fields["webhooks"] = [{"url": webhook_url, "has_quorum_vote": True}]
        return self.submit_job(url, method, **fields).wait(timeout)

    def request(
        self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str | None = None
    ) -> requests.Response:
        """Make a call from this process, by the policies of the session, and return its response whatever its status.

        Raises:
            ArgumentError: An argument cannot work; nothing was sent.
            requests.RequestException: There is no response.
        """
        job = make_job({"url": url, "method": method, "headers": headers, "body": body})
        data = None if "body" not in job else job["body"].encode()
        try:
            return self.session.request(job["method"], url, data=data, headers=job.get("headers"))
        except StatusError as error:
            if isinstance(error, DeadlineExceeded) or error.response is None:
                raise
            return error.response

    def forward_or_fallback(self, fallback: Callable[[], T], url: str, **fields: Any) -> JobResult | T:
        """Submit a job, or call a function where the engine cannot be reached.

        The function is called only where it is certain that there is no job: otherwise the work could be done twice.

        Args:
            fallback: A function without arguments.
            url: URL of the call.
            **fields: Other arguments of `submit_job`.

        Raises:
            InDoubtError: The job may have been accepted; the function was not called.
            EZThrottleError: The engine has refused the job.
        """
        if not callable(fallback):
            raise checks.refuse("fallback", f"it must be callable, and is of type {type(fallback).__name__}")
        try:
            return self.submit_job(url, **fields)
        except InDoubtError:
            raise
        except EZThrottleError as error:
            if error.response is not None or error.reason not in _UNREACHED:
                raise
        return fallback()

    # ---- Secrets of webhooks

    def create_webhook_secret(self, primary_secret: str, secondary_secret: str | None = None) -> dict[str, Any]:
        """Set the secrets that the hosted service signs webhooks with.

        Args:
            primary_secret: The secret that webhooks are signed with; at least 16 characters.
            secondary_secret: The secret before it, which is still accepted.

        Raises:
            ArgumentError: A secret is too short; nothing was sent.
            UnsupportedError: The engine is not the hosted service.
        """
        _check_secret("primary_secret", primary_secret)
        if secondary_secret is not None:
            _check_secret("secondary_secret", secondary_secret)
        return self._require_hosted("create_webhook_secret").create_webhook_secret(primary_secret, secondary_secret)

    def get_webhook_secret(self) -> dict[str, Any]:
        """Return the secrets as the hosted service shows them: without their middle."""
        return self._require_hosted("get_webhook_secret").get_webhook_secret()

    def delete_webhook_secret(self) -> dict[str, Any]:
        """Remove the secrets of the hosted service; its webhooks are not signed any more."""
        return self._require_hosted("delete_webhook_secret").delete_webhook_secret()

    def rotate_webhook_secret(self, new_secret: str, old_secret: str | None = None) -> dict[str, Any]:
        """Make a secret the primary one, and keep the old one as the secondary one.

        Args:
            new_secret: The new secret; at least 16 characters.
            old_secret: The secret so far. The service does not show it, so without it there is no overlap.

        Raises:
            ArgumentError: The old secret is missing although there is one, or a secret is too short; nothing changed.
        """
        _check_secret("new_secret", new_secret)
        if old_secret is not None:
            return self.create_webhook_secret(new_secret, old_secret)
        raise checks.refuse(
            "old_secret",
            "without it, webhooks that are under way could not be verified any more; pass it, or replace it at once "
            "with create_webhook_secret(new_secret)",
        )

    def _require_hosted(self, what: str) -> HostedEngine:
        hosted = self.engine
        if not isinstance(hosted, HostedEngine):
            raise UnsupportedError(
                f"{what}: the secrets are those of the hosted service; LocalEngine has webhook_secrets=", reason=what
            )
        return hosted

    # ---- Its end

    def close(self) -> None:
        """Close the connections; an engine that was passed in stays open."""
        self.session.close()
        if self._hosted is not None:
            self._hosted.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EZThrottle {self.engine!r}>"


def _check_secret(field: str, value: object) -> None:
    if not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        raise checks.refuse(field, f"it must be a string of at least {SHORTEST_SECRET} characters")
