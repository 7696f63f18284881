"""Response hooks see what they see under bare requests: the response before its body is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

import polvo_adapters as polvo
import polvo_adapters.requests as drop_in
from polvo_adapters.testing import FailureServer

FAST = {"base": 0.001}


def mounted(**keywords: Any) -> requests.Session:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(retry=FAST, **keywords))
    return session


SESSIONS: dict[str, Callable[[], requests.Session]] = {
    "bare": requests.Session,
    "mounted": mounted,
    "mounted, deadline": lambda: mounted(deadline=10),
    "mounted, bulkhead": lambda: mounted(bulkhead=1),
    "around another": lambda: mounted(inner=HTTPAdapter()),
    "installed": lambda: polvo.install(requests.Session(), retry=FAST),
    "drop-in": drop_in.Session,
    "polvo.Session": lambda: polvo.Session(retry=FAST),
}


class Looking:
    """A hook that notes what it sees of each response."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, response: requests.Response, **keywords: Any) -> None:
        peer = response.raw._fp.fp.raw  # the socket is below it: NTLM and Kerberos look at its certificate
        self.seen.append((response.status_code, response._content is False, peer is not None, sorted(keywords)))


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("path", ["/echo?size=100000", "/fault/status?code=404", "/fault/redirect?"])
def test_it_sees_what_it_sees_under_bare_requests(name: str, path: str, server: FailureServer) -> None:
    seen = {}
    for each in ("bare", name):
        hook = Looking()
        with SESSIONS[each]() as session:
            session.get(server.url + path + f"&key={each.replace(',', '').replace(' ', '-')}", hooks={"response": hook})
        seen[each] = hook.seen
    assert seen[name] == seen["bare"]
    assert all(entry[1] for entry in seen[name])


@pytest.mark.parametrize("name", SESSIONS)
def test_it_may_refuse_a_response_for_its_headers(name: str, server: FailureServer) -> None:
    class TooLarge(Exception):
        pass

    calls = []

    def refuse(response: requests.Response, **keywords: Any) -> None:
        calls.append(response._content)
        raise TooLarge

    with SESSIONS[name]() as session:
        with pytest.raises(TooLarge):
            session.get(server.url + "/echo?size=1000000", hooks={"response": refuse})
        assert calls == [False]


@pytest.mark.parametrize("error", [requests.ConnectionError, requests.Timeout, ConnectionResetError, TimeoutError])
@pytest.mark.parametrize("name", ["mounted", "polvo.Session"])
def test_what_it_raises_is_raised_and_not_retried(name: str, error: type[Exception], server: FailureServer) -> None:
    def fail(response: requests.Response, **keywords: Any) -> None:
        raise error("of the hook")

    with SESSIONS[name]() as session, pytest.raises(error, match="of the hook"):
        session.get(server.url + "/echo?size=10", hooks={"response": fail})
    assert server.counters["received"] == 1


def test_a_body_that_breaks_off_after_it_is_retried_by_a_session_of_ours(server: FailureServer) -> None:
    hook = Looking()
    with SESSIONS["polvo.Session"]() as session:
        response = session.get(server.url + "/fault/truncated?times=2", hooks={"response": hook})
    assert response.json()["method"] == "GET"
    assert [attempt.failure for attempt in response.polvo.attempts] == ["truncated body", "truncated body", ""]
    assert len(hook.seen) == 3
    assert all(unread for _, unread, *_ in hook.seen)


def test_a_body_that_breaks_off_after_it_is_raised_as_under_bare_requests_elsewhere(server: FailureServer) -> None:
    for name in ("bare", "mounted"):
        with SESSIONS[name]() as session, pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.get(f"{server.url}/fault/truncated?times=1&key={name}", hooks={"response": Looking()})
        assert server.counters_for(name)["received"] == 1


@pytest.mark.parametrize("name", SESSIONS)
def test_it_may_send_again_and_put_the_answer_in_place(name: str, server: FailureServer) -> None:
    def again(response: requests.Response, **keywords: Any) -> requests.Response:
        response.content  # noqa: B018 - reads it
        response.raw.release_conn()
        request = response.request.copy()
        request.headers["X-Again"] = "yes"
        second: requests.Response = response.connection.send(request, **keywords)
        second.history.append(response)
        return second

    with SESSIONS[name]() as session:
        response = session.get(server.url + "/echo", hooks={"response": again})
        assert response.json()["headers"]["x-again"] == "yes"
        assert len(response.history) == 1
    assert server.counters["received"] == 2
