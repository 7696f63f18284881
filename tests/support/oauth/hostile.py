"""A token endpoint that answers as no token endpoint should: one way for each path, all of them in `BEHAVIOURS`.

Most are copies of what servers, proxies and captive portals really send; the others are what an attacker would send to
make the client hang, fail, or reveal a secret. All requests are stored in `requests_seen`.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import socket
import struct
import zlib
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from tests.support.oauth.threads import IDLE, Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

TOKEN = "hostile-token"
REFRESH = "hostile-refresh"
GOOD = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
MEGABYTE = 1 << 20
HUGE = 200 * MEGABYTE
"""Bytes at which an endless body ends after all."""


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode("latin-1")).items()}

    @property
    def secrets(self) -> list[str]:
        """What may have been secret in it, in each form in which it can be told."""
        authorization = self.headers.get("Authorization", "")
        scheme, _, value = authorization.partition(" ")
        decoded = base64.b64decode(value).decode("latin-1") if scheme == "Basic" else ""
        return [part for part in (authorization, decoded, self.body.decode("latin-1"), *self.form.values()) if part]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen = Seen(self.command, self.path, dict(self.headers), body)
        self.server.seen.append(self.seen)
        behaviour = BEHAVIOURS.get(self.path.split("?")[0].strip("/"), good)
        try:
            behaviour(self)
        except OSError:
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_POST

    def reply(
        self,
        body: Any = b"",
        status: int = 200,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a well-formed answer; what is not bytes goes as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        lines = {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def raw(self, content: bytes) -> None:
        """Send bytes as they are, and close the connection after them."""
        self.wfile.write(content)
        self.close_connection = True

    def pause(self, seconds: float | None = None) -> bool:
        """Wait, without a number until the server ends, and tell whether it does not."""
        return not self.server.ending.wait(seconds)

    def log_message(self, *_: object) -> None:
        pass


class Listener(Ending, HTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.elsewhere = ""
        super().__init__(("127.0.0.1", 0), Handler)

    def server_bind(self) -> None:
        """Bind without asking the resolver for a name, as the standard library would."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address


class HostileServer:
    """A context manager; `url(behaviour)` is a token endpoint that behaves so.

    Attributes:
        requests_seen: The requests that came, in order.
        seen_elsewhere: Those that came to the other origin, where the redirects lead; it gives good tokens.
    """

    def __enter__(self) -> Self:
        self._server, self._other = Listener(), Listener()
        self._server.elsewhere = f"http://127.0.0.1:{self._other.server_port}"
        self._server.begin()
        self._other.begin()
        self.requests_seen, self.seen_elsewhere = self._server.seen, self._other.seen
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.end()
        self._other.end()

    def url(self, behaviour: str = "good") -> str:
        """Return the URL of a token endpoint with this behaviour."""
        assert behaviour in BEHAVIOURS, behaviour
        return f"{self.issuer}/{behaviour}"

    def clear(self) -> None:
        """Forget what came."""
        self.requests_seen.clear()
        self.seen_elsewhere.clear()


def good(http: Handler) -> None:
    http.reply(GOOD)


def says(body: Any, **keywords: Any) -> Callable[[Handler], None]:
    """Return the behaviour that always gives this answer."""
    return lambda http: http.reply(body, **keywords)


def token(**changed: Any) -> Callable[[Handler], None]:
    """Return the behaviour that gives a good token with other fields; a field that is `...` is left out."""
    return says({name: value for name, value in {**GOOD, **changed}.items() if value is not ...})


def number(literal: bytes) -> Callable[[Handler], None]:
    """Return the behaviour that gives a token with this as its life, however little JSON it is."""
    return says(json.dumps({**GOOD, "expires_in": "@"}).encode().replace(b'"@"', literal))


def redirect(status: int, path: str = "/good") -> Callable[[Handler], None]:
    return lambda http: http.reply(status=status, headers={"Location": http.server.elsewhere + path})


def echo(status: int) -> Callable[[Handler], None]:
    """Return the behaviour that tells the client all that it has sent."""

    def behaviour(http: Handler) -> None:
        told = " ".join(http.seen.secrets)
        body = {"error": "invalid_client", "error_description": told, "error_uri": f"https://idp.test/?{told}"}
        http.reply(body, status, headers={"WWW-Authenticate": f'Basic realm="{http.seen.secrets[0]}"'})

    return behaviour


def echo_html(http: Handler) -> None:
    http.reply(f"<html>{' '.join(http.seen.secrets)}</html>".encode("latin-1"), 500, "text/html")


def echo_reason(http: Handler) -> None:
    reason = http.seen.secrets[-1].replace("\n", " ")
    http.raw(f"HTTP/1.1 403 {reason}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))


def hang(http: Handler) -> None:
    http.pause()
    http.close_connection = True


def hang_in_body(http: Handler) -> None:
    http.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"access')
    hang(http)


def drip(http: Handler) -> None:
    body = json.dumps(GOOD).encode()
    http.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
    drip_body(http, body)


def drip_headers(http: Handler) -> None:
    drip_body(http, b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * 600)


def drip_body(http: Handler, content: bytes) -> None:
    http.close_connection = True
    for place in range(len(content)):
        http.wfile.write(content[place : place + 1])
        if not http.pause(1):
            return


def close(http: Handler) -> None:
    http.close_connection = True


def reset(http: Handler) -> None:
    """End with RST instead of FIN."""
    http.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    http.close_connection = True
    http.connection.close()


def huge(http: Handler) -> None:
    http.close_connection = True
    http.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    http.wfile.write(b'12\r\n{"access_token": "\r\n')
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    for _ in range(HUGE // 0x10000):
        if http.server.ending.is_set():
            return
        http.wfile.write(chunk)
    http.wfile.write(b"0\r\n\r\n")


@functools.cache
def bomb() -> bytes:
    """Return some 900 kB that unpack to 200 MB.

    One member: with several, where each ends just where a read does, the decoder of urllib3 2.8 repeats them for ever.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(b" " * MEGABYTE) for _ in range(HUGE // MEGABYTE)) + packer.flush()


def gzip_bomb(http: Handler) -> None:
    http.reply(bomb(), headers={"Content-Encoding": "gzip"})


def send_after_date(http: Handler) -> None:
    http.reply({}, 503, headers={"Retry-After": formatdate(time() + 30, usegmt=True)})


def with_length(length: bytes) -> Callable[[Handler], None]:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n"
    return lambda http: http.raw(start % length + json.dumps(GOOD).encode())


LIVES = {"3600": b'"3600"', "3600.5": b"3600.5", "soon": b'"soon"', "empty": b'""', "null": b"null", "negative": b"-5"}
LIVES |= {"zero": b"0", "1e30": b"1e30", "1e400": b"1e400", "NaN": b"NaN", "infinity": b"Infinity", "true": b"true"}
LIVES |= {"list": b"[3600]", "object": b'{"seconds": 3600}', "huge": b"9" * 5000, "hex": b'"0x10"', "spaces": b'" 60 "'}
LIVES |= {"other-digits": '"٣٦٠٠"'.encode(), "underscore": b'"3_600"', "nan-string": b'"nan"'}
NOT_TEXT = {"null": None, "int": 12345, "true": True, "list": ["token"], "object": {"token": "token"}, "empty": ""}
NOT_A_TOKEN = {
    "newline": "to\r\nX-Injected: 1",
    "space": "to ken",
    "non-ascii": "tökén",
    "nul": "to\0ken",
    "surrogate": "\ud800",
}
HTML = b"<!doctype html><html><title>Sign in</title><body>Please log in to the network.</body></html>"

BEHAVIOURS: dict[str, Callable[[Handler], None]] = {
    "good": good,
    "good-with-refresh": token(refresh_token=REFRESH),
    "status-201": says(GOOD, status=201),
    # What is no JSON object.
    "html": says(HTML, kind="text/html"),
    "html-as-json": says(HTML),
    "json-as-html": says(GOOD, kind="text/html"),
    "empty": says(b""),
    "status-204": lambda http: http.raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not-json": says(b"access_token: hostile-token"),
    "cut": says(b'{"access_token": "hostile-tok'),
    "json-list": says([GOOD]),
    "json-string": says(TOKEN),
    "json-null": says(None),
    "json-number": says(1),
    "json-deep": says(b"[" * 100_000 + b"]" * 100_000),
    "json-in-string": says(json.dumps(GOOD)),
    "byte-order-mark": says(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    "utf-16": says(json.dumps(GOOD).encode("utf-16")),
    "bad-utf-8": says(b'{"access_token": "\xff\xfe", "token_type": "Bearer"}'),
    "unknown-charset": says(GOOD, kind="application/json; charset=no-such-charset"),
    "urlencoded": says(f"access_token={TOKEN}&expires=5183999".encode(), kind="text/plain"),
    "urlencoded-as-form": says(
        f"access_token={TOKEN}&token_type=bearer&expires_in=3600".encode(), kind="application/x-www-form-urlencoded"
    ),
    # Its fields.
    "no-access-token": token(access_token=...),
    **{f"access-token-{name}": token(access_token=value) for name, value in {**NOT_TEXT, **NOT_A_TOKEN}.items()},
    "access-token-long": token(access_token="a" * MEGABYTE),
    **{f"refresh-token-{name}": token(refresh_token=value) for name, value in {**NOT_TEXT, **NOT_A_TOKEN}.items()},
    "no-expires-in": token(expires_in=...),
    **{f"expires-in-{name}": number(literal) for name, literal in LIVES.items()},
    "no-token-type": token(token_type=...),
    **{f"token-type-{name}": token(token_type=value) for name, value in NOT_TEXT.items()},
    "token-type-upper": token(token_type="BEARER"),
    "token-type-mac": token(token_type="mac"),
    "token-type-dpop": token(token_type="DPoP"),
    "token-type-newline": token(token_type="Bearer\r\nX-Injected: 1"),
    **{f"scope-{name}": token(scope=value) for name, value in NOT_TEXT.items()},
    "twice": says(b'{"access_token": "first", "access_token": "second", "token_type": "Bearer"}'),
    # Errors.
    "error-200": says({"error": "invalid_grant", "error_description": "expired"}),
    "error-200-with-token": token(error="invalid_grant"),
    "error-object": says({"error": {"code": 190, "message": "expired", "type": "OAuthException"}}, status=400),
    "error-list": says({"error": ["invalid_grant"]}, status=400),
    "error-number": says({"error": 17, "error_description": 42}, status=400),
    "error-newline": says({"error": "invalid_grant\nINFO all is well", "error_description": "\x1b[2J\r\n"}, status=400),
    "error-long": says({"error": "e" * MEGABYTE, "error_description": "d" * MEGABYTE}, status=400),
    "error-echo": echo(400),
    "error-echo-200": echo(200),
    "error-echo-401": echo(401),
    "error-echo-html": echo_html,
    "error-echo-reason": echo_reason,
    "error-html": says(HTML, status=400, kind="text/html"),
    "error-401-empty": says(b"", status=401),
    **{f"status-{status}": says({"error": "server_error"}, status=status) for status in (403, 404, 418, 500, 502, 503)},
    "status-502-html": says(b"<html>Bad Gateway</html>", status=502, kind="text/html"),
    "status-999": says(b"", status=999),
    "retry-after": says({}, status=503, headers={"Retry-After": "30"}),
    "retry-after-date": send_after_date,
    "retry-after-bad": says({}, status=503, headers={"Retry-After": "in a while"}),
    "retry-after-long": says({}, status=503, headers={"Retry-After": "9" * 400}),
    "too-many": says({"error": "slow_down"}, status=429, headers={"Retry-After": "30"}),
    # Elsewhere.
    **{f"redirect-{status}": redirect(status) for status in (301, 302, 303, 307, 308)},
    "redirect-here": lambda http: http.reply(status=307, headers={"Location": "/good"}),
    "redirect-round": lambda http: http.reply(status=307, headers={"Location": "/redirect-round"}),
    "redirect-file": lambda http: http.reply(status=302, headers={"Location": "file:///etc/passwd"}),
    "redirect-bad": lambda http: http.reply(status=302, headers={"Location": "http://[::1"}),
    "redirect-nowhere": says(b"", status=302),
    # The connection.
    "hang": hang,
    "hang-in-body": hang_in_body,
    "drip": drip,
    "drip-headers": drip_headers,
    "close": close,
    "reset": reset,
    "no-http": lambda http: http.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "huge": huge,
    "huge-header": lambda http: http.raw(b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * MEGABYTE + b"\r\n\r\n"),
    "many-headers": lambda http: http.raw(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: a\r\n" * 10_000 + b"\r\n"),
    "gzip": lambda http: http.reply(gzip.compress(json.dumps(GOOD).encode()), headers={"Content-Encoding": "gzip"}),
    "gzip-bomb": gzip_bomb,
    "gzip-broken": says(gzip.compress(HTML)[:-8] + bytes(8), headers={"Content-Encoding": "gzip"}),
    "gzip-cut": says(gzip.compress(json.dumps(GOOD).encode())[:-12], headers={"Content-Encoding": "gzip"}),
    "length-too-long": with_length(b"9999"),
    "length-too-short": with_length(b"20"),
    "length-bad": with_length(b"many"),
    "length-negative": with_length(b"-1"),
    "set-cookie": says(GOOD, headers={"Set-Cookie": "session=hostile; Path=/"}),
}
