"""A value of the wrong kind is refused where the object is made, whatever the class and the keyword.

The table is generated: each keyword of each public constructor is given values of many kinds. Most must be refused, in
the words of this package, and without a secret.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import polvo_adapters as polvo
from polvo_adapters import auth, secrets, stores
from polvo_adapters.auth.options import JWTLoginOptions, OAuth2Options
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.services import double_o

HIDDEN = "Zq7Xv9KwJd4"
URL = "https://login.test/token"
RAW = re.compile(
    r"object at 0x|has no attribute|not supported between|not iterable|not callable|not subscriptable|unhashable"
    r"|unsupported operand|cannot unpack|to unpack|required positional|expected str, bytes|out of range$|can't concat"
)


class Odd:
    def __repr__(self) -> str:
        return f"<Odd {HIDDEN}>"


def function() -> float:
    """Stand for any function."""
    return 0.0


WRONG: tuple[Any, ...] = (5, -1, True, HIDDEN, b"x", ["a", 5], {"a": 5}, Odd(), Odd, function, None, float("nan"), "")
MAY_BE_SECRET = re.compile(
    "auth$|.*secret|password|.*token|(private|encryption)_key|.*assertion|base_url|store|source|session|verify|cert"
)


class Maker(NamedTuple):
    """A constructor.

    Attributes:
        make: The class or function.
        needed: The keywords that it cannot do without, with values that fit.
        more: Names of further keywords that it takes.
    """

    make: Callable[..., Any]
    needed: Mapping[str, Any] = {}
    more: tuple[str, ...] = ()

    def keywords(self) -> list[str]:
        found = inspect.signature(self.make).parameters.values()
        named = [each.name for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        return list(dict.fromkeys([*named, *self.more]))


POOL = ("pool_connections", "pool_maxsize", "max_retries", "pool_block")
STACK = tuple(StackOptions.__annotations__)
CLIENT = {"client_id": "me", "client_secret": "s", "token_url": URL}
LOGIN = {"login_url": URL, "username": "u", "password": "p"}
MAKERS: dict[str, Maker] = {
    "Session": Maker(polvo.Session, more=STACK),
    "ResilientAdapter": Maker(polvo.ResilientAdapter, more=(*STACK, *POOL)),
    "PolicyAdapter": Maker(polvo.PolicyAdapter, more=POOL),
    **{
        kind.__name__: Maker(kind, needed, ("clock", "timeout", *POOL))
        for kind, needed in (
            (polvo.BreakerAdapter, {}),
            (polvo.BulkheadAdapter, {}),
            (polvo.FallbackAdapter, {}),
            (polvo.HedgeAdapter, {}),
            (polvo.IdempotencyAdapter, {}),
            (polvo.RateLimitAdapter, {}),
            (polvo.RegionsAdapter, {"urls": ["https://a.test"]}),
            (polvo.RetryAdapter, {}),
        )
    },
    **{
        kind.__name__: Maker(kind, needed)
        for kind, needed in (
            (polvo.breaker.CircuitBreaker, {}),
            (polvo.bulkhead.Bulkhead, {}),
            (polvo.bulkhead.AdaptiveBulkhead, {}),
            (polvo.deadline.Deadline, {}),
            (polvo.fallback.Fallback, {}),
            (polvo.hedge.Hedge, {}),
            (polvo.idempotency.IdempotencyKeys, {}),
            (polvo.idempotency.Record, {}),
            (polvo.ratelimit.AdaptiveRateLimit, {}),
            (polvo.ratelimit.SlidingWindow, {"limit": 1, "window": 1}),
            (polvo.ratelimit.TokenBucket, {"rate": 1}),
            (polvo.regions.Regions, {"urls": ["https://a.test"]}),
            (polvo.request_ids.RequestIDs, {}),
            (polvo.resume.Resume, {}),
            (polvo.retry.ExponentialBackoff, {}),
            (polvo.retry.RetryBudget, {}),
            (polvo.Tenancy, {"required": True}),
            (stores.MemoryStore, {}),
            (stores.SQLiteStore, {"path": "state.db"}),
            (auth.TokenCache, {"path": "tokens.json"}),
            (secrets.Secret, {"source": "env://X"}),
            (secrets.Vault, {"url": "https://vault.test"}),
            (auth.TokenEndpoint, {"url": URL}),
            (auth.Bearer, {"token": "t"}),
            (auth.APIKey, {"key": "k"}),
            (auth.SessionToken, {"token": "t"}),
            (auth.bearer, {"token": "t"}),
            (auth.api_key, {"key": "k"}),
            (auth.session_token, {"token": "t"}),
            (auth.basic, {"username": "u", "password": "p"}),
            (auth.signed, {}),
            (double_o.Client, {}),
        )
    },
    "OAuth2": Maker(auth.OAuth2, CLIENT, tuple(OAuth2Options.__annotations__)),
    "JWTLogin": Maker(auth.JWTLogin, LOGIN, tuple(JWTLoginOptions.__annotations__)),
}
"""The public constructors."""


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for stores, which make their files


def try_all(maker: Maker, keyword: str) -> Iterator[tuple[Any, Exception | None]]:
    for value in WRONG:
        try:
            made = maker.make(**{**maker.needed, keyword: value})
        except Exception as error:  # noqa: BLE001, PERF203 - any other class is what is looked for
            yield value, error
        else:
            getattr(made, "close", function)()
            yield value, None


@pytest.mark.parametrize(("name", "keyword"), [(name, each) for name in MAKERS for each in MAKERS[name].keywords()])
def test_wrong_settings(name: str, keyword: str) -> None:
    maker = MAKERS[name]
    wrong, taken = [], 0
    for value, error in try_all(maker, keyword):
        if error is None:
            taken += 1
            continue
        text = str(error)
        problems = []
        if not isinstance(error, (TypeError, ValueError)):
            problems.append("its class")
        if RAW.search(text):
            problems.append("a raw text of Python")
        if HIDDEN in text and MAY_BE_SECRET.fullmatch(keyword):
            problems.append("a secret")
        if not re.search(rf"\b{keyword}\b|[A-Z]\w+\(|: [A-Z]\w+ has no setting|^Secret: ", text):
            problems.append("no name of the setting")
        if len(text) > 400:
            problems.append("too long")
        if problems:
            wrong.append(f"{keyword}={value!r}: {', '.join(problems)}: {type(error).__name__}: {text}")
    assert wrong == []
    assert taken < len(WRONG) - 4, f"{keyword} takes nearly everything"


@pytest.mark.parametrize("make", [auth.OAuth2, auth.OAuth2.for_vendor])
def test_a_secret_from_a_missing_variable_is_no_client_without_a_secret(make: Callable[..., Any]) -> None:
    vendor = ("azure",) if make != auth.OAuth2 else ()
    keywords: dict[str, Any] = {"client_id": "me", "token_url": URL, "flow": "device_code"}
    keywords |= {"device_authorization_url": URL, **({"tenant_id": "t"} if vendor else {})}
    with pytest.raises(polvo.ConfigurationError, match=r"client_secret=None\): is the environment variable set"):
        make(*vendor, **keywords, client_secret=None)
    make(*vendor, **keywords)
    make(*vendor, **keywords, client_secret=None, client_authentication="none")


def test_a_pair_with_none_in_it_is_refused() -> None:
    with pytest.raises(TypeError, match="is None; is the environment variable set"):
        polvo.Session(auth=("me", None))


@pytest.mark.parametrize("below", ["", "file/tokens.json", "redis://:Zq7Xv9KwJd4@host"])
def test_a_token_cache_at_an_impossible_place_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = below if "://" in below else str(tmp_path / below)
    with pytest.raises(polvo.ConfigurationError, match="token_cache") as caught:
        auth.OAuth2(**CLIENT, token_cache=place)
    assert HIDDEN not in str(caught.value)


def test_a_server_takes_the_same_kinds_of_options() -> None:
    with pytest.raises(polvo.ConfigurationError, match=r"AuthorizationServer\(session=<Odd>\): session must be"):
        AuthorizationServer(client_id="me", token_url=URL, session=Odd())
