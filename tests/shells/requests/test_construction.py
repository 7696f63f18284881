"""What cannot work is refused where it is written, and not at the first call; the message says what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util import Timeout

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.auth import OAuth2
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.policies.stack import standard

SECRET = "Pa55w0rd"
Make = Callable[..., Any]
ROWS: list[tuple[Make, dict[str, Any], type[Exception], str]] = [
    *[
        row
        for make in (polvo.Session, ResilientAdapter)
        for row in (
            (make, {"store": f"redis://me:{SECRET}@localhost"}, TypeError, "there is none for servers"),
            (make, {"store": "/tmp/x.db"}, TypeError, r"SQLiteStore\(path\)"),
            (make, {"store": Path("x.db")}, TypeError, r"SQLiteStore\(path\)"),
            (make, {"store": 5}, TypeError, "5 is not a store"),
            (make, {"store": polvo.stores.MemoryStore}, TypeError, r"make a store of it: MemoryStore\(\.\.\.\)"),
            (make, {"timeout": "30"}, TypeError, "timeout='30': expected seconds"),
            (make, {"timeout": True}, TypeError, "timeout=True: expected seconds"),
            (make, {"timeout": (1, 2, 3)}, TypeError, "expected seconds"),
            (make, {"timeout": (1, "2")}, TypeError, "expected seconds"),
            (make, {"timeout": 0}, ValueError, "more than 0 seconds, or None"),
            (make, {"timeout": (1, -2)}, ValueError, "more than 0 seconds, or None"),
            (make, {"max_attempts": 3}, TypeError, r"no keyword max_attempts; .* retry=\{'max_attempts': \.\.\.\}"),
            (make, {"recovery_timeout": 3}, TypeError, r"circuit_breaker=\{'recovery_timeout': \.\.\.\}"),
            (make, {"rate": 3}, TypeError, "no keyword rate; did you mean"),
            (make, {"backoff_factor": 3}, TypeError, r"use retry=\{'base': \.\.\.\}"),
            (make, {"rety": True}, TypeError, "did you mean retry?"),
            (make, {"zzzzzz": True}, TypeError, "there are .*circuit_breaker"),
            (make, {"retry": {"max_attemps": 3}}, TypeError, "no setting 'max_attemps'; did you mean max_attempts?"),
            (make, {"rate_limit": {"rate": 3}}, TypeError, r"give rate_limit=TokenBucket\(rate=\.\.\.\)"),
            (make, {"rate_limit": {"limit": 3}}, TypeError, r"give rate_limit=SlidingWindow\(limit=\.\.\.\)"),
            (make, {"bulkhead": {"max_limit": 3}}, TypeError, r"give bulkhead=AdaptiveBulkhead\(max_limit=\.\.\.\)"),
            (make, {"circuit_breaker": {"x": 3}}, TypeError, "no setting 'x'; there are .*failure_threshold"),
        )
    ],
    (polvo.Session, {"max_retries": 3}, TypeError, r"retry=\{'max_attempts': \.\.\.\}, which counts the first"),
    (polvo.Session, {"verify": False}, TypeError, "use session.verify = "),
    (polvo.Session, {"base_url": 5}, TypeError, "base_url: expected a URL .*, not int"),
    (polvo.Session, {"base_url": f"me:{SECRET}@api.example.com"}, polvo.ConfigurationError, "the scheme is missing"),
    *[
        (make, {"base_url": url}, polvo.ConfigurationError, "there is no host, or a space")
        for make in (polvo.Session, polvo.AsyncSession)
        for url in ("http://", "HTTPS:///a", "http://?a=b", " https://api.example.com", "https://api.example.com/a b")
    ],
    (polvo.Session, {"auth": SECRET}, TypeError, r"auth: expected .*polvo\.auth\.bearer\(token\).*, not str"),
    (polvo.Session, {"auth": ("a", SECRET, "c")}, TypeError, "not tuple"),
    (polvo.Session, {"auth": ["a", SECRET]}, TypeError, "not list"),
    (polvo.Session, {"auth": OAuth2}, TypeError, "not the class OAuth2"),
    (PolicyAdapter, {"timeout": "x"}, TypeError, "expected seconds"),
    (PolicyAdapter, {"inner": requests.Session()}, TypeError, "inner must be a transport adapter, not Session"),
    (PolicyAdapter, {"inner": 5}, TypeError, "inner must be a transport adapter, not int"),
    (PolicyAdapter, {"inner": PolicyAdapter}, TypeError, "inner must be a transport adapter"),
    (PolicyAdapter, {"credential": 5}, TypeError, "credential=5: expected the name of a header"),
    (polvo.stores.SQLiteStore, {"path": "/"}, polvo.ConfigurationError, "is a directory; name a file in it"),
    (polvo.stores.SQLiteStore, {"path": "/no/x.db"}, polvo.ConfigurationError, "does not exist; make it first"),
    *[
        (polvo.install, {"session": value}, TypeError, f"install: expected a requests.Session, not {name}")
        for value, name in ((None, "NoneType"), ("https://x", "str"), (requests.Session, "the class Session"))
    ],
]


@pytest.mark.parametrize(("make", "keywords", "kind", "message"), ROWS)
def test_what_cannot_work_is_refused(make: Make, keywords: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        make(**keywords)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", sorted({*requests.Session.__attrs__} - {"auth"}))
def test_an_attribute_of_a_session_that_is_given_as_a_keyword_is_said_how_to_set(name: str) -> None:
    use = "session.mount(prefix, adapter)" if name == "adapters" else f"session.{name}"
    with pytest.raises(TypeError, match=rf"^Session: there is no keyword {name}; use {re.escape(use)}"):
        polvo.Session(**{name: {}})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(StackOptions.__annotations__))
def test_false_switches_every_part_off_as_none_does(name: str) -> None:
    off: dict[str, Any] = {name: False}
    none: dict[str, Any] = {name: None}
    assert standard(**off) == standard(**none)
    assert [polvo.Session(**off)._seconds, polvo.Session(**off)._default_deadline] == [
        polvo.Session(**none)._seconds,
        polvo.Session(**none)._default_deadline,
    ]
    for way in (ResilientAdapter, lambda **keywords: polvo.install(requests.Session(), **keywords), polvo.Session):
        way(**off)


@pytest.mark.parametrize("kind", [polvo.RateLimitAdapter, polvo.BulkheadAdapter, polvo.FallbackAdapter])
def test_an_adapter_of_one_policy_cannot_be_without_it(kind: Make) -> None:
    with pytest.raises(TypeError, match="False is no policy of its kind"):
        kind(False)


def test_a_policy_that_is_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"make a policy of it: ExponentialBackoff\(\.\.\.\)"):
        PolicyAdapter(polvo.retry.ExponentialBackoff)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 1, 0.5, (1, 2), (None, 3.5), Timeout(3)])
@pytest.mark.parametrize("make", [polvo.Session, ResilientAdapter, PolicyAdapter])
def test_every_timeout_of_requests_is_taken(make: Make, value: Any) -> None:
    assert make(timeout=value).timeout is value


def test_a_class_beside_an_adapter_may_have_keywords_of_its_own() -> None:
    class Other(requests.adapters.HTTPAdapter):
        def __init__(self, *args: Any, max_attempts: int = 0, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            self.most = max_attempts

    class Both(ResilientAdapter, Other):
        pass

    assert Both(max_attempts=3).most == 3  # type: ignore[call-arg]
