"""The tree of errors: what each one is, that it pickles, and that it tells no secret."""

from __future__ import annotations

import inspect
import pickle
import re

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
