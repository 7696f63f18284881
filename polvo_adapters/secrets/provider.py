"""What a provider of secrets is, and what all of them share: the choice of a field, and errors that tell nothing.

Theory of operation. A provider is asked for a name and a field, and returns a text and for how long it is good. It
keeps nothing of what it fetched: that is for `polvo_adapters.secrets.secret`. What it cannot do it says by a
SecretError:

    reason          what happened                                                      final
    --------------  -----------------------------------------------------------------  -----
    "not found"     the provider answered that it has no such secret                    yes
    "no such field" the secret is there, the field is not                               yes
    "empty"         what is there is an empty text                                      yes
    "no text"       what is there is no text, or too long for a secret                  yes
    "denied"        the provider does not accept our credentials, or not for this
    "sealed"        a vault that is sealed, or not initialized
    "unavailable"   the provider answered that it cannot answer (429, 5xx)
    "unreachable"   no answer
    "malformed"     an answer that is not what the provider's documentation promises
    others          the name of the exception that was raised on the way

Nothing that an exception from below says is repeated, and none is kept as a cause: their texts, requests and responses
may hold the secret, or the credentials that it was asked for with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from polvo_adapters.errors import ConfigurationError, PolvoError, SecretError

T = TypeVar("T")

EVERYTHING = "*"
"""The field that stands for all of them, as JSON."""
LARGEST = 1 << 20
"""Characters of the longest text that is taken for a secret."""

_FINAL = ("not found", "no such field", "empty", "no text")
_SHOWN = 20


class Fetched(NamedTuple):
    """What a provider returns.

    Attributes:
        value: The secret.
        lifetime: Seconds for which it is good, or None where the provider does not say.
    """

    value: str
    lifetime: float | None = None

    def __repr__(self) -> str:
        return f"<Fetched, good for {'as long as wanted' if self.lifetime is None else f'{self.lifetime:g} s'}>"


class Provider(Protocol):
    """Where secrets come from; any object with these two will do."""

    @property
    def scheme(self) -> str:
        """Its name in URIs and messages."""

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a secret as it is now.

        Args:
            name: Its name.
            field: Which of its fields, or None where it is the whole.

        Raises:
            SecretError: There is none, or it cannot be had; see `polvo_adapters.secrets.provider`.
        """


def failure(scheme: str, name: str, reason: str, advice: str, **keywords: Any) -> SecretError:
    """Return the error for a secret that could not be fetched.

    Args:
        scheme: Name of the provider.
        name: Name of the secret.
        reason: One word of the list above.
        advice: What to do.
        **keywords: As for SecretError.
    """
    final = keywords.pop("final", reason in _FINAL)
    return SecretError(
        f"{scheme}: the secret {name!r} could not be fetched ({reason}); {advice}",
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
        PolvoError: One that `ask` has made itself, without its request.
        Exception: What `translate` has made.
    """
    made: Exception
    try:
        return ask()
    except (SecretError, ConfigurationError) as error:
        made = error
        if not _is_bare(error):
            made = copied(error)
    except Exception as error:  # noqa: BLE001 - libraries raise what they like
        made = translate(error)
    # Raised here, where none is being handled: Python would keep the other one as the context of this one.
    raise made


def _is_bare(error: PolvoError) -> bool:
    return error.__cause__ is None and error.__context__ is None and error.request is None and error.response is None


def copied(error: PolvoError) -> PolvoError:
    """Return an error with the same words and data, without request, response, cause and context."""
    made = type(error)(*error.args)
    vars(made).update(vars(error), request=None, response=None)
    return made


def library(name: str, extra: str) -> Any:
    """Return a module of a library that not everybody has.

    Args:
        name: Name of the module.
        extra: The extra of this package that brings it.

    Raises:
        ConfigurationError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        missing = ConfigurationError(
            f"secrets of this kind need the library {name}; pip install 'polvo_adapters[{extra}]'"
        )
    raise missing


def extract_field(scheme: str, name: str, value: object, field: str | None) -> str:
    """Return the text of a secret, or that of one of its fields.

    Args:
        scheme: Name of the provider.
        name: Name of the secret.
        value: What the provider has: a text, which is read as JSON where a field is wanted, or a mapping.
        field: The field; None for the whole, or the only one there is; "*" for all of them as JSON.

    Raises:
        SecretError: There is no such field, or no text.
    """
    if field is None and not isinstance(value, dict):
        return text(scheme, name, value)
    fields = _fields(scheme, name, value)
    if field == EVERYTHING:
        return text(scheme, name, json.dumps(fields))
    if field is None:
        if len(fields) != 1:
            raise failure(scheme, name, "no such field", f"name one of its fields: {_names(fields)}")
        (value,) = fields.values()
        return text(scheme, name, value)
    if field not in fields:
        raise failure(scheme, name, "no such field", f"{field!r} is not among its fields: {_names(fields)}")
    return text(scheme, name, fields[field])


def text(scheme: str, name: str, value: object) -> str:
    """Return a value as the text that it is sent as.

    Raises:
        SecretError: It has none.
    """
    if isinstance(value, (bool, int, float, dict, list)):
        value = json.dumps(value)
    if value == "":
        raise failure(scheme, name, "empty", "there is no value under that name; look at what is stored")
    if not isinstance(value, str):
        raise failure(scheme, name, "no text", "it is neither a text nor a number; look at what is stored")
    if len(value) > LARGEST:
        raise failure(scheme, name, "no text", f"it is longer than {LARGEST} characters; look at what is stored")
    return value


def _fields(scheme: str, name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, dict):
        return value
    raise failure(scheme, name, "no such field", "it is no JSON object, and has no fields; ask for it as a whole")


def _names(fields: dict[str, Any]) -> str:
    names = sorted(map(str, fields))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(repr(name[:64]) for name in names[:_SHOWN]) or "none") + more


class Source(NamedTuple):
    """Where a secret comes from.

    Attributes:
        provider: Whom to ask.
        name: Its name there.
        field: Which of its fields, or None.
    """

    provider: Provider
    name: str
    field: str | None

    def __str__(self) -> str:
        mark = "" if self.field is None else f"#{self.field}"
        return f"{self.provider.scheme}://{self.name}{mark}"
