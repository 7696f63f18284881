"""Auth objects of `requests` that sign, for `httpx`: `httpx.AsyncClient(auth=signed(auth).httpx())`.

Theory of operation. The auth object is shown a request of `requests` with the same method, URL, headers and body, and
what it has changed there is put on the request of httpx. Before each repeat by a transport of this package the request
is made what it was, but for what was added since, and signed again. A signature may cover the body, so that a body
which is a stream is read into memory first. For an asynchronous client it signs on another thread, as it may have to
fetch something for that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import requests

from polvo_adapters.auth.attach.httpx_places import note_places
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.refresh.beside import run_beside
from polvo_adapters.shells.httpx.renewal import RenewableCredential, note_credential
from polvo_adapters.shells.requests.signing import Auth, UnsignedState, apply

_FLIGHTS = SharedCalls()


@unpicklable
class AttachedSignature(RenewableCredential):
    """The signature of one request, which a transport renews before it sends the request again.

    Args:
        auth: The auth object that signs.
        request: The request, unsigned.
    """

    __slots__ = ("_auth", "_unsigned")

    def __init__(self, auth: Auth, request: httpx.Request) -> None:
        self._auth, self._unsigned = auth, UnsignedState(_prepare(request))
        self._unsigned.note_signature(_prepare(request))

    def renew(self, request: httpx.Request) -> None:
        """Replace the signature of a request by a new one; see `RenewableCredential`."""
        self._sign(request)

    async def renew_async(self, request: httpx.Request) -> None:
        """Do as `renew`, without blocking the event loop."""
        await run_beside(_FLIGHTS, object(), lambda: self._sign(request))

    def _sign(self, request: httpx.Request) -> None:
        prepared = _prepare(request)
        self._unsigned.restore(prepared)
        before = UnsignedState(prepared)
        hooks = list(prepared.hooks["response"])
        apply(self._auth, prepared)
        if prepared.hooks["response"] != hooks:
            raise ConfigurationError(
                f"signed: {type(self._auth).__name__} answers to responses, and does not sign alone; use what httpx "
                "has for this, such as httpx.DigestAuth"
            )
        before.note_signature(prepared)
        self._unsigned = before
        _take_over(request, prepared)
        note_places(request, before.places)

    def __repr__(self) -> str:
        return f"<AttachedSignature of {type(self._auth).__name__}>"


class HTTPXSigningAuth(httpx.Auth):
    """Authorization of the requests of `httpx` by an auth object of `requests` that signs.

    Args:
        auth: The auth object that signs.
    """

    requires_request_body = True

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request of `httpx.Client`.

        Raises:
            ConfigurationError: The auth object does more than to sign.
        """
        request.read()
        signature = AttachedSignature(self._auth, request)
        signature.renew(request)
        note_credential(request, signature)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign a request of `httpx.AsyncClient`, as `sync_auth_flow` does."""
        await request.aread()
        signature = AttachedSignature(self._auth, request)
        await signature.renew_async(request)
        note_credential(request, signature)
        yield request

    def __repr__(self) -> str:
        return f"<HTTPXSigningAuth of {type(self._auth).__name__}>"


def _prepare(request: httpx.Request) -> requests.PreparedRequest:
    """Return a request of httpx, which is read, as one of `requests`."""
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url = request.method, str(request.url)
    prepared.headers = requests.structures.CaseInsensitiveDict(_decode(request.headers))
    prepared.body = request.content or None
    return prepared


def _decode(headers: httpx.Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.raw}


def _take_over(request: httpx.Request, prepared: requests.PreparedRequest) -> None:
    """Give a request of httpx what was changed on its twin."""
    before, after = _decode(request.headers), dict(prepared.headers)
    names = {name.lower() for name in after}
    for name in [name for name in before if name.lower() not in names]:
        del request.headers[name]
    for name, value in after.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if request.headers.get(name) != text:
            request.headers[name] = text
    if prepared.url != str(request.url):
        request.url = httpx.URL(prepared.url or "")
    body: Any = prepared.body or b""
    body = body.encode() if isinstance(body, str) else body
    if body != request.content:
        _replace_body(request, body)


def _replace_body(request: httpx.Request, body: bytes) -> None:
    made = httpx.Request(request.method, request.url, content=body)
    request.stream, request._content = made.stream, body
    request.headers["Content-Length"] = str(len(body))
