"""What is said for one call, and the policies that this makes of those of an adapter.

Theory of operation. An adapter has its policies for all calls. What is said for one call leaves some of them out,
changes them, or adds one, each in its place in the standard order. The result is a stack like any other, so that no
policy knows of it: the shell binds it, and keeps it for the next call of which the same is said.

    keyword                                      False or None        True                     another value
    -------------------------------------------  -------------------  -----------------------  ------------------------
    retry                                        one attempt          the adapter's own, else  their number, a mapping
                                                                      the defaults             of changes, a policy
    deadline                                     none                 the adapter's own        seconds, a Deadline
    hedge                                        none                 the adapter's own, else  seconds, a mapping of
                                                                      the defaults             changes, a Hedge
    fallback                                     none                 the adapter's own        alternatives, a Fallback
    rate_limit, circuit_breaker, bulkhead,       none                 the adapter's own        (TypeError: they are
    regions                                                                                    about many calls)

**Adapters below** that are ours as well are told what is said too, but only to leave out: what is added or changed is
done once, by the outermost that has such a policy, or by the outermost of all where none has. So retries do not
multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict

from polvo_adapters.core import validate
from polvo_adapters.core.answer import AnswerTest
from polvo_adapters.core.effects import Policy, PolicyTraits
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.options import DeadlineLike, FallbackLike, HedgeLike, ResumeLike, RetryLike
from polvo_adapters.policies.stack import leave_statuses_to, make_policy, wait_within

if TYPE_CHECKING:
    from polvo_adapters.core.notices import CallEvent

TimeoutLike: TypeAlias = "float | tuple[float | None, float | None] | None"


class CallOptions(TypedDict, total=False):
    """What can be said for one call.

    Attributes:
        retry: False for one attempt in all; the largest number of attempts; a mapping of the settings that differ from
            those of the adapter; an ExponentialBackoff or a urllib3 `Retry` in their place; True for those of the
            adapter, or the defaults where it has none.
        retry_if: Function of the `Answer` of an attempt that says whether a repeat may help; see ExponentialBackoff.
        deadline: Seconds for each call, or a Deadline, in the place of that of the adapter; None for none. The deadline
            of a call that this one is part of holds all the same.
        timeout: Timeout of each attempt in seconds, a (connect, read) tuple, or None for no limit, in the place of any
            other, also of one that the code within names.
        idempotent: True for calls that are safe to repeat, whatever the method; False for calls that are not.
        idempotency_key: Key of the one operation that the block is for, where the adapter has `idempotency`. Repeats of
            the same request have it too; another request is refused, as the server would take the two for one.
        hedge: False, True, the seconds after which a call is late, a mapping of the settings that differ, or a Hedge.
        fallback: False, alternatives, or a Fallback in the place of that of the adapter.
        rate_limit: False to send without asking the rate limit.
        circuit_breaker: False to send although the circuit is open, and to count nothing.
        bulkhead: False to take no slot.
        regions: False to send to the URL of the call only.
        resume: True for a streamed body that goes on where it breaks off, False for one that does not.
        labels: Names and values that reports, the log and listeners show; at most 16, and no secrets.
        listeners: Functions that are called with every `CallEvent`, besides those of the adapter.
    """

    retry: RetryLike | int
    retry_if: AnswerTest | None
    deadline: DeadlineLike | bool
    timeout: TimeoutLike
    idempotent: bool | None
    idempotency_key: str
    hedge: HedgeLike
    fallback: FallbackLike | bool
    rate_limit: bool
    circuit_breaker: bool
    bulkhead: bool
    regions: bool
    resume: ResumeLike
    labels: Mapping[str, str | float]
    listeners: Sequence[Callable[[CallEvent], object]]


_ORDER = (
    "request_id",
    "idempotency",
    "fallback",
    "regions",
    "hedge",
    "deadline",
    "resume",
    "retry",
    "circuit_breaker",
    "bulkhead",
    "rate_limit",
)
_ABOUT_MANY_CALLS = ("rate_limit", "circuit_breaker", "bulkhead", "regions")
_WITH_DEFAULTS = ("retry", "hedge", "resume")
_HANDED_DOWN = {"retry": "retry", "retry_if": "retry", "hedge": "hedge", "fallback": "fallback", "resume": "resume"}
"""Keywords that are for the adapter that has the policy, and the keyword of that; a deadline is for the outermost."""
_POLICIES = frozenset({"retry", "retry_if", "deadline", "hedge", "fallback", "resume", *_ABOUT_MANY_CALLS})
_MOST_LABELS, _LONGEST_NAME, _LONGEST_VALUE = 16, 64, 255


class _Changes(NamedTuple):
    """Settings that differ from those of the policy of an adapter: the values are those of a policy made of them."""

    policy: Any
    names: tuple[str, ...]

    def apply(self, policy: Any) -> Any:
        """Return the policy with the changes, or the one made of them where it is of another class."""
        if not isinstance(policy, type(self.policy)):
            return self.policy
        return replace(policy, **{name: getattr(self.policy, name) for name in self.names})


class Operation:
    """The operation that an idempotency key is for: the first request that takes it.

    Args:
        key: The key.
    """

    __slots__ = ("_owner", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self._owner: dict[str, str] = {}

    def claim(self, request: str) -> bool:
        """Return whether the key is for this request, which it is if no other was the first."""
        return self._owner.setdefault("request", request) == request  # atomic, where threads share the block


class CallSettings:
    """What is said for one call, validated.

    Args:
        said: The value of each keyword of CallOptions.

    Attributes:
        said: The same, in the form in which it is used.
        policies: What is said of policies, as pairs of keyword and value in the order of keywords.
        has_timeout: Whether a timeout is said.
        timeout: That timeout.
        idempotent: Whether the call is declared safe to repeat, or unsafe; None where the method decides.
        operation: The operation that an idempotency key is for, or None.
        labels: The labels, as pairs.
        listeners: The listeners.
    """

    __slots__ = ("has_timeout", "idempotent", "labels", "listeners", "operation", "policies", "said", "timeout")

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.said = said
        self.policies = tuple(sorted(((name, said[name]) for name in said if name in _POLICIES), key=_name_of))
        self.has_timeout, self.timeout = "timeout" in said, said.get("timeout")
        self.idempotent: bool | None = said.get("idempotent")
        self.operation: Operation | None = said.get("idempotency_key")
        self.labels: tuple[tuple[str, str], ...] = tuple(said.get("labels", {}).items())
        self.listeners: tuple[Callable[[CallEvent], object], ...] = said.get("listeners", ())

    def within(self, outer: CallSettings | None) -> CallSettings:
        """Return what holds in a block within another block: the inner one wins, keyword by keyword.

        Labels win name by name, and listeners of both are called.
        """
        if outer is None:
            return self
        said = {**outer.said, **self.said}
        if "labels" in self.said and "labels" in outer.said:
            said["labels"] = _check_labels({**outer.said["labels"], **self.said["labels"]})
        if outer.listeners and self.listeners:
            said["listeners"] = (*outer.listeners, *self.listeners)
        return CallSettings(said)

    @property
    def below(self) -> CallSettings | None:
        """What adapters below are told: what to leave out, and what the call is; None where that is nothing."""
        out: dict[str, Any] = {
            name: False for name, value in self.policies if value is not True or name in _WITH_DEFAULTS
        }
        if out.pop("retry_if", None) is not None:
            out["retry"] = False
        out.update((name, self.said[name]) for name in ("idempotent", "labels", "listeners") if name in self.said)
        return CallSettings(out) if out else None

    def split(self, options: Collection[str]) -> tuple[CallSettings, CallSettings | None]:
        """Return what is said to an adapter, and to those below, of which some have policies that it has not.

        Args:
            options: The keywords of the policies that only adapters below have.
        """
        names = {name for name in _HANDED_DOWN if _HANDED_DOWN[name] in options and name in self.said}
        here = CallSettings({name: value for name, value in self.said.items() if name not in names}) if names else self
        below = here.below
        if names:
            handed = {name: self.said[name] for name in names}
            below = CallSettings(handed if below is None else {**below.said, **handed})
        return here, below

    @property
    def says_retries(self) -> bool:
        """Whether something is said of retries."""
        return "retry" in self.said or "retry_if" in self.said

    def seconds(self, otherwise: float | None) -> float | None:
        """Return the seconds of the deadline, given those of the session."""
        deadline = self.said.get("deadline", True)
        if deadline is True:
            return otherwise
        return None if deadline is False else deadline.seconds

    def __repr__(self) -> str:
        return f"CallSettings({', '.join(self.said)})"


def _name_of(pair: tuple[str, Any]) -> str:
    return pair[0]


FOR_ONE_SERVER = CallSettings({"fallback": False})
"""For a request with a credential in its path or body, which is for the server that it names and for no other."""


def parse(options: Mapping[str, Any]) -> CallSettings:
    """Return what is said by keywords.

    Raises:
        TypeError: A keyword is unknown, or a value is of no known kind.
        ValueError: A value is out of range.
        ConfigurationError: A label cannot be one.
    """
    for name in options:
        if name not in CallOptions.__annotations__:
            known = ", ".join(CallOptions.__annotations__)
            raise TypeError(f"call(): {name} is no keyword; there are {known}")
    return CallSettings({name: _PARSERS.get(name, _parse_policy)(name, value) for name, value in options.items()})


def _parse_policy(option: str, value: Any) -> Any:
    if value is None or value is False:
        return False
    if value is True:
        return True
    if option in _ABOUT_MANY_CALLS:
        raise TypeError(f"{option}={value!r}: for one call it is False, or True for that of the adapter")
    if option == "deadline":
        return value if isinstance(value, Deadline) else Deadline(value)
    if option == "retry" and isinstance(value, int):
        value = {"max_attempts": value}
    if option == "hedge" and isinstance(value, (int, float)):
        value = {"delay": float(value)}
    policy = make_policy(option, value)
    return _Changes(policy, tuple(value)) if isinstance(value, Mapping) and option in _WITH_DEFAULTS else policy


def _parse_retry_if(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f"{name}={value!r}: expected a function of the Answer, or None")
    return _Changes(make_policy("retry", {"retry_if": value}), ("retry_if",))


def _parse_idempotent(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected True, False or None")
    return value


def _parse_key(name: str, value: Any) -> Operation:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name}: expected the key as text, which is not empty")
    return Operation(value)


def _parse_labels(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r}: expected a mapping of names to values")
    return _check_labels({key: _label(key, each) for key, each in value.items()})


def _label(name: Any, value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"labels: {name!r} must be text or a number, not {type(value).__name__}")
    text = value if isinstance(value, str) else str(value)
    is_name = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
    if not is_name or len(text) > _LONGEST_VALUE or not text.isprintable():
        raise ConfigurationError(
            f"labels: a name may have {_LONGEST_NAME} characters, a value {_LONGEST_VALUE}, all of them printable"
        )
    return text


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > _MOST_LABELS:
        raise ConfigurationError(f"labels: a call may have {_MOST_LABELS}, those of the blocks around it included")
    return labels


def _parse_listeners(name: str, value: Any) -> tuple[Any, ...]:
    functions = tuple(value) if isinstance(value, Collection) else (None,)
    if not all(map(callable, functions)):
        raise TypeError(f"{name}={value!r}: expected a collection of functions")
    return functions


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "retry_if": _parse_retry_if,
    "timeout": validate.timeout,
    "idempotent": _parse_idempotent,
    "idempotency_key": _parse_key,
    "labels": _parse_labels,
    "listeners": _parse_listeners,
}


# Stacks ---------------------------------------------------------------------------------------------------------------


def adapt(policies: Sequence[Policy], settings: CallSettings) -> tuple[Policy, ...]:
    """Return the policies of an adapter, with what is said for one call.

    Args:
        policies: The policies, outermost first.
        settings: What is said.
    """
    stack, has_hedge = list(policies), any(_option_of(policy) == "hedge" for policy in policies)
    said = dict(settings.policies)
    for option, value in settings.policies:
        if option == "retry_if":
            if said.get("retry") is not False:
                stack = _put(stack, "retry", value)
        elif value is False:
            stack = [each for policy in stack for each in _without(policy, option)]
        elif value is not True or option in _WITH_DEFAULTS:
            stack = _put(stack, option, value)
    return tuple(_fit_together(stack, said, has_hedge=has_hedge))


def _option_of(policy: Policy) -> str:
    return PolicyTraits.of(policy).stack_option


def _without(policy: Policy, option: str) -> Sequence[Policy]:
    """Return what is left of a policy where all that stand for an option are left out: nothing, or one."""
    if _option_of(policy) == option:
        return ()
    gates: Any = PolicyTraits.of(policy).gates
    rest = tuple(gate for gate in gates if _option_of(gate) != option)
    if len(rest) == len(gates):
        return (policy,)
    return rest if len(rest) < 2 else (Gates(rest),)


def _put(stack: list[Policy], option: str, value: Any) -> list[Policy]:
    """Return a stack in which the value takes the place of the policies of an option, or changes them."""
    places = [place for place, policy in enumerate(stack) if _option_of(policy) == option]
    if value is True and places:
        return stack
    if type(value) is _Changes and places:
        return [value.apply(policy) if place in places else policy for place, policy in enumerate(stack)]
    added = make_policy(option, True) if value is True else value.policy if type(value) is _Changes else value
    place = places[0] if places else _find_place(stack, option)
    rest = [policy for number, policy in enumerate(stack) if number not in places]
    return [*rest[:place], added, *rest[place:]]


def _find_place(stack: Sequence[Policy], option: str) -> int:
    """Return where a policy of an option belongs: before the first that is further inside in the standard order."""
    inner = _ORDER[_ORDER.index(option) + 1 :]
    for place, policy in enumerate(stack):
        gates = PolicyTraits.of(policy).gates or (policy,)
        if any(_option_of(gate) in inner for gate in gates):
            return place
    return len(stack)


def _fit_together(stack: list[Policy], said: Mapping[str, Any], *, has_hedge: bool) -> list[Policy]:
    """Return the stack with the settings that policies owe each other, as `standard` makes them."""
    by_option: dict[str, Any] = {_option_of(policy): policy for policy in stack}
    regions, retry, hedge = by_option.get("regions"), by_option.get("retry"), by_option.get("hedge")
    changed: dict[str, Any] = {}
    if regions is not None and said.get("retry") is False and regions.retry_codes:
        changed["regions"] = replace(regions, retry_codes=())  # they are retries as well
    elif regions is not None and retry is not None and "retry" in said:
        changed["retry"] = leave_statuses_to(regions, retry)
    value = said.get("hedge")
    is_made_here = value is True or (type(value) is _Changes and "budget" not in value.names)
    if hedge is not None and not has_hedge and retry is None and is_made_here:
        changed["hedge"] = replace(hedge, budget=None)  # there are no retries that fill it
    if "idempotency" in by_option and isinstance(by_option.get("deadline"), Deadline):
        changed["idempotency"] = wait_within(by_option["idempotency"], by_option["deadline"])
    return [changed.get(_option_of(policy), policy) for policy in stack]
