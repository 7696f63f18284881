"""What a provider of secrets is, and what all of them share: the choice of a field, and errors that contain no secret.

Theory of operation. A provider is asked for a name and a field, and returns a text and its lifetime. It keeps nothing
of what it fetched: `polvo_adapters.secrets.secret` does. If it cannot return a secret, it raises a SecretError:

    reason          what happened                                                      final
    --------------  -----------------------------------------------------------------  -----
    "not found"     the provider answered that it has no such secret                    yes
    "no such field" the secret is there, the field is not                               yes
    "empty"         what is there is an empty text                                      yes
    "no text"       what is there is no text, or too long for a secret                  yes
    "denied"        the provider does not accept our credentials, or not for this
    "sealed"        a vault that is sealed, or not initialized
    "unavailable"   the provider answered that it cannot answer (429, 5xx)
    "unreachable"   no response
    "malformed"     a response that is not what the provider's documentation promises
    others          the name of the exception that was raised on the way

The text of an exception from below is not repeated, and the exception is not kept as a cause: its text, request and
response may contain the secret, or the credentials of the provider.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from polvo_adapters.errors import ConfigurationError, PolvoError, SecretError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime.extras import missing_text

T = TypeVar("T")

EVERYTHING = "*"
"""The field that stands for all of them, as JSON."""
LARGEST = 1 << 20
"""Characters of the longest text that is taken for a secret."""

_FINAL = ("not found", "no such field", "empty", "no text")
_MOST_NAMES = 20  # that a message shows


@unpicklable
class Fetched(NamedTuple):
    """What a provider returns.

    Attributes:
        value: The secret.
        lifetime: Seconds for which it may be used, or None if the provider does not say.
    """

    value: str
    lifetime: float | None = None

    def __repr__(self) -> str:
        return f"<Fetched, good for {'as long as wanted' if self.lifetime is None else f'{self.lifetime:g} s'}>"


class Provider(Protocol):
    """A source of secrets: any object with these two members, and optionally `local` and `renew`.

    If it has a true attribute `local`, a fetch is so fast that it is not made ahead of time on another thread.

    If it has a method `renew(name, field)`, that is called in the place of `fetch` where a value is held that the
    server, which it is for, has not refused. It returns a Fetched with the same value and the time that it may still be
    used, or None, after which `fetch` is called; it may raise a SecretError as well.

    If it has a coroutine method `fetch_async(name, field)`, that is called in the place of `fetch` for tasks of an
    event loop, by `Secret.aget`. Without one, or where it is None, a task waits for `fetch` on another thread.
    """

    @property
    def scheme(self) -> str:
        """Its name in URIs and messages."""

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a secret as it is now.

        Args:
            name: Its name.
            field: Which of its fields, or None for the whole.

        Raises:
            SecretError: It cannot be fetched; see `polvo_adapters.secrets.provider`.
        """


def is_provider(value: object) -> bool:
    """Return whether a value has the members of `Provider`."""
    return isinstance(getattr(value, "scheme", None), str) and callable(getattr(value, "fetch", None))


def require_provider(value: object) -> None:
    """Raise an error unless a value has the members of `Provider`; it does not show the value, which may be a secret.

    Raises:
        TypeError: A member is missing, or is not what it should be; the message names it.
    """
    if not is_provider(value):
        member = "text `scheme`" if callable(getattr(value, "fetch", None)) else "method `fetch(name, field)`"
        raise TypeError(f"Secret: {type(value).__name__} is not a provider, it has no {member}")


def is_local(provider: Provider) -> bool:
    """Return whether a fetch is too fast to be worth making ahead of time; see `Provider`."""
    return bool(getattr(provider, "local", False))


def renew_or_fetch(provider: Provider, name: str, field: str | None) -> Fetched:
    """Return the value that a provider has renewed, or a new one; see `Provider`."""
    renew: Callable[[str, str | None], Fetched | None] | None = getattr(provider, "renew", None)
    renewed = renew(name, field) if callable(renew) else None
    return provider.fetch(name, field) if renewed is None else renewed


def find_async_fetch(provider: Provider) -> Callable[[str, str | None], Awaitable[Fetched]] | None:
    """Return the method `fetch_async` of a provider, or None where it has none; see `Provider`."""
    found: Callable[[str, str | None], Awaitable[Fetched]] | None = getattr(provider, "fetch_async", None)
    return found


def fetch_error(scheme: str, name: str, reason: str, advice: str, **keywords: Any) -> SecretError:
    """Return the error for a secret that could not be fetched.

    Args:
        scheme: Name of the provider.
        name: Name of the secret.
        reason: One of the reasons listed above.
        advice: What to do.
        **keywords: As for SecretError.
    """
    final = keywords.pop("final", reason in _FINAL)
    origin = f" from {keywords['host']}" if keywords.get("host") else ""
    return SecretError(
        f"{scheme}: the secret {name!r} could not be fetched{origin} ({reason}); {advice}",
        provider=scheme,
        name=name,
        reason=reason,
        final=final,
        **keywords,
    )


def call_without_leak(ask: Callable[[], T], translate: Callable[[Exception], Exception]) -> T:
    """Return what `ask` returns; in the place of an exception, raise another one that holds nothing of it.

    Args:
        ask: Asks a provider.
        translate: Returns the error for an exception from below.

    Raises:
        PolvoError: A SecretError or ConfigurationError of `ask`, without its request.
        Exception: The result of `translate`.
    """
    bare: Exception
    try:
        return ask()
    except (SecretError, ConfigurationError) as error:
        bare = error
        if not _is_bare(error):
            bare = copy_without_request(error)
    except Exception as error:  # noqa: BLE001 - libraries raise what they like
        bare = translate(error)
    # Raised here, where no exception is being handled: Python would keep the other one as the context of this one.
    raise bare


async def await_without_leak(ask: Awaitable[T], translate: Callable[[Exception], Exception]) -> T:
    """Return what is awaited; as `call_without_leak`."""
    bare: Exception
    try:
        return await ask
    except (SecretError, ConfigurationError) as error:
        bare = error
        if not _is_bare(error):
            bare = copy_without_request(error)
    except Exception as error:  # noqa: BLE001 - libraries raise what they like
        bare = translate(error)
    raise bare


def _is_bare(error: PolvoError) -> bool:
    return error.__cause__ is None and error.__context__ is None and error.request is None and error.response is None


def copy_without_request(error: PolvoError) -> PolvoError:
    """Return an error with the same text and data, without request, response, cause and context."""
    copy = type(error)(*error.args)
    vars(copy).update(vars(error), request=None, response=None)
    return copy


def import_library(name: str, extra: str) -> Any:
    """Return a module of an optional library.

    Args:
        name: Name of the module.
        extra: The extra of this package that installs it.

    Raises:
        ConfigurationError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        missing = ConfigurationError(missing_text("a secret of this kind", f"the library {name}", extra))
    raise missing


def extract_field(scheme: str, name: str, value: object, field: str | None) -> str:
    """Return the text of a secret, or that of one of its fields.

    Args:
        scheme: Name of the provider.
        name: Name of the secret.
        value: What the provider has: a text, which is parsed as JSON if a field is wanted, or a mapping.
        field: The field; None for the whole, or the only one there is; "*" for all of them as JSON.

    Raises:
        SecretError: There is no such field, or no text.
    """
    if field is None and not isinstance(value, dict):
        return to_text(scheme, name, value)
    fields = _parse_fields(scheme, name, value)
    if field == EVERYTHING:
        return to_text(scheme, name, json.dumps(fields))
    if field is None:
        if len(fields) != 1:
            raise fetch_error(scheme, name, "no such field", f"name one of its fields: {_list_names(fields)}")
        (field,) = fields
    elif field not in fields:
        advice = f"{field!r} is not among its fields: {_list_names(fields)}"
        raise fetch_error(scheme, name, "no such field", advice)
    return to_text(scheme, name, fields[field])


def to_text(scheme: str, name: str, value: object) -> str:
    """Return a value as the text that it is sent as.

    Args:
        scheme: Name of the provider.
        name: Name of the secret.
        value: The value.

    Raises:
        SecretError: It is empty, too long, or neither a text nor a number.
    """
    if isinstance(value, (bool, int, float, dict, list)):
        value = json.dumps(value)
    if value == "":
        raise fetch_error(scheme, name, "empty", "there is no value under that name; look at what is stored")
    if not isinstance(value, str):
        raise fetch_error(scheme, name, "no text", "it is neither a text nor a number; look at what is stored")
    if len(value) > LARGEST:
        raise fetch_error(scheme, name, "no text", f"it is longer than {LARGEST} characters; look at what is stored")
    return value


def _parse_fields(scheme: str, name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, dict):
        return value
    raise fetch_error(scheme, name, "no such field", "it is no JSON object, and has no fields; ask for it as a whole")


def _list_names(fields: dict[str, Any]) -> str:
    names = sorted(map(str, fields))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(repr(name[:64]) for name in names[:_MOST_NAMES]) or "none") + more


class Source(NamedTuple):
    """Where a secret comes from.

    Attributes:
        provider: The provider.
        name: Name of the secret there.
        field: Which of its fields, or None.
    """

    provider: Provider
    name: str
    field: str | None

    def __str__(self) -> str:
        mark = "" if self.field is None else f"#{self.field}"
        return f"{self.provider.scheme}://{self.name}{mark}"
