"""The life of tokens and leases of Vault in virtual time: renewed, replaced, refused; and every kind of login."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import polvo_adapters as polvo
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import Secret, Vault, VaultLogin
from polvo_adapters.secrets.providers import vault_login
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.secret_servers import OpenBao

DENIED = Reply({"errors": ["permission denied"]}, 403)
SEALED = Reply({"errors": ["Vault is sealed"]}, 503)
NOT_RENEWABLE = Reply({"errors": ["lease is not renewable"]}, 400)
HOUR = 3600.0


class Bank:
    """A Vault in virtual time: tokens and leases that end."""

    def __init__(self, listening: Listening) -> None:
        self.listening, self.url, self.clock = listening, listening.url, VirtualClock(seed=1)
        self.tokens: dict[str, float] = {"given": HOUR}
        self.ends: dict[str, float] = {"lease-0": 0.0}
        self.renewable, self.longest, self.lent = True, 1e9, 0
        self.instead: dict[str, Reply] = {}
        for path, answer in {
            "auth/token/lookup-self": self._look_up,
            "auth/token/renew-self": self._renew,
            "auth/kubernetes/login": self._log_in,
            "auth/approle/login": self._log_in,
            "auth/place/login": self._log_in,
            "auth/jwt/login": self._log_in,
            "auth/aws/login": self._log_in,
            "auth/userpass/login/ada": self._log_in,
            "secret/data/app": self._read,
            "database/creds/app": self._lend,
            "sys/leases/renew": self._renew_lease,
        }.items():
            listening.routes[f"/v1/{path}"] = self._guard(path, answer)

    def _guard(self, path: str, answer: Callable[[Asked], Reply]) -> Callable[[Asked], Reply]:
        def guarded(asked: Asked) -> Reply:
            if path in self.instead:
                return self.instead[path]
            if not path.endswith("login") and "login/" not in path and self.clock.now() >= self._end(asked):
                return DENIED
            return answer(asked)

        return guarded

    def _end(self, asked: Asked) -> float:
        return self.tokens.get(asked.headers.get("x-vault-token", ""), -1.0)

    def _look_up(self, asked: Asked) -> Reply:
        left = int(self._end(asked) - self.clock.now())
        return Reply({"data": {"ttl": left, "creation_ttl": 3600, "renewable": self.renewable}})

    def _renew(self, asked: Asked) -> Reply:
        assert json.loads(asked.body) == {"increment": 3600}
        end = min(self.clock.now() + HOUR, self.longest)
        self.tokens[asked.headers["x-vault-token"]] = end
        return self._auth(asked.headers["x-vault-token"], end)

    def _log_in(self, asked: Asked) -> Reply:
        token = f"login-{len(self.tokens)}"
        self.tokens[token] = self.clock.now() + HOUR
        return self._auth(token, self.tokens[token])

    def _auth(self, token: str, end: float) -> Reply:
        seconds = int(end - self.clock.now())
        return Reply({"auth": {"client_token": token, "lease_duration": seconds, "renewable": self.renewable}})

    def _read(self, asked: Asked) -> Reply:
        return Reply({"data": {"data": {"token": "t"}, "metadata": {"version": 1}}, "lease_duration": 0})

    def _lend(self, asked: Asked) -> Reply:
        self.lent += 1
        return self._lease(f"lease-{self.lent}", HOUR, {"data": {"password": f"p{self.lent}"}})

    def _renew_lease(self, asked: Asked) -> Reply:
        name = json.loads(asked.body)["lease_id"]
        if self.clock.now() >= self.ends[name]:
            return NOT_RENEWABLE
        return self._lease(name, min(HOUR, self.longest - self.clock.now()), {})

    def _lease(self, name: str, seconds: float, more: dict[str, Any]) -> Reply:
        self.ends[name] = self.clock.now() + seconds
        return Reply({"lease_id": name, "lease_duration": int(seconds), "renewable": self.renewable, **more})

    def paths(self) -> list[str]:
        return [asked.path.removeprefix("/v1/") for asked in self.listening.asked]

    def vault(self, **keywords: Any) -> Vault:
        return Vault(self.url, clock=self.clock, **keywords)

    def secret(self, vault: Vault, path: str = "secret/data/app", field: str = "token", **keywords: Any) -> Secret:
        return Secret(vault, path, field=field, clock=self.clock, background=False, **keywords)

    def live(self, secret: Secret, hours: float, step: float = 240.0) -> set[str]:
        """Use a secret for some hours, and return its values."""
        found, end = set(), self.clock.now() + hours * HOUR
        while self.clock.now() < end:
            found.add(secret.get())
            assert not secret.overdue
            self.clock.advance(step)
        return found


@pytest.fixture
def bank() -> Iterator[Bank]:
    with Listening() as listening:
        yield Bank(listening)


# ------------------------------------------------------------------------------------------ a token that was given


def test_a_renewable_token_lives_for_as_long_as_it_is_used(bank: Bank) -> None:
    assert bank.live(bank.secret(bank.vault(token="given")), 12) == {"t"}
    paths = bank.paths()
    assert paths.count("auth/token/lookup-self") == 1
    assert 12 <= paths.count("auth/token/renew-self") <= 18


def test_the_first_use_asks_for_the_secret_alone(bank: Bank) -> None:
    bank.secret(bank.vault(token="given")).get()
    assert bank.paths() == ["secret/data/app"]


CANNOT: dict[str, tuple[str, Reply]] = {
    "may not look itself up": ("auth/token/lookup-self", DENIED),
    "is not known there": ("auth/token/lookup-self", Reply(status=404)),
    "is not renewable": ("auth/token/lookup-self", Reply({"data": {"ttl": 3600, "renewable": False}})),
    "has no end": ("auth/token/lookup-self", Reply({"data": {"ttl": 0, "renewable": False}})),
    "has odd fields": ("auth/token/lookup-self", Reply({"data": {"ttl": None}})),
    "is answered by a list": ("auth/token/lookup-self", Reply([])),
    "may not renew itself": ("auth/token/renew-self", DENIED),
    "cannot be renewed any more": ("auth/token/renew-self", NOT_RENEWABLE),
    "is renewed in odd terms": ("auth/token/renew-self", Reply({"auth": None})),
}


@pytest.mark.parametrize("case", CANNOT)
def test_a_token_that_cannot_be_renewed_is_used_and_not_asked_about_again(bank: Bank, case: str) -> None:
    path, reply = CANNOT[case]
    bank.instead[path], bank.tokens["given"] = reply, 10 * HOUR
    bank.tokens["given"] = 3500.0 if "renew-self" in path else 10 * HOUR
    hours = 0.9 if "renew-self" in path else 9
    assert bank.live(bank.secret(bank.vault(token="given")), hours) == {"t"}
    assert bank.paths().count(path) == 1


@pytest.mark.parametrize("reply", [SEALED, Reply(status=500), Reply(status=429)])
@pytest.mark.parametrize("path", ["auth/token/lookup-self", "auth/token/renew-self"])
def test_a_renewal_that_fails_for_a_while_is_tried_again(bank: Bank, path: str, reply: Reply) -> None:
    secret = bank.secret(bank.vault(token="given"), ttl=60)
    bank.instead[path] = reply
    bank.live(secret, 0.9, step=30)
    assert bank.paths().count(path) > 1
    del bank.instead[path]
    assert bank.live(secret, 5, step=30) == {"t"}


def test_another_token_of_a_function_is_looked_up_anew(bank: Bank) -> None:
    given = ["given"]
    bank.tokens["other"] = 2 * HOUR
    secret = bank.secret(bank.vault(token=lambda: given[0]))
    bank.live(secret, 1.5)
    given[0], bank.tokens["other"] = "other", bank.clock.now() + HOUR
    bank.live(secret, 4)
    assert bank.paths().count("auth/token/lookup-self") == 2


def test_a_dead_token_is_denied_as_before(bank: Bank) -> None:
    secret = bank.secret(bank.vault(token="unknown"))
    for _ in range(3):
        with pytest.raises(SecretError) as caught:
            secret.get()
        assert caught.value.reason == "denied"
        bank.clock.advance(60)
    assert set(bank.paths()) == {"secret/data/app"}


# ------------------------------------------------------------------------------------------ logins


class Credentials:
    """What boto3 finds, frozen."""

    access_key, secret_key, token = "AKIDEXAMPLE", "hunter2-of-aws", "session-token"

    def get_credentials(self) -> Any:
        return self

    def get_frozen_credentials(self) -> Any:
        return self


JWTS = iter(f"jwt-{number}" for number in range(1000))
LOGINS: dict[str, tuple[Callable[[], dict[str, Any]], str, Callable[[dict[str, str]], bool]]] = {
    "kubernetes": (
        lambda: {"login": VaultLogin.kubernetes("app")},
        "auth/kubernetes/login",
        lambda sent: sent == {"role": "app", "jwt": "of the pod"},
    ),
    "kubernetes, elsewhere": (
        lambda: {"login": VaultLogin.kubernetes("app", jwt="own", mount="place")},
        "auth/place/login",
        lambda sent: sent == {"role": "app", "jwt": "own"},
    ),
    "jwt": (
        lambda: {"login": VaultLogin.jwt("ci", lambda: next(JWTS))},
        "auth/jwt/login",
        lambda sent: sent["role"] == "ci" and sent["jwt"].startswith("jwt-"),
    ),
    "aws": (
        lambda: {"login": VaultLogin.aws("app", session=Credentials(), server_id="vault.test")},
        "auth/aws/login",
        lambda sent: sent["role"] == "app" and is_signed(sent, "sts.amazonaws.com", "us-east-1"),
    ),
    "aws in a region": (
        lambda: {"login": VaultLogin.aws(region="eu-central-1", session=Credentials(), server_id="vault.test")},
        "auth/aws/login",
        lambda sent: "role" not in sent and is_signed(sent, "sts.eu-central-1.amazonaws.com", "eu-central-1"),
    ),
    "approle": (
        lambda: {"login": VaultLogin.approle("r", lambda: "s")},
        "auth/approle/login",
        lambda sent: sent == {"role_id": "r", "secret_id": "s"},
    ),
    "approle as before": (
        lambda: {"role_id": "r", "secret_id": "s"},
        "auth/approle/login",
        lambda sent: sent == {"role_id": "r", "secret_id": "s"},
    ),
    "any other": (
        lambda: {"login": VaultLogin("auth/userpass/login/ada", {"password": lambda: "s"})},
        "auth/userpass/login/ada",
        lambda sent: sent == {"password": "s"},
    ),
}
each_login = pytest.mark.parametrize("kind", LOGINS)


def is_signed(sent: dict[str, str], host: str, region: str) -> bool:
    text = {name: base64.b64decode(value).decode() for name, value in sent.items() if name.startswith("iam_request_")}
    headers = {name.lower(): value[0] for name, value in json.loads(text["iam_request_headers"]).items()}
    return (
        sent["iam_http_request_method"] == "POST"
        and text["iam_request_url"] == f"https://{host}/"
        and text["iam_request_body"] == "Action=GetCallerIdentity&Version=2011-06-15"
        and headers["host"] == host
        and headers["x-vault-aws-iam-server-id"] == "vault.test"
        and f"/{region}/sts/aws4_request" in headers["authorization"]
        and "x-vault-aws-iam-server-id" in headers["authorization"]
        and headers["x-amz-security-token"] == "session-token"
        and "hunter2" not in str(headers)
    )


@pytest.fixture(autouse=True)
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "token"
    file.write_text("of the pod\n")
    monkeypatch.setattr(vault_login, "SERVICE_ACCOUNT_FILE", str(file))
    return file


@each_login
def test_a_login_is_made_once_and_its_token_renewed(bank: Bank, kind: str) -> None:
    make, path, is_right = LOGINS[kind]
    assert bank.live(bank.secret(bank.vault(**make())), 6) == {"t"}
    assert bank.paths().count(path) == 1
    assert bank.paths().count("auth/token/renew-self") >= 6
    (asked,) = [asked for asked in bank.listening.asked if asked.path.endswith(path)]
    assert is_right(json.loads(asked.body))
    assert "x-vault-token" not in asked.headers


@each_login
def test_where_the_longest_life_is_near_or_nothing_is_renewed_it_logs_in_again(bank: Bank, kind: str) -> None:
    make, path, _ = LOGINS[kind]
    bank.longest = 3 * HOUR
    bank.live(bank.secret(bank.vault(**make())), 5)
    assert 2 <= bank.paths().count(path) <= 7
    bank.longest, bank.renewable = 1e9, False
    before = bank.paths().count(path)
    bank.live(bank.secret(bank.vault(**make())), 4)
    assert bank.paths().count(path) > before + 2


@each_login
def test_a_refused_token_is_replaced_by_a_login_and_not_renewed(bank: Bank, kind: str) -> None:
    make, path, _ = LOGINS[kind]
    secret = bank.secret(bank.vault(**make()))
    secret.get()
    bank.tokens.clear()
    bank.clock.advance(300)
    assert secret.get() == "t"
    assert bank.paths().count(path) == 2
    assert "auth/token/renew-self" not in bank.paths()


def test_the_token_of_a_pod_is_read_at_each_login(bank: Bank, pod: Path) -> None:
    bank.renewable = False
    secret = bank.secret(bank.vault(login=VaultLogin.kubernetes("app")))
    secret.get()
    pod.write_text("rotated")
    bank.live(secret, 2)
    sent = [json.loads(asked.body)["jwt"] for asked in bank.listening.asked if asked.path.endswith("login")]
    assert sent[0] == "of the pod"
    assert set(sent[1:]) == {"rotated"}


def test_outside_of_a_pod_the_error_says_so(bank: Bank, pod: Path) -> None:
    pod.unlink()
    with pytest.raises(ConfigurationError, match="outside of a pod"):
        bank.secret(bank.vault(login=VaultLogin.kubernetes("app"))).get()


@pytest.mark.parametrize(
    "make",
    [
        lambda: VaultLogin("kubernetes/login", {"a": "b"}),
        lambda: VaultLogin("auth/../sys/seal", {"a": "b"}),
        lambda: VaultLogin("auth//login", {"a": "b"}),
        lambda: VaultLogin("auth/a/login"),
        lambda: VaultLogin("auth/a/login", {"a": 5}),  # type: ignore[dict-item]
        lambda: VaultLogin.jwt("role", ""),
        lambda: Vault("http://127.0.0.1", token="t", login=VaultLogin.jwt("r", "j")),
        lambda: Vault("http://127.0.0.1", role_id="r", secret_id="s", login=VaultLogin.jwt("r", "j")),
    ],
)
def test_what_cannot_work_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_a_login_is_pickled_without_its_secrets(bank: Bank) -> None:
    for kind in ("kubernetes, elsewhere", "approle"):
        login = LOGINS[kind][0]()["login"]
        assert login.path in repr(login)
    vault = bank.vault(login=VaultLogin.jwt("role", "a-j-w-t"))
    pickled = pickle.dumps(vault)
    assert b"a-j-w-t" not in pickled
    with pytest.raises(ConfigurationError, match="stayed behind"):
        bank.secret(pickle.loads(pickled)).get()
    kept = pickle.loads(pickle.dumps(bank.vault(login=VaultLogin.kubernetes("app"))))
    assert kept.fetch("secret/data/app", "token").value == "t"


# ------------------------------------------------------------------------------------------ leases


def lease(bank: Bank, **keywords: Any) -> Secret:
    return bank.secret(bank.vault(login=VaultLogin.kubernetes("app")), "database/creds/app", "password", **keywords)


@pytest.mark.parametrize("ttl", [300, None])
def test_a_lease_is_renewed_and_the_value_stays(bank: Bank, ttl: float | None) -> None:
    assert bank.live(lease(bank, ttl=ttl), 10) == {"p1"}
    assert bank.lent == 1
    assert "sys/leases/renew" in bank.paths()


def test_a_lease_that_cannot_be_renewed_is_replaced_before_its_end(bank: Bank) -> None:
    bank.instead["sys/leases/renew"] = NOT_RENEWABLE
    secret = lease(bank, ttl=None)
    assert len(bank.live(secret, 3, step=20)) >= 3
    bank.instead.clear()
    bank.renewable = False
    before = bank.lent
    bank.live(lease(bank, ttl=None), 3, step=20)
    assert bank.lent >= before + 2


def test_a_lease_near_its_longest_life_is_replaced(bank: Bank) -> None:
    bank.longest = 5 * HOUR
    secret = lease(bank, ttl=None)
    assert bank.live(secret, 3.5, step=20) == {"p1"}
    bank.longest = 1e9
    bank.ends["lease-1"] = bank.clock.now() + 0.3 * HOUR
    bank.longest = bank.clock.now() + 0.3 * HOUR
    found = bank.live(secret, 1.0, step=20)
    assert "p2" in found


def test_a_secret_that_its_server_refuses_is_replaced_and_not_renewed(bank: Bank) -> None:
    secret = lease(bank)
    assert secret.get() == "p1"
    secret.invalidate()
    assert secret.get() == "p2"
    assert "sys/leases/renew" not in bank.paths()
    bank.clock.advance(300)
    assert secret.get() == "p2"


def test_a_sealed_vault_costs_no_lease(bank: Bank) -> None:
    secret = lease(bank, ttl=600)
    secret.get()
    bank.instead["sys/leases/renew"] = SEALED
    for _ in range(6):
        bank.clock.advance(240)
        assert secret.get() == "p1"
    assert secret.overdue
    del bank.instead["sys/leases/renew"]
    bank.clock.advance(60)
    assert secret.get() == "p1"
    assert not secret.overdue
    assert bank.lent == 1


def test_an_auth_object_goes_on_with_a_renewed_lease(bank: Bank) -> None:
    auth = polvo.auth.basic("ada", lease(bank, ttl=None))
    headers = set()
    for _ in range(100):
        request = requests.Request("GET", "https://api.test", auth=auth).prepare()
        headers.add(str(request.headers["Authorization"]))
        bank.clock.advance(300)
    assert headers == {"Basic " + base64.b64encode(b"ada:p1").decode()}


def test_a_lease_behind_another_source_is_renewed(bank: Bank) -> None:
    vault = bank.vault(login=VaultLogin.kubernetes("app"))
    chain = polvo.secrets.first_of("env://NOT_THERE_AT_ALL", vault)
    secret = Secret(chain, "database/creds/app", field="password", clock=bank.clock, background=False)
    assert bank.live(secret, 4) == {"p1"}


# ------------------------------------------------------------------------------------------ a real server


def test_a_real_server_renews_a_token(bao: OpenBao, clock: VirtualClock) -> None:
    bao.put("app", password="v")
    made = bao.ask("POST", "auth/token/create", {"ttl": "120s", "policies": ["root"], "renewable": True})
    token = made["auth"]["client_token"]
    vault = Vault(bao.address, token, clock=clock)
    for _ in range(6):
        assert vault.fetch("secret/data/app", "password").value == "v"
        clock.advance(25)
    found = bao.ask("POST", "auth/token/lookup", {"token": token})["data"]
    assert found["last_renewal_time"] > 0
    assert found["ttl"] > 110


def test_a_real_server_takes_a_login_by_jwt(bao: OpenBao) -> None:
    bao.put("app", password="v")
    bao.approle("jwt")
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if "jwt/" not in bao.ask("GET", "sys/auth"):
        bao.ask("POST", "sys/auth/jwt", {"type": "jwt"})
    bao.ask("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public.decode()]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": "bao", "token_policies": "reader"}
    bao.ask("POST", "auth/jwt/role/ci", role)

    def sign() -> str:
        now = int(time.time())
        return jwt.encode({"sub": "job", "aud": "bao", "iat": now, "nbf": now, "exp": now + 60}, key, "ES256")

    assert Vault(bao.address, login=VaultLogin.jwt("ci", sign)).fetch("secret/data/app", "password").value == "v"
    wrong = Vault(bao.address, login=VaultLogin.jwt("ci", "a.b.c"))
    with pytest.raises(SecretError) as caught:
        wrong.fetch("secret/data/app", "password")
    assert caught.value.reason == "denied"


def log_in(bank: Bank, body: Any, status: int = 200, headers: Any = ()) -> Secret:
    bank.instead["auth/userpass/login/ada"] = Reply(body, status, headers)
    login = VaultLogin("auth/userpass/login/ada", {"password": lambda: "password-of-ada"})
    return bank.secret(bank.vault(login=login))


@pytest.mark.parametrize("seconds", [None, "", "soon", [], {}, -5, 0, float("nan"), 1e999, "3600", "absent"])
def test_an_odd_lifetime_does_not_cost_the_token_of_a_login(bank: Bank, seconds: Any) -> None:
    auth: dict[str, Any] = {"client_token": "given", "lease_duration": seconds, "renewable": True}
    if seconds == "absent":
        del auth["lease_duration"]
    secret = log_in(bank, {"auth": auth})
    assert secret.get()
    assert bank.listening.asked[-1].headers["x-vault-token"] == "given"


@pytest.mark.parametrize("seconds", [None, "soon", [], float("nan"), 1e999])
def test_so_it_is_with_a_renewal(bank: Bank, seconds: Any) -> None:
    bank.tokens["given"] = 1e9
    bank.instead["auth/token/renew-self"] = Reply({"auth": {"lease_duration": seconds}})
    assert bank.live(bank.secret(bank.vault(token="given")), 3) == {"t"}
    bank.instead["auth/token/lookup-self"] = Reply({"data": {"ttl": seconds, "renewable": True}})
    assert bank.live(bank.secret(bank.vault(token="given")), 3) == {"t"}


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({}, "VAULT_ADDR"),
        ({"auth": None}, "VAULT_ADDR"),
        ([], "VAULT_ADDR"),
        (b"<html>", "VAULT_ADDR"),
        ({"auth": {"client_token": 5, "lease_duration": 1}}, "VAULT_ADDR"),
        ({"auth": {"client_token": "a\nX-Other: b", "lease_duration": 1}}, "VAULT_ADDR"),
        ({"auth": {"client_token": "", "mfa_requirement": {"mfa_request_id": "1"}}}, "second factor"),
    ],
)
def test_an_answer_without_a_token_is_explained(bank: Bank, body: Any, advice: str) -> None:
    with pytest.raises(SecretError, match=advice) as caught:
        log_in(bank, body).get()
    assert (caught.value.reason, caught.value.final) == ("malformed", False)


def test_so_is_a_redirect_of_a_login(bank: Bank) -> None:
    place = f"{bank.url}/v1/auth/approle/login"
    with pytest.raises(SecretError, match="active server"):
        log_in(bank, b"", 307, (("Location", place),)).get()
    assert len(bank.listening.asked) == 1
