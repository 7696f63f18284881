"""What an answer looks like that refuses a credential: rules, dialects, and what is no rule."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from polvo_adapters.core.answer import Answer
from polvo_adapters.core.credential_refusals import DIALECTS, CredentialRefusal, RefusalTest, find_dialect
from polvo_adapters.errors import ConfigurationError


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Answer("GET", "api.test", 1, status, named, content, "")


def refuses(refused: Any, *told: Any, **headers: str) -> bool:
    return RefusalTest("OAuth2", refused)(answer(*told, **headers))


def raises(_: Answer) -> bool:
    raise KeyError("error")


EXPIRED = {"error": {"code": 190, "type": "OAuthException"}}
GRAPHQL = {"data": None, "errors": [{"message": "no"}, {"extensions": {"code": "UNAUTHENTICATED"}}]}

REFUSED: list[Any] = [
    (None, 401),
    (403, 401),
    (403, 403),
    ((401, 403), 403),
    ({403, 419}, 419),
    ("slack", 200, {"ok": False, "error": "token_expired"}),
    ("Slack", 401),
    ("meta", 400, EXPIRED),
    ("meta", 400, {"error": {"code": "190"}}),
    ("graphql", 200, GRAPHQL),
    ("graphql", 200, [GRAPHQL]),
    ("amazon", 403, {"errors": [{"code": "Unauthorized", "details": "The access token you provided has expired."}]}),
    (["slack", 403], 403),
    (["slack", "meta"], 400, EXPIRED),
    (lambda each: each.status == 200 and each.json()["error"] == "no", 200, {"error": "no"}),
    (lambda each: None, 401),
    (raises, 401),
    ([raises, 403], 403),
    ([lambda each: False, 403], 403),
    (CredentialRefusal(fields={"a.b": 1}), 200, {"a": {"b": 1}}),
    (CredentialRefusal(fields={"a.b": "1"}), 200, {"a": [{"b": 2}, {"b": 1}]}),
    (CredentialRefusal(fields={"ok": "false"}), 200, {"ok": False}),
    (CredentialRefusal(fields={"ok": "false", "error": ("x", "y")}), 200, {"ok": False, "error": "y"}),
    (CredentialRefusal(text="<code>-1</code>"), 200, b"<fault><code>-1</code></fault>"),
    (CredentialRefusal((400, 498), text=("Session", "Token")), 498, b"Invalid Token"),
]
ACCEPTED: list[Any] = [
    (None, 403),
    ("slack", 200, {"ok": False, "error": "channel_not_found"}),
    ("slack", 200, {"ok": True, "error": None}),
    ("slack", 200, b"<html>token_expired"),
    ("slack", 200, None),
    ("slack", 200, [[["token_expired"]]]),
    ("meta", 400, {"error": {"code": 4}}),
    ("meta", 400, {"error": "190"}),
    ("graphql", 200, {"errors": [{"extensions": {"code": "FORBIDDEN"}}]}),
    ("amazon", 403, {"errors": [{"code": "QuotaExceeded"}]}),
    ("amazon", 200, {"errors": [{"code": "Unauthorized"}]}),
    (lambda each: False, 401),
    ([lambda each: False, "slack"], 401),
    (raises, 200),
    (CredentialRefusal(200, fields={"a": 1}), 400, {"a": 1}),
    (CredentialRefusal(fields={"ok": "false", "error": "x"}), 200, {"ok": False, "error": "y"}),
    (CredentialRefusal(fields={"a": 1}), 200, b"[" * 500 + b'{"a": 1}' + b"]" * 500),
    (CredentialRefusal(fields={"a": 1}), 200, b"[" * 100_000),
    (CredentialRefusal(fields={"a": "True"}), 200, {"a": True}),
    (CredentialRefusal(text="expired"), 200, None),
    (CredentialRefusal(headers={"X-Code": "7"}), 200),
]


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal(case: Any) -> None:
    assert refuses(*case)


@pytest.mark.parametrize("case", ACCEPTED)
def test_no_refusal(case: Any) -> None:
    assert not refuses(*case)


def test_a_header_tells() -> None:
    challenge = 'Bearer realm="a", error="Invalid_Token"'
    assert refuses("bearer", 403, WWW_Authenticate=challenge)
    assert not refuses("bearer", 403, WWW_Authenticate="Bearer")
    assert refuses(CredentialRefusal(403, headers={"X-Code": ("6", "7")}), 403, X_Code="7")


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_is_data(name: str) -> None:
    rules = DIALECTS[name]
    assert rules
    assert all(type(rule) is CredentialRefusal and rule == eval(repr(rule)) for rule in rules)
    assert len({*rules, *rules}) == len(rules)


@pytest.mark.parametrize(
    "refused",
    [True, 99, 600, (401, "x"), [None], object(), "slak", "", {"error": "x"}.items(), 4.5, (403, 4.5)],
)
def test_what_is_no_rule_is_refused_at_once(refused: Any) -> None:
    with pytest.raises(ConfigurationError, match="refused"):
        RefusalTest("OAuth2", refused)


@pytest.mark.parametrize(
    "keywords",
    [{}, {"statuses": "x"}, {"statuses": True}, {"fields": {"a": None}}, {"text": ""}, {"headers": {"a": ()}}],
)
def test_a_description_of_nothing_is_refused(keywords: Any) -> None:
    with pytest.raises(ConfigurationError):
        CredentialRefusal(**keywords)


def test_the_body_is_asked_for_only_where_a_rule_looks_at_it() -> None:
    test = RefusalTest("OAuth2", [403, CredentialRefusal((200, 400), fields={"a": 1})])
    assert [test.reads_body(status) for status in (200, 400, 401, 403, 500)] == [True, True, False, False, False]
    assert not RefusalTest("OAuth2", "bearer").reads_body(403)
    assert RefusalTest("OAuth2", raises).reads_body(500)
    assert RefusalTest("OAuth2", (401, 403)).is_plain


def test_it_pickles() -> None:
    test = pickle.loads(pickle.dumps(RefusalTest("OAuth2", ["slack", 403])))
    assert test(answer(403))
    assert test(answer(200, {"error": "token_expired"}))


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("https://slack.com/api/oauth.v2.access", "slack"),
        ("http://127.0.0.1:8080/api/oauth.v2.access", "slack"),
        ("https://graph.facebook.com/v20.0/oauth/access_token", "meta"),
        ("https://api.amazon.com/auth/o2/token", "amazon"),
        ("https://id.example.com/oauth/token", None),
        ("None", None),
    ],
)
def test_a_vendor_is_known_by_its_token_endpoint(url: str, dialect: str | None) -> None:
    assert find_dialect(url) == dialect
