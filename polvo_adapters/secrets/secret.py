"""A secret that is fetched when it is used, held for a while, and refreshed before its time is over.

Theory of operation. A secret has the lifecycle of a token (`polvo_adapters.refresh.lifecycle`): one thread fetches, the
others wait or go on with the held value. Four things differ:

* The end of `ttl` is the time for another look; the value may still be good. If its provider cannot be asked, the value
  is used for `stale_if_error` seconds more; each failure is logged and given to the listeners. If the provider answers
  that the secret is gone, the value is not used any more.
* A provider may renew the value that is held, such as a lease, in the place of fetching another one, unless the
  server that it is for has refused it.
* It is held in the memory of this process only. The machine is given numbers in the place of values.
* It is the same for all tenants: where each tenant has its own, make a Secret for each.

Only `get()` returns a value. The repr and the pickle of a Secret show where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from secrets import token_hex
from typing import Any, NoReturn, cast
from weakref import WeakKeyDictionary

from polvo_adapters.context.call import current_call
from polvo_adapters.context.tenant import TenantScope
from polvo_adapters.core import setting_kinds
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.refresh.lifecycle import KnownToken, Lifecycle, WantToken, usable_seconds
from polvo_adapters.refresh.refresh_ahead import RefreshAhead
from polvo_adapters.refresh.refresh_flow import FetchedToken, RefreshFlow
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.secrets.provider import (
    Fetched,
    Provider,
    Source,
    call_without_leak,
    fetch_error,
    is_local,
    is_provider,
    renew_or_fetch,
    require_provider,
    to_text,
)
from polvo_adapters.secrets.secret_fetch import SecretFetch
from polvo_adapters.secrets.uri import parse_uri, provider_class
from polvo_adapters.stores.memory import MemoryStore

_SHORTEST_TTL = 1.0
_EARLIER_VALUES = 4  # held beside the last one


@unpicklable
@dataclass(frozen=True, repr=False)
class Value:
    """A value as a Secret holds it.

    Attributes:
        value: The secret.
        known: What the machine said of it.
        known_at: When the machine said it.
        stale_at: When to ask the machine again.
        expires_at: When its time is over; it may be used longer while it cannot be refreshed.
        refused: Whether the server that it is for has refused it.
    """

    value: str
    known: KnownToken
    known_at: float
    stale_at: float
    expires_at: float
    refused: bool = False

    def __repr__(self) -> str:
        return f"<Value, generation {self.known.generation}>"


_KINDS = {
    "name": setting_kinds.TEXT,
    "field": setting_kinds.TEXT | None,
    "background": setting_kinds.FLAG,
    "listeners": setting_kinds.FUNCTIONS,
    "clock": setting_kinds.CLOCK,
}


class Secret(SharedByCopies, RefreshAhead[Value]):
    """A secret that is fetched when it is used.

    Pass it wherever a credential, or a function that returns one, is taken:
    `polvo.auth.bearer(Secret("vault://secret/data/app#token"))`, `OAuth2(client_secret=Secret("env://SECRET"), ...)`.

    Args:
        source: A URI (`polvo_adapters.secrets.uri` lists them), a provider, or a function that returns the secret.
        name: Its name, where the source is a provider.
        field: Which of its fields, where it is a JSON object; "*" for all of them, as JSON.
        provider: The provider of a URI, in the place of the one with default settings.
        ttl: Seconds for which a value is used before it is fetched again; None for as long as its provider says, or
            until it is refused.
        stale_if_error: Seconds beyond `ttl` for which the last value is used while it cannot be fetched; 0 for none.
        refresh_before: Seconds before its end from which on it is fetched again, on another thread; at most a quarter
            of its time.
        deadline: Seconds after which a fetch is given up, waiting for others included.
        background: Whether to fetch ahead of time on another thread. Otherwise the call that finds out waits.
        listeners: Called with a StateChange whenever it was fetched or could not be.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ConfigurationError: A setting cannot work.
        TypeError: The provider lacks a member of `Provider`.
    """

    _what = "secret"

    def __init__(
        self,
        source: str | Provider | Callable[[], Any],
        name: str = "",
        *,
        field: str | None = None,
        provider: Provider | None = None,
        ttl: float | None = 300.0,
        stale_if_error: float = 3600.0,
        refresh_before: float = 30.0,
        deadline: float = 30.0,
        background: bool = True,
        listeners: Sequence[Callable[[StateChange], object]] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        for setting, seconds, low in (
            ("ttl", _SHORTEST_TTL if ttl is None else ttl, _SHORTEST_TTL),
            ("stale_if_error", stale_if_error, 0.0),
            ("refresh_before", refresh_before, 0.0),
            ("deadline", deadline, 0.001),
        ):
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not low <= seconds < math.inf:
                raise ConfigurationError(f"Secret: {setting}={seconds!r} must be a number of seconds from {low:g} on")
        given = {"name": name, "field": field, "background": background, "listeners": listeners, "clock": clock}
        check_settings("Secret", given, _KINDS, ConfigurationError, shows=False)
        self._source = resolve_source(source, name, field, provider)
        self._origin = _name_origin(source, self._source, provider)
        self._ttl = ttl
        self._life = Lifecycle(refresh_before, deadline + 1.0, tuple(listeners), stale_if_error, "secrets")
        ahead = background and not is_local(self._source.provider)
        super().__init__(deadline=deadline, background=ahead, clock=clock)

    def _begin(self) -> None:
        self._store = MemoryStore(now=self._clock.now)
        self._fetched: dict[str, Fetched] = {}  # by the numbers that the machine is given
        self._numbers = count(1)
        self.flights = SharedCalls()  # the fetches in progress that tasks wait for
        self.tasks: Any = None  # the same of a provider with an asynchronous side; see `async_fetch`
        super()._begin()

    @property
    def source(self) -> Source:
        """Where it comes from."""
        return self._source

    @property
    def origin(self) -> str:
        """A text that only Secrets of the same source share: the same provider or function, or URI in this process."""
        return self._origin

    def get(self) -> str:
        """Return the value, fetched if need be.

        Raises:
            SecretError: It cannot be fetched, and the last value must not be used any more.
            ConfigurationError: A setting cannot work.
        """
        return self.current().value

    __call__ = get

    async def aget(self) -> str:
        """Return the value, fetched if need be, without blocking the event loop; raises as `get` does.

        Tasks of all loops that wait for it, and threads that call `get`, share one fetch. A task that is cancelled
        leaves the fetch to the others.
        """
        return (await self.acurrent()).value

    @property
    def overdue(self) -> bool:
        """Whether the value in use is past its time, because it cannot be refreshed; for health checks."""
        held = self._held.get("")
        return held is not None and self._clock.now() >= held.expires_at

    def invalidate(self) -> None:
        """Fetch the value again when it is next used, because the server that it is for has refused it.

        Repeated calls do not each cause a fetch, so that the provider is not overrun.
        """
        held = self._held.get("")
        if held is not None:
            self.reject(held)

    # For auth objects -------------------------------------------------------------------------------------------------

    def current(self, entries: list[Entry] | None = None) -> Value:
        """Return the value to use now; as `get`.

        Args:
            entries: The entries of the report are appended here.
        """
        held = self._held.get("")
        return self._get("", entries) if held is None or self._clock.now() >= held.stale_at else held

    def peek(self) -> Value | None:
        """Return the value to use now, or None if the caller would have to wait for it."""
        return self._peek("")

    async def acurrent(self) -> Value:
        """Return the value to use now, without blocking the event loop; as `current`."""
        from polvo_adapters.secrets.async_fetch import fetch_current  # with asyncio, which threads do without

        held = self._held.get("")
        return await fetch_current(self) if held is None or self._clock.now() >= held.stale_at else held

    async def aafter(self, held: Value) -> Value | None:
        """Return a later value than one that was refused, without blocking the event loop; as `after`."""
        from polvo_adapters.secrets.async_fetch import fetch_after

        later: Value | None = await fetch_after(self, held)
        return later

    def after(self, held: Value, entries: list[Entry] | None = None) -> Value | None:
        """Return a later value than one that was refused, or None if it is still the same.

        Args:
            held: The value that was refused.
            entries: The entries of the report are appended here.

        Raises:
            SecretError: It cannot be fetched, and the last value must not be used any more.
        """
        current = self._held.get("")
        if current is None or current.value == held.value:
            current = self._obtain("", WantToken(refused=held.known.generation), entries)
        return None if current.value == held.value else current

    def reject(self, held: Value) -> None:
        """Remember that a value was refused."""
        current = self._held.get("")
        if current is not None and current.value == held.value:
            self._held[""] = replace(current, refused=True, stale_at=-math.inf)

    # Refreshing -------------------------------------------------------------------------------------------------------

    def _refresh(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> Value:
        call, flow, may_renew = self.begin_refresh(want)
        found: list[Entry] = []
        with TenantScope(""):
            outcome = drive(flow, SecretFetch(self, may_renew), self._store, self._clock, found, call)
        if entries is not None:
            entries += found
        return self.end_refresh(tenant, outcome)

    def begin_refresh(self, want: WantToken) -> tuple[Call, Flow, bool]:
        """Return the call of a fetch, its flow, and whether the held value may be renewed in its place."""
        scheme, name = self._source.provider.scheme, self._source.name
        now = self._clock.now()
        outer, deadline = current_call(), now + self._deadline
        if outer is not None and outer.deadline is not None:
            deadline = min(deadline, outer.deadline)  # a fetch that is cut short loses nothing: it can be made again
        call = Call("GET", f"https://{scheme}/", "none", now, deadline)
        key, advice = f"secret {self._source}", "see that it exists where it is looked for"
        refresh = RefreshFlow(self._life, key, 1, advice, f"secret {name!r}", SecretError)
        held = self._held.get("")
        may_renew = held is not None and not held.refused and not want.refused
        return call, refresh.flow(call, want), may_renew

    def end_refresh(self, tenant: str, outcome: Outcome) -> Value:
        """Hold what a fetch has brought, and return it, or raise its error."""
        if outcome.error is None:
            return self._hold(tenant, outcome.response)
        error: Any = outcome.error
        error.host, error.provider, error.name = None, self._source.provider.scheme, self._source.name
        try:
            raise error
        finally:
            del outcome, error  # see errors.py, "Errors and frames"

    def _hold(self, tenant: str, known: KnownToken) -> Value:
        fetched, now = self._fetched[known.token], self._clock.now()
        lifetime = math.inf if fetched.lifetime is None else fetched.lifetime
        expires_at = now - known.age + usable_seconds(lifetime)
        held = Value(fetched.value, known, now, now + known.seconds_fresh, expires_at)
        self._held[tenant] = held
        first_kept = int(known.token) - _EARLIER_VALUES  # another thread may be about to hold one of those before
        for number in [number for number in self._fetched.copy() if int(number) < first_kept]:
            self._fetched.pop(number, None)
        return held

    def _fetch(self, *, may_renew: bool = False) -> FetchedToken:
        """Ask the provider, and return a number in the place of the value.

        Args:
            may_renew: Whether the held value may be used for longer, where the provider can renew it.
        """
        provider, name, field = self._source
        ask = partial(renew_or_fetch, provider) if may_renew else provider.fetch
        return self.accept(call_without_leak(lambda: ask(name, field), self.translate))

    def accept(self, fetched: Any) -> FetchedToken:
        """Keep what a provider has returned, and return a number in the place of the value."""
        provider, name, _ = self._source
        if not _is_valid(fetched):
            raise fetch_error(provider.scheme, name, "malformed", "its provider must return a Fetched with a text")
        value = to_text(provider.scheme, name, fetched.value)
        limits = [limit for limit in (self._ttl, fetched.lifetime) if limit is not None]
        lifetime = max(_SHORTEST_TTL, min(limits)) if limits else None
        number = str(next(self._numbers))
        self._fetched[number] = Fetched(value, lifetime)
        return FetchedToken(number, lifetime)

    def translate(self, error: Exception) -> SecretError:
        """Return the error for an exception of a provider, without its text."""
        kind = type(error).__name__
        advice = f"{kind} was raised on the way; its text may hold the secret and is not shown"
        return fetch_error(self._source.provider.scheme, self._source.name, kind, advice)

    # Repr, copies, pickles --------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Secret {getattr(self, '_source', 'half made')}>"  # a traceback may show it before it has one

    def __str__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not a text, so that it is not logged by mistake; call its get() where it is sent")

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_refreshing", "_store", "_fetched", "_numbers", "flights", "tasks")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()


def _is_valid(fetched: object) -> bool:
    """Return whether a provider has returned what its protocol asks for."""
    if not isinstance(fetched, Fetched) or not isinstance(fetched.value, str):
        return False
    lifetime: object = fetched.lifetime
    return lifetime is None or (isinstance(lifetime, (int, float)) and lifetime > 0)


_PROCESS = token_hex(16)  # as the settings of a provider that a URI names are in the environment
_anchors: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def _name_origin(given: object, source: Source, provider: Provider | None) -> str:
    """Return a text that only Secrets of the same source share.

    Two providers with one name, and two functions with one qualified name, may return the secrets of two parties.
    """
    if isinstance(given, Secret):
        return given.origin
    if isinstance(given, str) and provider is None:
        return f"{_PROCESS} {given} {source.field}"
    anchor = source.provider if is_provider(given) or isinstance(given, str) else given
    try:
        token = _anchors.setdefault(anchor, token_hex(16))
    except TypeError:  # it cannot be a key, so that no other is proved to be the same
        token = token_hex(16)
    return f"{token} {source.name} {source.field}"


def resolve_source(
    source: object, name: str = "", field: str | None = None, provider: Provider | None = None
) -> Source:
    """Return the provider, name and field of a secret.

    Args:
        source: A URI, a provider, a function, or a Secret, of which only its source counts.
        name: Its name, where the source is a provider.
        field: Which of its fields.
        provider: The provider of a URI.

    Raises:
        ConfigurationError: It is none of these.
        TypeError: The provider lacks a member of `Provider`.
    """
    if isinstance(source, Secret):
        return source.source
    if isinstance(source, str):
        if name:
            raise ConfigurationError("Secret: a URI has the name in it; name= is for providers")
        if provider is not None:
            require_provider(provider)
        return parse_uri(source, field, provider)
    if provider is not None:
        raise ConfigurationError("Secret: provider= goes with a URI")
    if is_provider(source):
        return Source(cast("Provider", source), name, field)
    if callable(source):
        function = provider_class("function", "Function")(source)
        return Source(function, name or getattr(source, "__qualname__", type(source).__name__), field)
    if hasattr(source, "fetch") or hasattr(source, "scheme"):
        require_provider(source)
    raise ConfigurationError(f"Secret: expected a URI, a provider or a function, got {type(source).__name__}")
