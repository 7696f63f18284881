"""The login by the browser of this machine: real requests to the port, a real authorization server behind it."""

from __future__ import annotations

import html
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from polvo_adapters.auth import OAuth2, Token, loopback
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, PolvoError, TokenRefreshError
from tests.support.oauth.servers import OIDCProvider

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing takes that long unless it is broken."""


class Begun:
    """A login that goes on in another thread."""

    def __init__(self, oauth: OAuth2, **keywords: Any) -> None:
        self._shown: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.result: list[Token | BaseException] = []
        self.threads = threading.active_count()

        def work() -> None:
            try:
                settings = {"path": "/cb", "open_browser": False, "timeout": PATIENCE, **keywords}
                self.result.append(loopback.login(oauth, show=self._shown.put, **settings))
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.result.append(error)

        self.thread = threading.Thread(target=work)
        self.thread.start()
        self.text = self._shown.get(timeout=PATIENCE)
        self.url = self.text.partition(": ")[2]
        self.redirect_uri = parse_qs(urlsplit(self.url).query)["redirect_uri"][0]
        self.state = parse_qs(urlsplit(self.url).query)["state"][0]
        self.port = urlsplit(self.redirect_uri).port

    def end(self) -> Token | BaseException:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.result[0]

    def answer(self, **fields: str) -> str:
        return f"{self.redirect_uri}?{urlencode({'state': self.state, **fields})}"

    def send(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def begin(oidc: OIDCProvider) -> Iterator[Callable[..., Begun]]:
    """Begin logins; at the end of the test none of them is left."""
    begun: list[Begun] = []

    def begin(oauth: OAuth2 | None = None, **keywords: Any) -> Begun:
        begun.append(Begun(oauth or client(oidc), **keywords))
        return begun[-1]

    yield begin
    for each in begun:
        with suppress(requests.ConnectionError):  # most have ended
            get(each.answer(error="access_denied"))
        each.thread.join(PATIENCE)
        assert not each.thread.is_alive()
        assert threading.active_count() <= each.threads


def client(oidc: OIDCProvider, **keywords: Any) -> OAuth2:
    settings = {"scope": "openid offline_access", "issuer": oidc.issuer, **keywords}
    return OAuth2(flow="authorization_code", client_id="pub", **settings)


def get(url: str, method: str = "GET", **keywords: Any) -> requests.Response:
    with requests.Session() as browser:
        browser.trust_env = False
        return browser.request(method, url, timeout=PATIENCE, **keywords)


@contextmanager
def connect(port: int, data: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(data)
        yield connection


class TestLogin:
    def test_token_is_returned_kept_and_good(self, oidc: OIDCProvider, begin: Any, tmp_path: Path) -> None:
        path = str(tmp_path / "tokens.json")
        login = begin(client(oidc, token_cache=path))

        page = get(oidc.approve(login.url))
        token = login.end()

        assert page.status_code == 200
        assert "You are logged in" in page.text
        assert "close this window" in page.text
        assert isinstance(token, Token)
        assert token.refresh_token is not None
        found = client(oidc, token_cache=path)
        assert requests.get(oidc.api_url, auth=found, timeout=PATIENCE).status_code == 200
        assert found.token().access_token == token.access_token

    def test_page_gives_nothing_away(self, oidc: OIDCProvider, begin: Any) -> None:
        login = begin()

        page = get(oidc.approve(login.url))

        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert page.headers["Server"] == "polvo_adapters"
        assert "http" not in page.text
        assert login.state not in page.text

    def test_listens_on_loopback_only(self, begin: Any) -> None:
        login = begin()

        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/cb", login.redirect_uri)

    def test_port_that_was_given(self, oidc: OIDCProvider, begin: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        login = begin(port=port)
        get(oidc.approve(login.url))

        assert login.port == port
        assert isinstance(login.end(), Token)

    def test_port_that_is_taken(self, oidc: OIDCProvider) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="another port"):
            loopback.login(client(oidc), port=taken.getsockname()[1], open_browser=False)

    @pytest.mark.parametrize(
        "keywords",
        [{"port": -1}, {"port": 65536}, {"path": "cb"}, {"path": "/a?b"}, {"path": "/a b"}, {"timeout": 0}],
    )
    def test_settings_that_cannot_work(self, oidc: OIDCProvider, keywords: dict[str, Any]) -> None:
        (name,) = keywords
        with pytest.raises(ConfigurationError, match=name):
            loopback.login(client(oidc), open_browser=False, **keywords)

    def test_browser_is_opened_and_may_stay(self, oidc: OIDCProvider, begin: Any) -> None:
        closed = threading.Event()
        opened: queue.SimpleQueue[str] = queue.SimpleQueue()

        def browse(url: str) -> None:
            opened.put(url)
            closed.wait(PATIENCE)  # a browser in the terminal

        login = begin(open_browser=browse)
        get(oidc.approve(opened.get(timeout=PATIENCE)))
        token = login.end()
        closed.set()

        assert isinstance(token, Token)
        for thread in [thread for thread in threading.enumerate() if thread.name == "browser"]:
            thread.join(PATIENCE)

    def test_browser_that_cannot_be_opened_is_no_reason_to_fail(self, oidc: OIDCProvider, begin: Any) -> None:
        def browse(_: str) -> None:
            raise OSError("no browser")

        login = begin(open_browser=browse)
        get(oidc.approve(login.url))

        assert isinstance(login.end(), Token)

    def test_further_parameters_are_in_the_url(self, begin: Any) -> None:
        login = begin(audience="https://api.test/")

        assert parse_qs(urlsplit(login.url).query)["audience"] == ["https://api.test/"]


class TestRefusal:
    def test_user_who_refuses(self, oidc: OIDCProvider, begin: Any) -> None:
        login = begin()

        page = get(oidc.approve(login.url, deny=True))
        error = login.end()

        assert page.status_code == 400
        assert "access_denied" in page.text
        assert isinstance(error, TokenRefreshError)
        assert error.reason == "access_denied"
        assert login.state not in str(error)

    def test_server_that_refuses_the_code(self, oidc: OIDCProvider, begin: Any) -> None:
        login = begin()

        page = get(login.answer(code="n0t-a-c0de", iss=oidc.issuer))
        error = login.end()

        assert page.status_code == 400
        assert "invalid_grant" in page.text
        assert isinstance(error, TokenRefreshError)
        assert "n0t-a-c0de" not in f"{error} {error!r} {page.text}"

    def test_text_of_the_server_cannot_become_part_of_the_page(self, oidc: OIDCProvider, begin: Any) -> None:
        login = begin()

        page = get(login.answer(error="<script>alert(1)</script>", iss=oidc.issuer))

        assert "<script" not in page.text
        assert isinstance(login.end(), TokenRefreshError)

    def test_browser_that_does_not_come_back(self, oidc: OIDCProvider) -> None:
        threads = threading.active_count()
        with pytest.raises(DeadlineExceeded, match="did not come back") as raised:
            loopback.login(client(oidc), open_browser=False, timeout=0.05, show=lambda _: None)

        assert raised.value.reason == "login timeout"
        assert threading.active_count() <= threads

    def test_stray_requests_do_not_make_it_longer(self, oidc: OIDCProvider, begin: Any) -> None:
        login = begin(timeout=0.3)
        with suppress(requests.ConnectionError):
            for _ in range(10_000):
                get(f"{login.redirect_uri}?code=x&state=y")

        assert isinstance(login.end(), DeadlineExceeded)

    def test_interrupt_leaves_nothing_behind(self, oidc: OIDCProvider) -> None:
        threads = threading.active_count()

        def interrupted(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loopback.login(client(oidc), show=interrupted)
        assert threading.active_count() <= threads


class TestStrangers:
    """What else comes to the port does not disturb the login."""

    @pytest.fixture
    def login(self, oidc: OIDCProvider, begin: Any) -> Iterator[Begun]:
        login: Begun = begin()
        yield login
        if login.thread.is_alive():
            get(oidc.approve(login.url))
        assert isinstance(login.end(), Token)

    def test_other_state(self, login: Begun) -> None:
        for query in ("?code=x&state=forged", "?error=access_denied&state=forged", "?code=x", ""):
            page = get(login.redirect_uri + query)
            assert page.status_code == 400
            assert "not the login" in html.unescape(page.text)

    def test_other_paths(self, login: Begun) -> None:
        base = f"http://127.0.0.1:{login.port}"
        for path in ("/", "/favicon.ico", "/cb/", "/CB", "/cb/../cb2", "//cb2?code=x"):
            assert get(f"{base}{path}").status_code == 404

    @pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT", "BREW"])
    def test_other_methods(self, login: Begun, method: str) -> None:
        assert get(login.answer(code="x"), method).status_code == 405

    @pytest.mark.parametrize("host", ["evil.test", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.test:{port}", ""])
    def test_other_hosts(self, login: Begun, host: str) -> None:
        url = login.answer(error="access_denied")

        assert get(url, headers={"Host": host.format(port=login.port)}).status_code == 421

    def test_no_host_and_two_hosts(self, login: Begun) -> None:
        right = f"Host: 127.0.0.1:{login.port}\r\n".encode()
        target = login.answer(error="access_denied").partition("/cb")[2].encode()
        for hosts in (b"", right * 2, right + b"Host: evil.test\r\n"):
            assert b" 421 " in login.send(b"GET /cb%b HTTP/1.1\r\n%b\r\n" % (target, hosts)).partition(b"\r\n")[0]

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"\x16\x03\x01\x02\x00\r\n\r\n", b" 400 "),
            (b"GET\r\n\r\n", b" 400 "),
            (b"GET /cb HTTP/9.9\r\n\r\n", b" 505 "),
            (b"GET /cb HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b" 431 "),
            (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b" 431 "),
            (b"GET /<script> HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b" 421 "),
        ],
    )
    def test_what_is_no_good_request(self, login: Begun, data: bytes, status: bytes) -> None:
        try:
            answer = login.send(data)
        except ConnectionError:  # it was told to go away before it was done
            assert len(data) > 50_000
        else:
            assert status in answer.partition(b"\r\n")[0] or (len(data) > 50_000 and answer == b"")
            assert b"script" not in answer

    def test_connections_that_say_nothing(self, login: Begun, oidc: OIDCProvider, monkeypatch: Any) -> None:
        monkeypatch.setattr(loopback, "_PATIENCE", 1000.0)
        with connect(login.port), connect(login.port, b"GET /cb"), connect(login.port, b"GET /cb HTTP/1.1\r\n"):
            assert get(oidc.approve(login.url)).status_code == 200
            assert isinstance(login.end(), Token)  # and they do not hold it up
        with pytest.raises(requests.ConnectionError):
            get(login.redirect_uri)

    def test_connection_that_takes_too_long(self, login: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loopback, "_PATIENCE", 0.05)
        with connect(login.port, b"GET /cb") as connection:
            assert connection.recv(1) == b""
        monkeypatch.undo()

    def test_too_many_connections_are_turned_away(self, login: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loopback, "_MOST", 0)
        with connect(login.port) as connection:
            assert connection.recv(1) == b""
        monkeypatch.undo()


def test_nothing_is_written_about_requests(oidc: OIDCProvider, begin: Any, capfd: pytest.CaptureFixture[str]) -> None:
    login = begin()
    login.send(b"nonsense\r\n\r\n")
    with connect(login.port, b"GET /cb?code=s3cret HTTP/1.1\r\n"):
        pass
    get(oidc.approve(login.url))
    login.end()

    assert capfd.readouterr() == ("", "")


def test_errors_are_of_this_library(oidc: OIDCProvider) -> None:
    wrong = client(oidc, issuer=f"{oidc.issuer}/nowhere")
    with pytest.raises(PolvoError):
        loopback.login(wrong, open_browser=False, show=lambda _: None)
