"""Bodies of requests that go on where they broke off: what tests/shells/test_resume.py does not try with all shells."""

from __future__ import annotations

import gc
import gzip
import threading
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3

import polvo_adapters as polvo
from polvo_adapters.core.report import BodyBreak
from polvo_adapters.policies.resume import Resume
from polvo_adapters.policies.retry import ExponentialBackoff
from tests.support.alarms import WaitingAlarm, ringing
from tests.support.cutting_server import CuttingServer, Entity, serve

PLAIN = bytes(range(97, 123)) + b"\n" + bytes(range(48, 58))
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "gzip of two members": lambda data: gzip.compress(data[:9], mtime=0) + gzip.compress(data[9:], mtime=0),
}


def read_all(response: requests.Response, size: int) -> bytes:
    return b"".join(iter(lambda: response.raw.read(size, decode_content=True), b""))


READERS: dict[str, Callable[[requests.Response], bytes]] = {
    "content": lambda response: response.content,
    "iter_content(1)": lambda response: b"".join(response.iter_content(1)),
    "iter_content(5)": lambda response: b"".join(response.iter_content(5)),
    "iter_content(None)": lambda response: b"".join(response.iter_content(None)),
    "iter_lines": lambda response: b"\n".join(response.iter_lines(chunk_size=3)),
    "raw.read(4)": lambda response: read_all(response, 4),
    "raw.read()": lambda response: response.raw.read(decode_content=True),
    "raw.stream": lambda response: b"".join(response.raw.stream(6, decode_content=True)),
    "text": lambda response: "".join(response.iter_content(5, decode_unicode=True)).encode(),  # type: ignore[arg-type]
}
if hasattr(urllib3.HTTPResponse, "read1"):
    READERS["raw.read1"] = lambda response: b"".join(
        iter(lambda: response.raw.read1(4, decode_content=True), b"")  # type: ignore[union-attr]
    )


def retrying(**settings: Any) -> ExponentialBackoff:
    return ExponentialBackoff(**{"base": 0, "cap": 0, "budget": None, **settings})


def mounted(**options: Any) -> requests.Session:
    session = requests.Session()
    options = {"retry": retrying(), "resume": True, "timeout": 2, **options}
    session.mount("http://", polvo.ResilientAdapter(**options))
    return session


def entity(coding: str = "", **settings: Any) -> Entity:
    return Entity(CODINGS[coding](PLAIN), coding.partition(" ")[0] if coding else "", **settings)


def notes_of(error: Any) -> list[str]:
    """Return the notes on the error of urllib3, which `requests` makes its own of, besides that of the break itself."""
    return [note for note in error.args[0].__notes__ if not note.startswith("polvo: GET ")]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with mounted() as session:
        yield session


BREAKS = [("length", "close"), ("chunked", "reset"), ("close", "reset")]


@pytest.mark.parametrize(("framing", "deed"), BREAKS)
@pytest.mark.parametrize("coding", CODINGS)
def test_every_position(session: requests.Session, coding: str, framing: str, deed: str) -> None:
    readers = list(READERS.values())
    with serve(entity(coding), framing=framing, deed=deed, chunk=5) as server:
        end = len(server.entity.wire) + (framing != "length")
        for cut in range(0, end, 1 if deed == "close" else 5):
            server.seen.clear()
            server.cuts = [cut]
            response = session.get(server.url, stream=True)
            if (response.encoding) is None:
                response.encoding = "latin-1"
            assert readers[cut % len(readers)](response) == PLAIN, cut
            first = cut if framing == "length" else cut - 1  # where the end is not known, the last byte is asked for
            assert [seen.headers.get("range") for seen in server.seen] == [None, f"bytes={first}-" if cut else None]
            assert server.seen[1].headers.get("if-range") == ('"one"' if cut else None)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_every_way_of_reading(session: requests.Session, coding: str, reader: str, framing: str) -> None:
    cuts = [11, 4 + (framing == "chunked"), 1, 7]  # where the end is not known, one byte is asked for once more
    with serve(entity(coding), cuts=cuts, framing=framing) as server:
        response = session.get(server.url, stream=True)
        response.encoding = "latin-1"
        assert READERS[reader](response) == PLAIN
        assert response.polvo.breaks == [BodyBreak(at, "truncated body") for at in (11, 15, 16, 23)]  # type: ignore[attr-defined]
        assert [attempt.status for attempt in response.polvo.attempts] == [200, 206, 206, 206, 206]  # type: ignore[attr-defined]


def test_chunks_arrive_as_the_server_makes_them(session: requests.Session) -> None:
    with serve(entity(), framing="chunked", chunk=5) as server:
        bare = list(requests.get(server.url, stream=True).iter_content(None))
        assert list(session.get(server.url, stream=True).iter_content(None)) == bare


def test_the_error_of_the_break_is_that_of_bare_requests(session: requests.Session) -> None:
    for reader in READERS.values():
        errors = []
        for each in (requests.Session(), session):
            with serve(entity(), cuts=[10], rest=403) as server:
                response = each.get(server.url, stream=True)
                response.encoding = "latin-1"
                with pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)) as caught:
                    reader(response)
                errors.append((type(caught.value), str(caught.value)))
        assert errors[0] == errors[1]


# Within the rules of retries ------------------------------------------------------------------------------------------


def test_a_retry_of_urllib3_is_asked() -> None:
    for total, statuses in ((2, 2), (0, 1)):
        retry = urllib3.Retry(total, backoff_factor=0)
        with mounted(retry=retry) as session, serve(entity(), cuts=[10]) as server:
            response = session.get(server.url, stream=True)
            if total:
                assert response.content == PLAIN
            else:
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    response.content  # noqa: B018
            assert len(server.seen) == statuses


# Connections and ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 5, 15])
@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_body_that_is_not_read_to_its_end_gives_everything_back(taken: int, how: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # what is collected below is to be of this test alone
    options = {"bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5}, "circuit_breaker": True}
    with mounted(**options) as session, serve(entity(), cuts=[10, None, 10, None]) as server:
        response: Any = session.get(server.url, stream=True)
        pieces = response.iter_content(5)
        for _ in range(taken // 5):
            next(pieces)
        if how == "close":
            response.close()
        del response, pieces
        gc.collect()
        server.seen.clear()
        assert session.get(server.url, stream=True).content == PLAIN


def test_nothing_is_left_to_the_garbage_collector(session: requests.Session) -> None:
    with serve(entity(), cuts=[10, 3]) as server:
        gc.disable()
        try:
            response: Any = session.get(server.url, stream=True)
            assert response.content == PLAIN
            alive = weakref.ref(response.raw)
            del response
            assert alive() is None
        finally:
            gc.enable()


def test_what_the_callers_signal_handler_raises_is_no_break(session: requests.Session) -> None:
    alarm = WaitingAlarm()

    def interrupt(_: int, frame: Any) -> None:
        if alarm.is_waiting(frame):
            raise TimeoutError("of the caller")

    with serve(entity(), cuts=[10], deed="hang") as server:
        response = session.get(server.url, stream=True)
        with pytest.raises((TimeoutError, requests.RequestException)), ringing(interrupt):
            response.content  # noqa: B018
        assert len(server.seen) == 1


def test_another_thread_may_read_it(session: requests.Session) -> None:
    with serve(entity(), cuts=[10, 3]) as server:
        response, got = session.get(server.url, stream=True), []
        thread = threading.Thread(target=lambda: got.append(response.content))
        thread.start()
        thread.join(5)
        assert got == [PLAIN]


# Ways to ask for it ---------------------------------------------------------------------------------------------------


def ask(how: str, server: CuttingServer) -> bytes:
    if how == "call":
        with mounted(resume=None) as session, polvo.call(resume=True):
            return session.get(server.url, stream=True).content
    if how == "verb":
        return polvo.get(server.url, stream=True, resume=True).content
    with (
        requests.Session() if how in ("install", "policy") else polvo.Session(retry=retrying(), resume=True) as session
    ):
        if how == "install":
            polvo.install(session, retry=retrying(), resume=True)
        if how == "policy":
            session.mount("http://", polvo.PolicyAdapter(Resume(), retrying()))
        keywords = {} if how == "session" else {"resume": True} if how == "keyword" else {}
        return session.get(server.url, stream=True, **keywords).content


@pytest.mark.parametrize("how", ["verb", "session", "keyword", "install", "policy", "call"])
def test_it_can_be_asked_for_in_several_ways(how: str) -> None:
    with serve(entity(), cuts=[10]) as server:
        assert ask(how, server) == PLAIN


def test_a_body_that_is_read_in_the_attempt_is_repeated_whole(session: requests.Session) -> None:
    with serve(entity(), cuts=[10]) as server:
        assert session.get(server.url).content == PLAIN
        assert [seen.headers.get("range") for seen in server.seen] == [None, None]


def test_a_body_that_hooks_see_first_goes_on(session: requests.Session) -> None:
    with serve(entity(), cuts=[10]) as server:
        seen: list[int] = []
        hook = lambda response, **_: seen.append(response.status_code)  # noqa: E731
        assert session.get(server.url, hooks={"response": hook}).content == PLAIN
        assert seen == [200]


def test_a_policy_of_an_adapter_below_is_enough() -> None:
    inner = polvo.ResilientAdapter(retry=retrying(), resume=True)
    with requests.Session() as session, serve(entity(), cuts=[10]) as server:
        session.mount("http://", polvo.PolicyAdapter(polvo.deadline.Deadline(5), inner=inner))
        assert session.get(server.url, stream=True).content == PLAIN


def test_the_rest_comes_from_the_fallback_without_credentials() -> None:
    with serve(entity(), cuts=[10, 5]) as server, polvo.testing.FailureServer() as first:
        fallback = server.url.rpartition("/")[0]
        url = f"{first.url}/file.bin?page=s3cret"
        first.stop()
        with mounted(fallback=fallback, retry=retrying(max_attempts=2)) as session:
            response = session.get(url.partition("?")[0], stream=True, auth=polvo.auth.api_key("s3cret", query="page"))
            assert response.content == PLAIN
        assert len(server.seen) == 3
        assert "s3cret" not in repr(server.seen)
