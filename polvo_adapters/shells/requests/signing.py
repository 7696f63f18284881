"""Signing a request anew for each attempt.

Theory of operation. `requests` asks an auth object once per request, above the adapter, so that all attempts of a call
would carry one signature. An auth object that may be asked again leaves a function in the marks of the request, which
the exchange calls before each repeat. There are two ways to leave one:

* `polvo_adapters.auth.signed(auth)`, by which the caller says so, of any auth object;
* an adapter that knows its session (`install`, `polvo.Session`, the drop-in) asks the `auth` of that where the request
  has a signature with a nonce, which must not be used twice. That it is the one that signed shows by the credential: a
  request signed by it has the same digest.

What the first signing changed is put back before the next one, because a signature may cover what is already there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote_plus, urlsplit, urlunsplit

import requests

from polvo_adapters.core.identity import digest_caller

Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class UnsignedState:
    """What a request was like before it was signed.

    Args:
        request: The request, unsigned.
    """

    def __init__(self, request: requests.PreparedRequest) -> None:
        self._url, self._body = request.url, request.body
        self._signed_url: str | None = None
        self._headers = dict(request.headers)
        self._signed: dict[str, Any] = {}

    def note_signature(self, request: requests.PreparedRequest) -> None:
        """Note which headers the signature has changed; others may still be added, and stay."""
        names = {*request.headers, *self._headers}
        self._signed = {
            name: self._headers.get(name) for name in names if request.headers.get(name) != self._headers.get(name)
        }
        self._signed_url = None if request.url == self._url else request.url
        self._has_new_body = request.body is not self._body

    @property
    def places(self) -> tuple[str, ...]:
        """Where the signature is; see `polvo_adapters.shells.credential_owners`."""
        headers = (name.lower() for name in self._signed)
        parameters = _find_new_parameters(self._url or "", self._signed_url or "")
        return (*(name for name in headers if not _describes_body(name)), *(f"?{name}" for name in parameters))

    def _restore_url(self, url: str) -> str:
        """Return the URL of a request, or of a copy for another server, without the signature."""
        before, after = urlsplit(self._url or ""), urlsplit(self._signed_url or "")
        if before._replace(query="") != after._replace(query=""):
            return self._url or ""
        return urlunsplit(urlsplit(url)._replace(query=before.query))

    def restore(self, request: requests.PreparedRequest) -> None:
        """Make the request what it was, but for what was added since."""
        for name, value in self._signed.items():
            request.headers.pop(name, None)
            if value is not None:
                request.headers[name] = value
        if self._signed_url is not None:
            request.url = self._restore_url(request.url or "")
        if self._has_new_body:
            request.body = self._body


def _find_new_parameters(before: str, after: str) -> set[str]:
    """Return the names of the parameters in the query of a URL that are new there, or have new values."""
    pairs = set(urlsplit(after).query.split("&")) - set(urlsplit(before).query.split("&"))
    return {unquote_plus(pair.partition("=")[0]) for pair in pairs}


def _describes_body(header: str) -> bool:
    """Return whether a header, which signing has changed with the body, goes wherever the body goes."""
    return header.startswith("content-") or header == "transfer-encoding"


def apply(auth: Auth, request: requests.PreparedRequest) -> None:
    """Let an auth object sign a request, as `requests` does."""
    body = request.body
    made = auth(request)
    if made is not request:
        request.__dict__.update(made.__dict__)
    if request.body is not body:
        request.prepare_content_length(request.body)


def sign_again(auth: Auth, unsigned: UnsignedState, request: requests.PreparedRequest) -> None:
    """Replace the signature of a request, or of a copy of it, by a new one."""
    unsigned.restore(request)
    apply(auth, request)


def find_signer(request: requests.PreparedRequest, session: requests.Session | None) -> Callable[[Any], None] | None:
    """Return what signs a request anew, if that was the `auth` of its session; otherwise None.

    Args:
        request: The request, signed.
        session: The session, or None where it is not known.
    """
    auth = getattr(session, "auth", None)
    if not callable(auth):
        return None
    trial = request.copy()
    _replace_authorization(auth, trial)
    if digest_caller(trial.headers.items(), "") != digest_caller(request.headers.items(), ""):
        return None
    return partial(_replace_authorization, auth)


def _replace_authorization(auth: Auth, request: requests.PreparedRequest) -> None:
    request.headers.pop("Authorization", None)
    apply(auth, request)
