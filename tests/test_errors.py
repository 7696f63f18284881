"""The tree of errors: what each one is, that it pickles, and that it tells no secret."""

from __future__ import annotations

import inspect
import pickle
import re

import httpx
import pytest
import requests

from polvo_adapters import errors
from polvo_adapters.errors import PolvoError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PolvoError)]


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    """Every class stands in the drawing, below its base, with the class of `requests` that it names."""
    path: list[type[PolvoError]] = []
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([│├└─ ]*)(\w+Error|\w*DeadlineExceeded)(?:\s+|$)(.*)", line)
        if match is None:
            continue
        depth, kind = len(match[1]) // 4, getattr(errors, match[2])
        path[depth:] = [kind]
        drawn.append(kind)
        assert kind is PolvoError or issubclass(kind, path[depth - 1]), line
        for name in re.findall(r"\+ (\w+(?:\.\w+)*)|, (requests\.\w+)", match[3]):
            base = eval(name[0] or name[1], {"requests": requests, **vars(errors)})
            assert issubclass(kind, base), line
    assert set(drawn) == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_with_its_data_and_without_its_request(kind: type[PolvoError]) -> None:
    request = requests.Request("PUT", "https://api.example.com/", headers={"Authorization": "Bearer s3cret"}).prepare()
    request.body = (part for part in (b"one", b"shot"))
    response = requests.Response()
    response.status_code, response._content, response.request = 503, b"{}", request
    error = kind(
        "what happened",
        request=request,
        response=response,
        host="api.example.com",
        attempts=3,
        retry_after=1.5,
        reason="invalid_grant",
    )
    dumped = pickle.dumps(error)
    copy = pickle.loads(dumped)
    assert b"s3cret" not in dumped
    assert type(copy) is kind
    assert (copy.args, copy.host, copy.attempts) == (error.args, "api.example.com", 3)
    assert (copy.retry_after, copy.reason, copy.response.status_code) == (1.5, "invalid_grant", 503)
    assert (copy.request, copy.response.request) == (None, None)
    assert response.request is request


def test_an_error_says_where_and_how_often() -> None:
    assert str(PolvoError("it broke", host="api.example.com", attempts=3)) == "api.example.com: it broke (3 attempts)"
    assert str(PolvoError("GET api.example.com: it broke", host="api.example.com", attempts=1)) == (
        "GET api.example.com: it broke"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (402, errors.StatusError),
        (403, errors.AuthorizationError),
        (404, errors.NotFoundError),
        (408, errors.ServerTimeoutError),
        (409, errors.ConflictError),
        (418, errors.StatusError),
        (422, errors.InvalidRequestError),
        (429, errors.RateLimitError),
        (500, errors.ServerError),
        (502, errors.ServiceUnavailableError),
        (503, errors.ServiceUnavailableError),
        (504, errors.ServerTimeoutError),
        (599, errors.ServerError),
    ],
)
def test_statuses_have_a_class(status: int, kind: type[PolvoError]) -> None:
    assert errors.error_for_status(status) is kind


def test_a_pickled_error_keeps_of_redirects_only_how_they_went() -> None:
    def answer(status: int, url: str, history: list[requests.Response]) -> requests.Response:
        request = requests.Request("POST", url, headers={"Authorization": "s3cret", "X": "s3cret"}, data="s3cret")
        response = requests.Response()
        response.request, response.url, response.status_code = request.prepare(), url, status
        response.headers.update(
            {"Location": url, "Set-Cookie": "a=s3cret", "X-Auth-Token": "s3cret", "Retry-After": "7"}
        )
        response.cookies.set("a", "s3cret")
        response._content, response.history = b"body", history
        return response

    first = answer(307, "http://u:s3cret@a.test/a?key=s3cret#s3cret", [])
    second = answer(302, "http://a.test/b", [])
    second.history = [second]  # as requests has it
    error = errors.NotFoundError("gone", response=answer(404, "http://a.test/c", [first, second]))
    error.__cause__ = error.__context__ = requests.ConnectionError("s3cret", request=first.request)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        dumped = pickle.dumps(error, protocol)
        assert b"s3cret" not in dumped
        back = pickle.loads(dumped).response
        assert (back.status_code, back.text, back.url, back.request) == (404, "body", "http://a.test/c", None)
        assert [each.url for each in back.history] == ["http://a.test/a", "http://a.test/b"]
        assert [each.status_code for each in back.history] == [307, 302]
        assert [each.is_redirect for each in back.history] == [True, True]
        assert [(each.request.method, each.request.body, len(each.request.headers)) for each in back.history] == [
            ("POST", None, 0)
        ] * 2
        assert dict(back.headers) == {"Location": "http://a.test/c", "Retry-After": "7"}
    assert first.request.headers["X"] == "s3cret"


def test_a_pickled_error_with_a_response_of_httpx() -> None:
    request = httpx.Request("POST", "http://u:s3cret@a.test/?key=s3cret", headers={"X": "s3cret"}, content=b"s3cret")
    before = httpx.Response(307, headers={"Location": "/b?s3cret"}, request=request)
    response = httpx.Response(404, headers={"Set-Cookie": "s3cret"}, text="body", request=request, history=[before])
    response.next_request = request
    assert response.cookies is not None
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        dumped = pickle.dumps(errors.NotFoundError("gone", request=None, response=response), protocol)  # type: ignore[arg-type]
        assert b"s3cret" not in dumped
        back = pickle.loads(dumped).response
        assert (back.status_code, back.text, [each.status_code for each in back.history]) == (404, "body", [307])
    assert response.request is request
