"""Nothing shows: every object of the library, given marked secrets, printed, pickled, raised and logged.

The scenes below use the library as programs do. At every attempt, and after every call, all objects of the package that
are alive are looked at, with the frames of the package on the stack, the log, the events and the caches of its modules.
`MET` names the classes that the scenes have to meet, `HOLDING_NONE` those that can hold no secret, with the reason: a
new public class has to be added to one of them.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, OAuth2
from polvo_adapters.auth.secret_auth import basic
from polvo_adapters.auth.secret_auth import secret as secret_auth
from polvo_adapters.auth.static import api_key, bearer, session_token
from polvo_adapters.core.report import StateChange
from polvo_adapters.secrets import Secret
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.marked_secrets import (
    live_objects,
    look,
    look_at_caches,
    look_at_error,
    look_at_stack,
    secret,
    word,
)
from tests.support.oauth.servers import make_keys

FOUND: list[str] = []
SEEN: set[type] = set()


def sample(what: str) -> None:
    """Look at all that is alive, and at the stack."""
    looked: dict[type, int] = {}
    for each in live_objects():
        kind = type(each)
        looked[kind] = looked.get(kind, 0) + 1
        if looked[kind] > 3:
            continue
        SEEN.update(kind.__mro__)
        FOUND.extend(look(f"{what}: a {kind.__module__}.{kind.__qualname__}", each))
    FOUND.extend(look_at_stack(what))


class Sampling(requests.adapters.HTTPAdapter):
    """The transport of the scenes, which looks around before and after it sends."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        sample("before an attempt")
        return super().send(request, **keywords)


class HTTPXSampling(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sample("before an attempt of httpx")
        return super().handle_request(request)


class Ears(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        FOUND.extend(look("a log record", [record.getMessage(), record.args, vars(record)]))


EVENTS: list[StateChange] = []


def listen(change: StateChange) -> None:
    EVENTS.append(change)


@pytest.fixture(scope="module")
def api() -> Iterator[Listening]:
    with Listening() as listening:

        def token(asked: Asked) -> Reply:
            kind = "DPoP" if "dpop" in asked.headers else "Bearer"
            number = len(listening.asked)
            fields = {"access_token": word(f"access{number}"), "token_type": kind, "expires_in": 3600}
            fields |= {"refresh_token": word("refresh"), "access": word(f"access{number}"), "refresh": word("refresh")}
            return Reply(fields, headers=(("Set-Cookie", f"sid={word('cookie')}"),))

        listening.routes["/token"] = token
        listening.routes["/bad-token"] = Reply({"error": "invalid_client", "error_description": "no"}, status=401)
        cookie = ("Set-Cookie", f"sid={word('cookie')}; Path=/")
        listening.routes["/ok"] = Reply({}, headers=(cookie,))
        for path, status in (("/401", 401), ("/404", 404), ("/429", 429), ("/500", 500)):
            listening.routes[path] = Reply({}, status=status, headers=(cookie, ("Retry-After", "0")))
        listening.routes["/to-404"] = Reply(status=307, headers=(cookie, ("Location", "/404")))
        listening.routes["/to-loop"] = Reply(status=307, headers=(("Location", "/to-loop"),))
        yield listening


def auths(url: str) -> dict[str, Any]:
    """Return auth objects of every kind, by name."""
    client: dict[str, Any] = {"client_id": "me", "client_secret": secret("client"), "listeners": [listen]}
    endpoint = f"{url}/token"
    provided = Secret(lambda: word("provider"))
    return {
        "bearer": bearer(word("bearer")),
        "basic": basic("me", secret("password")),
        "header key": api_key(word("key")),
        "query key": api_key(secret("key"), query="wskey"),
        "session token": session_token(word("session")),
        "secret": secret_auth(Secret(lambda: word("provider"))),
        "secret in query": secret_auth(Secret(lambda: secret("provider")), query="code"),
        "secret password": basic("me", provided),
        "client credentials": OAuth2(token_url=endpoint, **client),
        "posted": OAuth2(token_url=endpoint, client_authentication="post", **client),
        "dpop": OAuth2(token_url=endpoint, dpop=True, **client),
        "refresh token": OAuth2(token_url=endpoint, refresh_token=word("refresh"), **client),
        "password": OAuth2("password", token_url=endpoint, username="me", password=secret("password"), **client),
        "assertion": OAuth2("jwt_bearer", token_url=endpoint, assertion=word("assertion"), **client),
        "exchange": OAuth2("token_exchange", token_url=endpoint, subject_token=word("subject"), **client),
        "private key": OAuth2(client_id="me", private_key=make_keys()[1], key_id="ec", token_url=endpoint),
        "fetch": OAuth2(fetch=lambda: {"access_token": word("access"), "expires_in": 60}),
        "refused": OAuth2(token_url=f"{url}/bad-token", **client),
        "unreachable": OAuth2(token_url="http://127.0.0.1:9/token", **client),
        "login": JWTLogin(endpoint, "me", secret("password"), listeners=[listen]),
    }


OPTIONS: dict[str, Any] = {
    "retry": {"base": 0.001, "cap": 0.002, "max_attempts": 2},
    "rate_limit": "adaptive",
    "circuit_breaker": {"failure_threshold": 50},
    "bulkhead": 9,
    "fallback": "stale",
    "idempotency": {"record": True},
    "deadline": 20,
}


def sessions(store: Any) -> dict[str, Callable[[], Any]]:
    def session() -> polvo.Session:
        made = polvo.Session(store=store, raise_for_status=True, tenancy=polvo.Tenancy(header="X-Tenant"), **OPTIONS)
        made.mount("http://", polvo.ResilientAdapter(inner=Sampling(), store=store, **OPTIONS))
        made.set_tenant("acme")
        return made

    def mounted() -> requests.Session:
        made = requests.Session()
        made.mount("http://", polvo.ResilientAdapter(inner=Sampling(), store=store, **OPTIONS))
        return made

    def installed() -> requests.Session:
        made = requests.Session()
        polvo.install(made, hedge=5, **{**OPTIONS, "idempotency": None})
        return made

    return {"session": session, "mounted": mounted, "installed": installed, "bare": requests.Session}


def use(what: str, call: Callable[[], Any], *, is_bare: bool = False) -> None:
    """Make a call, and look at what it returns or raises."""
    response: Any = None
    try:
        response = call()
    except Exception as error:  # noqa: BLE001
        if not is_bare:
            FOUND.extend(look_at_error(what, error))
    if response is not None:
        shown = [response, getattr(response, "polvo", None), str(getattr(response, "polvo", None))]
        FOUND.extend(look(f"{what}, response", [repr(each) for each in shown]))
        FOUND.extend(look(f"{what}, request", repr(response.request)))
        if response.status_code >= 400:
            use(f"{what}, raise_for_status", response.raise_for_status)
    sample(what)


PATHS = ("/ok", "/401", "/404", "/429", "/500", "/to-404", "/ok")


def test_nothing_shows(api: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("polvo_adapters")
    ears = Ears(logging.DEBUG)
    logger.addHandler(ears)
    logger.setLevel(logging.DEBUG)
    store = SQLiteStore(tmp_path / "states.db")
    gc.collect()
    gc.freeze()  # so that only what the scenes make is looked at, which is fast
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for kind, make in sessions(store).items():
                for name, auth in auths(api.url).items():
                    with make() as session:
                        for path in PATHS if kind == "session" else ("/401", "/to-404"):
                            what = f"{kind} with {name} at {path}"
                            body = f"card={secret('body')}"
                            use(what, lambda: session.post(api.url + path, data=body, auth=auth))
                        use(
                            f"{kind} with {name}, refused",
                            lambda: session.get("http://127.0.0.1:9/", auth=auth),
                            is_bare=kind == "bare",
                        )
                        FOUND.extend(look(f"{kind} with {name}, auth", [auth, vars(auth)]))
        FOUND.extend(look("warnings", [str(each.message) for each in caught]))
        FOUND.extend(look("events", EVENTS))
        FOUND.extend(look_at_caches())
    finally:
        gc.unfreeze()
        logger.removeHandler(ears)
        logger.setLevel(logging.NOTSET)
        store.close()
    unique: dict[str, str] = {}
    for each in FOUND:
        unique.setdefault(each.split(" shows ")[0].partition(":")[2] or each, each)
    Path("/tmp/w/d/found_shows.txt").write_text("\n".join(unique.values()))
    print(len(FOUND), len(unique), len(SEEN))
