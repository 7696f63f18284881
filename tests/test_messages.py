"""What errors say at three in the morning: what happened, where, why, and what to do; and no secret."""

from __future__ import annotations

import errno
import gc
import json
import pickle
import re
import socket
import ssl
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import requests
import trustme
from urllib3.exceptions import MaxRetryError, NewConnectionError

import polvo_adapters as polvo
import polvo_adapters.requests as drop_in
from polvo_adapters.shells.requests import plain_words
from polvo_adapters.shells.status_error import status_error
from polvo_adapters.testing.server import FailureServer
from tests.support.listening_server import Listening, Reply
from tests.support.marked_secrets import OPEN, find, secret, word

FAST: Any = {"base": 0.001, "cap": 0.002}
RAW = re.compile(r"HTTPConnectionPool|Max retries exceeded|object at 0x|Traceback|Errno|[a-z]Error\(")
NOWHERE = "http://127.0.0.1:9"
HTML = ("Content-Type", "text/html")


@pytest.fixture(scope="module")
def api() -> Iterator[Listening]:
    with Listening() as listening:
        yield listening


class Case(NamedTuple):
    """An answer of the server, and what the message has to say of it, beside status, place and effort."""

    reply: Reply
    method: str = "GET"
    says: tuple[str, ...] = ()
    kind: type[polvo.PolvoError] = polvo.StatusError
    path: str = "/plans/7"
    sent: dict[str, Any] = {}
    attempts: int = 1
    hides: tuple[str, ...] = ()


def json_error(status: int, **fields: Any) -> Reply:
    return Reply(fields, status)


ECHOED = {"password": secret("body", OPEN), "pin": "1234", "name": "Bob"}
ADVICE = [
    (400, "correct the request"),
    (401, "auth"),
    (402, "paid"),
    (403, "ask for the permission"),
    (404, "check the URL"),
    (405, "use another method"),
    (406, "Accept"),
    (408, "call again"),
    (409, "read the state"),
    (410, "gone for good"),
    (412, "read the resource again"),
    (413, "send less"),
    (414, "in the body"),
    (415, "Content-Type"),
    (418, "see what the API says"),
    (422, "correct the request"),
    (429, "pace the calls"),
    (431, "shorter headers"),
    (451, "see what the API says"),
    (500, "report it to the operator"),
    (501, "use another method"),
    (502, "call again later"),
    (503, "call again later"),
    (504, "call again later"),
    (599, "report it to the operator"),
]
CASES: dict[str, Case] = {
    **{
        f"{status}": Case(Reply(b"", status), says=(advice,), attempts=3 if status in (429, 500, 502, 503, 504) else 1)
        for status, advice in ADVICE
    },
    "a field named error": Case(json_error(404, error="no such plan"), says=('the server says "no such plan"',)),
    "code and message": Case(
        json_error(400, error={"code": "bad_plan", "message": "Plan 7 is over."}),
        says=('"bad_plan: Plan 7 is over."',),
    ),
    "problem details": Case(json_error(409, type="about:blank", detail="It is locked."), says=("It is locked.",)),
    "details in a list": Case(json_error(422, detail=[{"msg": "field required"}]), says=("field required",)),
    "plain text": Case(Reply(b"no such  plan\n", 404), says=('"no such plan"',)),
    "umlauts": Case(json_error(404, error="nicht verfügbar"), says=("nicht verfügbar",)),
    "a page": Case(Reply(b"<html><h1>Oops", 404, (HTML,)), hides=("Oops", "<")),
    "a page that calls itself text": Case(Reply(b"Sorry <b>Oops</b>", 404), hides=("Oops", "<")),
    "a long text": Case(Reply(b"word " * 500, 404), says=("word word", "…"), hides=("word " * 60,)),
    "control characters": Case(json_error(404, error="a\x1b[31mb\u202ec"), hides=("\x1b", "\u202e")),
    "broken JSON": Case(Reply(b'{"error": "cut o', 404), hides=("cut o",)),
    "deep JSON": Case(Reply(b"[" * 30_000, 404)),
    "not repeated": Case(
        Reply(b"", 500), "POST", ("POST is not repeated: the server may have processed it", "idempotency=True")
    ),
    "no wait that long": Case(
        Reply(b"", 503, (("Retry-After", "900"),)), says=("Retry-After of 900 s", "call again after 900 s")
    ),
    "methods that are allowed": Case(Reply(b"", 405, (("Allow", "GET, HEAD"),)), "PUT", ("methods GET, HEAD",)),
    "a credential that is not accepted": Case(
        Reply(b"", 401),
        says=("check the credential",),
        sent={"headers": {"Authorization": f"Bearer {word('bearer', OPEN)}"}},
    ),
    "no credential": Case(Reply(b"", 401), says=("no credential was sent",)),
    "an echo of the body": Case(
        json_error(422, message=f"{ECHOED['password']} is too weak, and 1234 too, Bob"),
        "POST",
        sent={"json": ECHOED},
        hides=("1234", "Bob"),
    ),
    "an echo of a short value": Case(
        json_error(422, message="Bob is taken"), "POST", ("*** is taken",), sent={"json": ECHOED}, hides=("Bob",)
    ),
    "an echo of a form": Case(
        Reply(f"pin 1234, {secret('body', OPEN)}".encode(), 422), "POST", sent={"data": ECHOED}, hides=("1234",)
    ),
    "an echo of a text": Case(
        Reply(b"swordfish is wrong", 422), "POST", sent={"data": "say swordfish"}, hides=("swordf",)
    ),
    "an echo of a stream": Case(
        Reply(b"swordfish is wrong", 422), "PUT", sent={"data": iter([b"swordfish"])}, hides=("swordf",)
    ),
    "an echo of a header": Case(
        Reply(f"bad key {word('key', OPEN)}".encode(), 403), sent={"headers": {"X-Api-Key": word("key", OPEN)}}
    ),
    "an echo of Basic": Case(Reply(b"me:sesame is unknown", 401), sent={"auth": ("me", "sesame")}, hides=("sesame",)),
    "an echo of a cookie": Case(Reply(b"bad sid abc1", 403), sent={"cookies": {"sid": "abc1"}}, hides=("abc1",)),
    "an echo of the query": Case(
        Reply(f"bad token {word('query', OPEN)}".encode(), 403), path=f"/plans?token={word('query', OPEN)}"
    ),
    "an echo of a token": Case(json_error(403, access_token=word("new", OPEN), error=f"used {word('new', OPEN)}")),
    "a path with a credential": Case(
        Reply(b"", 404), path=f"/bot123456:{word('bot', OPEN)}/send", says=("/bot1…/send: 404",)
    ),
    "a long path": Case(Reply(b"", 404), path="/word" * 40, says=("/word/word", "…: 404")),
}


@pytest.mark.parametrize("name", CASES)
def test_status_errors(name: str, api: Listening) -> None:
    case = CASES[name]
    api.routes[case.path] = case.reply
    session = polvo.Session(api.url, raise_for_status=True, retry=FAST, circuit_breaker=None)
    with pytest.raises(case.kind) as caught:
        session.request(case.method, case.path, **case.sent)
    error, text = caught.value, str(caught.value)
    effort = "1 attempt" if case.attempts == 1 else f"{case.attempts} attempts"
    assert text.startswith(f"{case.method} {api.url[7:]}/")
    assert re.search(rf": {case.reply.status}( [A-Z][A-Za-z' -]*)? after {effort} in [0-9.e-]+ s(;|, | \()", text), text
    assert [said for said in case.says if said not in text] == [], text
    assert [hidden for hidden in (*case.hides, "?", "token=") if hidden in text] == []
    assert find(text) == ""
    assert RAW.search(text) is None
    assert error.polvo is error.response.polvo
    assert (error.attempts, error.host) == (case.attempts, api.url[7:])


class Broken(NamedTuple):
    """A call without an answer, and what the note has to say of it."""

    path: str
    cause: str
    advice: str
    kind: type[requests.RequestException] = requests.ConnectionError
    method: str = "GET"
    attempts: int = 3


QUERY = f"token={word('query', OPEN)}"
AGAIN = "call again later"
FIND_OUT = "find out whether it was processed"
BROKEN = {
    "refused": Broken("refused", "connection refused, as nothing listens at", "whether the service runs"),
    "no name": Broken("no name", "the name nosuch.test is not found", "check the host in the URL"),
    "no name now": Broken("no name now", "the name nosuch.test cannot be looked up now", "DNS"),
    "no route": Broken("no route", "no route to nosuch.test", "check the network"),
    "no connection": Broken("no connection", "no connection within the timeout", "check host and port"),
    "silent": Broken("/fault/hang", "silent: no byte came within the timeout", "a longer timeout", requests.Timeout),
    "silent, POST": Broken("/fault/hang", "silent", FIND_OUT, requests.Timeout, "POST", 1),
    "reset": Broken("/fault/reset", "closed the connection without an answer", AGAIN),
    "reset, PATCH": Broken("/fault/reset", "closed the connection", FIND_OUT, method="PATCH", attempts=1),
    "closed": Broken("/fault/eof", "closed the connection without an answer", AGAIN),
    "no HTTP": Broken("/fault/garbage", "the answer is no HTTP", "check scheme and port"),
    "cut off": Broken("/fault/truncated", "the body broke off", AGAIN, requests.exceptions.ChunkedEncodingError),
    "cut chunk": Broken("/fault/cut-chunk", "the body broke off", AGAIN, requests.exceptions.ChunkedEncodingError),
    "bad gzip": Broken(
        "/fault/broken-gzip",
        "not encoded as its header says",
        "report",
        requests.exceptions.ContentDecodingError,
        attempts=1,
    ),
    "circle": Broken("circle", "too many redirects", "where the server redirects to", requests.TooManyRedirects),
    "unknown issuer": Broken("tls", "certificate of the server is not accepted", "verify=", attempts=1),
    "no TLS": Broken("no tls", "no TLS connection", "check scheme and port", attempts=1),
    "proxy": Broken("proxy", "the proxy does not open a connection", "check the proxy"),
}


def fail_lookup(monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    def look_up(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return "http://nosuch.test/a/b"


@pytest.fixture(scope="module")
def tls_server() -> Iterator[FailureServer]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FailureServer(ssl_context=context) as server:
        yield server


@pytest.fixture(scope="module")
def failing() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


@pytest.fixture
def break_off(
    monkeypatch: pytest.MonkeyPatch, api: Listening, failing: FailureServer, tls_server: FailureServer
) -> Callable[[Broken], requests.RequestException]:
    def call(case: Broken) -> requests.RequestException:
        more: dict[str, Any] = {}
        url = failing.url + case.path
        if case.path == "refused":
            url = f"{NOWHERE}/a/b"
        elif case.path.startswith("no name"):
            number = socket.EAI_AGAIN if case.path.endswith("now") else socket.EAI_NONAME
            url = fail_lookup(monkeypatch, socket.gaierror(number, "unknown"))
        elif case.path == "no route":
            url = fail_lookup(monkeypatch, OSError(errno.EHOSTUNREACH, "No route to host"))
        elif case.path == "no connection":
            url = fail_lookup(monkeypatch, TimeoutError("timed out"))
        elif case.path == "circle":
            api.routes[f"/circle?{QUERY}"] = Reply(b"", 302, (("Location", f"/circle?{QUERY}"),))
            url = f"{api.url}/circle"
        elif case.path == "tls":
            url = f"{tls_server.url}/a/b"
        elif case.path == "no tls":
            url = f"{api.url.replace('http', 'https')}/a/b"
        elif case.path == "proxy":
            url, more = (
                "https://nosuch.test/a/b",
                {"proxies": {"https": f"http://me:{word('proxy', OPEN)}@127.0.0.1:9"}},
            )
        timeout = 0.1 if "silent" in case.cause or "within the timeout" in case.cause else 20
        session = polvo.Session(retry=FAST, timeout=timeout, circuit_breaker=None)
        with pytest.raises(case.kind) as caught:
            session.request(case.method, f"{url}?{QUERY}", **more)
        return caught.value

    return call


@pytest.mark.parametrize("name", BROKEN)
def test_errors_without_an_answer(name: str, break_off: Callable[[Broken], requests.RequestException]) -> None:
    case = BROKEN[name]
    error = break_off(case)
    (note,) = error.__notes__
    assert re.match(rf"polvo: {case.method} [\w.:]+(/[\w-]+)+: ", note), note
    assert case.cause in note
    assert case.advice in note
    if case.path != "circle":  # which is raised above the adapter
        assert f"; {case.attempts} attempt{'' if case.attempts == 1 else 's'} in " in note
    assert RAW.search(note) is None
    assert "?" not in note
    shown = "".join(traceback.format_exception_only(error)) + repr(error.args) + repr(chain_of(error))
    assert find(shown) == ""
    assert isinstance(error.request, requests.PreparedRequest)


def chain_of(error: BaseException | None) -> list[str]:
    """Return the texts of an exception and of its causes, as a traceback prints them."""
    return [] if error is None else [str(error), *chain_of(error.__cause__ or error.__context__)]


def test_an_error_keeps_its_class_its_text_and_its_cause_but_for_the_query() -> None:
    url = f"{NOWHERE}/a/b?token=x1&c=2"
    texts = []
    for session in (requests.Session(), polvo.Session(retry=False)):
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(url)
        error = caught.value
        assert type(error) is requests.ConnectionError
        (cause,) = error.args
        assert type(cause) is MaxRetryError
        assert type(cause.reason) is NewConnectionError
        assert error.__context__ is cause
        assert error.request is not None
        assert error.request.url == url
        texts.append(re.sub(r" at 0x\w+", "", str(error)))
    assert texts[1].partition(" (polvo: ")[0] == texts[0].replace("?token=x1&c=2", "")


@pytest.mark.parametrize("make", [lambda: polvo.Session(None), lambda: polvo.Session(""), lambda: polvo])
def test_a_url_without_scheme_where_there_is_no_base_url(make: Callable[[], Any]) -> None:
    with pytest.raises(requests.exceptions.MissingSchema) as caught:
        make().get(f"/a/b?{QUERY}")
    (note,) = caught.value.__notes__
    assert "begin it with https://, or give the session a base_url" in note
    assert find(str(caught.value) + note) == ""


def call_mounted(url: str) -> object:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(retry=FAST))
    return session.get(url)


def call_installed(url: str) -> object:
    session = requests.Session()
    polvo.install(session, retry=FAST)
    return session.get(url)


FACES: dict[str, Callable[[str], object]] = {
    "mounted": call_mounted,
    "installed": call_installed,
    "session": lambda url: polvo.Session(retry=FAST).get(url),
    "session with auth": lambda url: polvo.Session(retry=FAST, auth=polvo.auth.bearer("t")).get(url),
    "prepared": lambda url: polvo.Session(retry=FAST).send(requests.Request("GET", url).prepare()),
    "verb": lambda url: polvo.get(url, retry=False),
    "request": lambda url: polvo.request("GET", url, retry=False),
    "drop-in": drop_in.get,
    "drop-in session": lambda url: drop_in.Session().get(url),
}


@pytest.mark.parametrize("name", FACES)
def test_a_traceback_shows_two_frames_of_ours_at_most(name: str) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        FACES[name](f"{NOWHERE}/a")
    frames = [str(frame.path) for frame in caught.traceback]
    ours = [path for path in frames if "/polvo_adapters/" in path]
    assert 1 <= len(ours) <= 3 if name == "verb" else 1 <= len(ours) <= 2, ours
    assert frames[-1].endswith("requests/adapters.py")


@pytest.mark.parametrize("kind", ["mounted", "installed", "bare"])
def test_other_sessions_leave_the_text_as_it_is(kind: str) -> None:
    session = requests.Session()
    if kind == "mounted":
        session.mount("http://", polvo.ResilientAdapter(retry=False))
    elif kind == "installed":
        polvo.install(session, retry=False)
    with pytest.raises(requests.ConnectionError, match=r"/a\?token=x1"):
        session.get(f"{NOWHERE}/a?token=x1")


@pytest.mark.parametrize(
    "url",
    [
        f"a?{QUERY}",
        f"a#{QUERY}",
        f"http://[a?{QUERY}",
        f"http://?{QUERY}",
        f"ftp://a.test/?{QUERY}",
        f"http://me:{word('user', OPEN)}@[a/",
        f"http://a.test:port/?a=b c&{QUERY}",
        f"http://*a.test/?{QUERY}",
    ],
)
@pytest.mark.parametrize("base_url", [None, "ftp://a.test"])
def test_urls_that_cannot_be_used_are_shown_without_query(url: str, base_url: str | None) -> None:
    with pytest.raises(requests.RequestException) as caught:
        polvo.Session(base_url).get(url)
    assert find(repr(chain_of(caught.value)) + repr(caught.value.args)) == ""


def test_a_redirect_that_cannot_be_followed_is_shown_without_query(api: Listening) -> None:
    api.routes["/bad"] = Reply(b"", 302, (("Location", f"http://*a/?{QUERY}"),))
    with pytest.raises(requests.RequestException) as caught:
        polvo.Session().get(f"{api.url}/bad")
    assert find(repr(chain_of(caught.value))) == ""


@pytest.mark.parametrize("name", BROKEN)
def test_a_python_that_shows_no_notes_has_them_at_the_end_of_the_text(
    name: str, break_off: Callable[[Broken], requests.RequestException], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BROKEN[name]
    shown = break_off(case)
    monkeypatch.setattr(plain_words, "shows_notes", lambda: False)
    error = break_off(case)
    (note,) = error.__notes__
    assert str(error).count(note) == 1
    assert [type(each) for each in error.args] == [type(each) for each in shown.args]
    assert str(error)[:20] == str(shown)[:20]


NO_JSON = {
    "a page": (Reply(b"<html><h1>Log in</h1>", 200, (HTML,)), ("200 OK", "text/html", "begins with '<html><h1>Log in")),
    "nothing": (Reply(b"", 200), ("the content type not given", "the body is empty")),
    "a text": (
        Reply(b"not found " * 50, 404, (("Content-Type", "text/plain; charset=utf-8"),)),
        ("404", "text/plain,"),
    ),
    "an echo": (Reply(f"Bad {QUERY}".encode(), 200), ("begins with 'Bad token=***'",)),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_json_that_is_none(name: str, api: Listening) -> None:
    reply, says = NO_JSON[name]
    api.routes[f"/plans?{QUERY}"] = reply
    response = polvo.Session(api.url).get(f"/plans?{QUERY}")
    assert type(response) is requests.Response
    with pytest.raises(requests.exceptions.JSONDecodeError) as caught:
        response.json()
    error, text = caught.value, str(caught.value)
    assert text.startswith(f"GET {api.url[7:]}/plans: the body is no JSON")
    assert text.endswith("(Expecting value): line 1 column 1 (char 0)")
    assert [said for said in says if said not in text] == [], text
    assert find(text) == ""
    assert len(text) < 400
    assert (error.msg in text, error.doc, error.pos) == (True, reply.body.decode(), 0)
    assert pickle.loads(pickle.dumps(response)).text == response.text
    with pytest.raises(requests.exceptions.JSONDecodeError) as bare:
        requests.get(f"{api.url}/plans?{QUERY}").json()
    assert (type(error), error.doc, error.pos) == (type(bare.value), bare.value.doc, bare.value.pos)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b" [1]",
        b"7",
        b"-1",
        b"true",
        b"null",
        b'"a"',
        b"NaN",
        b"-Infinity",
        b"\n{}",
        '{"a": "ü"}'.encode("utf-16"),
    ]
    + ["{}".encode(each) for each in ("utf-8-sig", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")],
)
def test_a_response_that_begins_as_json_is_left_as_it_is(body: bytes, api: Listening) -> None:
    api.routes["/json"] = Reply(body)
    response = polvo.Session(api.url).get("/json")
    assert "json" not in vars(response)


def test_a_decoder_of_the_caller_decides_what_is_json(api: Listening) -> None:
    class Lenient(json.JSONDecoder):
        def decode(self, text: str) -> Any:  # type: ignore[override]
            return ["lenient", text]

    api.routes["/json"] = Reply(b"<a>")
    assert polvo.Session(api.url).get("/json").json(cls=Lenient) == ["lenient", "<a>"]


def test_a_response_without_json_does_not_keep_itself_alive(api: Listening) -> None:
    api.routes["/json"] = Reply(b"<a>")
    response = polvo.Session(api.url).get("/json")
    seen = weakref.ref(response)
    gc.disable()
    try:
        del response
        assert seen() is None
    finally:
        gc.enable()


def test_the_rest_of_a_note_stays(api: Listening) -> None:
    api.routes["/regions"] = Reply(b"", 503)
    session = polvo.Session(api.url, retry=FAST, raise_for_status=True, circuit_breaker=None)
    with pytest.raises(polvo.ServiceUnavailableError) as caught:
        session.get("/regions")
    response = caught.value.response
    response.polvo.note = "gave up after 3 attempts; none of 3 regions succeeded"
    assert " s; none of 3 regions succeeded; call again later" in str(status_error(response))
