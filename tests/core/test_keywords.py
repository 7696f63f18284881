"""What the error says for arguments that a class of the library does not have."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.policies import retry_budget
from polvo_adapters.testing import FailureServer

CLASSES: dict[Any, tuple[Any, ...]] = {
    polvo.breaker.CircuitBreaker: (),
    polvo.retry.ExponentialBackoff: (),
    retry_budget.RetryBudget: (),
    polvo.ratelimit.TokenBucket: (5,),
    polvo.ratelimit.SlidingWindow: (5, 1),
    polvo.ratelimit.AdaptiveRateLimit: (),
    polvo.bulkhead.Bulkhead: (),
    polvo.bulkhead.AdaptiveBulkhead: (),
    polvo.hedge.Hedge: (),
    polvo.regions.Regions: (["https://a.example.com", "https://b.example.com"],),
    polvo.idempotency.IdempotencyKeys: (),
    polvo.idempotency.Record: (),
    polvo.fallback.StaleCache: (),
    polvo.fallback.Another: ("https://a.example.com",),
    polvo.request_ids.RequestIDs: (),
    polvo.resume.Resume: (),
    polvo.stores.MemoryStore: (),
    polvo.stores.SQLiteStore: ("x.db",),
    polvo.Tenancy: (),
    FailureServer: (),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_keyword_is_named_with_what_was_meant(kind: Any) -> None:
    known = [each for each in inspect.signature(kind).parameters if each != "parameters"]
    for name in known:
        if len(name) > 3:
            wrong = name[:-2] + name[-1]
            with pytest.raises(TypeError) as caught:
                kind(*CLASSES[kind], **{wrong: 1})
            assert str(caught.value).startswith(f"{kind.__name__}: there is no keyword {wrong}; did you mean ")
            assert caught.value.__context__ is None
    with pytest.raises(TypeError) as caught:
        kind(*CLASSES[kind], zzzz=1)
    assert str(caught.value).startswith(f"{kind.__name__}: there is no keyword zzzz; there are")


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_missing_or_too_much_is_named(kind: Any) -> None:
    if CLASSES[kind]:
        with pytest.raises(TypeError, match=rf"{kind.__name__}: \w+( and \w+)* (is|are) missing$"):
            kind()
        first = next(iter(inspect.signature(kind).parameters))
        with pytest.raises(TypeError, match=f"{kind.__name__}: {first} is given twice"):
            kind(*CLASSES[kind], **{first: 1})
    with pytest.raises(TypeError, match=f"{kind.__name__}: 99 arguments without a keyword, of at most"):
        kind(*range(99))


@pytest.mark.parametrize(
    ("kind", "name", "here"),
    [
        (polvo.retry.ExponentialBackoff, "max_retries", "it is max_attempts, which counts the first"),
        (polvo.retry.ExponentialBackoff, "backoff_factor", "it is base"),
        (polvo.retry.ExponentialBackoff, "status_forcelist", "it is retry_on"),
        (polvo.breaker.CircuitBreaker, "fail_max", "it is failure_threshold"),
        (polvo.breaker.CircuitBreaker, "reset_timeout", "recovery_timeout"),
        (polvo.ratelimit.TokenBucket, "burst", "it is capacity"),
    ],
)
def test_the_name_of_another_library_is_translated(kind: Any, name: str, here: str) -> None:
    with pytest.raises(TypeError, match=here):
        kind(*CLASSES[kind], **{name: 1})
    if kind is polvo.retry.ExponentialBackoff:
        with pytest.raises(TypeError, match=here):
            polvo.Session(retry={name: 1})  # type: ignore[arg-type]


def test_the_classes_are_otherwise_as_they_were() -> None:
    policy = polvo.breaker.CircuitBreaker(failure_threshold=3)
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy
    assert "failure_threshold" in inspect.signature(polvo.breaker.CircuitBreaker).parameters
    with pytest.raises(ValueError, match="failure_threshold must be"):
        polvo.breaker.CircuitBreaker(failure_threshold=0)


def test_a_type_error_from_within_comes_out_as_it_is() -> None:
    with pytest.raises(TypeError) as caught:
        polvo.stores.SQLiteStore(5)  # type: ignore[arg-type]
    assert "there is no keyword" not in str(caught.value)
    assert "missing" not in str(caught.value)
