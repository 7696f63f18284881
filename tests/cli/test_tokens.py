"""`polvo tokens` on real caches, and against a real authorization server."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters
from polvo_adapters.__main__ import main
from polvo_adapters.auth import JWTLogin, OAuth2, Token, TokenCache
from polvo_adapters.auth.protocol.grants import client_credentials
from polvo_adapters.cli import token_records, tokens
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh.lifecycle import Lifecycle, LifecycleState, RefreshFailed, TokenRefreshed, WantToken
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.oauth.servers import OIDCProvider

PATIENCE = 30.0
ISSUER = "https://id.example.com"
ACCESS, REFRESH, ID = "acc3ss-t0ken", "r3fresh-t0ken", "id-t0ken"
SECRETS = (ACCESS, REFRESH, ID)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "POLVO_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "tokens.json")


def store_token(cache: Any, client: str = "app", **keywords: Any) -> OAuth2:
    """Keep a token, and return whose it is."""
    settings = {"flow": "authorization_code", "client_id": client, "issuer": ISSUER, "scope": "read write", **keywords}
    auth = OAuth2(**settings, token_cache=cache)
    auth.keep(Token(ACCESS, "Bearer", 3600.0, REFRESH, "read", extra={"id_token": ID}))
    return auth


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Run the command, make sure that it shows no secret, and return what it shows."""
    assert main(["tokens", *arguments]) == code
    out, err = capsys.readouterr()
    for secret in SECRETS:
        assert secret[:6] not in out + err
    assert code == 0 or err.count("\n") == 1
    return out, err


def list_tokens(capsys: pytest.CaptureFixture[str], path: str) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = json.loads(run(capsys, path, "--json")[0])
    return values


def put(path: str, *events: Any, key: str = "token https://h - client_credentials c - - - -") -> tuple[Any, ...]:
    return TokenCache(path).decide([Event(Lifecycle(), key, event) for event in events])


class TestList:
    def test_table(self, path: str, capsys: Any) -> None:
        store_token(path)
        store_token(path, "other", audience="https://api.example.com/", cache_encryption=False)

        head, _, first, second = run(capsys, path)[0].splitlines()

        titles = ["#", "server", "flow", "client", "scope", "audience", "generation", "state", "expires in", "sealed"]
        assert head.split() == " ".join(titles).split()
        assert first.split()[:6] == ["1", ISSUER, "authorization_code", "app", "read", "write"]
        assert first.split()[6:8] == ["1", "fresh"]
        assert re.search(r" 3,5\d\d s  yes *$", first)
        assert "https://api.example.com/" in second
        assert re.search(r" 3,5\d\d s  NO *$", second)

    def test_json(self, path: str, capsys: Any) -> None:
        with polvo_adapters.tenant("a b-ü"):
            auth = store_token(path)
            key = auth._identify("a b-ü")[0]

        (record,) = list_tokens(capsys, path)

        assert 3590 < record.pop("expires_in") < 3600
        assert record == {
            "key": key,
            "owner": {
                "server": ISSUER,
                "tenant": "a b-ü",
                "flow": "authorization_code",
                "client": "app",
                "scope": "read write",
            },
            "generation": 1,
            "state": "fresh",
            "reason": None,
            "sealed": True,
        }
        assert json.loads(run(capsys, path, "list", "--json")[0])[0]["key"] == key

    def test_needs_no_key_and_makes_none(self, path: str, capsys: Any) -> None:
        store_token(path)
        os.unlink(f"{path}.key")

        assert "fresh" in run(capsys, path)[0]
        assert not os.path.exists(f"{path}.key")

    @pytest.mark.parametrize(
        ("events", "state"),
        [
            ([TokenRefreshed("sealed:1:x", 3600.0)], "fresh"),
            ([TokenRefreshed("sealed:1:x", 100.0, age=80.0)], "stale"),
            ([TokenRefreshed("sealed:1:x", 100.0, age=100.0)], "expired"),
            ([WantToken()], "refreshing"),
            ([WantToken(), RefreshFailed(1, "invalid_grant", final=True)], "failed: invalid_grant"),
        ],
    )
    def test_states(self, path: str, capsys: Any, events: list[Any], state: str) -> None:
        put(path, *events)

        assert state in run(capsys, path)[0]
        assert list_tokens(capsys, path)[0]["state"] == state.partition(":")[0]

    def test_token_without_an_end(self, path: str, capsys: Any) -> None:
        put(path, TokenRefreshed("open:1:x", None))

        (record,) = list_tokens(capsys, path)
        assert (record["expires_in"], record["state"], record["sealed"]) == (None, "fresh", False)

    def test_login_with_name_and_password(self, path: str, capsys: Any) -> None:
        auth = JWTLogin("https://h/login", "alice", "pw", token_cache=path)
        auth.keep(Token(ACCESS))

        (record,) = list_tokens(capsys, path)
        assert record["owner"]["server"] == "https://h/login"
        assert record["owner"]["flow"] == "login"
        assert "alice" not in str(record)

    def test_what_is_no_token_is_left_out(self, tmp_path: Path, capsys: Any) -> None:
        from polvo_adapters.policies.breaker import CircuitBreaker
        from polvo_adapters.policies.breaker.state import AcquirePermit

        store = SQLiteStore(tmp_path / "state.db")
        store.decide([Event(CircuitBreaker(), "circuit h", AcquirePermit())])
        store_token(store)
        store.close()

        assert len(list_tokens(capsys, str(tmp_path / "state.db"))) == 1

    def test_state_that_cannot_be_read(self, path: str, capsys: Any) -> None:
        store_token(path)
        content = json.loads(Path(path).read_text())
        content["states"]["token https://h"] = "{nonsense"
        Path(path).write_text(json.dumps(content))

        assert [record["state"] for record in list_tokens(capsys, path)] == ["unreadable", "fresh"]
        assert "unreadable" in run(capsys, path)[0]

    def test_control_codes_in_a_key_are_spelled_out(self, path: str, capsys: Any) -> None:
        put(path, TokenRefreshed("x", 60.0), key="token \x1b[2J")

        assert "\x1b" not in run(capsys, path)[0]

    def test_no_tokens(self, path: str, capsys: Any) -> None:
        TokenCache(path).decide([Event(Lifecycle(), "other", WantToken())])

        assert run(capsys, path) == ("", f"no tokens in {path}\n")
        assert list_tokens(capsys, path) == []

    def test_as_a_process(self, path: str) -> None:
        store_token(path)

        command = [sys.executable, "-m", "polvo_adapters", "tokens", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

        assert (done.returncode, done.stderr) == (0, "")
        assert "fresh" in done.stdout
        assert "\x1b" not in done.stdout


class TestFiles:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path: None, "there is no such file"),
            (lambda path: path.mkdir(), "is not a regular file"),
            (lambda path: path.write_bytes(b"\0\xff"), "cannot be read as a token cache"),
            (lambda path: path.write_text('{"acc3ss": 1}'), "it is not a token cache"),
            (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 5000), "cannot be read"),
            (lambda path: path.symlink_to("/etc/passwd"), "cannot be read"),
        ],
    )
    def test_that_are_no_cache_are_told_and_left_alone(
        self, tmp_path: Path, capsys: Any, make: Callable[[Path], object], message: str
    ) -> None:
        path = tmp_path / "tokens"
        mask = os.umask(0o077)
        make(path)
        os.umask(mask)
        before = sorted(os.listdir(tmp_path))

        for action in (["list"], ["show", "1"], ["clear", "1"], ["revoke", "1"]):
            out, err = run(capsys, str(path), *action, code=1)
            assert message in err
            assert out == ""
        assert sorted(os.listdir(tmp_path)) == before

    @pytest.mark.parametrize("wanted", ["0", "2", "-", "token", "é"])
    def test_record_that_is_not_there(self, path: str, capsys: Any, wanted: str) -> None:
        store_token(path)

        for action in ("show", "clear", "revoke"):
            assert "there is no record" in run(capsys, path, action, "--", wanted, code=1)[1]
        assert list_tokens(capsys, path)[0]["state"] == "fresh"


class TestShow:
    @pytest.mark.parametrize("encrypted", [True, False])
    def test_what_is_no_secret(self, path: str, capsys: Any, encrypted: bool) -> None:
        auth = store_token(path, cache_encryption=encrypted)

        out = run(capsys, path, "show", "1")[0]
        lines = dict(line.split("  ", 1) for line in out.splitlines())
        shown = {name.strip(): value.strip() for name, value in lines.items()}

        assert shown["type"] == "Bearer"
        assert shown["lifetime"] == "3,600 s"
        assert shown["granted"] == "read"
        assert shown["refresh token"] == "yes"
        assert shown["bound to a key"] == "no"
        assert shown["came with"] == "id_token"
        assert run(capsys, path, "show", auth._identify("")[0])[0].splitlines()[0] == out.splitlines()[0]

    def test_key_of_the_environment(self, path: str, capsys: Any, monkeypatch: Any) -> None:
        from cryptography.fernet import Fernet

        monkeypatch.setenv("POLVO_ENCRYPTION_KEY", Fernet.generate_key().decode())
        store_token(path)
        assert "Bearer" in run(capsys, path, "show", "1")[0]

        monkeypatch.setenv("POLVO_ENCRYPTION_KEY", Fernet.generate_key().decode())
        assert "no key opens it" in run(capsys, path, "show", "1", code=1)[1]

    def test_without_the_key(self, path: str, capsys: Any) -> None:
        store_token(path)
        os.unlink(f"{path}.key")

        assert "POLVO_ENCRYPTION_KEY" in run(capsys, path, "show", "1", code=1)[1]
        assert not os.path.exists(f"{path}.key")

    def test_record_without_a_token(self, path: str, capsys: Any) -> None:
        put(path, WantToken(), RefreshFailed(1, "invalid_grant", final=True))

        assert "failed: invalid_grant" in run(capsys, path, "show", "1")[0]


class TestClear:
    @pytest.mark.parametrize("sqlite", [False, True])
    def test_nobody_uses_it_any_more(self, tmp_path: Path, capsys: Any, sqlite: bool) -> None:
        path = str(tmp_path / "cache")
        stores = [SQLiteStore(path) if sqlite else TokenCache(path) for _ in range(2)]
        auth = store_token(stores[0])

        out, err = run(capsys, path, "clear", "1")

        assert out == f"cleared: {auth._identify('')[0]}\n"
        assert err == ""
        assert list_tokens(capsys, path)[0]["state"] == "cleared"
        again = OAuth2("authorization_code", "app", issuer=ISSUER, scope="read write", token_cache=stores[1])
        with pytest.raises(TokenRefreshError, match="there is no token yet"):
            again.token()
        for store in stores:
            if isinstance(store, SQLiteStore):
                store.close()

    def test_running_process_does_not_bring_it_back(self, path: str, capsys: Any) -> None:
        auth = store_token(path)
        held = auth.get_held()

        run(capsys, path, "clear", "1")

        with pytest.raises(TokenRefreshError):
            auth.after(held)
        assert list_tokens(capsys, path)[0]["generation"] == 2
        assert list_tokens(capsys, path)[0]["sealed"] is None

    def test_some_and_all(self, path: str, capsys: Any) -> None:
        for name in ("a", "b", "c"):
            store_token(path, name)

        run(capsys, path, "clear", "1", "3")
        assert [record["state"] for record in list_tokens(capsys, path)] == ["cleared", "fresh", "cleared"]
        run(capsys, path, "clear", "--all")
        assert {record["state"] for record in list_tokens(capsys, path)} == {"cleared"}

    def test_one_that_is_not_there_among_others_clears_none(self, path: str, capsys: Any) -> None:
        store_token(path)

        run(capsys, path, "clear", "1", "2", code=1)

        assert list_tokens(capsys, path)[0]["state"] == "fresh"

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
    def test_asks_on_a_terminal(self, path: str, capsys: Any, monkeypatch: Any, answer: str, code: int) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        store_token(path)
        monkeypatch.setattr(sys, "stdin", Terminal(answer))

        assert main(["tokens", path, "clear", "--all"]) == code
        assert "clear this token? [y/N]" in capsys.readouterr().err
        assert list_tokens(capsys, path)[0]["state"] == ("fresh" if code else "cleared")

        monkeypatch.setattr(sys, "stdin", Terminal(""))
        assert main(["tokens", path, "clear", "1", "--yes"]) == 0

    def test_neither_records_nor_all(self, path: str, capsys: Any) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["tokens", path, "clear"])
        assert ended.value.code == 2

    def test_full_disk(self, path: str, capsys: Any) -> None:
        store_token(path)
        code = (
            "import resource, signal, sys; from polvo_adapters.__main__ import main\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
            "sys.exit(main(sys.argv[1:]))"
        )

        command = [sys.executable, "-c", code, "tokens", path, "clear", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

        assert (done.returncode, done.stdout) == (1, "")
        assert "nothing was cleared" in done.stderr.splitlines()[-1]
        assert list_tokens(capsys, path)[0]["state"] == "fresh"


class TestRevoke:
    @pytest.fixture
    def auth(self, oidc: OIDCProvider, path: str) -> OAuth2:
        auth = OAuth2("authorization_code", "pub", issuer=oidc.issuer, scope="openid offline_access", token_cache=path)
        request = auth.authorization_request("http://127.0.0.1:9/cb")
        auth.complete(oidc.approve(request.url), request)
        return auth

    def test_server_and_cache_forget_it(self, oidc: OIDCProvider, auth: OAuth2, path: str, capsys: Any) -> None:
        token = auth.token()

        out, _ = run(capsys, path, "revoke", "1")

        assert out.startswith("revoked at 127.0.0.1:")
        assert list_tokens(capsys, path)[0]["state"] == "cleared"
        assert token.access_token[:8] not in out
        assert str(token.refresh_token)[:8] not in out
        server = auth._server_for("")
        with pytest.raises(TokenRefreshError, match="invalid_grant"):
            server.token({"grant_type": "refresh_token", "refresh_token": str(token.refresh_token)})

    def test_record_that_does_not_tell_the_issuer(self, oidc: OIDCProvider, path: str, capsys: Any) -> None:
        auth = OAuth2(None, "cc", "cc-secret", oidc.token_url, token_cache=path)
        auth.token()
        secret = Path(path).with_name("secret")
        secret.write_text("cc-secret")
        given = ["--client-secret-file", str(secret)]

        err = run(capsys, path, "revoke", "1", *given, code=1)[1]
        assert "--issuer or --revocation-url" in err
        assert list_tokens(capsys, path)[0]["state"] == "fresh"
        assert "revoked" in run(capsys, path, "revoke", "1", "--revocation-url", oidc.revocation_url, *given)[0]
        auth = OAuth2(None, "cc", "cc-secret", oidc.token_url, token_cache=path)
        token = auth.token()
        assert "revoked" in run(capsys, path, "revoke", "1", "--issuer", oidc.issuer, *given)[0]
        assert auth._server_for("")
        assert OAuth2(None, "cc", "cc-secret", issuer=oidc.issuer)._server_for("").introspect(token.access_token) == {
            "active": False
        }

    def test_what_the_server_refuses_to_revoke_stays(
        self, oidc: OIDCProvider, path: str, capsys: Any, monkeypatch: Any
    ) -> None:
        OAuth2(None, "cc", "cc-secret", issuer=oidc.issuer, token_cache=path).token()
        monkeypatch.setenv("SECRET", "wr0ng")

        err = run(capsys, path, "revoke", "1", "--client-secret-env", "SECRET", code=1)[1]

        assert "invalid_client" in err
        assert "wr0ng" not in err
        assert list_tokens(capsys, path)[0]["state"] == "fresh"

    def test_token_that_is_refreshed_meanwhile_is_revoked_too(
        self, oidc: OIDCProvider, path: str, capsys: Any, monkeypatch: Any
    ) -> None:
        auth = OAuth2(None, "cc", "cc-secret", issuer=oidc.issuer, token_cache=path)
        auth.token()
        monkeypatch.setenv("SECRET", "cc-secret")
        revoke, later = tokens._revoke_at_server, []

        def refreshed_meanwhile(server: Any, token: Token) -> None:
            if not later:
                later.append(server.token(client_credentials()))
                auth.keep(later[0])
            revoke(server, token)

        monkeypatch.setattr(tokens, "_revoke_at_server", refreshed_meanwhile)
        run(capsys, path, "revoke", "1", "--client-secret-env", "SECRET")

        assert auth._server_for("").introspect(later[0].access_token) == {"active": False}
        assert list_tokens(capsys, path)[0]["state"] == "cleared"

    def test_access_token_that_ended_with_the_login(self, path: str, capsys: Any) -> None:
        """A server that has revoked the refresh token, and does not know the access token any more, has done it all."""

        def answer(asked: Asked) -> Reply:
            is_refresh = asked.form["token"] == "refresh-token"
            return Reply({} if is_refresh else {"error": "unsupported_token_type"}, 200 if is_refresh else 400)

        with Listening() as server:
            server.routes["/revoke"] = answer
            auth = OAuth2(None, "app", token_url=f"{server.url}/token", refresh_token="x", token_cache=path)
            auth.keep(Token("access-token", refresh_token="refresh-token"))
            out, _ = run(capsys, path, "revoke", "1", "--revocation-url", f"{server.url}/revoke")

        assert out.startswith("revoked at 127.0.0.1:")
        assert list_tokens(capsys, path)[0]["state"] == "cleared"

    def test_record_of_no_oauth2_client(self, path: str, capsys: Any) -> None:
        JWTLogin("https://h/login", "alice", "pw", token_cache=path).keep(Token(ACCESS))

        assert "clear it" in run(capsys, path, "revoke", "1", code=1)[1]

    def test_server_that_cannot_be_reached(self, path: str, capsys: Any) -> None:
        store_token(path, issuer="http://127.0.0.1:9")

        assert "127.0.0.1:9" in run(capsys, path, "revoke", "1", code=1)[1]
        assert list_tokens(capsys, path)[0]["state"] == "fresh"


def test_life_has_the_fields_that_are_shown() -> None:
    record = token_records.TokenRecord("token x", LifecycleState())

    assert record.state(0.0) == ("cleared", "")
    assert record.left(0.0) is None
