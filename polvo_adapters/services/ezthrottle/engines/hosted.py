"""The hosted service as an engine: a session of this library carries the envelope.

A submission is repeated after 429, 5xx and broken connections, as Retry-After says. That is safe: the same body goes
out each time, with the key in it, or, without one, with the URL, method and body that the service makes a key of.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

from polvo_adapters.core.calls import find_host
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.redaction import HiddenText, unpicklable
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.services.double_o.effects import ServiceOperation, ServiceRequest
from polvo_adapters.services.double_o.sending import send
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.engines.envelope import Envelope, hide, wants_repeat
from polvo_adapters.services.ezthrottle.errors import EZThrottleError, UnsupportedError
from polvo_adapters.services.operation_driver import drive
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.requests.session import Session

T = TypeVar("T")

TRACKTAGS_URL = "https://tracktags.fly.dev"
"""Address of the proxy, which knows the account."""
EZTHROTTLE_URL = "https://ezthrottle.fly.dev"
"""Address of the service behind it."""
_KEYWORDS = ("api_key", "tracktags_url", "ezthrottle_url", "timeout", "retries", "deadline", "clock")


@partial(fix_options, more=_KEYWORDS)
@unpicklable
class HostedEngine:
    """The hosted service.

    Args:
        api_key: The API key.
        tracktags_url: Address of the proxy.
        ezthrottle_url: Address of the service behind it.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte.
        retries: How often a request is sent again at most.
        deadline: Seconds for a whole submission; by default `timeout` for each attempt.
        clock: Time and chance; tests pass a virtual clock.
        **session: Other keywords of `polvo_adapters.Session`.

    Raises:
        ArgumentError: A value cannot work.
        TypeError: There is no such keyword.
    """

    knows_status = False
    repeats_safely = False

    def __init__(
        self,
        api_key: str,
        tracktags_url: str = TRACKTAGS_URL,
        ezthrottle_url: str = EZTHROTTLE_URL,
        *,
        timeout: float = 30,
        retries: int = 2,
        deadline: float | None = None,
        clock: Clock = SYSTEM,
        **session: Any,
    ) -> None:
        checks.check_session_options(session, "HostedEngine", _KEYWORDS)
        self._api_key = HiddenText(checks.check_api_key(api_key))
        self._base_url = checks.check_url("tracktags_url", tracktags_url).rstrip("/")
        target = checks.check_url("ezthrottle_url", ezthrottle_url).rstrip("/")
        checks.check_seconds("timeout", timeout)
        checks.check_count("retries", retries, 0)
        if deadline is None:
            deadline = timeout * (retries + 1)
        checks.check_seconds("deadline", deadline)
        self._clock = clock
        self._envelope = Envelope(self._api_key, target, clock.wall)
        retry = ExponentialBackoff(max_attempts=retries + 1, methods=None, retry_if=wants_repeat)
        stack: dict[str, Any] = {"retry": retry, "circuit_breaker": None, **session}
        self._session = Session(**stack, timeout=timeout, deadline=deadline, clock=clock)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def attempt_headers(self, job: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002 - it is an Engine
        """Return nothing: the service tells no server which job a request belongs to."""
        return {}

    def submit(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job; see `Engine.submit`."""
        return self._run(self._envelope.submit(job))

    def status(self, job_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Raise UnsupportedError: the service tells the result to the webhooks only."""
        raise _make_unsupported("status")

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Raise UnsupportedError: the service tells the result to the webhooks only."""
        raise _make_unsupported("wait")

    def cancel(self, job_id: str) -> bool:  # noqa: ARG002
        """Raise UnsupportedError: the service takes no job back."""
        raise _make_unsupported("cancel")

    def create_webhook_secret(self, primary: str, secondary: str | None = None) -> dict[str, Any]:
        """Set the secrets that webhooks are signed with; see `EZThrottle.create_webhook_secret`."""
        return self._run(self._envelope.create_secret(primary, secondary))

    def get_webhook_secret(self) -> dict[str, Any]:
        """Return the secrets as the service shows them."""
        return self._run(self._envelope.get_secret())

    def delete_webhook_secret(self) -> dict[str, Any]:
        """Remove the secrets."""
        return self._run(self._envelope.delete_secret())

    def close(self) -> None:
        """Close the connections; a call after that opens new ones."""
        self._session.close()

    def _run(self, operation: ServiceOperation[T]) -> T:
        problem: EZThrottleError | None = None
        try:
            return drive(operation, self._perform)
        except EZThrottleError as error:
            problem = hide(error, self._api_key)
            if problem.retry_at is None and problem.retry_after is not None:
                problem.retry_at = int((self._clock.wall() + problem.retry_after) * 1000)
        try:
            raise problem
        finally:
            del problem  # see "Errors and frames" in polvo_adapters.errors

    def _perform(self, effect: Any) -> Any:
        assert isinstance(effect, ServiceRequest)  # noqa: S101 - the envelope yields nothing else
        return send(self._session, self._base_url, effect)

    def __repr__(self) -> str:
        return f"<HostedEngine {find_host(self._base_url)}>"


def _make_unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what}: the hosted service has no such call, and delivers results to webhooks only; set webhooks, or use "
        "LocalEngine",
        reason=what,
    )
