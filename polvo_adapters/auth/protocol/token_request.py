"""The request that a `TokenEndpoint` expects for the fields of a grant, and the values in it that must not be shown."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from polvo_adapters.auth.protocol import form_encoding
from polvo_adapters.auth.protocol.token_endpoint import TEMPLATE, TokenEndpoint, TokenRequest
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import LOST, HiddenText, harmless_headers, hide, unpicklable

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.client_authentication import Credentials
    from polvo_adapters.auth.protocol.grants import FormFields

JSON_HEADERS = {"Content-Type": "application/json"}
_ABSENT = object()


@unpicklable
class EncodedRequest(NamedTuple):
    """A request for a token, ready to be sent.

    Attributes:
        method: Method of the request.
        url: URL of the request.
        headers: Headers of the request.
        body: Encoded body, or None.
        secrets: Values of the request that must not be shown.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<EncodedRequest {self.method}>"


def encode_request(
    endpoint: TokenEndpoint,
    url: str,
    fields: FormFields,
    credentials: Credentials,
    known: Mapping[str, str | None] | None = None,
    further: FormFields | None = None,
) -> EncodedRequest:
    """Return the request for a grant.

    Args:
        endpoint: The description of the endpoint.
        url: Its URL, with the tenant in it.
        fields: Fields of the grant under their standard names; those that are None are left out.
        credentials: What authenticates the client.
        known: Further values that templates may name, such as "client_secret" and "tenant".
        further: Further fields, under the names that the endpoint expects.

    Raises:
        ConfigurationError: A constant parameter has the name of another field, or cannot be encoded.
    """
    standard = {name: value for name, value in {**fields, **credentials.fields}.items() if value is not None}
    values = {**(known or {}), **standard}
    sent = _rename(endpoint, standard)
    given = {name: value for name, value in (further or {}).items() if value is not None}
    for name, value in (*_fill(endpoint.parameters, values).items(), *given.items()):
        if name in sent and sent[name] != value:
            raise ConfigurationError(f"parameters: {name} is a field of this request already, with another value")
        sent[name] = value
    headers = {**credentials.headers, **_fill(endpoint.headers, values)}
    _require_all({**sent, **headers})
    request = TokenRequest(endpoint.method or ("GET" if endpoint.encoding == "query" else "POST"), url, headers, sent)
    if endpoint.prepare is not None:
        request = endpoint.prepare(request)
        if not isinstance(request, TokenRequest):
            raise ConfigurationError("TokenEndpoint(prepare=...): the function did not return a TokenRequest")
    named = form_encoding.list_secrets(_as_texts({**given, **standard}))
    added = _list_added(request, url, _list_harmless(endpoint, {**given, **standard}))
    return _encode(endpoint.encoding, request, (*named, *credentials.secrets, *added))


def _rename(endpoint: TokenEndpoint, standard: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under the names, and with the values, that the endpoint expects."""
    sent = {}
    for name, given in standard.items():
        target, value = endpoint.send_name(name), given
        if name == "grant_type":
            value = endpoint.name_grant(given)
        elif name == "scope" and isinstance(given, str):
            value = endpoint.scope_separator.join(given.split(" "))
        if target is not None and value is not None:
            sent[target] = value
    return sent


def _require_all(constants: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a constant that is a secret, and was therefore not pickled."""
    lost = [name for name, value in constants.items() if LOST in _list_texts(value)]
    if lost:
        raise ConfigurationError(
            f"{', '.join(lost)}: a secret stayed behind when this was pickled; make a new auth object where it is used"
        )


def _fill(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return constants with their templates replaced, without those that name what the request does not have."""
    filled = {name: _fill_one(value, values) for name, value in given.items()}
    return {name: value for name, value in filled.items() if value is not _ABSENT}


def _fill_one(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a constant with the templates in it replaced, however deep; _ABSENT for one that is left out."""
    if isinstance(value, dict):
        return _fill(value, values)
    if isinstance(value, (list, tuple)):
        return [each for each in (_fill_one(each, values) for each in value) if each is not _ABSENT]
    named = TEMPLATE.findall(value) if isinstance(value, str) else ()
    if not named:
        return value
    if any(values.get(each) is None for each in named):
        return _ABSENT
    return hide(TEMPLATE.sub(lambda found: str(values[found[1]]), value))


def _encode(encoding: str, request: TokenRequest, secrets: tuple[str, ...]) -> EncodedRequest:
    headers = dict(request.headers)
    if encoding == "json":
        headers = {**JSON_HEADERS, **headers}
        return EncodedRequest(request.method, request.url, headers, _encode_json(request.fields), secrets)
    text = HiddenText(form_encoding.encode(_as_texts(request.fields)))
    if encoding == "form":
        return EncodedRequest(request.method, request.url, {**form_encoding.HEADERS, **headers}, text, secrets)
    url = HiddenText(f"{request.url}{'&' if '?' in request.url else '?'}{text}" if text else request.url)
    return EncodedRequest(request.method, url, headers, None, secrets)


def _encode_json(fields: Mapping[str, Any]) -> str:
    document: dict[str, Any] = {}
    for path, value in fields.items():
        *outer, last = path.split(".")
        nested = {last: value}
        for name in reversed(outer):
            nested = {name: nested}
        _merge_into(document, nested, path)
    try:
        return HiddenText(json.dumps(document))
    except (TypeError, ValueError):
        pass  # raised below: such an error may show a value
    raise ConfigurationError(f"TokenEndpoint: JSON cannot express one of the fields {', '.join(sorted(fields))}")


def _merge_into(document: dict[str, Any], more: Mapping[str, Any], path: str) -> None:
    """Put a field into a document, which it may share objects with; objects are copied, as they are the caller's."""
    for name, value in more.items():
        there = document.get(name)
        if isinstance(value, dict) and (name not in document or isinstance(there, dict)):
            _merge_into(document.setdefault(name, {}), value, path)
        elif name in document and there != value:
            raise ConfigurationError(f"TokenEndpoint: the name {path!r} leads into a field that has another value")
        else:
            document[name] = value


def _as_texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as a form can express them."""
    return {name: _as_text(value) for name, value in fields.items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return [str(_as_text(each)) for each in value]
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _list_harmless(endpoint: TokenEndpoint, fields: Mapping[str, Any]) -> frozenset[str]:
    """Return the values of fields that are no secrets, as they are sent."""
    harmless = {name: value for name, value in fields.items() if name in form_encoding.HARMLESS}
    return frozenset((*_list_texts(harmless), *_list_texts(_rename(endpoint, harmless))))


def _list_added(request: TokenRequest, url: str, known: Collection[str]) -> Iterator[str]:
    """Yield what constants and a function have added, as far as it may be a secret."""
    harmless = {name for name, _ in harmless_headers(request.headers)}
    yield from (hide(value) for name, value in request.headers.items() if name not in harmless)
    query = parse_qsl(urlsplit(request.url).query) if request.url != url else ()
    texts = (*_list_texts(request.fields), *(value for _, value in query))
    yield from (hide(text) for text in texts if text not in known)


def _list_texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _list_texts(each)
