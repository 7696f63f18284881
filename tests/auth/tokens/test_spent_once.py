"""A refresh token is spent once: whatever a server answers with success, it does not see the same one again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.auth import JWTLogin, OAuth2, Token, TokenEndpoint, TokenResponse, jwt_login_auth
from polvo_adapters.auth.protocol import server
from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.tokens.refresh_verdict import SPENT
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply

URL = "https://id.example.com/token"
Answer = tuple[int, bytes]


class Endpoint:
    """A token endpoint in memory, which remembers the refresh tokens that it was sent and how it answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Answer]) -> None:
        self.answer, self.seen = answer, [("", 0)]
        self.seen.clear()
        monkeypatch.setattr(server, "request_once", self.respond)

    def respond(self, channel: Any, method: str, url: str, what: str, **request: Any) -> ServerResponse:
        status, body = self.answer()
        sent = dict(pair.split("=") for pair in request["body"].split("&"))
        self.seen.append((sent.get("refresh_token", ""), status))
        if status == 0:
            error = ServerResponse("h", what).make_error("connection")
            error.lost = True
            raise error
        return ServerResponse("h", what, status, {}, body, request["secrets"])


ODD: list[Any] = [None, "", 0, -1, True, [], {}, "odd", "t\n", "é", 1e400, "x" * 70_000, {"access_token": 7}, ["t"]]
NAMES = ["access_token", "refresh_token", "token_type", "expires_in", "scope", "error", "ok", "data", "status", "code"]
LIKELY: list[Any] = ["t", "Bearer", "bot", "dpop", 60, "invalid_grant", "server_error", "slow_down", "invalid_request"]


def make_answer(chance: random.Random) -> Answer:
    status = chance.choice([200, 200, 200, 201, 204, 299, 302, 400, 401, 403, 404, 408, 429, 500, 503, 0])
    shape = chance.random()
    if shape < 0.1:
        return status, bytes(chance.randrange(256) for _ in range(chance.randrange(40)))
    if shape < 0.2:
        return status, json.dumps(chance.choice(ODD)).encode()
    if shape < 0.25:
        return status, chance.choice([b"<html>", b"access_token=&error=x", b"access_token=t&expires_in=0", b"[" * 9999])
    fields = {name: chance.choice(ODD + LIKELY * 2) for name in NAMES if chance.random() < 0.4}
    return status, json.dumps(fields).encode()


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_refresh_token_is_sent_twice_after_a_success(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(count)
    endpoint = Endpoint(monkeypatch, lambda: make_answer(chance))
    for number in range(count):
        clock = VirtualClock()
        flow: Any = chance.choice(["refresh_token", "refresh_token", "client_credentials"])
        first = {"refresh_token": f"first-{number}"} if flow == "refresh_token" else {}
        auth = OAuth2(
            flow, "app", "secret", URL, scope="a", clock=clock, background=False, dpop=number % 9 == 0, **first
        )
        if not first:
            auth.keep(Token("t", expires_in=1, refresh_token=f"first-{number}"))
        endpoint.seen.clear()
        kept: set[str] = set()
        for _ in range(4):
            try:
                kept.add(auth.token().refresh_token or "")
            except TokenRefreshError:
                pass
            clock.advance(chance.choice([1, 40, 4000]))
        spent: set[str] = set()
        for refresh_token, status in endpoint.seen:
            assert refresh_token not in spent, endpoint.seen
            # With a token and without another refresh token, the one that was sent stays valid (RFC 6749 section 6).
            if refresh_token and 200 <= status < 300 and refresh_token not in kept:
                spent.add(refresh_token)


def ask(listening: Listening, **keywords: Any) -> OAuth2:
    settings: dict[str, Any] = {"token_url": f"{listening.url}/token", "refresh_token": "first", "background": False}
    return OAuth2(client_id="app", client_secret="secret", **{**settings, "clock": VirtualClock(), **keywords})


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as listening:
        yield listening


def fail(auth: Any) -> TokenRefreshError:
    with pytest.raises(TokenRefreshError) as caught:
        auth.token()
    return caught.value


def test_it_is_not_sent_again_by_others_that_share_the_store(listening: Listening, tmp_path: Path) -> None:
    listening.routes["/token"] = Reply({"message": "no idea", "trace": "7"})
    for _ in range(3):
        clock = VirtualClock()
        auth = ask(listening, token_cache=tmp_path / "tokens.json", clock=clock)
        first = fail(auth)
        assert first.final
        clock.advance(3600)
        assert fail(auth).reason in (SPENT, "no access_token")
    error = fail(ask(listening))
    assert "no idea" in str(error), "what the server has said is told"
    assert str(error).endswith("; the refresh token may be used up, and is not sent again: log in again")
    assert len(listening.asked) == 2


def test_a_new_refresh_token_is_sent(listening: Listening, tmp_path: Path) -> None:
    listening.routes["/token"] = Reply({"odd": 1})
    fail(ask(listening, token_cache=tmp_path / "tokens.json"))
    listening.routes["/token"] = Reply({"access_token": "t"})
    assert ask(listening, token_cache=tmp_path / "tokens.json", refresh_token="second").token().access_token == "t"


def test_after_a_new_login_the_spent_one_is_not_taken_from_the_settings(listening: Listening) -> None:
    clock = VirtualClock()
    listening.routes["/token"] = Reply({"odd": 1})
    auth = ask(
        listening, reauthenticate=lambda error: {"access_token": error.reason[:2], "expires_in": 60}, clock=clock
    )
    for _ in range(3):
        assert auth.token().access_token in ("no", SPENT[:2])
        clock.advance(100)
    assert len(listening.asked) == 1


def test_a_grant_without_a_user_takes_over_and_leaves_the_dead_one_behind(listening: Listening) -> None:
    def answer(asked: Asked) -> Reply:
        is_refresh = asked.form["grant_type"] == "refresh_token"
        return Reply({"odd": 1}) if is_refresh else next(replies)

    replies = iter([Reply(status=503), Reply({"access_token": "t", "expires_in": 60}), Reply({"access_token": "u"})])
    listening.routes["/token"] = answer
    clock = VirtualClock()
    auth = OAuth2(client_id="a", client_secret="b", token_url=f"{listening.url}/token", clock=clock, background=False)
    auth.keep(Token("old", expires_in=1, refresh_token="first"))
    clock.advance(10)
    assert auth.token() == Token("t", expires_in=60.0)
    clock.advance(100)
    assert auth.token().access_token == "u"
    assert [asked.form.get("refresh_token") for asked in listening.asked] == ["first", None, None, None]


@pytest.mark.parametrize(
    ("status", "headers", "sent", "final"),
    [
        (400, (), 1, True),
        (404, (), 1, True),
        (418, (), 1, True),
        (302, (("Location", "/other"),), 1, True),
        (408, (), 3, False),
        (425, (), 3, False),
        (403, (("Retry-After", "3600"),), 1, False),
        (500, (), 3, False),
    ],
)
def test_which_statuses_are_final(
    listening: Listening, status: int, headers: tuple[tuple[str, str], ...], sent: int, final: bool
) -> None:
    listening.routes["/token"] = Reply({"message": "the words of the server"}, status, headers)
    error = fail(ask(listening))
    assert (error.final, len(listening.asked)) == (final, sent)
    assert status == 302 or "the words of the server" in str(error)


@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable", "slow_down"])
def test_codes_that_mean_a_moment_are_not_final(listening: Listening, code: str) -> None:
    listening.routes["/token"] = Reply({"error": code}, 400)
    assert (fail(ask(listening)).final, len(listening.asked)) == (False, 3)


@pytest.mark.parametrize(("verdict", "sent"), [(True, 1), (False, 3), (None, 3)])
def test_the_caller_may_judge(listening: Listening, verdict: bool | None, sent: int) -> None:
    listening.routes["/token"] = Reply({"error": "odd"}, 503)
    error = fail(ask(listening, final=lambda error: verdict if error.reason == "odd" else None))
    assert (error.final, len(listening.asked)) == (verdict is True, sent)


def test_a_judge_that_raises_does_not_let_it_be_sent_again(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"odd": 1})
    fail(ask(listening, final=lambda error: error.no_such_attribute))
    assert len(listening.asked) == 1


def test_a_documented_moment_is_not_final(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"ok": False, "error": "ratelimited"})
    described = TokenEndpoint(
        f"{listening.url}/token", response=TokenResponse(success={"ok": True}, temporary=("ratelimited",))
    )
    assert (fail(ask(listening, token_url=described)).final, len(listening.asked)) == (False, 3)


def test_a_replaced_refresh_token_of_the_settings_is_not_sent_again(listening: Listening) -> None:
    clock = VirtualClock()
    auth = ask(listening, clock=clock)
    listening.routes["/token"] = Reply({"access_token": "t", "refresh_token": 7, "expires_in": 60})
    assert auth.token().refresh_token is None, "it means nothing, but the one before is replaced"
    clock.advance(100)
    assert fail(auth).reason == SPENT
    assert len(listening.asked) == 1


def test_nor_is_one_that_was_replaced_before_the_token_was_deleted(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"access_token": "t", "refresh_token": "second", "expires_in": 60})
    auth = ask(listening)
    assert auth.token().refresh_token == "second"
    auth.forget()
    assert fail(auth).reason == SPENT


@pytest.mark.parametrize(("repeats", "sent"), [(True, 2), (False, 1)])
def test_a_lost_answer_is_asked_for_once_at_once(repeats: bool, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, clock = Endpoint(monkeypatch, lambda: (0, b"")), VirtualClock()
    auth = OAuth2("refresh_token", "a", "b", URL, refresh_token="r", clock=clock, repeat_lost_refresh=repeats)
    error = fail(auth)
    assert (len(endpoint.seen), error.final, clock.now()) == (sent, not repeats, 0.0)
    clock.advance(100)
    assert fail(auth).reason == ("connection" if repeats else SPENT)


@pytest.mark.parametrize("kind", ["client_credentials", "login"])
def test_a_grant_whose_answer_was_lost_is_repeated_with_pauses(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, clock = Endpoint(monkeypatch, lambda: (0, b"")), VirtualClock()
    monkeypatch.setattr(jwt_login_auth, "request_once", lambda *_, **__: endpoint.respond(None, "", "", "", body="a=b"))
    auth: Any = OAuth2(client_id="a", client_secret="b", token_url=URL, clock=clock)
    fail(JWTLogin(URL, "ada", "p", clock=clock) if kind == "login" else auth)
    assert (len(endpoint.seen), clock.now() > 0) == (3, True)


def test_the_repeat_brings_the_answer_of_a_server_with_a_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter([(0, b""), (200, b'{"access_token": "t", "refresh_token": "s"}')])
    Endpoint(monkeypatch, lambda: next(replies))
    auth = OAuth2("refresh_token", "a", "b", URL, refresh_token="r", clock=VirtualClock())
    assert auth.token().refresh_token == "s"


@pytest.mark.parametrize("behaviour", ["cut", "reset", "garbage"])
def test_what_a_broken_connection_tells(behaviour: str) -> None:
    from tests.support.oauth.hostile import HostileServer

    name = {"cut": "length-too-long", "reset": "reset", "garbage": "no-http"}[behaviour]
    with HostileServer() as hostile:
        auth = OAuth2(
            "refresh_token", "a", "b", hostile.url(name), refresh_token="r", clock=VirtualClock(), background=False
        )
        error = fail(auth)
        # With a status of success the server has accepted the token, though its answer broke off.
        assert (error.final, len(hostile.requests_seen)) == ((True, 1) if behaviour == "cut" else (False, 2))


def test_a_login_by_name_and_password_keeps_to_it(listening: Listening) -> None:
    clock = VirtualClock()
    listening.routes["/login"] = Reply({"access": "t", "refresh": "r", "expires_in": 60})
    listening.routes["/again"] = Reply({"odd": 1})
    auth = JWTLogin(f"{listening.url}/login", "ada", "p", refresh_url=f"{listening.url}/again", clock=clock)
    for _ in range(3):
        assert auth.token().access_token == "t"
        clock.advance(100)
    # The login brings the same refresh token again, which the server has not taken for good before.
    assert [asked.path for asked in listening.asked] == ["/login", "/again", "/login", "/login"]


def test_an_hour_is_an_hour(listening: Listening) -> None:
    clock = VirtualClock()
    store = MemoryStore(now=clock.now)
    listening.routes["/token"] = Reply({}, 429, (("Retry-After", "3600"),))
    auths = [ask(listening, token_cache=store, clock=clock) for _ in range(2)]
    for minute in range(60):
        for auth in auths:  # the second one is another process, which knows nothing of the first
            error = fail(auth)
            assert error.retry_after == pytest.approx(3600 - 60 * minute, abs=2)
        clock.advance(60)
    assert len(listening.asked) == 1
    clock.advance(10)
    fail(auths[0])
    assert len(listening.asked) == 2


def test_no_login_helps_against_a_setting(listening: Listening) -> None:
    asked: list[Any] = []
    for status, body in ((302, {}), (405, {}), (415, {}), (401, {"error": "invalid_client"})):
        listening.routes["/token"] = Reply(body, status)
        assert fail(ask(listening, reauthenticate=asked.append)).final
    assert asked == []


@pytest.mark.parametrize("code", ["interaction_required", "login_required", "consent_required", "bad_refresh_token"])
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_a_dead_refresh_token_leads_to_a_login(listening: Listening, code: str, status: int) -> None:
    listening.routes["/token"] = Reply({"error": code, "error_description": "log in please"}, status)
    auth = ask(listening, reauthenticate=lambda error: f"{error.reason}-{'log in please' in str(error)}")
    assert (auth.token().access_token, len(listening.asked)) == (f"{code}-True", 1)
