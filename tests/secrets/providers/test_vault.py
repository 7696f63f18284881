"""OpenBao: key-value stores, versions, AppRole, leases, and a server that is sealed."""

from __future__ import annotations

import json
import logging
import os
import pickle
import threading
import traceback
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import Secret, Vault
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Listening, Reply
from tests.support.secret_servers import OpenBao

VALUE = "hunter2-the-value"
PATH = "secret/data/app"


def failed(secret: Secret) -> SecretError:
    with pytest.raises(SecretError) as caught:
        secret.get()
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert VALUE not in shown
    assert OpenBao.token not in shown
    assert caught.value.__context__ is None
    assert caught.value.request is None
    return caught.value


def test_fields_and_versions(bao: OpenBao) -> None:
    bao.put("app", password="first", user="ada")
    bao.put("app", password="second", user="ada", port=5432)
    assert Secret(f"vault://{PATH}#password").get() == "second"
    assert Secret(f"vault://{PATH}#port").get() == "5432"
    assert json.loads(Secret(f"vault://{PATH}#*").get()) == {"password": "second", "user": "ada", "port": 5432}
    assert Vault(kv=2).secret(PATH, field="user").get() == "ada"


def test_an_old_version(bao: OpenBao) -> None:
    bao.put("versions", password="first")
    bao.put("versions", password="second")
    assert Secret("vault://secret/data/versions?version=1#password").get() == "first"
    assert Secret("vault://secret/data/versions").get() == "second"


def test_version_1_of_the_store(bao: OpenBao) -> None:
    if "kv1/" not in bao.ask("GET", "sys/mounts"):
        bao.ask("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
    bao.ask("POST", "kv1/app", {"password": VALUE, "data": "field", "metadata": "field"})
    assert Secret("vault://kv1/app#password").get() == VALUE
    assert Secret("vault://kv1/app#data").get() == "field"
    assert Vault(kv=1).fetch("kv1/app", "metadata").value == "field"


def test_a_name_with_odd_characters_stays_a_name(bao: OpenBao) -> None:
    bao.put("odd%20name%3Fa=b", password=VALUE)
    assert Secret("vault://secret/data/odd%20name%3Fa=b#password").get() == VALUE
    for name in ("secret/../sys/seal", "a//b", "./a", "secret/data/..", "secret/..%2Fsys", "secret/..;/sys"):
        with pytest.raises(ConfigurationError, match="no path"):
            Secret(Vault(), name).get()


def test_what_is_not_there(bao: OpenBao) -> None:
    bao.put("gone", password=VALUE)
    bao.ask("DELETE", "secret/data/gone")
    found = {
        name: (error.reason, error.final)
        for name in ("secret/data/nope#x", "secret/data/gone#password", "nowhere/x#y")
        for error in [failed(Secret(f"vault://{name}"))]
    }
    assert set(found.values()) == {("not found", True)}
    bao.put("two", user="ada", password=VALUE)
    assert "'password', 'user'" in str(failed(Secret("vault://secret/data/two#pass")))


def test_a_token_that_may_not(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "s.not-a-token-of-this-server")
    error = failed(Secret(f"vault://{PATH}#password"))
    assert (error.reason, error.final, error.provider, error.name) == ("denied", False, "vault", PATH)
    assert "s.not-a-token" not in repr(error) + str(error)


@pytest.mark.parametrize("name", ["VAULT_ADDR", "VAULT_TOKEN"])
def test_settings_that_are_missing_are_named(bao: OpenBao, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=name):
        Secret(f"vault://{PATH}#password").get()


def test_a_token_with_a_line_break_is_refused_before_anything_is_sent(bao: OpenBao) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Secret(Vault(token="root\nhunter2"), PATH).get()
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------------------------------ sealed


def test_a_vault_that_is_sealed(bao: OpenBao, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    bao.put("sealed", password=VALUE)
    made = Secret("vault://secret/data/sealed#password", clock=clock, background=False)
    cold = Secret("vault://secret/data/sealed#password", clock=clock)
    assert made.get() == VALUE
    bao.seal()
    for seconds in (280, 10, 20, 10):
        clock.advance(seconds)
        assert made.get() == VALUE
    assert made.overdue
    assert "in use past its time (sealed; for another" in caplog.text
    assert (failed(cold).reason, failed(cold).final) == ("sealed", False)
    clock.advance(3600)
    assert failed(made).reason == "sealed"
    bao.unseal()
    bao.put("sealed", password="second")
    clock.advance(31)
    assert [made.get(), cold.get()] == ["second"] * 2
    assert not made.overdue


# ------------------------------------------------------------------------------------------ AppRole


def test_one_login_for_all_threads(bao: OpenBao) -> None:
    bao.put("app", password=VALUE)
    role, secret_id = bao.approle("threads")
    bao.revoke_logins()
    vault = Vault(bao.address, role_id=role, secret_id=secret_id)
    secrets = [vault.secret(PATH, field="password") for _ in range(16)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda made=made: found.append(made.get())) for made in secrets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [VALUE] * 16
    assert bao.logins() == 1


def test_a_login_is_refreshed_ahead_of_its_end_and_when_it_is_refused(bao: OpenBao, clock: VirtualClock) -> None:
    bao.put("app", password=VALUE)
    role, secret_id = bao.approle("refreshed", ttl="60s")
    bao.revoke_logins()
    vault = Vault(role_id=role, secret_id=secret_id, clock=clock)
    vault.fetch(PATH, "password")
    vault.fetch(PATH, "password")
    assert bao.logins() == 1
    clock.advance(58)
    vault.fetch(PATH, "password")
    assert bao.logins() == 1, "the token was renewed"
    bao.revoke_logins()
    assert vault.fetch(PATH, "password").value == VALUE
    assert bao.logins() == 1


def test_a_login_that_is_refused(bao: OpenBao) -> None:
    role, _ = bao.approle("refused")
    error = failed(Secret(Vault(role_id=role, secret_id="not-the-secret-id"), PATH, field="password"))
    assert (error.reason, error.final) == ("denied", False)
    assert "not-the-secret-id" not in str(error) + repr(vars(error))


def test_a_login_that_is_nowhere_says_nothing_of_the_secret(bao: OpenBao, clock: VirtualClock) -> None:
    bao.put("app", password=VALUE)
    role, secret_id = bao.approle("nowhere")
    vault = Vault(role_id=role, secret_id=secret_id, clock=clock)
    made = Secret(vault, PATH, field="password", clock=clock, background=False)
    assert made.get() == VALUE
    vault._mount = "nowhere"
    bao.revoke_logins()
    clock.advance(300)
    assert made.get() == VALUE
    assert made.overdue


def test_a_path_that_a_role_may_not_read(bao: OpenBao) -> None:
    role, secret_id = bao.approle("denied")
    bao.revoke_logins()
    vault = Vault(role_id=role, secret_id=secret_id)
    assert failed(Secret(vault, "sys/mounts", field="x")).reason == "denied"
    assert bao.logins() <= 2


# ------------------------------------------------------------------------------------------ the rest


def test_the_time_of_a_lease_counts(bao: OpenBao, clock: VirtualClock) -> None:
    if "leased/" not in bao.ask("GET", "sys/mounts"):
        bao.ask("POST", "sys/mounts/leased", {"type": "kv", "options": {"version": "1"}})
    bao.ask("POST", "leased/app", {"password": VALUE, "ttl": "40s"})
    fetched = Vault().fetch("leased/app", "password")
    assert (fetched.value, fetched.lifetime) == (VALUE, 40.0)
    assert VALUE not in repr(fetched)


def test_nothing_of_it_is_in_the_log(bao: OpenBao, caplog: pytest.LogCaptureFixture) -> None:
    bao.put("app", password=VALUE)
    role, secret_id = bao.approle("logged")
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    assert Secret(f"vault://{PATH}#password").get() == VALUE
    assert Secret(Vault(role_id=role, secret_id=secret_id), PATH, field="password").get() == VALUE
    assert "generation 1" in caplog.text
    for text in (VALUE, OpenBao.token, secret_id):
        assert text not in caplog.text


def test_a_server_that_fails_for_a_moment_is_asked_again(server: FailureServer) -> None:
    vault = Vault(server.url, "t")
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter())
    for each in (vault, Vault(server.url, "t", session=session)):
        before = len(server.requests)
        error = failed(Secret(each, "status/503"))
        assert error.reason in ("sealed", "not found")
        assert len(server.requests) > before
    session.close()


def test_nobody_there(bao: OpenBao) -> None:
    error = failed(Secret(Vault("http://127.0.0.1:9", "t"), PATH, deadline=5))
    assert (error.reason, error.final) == ("unreachable", False)


def test_it_is_pickled_without_its_secrets(bao: OpenBao) -> None:
    bao.put("app", password=VALUE)
    for vault in (Vault(bao.address, bao.token), Vault(bao.address, role_id="r", secret_id="s-e-c-r-e-t")):
        pickled = pickle.dumps(vault)
        assert bao.token.encode() not in pickled
        assert b"s-e-c-r-e-t" not in pickled
        with pytest.raises(ConfigurationError, match="stayed behind"):
            pickle.loads(pickled).fetch(PATH, "password")
    kept = pickle.loads(pickle.dumps(Secret(Vault(bao.address, Secret("env://VAULT_TOKEN")), PATH, field="password")))
    assert kept.get() == VALUE
    assert os.environ["VAULT_TOKEN"] not in repr(kept.source)


def test_a_redirect_does_not_take_the_token_along() -> None:
    with Listening() as server, Listening() as elsewhere:
        elsewhere.routes["/v1/app"] = Reply({"data": {"x": VALUE}})
        server.routes["/v1/app"] = Reply(status=307, headers=(("Location", f"{elsewhere.url}/v1/app"),))
        assert failed(Secret(Vault(server.url, "t"), "app")).reason == "malformed"
        assert len(server.asked) == 1
        assert elsewhere.asked == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", {}, {"data": None}, {"data": [VALUE]}, b"\xff", b'{"data": '])
def test_an_answer_that_is_none(body: Any) -> None:
    with Listening() as server:
        server.routes["/v1/app"] = Reply(body)
        assert failed(Secret(Vault(server.url, "t"), "app")).reason == "malformed"


@pytest.mark.parametrize("body", [b"<html>", b"[]", {"auth": None}, {"auth": {"client_token": 5, "lease_duration": 5}}])
def test_a_login_that_is_answered_by_something_else(body: Any) -> None:
    with Listening() as server:
        server.routes["/v1/auth/approle/login"] = Reply(body)
        error = failed(Secret(Vault(server.url, role_id="r", secret_id="s"), "app"))
        assert [asked.path for asked in server.asked] == ["/v1/auth/approle/login"]
        assert error.final is False
        assert failed(Secret(Vault(server.url, role_id="r", secret_id="s", mount="none"), "app")).final is False


def test_a_shared_session_is_used(bao: OpenBao) -> None:
    bao.put("app", password=VALUE)
    seen: list[Any] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
        assert Secret(Vault(session=session), PATH, field="password").get() == VALUE
        assert seen == [200]
        assert Secret(Vault(session=session), PATH, field="password").get() == VALUE
    assert seen == [200, 200]
