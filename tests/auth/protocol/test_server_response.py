"""Any answer is a token or a TokenRefreshError, and none repeats a secret that was sent."""

from __future__ import annotations

import base64
import html
import json
import math
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.auth.protocol.device_code import DeviceAuthorization, parse_device_authorization
from polvo_adapters.auth.protocol.server_response import FINAL, ServerResponse
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_response import credential_error, parse_success, parse_token, require_fields
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.shells.server_words import redact_code, redact_description

SECRETS = ("correct horse battery", "pa+ss/wörd%41", "tok", "A" * 5000)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = [
    "access_token", "token_type", "expires_in", "refresh_token", "scope", "error", "error_description",
    "device_code", "user_code", "verification_uri", "verification_uri_complete", "interval",
]  # fmt: skip
likely = st.sampled_from(
    ["token", "Bearer", "dpop", "invalid_grant", "https://e.test/", 3600, "3600", -1, "nan", *SECRETS]
)
documents = st.dictionaries(st.sampled_from(NAMES), likely | values, max_size=12)
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | documents.map(lambda value: json.dumps(value).encode())
    | st.text(alphabet="access_token=&%error0123+", max_size=60).map(str.encode)
)
statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 429, 500, 503, 999])


def answer(body: Any = b"", status: int = 200, secrets: tuple[str, ...] = SECRETS) -> ServerResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ServerResponse("auth.example.com", "the refresh_token grant", status, {}, content, secrets)


def good(**changed: Any) -> dict[str, Any]:
    fields = {"access_token": "token", "token_type": "Bearer", "expires_in": 60, **changed}
    return {name: value for name, value in fields.items() if value is not ...}


def reason(body: Any, status: int = 200, key: str | None = None) -> str | None:
    with pytest.raises(TokenRefreshError) as caught:
        parse_token(answer(body, status), key)
    return caught.value.reason


@given(bodies, statuses, st.sampled_from([None, "the PEM"]))
def test_any_answer_is_a_token_or_an_error(body: bytes, status: int, key: str | None) -> None:
    try:
        got = parse_token(answer(body, status), key)
    except TokenRefreshError as error:
        check(error, status)
    else:
        assert 200 <= status < 300
        assert got.access_token.isascii()
        assert got.access_token.isprintable()
        assert " " not in got.access_token
        assert got.expires_in is None or 0 < got.expires_in < math.inf
        assert (got.token_type == "DPoP") == (key is not None)
        assert isinstance(Token.from_json(got.to_json()), Token)


@given(bodies, statuses)
def test_so_is_any_other_answer(body: bytes, status: int) -> None:
    credential_error(answer(body, status))
    for read in (parse_success, require_fields, parse_device_authorization):
        check_other(read, answer(body, status))


def check_other(read: Any, given_answer: ServerResponse) -> None:
    try:
        got = read(given_answer)
    except TokenRefreshError as error:
        check(error, given_answer.status)
        return
    assert 200 <= given_answer.status < 300
    if isinstance(got, DeviceAuthorization):
        assert 0 < got.interval < math.inf
        assert 0 < got.expires_in < math.inf
        assert got.verification_uri.startswith(("https://", "http://"))


def check(error: TokenRefreshError, status: int) -> None:
    assert (error.status, error.host) == (status, "auth.example.com")
    assert not any(secret.casefold() in f"{error.reason}".casefold() for secret in SECRETS if len(secret) > 3)
    assert len(str(error)) < 600
    assert str(error).isascii()
    assert str(error).isprintable()
    assert not error.final or (error.reason in FINAL and status < 500)


@pytest.mark.parametrize(
    ("given_life", "life"),
    [
        (..., None),
        (None, None),
        (3600, 3600.0),
        (0.5, 0.5),
        ("3600", 3600.0),
        (" 60 ", 60.0),
        ("60.5", 60.5),
        (10 * 365 * 86_400, 10 * 365 * 86_400.0),
        (10 * 365 * 86_400 + 1, None),
        (10**400, None),
        ("9" * 40, None),
        (math.inf, None),
    ],
)
def test_lifetimes(given_life: Any, life: float | None) -> None:
    assert parse_token(answer(good(expires_in=given_life))).expires_in == life


@pytest.mark.parametrize(
    "life", [0, -1, -0.0, "0", "-5", "", "soon", "1_000", "٣", "1e3", True, False, [], {}, math.nan]
)
def test_a_lifetime_that_means_nothing_does_not_cost_the_token(life: Any, caplog: pytest.LogCaptureFixture) -> None:
    got = parse_token(answer(good(expires_in=life)))
    assert (got.access_token, got.expires_in) == ("token", None)
    assert [record.polvo_reason for record in caplog.records] == ["expires_in"]


@pytest.mark.parametrize("kind", ["bot", "user", "mac", "N_A", 7, ["Bearer"], {"a": 1}, "é"])
def test_a_type_that_is_none_does_not_cost_the_token(kind: Any) -> None:
    got = parse_token(answer(good(token_type=kind)))
    assert (got.token_type, got.extra) == ("Bearer", {"token_type": kind})
    assert reason(good(token_type=kind), key="the PEM") == "unsupported token_type"


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", ..., None, ""])
def test_a_bearer_token(kind: Any) -> None:
    assert parse_token(answer(good(token_type=kind))).token_type == "Bearer"
    assert reason(good(token_type=kind), key="the PEM") == "unsupported token_type"


def test_a_token_that_is_bound_to_a_key() -> None:
    got = parse_token(answer(good(token_type="dpop")), "the PEM")
    assert (got.token_type, got.key) == ("DPoP", "the PEM")
    assert reason(good(token_type="dpop")) == "unsupported token_type"


@pytest.mark.parametrize(
    "access_token", ["a b", "a\n", "a\r\nX: y", "ä", "\x7f", "a" * 65_537, 1, True, ["a"], {"a": 1}]
)
def test_access_tokens_that_no_header_could_carry(access_token: Any) -> None:
    assert reason(good(access_token=access_token)) == "invalid access_token"


def test_what_else_came_is_kept() -> None:
    got = parse_token(answer(good(refresh_token="next", scope=["a", "b"], id_token="jwt", n=1)))
    assert (got.refresh_token, got.scope, dict(got.extra)) == ("next", "a b", {"id_token": "jwt", "n": 1})


@pytest.mark.parametrize("code", sorted(FINAL))
@pytest.mark.parametrize(
    ("status", "final"), [(200, True), (400, True), (401, True), (403, True), (429, False), (503, False)]
)
def test_codes_after_which_asking_again_is_of_no_use(code: str, status: int, final: bool) -> None:
    with pytest.raises(TokenRefreshError) as caught:
        parse_token(answer({"error": code}, status))
    assert (caught.value.reason, caught.value.final) == (code, final)


@pytest.mark.parametrize(
    "code", ["temporarily_unavailable", "server_error", "slow_down", "authorization_pending", "odd"]
)
def test_codes_after_which_it_may_be(code: str) -> None:
    with pytest.raises(TokenRefreshError) as caught:
        parse_token(answer({"error": code}, 400))
    assert (caught.value.reason, caught.value.final) == (code, False)


ECHOES = {
    "plain": str,
    "upper": str.upper,
    "quoted": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "twice": lambda text: quote(quote(text, safe=""), safe=""),
    "html": html.escape,
    "a part": lambda text: text[3:14],
    "spaced": lambda text: f"  {text}  ",
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("secret", ["correct horse battery", 'pa+ss/wörd%41<&">', "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"])
def test_what_the_server_repeats_is_not_shown(secret: str, echo: str) -> None:
    told = ECHOES[echo](secret)
    for text in (told, f"unknown token {told} of client", f"{'x' * 195}{told}"):
        assert redact_description(text, (secret,)) == ""
    assert redact_code(told, (secret,)) == "error"


def test_a_description_is_short_and_printable() -> None:
    shown = redact_description("AADSTS70008: expired\r\n\x1b[2J Trace: 1", SECRETS)
    assert shown == "AADSTS70008: expired [2J Trace: 1"
    assert len(redact_description("d" * 10_000, ())) == 200
    assert redact_description({"message": "no text"}, ()) == ""


@pytest.mark.parametrize("secret", ["x", "1234", "tok"])
def test_short_secrets_are_secrets(secret: str) -> None:
    assert redact_description(f"the code {secret} is wrong", (secret,)) == ""


def test_an_encoded_header_is_a_secret() -> None:
    encoded = base64.b64encode(b"client:secret").decode()
    assert redact_description(f"bad header Basic {encoded}", (encoded,)) == ""


def test_an_answer_does_not_show_itself() -> None:
    assert "correct horse" not in repr(answer({"access_token": "correct horse battery"}))


@given(documents)
def test_device_answers_without_codes(fields: dict[str, Any]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("error", "device_code")}
    with pytest.raises(TokenRefreshError) as caught:
        parse_device_authorization(answer(fields))
    assert caught.value.reason == "no device_code"


def test_the_interval_of_a_device_answer() -> None:
    fields = {"device_code": "d", "user_code": "WXYZ", "verification_url": "https://e.test/", "expires_in": "600"}
    for given_interval, interval in (
        (..., 5),
        (None, 5),
        (0, 5),
        (-1, 5),
        ("7", 5),
        (1e9, 5),
        (math.nan, 5),
        (2, 2),
        (0.5, 0.5),
    ):
        more = {} if given_interval is ... else {"interval": given_interval}
        assert parse_device_authorization(answer({**fields, **more})).interval == interval
