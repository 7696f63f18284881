"""Signatures of webhooks: what holds, what does not, rotation, replays, and receivers under real servers."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask
import pytest
import requests
from werkzeug.serving import make_server

from polvo_adapters import errors
from polvo_adapters.services import ezthrottle as ez
from polvo_adapters.services.ezthrottle import ReplayMemory, WebhookReceiver, sign_webhook, verify_webhook_signature
from polvo_adapters.services.ezthrottle.webhooks import SIGNATURE_HEADER
from tests.support.ezthrottle_server import EZThrottleServer

NOW, BODY, SECRET, OLD = 1_700_000_000, b'{"job_id": "job_1"}', "s" * 16, "o" * 16
GOOD = sign_webhook(BODY, SECRET, NOW)
MARK = GOOD.partition("v1=")[2]


def verify(header: Any, body: Any = BODY, secret: Any = SECRET, **keywords: Any) -> tuple[bool, str]:
    return verify_webhook_signature(body, header, secret, now=lambda: NOW, **keywords)


def test_a_signature_is_that_of_the_published_client() -> None:
    wanted = hmac.new(SECRET.encode(), f"{NOW}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert f"t={NOW},v1={wanted}" == GOOD


HEADERS: dict[str, tuple[Any, tuple[bool, str]]] = {
    "as it is made": (GOOD, (True, "valid")),
    "with spaces": (f" t={NOW} , v1={MARK} ", (True, "valid")),
    "the other way around": (f"v1={MARK},t={NOW}", (True, "valid")),
    "with another scheme": (f"{GOOD},v0={'0' * 64},v2=x", (True, "valid")),
    "with two v1, the first holds": (f"{GOOD},v1={'0' * 64}", (True, "valid")),
    "with two v1, the second holds": (f"t={NOW},v1={'0' * 64},v1={MARK}", (True, "valid")),
    "empty": ("", (False, "no_signature_header")),
    "missing": (None, (False, "no_signature_header")),
    "without v1": (f"t={NOW}", (False, "missing_v1_signature")),
    "with an empty v1": (f"t={NOW},v1=", (False, "missing_v1_signature")),
    "without t": (f"v1={MARK}", (False, "missing_timestamp")),
    "with an empty t": (f"t=,v1={MARK}", (False, "missing_timestamp")),
    "with two t": (f"t={NOW},{GOOD}", (False, "missing_timestamp")),
    "with another t": (f"t={NOW - 1},v1={MARK}", (False, "signature_mismatch")),
    "with digits of another script": (f"t={chr(0x661)}{str(NOW)[1:]},v1={MARK}", (False, "missing_timestamp")),
    "with a sign": (f"t=+{NOW},v1={MARK}", (False, "missing_timestamp")),
    "with an underscore": (f"t=1_700_000_000,v1={MARK}", (False, "missing_timestamp")),
    "with a fraction": (f"t={NOW}.0,v1={MARK}", (False, "missing_timestamp")),
    "with a huge t": (f"t={'9' * 400},v1={MARK}", (False, "missing_timestamp")),
    "in capitals": (GOOD.replace(MARK, MARK.upper()), (False, "signature_mismatch")),
    "cut short": (GOOD[:-1], (False, "signature_mismatch")),
    "with more at its end": (GOOD + "0", (False, "signature_mismatch")),
    "of another alphabet": (f"t={NOW},v1=ä€", (False, "signature_mismatch")),
    "very long": (GOOD + ",v1=0" * 10_000, (False, "signature_mismatch")),
    "no text": (b"x", (False, "no_signature_header")),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header(case: str) -> None:
    header, expected = HEADERS[case]
    assert verify(header) == expected


@pytest.mark.parametrize(("age", "is_valid"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_the_age_of_a_signature(age: int, is_valid: bool) -> None:
    assert verify(sign_webhook(BODY, SECRET, NOW - age))[0] == is_valid


def test_the_raw_bytes_are_signed() -> None:
    assert verify(sign_webhook(b"\xff\x00", SECRET, NOW), b"\xff\x00") == (True, "valid")
    assert verify(GOOD, bytearray(BODY)) == verify(GOOD, BODY.decode()) == (True, "valid")
    assert verify(GOOD, json.dumps(json.loads(BODY), indent=1).encode()) == (False, "signature_mismatch")
    with pytest.raises(ez.ArgumentError, match="payload"):
        verify(GOOD, json.loads(BODY))


@pytest.mark.parametrize("secret", ["", None, [], [SECRET, ""], 7, b"s" * 16])
def test_a_secret_that_is_none_is_refused(secret: Any) -> None:
    for call in (
        lambda: verify(GOOD, secret=secret),
        lambda: sign_webhook(BODY, secret),
        lambda: WebhookReceiver(secret),
    ):
        with pytest.raises(ez.ArgumentError, match="secret"):
            call()


def test_secrets_are_rotated_with_an_overlap() -> None:
    """First the receivers know both, then the sender signs with both, then each of them drops the old one."""
    for sender, receiver in (
        ([OLD], [SECRET, OLD]),
        ([SECRET, OLD], [SECRET, OLD]),
        ([SECRET, OLD], [SECRET]),
        ([SECRET], [SECRET]),
    ):
        assert verify(sign_webhook(BODY, sender, NOW), secret=receiver) == (True, "valid")
    assert ez.try_verify_with_secrets(BODY, sign_webhook(BODY, OLD), SECRET, OLD) == (True, "valid_secondary")


def test_a_replay_is_refused_for_as_long_as_it_could_be_accepted() -> None:
    memory = ReplayMemory()
    both = sign_webhook(BODY, [SECRET, OLD], NOW)
    assert verify(both, replays=memory) == (True, "valid")
    assert verify(GOOD, replays=memory) == (False, "replayed"), "the same, with one of its signatures"
    assert verify(sign_webhook(BODY, SECRET, NOW + 1), replays=memory) == (True, "valid")
    assert verify(f"t={NOW},v1=00", replays=memory) == (False, "signature_mismatch")


def test_the_memory_of_replays_is_bounded_and_serves_many_threads() -> None:
    memory, seen = ReplayMemory(most=100), []
    for number in range(1000):
        assert not memory.is_replay(b"%d" % number, NOW + 300, NOW)
    assert len(memory._seen) <= 100
    memory = ReplayMemory()
    threads = [threading.Thread(target=lambda: seen.append(memory.is_replay(b"x", NOW + 9, NOW))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == [False] + [True] * 19
    assert not memory.is_replay(b"x", NOW + 20, NOW + 10)


def test_a_receiver_returns_what_a_webhook_says_and_shows_no_secret() -> None:
    receiver = WebhookReceiver([SECRET, OLD])
    assert receiver.receive(BODY, sign_webhook(BODY, OLD)) == {"job_id": "job_1"}
    with pytest.raises(errors.WebhookVerificationError) as caught:
        receiver.receive(BODY, "t=1,v1=0")
    assert isinstance(caught.value, (ez.EZThrottleError, ValueError))
    assert caught.value.reason is not None
    assert caught.value.reason.startswith("timestamp_expired")
    for body in (b"[]", b"x", b"[" * 100_000):
        with pytest.raises(ez.WebhookVerificationError, match="no JSON object"):
            receiver.receive(body, sign_webhook(body, SECRET))
    assert SECRET not in repr(receiver) + repr(vars(receiver))


# ---- Receivers under real servers


@contextmanager
def flask_receiver(seen: list[Any]) -> Iterator[str]:
    receiver, app = WebhookReceiver(SECRET), flask.Flask(__name__)

    @app.post("/webhook")
    def webhook() -> Any:
        try:
            seen.append(receiver.receive(flask.request.get_data(), flask.request.headers.get(SIGNATURE_HEADER)))
        except ez.WebhookVerificationError as error:
            return {"error": error.reason}, 401
        return {"ok": True}

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/webhook"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextmanager
def fastapi_receiver(seen: list[Any]) -> Iterator[str]:
    fastapi, uvicorn = pytest.importorskip("fastapi"), pytest.importorskip("uvicorn")
    receiver, app = WebhookReceiver(SECRET), fastapi.FastAPI()

    async def webhook(request: Any) -> Any:
        try:
            seen.append(receiver.receive(await request.body(), request.headers.get(SIGNATURE_HEADER)))
        except ez.WebhookVerificationError as error:
            raise fastapi.HTTPException(401, error.reason) from None
        return {"ok": True}

    webhook.__annotations__["request"] = fastapi.Request
    app.post("/webhook")(webhook)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/webhook"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("serve", [flask_receiver, pytest.param(fastapi_receiver, marks=pytest.mark.slow)])
def test_a_result_reaches_a_receiver_and_a_forgery_does_not(
    serve: Callable[[list[Any]], Any], server: EZThrottleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NO_PROXY", "*")
    seen: list[Any] = []
    with serve(seen) as url, ez.LocalEngine(webhook_secrets=[SECRET, OLD]) as engine:
        client = ez.EZThrottle(engine=engine)
        result = ez.Step(client).url(server.url + "/target/200").webhooks([{"url": url}]).execute()
        assert engine.drain(10)
        assert [each["job_id"] for each in seen] == [result["job_id"]]
        assert result.status()["webhooks"]["quorum"] == "reached"
        assert requests.post(url, data=BODY, timeout=5).status_code == 401
        assert requests.post(url, data=BODY, headers={SIGNATURE_HEADER: GOOD}, timeout=5).status_code == 401
    assert len(seen) == 1
