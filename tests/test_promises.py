"""The program that the design promises, whole: everything at once on one session, as an application would write it.

What it writes is `import polvo_adapters as polvo`; the parts have tests of their own.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer


def make_client(url: str, place: Path, **options: Any) -> polvo.Session:
    return polvo.Session(
        base_url=url,
        auth=polvo.auth.OAuth2(
            flow="client_credentials",
            client_id="acme",
            client_secret="secret",
            token_url=url + "/oauth/token?key=tokens",
            token_cache=f"{place}/acme_tokens.json",
            cache_encryption=True,
        ),
        retry=polvo.retry.ExponentialBackoff(max_attempts=3, retry_on=[500, 502, 503, 504, 429], base=0.01),
        rate_limit=polvo.ratelimit.TokenBucket(rate=100, capacity=500),
        timeout=30,
        circuit_breaker={"failure_threshold": 5, "recovery_timeout": 60},
        **options,
    )


def test_a_worker(server: FailureServer, tmp_path: Path) -> None:
    with make_client(server.url, tmp_path, idempotency=True) as api:
        api.set_tenant("customer-1")
        assert api.get("oauth/protected").json()
        assert api.get("fault/status?code=503&times=2&key=orders").status_code == 200
        updated = api.patch("fault/status?code=500&times=1&key=update", json={"state": "done"})
    assert (updated.status_code, len(updated.polvo.attempts)) == (200, 2)


def test_a_write_without_a_key_says_what_to_set(server: FailureServer, tmp_path: Path) -> None:
    with make_client(server.url, tmp_path) as api:
        failed = api.patch("fault/status?code=500&times=1&key=update", json={})
        with pytest.raises(requests.ConnectionError) as raised:
            api.patch("fault/reset?key=lost", json={})
    for note in (failed.polvo.note, raised.value.polvo.note):
        assert "idempotency=True" in note
    assert server.counters_for("lost")["received"] == 1


def test_tokens_lie_where_the_program_says_and_nowhere_else(server: FailureServer, tmp_path: Path) -> None:
    with make_client(server.url, tmp_path) as api:
        threads = [threading.Thread(target=api.get, args=("oauth/protected",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.counters_for("tokens")["received"] == 1
    names = {file.name for file in tmp_path.iterdir()}
    assert names <= {"acme_tokens.json", "acme_tokens.json.key", "acme_tokens.json.lock"}
    assert b"access_token" not in (tmp_path / "acme_tokens.json").read_bytes()


def test_calls_go_on_where_tokens_cannot_be_stored(server: FailureServer, tmp_path: Path) -> None:
    for _ in range(2):
        with make_client(server.url, tmp_path) as api:
            assert api.get("oauth/protected").status_code == 200
        (tmp_path / "acme_tokens.json").write_bytes(b"garbage")


def test_failures_are_explicit(server: FailureServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(polvo.RateLimitError) as limited:
        polvo.get(server.url + "/fault/status?code=429&retry_after=3600&key=limited")
    assert limited.value.retry_after == 3600
    auth = polvo.auth.oauth2(client_id="acme", client_secret="wrong", token_url=server.url + "/oauth/token")
    with polvo.Session(auth=auth) as session, pytest.raises(polvo.TokenRefreshError) as refused:
        session.get(server.url + "/oauth/protected")
    assert refused.value.reason == "invalid_client"
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "polvo_adapters"):
        polvo.get(server.url + "/fault/status?code=503&times=1&retry_after=0&key=logged")
    retried = [record for record in caplog.records if record.name == "polvo_adapters.retry"]
    assert [(record.levelname, record.polvo_attempt) for record in retried] == [("WARNING", 2)]


def test_the_module_and_bare_sessions(server: FailureServer) -> None:
    assert polvo.get(server.url + "/echo").json()["method"] == "GET"
    with polvo.Session() as session:
        session.auth = polvo.auth.oauth2(client_id="a", client_secret="b", token_url=server.url + "/oauth/token")
        assert session.get(server.url + "/oauth/protected").json() == {"detail": "authorized"}
    smart = polvo.Session(server.url, auth=polvo.auth.bearer("token"), retry=True, rate_limit="adaptive")
    for number in range(6):
        assert smart.post("quota?limit=5&window=0.5&dialect=x", json={"number": number}).status_code == 200
