"""`polvo login` against a real authorization server; and whether the program that it prints finds the token."""

from __future__ import annotations

import io
import os
import pathlib
import re
import resource
import select
import subprocess
import sys
import threading
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
import requests

import polvo_adapters
from polvo_adapters.__main__ import main
from polvo_adapters.auth import OAuth2
from polvo_adapters.cli import client_secret, token_records
from polvo_adapters.cli.arguments import make_parser
from polvo_adapters.runtime.clock import SystemClock
from tests.support.oauth.servers import OIDCProvider

PATIENCE = 30.0
"""Seconds after which a test gives up; nothing takes that long unless it is broken."""
SCOPE = "openid offline_access api:read"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "POLVO_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONUTF8", "1")


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask every few milliseconds whether the user has confirmed, and not every few seconds."""
    monkeypatch.setattr(SystemClock, "uniform", staticmethod(lambda low, high: 0.02))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "tokens.json")


class User:
    """Reads what a login shows, and does it, in a thread; a stream for `sys.stderr`."""

    def __init__(self, oidc: OIDCProvider, *, deny: bool = False) -> None:
        self.text = ""
        self.page = ""
        self._oidc, self._deny = oidc, deny
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def runs(self, arguments: list[str]) -> int:
        """Run a command, do what it shows, and return its exit code."""
        with redirect_stderr(cast("TextIO", self)):
            code = main(arguments)
        if self._thread is not None:
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
        assert self.error is None
        return code

    def write(self, text: str) -> int:
        self.text += text
        found = re.search(r"(?:has the code|to log in): (\S+)\n", self.text)
        if found and self._thread is None:
            self._thread = threading.Thread(target=self._act, args=(found[1],))
            self._thread.start()
        return len(text)

    def _act(self, url: str) -> None:
        try:
            if "user_code" in url:
                self._oidc.approve_device(url, deny=self._deny)
            else:
                self.page = get(self._oidc.approve(url, deny=self._deny)).text
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    encoding = "utf-8"


@pytest.fixture
def user(oidc: OIDCProvider) -> User:
    return User(oidc)


def get(url: str, **keywords: Any) -> requests.Response:
    with requests.Session() as browser:
        browser.trust_env = False
        return browser.get(url, timeout=PATIENCE, **keywords)


def by_code(oidc: OIDCProvider, path: str, *more: str) -> list[str]:
    client_secret = ["--issuer", oidc.issuer, "--client-id", "pub", "--scope", SCOPE, "--token-cache", path]
    return ["login", *client_secret, "--flow", "code", "--path", "/cb", "--no-browser", *more]


def by_device(oidc: OIDCProvider, path: str, *more: str) -> list[str]:
    return [
        *("login", "--issuer", oidc.issuer, "--client-id", "pub", "--scope", "openid", "--scope"),
        *("offline_access api:read", "--token-cache", path, *more),
    ]


def program(out: str) -> OAuth2:
    """Run the lines that a login ends with, as they are, and return the auth object that they make."""
    code = out.partition("\n\n")[2]
    assert code.startswith("from polvo_adapters.auth import OAuth2\nsession.auth = OAuth2(")
    with requests.Session() as session:
        exec(code, {"session": session, "polvo_adapters": polvo_adapters, "os": os, "pathlib": pathlib})
        assert isinstance(session.auth, OAuth2)
        return session.auth


def no_secrets(path: str, *texts: str) -> None:
    """Make sure that nothing of a kept token was shown, the first characters included."""
    for record in token_records.read(path).records:
        assert record.life is not None
        token = program_of(record, path)
        for secret in (token.access_token, token.refresh_token, token.extra.get("id_token"), token.key):
            for text in texts:
                assert not secret or secret[:8] not in text
    key = Path(f"{path}.key").read_text().strip()
    assert all(key not in text for text in texts)


def program_of(record: token_records.TokenRecord, path: str) -> Any:
    from polvo_adapters.auth.protocol.token import Token
    from polvo_adapters.auth.tokens.sealing import make_sealer

    assert record.life is not None
    return Token.from_json(make_sealer(None, path).unseal(record.key, record.life.token))


def read_until(descriptor: int, end: bytes) -> bytes:
    shown = b""
    while end not in shown:
        assert select.select([descriptor], [], [], PATIENCE)[0], shown
        shown += os.read(descriptor, 65536)
    return shown


class TestDevice:
    def test_login(self, oidc: OIDCProvider, path: str, user: User, capsys: Any, no_waits: None) -> None:
        assert user.runs(by_device(oidc, path)) == 0

        out, err = capsys.readouterr().out, user.text
        host = oidc.issuer.partition("://")[2]
        assert out.startswith(f"logged in; token of pub at {host}, expires in 60 s, in {path}\n\n")
        assert f"open this page on any device: {oidc.issuer}/device\n" in err
        assert re.search(r"^and enter this code: [A-Z]{4}-[A-Z]{4}$", err, re.MULTILINE)
        no_secrets(path, out, err)

    def test_program_finds_the_token(
        self, oidc: OIDCProvider, path: str, user: User, capsys: Any, no_waits: None
    ) -> None:
        user.runs(by_device(oidc, path))
        asked = oidc.counts()["token"]

        auth = program(capsys.readouterr().out)

        assert auth.flow == "device_code"
        assert get(oidc.api_url, auth=auth).status_code == 200
        assert oidc.counts()["token"] == asked  # it needed no other one

    def test_user_who_refuses(
        self, oidc: OIDCProvider, path: str, monkeypatch: Any, capsys: Any, no_waits: None
    ) -> None:
        user = User(oidc, deny=True)

        assert user.runs(by_device(oidc, path)) == 1

        assert "access_denied" in user.text.splitlines()[-1]
        assert capsys.readouterr().out == ""

    def test_user_who_takes_too_long(self, oidc: OIDCProvider, path: str, capsys: Any) -> None:
        assert main(by_device(oidc, path, "--timeout", "1")) == 1  # before the first question

        line = capsys.readouterr().err.splitlines()[-1]
        assert "the login was not confirmed within 1 s" in line
        assert "--timeout" in line

    def test_a_tenant_with_a_long_name(
        self, oidc: OIDCProvider, tmp_path: Path, user: User, capsys: Any, no_waits: None
    ) -> None:
        template, name = str(tmp_path / "{tenant}.json"), "a" * 250
        assert user.runs(by_device(oidc, template, "--tenant", name)) == 0
        (path,) = tmp_path.glob("*.json")
        assert f"in {path}\n" in capsys.readouterr().out

    def test_tenant(self, oidc: OIDCProvider, tmp_path: Path, user: User, capsys: Any, no_waits: None) -> None:
        template = str(tmp_path / "{tenant}.json")

        assert user.runs(by_device(oidc, template, "--tenant", "acme")) == 0

        out = capsys.readouterr().out
        auth = program(out)
        assert out.endswith('with polvo_adapters.tenant("acme"): ...\n')
        assert f"in {tmp_path / 'acme.json'}\n" in out
        with polvo_adapters.tenant("acme"):
            assert get(oidc.api_url, auth=auth).status_code == 200


class TestCode:
    def test_login(self, oidc: OIDCProvider, path: str, user: User, capsys: Any) -> None:
        assert user.runs(by_code(oidc, path)) == 0

        out, err = capsys.readouterr().out, user.text
        assert "You are logged in" in user.page
        assert re.search(rf"^open this page to log in: {oidc.issuer}/auth\?\S+$", err, re.MULTILINE)
        auth = program(out)
        assert auth.flow == "authorization_code"
        assert get(oidc.api_url, auth=auth).status_code == 200
        no_secrets(path, out, err)

    def test_user_who_refuses(self, oidc: OIDCProvider, path: str, monkeypatch: Any) -> None:
        user = User(oidc, deny=True)

        assert user.runs(by_code(oidc, path)) == 1

        assert "access_denied" in user.text.splitlines()[-1]
        assert records_of(path) == []

    def test_tokens_bound_to_a_key(self, oidc: OIDCProvider, path: str, user: User, capsys: Any) -> None:
        assert user.runs(by_code(oidc, path, "--dpop")) == 0

        out = capsys.readouterr().out
        assert "dpop=True" in out
        assert get(oidc.api_url, auth=program(out)).status_code == 200
        no_secrets(path, out, user.text)

    def test_endpoints_without_an_issuer(self, oidc: OIDCProvider, path: str, user: User, capsys: Any) -> None:
        arguments = by_code(oidc, path, "--token-url", oidc.token_url, "--authorization-url", oidc.authorization_url)
        del arguments[1:3]

        assert user.runs(arguments) == 0

        assert get(oidc.api_url, auth=program(capsys.readouterr().out)).status_code == 200

    def test_audience_goes_along_and_into_the_key(self, oidc: OIDCProvider, path: str, user: User, capsys: Any) -> None:
        assert user.runs(by_code(oidc, path, "--audience", "https://api.test/")) == 0

        assert "audience=https%3A%2F%2Fapi.test%2F" in user.text
        assert records_of(path)[0].owner["audience"] == "https://api.test/"
        assert get(oidc.api_url, auth=program(capsys.readouterr().out)).status_code == 200

    def test_as_a_process_that_opens_a_browser(self, oidc: OIDCProvider, path: str, tmp_path: Path) -> None:
        browser = tmp_path / "browser.py"
        browser.write_text(
            "import sys, requests\n"
            "from tests.support.oauth.servers import approve\n"
            "requests.get(approve(sys.argv[1]), timeout=20)\n"
        )
        command = [sys.executable, "-m", "polvo_adapters", *by_code(oidc, path)]
        command.remove("--no-browser")
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "BROWSER": f"{sys.executable} {browser} %s", "PYTHONPATH": root}

        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)

        assert done.returncode == 0, done.stderr
        assert get(oidc.api_url, auth=program(done.stdout)).status_code == 200
        assert len(done.stderr.splitlines()) == 1
        no_secrets(path, done.stdout, done.stderr)


def records_of(path: str) -> list[token_records.TokenRecord]:
    return token_records.read(path).records if os.path.exists(path) else []


class TestClientSecret:
    def options(self, path: str, *more: str) -> Any:
        return make_parser().parse_args(
            ["login", "--issuer", "https://h", "--client-id", "c", "--token-cache", path, *more]
        )

    def test_from_the_environment(self, path: str, monkeypatch: Any) -> None:
        monkeypatch.setenv("APP_SECRET", "web-secret\n")
        options = self.options(path, "--client-secret-env", "APP_SECRET")

        assert client_secret.read_secret(options) == "web-secret"
        assert client_secret.write_expression(options) == "os.environ['APP_SECRET']"

    def test_from_a_file(self, path: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("web-secret\n")
        options = self.options(path, "--client-secret-file", str(file))

        assert client_secret.read_secret(options) == "web-secret"
        assert client_secret.write_expression(options) == f"pathlib.Path({str(file)!r}).read_text().strip()"

    def test_is_asked_for_without_an_echo(self, oidc: OIDCProvider, path: str) -> None:
        import pty

        command = [sys.executable, "-m", "polvo_adapters", *by_code(oidc, path, "--client-secret-prompt")]
        master, terminal = pty.openpty()
        process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, close_fds=True
        )
        os.close(terminal)
        try:
            shown = read_until(master, b"client secret: ")
            os.write(master, b"typed-s3cret\n")
            shown += read_until(master, b"s left")  # only a terminal is shown how long it waits
        finally:
            process.kill()
            process.wait(PATIENCE)
            os.close(master)

        assert b"to log in: " in shown
        assert b"waiting for the browser" in shown
        assert b"typed-s3cret" not in shown

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--client-secret-env", "NOT_THERE"], "NOT_THERE is not set"),
            (["--client-secret-file", "/nowhere/secret"], "cannot be read: No such file"),
            (["--client-secret-file", "/dev/null"], "is empty"),
            (["--client-secret-prompt"], "no terminal"),
        ],
    )
    def test_that_is_not_there(
        self, oidc: OIDCProvider, path: str, arguments: list[str], message: str, capsys: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())

        assert main(by_code(oidc, path, *arguments)) == 1

        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize("given", [["--client-secret", "s3cret"], ["--client-secret=s3cret"]])
    def test_on_the_command_line_is_refused(self, path: str, given: list[str], capsys: Any) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["login", "--issuer", "https://h", "--client-id", "c", "--token-cache", path, *given])

        err = capsys.readouterr().err
        assert ended.value.code == 2
        assert "--client-secret-env" in err
        assert "s3cret" not in err

    def test_wrong_one_is_told_without_showing_it(
        self, oidc: OIDCProvider, path: str, monkeypatch: Any, capsys: Any
    ) -> None:
        monkeypatch.setenv("APP_SECRET", "wr0ng-secret")
        user = User(oidc)

        assert user.runs(by_code(oidc, path, "--client-secret-env", "APP_SECRET")) == 1

        assert "invalid_client" in user.text.splitlines()[-1]
        assert "wr0ng-secret" not in user.text + user.page + capsys.readouterr().out


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--tenant", "a\nb"], "control characters"),
            (["--issuer", "http://id.example.com"], "issuer"),
            (["--issuer", "http://127.0.0.1:9"], "127.0.0.1:9"),
            (["--token-cache", "/dev/null"], "/dev/null"),
            (["--token-cache", "/nowhere/else/tokens.json"], "/nowhere/else"),
            (["--token-cache", "/tmp/{tenant}.json"], "no tenant is set"),
        ],
    )
    def test_in_one_line(self, oidc: OIDCProvider, path: str, arguments: list[str], message: str, capsys: Any) -> None:
        assert main(by_device(oidc, path, *arguments)) == 1

        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert message in err
        assert not os.path.exists(path)

    def test_neither_issuer_nor_token_url(self, path: str, capsys: Any) -> None:
        assert main(["login", "--client-id", "c", "--token-cache", path]) == 1

        assert "token_url (or issuer)" in capsys.readouterr().err

    def test_cache_that_cannot_be_used_is_found_before_the_user_is_troubled(
        self, oidc: OIDCProvider, tmp_path: Path, capsys: Any
    ) -> None:
        (tmp_path / "file").touch()

        assert main(by_code(oidc, str(tmp_path / "file" / "tokens.json"))) == 1

        err = capsys.readouterr().err
        assert "--token-cache" in err
        assert "open this page" not in err

    def test_token_that_could_not_be_kept_is_told(self, oidc: OIDCProvider, path: str, capsys: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        class Spoiler(User):
            def _act(self, url: str) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))  # the disk is full after the first look
                super()._act(url)

        user = Spoiler(oidc)
        try:
            code = user.runs(by_code(oidc, path))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        assert code == 1
        assert capsys.readouterr().out == ""
        assert path in user.text.splitlines()[-1]

    def test_another_login_replaces_the_token(
        self, oidc: OIDCProvider, path: str, user: User, monkeypatch: Any
    ) -> None:
        assert user.runs(by_code(oidc, path)) == 0
        again = User(oidc)
        assert again.runs(by_code(oidc, path)) == 0

        (record,) = records_of(path)
        assert record.life is not None
        assert record.life.generation == 2
