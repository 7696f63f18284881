"""No secret is told: not by an error, a log, a warning, an event, a report or a pickle, whatever goes wrong."""

from __future__ import annotations

import base64
import copy
import gc
import logging
import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from cryptography.fernet import Fernet

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, OAuth2, Token
from polvo_adapters.auth.tokens.sealing import VARIABLE
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError, TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.oauth.hostile import BEHAVIOURS, HostileServer
from tests.support.oauth.servers import make_keys

CLIENT_SECRET, PASSWORD, REFRESH = "S3cret/of+client==", "p%ss w0rd&of=alice", "R3fresh-token-0123456789"
ASSERTION, SUBJECT = "eyJhbGciOi.J9-Assert1on.c2ln", "Subj3ct-token-0123456789"
ACCESS, SECOND = "Acc3ss-token-0123456789", "N3w-access-token-9876543210"
KEY = Fernet.generate_key().decode()
PRIVATE_KEY = make_keys()[1]
SECRETS = (
    CLIENT_SECRET,
    PASSWORD,
    REFRESH,
    ASSERTION,
    SUBJECT,
    ACCESS,
    SECOND,
    KEY,
    "hostile-token",
    "hostile-refresh",
)
SLOW = {"hang", "hang-in-body", "drip", "drip-headers"}


def forms(secret: str) -> set[bytes]:
    """Return what a secret may look like."""
    plain = secret.encode()
    encoded = {base64.b64encode(plain), base64.urlsafe_b64encode(plain), base64.b64encode(b"me:" + plain)}
    encoded |= {base64.b64encode(f"me:{quote_plus(secret)}".encode())}
    return {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), repr(secret)[1:-1].encode(), *encoded}


LOOKED_FOR = {form for secret in SECRETS for form in forms(secret)} | {
    line.encode() for line in PRIVATE_KEY.splitlines() if "-----" not in line
}


def assert_clean(what: str, *told: Any) -> None:
    for each in told:
        text = each if isinstance(each, bytes) else str(each).encode("utf-8", "replace")
        found = [form for form in LOOKED_FOR if form in text]
        assert not found, f"{what} tells {found[0]!r}: ...{text[max(0, text.find(found[0]) - 80) :][:200]!r}"
        assert b"PRIVATE KEY" not in text, what


class Watching(logging.Handler):
    """Collects whatever is told on the way, and looks at it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told += [record.getMessage(), repr(record.args), vars(record)]
        if record.exc_info:
            self.told += traceback.format_exception(*record.exc_info)

    def look(self) -> None:
        for each in self.told:
            assert_clean("what was told on the way", each)


EVENTS: list[StateChange] = []


def listener(change: StateChange) -> None:
    """Take note of an event; a function of a module, which goes with a pickle."""
    EVENTS.append(change)


@pytest.fixture
def watching() -> Iterator[Watching]:
    watching = Watching()
    EVENTS.clear()
    logger = logging.getLogger("polvo_adapters")
    before = logger.level
    logger.addHandler(watching)
    logger.setLevel(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield watching
    logger.removeHandler(watching)
    logger.setLevel(before)
    watching.told += [warning.message for warning in caught] + EVENTS + [repr(EVENTS)]
    watching.look()


def look_at(error: BaseException) -> None:
    """Look at an error and at all that it leads to, as far as a person or a pickle gets."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        left += [each.__cause__, each.__context__]
        assert_clean("an error", each, repr(each), each.args, getattr(each, "__notes__", ""))
        for name in ("request", "response"):
            attached = getattr(each, name, None)
            if attached is not None:
                assert_clean(f"the {name} of an error", getattr(attached, "headers", ""), getattr(attached, "body", ""))
        assert_clean("data of an error", {name: value for name, value in vars(each).items() if name != "request"})
    assert_clean("a traceback", "".join(traceback.format_exception(error)))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_clean("a pickled error", pickle.dumps(error, protocol))


def look_at_object(auth: Any) -> None:
    assert_clean("an auth object", auth, repr(auth), auth.httpx())
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_clean("a pickled auth object", pickle.dumps(auth, protocol))


# ------------------------------------------------------------------------------------------ what there is

COMMON: dict[str, Any] = {"client_id": "me", "client_secret": CLIENT_SECRET}
KINDS: dict[str, Callable[..., Any]] = {
    "client_credentials": lambda url, **more: OAuth2(token_url=url, **COMMON, **more),
    "post": lambda url, **more: OAuth2(token_url=url, client_authentication="post", **COMMON, **more),
    "private_key_jwt": lambda url, **more: OAuth2(
        client_id="me", private_key=PRIVATE_KEY, key_id="ec", token_url=url, **more
    ),
    "password": lambda url, **more: OAuth2(
        "password", token_url=url, username="alice", password=PASSWORD, **COMMON, **more
    ),
    "refresh_token": lambda url, **more: OAuth2(token_url=url, refresh_token=REFRESH, **COMMON, **more),
    "jwt_bearer": lambda url, **more: OAuth2("jwt_bearer", token_url=url, assertion=ASSERTION, **COMMON, **more),
    "jwt_bearer-made": lambda url, **more: OAuth2(
        "jwt_bearer", "me", token_url=url, subject="alice", audience=url, private_key=PRIVATE_KEY, key_id="ec", **more
    ),
    "token_exchange": lambda url, **more: OAuth2(
        "token_exchange", token_url=url, subject_token=SUBJECT, **COMMON, **more
    ),
    "dpop": lambda url, **more: OAuth2(token_url=url, dpop=True, **COMMON, **more),
    "login": lambda url, **more: JWTLogin(url, "alice", PASSWORD, **more),
}
QUICK = sorted(set(BEHAVIOURS) - SLOW - {"huge", "gzip-bomb"})


@pytest.fixture(scope="module")
def hostile_process() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_of_a_token_endpoint_has_a_secret_told(
    hostile_process: HostileServer, watching: Watching, kind: str
) -> None:
    hostile_process.clear()
    failed = 0
    for behaviour in QUICK:
        auth = KINDS[kind](hostile_process.url(behaviour), clock=VirtualClock(), listeners=[listener])
        for session in (requests.Session(), polvo.Session(retry=False)):
            with session:
                try:
                    session.get("http://127.0.0.1:9/", auth=auth)
                except TokenRefreshError as error:
                    failed += 1
                    look_at(error)
                except requests.ConnectionError as error:
                    assert_clean("an error of the API", error, repr(error), "".join(traceback.format_exception(error)))
        look_at_object(auth)
    assert failed > 60
    assert hostile_process.seen_elsewhere == []


@pytest.mark.parametrize("kind", ["client_credentials", "refresh_token", "dpop", "login"])
@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_timeout_tells_nothing(hostile_process: HostileServer, watching: Watching, kind: str, behaviour: str) -> None:
    auth = KINDS[kind](hostile_process.url(behaviour), timeout=0.3, deadline=0.5, clock=SYSTEM)
    with pytest.raises(TokenRefreshError) as caught, requests.Session() as session:
        session.get("http://127.0.0.1:9/", auth=auth)
    look_at(caught.value)


# ------------------------------------------------------------------------------------------ storage


class Broken(MemoryStore):
    """A store whose driver tells in its errors how it was connected, and what it was given."""

    def decide(self, events: Sequence[Event]) -> Any:
        raise OSError(f"cannot reach db://me:{PASSWORD}@db with {events!r}")


def spoil(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


PLACES: dict[str, Callable[[Path], Any]] = {
    "store fails": lambda folder: Broken(),
    "no json": lambda folder: spoil(folder / "tokens.json", f"{ACCESS} {REFRESH}".encode()),
    "json": lambda folder: spoil(folder / "tokens.json", b'{"a": "%s"}' % ACCESS.encode()),
    "not text": lambda folder: spoil(folder / "tokens.json", b"\xff\xfe" + ACCESS.encode()),
    "no directory": lambda folder: folder / "nowhere" / "tokens.json",
    "full": lambda folder: Path("/dev/full"),
}


@pytest.fixture
def world() -> Iterator[Listening]:
    with Listening() as listening:

        def token(asked: Asked) -> Reply:
            kind = "DPoP" if "dpop" in asked.headers else "Bearer"
            number = [each.path for each in listening.asked].count("/token")
            content = {"access_token": ACCESS if number == 1 else SECOND, "token_type": kind, "expires_in": 3600}
            content |= {"refresh_token": REFRESH, "access": content["access_token"], "refresh": REFRESH}
            return Reply(content)

        listening.routes["/token"] = token
        listening.routes["/api"] = Reply({})
        listening.routes["/refuse"] = Reply(status=401)
        yield listening


@pytest.mark.parametrize("kind", ["client_credentials", "refresh_token", "dpop", "login"])
@pytest.mark.parametrize("place", PLACES)
def test_storage_that_fails_tells_nothing(
    world: Listening, watching: Watching, tmp_path: Path, place: str, kind: str
) -> None:
    auth = KINDS[kind](
        f"{world.url}/token", token_cache=PLACES[place](tmp_path), encryption_key=KEY, listeners=[listener]
    )
    try:
        requests.get(f"{world.url}/api", auth=auth, timeout=10)
    except PolvoError as error:
        look_at(error)
    look_at_object(auth)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix != ".key" and place not in ("no json", "json", "not text"):
            assert_clean(f"the file {file.name}", file.read_bytes())


@pytest.mark.parametrize(
    "encryption_key",
    ["too-short-" + KEY[:20], KEY[:-1] + "!", [KEY, "no key"], b"x" * 31, 17, []],
    ids=["short", "bad", "one-bad", "short-bytes", "number", "none"],
)
def test_a_bad_key_is_not_shown(world: Listening, tmp_path: Path, encryption_key: Any) -> None:
    keywords = {**COMMON, "token_cache": tmp_path / "tokens.json", "encryption_key": encryption_key}
    with pytest.raises(ConfigurationError) as caught:
        OAuth2(token_url=f"{world.url}/token", **keywords).token()
    look_at(caught.value)
    assert KEY[:20] not in "".join(traceback.format_exception(caught.value))


def test_a_bad_key_in_the_environment_is_not_shown(
    world: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, VARIABLE, f"{KEY[:30]}-wrong")
    auth = OAuth2(token_url=f"{world.url}/token", token_cache=tmp_path / "tokens.json", **COMMON)
    with pytest.raises(ConfigurationError) as caught:
        auth.token()
    assert KEY[:20] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("other", [KEY, None], ids=["another", "its-own"])
def test_another_key_than_the_cache_was_written_with(
    world: Listening, watching: Watching, tmp_path: Path, other: str | None
) -> None:
    cache, first = tmp_path / "tokens.json", Fernet.generate_key().decode()
    keywords = {**COMMON, "token_url": f"{world.url}/token", "token_cache": cache, "listeners": [listener]}
    OAuth2(encryption_key=first, **keywords).token()
    auth = OAuth2(encryption_key=other, **keywords)
    assert auth.token().access_token == SECOND
    look_at_object(auth)
    assert first not in "".join(map(str, [*watching.told, *EVENTS]))
    assert EVENTS


def test_functions_of_the_user_that_raise(watching: Watching) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the vault is sealed")

    for auth in (
        OAuth2(client_id="me", client_secret=broken, token_url="http://127.0.0.1:9/", clock=VirtualClock()),
        OAuth2(fetch=broken, clock=VirtualClock()),
        OAuth2(token_url="http://127.0.0.1:9/", refresh_token=broken, clock=VirtualClock(), **COMMON),
        JWTLogin("http://127.0.0.1:9/", "alice", broken, clock=VirtualClock()),
    ):
        with pytest.raises(TokenRefreshError) as caught:
            auth.token()
        look_at(caught.value)


# ------------------------------------------------------------------------------------------ what goes well


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [requests.Session, polvo.Session], ids=["plain", "polvo"])
def test_answers_and_sessions_hold_none(world: Listening, watching: Watching, kind: str, make: Any) -> None:
    auth = KINDS[kind](f"{world.url}/token", listeners=[listener])
    with make() as session:
        session.auth = auth
        for path in ("/api", "/refuse", "/api"):
            response = session.get(world.url + path)
            report = getattr(response, "polvo", None)
            assert_clean("a report", report, repr(report), *(report.entries if report else ()))
            assert_clean("an answer", response, repr(response))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                assert_clean("a pickled answer", pickle.dumps(response, protocol))
                assert_clean("a pickled session", pickle.dumps(session, protocol))
    look_at_object(auth)
    token = auth.token()
    assert_clean("a token", token, repr(token), [token])
    with pytest.raises(TypeError, match="not pickled") as caught:
        pickle.dumps(token)
    assert_clean("the refusal to pickle a token", caught.value)


def test_the_life_of_a_token_in_a_store_that_is_printed(world: Listening) -> None:
    store = MemoryStore()
    auth = OAuth2(token_url=f"{world.url}/token", token_cache=store, encryption_key=KEY, **COMMON)
    auth.token()
    assert_clean("a store", store, repr(store))


def test_a_login_in_the_browser_tells_nothing(world: Listening) -> None:
    auth = OAuth2(
        "authorization_code",
        token_url=f"{world.url}/token",
        authorization_url=f"{world.url}/auth",
        redirect_uri="http://127.0.0.1/cb",
        **COMMON,
    )
    request = auth.authorization_request()
    assert request.code_verifier not in f"{request} {request!r} {request.url}"
    world.routes["/token"] = lambda asked: Reply(
        {"error": "invalid_grant", "error_description": f"bad {asked.form['code']} {asked.form['code_verifier']}"}, 400
    )
    url = f"http://127.0.0.1/cb?code=c0de-of-the-login&state={request.state}"
    for back in (url, f"{url}x", url.replace("c0de", "error=access_denied&error_description=c0de&code=c0de")):
        with pytest.raises(TokenRefreshError) as caught:
            auth.complete(back, request)
        look_at(caught.value)
        text = "".join(traceback.format_exception(caught.value)) + repr(pickle.dumps(caught.value))
        assert request.code_verifier not in text
        assert "c0de-of-the-login" not in text
        assert request.state not in text


# ------------------------------------------------------------------------------------------ copies


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copied_session_shares_the_token(world: Listening, kind: str, make: Any) -> None:
    with requests.Session() as session:
        session.auth = KINDS[kind](f"{world.url}/token")
        session.get(f"{world.url}/api")
        other = make(session)
        assert other.get(f"{world.url}/api").status_code == 200
        other.close()
    assert [asked.path for asked in world.asked].count("/token") == 1


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("client_credentials", "client_secret"),
        ("post", "client_secret"),
        ("private_key_jwt", "private_key"),
        ("password", "client_secret"),
        ("refresh_token", "client_secret|refresh_token"),
        ("jwt_bearer", "client_secret|assertion"),
        ("jwt_bearer-made", "private_key"),
        ("token_exchange", "client_secret|subject_token"),
        ("dpop", "client_secret"),
        ("login", "password"),
    ],
)
def test_a_pickled_one_says_what_stayed_behind(world: Listening, kind: str, named: str) -> None:
    with requests.Session() as session:
        session.auth = KINDS[kind](f"{world.url}/token")
        session.get(f"{world.url}/api")
        other = pickle.loads(pickle.dumps(session))
    with other, pytest.raises(ConfigurationError, match=f"({named}) stayed behind when this was pickled") as caught:
        other.get(f"{world.url}/api")
    look_at(caught.value)


def secret() -> str:
    return CLIENT_SECRET


def test_secrets_given_as_functions_go_with_a_pickle(world: Listening, tmp_path: Path) -> None:
    for auth in (
        OAuth2(client_id="me", client_secret=secret, token_url=f"{world.url}/token"),
        JWTLogin(f"{world.url}/token", "alice", secret),
        OAuth2("password", "me", None, f"{world.url}/token", username="alice", password=secret),
        OAuth2("jwt_bearer", "me", None, f"{world.url}/token", assertion=secret),
    ):
        other = pickle.loads(pickle.dumps(auth))
        assert other.token().access_token in (ACCESS, SECOND)
        look_at_object(other)


def test_a_pickled_one_finds_its_token_in_the_cache(world: Listening, tmp_path: Path) -> None:
    auth = OAuth2(
        client_id="me", client_secret=secret, token_url=f"{world.url}/token", token_cache=tmp_path / "tokens.json"
    )
    auth.token()
    assert pickle.loads(pickle.dumps(auth)).token().access_token == ACCESS
    assert len(world.asked) == 1


def test_what_is_given_up_is_given_back(world: Listening) -> None:
    """Errors do not keep requests alive, and with them what these carried."""
    auth = OAuth2(token_url=f"{world.url}/nowhere", clock=VirtualClock(), **COMMON)
    with pytest.raises(TokenRefreshError) as caught:
        auth.token()
    error = caught.value
    assert (error.request, error.response) == (None, None)
    assert not any(isinstance(each, (requests.PreparedRequest, Token)) for each in gc.get_referents(vars(error)))
