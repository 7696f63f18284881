"""What errors say at three in the morning: what happened, where, why, and what to do; and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import polvo_adapters as polvo
from tests.support.listening_server import Listening, Reply
from tests.support.marked_secrets import OPEN, find, secret, word

FAST: Any = {"base": 0.001, "cap": 0.002}
RAW = re.compile(r"HTTPConnectionPool|Max retries exceeded|object at 0x|Traceback|Errno|[a-z]Error\(")
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
