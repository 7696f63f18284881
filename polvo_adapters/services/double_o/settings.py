"""What the clients of Double-O have in common: settings, cache, and what they are in reprs and pickles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from polvo_adapters.core import setting_kinds, validate
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.setting_kinds import SettingKind, check_settings
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.services.double_o import checks
from polvo_adapters.services.double_o.cache import SecretCache
from polvo_adapters.services.double_o.effects import CachedFetch, ServiceResponse
from polvo_adapters.services.double_o.errors import ArgumentError
from polvo_adapters.services.session_options import refuse_foreign_options
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.stores.memory import MemoryStore

BASE_URL = "https://double-o-539191849800.europe-west1.run.app"
"""Address of Double-O, unless a client or a call has another."""
CACHE = SecretCache()
"""The cache of all clients of this process, unless one has its own."""
NO_COOKIES = DefaultCookiePolicy(allowed_domains=())
"""The cookies of every client: one that came with one token must not go out with another."""

_KINDS = {
    "cache": SettingKind("a SecretCache", lambda value: isinstance(value, SecretCache)) | None,
    "clock": setting_kinds.CLOCK,
}

_ELSEWHERE = {
    "auth": "the token of each call",
    "token": "the token of each call",
    "headers": "proxy(..., headers=...)",
    "max_retries": "retries=...",
    "session": "the keywords of polvo_adapters.Session, such as rate_limit=...",
}
_ASSIGNED = ("base_url", "timeout", "retries", "backoff_factor", "deadline")
_SETTINGS = (*_ASSIGNED, "clock")


@partial(fix_options, changeable=_ASSIGNED)
class ClientSettings:
    """The settings of a client, and its cache.

    Args:
        base_url: Address of the server; None for `BASE_URL`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte; None for no limit.
        retries: How often a request is sent again at most.
        backoff_factor: Upper bound of the first wait between attempts, in seconds.
        deadline: Seconds for a whole call; `timeout` for each attempt by default.
        cache: The cache; None for the one that all clients of the process share.
        clock: Time and chance.
        session: Further keywords of the session.

    Raises:
        ArgumentError: A value cannot work.
        TypeError: There is no such keyword.
    """

    def __init__(
        self,
        base_url: str | None,
        timeout: float | None,
        retries: int,
        backoff_factor: float,
        deadline: float | None,
        cache: SecretCache | None,
        clock: Any,
        session: Mapping[str, Any],
    ) -> None:
        self.timeout, self.retries, self.backoff_factor, self.deadline = timeout, retries, backoff_factor, deadline
        self._given_deadline, self._is_stale = deadline, False
        self._validate()
        check_settings(type(self).__name__, {"cache": cache, "clock": clock}, _KINDS, ArgumentError)
        self._derive_deadline()
        self.base_url = _normalize(base_url)
        own, more = (*_SETTINGS, "cache"), self._find_more_options()
        refuse_foreign_options(session, type(self).__name__, own, _ELSEWHERE, more)
        self.clock, self._keywords = clock, session
        self._cache = CACHE if cache is None else cache
        self._store = session.get("store") or MemoryStore(now=clock.now)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a setting that is assigned holds from the next call on, as with the published client."""
        if name not in _ASSIGNED or "_store" not in vars(self):
            return super().__setattr__(name, value)
        before = dict(vars(self))
        try:
            super().__setattr__(name, _normalize(value) if name == "base_url" else value)
            if name == "deadline":
                self._given_deadline = value
            self._validate()
        except ArgumentError:
            vars(self).update(before)
            raise
        self._derive_deadline()
        self._is_stale = True
        return None

    def _derive_deadline(self) -> None:
        """Set the deadline that follows from the other settings, where none is given."""
        bounds = self._given_deadline is None and self.timeout is not None
        derived = self.timeout * (self.retries + 1) if bounds else self._given_deadline  # type: ignore[operator]
        super().__setattr__("deadline", derived)

    def _find_more_options(self) -> Collection[str]:
        """Return the keywords of the session that are not of the standard stack."""
        return ()

    def _session_keywords(self) -> dict[str, Any]:
        """Return the keywords of the session that sends."""
        backoff = ExponentialBackoff(max_attempts=self.retries + 1, base=self.backoff_factor)
        stack = {"retry": backoff, "circuit_breaker": None, **self._keywords}
        own = {"timeout": self.timeout, "deadline": self.deadline, "clock": self.clock, "store": self._store}
        return {**stack, **own}

    def _validate(self) -> None:
        try:
            validate.count(self, "retries", 0)
            validate.number(self, "backoff_factor", 0)
            for name in ("timeout", "deadline"):
                if getattr(self, name) is not None:
                    validate.number(self, name, 0, above=True)
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    def _place(self, effect: CachedFetch) -> tuple[str, str, str]:
        """Return where a value is in the cache."""
        return self.base_url, effect.token, effect.kind

    def _overdue_response(self) -> ServiceResponse:
        """Return the response of a call that has waited for that of another caller for too long."""
        text = f"another caller's call did not end within {self.deadline:g} s; allow a longer timeout"
        return ServiceResponse(host=find_host(self.base_url), problem=text, reason="deadline")

    def _invalidate(self, token: str | None) -> None:
        self._cache.invalidate(self.base_url, token or None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {vars(self).get('base_url', 'half made')}>"

    def __getstate__(self) -> dict[str, Any]:
        settings = {**{name: getattr(self, name) for name in _SETTINGS}, "deadline": self._given_deadline}
        cache = None if self._cache is CACHE else self._cache
        return {**settings, "cache": cache, **self._keywords}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a session and its connections do not travel


def _normalize(value: str | None) -> str:
    url = BASE_URL if value is None else value
    problem = checks.check_base_url(url)
    if problem:
        raise ArgumentError(f"base_url: {problem}; nothing was sent", reason="base_url")
    return url.rstrip("/")
