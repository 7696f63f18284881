"""A server on loopback that is one vendor: as strict as its documentation, and with a memory of what it was asked.

`Detour` is the adapter that leads requests for the vendor's own addresses to it, so that a test sees where a client
really sends things.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote_plus, urlsplit

import jwt
import requests
from requests.adapters import HTTPAdapter

from tests.support.oauth.threads import IDLE, Ending
from tests.support.vendors.dialect import DEVICE_CODE, Claims, Dialect, Grant, Issued, Said

if TYPE_CHECKING:
    from typing_extensions import Self

CLIENT, SECRET = "4441.4442", "Qm9vLWhvby03NTMx"
FIRST_REFRESH = "first-1r.Zk3vTt9Xw0Lq8Yb2"
CODE = "c0de-Zk3vTt9Xw0Lq8Yb2"


class Heard(NamedTuple):
    """A request that came.

    Attributes:
        method: Its method.
        url: The address that it was meant for, without the query.
        query: Its query.
        headers: Its headers, by names in lower case.
        body: Its body.
    """

    method: str
    url: str
    query: str
    headers: Mapping[str, str]
    body: str


class Refusal(Exception):
    """The answer to a request that is not accepted."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self.said = said


class StandIn:
    """One vendor; a context manager.

    Attributes:
        url: Its address on loopback.
        proxy_url: Another address of its token endpoint.
        heard: All requests that came.
        complaints: What in these requests is not as documented; a test expects none.
        spent_again: Refresh tokens that came again after they had ended.
        counts: How many requests of each kind were answered: "token", "api", "revoke", "refused"
            of the first and "refused api" of the second.

    Args:
        dialect: The vendor.
        public_key: Key that assertions are verified with.
        clock: Function that returns the server's Unix time.
    """

    def __init__(
        self, dialect: Dialect, public_key: Any = None, clock: Callable[[], float] = time.time, code: str = CODE
    ) -> None:
        self.dialect, self._public_key, self._clock = dialect, public_key, clock
        self.heard: list[Heard] = []
        self.complaints: list[str] = []
        self.spent_again: list[str] = []
        self.counts: Counter[str] = Counter()
        self._access: dict[str, str] = {}
        self._refresh = {FIRST_REFRESH: "valid"}
        self._codes = {code}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._forbids = self._client_gone = False
        self._put_off: list[Said] = []
        self._polls = 0

    def __enter__(self) -> Self:
        self._listener = _Listener(("127.0.0.1", 0), _Handler)
        self._listener.standin = self
        self.url = f"http://127.0.0.1:{self._listener.server_port}"
        self.proxy_url = f"{self.url}/proxy/token"
        self._listener.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.end()

    # What a test does -------------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Let all access tokens expire."""
        self._access = {token: "expired" if state == "valid" else state for token, state in self._access.items()}

    def revoke_access(self) -> None:
        """Revoke all access tokens."""
        self._access = dict.fromkeys(self._access, "revoked")

    def end_login(self) -> None:
        """Revoke all tokens, and accept neither refresh tokens nor assertions any more."""
        self.revoke_access()
        self._refresh = dict.fromkeys(self._refresh, "revoked")
        self._client_gone = True

    def put_off(self, said: Said) -> None:
        """Answer the next request for a token by this."""
        self._put_off.append(said)

    def forbid(self) -> None:
        """Let the API answer that the token may not do this."""
        self._forbids = True

    def detour(self) -> Detour:
        """Return the adapter that leads here."""
        return Detour(self.url)

    @property
    def valid_tokens(self) -> set[str]:
        """The tokens of both kinds that are accepted, but the first refresh token."""
        states = {**self._access, **self._refresh}
        return {token for token, state in states.items() if state == "valid" and token != FIRST_REFRESH}

    # What it answers --------------------------------------------------------------------------------------------------

    def answer(self, heard: Heard) -> Said:
        """Return the answer to a request."""
        with self._lock:
            self.heard.append(heard)
            revocation = self.dialect.revocation
            try:
                if heard.url in (self.dialect.token_url, self.proxy_url):
                    self.counts["token"] += 1
                    return self._issue(heard)
                if revocation is not None and heard.url == revocation.url:
                    self.counts["revoke"] += 1
                    return self._revoke(heard)
                if heard.url == self.dialect.device_url:
                    return self._begin_device_login(heard)
                self.counts["api"] += 1
                return self._protect(heard)
            except Refusal as refusal:
                self.counts["refused"] += 1
                return refusal.said

    def _protect(self, heard: Heard) -> Said:
        """Answer as the API does."""
        dialect = self.dialect
        if heard.url != dialect.api_url:
            self._complain(f"a request for {heard.url}")
        given = heard.headers.get(dialect.header.lower(), "")
        scheme, _, token = given.rpartition(" ")
        if scheme != dialect.scheme:
            self._complain(f"{dialect.header} has the scheme {scheme!r}")
        state = self._access.get(token, "revoked")
        if state != "valid":
            self.counts["refused api"] += 1
            return dialect.expired if state == "expired" else dialect.revoked
        return dialect.forbidden if self._forbids else Said(200, {"ok": True, "status": 0})

    def _issue(self, heard: Heard) -> Said:
        """Answer as the token endpoint does."""
        dialect = self.dialect
        if heard.method != "POST":
            self._complain(f"{heard.method} to the token endpoint")
        for name, part in dialect.headers.items():
            if part not in heard.headers.get(name.lower(), ""):
                self._complain(f"{name} is {heard.headers.get(name.lower())!r}, without {part}")
        fields = self._read_fields(heard, dialect.encoding)
        name = fields.pop("grant_type", "")
        grant = next((each for each in dialect.grants if each.name == name), None)
        if grant is None:
            self._complain(f"grant_type {name!r}")
            raise Refusal(Said(400, {"error": "unsupported_grant_type"}))
        self._check_client(heard, fields, grant.client)
        self._check_fields(fields, grant)
        if grant.claims is not None:
            self._check_claims(heard, fields, grant.claims)
        if self._client_gone:
            raise Refusal(dialect.dead_grant)
        if self._put_off:
            raise Refusal(self._put_off.pop())
        return dialect.answer(self._make_token(fields, grant))

    def _make_token(self, fields: dict[str, str], grant: Grant) -> Issued:
        number = next(self._numbers)
        refresh = f"refresh-{number}-Zk3vTt9Xw0" if grant.gives_refresh else None
        if grant.name == "refresh_token":
            given = fields["refresh_token"]
            if self._refresh.get(given) != "valid":
                self.spent_again.append(given)
                raise Refusal(self.dialect.dead_grant)
            if grant.rotates:
                self._refresh[given] = "spent"
            elif refresh is not None:
                refresh = given
        if grant.name == DEVICE_CODE:
            self._polls += 1
            if self._polls == 1:
                raise Refusal(self.dialect.pending)
        if grant.name == "authorization_code":
            if fields["code"] not in self._codes:
                raise Refusal(self.dialect.dead_grant)
            self._codes.discard(fields["code"])
        if refresh is not None:
            self._refresh[refresh] = "valid"
        access = f"access|{number}-{self.dialect.vendor}"
        self._access[access] = "valid"
        return Issued(access, refresh, self.dialect.lifetime, self._clock(), grant.name)

    def _begin_device_login(self, heard: Heard) -> Said:
        fields = self._read_fields(heard, "form")
        if fields.pop("client_id", None) != CLIENT or fields.keys() - {"scope"}:
            self._complain(f"a device login with {sorted(fields)}")
        page = {"verification_uri": "https://example.com/device", "expires_in": 900, "interval": 5}
        return Said(200, {"device_code": "d3v1ce", "user_code": "WDJB-MJHT", **page})

    def _read_fields(self, heard: Heard, encoding: str) -> dict[str, str]:
        kind = heard.headers.get("content-type", "").partition(";")[0]
        expected = {"json": "application/json"}.get(encoding, "application/x-www-form-urlencoded")
        if heard.body and kind != expected:
            self._complain(f"the body is {kind!r}, not {expected}")
            raise Refusal(Said(415, {"message": "Unsupported Media Type"}))
        if heard.query and encoding != "form or query":
            self._complain("fields in the query")
        if kind == "application/json":
            return dict(json.loads(heard.body))
        texts = (heard.body, heard.query if encoding == "form or query" else "")
        found = [parse_qs(text, keep_blank_values=True, strict_parsing=True) for text in texts if text]
        for name in [name for each in found for name, values in each.items() if len(values) > 1]:
            self._complain(f"{name} twice")
        return {name: values[-1] for each in found for name, values in each.items()}

    def _check_client(self, heard: Heard, fields: dict[str, str], how: str) -> None:
        scheme, _, encoded = heard.headers.get("authorization", "").partition(" ")
        if how == "none":
            if scheme == "Basic" or "client_secret" in fields:
                self._complain("a client that authenticates where none does")
            return
        if scheme == "Basic" and how != "post":
            try:
                pair = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                pair = ("", "", "")
            given = (unquote_plus(pair[0]), unquote_plus(pair[2]))
            if "client_secret" in fields:
                self._complain("a client that authenticates twice")
        elif how == "basic":
            self._complain("a client that does not authenticate by Basic")
            raise Refusal(self.dialect.bad_client)
        else:
            given = (fields.pop("client_id", ""), fields.pop("client_secret", ""))
        if given != (CLIENT, SECRET):
            raise Refusal(self.dialect.bad_client)

    def _check_fields(self, fields: dict[str, str], grant: Grant) -> None:
        for name, value in grant.fields.items():
            if fields.get(name, "") == "" or value not in (None, fields[name]):
                self._complain(f"{name} is {fields.get(name)!r}, not {value or 'there'}")
                raise Refusal(Said(400, {"error": "invalid_request"}))
        for name in fields.keys() - grant.fields.keys() - set(grant.optional):
            self._complain(f"{name} is no field of {grant.name or 'this request'}")

    def _check_claims(self, heard: Heard, fields: dict[str, str], claims: Claims) -> None:
        scheme, _, bearer = heard.headers.get("authorization", "").partition(" ")
        text = bearer if claims.where == "bearer" and scheme == "Bearer" else fields.get(claims.where, "")
        try:
            options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
            given = jwt.decode(text, self._public_key, list(claims.algorithms), options=options)
            header = jwt.get_unverified_header(text)
        except jwt.InvalidTokenError as error:
            self._complain(f"the assertion: {error}")
            raise Refusal(self.dialect.dead_grant) from None
        now = self._clock()
        audience = claims.audience
        if audience == self.dialect.token_url and heard.url == self.proxy_url:
            audience = heard.url
        wanted = {"iss": claims.issuer, "aud": audience, "sub": claims.subject, **claims.fixed}
        wrong = [
            f"{name} {given.get(name)!r}" for name, value in wanted.items() if value not in (None, given.get(name))
        ]
        wrong += [
            f"header {name} {header.get(name)!r}"
            for name, value in claims.headers.items()
            if not header.get(name) or value not in (None, header[name])
        ]
        if not isinstance(given.get("iat", 0), int) or max(given.get("iat", 0), given.get("nbf", 0)) > now:
            wrong.append("iat or nbf in the future")
        if not now < given.get("exp", 0) <= now + claims.longest:
            wrong.append(f"exp {given.get('exp', 0) - now:+.0f} s from now")
        if wrong:
            self._complain(f"the assertion has {', '.join(wrong)}")
            raise Refusal(self.dialect.dead_grant)

    def _revoke(self, heard: Heard) -> Said:
        revocation = self.dialect.revocation
        assert revocation is not None
        if heard.method != revocation.method:
            self._complain(f"{heard.method} to revoke a token")
        fields = self._read_fields(heard, revocation.encoding)
        self._check_client(heard, fields, revocation.client)
        for name in fields.keys() - {revocation.field, *revocation.optional}:
            self._complain(f"{name} is no field of a revocation")
        scheme, _, bearer = heard.headers.get("authorization", "").partition(" ")
        token = fields.get(revocation.field, "") if revocation.field else bearer if scheme == "Bearer" else ""
        for kind, tokens in (("refresh", self._refresh), ("access", self._access)):
            if kind in revocation.kinds and tokens.get(token) == "valid":
                tokens[token] = "revoked"
                if kind == "refresh":
                    self.revoke_access()
                return revocation.success
        return revocation.unknown

    def _complain(self, complaint: str) -> None:
        self.complaints.append(complaint)


class Detour(HTTPAdapter):
    """An adapter that takes every request to a stand-in, and tells it where the request was meant to go.

    Args:
        url: Address of the stand-in.
    """

    __attrs__ = (*HTTPAdapter.__attrs__, "url")  # type: ignore[misc]

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **keywords: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        sent = request.copy()
        sent.url = self.url + parts.path + (f"?{parts.query}" if parts.query else "")
        sent.headers["X-Meant-For"] = f"{parts.scheme}://{parts.netloc}"
        response = super().send(sent, *args, **{**keywords, "proxies": {}})
        response.request, response.url = request, str(request.url)
        return response


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: _Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        standin = self.server.standin
        meant = headers.get("x-meant-for", standin.url)
        said = standin.answer(Heard(self.command, meant + path, query, headers, body))
        content = (said.body if isinstance(said.body, str) else json.dumps(said.body)).encode()
        self.send_response_only(said.status)
        self.send_header("Date", formatdate(standin._clock(), usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_DELETE = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


class _Listener(Ending, HTTPServer):
    daemon_threads = False
    standin: StandIn
