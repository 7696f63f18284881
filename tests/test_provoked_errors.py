"""Errors that are provoked in many ways, and one checker: what happened, where, why, what to do, and no secret.

What is read is what a person reads: the text of an error of this package, the note on an exception from below, or the
lines of the command line. The servers are real.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import requests
import trustme

import polvo_adapters as polvo
from polvo_adapters import auth
from polvo_adapters.__main__ import main
from polvo_adapters.policies.stack import standard
from polvo_adapters.runtime.clock import SystemClock
from polvo_adapters.secrets import Secret
from polvo_adapters.services import double_o
from polvo_adapters.shells.error_notes import find_note
from polvo_adapters.testing.server import FailureServer
from polvo_adapters.transports import PolicyTransport
from tests.support.listening_server import Listening, Reply
from tests.support.marked_secrets import HELD, OPEN, find, word

RAW = re.compile(
    r"HTTPS?ConnectionPool|Max retries|object at 0x|Traceback|\[?Errno|[a-z]Error\(|<urllib3|_ssl\.c|<class|bytearray"
)
NOWHERE = "http://127.0.0.1:9"
QUERY = f"?token={word('query', OPEN)}"
BEARER = {"Authorization": f"Bearer {word('bearer', OPEN)}", "X-Note": word("header", OPEN)}
FAST: Any = {"base": 0.001, "cap": 0.002}
HIDDEN = word("held", HELD)


class Impatient(SystemClock):
    """A clock on which waits between attempts take no time."""

    @staticmethod
    def sleep(seconds: float) -> None:
        pass


class World(NamedTuple):
    """The servers.

    Attributes:
        failing: Fails in every way.
        tls: The same, with a certificate of an issuer that is not known here.
        api: Answers as a row says.
        directory: For files.
    """

    failing: FailureServer
    tls: FailureServer
    api: Listening
    directory: Path

    def answer(self, path: str, body: Any = b"", status: int = 200, *headers: tuple[str, str]) -> str:
        """Let a path, with and without the query, be answered, and return its URL."""
        self.api.routes[path] = self.api.routes[path + QUERY] = Reply(body, status, headers)
        return self.api.url + path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FailureServer() as failing, FailureServer(ssl_context=context) as tls, Listening() as api:
        yield World(failing, tls, api, tmp_path_factory.mktemp("provoked"))


class Row(NamedTuple):
    """A way to provoke an error.

    Attributes:
        provoke: Raises it; or returns an exit code, where it is a command.
        cause: What the message has to say of what happened.
        advice: What it has to say of what to do.
        attempts: How many it has to name, if more than one.
        place: A pattern of where that was; a host and a path by default.
        code: The exit code of a command.
    """

    provoke: Callable[[World], object]
    cause: str
    advice: str
    attempts: int = 1
    place: str = r"\b[A-Z]+ [\w.-]+(:\d+)?/[\w/.…-]*"
    code: int | None = None


# Calls ----------------------------------------------------------------------------------------------------------------


def call_session(method: str, url: str, stream: bool, timeout: float, options: Any) -> Any:
    session = polvo.Session(timeout=timeout, **{"circuit_breaker": None, **options})
    return session.request(method, url, stream=stream, headers=BEARER, data="x" if method != "GET" else None)


def call_mounted(method: str, url: str, stream: bool, timeout: float, options: Any) -> Any:
    session = requests.Session()
    for prefix in ("https://", "http://"):
        session.mount(prefix, polvo.ResilientAdapter(timeout=timeout, **options))
    return session.request(method, url, stream=stream, headers=BEARER, data="x" if method != "GET" else None)


def call_httpx(method: str, url: str, stream: bool, timeout: float, options: Any) -> Any:
    with httpx.Client(transport=PolicyTransport(*standard(**options)), timeout=timeout) as client:
        if not stream:
            return client.request(method, url, headers=BEARER)
        with client.stream(method, url, headers=BEARER) as response:
            return response.read()


WAYS: dict[str, Callable[[str, str, bool, float, Any], Any]] = {
    "session": call_session,
    "mounted": call_mounted,
    "httpx": call_httpx,
}
SILENT, AGAIN, FIND_OUT = "the server is silent", "call again later", "find out whether it was processed"
BROKEN: dict[str, tuple[str, str, str, str, int]] = {
    # method, where, cause, advice, attempts
    "refused": ("GET", "refused", "connection refused, as nothing listens at", "whether the service runs", 3),
    "refused, POST": ("POST", "refused", "connection refused", "check host and port", 3),
    "no name": ("GET", "no name", "nosuch.invalid", "the DNS of this machine", 3),
    "silent": ("GET", "/fault/hang", SILENT, "allow a longer timeout", 3),
    "silent, POST": ("POST", "/fault/hang", SILENT, FIND_OUT, 1),
    "reset": ("GET", "/fault/reset", "closed the connection without an answer", AGAIN, 3),
    "reset, PATCH": ("PATCH", "/fault/reset", "closed the connection without an answer", FIND_OUT, 1),
    "closed": ("GET", "/fault/eof", "closed the connection without an answer", AGAIN, 3),
    "no HTTP": ("GET", "/fault/garbage", "the answer is no HTTP", "check scheme and port", 3),
    "cut off": ("GET", "/fault/truncated", "the body broke off before its end", AGAIN, 3),
    "cut chunk": ("GET", "/fault/cut-chunk", "the body broke off before its end", AGAIN, 3),
    "unknown issuer": ("GET", "tls", "certificate of the server is not accepted", "verify=", 1),
    "no TLS": ("GET", "no tls", "no TLS connection", "https:// needs a server that speaks TLS", 1),
}


def provoke_broken(world: World, way: str, method: str, where: str) -> object:
    places = {
        "refused": f"{NOWHERE}/a/b",
        "no name": "http://nosuch.invalid/a/b",
        "tls": f"{world.tls.url}/a/b",
        "no tls": world.api.url.replace("http:", "https:") + "/a/b",
    }
    url = places.get(where, world.failing.url + where) + QUERY
    return WAYS[way](method, url, False, 0.05 if where == "/fault/hang" else 10, {"retry": FAST})


def provoke_late(world: World, way: str, path: str, stream: bool) -> object:
    options = {"retry": FAST, "deadline": 0.3}
    response = WAYS[way]("GET", world.failing.url + path + QUERY, stream, 5, options)
    return response.content if stream else response


def provoke_open(world: World, way: str, by_hand: bool) -> object:
    store = polvo.stores.MemoryStore()
    breaker = polvo.breaker.CircuitBreaker(failure_threshold=1, recovery_timeout=3600)
    options: Any = {"retry": False, "circuit_breaker": breaker}
    if way != "httpx":
        options["store"] = store
        with pytest.raises(requests.ConnectionError):
            WAYS[way]("GET", f"{NOWHERE}/a", False, 1, options)
        if by_hand:
            polvo.ResilientAdapter(**options).circuit(NOWHERE).open()
        return WAYS[way]("GET", f"{NOWHERE}/a/b{QUERY}", False, 1, options)
    with httpx.Client(transport=PolicyTransport(*standard(**options), store=store)) as client:
        with pytest.raises(httpx.ConnectError):
            client.get(f"{NOWHERE}/a")
        if by_hand:
            client._transport.circuit(NOWHERE).open()  # type: ignore[attr-defined]
        return client.get(f"{NOWHERE}/a/b{QUERY}", headers=BEARER)


def provoke_full(world: World, way: str) -> object:
    options: Any = {"retry": False, "bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.02}}
    key = f"full-{way}"
    url = f"{world.failing.url}/fault/hang?key={key}"
    with httpx.Client(transport=PolicyTransport(*standard(**options)), timeout=1.5) as client:
        session = polvo.Session(timeout=1.5, circuit_breaker=None, **options)
        mounted = requests.Session()
        mounted.mount("http://", polvo.ResilientAdapter(timeout=1.5, **options))
        call: Any = {"session": session, "mounted": mounted, "httpx": client}[way].get

        def occupy() -> None:
            with pytest.raises((requests.Timeout, httpx.ReadTimeout)):
                call(url)

        thread = threading.Thread(target=occupy)
        thread.start()
        give_up_at = time.monotonic() + 10
        try:
            while not world.failing.counters_for(key)["received"]:
                assert time.monotonic() < give_up_at
                time.sleep(0.01)
            return call(f"{world.failing.url}/echo/1{QUERY}", headers=BEARER)
        finally:
            thread.join()


def provoke_paced(world: World, way: str, deadline: float | None) -> object:
    limit = polvo.ratelimit.TokenBucket(rate=0.01, capacity=1, max_wait=0.1 if deadline is None else 500)
    options: Any = {"retry": False, "rate_limit": limit, **({} if deadline is None else {"deadline": deadline})}
    with httpx.Client(transport=PolicyTransport(*standard(**options))) as client:
        mounted = requests.Session()
        mounted.mount("http://", polvo.ResilientAdapter(**options))
        calls: Any = {"session": polvo.Session(circuit_breaker=None, **options), "mounted": mounted, "httpx": client}
        calls[way].get(world.failing.url + "/echo", headers=BEARER)
        return calls[way].get(f"{world.failing.url}/echo/1{QUERY}", headers=BEARER)


def list_broken() -> Iterator[tuple[str, Row]]:
    for way in WAYS:
        for name, (method, where, cause, advice, attempts) in BROKEN.items():

            def provoke(world: World, way: str = way, method: str = method, where: str = where) -> object:
                return provoke_broken(world, way, method, where)

            yield f"{name}, {way}", Row(provoke, cause, advice, attempts)


def list_refused() -> Iterator[tuple[str, Row]]:
    for way in WAYS:
        longer = "allow it a longer deadline, or ask for less"
        late = (
            ("/fault/hang", False, "the deadline of 0.3 s is over, while waiting for the first byte of the answer"),
            ("/fault/drip", False, "the deadline of 0.3 s is over"),
            ("/fault/drip", True, "the deadline is over and the body is not complete"),
        )
        for path, stream, cause in late:

            def be_late(world: World, way: str = way, path: str = path, stream: bool = stream) -> object:
                return provoke_late(world, way, path, stream)

            if not (way == "httpx" and stream):
                yield f"deadline {path}{', streamed' if stream else ''}, {way}", Row(be_late, cause, longer)
        for by_hand in (False, True):

            def be_open(world: World, way: str = way, by_hand: bool = by_hand) -> object:
                return provoke_open(world, way, by_hand)

            cause = "isolated by hand" if by_hand else "Circuit breaker is OPEN, circuit http://127.0.0.1:9: a failure"
            advice = r".close()" if by_hand else "call again after 3"
            yield f"circuit{' by hand' if by_hand else ''}, {way}", Row(be_open, cause, advice)
        yield (
            f"bulkhead, {way}",
            Row(
                lambda world, way=way: provoke_full(world, way), "the only slot of the bulkhead is in use", "send fewer"
            ),  # type: ignore[misc]
        )
        for deadline in (None, 1.0):

            def be_paced(world: World, way: str = way, deadline: float | None = deadline) -> object:
                return provoke_paced(world, way, deadline)

            cause = "beyond max_wait" if deadline is None else "beyond the deadline"
            yield f"rate limit, {cause}, {way}", Row(be_paced, cause, "call again after that, or allow a longer wait")


def list_unsendable() -> Iterator[tuple[str, Row]]:
    """Rows of what other causes are easily taken for: silence within TLS, a proxy, headers, a URL that is none."""

    def be_silent(world: World, way: str) -> object:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/a/b{QUERY}"
            return WAYS[way]("GET", url, False, 0.05, {"retry": FAST})

    for way in ("session", "mounted", "httpx"):
        silent = Row(lambda world, way=way: be_silent(world, way), f"{SILENT} in the TLS handshake", "speaks TLS", 3)  # type: ignore[misc]
        yield f"silent TLS, {way}", silent

        def send_many(world: World, way: str = way) -> object:
            url = world.answer("/many", b"", 200, *((f"X-{number}", "y") for number in range(150)))
            return WAYS[way]("GET", url + QUERY, False, 5, {"retry": FAST})

        if way != "httpx":
            yield f"150 headers, {way}", Row(send_many, "more headers than can be read", "report it", 3)

    def call_ftp(world: World) -> object:
        return WAYS["httpx"]("GET", f"ftp://127.0.0.1:9/a/b{QUERY}", False, 1, {"retry": FAST})

    yield "ftp, httpx", Row(call_ftp, "neither http:// nor https://", "correct the URL")

    def send_nan(world: World) -> object:
        return polvo.Session(retry=FAST).post(f"{world.api.url}/a/b{QUERY}", json=float("nan"), headers=BEARER)

    yield "NaN, session", Row(send_nan, "cannot be made of these arguments", "correct what the message names")

    def call_regions(world: World) -> object:
        regions = [f"{NOWHERE}/a", "http://127.0.0.1:1/b"]
        return polvo.Session(retry=False, regions=regions).get(f"{NOWHERE}/a/b{QUERY}", headers=BEARER)

    yield "all regions", Row(call_regions, "tried 127.0.0.1:9, 127.0.0.1:1", "check host and port", 2)


# Answers --------------------------------------------------------------------------------------------------------------

STATUSES = {
    400: "correct the request",
    401: "check the credential",
    402: "paid",
    403: "ask for the permission",
    404: "check the URL",
    405: "use another method",
    409: "read the state",
    410: "remove the reference",
    413: "send less",
    415: "Content-Type",
    422: "correct the request",
    429: "pace the calls",
    451: "see what the API says",
    500: "report it to the operator",
    502: "call again later",
    503: "call again later",
    504: "call again later",
}


def provoke_status(world: World, status: int) -> object:
    url = world.answer(f"/status/{status}", {"error": f"it is wrong, {word('bearer', OPEN)}"}, status)
    session = polvo.Session(raise_for_status=True, retry=FAST, circuit_breaker=None)
    return session.get(url + QUERY, headers=BEARER)


def provoke_redirect(world: World, location: str) -> object:
    target = location.replace("API", world.api.url)
    url = world.answer("/moved", b"", 302, ("Location", target + QUERY))
    return polvo.Session(retry=FAST, circuit_breaker=None).get(url + QUERY, headers=BEARER)


def provoke_no_json(world: World) -> object:
    url = world.answer("/page", b"<html>Log in</html>", 200, ("Content-Type", "text/html"))
    return polvo.Session().get(url + QUERY, headers=BEARER).json()


def list_answers() -> Iterator[tuple[str, Row]]:
    for status, advice in STATUSES.items():
        attempts = 3 if status in (429, 500, 502, 503, 504) else 1
        row = Row(lambda world, status=status: provoke_status(world, status), str(status), advice, attempts)  # type: ignore[misc]
        yield f"status {status}", row
    where = "where the server redirects to"
    yield "circle of redirects", Row(lambda world: provoke_redirect(world, "API/moved"), "too many redirects", where)
    refused = Row(lambda world: provoke_redirect(world, f"{NOWHERE}/x"), "connection refused", "check host and port", 3)
    yield "redirect to nowhere", refused
    yield "no JSON", Row(provoke_no_json, "the body is no JSON", "check the URL, and ask for JSON")


# Tokens ---------------------------------------------------------------------------------------------------------------

URL_PLACE = r"failed at [\w.]+(:\d+)?/[\w/.-]+"
TOKEN_ERRORS: dict[str, tuple[str, str, str, int]] = {
    "refused": (f"{NOWHERE}/token", "connection refused, as nothing listens at 127.0.0.1:9; nothing", "check host", 3),
    "tls": ("TLS/token", "certificate of the server is not accepted", "verify=", 1),
    "reset": ("FAILING/fault/reset", "closed the connection without an answer; the server may have received", AGAIN, 3),
    "silent": ("FAILING/fault/hang", SILENT, "allow a longer timeout", 3),
    "no HTTP": ("FAILING/fault/garbage", "the answer is no HTTP", "check scheme and port", 3),
    "400": ("API/t400", "status 400", "check what the request asks for", 3),
    "401": ("API/t401", "status 401", "check the credentials", 3),
    "403": ("API/t403", "status 403", "ask its operator", 3),
    "404": ("API/t404", "status 404", "check the URL", 3),
    "500": ("API/t500", "status 500", "report it", 3),
    "503": ("API/t503", "status 503", "ask again later", 3),
    "invalid_client": ("API/client", "invalid_client, status 401", "check client_id, client_secret", 1),
    "invalid_scope": ("API/scope", "invalid_scope, status 400", "request scopes that the client may have", 1),
    "page": ("API/page", "not json", "check that the URL is that of the endpoint", 3),
    "redirect": ("API/moved", "redirect", "set the final URL", 1),
}


def fill(world: World, url: str) -> str:
    servers = {"FAILING": world.failing.url, "TLS": world.tls.url, "API": world.api.url}
    for name, server in servers.items():
        url = url.replace(f"{name}/", f"{server}/")
    return url


def answer_tokens(world: World) -> None:
    for status in (400, 401, 403, 404, 500, 503):
        world.answer(f"/t{status}", b"", status)
    world.answer("/client", {"error": "invalid_client", "error_description": f"wrong: {HIDDEN}"}, 401)
    world.answer("/scope", {"error": "invalid_scope"}, 400)
    world.answer("/page", b"<html>Log in</html>")
    world.answer("/moved", b"", 302, ("Location", f"{world.api.url}/scope"))


def provoke_token(world: World, make: Callable[..., Any], **keywords: Any) -> object:
    answer_tokens(world)
    filled = {name: fill(world, each) if isinstance(each, str) else each for name, each in keywords.items()}
    seconds = 0.2 if any("/fault/hang" in str(each) for each in filled.values()) else 10.0
    made = make(clock=Impatient(), timeout=seconds, background=False, **filled)
    return polvo.Session(auth=made, circuit_breaker=None, retry=False).get(f"{world.failing.url}/echo{QUERY}")


def list_tokens() -> Iterator[tuple[str, Row]]:
    client = {"client_id": "me", "client_secret": HIDDEN}
    for name, (url, cause, advice, attempts) in TOKEN_ERRORS.items():

        def grant(world: World, url: str = url) -> object:
            return provoke_token(world, auth.OAuth2, token_url=url, **client)

        yield f"token endpoint, {name}", Row(grant, cause, advice, attempts, URL_PLACE)
    for name, place in (("refused", NOWHERE), ("tls", "TLS/")):
        url, cause, advice, attempts = TOKEN_ERRORS[name]

        def discover(world: World, place: str = place) -> object:
            return provoke_token(world, auth.OAuth2, issuer=place, **client)

        def refresh(world: World, url: str = url) -> object:
            return provoke_token(world, auth.OAuth2, token_url=url, refresh_token=word("refresh", HELD), **client)

        def log_in(world: World, url: str = url) -> object:
            return provoke_token(world, auth.JWTLogin, login_url=url, username="u", password=HIDDEN)

        yield f"discovery, {name}", Row(discover, cause, advice, attempts, URL_PLACE)
        yield f"refresh, {name}", Row(refresh, cause, advice, attempts, URL_PLACE)
        yield f"login, {name}", Row(log_in, cause, advice, attempts, URL_PLACE)


# Double-O and secrets -------------------------------------------------------------------------------------------------

DOUBLE_O = {
    401: "look whether it is the right one",
    403: "the token may not do this",
    404: "base_url that of Double-O",
    429: "call less often",
    500: "call again later",
    503: "call again later",
}


def provoke_double_o(world: World, url: str, name: str, *arguments: Any, **keywords: Any) -> object:
    with double_o.Client(fill(world, url + "/").rstrip("/"), timeout=10, clock=Impatient(), **keywords) as client:
        return getattr(client, name)(*arguments)


def list_double_o() -> Iterator[tuple[str, Row]]:
    token = word("token", HELD)
    for name, arguments in (
        ("get_secret", (token,)),
        ("get_env", (token,)),
        ("proxy", ("v1/x", token)),
        ("health", ()),
    ):

        def refuse(world: World, name: str = name, arguments: Any = arguments) -> object:
            return provoke_double_o(world, NOWHERE, name, *arguments, retries=1)

        def doubt(world: World, name: str = name, arguments: Any = arguments) -> object:
            return provoke_double_o(world, "TLS", name, *arguments, retries=1)

        yield f"Double-O {name}, refused", Row(refuse, "connection refused", "check host and port", 2)
        yield f"Double-O {name}, tls", Row(doubt, "certificate of the server is not accepted", "verify=")
    for status, advice in DOUBLE_O.items():

        def answer(world: World, status: int = status) -> object:
            world.answer("/api/secret", {"error": f"no, {token}"}, status)
            return provoke_double_o(world, "API", "get_secret", token)

        yield f"Double-O {status}", Row(answer, f"/api/secret: {status} ", advice)

    def open_circuit(world: World) -> object:
        keywords: Any = {"circuit_breaker": {"failure_threshold": 1, "recovery_timeout": 3600}}
        with double_o.Client(NOWHERE, **keywords) as client:
            with pytest.raises(double_o.SecretError):
                client.get_secret(token)
            return client.get_secret(token)

    yield "Double-O circuit", Row(open_circuit, ":9/api/secret: Circuit breaker is OPEN", "call again after 3")


def list_secrets() -> Iterator[tuple[str, Row]]:
    for uri, cause, advice in (
        ("env://POLVO_NOT_SET", "not found", "set the environment variable"),
        ("file:///nowhere/secret", "not found", "see that the file is mounted"),
        ("file:///tmp", "unavailable", "reading it failed"),
    ):
        row = Row(lambda world, uri=uri: Secret(uri).get(), cause, advice, place=r"the secret '[\w/]+'")  # type: ignore[misc]
        yield f"secret {uri}", row

    def fail() -> str:
        raise ValueError(HIDDEN)

    place = r"the secret '\S+fail'"
    yield "secret, function", Row(lambda _: Secret(fail).get(), "ValueError was raised", "not shown", place=place)
    refused = polvo.secrets.DoubleO(word("token", HELD), base_url=NOWHERE, allow_http=True)
    row = Row(lambda _: Secret(refused, clock=Impatient()).get(), "connection refused", "check host", place=NOWHERE[7:])
    yield "secret, Double-O", row


# Commands -------------------------------------------------------------------------------------------------------------


def list_commands() -> Iterator[tuple[str, Row]]:
    device = f"--device-authorization-url {NOWHERE}/d --client-id c --token-cache DIR/t.json"
    rows: tuple[tuple[str, str, str, int], ...] = (
        (f"get {NOWHERE}/a{QUERY} --attempts 1", "connection refused", "Check the host", 3),
        (f"get FAILING/fault/hang{QUERY} --attempts 1 --timeout 0.1", SILENT, "--timeout", 3),
        (f"get FAILING/fault/drip{QUERY} --deadline 0.2", "the deadline of 0.2 s is over", "--deadline", 3),
        (f"get TLS/a{QUERY}", "certificate of the server is not accepted", "verify=", 3),
        (f"post FAILING/fault/reset{QUERY} -d x", "closed the connection", "find out before you send it again", 3),
        (f"probe {NOWHERE}/a{QUERY}", "connection refused", "check host and port", 3),
        (f"probe TLS/a{QUERY}", "certificate of the server is not accepted", "verify=", 3),
        (f"download FAILING/fault/status{QUERY}&code=404 -o DIR/file", "404 Not Found", "check the URL", 1),
        (f"download TLS/a{QUERY} -o DIR/file", "certificate of the server is not accepted", "verify=", 3),
        (f"login --flow device --token-url {NOWHERE}/t {device}", "connection refused", "check host and port", 1),
        ("login --issuer TLS/ --client-id c --token-cache DIR/t.json", "certificate of the server", "verify=", 1),
        ("login --issuer TLS/ --client-id c --token-cache DIR", "--token-cache", "name a file in it", 1),
        ("tokens DIR/nowhere.json", "there is no such file", "", 1),
        ("tokens DIR", "is not a regular file", "name a file", 1),
    )  # fmt: skip
    for text, cause, advice, code in rows:

        def run(world: World, text: str = text) -> object:
            return main(fill(world, text).replace("DIR", str(world.directory)).split())

        place = r"(?s)[\w.-]+(:\d+)?/"
        yield f"polvo {text.replace(QUERY, '')}", Row(run, cause, advice, place=place, code=code)


ROWS: dict[str, Row] = {
    name: row
    for rows in (
        list_broken,
        list_unsendable,
        list_refused,
        list_answers,
        list_tokens,
        list_double_o,
        list_secrets,
        list_commands,
    )
    for name, row in rows()
}


def read(error: BaseException) -> str:
    """Return what a person reads of an exception."""
    return find_note(error) or str(error)


@pytest.mark.parametrize("name", ROWS)
def test_a_provoked_error(name: str, world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.delenv("POLVO_NOT_SET", raising=False)
    if row.code is None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what matters is what it says
            row.provoke(world)
        error = caught.value
        assert isinstance(error, (requests.RequestException, httpx.HTTPError))
        text = read(error)
        # The text of an exception from below is that of bare requests, query included, where it is mounted.
        shown = text + (repr(error.args) if "session" in name else "")
        ours = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if f"{os.sep}polvo_adapters{os.sep}" in frame[0]
        ]
        if not isinstance(error, polvo.PolvoError):  # whose own frames say where it was decided
            assert len(ours) <= 2, ours
    else:
        assert row.provoke(world) == row.code
        output = capsys.readouterr()
        assert output.out == ""
        shown = text = output.err
    assert re.search(row.place, text), text
    assert row.cause in text
    assert row.advice in text
    named = {int(count) for count in re.findall(r"\b(\d+) attempts", text)}
    assert named == ({row.attempts} if row.attempts > 1 else set()), text
    assert find(shown) == ""
    assert RAW.search(text) is None, text
    assert "token=" not in shown
    assert len(text) < 600 or row.code is not None, len(text)


@pytest.mark.parametrize("path", ["/fault/truncated", "/fault/cut-chunk", "/fault/reset-body"])
@pytest.mark.parametrize("way", ["session", "mounted"])
def test_a_stream_that_breaks_off(way: str, path: str, world: World) -> None:
    if path == "/fault/reset-body":
        path, cause = "/fault/drip?size=100&interval=1", SILENT
    else:
        cause = "the body broke off before its end; 1 attempt"
    response = WAYS[way](
        "POST", world.failing.url + path + QUERY.replace("?", "&" if "?" in path else "?"), True, 0.2, {}
    )
    assert type(response) is requests.Response
    with pytest.raises(requests.RequestException) as caught:
        list(response.iter_content(10))
    lines = [
        line for line in "".join(traceback.format_exception(caught.value)).splitlines() if line.startswith("polvo: ")
    ]
    assert len(lines) == 1
    assert lines[0].startswith(f"polvo: POST {world.failing.url[7:]}{path.partition('?')[0]}: {cause}")
    assert lines[0].endswith("find out whether it was processed before you send it again")
    assert find(lines[0]) == ""


@pytest.mark.parametrize(
    "url", ["x.example.com/a", "htp://x.example.com/a", "https:///a", "htp://u:{word}@x.example.com/a"]
)
@pytest.mark.parametrize("command", ["get", "post", "probe", "download", "login"])
def test_no_command_shows_the_query_of_a_url_that_it_refuses(command: str, url: str, capsys: Any) -> None:
    given = url.replace("{word}", word("user", OPEN)) + QUERY
    arguments = {"login": ["--client-id", "c", "--token-cache", "c.json", "--issuer", given]}.get(command, [given])
    with pytest.raises(SystemExit):
        main([command, *arguments])
    output = capsys.readouterr()
    assert find(output.out + output.err) == ""
    assert "https" in output.err or "no host" in output.err


def test_a_header_without_a_name_is_not_shown(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["get", NOWHERE, "-H", word("bearer", OPEN)])
    assert find(capsys.readouterr().err) == ""


def test_the_frames_of_an_async_session(world: World) -> None:
    async def call() -> None:
        async with polvo.AsyncSession(retry=False, circuit_breaker=None) as session:
            await session.get(f"{NOWHERE}/a{QUERY}")

    with pytest.raises(httpx.ConnectError) as caught:
        asyncio.run(call())
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert len([frame for frame in frames if f"{os.sep}polvo_adapters{os.sep}" in frame[0]]) <= 2


def test_a_policy_transport_takes_no_keyword_of_a_policy() -> None:
    with pytest.raises(TypeError, match="retry is a keyword of ResilientTransport"):
        PolicyTransport(retry=True)


def test_there_are_enough_rows() -> None:
    assert len(ROWS) >= 110
