"""What messages say of a request and of its response: the place, and the server's own words, with no secret in them.

Requests and responses are those of `requests`; of a request of httpx the place can be described as well.

Theory of operation. Servers repeat in their errors what they were sent. So what is shown of an answer, and of a path,
has nothing in common with the request: values of its body and of its headers and query are replaced by "***" where they
stand as they are, and a text that still has eight characters in a row of one, in any encoding, is left out. A page of
HTML is never shown, nor what was not read.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import text_of
from polvo_adapters.redaction import HiddenText, shorten_segment, unpicklable
from polvo_adapters.shells.server_words import describe_failure, list_tokens, reveals

_HARMLESS = re.compile(
    "accept(-encoding|-language)?|cache-control|connection|content-(encoding|length|type)|date|expect|host"
    "|if-(un)?modified-since|origin|range|te|transfer-encoding|upgrade|user-agent|via"
)
_PAIR = re.compile(r'[\w-]\s*=\s*"?([^",;\s]+)')
_NAME = re.compile(r"[A-Za-z_.-]+[0-9]{0,2}")
_WORD = re.compile(r"[\w@.+-]+")
_IN_ALL_FORMS, _LONG = 4, 8  # characters of a credential, and of a value of a body, that are found in any encoding
_LARGEST, _LARGEST_SENT = 1 << 16, 1 << 14
_SHOWN, _LOOKED_AT = 200, 400
_LONGEST_PATH = 80
_BEGINNING = 40
_MASK = "***"


@unpicklable
class RequestSecrets(NamedTuple):
    """The values of a request that no message may show.

    Attributes:
        values: The values.
        in_all_forms: Those of them that are looked for in encodings and in parts as well.
        is_complete: Whether all of the request is known; a body that was read from a stream is not.
    """

    values: tuple[str, ...]
    in_all_forms: tuple[str, ...]
    is_complete: bool

    def __repr__(self) -> str:
        return "<RequestSecrets>"

    def redact(self, text: str) -> str:
        """Return a text with its values replaced, or nothing where something of one is left."""
        for value in self.values:
            text = _replace_value(text, value)
        return "" if reveals(text, self.in_all_forms) else text


def list_secrets(response: Any, request: Any) -> RequestSecrets:
    """Return the values of a request, and of those that led to it, that no message may show."""
    credentials: set[str] = set(_list_cookies(response))
    contents: set[str] = set()
    is_complete = True
    for each in filter(None, [request, *(before.request for before in getattr(response, "history", ()))]):
        credentials.update(_list_credentials(each))
        found = _list_contents(each)
        is_complete = is_complete and found is not None
        contents.update(found or ())
    values = sorted(filter(str.strip, credentials | contents), key=len, reverse=True)
    long = [each for each in values if len(each) >= (_IN_ALL_FORMS if each in credentials else _LONG)]
    return RequestSecrets(tuple(map(HiddenText, values)), tuple(map(HiddenText, long)), is_complete)


def describe_place(request: Any, secrets: RequestSecrets | None = None) -> str:
    """Return method, host and path of a request, without query, and without what may be a secret in the path."""
    url = _url_of(request)
    secrets = list_secrets(None, request) if secrets is None else secrets
    return f"{text_of(request.method or '')} {find_host(url)}{_shorten_path(_path_of(url), secrets)}"


def _url_of(request: Any) -> str:
    """Return the URL of a request, which httpx has as an object."""
    return text_of(request.url or "") if isinstance(request.url, (str, bytes)) or not request.url else str(request.url)


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # a host that is none
        return ""


def _shorten_path(path: str, secrets: RequestSecrets) -> str:
    path = "/".join(_shorten_segment(each, secrets) for each in path.split("/"))
    return path if len(path) <= _LONGEST_PATH else path[: _LONGEST_PATH - 1] + "…"


def _shorten_segment(segment: str, secrets: RequestSecrets) -> str:
    """Return a segment of a path as it may be shown; webhooks and bots have their credential in one."""
    name = segment.partition(";")[0]
    if name and reveals(unquote(name), secrets.in_all_forms):
        return _MASK
    return shorten_segment(name)


def quote_reason(response: Any, secrets: RequestSecrets) -> str:
    """Return the reason phrase of a response, bounded and redacted, or nothing."""
    return _show(text_of(response.reason or "")[:_LONGEST_PATH], secrets)


def quote_server(response: Any, secrets: RequestSecrets) -> str:
    """Return what the server says about its error, bounded and redacted, or nothing.

    Args:
        response: The response; a body that was not read is not read now.
        secrets: The values that must not be shown.
    """
    body = getattr(response, "_content", None)
    if not isinstance(body, bytes) or not body or len(body) > _LARGEST or not secrets.is_complete:
        return ""
    text = body.decode("utf-8", "replace").strip()
    if text[:1] in ("{", "["):
        return _quote_json(text, secrets)
    kind = text_of(response.headers.get("content-type") or "text/plain").partition(";")[0].strip().lower()
    return "" if kind != "text/plain" or "<" in text else _show(text, secrets)


def quote_beginning(response: Any, secrets: RequestSecrets) -> str:
    """Return the first characters of a body that was read, redacted, or nothing."""
    body = response._content
    if not isinstance(body, bytes) or not secrets.is_complete:
        return ""
    shown = _show(body[:_LOOKED_AT].decode("utf-8", "replace"), secrets)
    return shown if len(shown) <= _BEGINNING else shown[:_BEGINNING].rstrip() + "…"


def _quote_json(text: str, secrets: RequestSecrets) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    tokens = list_tokens(document)
    known = RequestSecrets((*secrets.values, *tokens), (*secrets.in_all_forms, *tokens), True)

    def show(value: Any, _: tuple[str, ...]) -> str:
        return _show(value, known) if isinstance(value, str) else ""

    code, said = describe_failure(document, known.in_all_forms, show)
    code = "" if known.redact(code) != code else code
    return ": ".join(filter(None, (code, said)))


def _show(text: str, secrets: RequestSecrets) -> str:
    """Return the beginning of a text in one line, redacted."""
    redacted = secrets.redact(" ".join(text[:_LOOKED_AT].split()))
    shown = "".join(character if character.isprintable() else " " for character in redacted)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN].rstrip() + "…"


def _replace_value(text: str, value: str) -> str:
    """Return a text without a value; a short one is only found as a whole word."""
    if value.lower() not in text.lower():
        return text
    pattern = re.escape(value)
    if len(value) < _LONG:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return re.sub(pattern, _MASK, text, flags=re.IGNORECASE)


def _list_cookies(response: Any) -> Iterator[str]:
    for each in [] if response is None else [response, *response.history]:
        yield from (cookie.value for cookie in each.cookies if cookie.value)


def _list_credentials(request: Any) -> Iterator[str]:
    """Yield the values of the URL and of the headers of a request."""
    rest, _, query = _url_of(request).partition("#")[0].partition("?")
    for part in rest.partition("://")[2].partition("/")[0].rpartition("@")[0].split(":"):
        yield from (part, unquote(part))
    for pair in query.split("&"):
        value = pair.partition("=")[2] or pair
        yield from (value, unquote_plus(value))
    for name, given in request.headers.items():
        value = text_of(given)
        if not _HARMLESS.fullmatch(text_of(name).lower()):
            yield value
            yield from _split_header(value)


def _split_header(value: str) -> Iterator[str]:
    """Yield the parts of a header: what follows a scheme, the user and password of Basic, values of pairs."""
    scheme, _, rest = value.partition(" ")
    yield rest
    yield from _PAIR.findall(value)
    if scheme.lower() == "basic":
        try:
            yield from b64decode(rest).decode("utf-8", "replace").split(":", 1)
        except ValueError:
            return


def _list_contents(request: Any) -> set[str] | None:
    """Return the values of the body of a request, or None where they are not known."""
    body = getattr(request, "body", None)  # that of httpx is not looked at, as no words of its server are shown
    if body is None:
        return set()
    if isinstance(body, (bytes, bytearray)):
        body = body.decode("utf-8", "replace")
    if not isinstance(body, str) or len(body) > _LARGEST_SENT or "content-encoding" in request.headers:
        return None
    kind = text_of(request.headers.get("content-type") or "").lower()
    if "x-www-form-urlencoded" in kind:
        return {value for _, value in parse_qsl(body)}
    try:
        return set(_list_values(json.loads(body)))
    except (ValueError, RecursionError):
        return {body, *_WORD.findall(body)}


def _list_values(document: Any) -> Iterator[str]:
    """Yield the values of a JSON document, and those of its names that are no words of an API."""
    left = [document]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield from (name for name in each if not _NAME.fullmatch(name))
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif isinstance(each, (str, int, float)) and not isinstance(each, bool):
            yield str(each)
