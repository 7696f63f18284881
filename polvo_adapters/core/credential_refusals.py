"""What the answer of an API looks like that refuses a credential.

Theory of operation. 401 says so (RFC 9110 section 15.5.2), and many APIs say it otherwise: by 403, by 400 with a code
in the body, by 200 with an error in it. What an API says besides 401 is a list of rules, each of which has an opinion
of an answer or none:

    rule                              says                      of
    --------------------------------  ------------------------  -----------------------------------------------
    a status                          refused                   an answer with that status
    a CredentialRefusal               refused                   an answer that it describes
    a function                        what it returns           any answer; an exception of it is no opinion
    the name of a dialect             refused                   an answer that one of the dialect's rules describes

One rule that says "refused" is enough. Otherwise a function that returned False decides, and where no rule has an
opinion, 401 is the refusal.

The policies below an auth object learn of it by a judge: an answer that refuses is neither recorded for a key nor kept
as the last good one, and not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, Union

from polvo_adapters.core.answer import Answer, ask
from polvo_adapters.errors import ConfigurationError

LARGEST_REFUSAL = 1 << 16
"""Bytes of the largest body that is looked at: what refuses a credential is short, and carries no data."""

_UNAUTHORIZED = 401
_DEEPEST = 8  # arrays within arrays that a path leads through

Texts: TypeAlias = Union[str, int, Collection[Union[str, int]]]  # noqa: UP007 - evaluated at import by Python 3.10 tools


@dataclass(frozen=True)
class CredentialRefusal:
    """The description of an answer that refuses a credential. All that is given must hold.

    Args:
        statuses: The status, or several of which one is enough; by default any.
        fields: Fields of the body, which is JSON, and what one of them has as its value, or several values of which one
            is enough. Dots in the name of a field lead into objects, and into each element of an array:
            `{"errors.extensions.code": "UNAUTHENTICATED"}`. Of several fields each must be there.
        headers: Headers, and what is in them, or several texts of which one is enough; upper and lower case are alike:
            `{"WWW-Authenticate": "invalid_token"}`. Of several headers each must be there.
        text: What is in the body, or several texts of which one is enough, for bodies that are no JSON.

    Raises:
        ConfigurationError: Nothing is given, or something that no answer can have.
    """

    statuses: int | Collection[int] = ()
    fields: Mapping[str, Texts] | None = None
    headers: Mapping[str, Texts] | None = None
    text: Texts = ()

    _statuses: frozenset[int] = field(init=False, repr=False, compare=False)
    _fields: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    _headers: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    _text: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made: dict[str, Any] = {
            "_statuses": _as_statuses(self.statuses),
            "_fields": {name: _as_texts("fields", texts) for name, texts in (self.fields or {}).items()},
            "_headers": {name: _as_texts("headers", texts, str.lower) for name, texts in (self.headers or {}).items()},
            "_text": frozenset() if self.text == () else _as_texts("text", self.text),
        }
        if not any(made.values()):
            raise ConfigurationError("CredentialRefusal: expected statuses, fields, headers or text")
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def reads_body(self, status: int) -> bool:
        """Return whether the body of an answer with a status matters."""
        return bool(self._fields or self._text) and (not self._statuses or status in self._statuses)

    def __call__(self, answer: Answer) -> bool | None:
        """Return True for an answer that is as described, and None for any other, of which this has no opinion."""
        if self._statuses and answer.status not in self._statuses:
            return None
        for name, texts in self._headers.items():
            value = answer.headers.get(name.lower(), "").lower()
            if not any(text in value for text in texts):
                return None
        if self._text and not self._has_text(answer):
            return None
        return True if not self._fields or self._has_fields(answer) else None

    def _has_text(self, answer: Answer) -> bool:
        body = (answer.body or b"").decode("utf-8", "replace")
        return any(text in body for text in self._text)

    def _has_fields(self, answer: Answer) -> bool:
        document = _parse(answer)
        return all(
            any(_as_text(value) in texts for value in _find(document, path.split(".")))
            for path, texts in self._fields.items()
        )

    def __hash__(self) -> int:
        return hash((self._statuses, self._text, *self._fields, *self._headers))


Judge: TypeAlias = Callable[[Answer], 'Literal["refused"] | None']
Rule: TypeAlias = Union[int, str, CredentialRefusal, Callable[[Answer], "bool | None"]]  # noqa: UP007 - as above
Refused: TypeAlias = Union[Rule, Collection[Rule], None]  # noqa: UP007 - as above
"""What `refused=` takes: a rule, or several."""


class RefusalTest:
    """The test that tells answers which refuse a credential from others.

    Args:
        owner: Class of the auth object, for messages.
        refused: The rules, as `refused=` takes them.

    Attributes:
        is_plain: Whether the status alone decides, which is then 401 or one of `statuses`.
        statuses: Statuses that are refusals whatever else an answer has.
        judges: The judge that tells policies of refusals, or nothing where only 401 is one, which they know.

    Raises:
        ConfigurationError: A rule is none.
    """

    __slots__ = ("_rules", "is_plain", "judges", "refused", "statuses")

    def __init__(self, owner: str, refused: Refused = None) -> None:
        self.refused = refused
        statuses: set[int] = set()
        self._rules: list[Any] = []
        for rule in _list_rules(refused):
            if isinstance(rule, int):
                statuses |= _as_statuses(rule)
            elif isinstance(rule, str):
                self._rules += _find_dialect(owner, rule)
            elif callable(rule):
                self._rules.append(rule)
            else:
                raise ConfigurationError(
                    f"{owner}(refused=...): expected statuses, a CredentialRefusal, a function, or the name of a "
                    f"dialect, got {type(rule).__name__}"
                )
        self.is_plain = not self._rules
        self.statuses = frozenset(statuses | {_UNAUTHORIZED} if self.is_plain else statuses)
        is_known = self.is_plain and self.statuses == {_UNAUTHORIZED}
        self.judges: tuple[Judge, ...] = () if is_known else (self.judge,)

    def reads_body(self, status: int) -> bool:
        """Return whether the body of an answer with a status matters."""
        if status in self.statuses:
            return False
        return any(rule.reads_body(status) if isinstance(rule, CredentialRefusal) else True for rule in self._rules)

    def __call__(self, answer: Answer) -> bool:
        """Return whether an answer refuses the credential of its request."""
        if answer.status in self.statuses:
            return True
        said = [ask(rule, answer)[0] for rule in self._rules]
        if True in said:
            return True
        return answer.status == _UNAUTHORIZED and False not in said

    def judge(self, answer: Answer) -> Literal["refused"] | None:
        """Return "refused" where an answer refuses the credential otherwise than by 401, so that no policy keeps it.

        It is a judge, see `polvo_adapters.core.judges`.
        """
        if answer.body is not None and len(answer.body) > LARGEST_REFUSAL:
            answer = answer._replace(body=None)
        return "refused" if answer.status != _UNAUTHORIZED and self(answer) else None

    def __reduce__(self) -> tuple[type[RefusalTest], tuple[str, Refused]]:
        return type(self), ("", self.refused)


def _list_rules(refused: Refused) -> list[Any]:
    if refused is None:
        return []
    if isinstance(refused, str) or callable(refused) or not isinstance(refused, Iterable):
        return [refused]
    return list(refused)


def _find_dialect(owner: str, name: str) -> tuple[CredentialRefusal, ...]:
    found = DIALECTS.get(name.lower())
    if found is None:
        raise ConfigurationError(f"{owner}(refused={name!r}): expected one of {', '.join(sorted(DIALECTS))}")
    return found


def _as_statuses(given: int | Collection[int]) -> frozenset[int]:
    statuses = [given] if isinstance(given, int) else list(given)
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
            raise ConfigurationError(f"refused: {status!r} is no status of HTTP")
    return frozenset(map(int, statuses))


def _as_texts(name: str, given: Texts, change: Callable[[str], str] = str) -> frozenset[str]:
    values: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not values or not all(isinstance(value, (str, int)) and value != "" for value in values):
        raise ConfigurationError(f"CredentialRefusal({name}=...): expected texts or numbers")
    return frozenset(change(_as_text(value)) for value in values)


def _as_text(value: object) -> str:
    """Return a value of a body as the text that it is compared as: servers write codes as numbers, and as texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) else ""


def _parse(answer: Answer) -> Any:
    try:
        return answer.json()
    except RecursionError:
        return None


def _find(value: Any, path: Sequence[str], depth: int = _DEEPEST) -> Iterator[Any]:
    """Yield what is at a path, in each element where it leads through an array."""
    if isinstance(value, list):
        if depth:
            for element in value:
                yield from _find(element, path, depth - 1)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _find(value[path[0]], path[1:], depth)


DIALECTS: Mapping[str, tuple[CredentialRefusal, ...]] = {
    # https://docs.slack.dev/reference/methods/auth.test#errors
    "slack": (CredentialRefusal(fields={"error": ("token_expired", "token_revoked", "invalid_auth")}),),
    # https://developers.facebook.com/docs/graph-api/guides/error-handling/
    "meta": (CredentialRefusal(fields={"error.code": (102, 190)}),),
    # https://www.apollographql.com/docs/apollo-server/data/errors
    "graphql": (CredentialRefusal(fields={"errors.extensions.code": "UNAUTHENTICATED"}),),
    # https://developer-docs.amazon.com/sp-api/docs/sp-api-errors
    "amazon": (CredentialRefusal(403, fields={"errors.code": "Unauthorized"}),),
    # https://www.rfc-editor.org/rfc/rfc6750#section-3.1, whatever the status
    "bearer": (CredentialRefusal(headers={"WWW-Authenticate": "invalid_token"}),),
}
"""Dialects by name: how APIs of a kind say besides 401 that they refuse a credential, each with its source."""

_ENDPOINTS = {
    "/api/oauth.v2.access": "slack",  # on slack.com, or behind a proxy
    "//graph.facebook.com/": "meta",
    "//api.amazon.com/auth/o2/token": "amazon",
}
"""Dialects by what is in the URL of a token endpoint that only one vendor has."""


def find_dialect(token_url: str) -> str | None:
    """Return the name of the dialect that the tokens of an endpoint are refused in, or None if it is not known."""
    return next((dialect for part, dialect in _ENDPOINTS.items() if part in token_url), None)
