"""The token in the response of an authorization server, or the error that the response is.

Theory of operation. Where the values of a response stand, and what they mean, is in a `TokenResponse`. Nothing in it is
trusted: every value is checked. Without a token that can be used the response is an error with a reason of the list
below; no other exception is raised. A token is used whatever stands beside it: a field without a meaning is logged and
left out.

    reason                     response                                                final
    -------------------------  ------------------------------------------------------  -----
    the server's error code    a refusal, see `error` and `success` of TokenResponse   some
    "error"                    a refusal with a code that must not be shown
    "redirect"                 a redirect; it is not followed, it would carry secrets
    "status <n>"               an error status without a code
    "not json"                 neither JSON nor a form, such as a web page
    "no access_token"          no token in it
    "invalid access_token"     a token that no header can carry, or over 64 KiB
    "unsupported token_type"   bound to a key without that being asked for, or the other way round

**One level deeper.** Where the response has no token in its place, and one inner object has it, that object counts.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from polvo_adapters.auth.protocol.response_document import find_holder, follow, list_objects, parse_document
from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import Path, TokenResponse
from polvo_adapters.auth.protocol.token_lifetime import choose_lifetime, parse_duration
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.headers.times import parse_date
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.shells.server_words import describe_failure, list_tokens, redact_code, redact_description

_LOG = logger("tokens")
_TOKEN = re.compile(r"[\x21-\x7E]+\Z")
_SCHEME = re.compile(r"\A(?:bearer|token|jwt) +", re.IGNORECASE)
_LONGEST = 65_536
_SHORT = 200
_TEN_YEARS = 10 * 365 * 86_400.0
_STANDARD = TokenResponse()
_NOTHING: tuple[Any, ...] = (None, "", False, 0, "0", [], {})
_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}


def parse_success(response: ServerResponse, described: TokenResponse = _STANDARD) -> dict[str, Any] | None:
    """Return the fields of a response that is no error, or None if it has none.

    Args:
        response: The response.
        described: The meaning of the response.

    Raises:
        TokenRefreshError: The response is an error.
    """
    answer = _Answer(response, described)
    answer.require_success()
    return answer.document if isinstance(answer.document, dict) else None


def require_fields(response: ServerResponse) -> dict[str, Any]:
    """Return the fields of a response.

    Raises:
        TokenRefreshError: The response is an error, or has no fields.
    """
    fields = parse_success(response)
    if fields is None:
        raise response.make_error("not json")
    return fields


def parse_token(
    response: ServerResponse,
    key: str | None = None,
    described: TokenResponse = _STANDARD,
    refresh_token: str | None = None,
) -> Token:
    """Return the token of a response.

    Args:
        response: The response.
        key: The private key, in PEM, that the token was to be bound to, or None.
        described: The meaning of the response.
        refresh_token: The refresh token that was sent, which stays valid where the response has no other.

    Raises:
        TokenRefreshError: The response has no token that can be used.

    Source: RFC 6749 sections 5 and 6.
    """
    answer = _Answer(response, described)
    answer.require_success()
    access_token = answer.find_token()
    given = answer.find(described.token_type) or "Bearer"
    token_type = _TYPES.get(given.lower()) if isinstance(given, str) else None
    if (token_type == "DPoP") != (key is not None):
        raise response.make_error("unsupported token_type")
    server_time = parse_date(answer.find_header("date") or "")
    life = choose_lifetime(answer.find, described, access_token, server_time)
    extra = answer.collect_extra()
    if token_type is None:
        extra["token_type"] = given
    renewed = answer.find(described.refresh_token)
    if renewed not in (None, ""):  # if it cannot be used, the one that was sent is not valid any more all the same
        refresh_token = _text_or_none(renewed)
        life = life._replace(odd=life.odd or ("refresh_token" if refresh_token is None else ""))
    _log_oddities(response, life.odd, "token_type" if token_type is None else "")
    scope = _join_scope(answer.find(described.scope))
    return Token(access_token, token_type or "Bearer", life.seconds, refresh_token, scope, key, extra)


def _log_oddities(response: ServerResponse, *names: str) -> None:
    """Log that fields mean nothing, without their values, which the server chooses."""
    for name in filter(None, names):
        text = "%s: the %s that came with a token means nothing here; the token is used without it"
        say(_LOG, logging.WARNING, "token_odd", text, response.host, name, host=response.host, reason=name)


def credential_error(response: ServerResponse, described: TokenResponse = _STANDARD) -> object:
    """Return the error code of a response that refuses the client's credentials or its proof, or None for any other.

    It is "invalid_client" if the server does not accept the client's credentials, and "use_dpop_nonce" if the proof has
    to contain a nonce of the server.

    Args:
        response: The response.
        described: The meaning of the response.

    Source: RFC 6749 section 5.2, RFC 9449 section 8.
    """
    return _Answer(response, described).find(described.error) if response.status in (400, 401) else None


def parse_seconds(value: Any, response: ServerResponse) -> float | None:
    """Return a lifetime in seconds, or None if there is none, or one of more than ten years.

    Raises:
        TokenRefreshError: The value is no number, or not above 0.
    """
    if value is None:
        return None
    seconds = parse_duration(value)
    if seconds is None or not seconds > 0:
        raise response.make_error("invalid expires_in")
    return None if seconds > _TEN_YEARS else seconds


class _Answer:
    """The values of a response, as a TokenResponse describes them.

    Args:
        response: The response.
        described: Its meaning.

    Attributes:
        document: What its body says, or None.
    """

    def __init__(self, response: ServerResponse, described: TokenResponse) -> None:
        self._response, self._described = response, described
        self.document = parse_document(response, described)
        self._place = self.document

    def find(self, path: Path) -> Any:
        """Return the value at a path, or None."""
        for each in path if isinstance(path, tuple) else (path,):
            value = None if each is None else self._find_at(each)
            if value is not None:
                return value
        return None

    def _find_at(self, path: str) -> Any:
        if path == ".":
            return self.document
        if path.startswith("header:"):
            value = self.find_header(path.partition(":")[2])
            return None if value is None else _SCHEME.sub("", value, count=1)
        return follow(self._place, path)

    def find_header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        headers = self._response.headers.items()
        return next((value for each, value in headers if each.lower() == name.lower()), None)

    def require_success(self) -> None:
        """Raise the error that a response is."""
        response, described = self._response, self._described
        if 300 <= response.status < 400:
            raise response.make_error("redirect")
        error = self.find(described.error)
        is_refused = not 200 <= response.status < 300
        if described.success:
            is_refused |= not all(_is_as_said(self.find(path), said) for path, said in described.success.items())
        else:
            is_refused |= error not in _NOTHING or self._says_no()
        if is_refused:
            reason, description = self._describe_refusal(error)
            final = reason in described.final or None
            raise response.make_error(reason, description, final=False if reason in described.temporary else final)

    def _says_no(self) -> bool:
        document = self.document
        return isinstance(document, dict) and any(document.get(name) is False for name in ("ok", "success"))

    def _describe_refusal(self, error: Any) -> tuple[str, str]:
        """Return the reason and the description of a refusal."""
        response, described = self._response, self._described
        secrets = (*response.secrets, *list_tokens(self.document))
        code, text = describe_failure(self.document, secrets)
        if isinstance(error, (str, int)) and error not in _NOTHING:
            code = redact_code(error, secrets)
        elif not code and 200 <= response.status < 300:
            code = "error"
        description = redact_description(self.find(described.error_description), secrets)
        if self.document is None and not 200 <= response.status < 300:
            text = _read_plain_text(response.body, secrets)
        description = description or text
        return code or f"status {response.status}", "" if description == code else description

    def find_token(self) -> str:
        """Return the access token, and let paths lead from the inner object that has it, where it is not in its place.

        Raises:
            TokenRefreshError: There is none that can be used.
        """
        path = self._described.access_token
        access_token = self.find(path)
        if access_token in (None, ""):
            inner = [each for each in list_objects(self.document) if isinstance(path, str) and follow(each, path)]
            if len(inner) == 1:
                self._place = inner[0]
                access_token = self.find(path)
        if access_token in (None, ""):
            raise self._make_token_error("no access_token" if isinstance(self.document, dict) else "not json")
        if isinstance(access_token, str):
            access_token = _SCHEME.sub("", access_token, count=1)  # some servers write the scheme before it
        if not isinstance(access_token, str) or len(access_token) > _LONGEST or not _TOKEN.match(access_token):
            raise self._make_token_error("invalid access_token")
        return access_token

    def _make_token_error(self, reason: str) -> TokenRefreshError:
        code, text = describe_failure(self.document, (*self._response.secrets, *list_tokens(self.document)))
        return self._response.make_error(reason, f"{code}: {text}" if code and text else code or text)

    def collect_extra(self) -> dict[str, Any]:
        """Return the fields beside the token, and those that the description names."""
        described, place = self._described, self._place
        paths = (described.access_token, described.refresh_token, described.expires_in, described.token_type)
        own = {each for path in (*paths, described.scope) for each in (path if isinstance(path, tuple) else (path,))}
        holder = next((each for each in map(find_holder, own) if each and isinstance(follow(place, each), dict)), "")
        inner = follow(place, holder) if holder else place
        names = {each.rpartition(".")[2] for each in own if each}
        extra = {name: value for name, value in inner.items() if name not in names} if isinstance(inner, dict) else {}
        named = {name: self.find(path) for name, path in described.extra.items()}
        return {**extra, **{name: value for name, value in named.items() if value is not None}}


def _is_as_said(value: Any, said: Any) -> bool:
    """Return whether a value is the expected one, or one of several; a text stands for the number that it shows."""
    expected = said if isinstance(said, (tuple, list, set, frozenset)) else (said,)
    return any((value is None) == (each is None) and str(value).lower() == str(each).lower() for each in expected)


def _read_plain_text(body: bytes, secrets: tuple[str, ...]) -> str:
    """Return the body of an error that is a short text, and neither a document nor a page."""
    text = body[: 2 * _SHORT].decode("utf-8", "replace").strip()
    return redact_description(text, secrets) if len(text) <= _SHORT and not text.startswith(("<", "{", "[")) else ""


def _join_scope(scope: Any) -> str | None:
    if isinstance(scope, list) and all(isinstance(each, str) for each in scope):
        scope = " ".join(scope)
    return _text_or_none(scope)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None
