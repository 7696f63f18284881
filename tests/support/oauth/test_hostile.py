"""The hostile token endpoint: each behaviour is what its name says."""

from __future__ import annotations

import base64

import pytest
import requests

from tests.support.oauth.hostile import BEHAVIOURS, TOKEN

NO_ANSWER = {"hang", "hang-in-body", "drip", "drip-headers"}
BROKEN = dict.fromkeys(("close", "reset", "no-http", "huge-header", "many-headers"), requests.ConnectionError)
BROKEN |= {
    "gzip-broken": requests.exceptions.ContentDecodingError,
    "length-too-long": requests.exceptions.ChunkedEncodingError,
}
BROKEN |= {"redirect-bad": ValueError}  # requests reads the address even where it is not to follow it


def tell(hostile, behaviour, **keywords):
    fields = {"grant_type": "client_credentials", "client_secret": "the-secret"}
    keywords = {"timeout": 10, "allow_redirects": False, **keywords}
    return requests.post(hostile.url(behaviour), data=fields, auth=("name", "the-password"), **keywords)


def test_every_behaviour_answers_or_breaks_off(hostile):
    quick = sorted(set(BEHAVIOURS) - NO_ANSWER - {"huge", "gzip-bomb"})
    for behaviour in quick:
        if behaviour in BROKEN:
            with pytest.raises(BROKEN[behaviour]):
                tell(hostile, behaviour)
        else:
            assert tell(hostile, behaviour).status_code >= 200, behaviour
    assert [seen.path for seen in hostile.requests_seen] == [f"/{behaviour}" for behaviour in quick]
    assert hostile.requests_seen[0].form["client_secret"] == "the-secret"
    assert hostile.seen_elsewhere == []
    hostile.clear()
    assert hostile.requests_seen == []


@pytest.mark.parametrize("behaviour", sorted(NO_ANSWER))
def test_hanging_ends_with_the_server(hostile, behaviour):
    with pytest.raises(requests.RequestException, match="timed out"):
        tell(hostile, behaviour, timeout=0.2)


@pytest.mark.parametrize("behaviour", ["huge", "gzip-bomb"])
def test_endless_bodies_end(hostile, behaviour):
    with tell(hostile, behaviour, stream=True) as response:
        assert sum(map(len, response.iter_content(1 << 20))) >= 200 * 1000 * 1000
    with tell(hostile, behaviour, stream=True) as response:
        assert next(response.iter_content(1000))


def test_redirect_that_is_followed_shows_what_was_sent(hostile):
    assert tell(hostile, "redirect-307", allow_redirects=True).json()["access_token"] == TOKEN
    (seen,) = hostile.seen_elsewhere
    assert (seen.method, seen.form["client_secret"]) == ("POST", "the-secret")


@pytest.mark.parametrize("behaviour", ["error-echo", "error-echo-200", "error-echo-401", "error-echo-html"])
def test_echo_tells_secrets_in_every_form(hostile, behaviour):
    text = tell(hostile, behaviour).text
    for secret in ("the-secret", "the-password", base64.b64encode(b"name:the-password").decode()):
        assert secret in text


def test_echo_in_the_reason(hostile):
    assert "the-secret" in tell(hostile, "error-echo-reason").reason
