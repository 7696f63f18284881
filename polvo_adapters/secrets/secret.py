"""A secret that is fetched when it is used, kept for a while, and refreshed before that is over.

Theory of operation. The life of a secret is that of a token (`polvo_adapters.refresh.lifecycle`), and so is its
refresh: one thread fetches, the rest wait or go on with what there is. Three things differ:

* An end that we have set ourselves (`ttl`) says that it is time for another look, and not that the secret is worthless.
  Where its provider cannot be asked, the last value is used for `stale_if_error` seconds more; each failure is logged
  and told to the listeners. A provider that answers that the secret is gone is believed at once.
* It lives in the memory of this process and nowhere else. The machine is given numbers in the place of values.
* It is the same for all tenants: whatever depends on the tenant gets a Secret for each.

A value leaves by `get()` only. What shows or stores the object shows or stores where the secret comes from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NoReturn

from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.context.tenant import TenantScope
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import EXPIRED, UNCLASSIFIED, Outcome
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.drivers.single_shot import SingleShotExchange
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.refresh.lifecycle import KnownToken, Lifecycle, WantToken, usable_for
from polvo_adapters.refresh.refresh_ahead import RefreshAhead, overdue
from polvo_adapters.refresh.refresh_flow import FetchedToken as Numbered
from polvo_adapters.refresh.refresh_flow import RefreshFlow
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.secrets.provider import Fetched, Provider, Source, call_without_leak, failure, text
from polvo_adapters.secrets.uri import parse_uri, provider_class
from polvo_adapters.stores.memory import MemoryStore

_log = logging.getLogger("polvo_adapters")

_SHORTEST = 1.0

_EARLIER = 4  # values that are kept beside the last


@dataclass(frozen=True, repr=False)
class Value:
    """A value as it is kept.

    Attributes:
        value: The secret.
        known: What the machine said of it.
        at: When that was.
        stale: When to ask again.
        over: When its time is up; it may be used beyond, where it cannot be refreshed.
        refused: Whether whoever it is for has refused it.
    """

    value: str
    known: KnownToken
    at: float
    stale: float
    over: float
    refused: bool = False

    def __repr__(self) -> str:
        return f"<Value, generation {self.known.generation}>"


class Secret(RefreshAhead[Value]):
    """A secret that is fetched when it is used.

    Give it wherever a credential, or a function that returns one, is taken:
    `polvo.auth.bearer(Secret("vault://secret/data/app#token"))`, `OAuth2(client_secret=Secret("env://SECRET"), ...)`.

    Args:
        source: A URI (`polvo_adapters.secrets.uri` lists them), a provider, or a function that returns the secret.
        name: Its name, where the source is a provider.
        field: Which of its fields, where it is a JSON object; "*" for all of them, as JSON.
        provider: Whom to ask for a URI, in the place of the one with default settings.
        ttl: Seconds for which a value is used before it is fetched again; None for as long as its provider says, or
            it is not refused.
        stale_if_error: Seconds beyond that for which the last value is used while it cannot be fetched; 0 for none.
        refresh_before: Seconds before its end from which on it is fetched again, on another thread; at most a quarter
            of its time.
        deadline: Seconds after which fetching is given up, waiting for others included.
        background: Whether to fetch ahead of time on another thread. Without it the call that finds out waits.
        listeners: Called with a Change whenever it was fetched or could not be.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ConfigurationError: A setting cannot work.
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
            ("ttl", _SHORTEST if ttl is None else ttl, _SHORTEST),
            ("stale_if_error", stale_if_error, 0.0),
            ("refresh_before", refresh_before, 0.0),
            ("deadline", deadline, 0.001),
        ):
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not low <= seconds < math.inf:
                raise ConfigurationError(f"Secret: {setting}={seconds!r} must be a number of seconds from {low:g} on")
        self._source = resolve_source(source, name, field, provider)
        self._ttl = ttl
        self._life = Lifecycle(refresh_before, deadline + 1.0, tuple(listeners), stale_if_error)
        ahead = background and not getattr(self._source.provider, "local", False)
        super().__init__(deadline=deadline, background=ahead, clock=clock)

    def _begin(self) -> None:
        self._store = MemoryStore(now=self._clock.now)
        self._texts: dict[str, _Text] = {}
        self._numbers = count(1)
        super()._begin()

    @property
    def source(self) -> Source:
        """Where it comes from."""
        return self._source

    def get(self) -> str:
        """Return its value, fetched if need be.

        Raises:
            SecretError: There is none, and none can be had.
            ConfigurationError: A setting cannot work.
        """
        held = self._held.get("")
        if held is None or self._clock.now() >= held.stale:
            held = self._current("", None)
        return held.value

    __call__ = get

    @property
    def overdue(self) -> bool:
        """Whether the value in use is past its time, because it cannot be refreshed; for health checks."""
        held = self._held.get("")
        return held is not None and self._clock.now() >= held.over

    def invalidate(self) -> None:
        """Have it fetched again when it is next used: whoever it is for has refused it.

        Who does so again and again is not believed each time, so that the provider is not overrun.
        """
        held = self._held.get("")
        if held is not None:
            self.reject(held)

    # For what puts it on requests -------------------------------------------------------------------------------------

    def current(self, entries: list[Entry] | None = None) -> Value:
        """Return what is to be used now; as `get`.

        Args:
            entries: What is done for it is appended here.
        """
        held = self._held.get("")
        return self._current("", entries) if held is None or self._clock.now() >= held.stale else held

    def after(self, held: Value, entries: list[Entry] | None = None) -> Value | None:
        """Return a later value than one that was refused, or None where it is still the same.

        Args:
            held: What was refused.
            entries: What is done for it is appended here.

        Raises:
            SecretError: It could not be fetched, and is not to be used any more.
        """
        current = self._held.get("")
        if current is None or current.value == held.value:
            current = self._obtain("", WantToken(refused=held.known.generation), entries)
        return None if current.value == held.value else current

    def reject(self, held: Value) -> None:
        """Remember that a value was refused."""
        current = self._held.get("")
        if current is not None and current.value == held.value:
            self._held[""] = replace(current, refused=True, stale=-math.inf)

    # When there is something to do ------------------------------------------------------------------------------------

    def _on_behalf_of(self, who: str) -> AbstractContextManager[object]:
        return TenantScope(who)

    def _driven(self, who: str, want: WantToken, entries: list[Entry] | None = None) -> Value:
        scheme, name = self._source.provider.scheme, self._source.name
        now = self._clock.now()
        begun, until = call_started.get(), now + self._deadline
        if begun is not None and begun.deadline is not None:
            until = min(until, begun.deadline)  # to ask once more costs nothing, so that nobody carries it to its end
        call = Call("GET", f"https://{scheme}/", "none", now, until)
        key, told = f"secret {self._source}", list[Entry]()
        refresh = RefreshFlow(
            self._life, key, 1, "see that it exists where it is looked for", f"secret {name!r}", SecretError
        )
        with self._on_behalf_of(""):
            outcome = drive(refresh.flow(call, want), _SecretFetch(self), self._store, self._clock, told)
        for change in overdue(told):
            _log.warning("%s", change)
        if entries is not None:
            entries += told
        if outcome.error is None:
            return self._hold(who, outcome.response)
        error: Any = outcome.error
        error.host, error.provider, error.name = None, scheme, name
        try:
            raise error
        finally:
            del outcome, error  # or the error, its traceback and this frame would keep each other alive

    def _hold(self, who: str, known: KnownToken) -> Value:
        fetched, now = self._texts[known.token], self._clock.now()
        lifetime = math.inf if fetched.lifetime is None else fetched.lifetime
        over = now - known.age + usable_for(lifetime)
        held = Value(fetched.value, known, now, now + known.fresh, over)
        self._held[who] = held
        # Another thread may be about to hold one of those just before.
        for number in [number for number in self._texts.copy() if int(number) < int(known.token) - _EARLIER]:
            self._texts.pop(number, None)
        return held

    def _fetched(self) -> Numbered:
        """Ask the provider, and return a number in the place of the value."""
        provider, name, field = self._source
        fetched: Any = call_without_leak(lambda: provider.fetch(name, field), self._unexpected)
        if not _is_sound(fetched):
            raise failure(provider.scheme, name, "malformed", "its provider must return a Fetched with a text")
        value = text(provider.scheme, name, fetched.value)
        limits = [limit for limit in (self._ttl, fetched.lifetime) if limit is not None]
        lifetime = max(_SHORTEST, min(limits)) if limits else None
        number = str(next(self._numbers))
        self._texts[number] = _Text(value, lifetime)
        return Numbered(number, lifetime)

    def _unexpected(self, error: Exception) -> SecretError:
        kind = type(error).__name__
        advice = f"{kind} was raised on the way; its text may hold the secret and is not shown"
        return failure(self._source.provider.scheme, self._source.name, kind, advice)

    # What others see --------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Secret {getattr(self, '_source', 'half made')}>"  # a traceback may show it before it has one

    def __str__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not a text, so that nobody logs it by mistake; call its get() where it is sent")

    def __copy__(self) -> Secret:
        return self  # whoever copies a session goes on with the same secret, and has it fetched by one of all

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_refreshing", "_store", "_texts", "_numbers")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()


def _is_sound(fetched: object) -> bool:
    """Tell whether a provider has returned what it is to return."""
    if not isinstance(fetched, Fetched) or not isinstance(fetched.value, str):
        return False
    lifetime: object = fetched.lifetime
    return lifetime is None or (isinstance(lifetime, (int, float)) and lifetime > 0)


class _SecretFetch(SingleShotExchange):
    """Makes the attempts of a refresh: a transport for the drivers."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def send(self, effect: Send) -> Outcome:
        """Fetch it, once."""
        secret, clock = self._secret, self._secret._clock
        started = clock.now()
        deadline = started + secret._deadline if effect.call.deadline is None else effect.call.deadline
        now = SYSTEM.now()  # which is the clock of whatever the provider sends
        token = call_started.set(LogicalCall(None, now, now + deadline - started))
        try:
            fetched = secret._fetched()
        except SecretError as error:
            # Cut by the deadline of the call that it is for, it says nothing of the provider.
            cut = clock.now() >= deadline and deadline - effect.call.started < secret._deadline
            meaning = EXPIRED if cut else UNCLASSIFIED
            return Outcome(error=error, failure=meaning, started=started, now=clock.now(), wall=clock.wall())
        finally:
            call_started.reset(token)
        return Outcome(fetched, 200, started=started, now=clock.now(), wall=clock.wall())


class _Text:
    """A value that was fetched, and what its time is; nothing shows it."""

    __slots__ = ("lifetime", "value")

    def __init__(self, value: str, lifetime: float | None) -> None:
        self.value = value
        self.lifetime = lifetime


def resolve_source(
    source: object, name: str = "", field: str | None = None, provider: Provider | None = None
) -> Source:
    """Return whom to ask for what.

    Args:
        source: A URI, a provider, a function, or a Secret, of which only its source counts.
        name: Its name, where the source is a provider.
        field: Which of its fields.
        provider: Whom to ask for a URI.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(source, Secret):
        return source.source
    if isinstance(source, str):
        if name:
            raise ConfigurationError("Secret: a URI has the name in it; name= is for providers")
        return parse_uri(source, field, provider)
    if provider is not None:
        raise ConfigurationError("Secret: provider= goes with a URI")
    if callable(getattr(source, "fetch", None)) and isinstance(getattr(source, "scheme", None), str):
        given: Any = source
        return Source(given, name, field)
    if callable(source):
        made = provider_class("function", "Function")(source)
        return Source(made, name or getattr(source, "__qualname__", type(source).__name__), field)
    raise ConfigurationError(f"Secret: expected a URI, a provider or a function, got {type(source).__name__}")
