"""Streamed bodies that break off go on in every shell: byte for byte the same, and only where that is proved.

What belongs to one library is in tests/shells/requests/test_resume.py and tests/shells/httpx/test_resume.py.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.core.report import BodyBreak
from tests.support.cutting_server import DATE, OLD, CuttingServer, Entity, Seen, serve
from tests.support.resuming_clients import CLIENTS, RequestsClient, ResumingClient, retrying

PLAIN = bytes(range(97, 123)) + b"\n" + bytes(range(48, 58)) + b"\n"
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
}
BREAKS = [(framing, deed) for framing in ("length", "chunked", "close") for deed in ("close", "reset")]
BREAKS.remove(("close", "close"))  # such an end is the end of the body
Kind = type[ResumingClient]


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.kind)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def entity(coding: str = "", **settings: Any) -> Entity:
    return Entity(CODINGS[coding](PLAIN), coding, **settings)


# What comes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("framing", "deed"), BREAKS)
@pytest.mark.parametrize("coding", CODINGS)
def test_every_position(kind: Kind, coding: str, framing: str, deed: str) -> None:
    readers = list(kind.readers)
    with kind() as client, serve(entity(coding), framing=framing, deed=deed, chunk=5) as server:
        end = len(server.entity.wire) + (framing != "length")
        for cut in range(0, end, 1 if deed == "close" else 7):
            server.seen.clear()
            server.cuts = [cut]
            read = client.read(server.url, reader=readers[cut % len(readers)])
            assert (read.body, read.error) == (PLAIN, None), cut
            first = cut if framing == "length" else cut - 1  # where the end is not known, the last byte is asked for
            assert [seen.headers.get("range") for seen in server.seen] == [None, f"bytes={first}-" if cut else None]
            assert server.seen[1].headers.get("if-range") == ('"one"' if cut else None)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("reader", RequestsClient.readers)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_every_way_of_reading(kind: Kind, coding: str, reader: str, framing: str) -> None:
    cuts = [11, 4 + (framing == "chunked"), 1, 7]  # where the end is not known, one byte is asked for once more
    with kind() as client, serve(entity(coding), cuts=cuts, framing=framing) as server:
        read = client.read(server.url, reader=reader)
        assert read.body == PLAIN
        assert read.report.breaks == [BodyBreak(at, "truncated body") for at in (11, 15, 16, 23)]
        assert [attempt.status for attempt in read.report.attempts] == [200, 206, 206, 206, 206]


# What is proved -------------------------------------------------------------------------------------------------------

ANOTHER_RANGE = "the server sent another range than it was asked for"
UNPROVED: dict[str | int, str] = {
    "changed": "the entity has changed",
    "changed part": "the entity has changed",
    "mute part": "the server did not say that it is the same entity",
    "other range": ANOTHER_RANGE,
    "no range": ANOTHER_RANGE,
    "multipart": ANOTHER_RANGE,
    "long": ANOTHER_RANGE,
    403: "the server answered 403 to the request for the rest",
    412: "the entity has changed (412)",
    416: "the server answered 416 to the request for the rest",
}


@pytest.mark.parametrize(
    ("rest", "framing"),
    [(rest, "length") for rest in UNPROVED] + [(rest, "chunked") for rest in UNPROVED if rest != "long"],
)
def test_what_is_not_proved_to_be_the_rest_is_not_used(kind: Kind, rest: str | int, framing: str) -> None:
    with kind() as client, serve(entity(), cuts=[10], rest=rest, framing=framing) as server:
        read = client.read(server.url, reader="single")
        assert type(read.error) is kind.broken
        assert read.body == PLAIN[: len(read.body)]
        assert f"polvo: the body does not go on: {UNPROVED[rest]}" in read.notes
        assert len(server.seen) == 2


def test_a_body_that_is_to_be_longer_than_it_is_ends_with_an_error(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[10], rest="long", framing="chunked") as server:
        assert client.read(server.url).error is not None
        assert len(server.seen) < 6


def test_the_error_of_the_break_is_that_without_resume(kind: Kind) -> None:
    for reader in kind.readers:
        errors = []
        for resume in (True, False):
            with kind(resume=resume) as client, serve(entity(), cuts=[10], rest=403) as server:
                read = client.read(server.url, reader=reader)
                errors.append((type(read.error), str(read.error)))
        assert errors[0] == errors[1]


def test_an_encoding_is_the_same_in_all_parts(kind: Kind) -> None:
    with kind() as client, serve(entity("gzip"), cuts=[10], rest="plain part") as server:
        assert type(client.read(server.url).error) is kind.broken


@pytest.mark.parametrize(
    "settings",
    [
        {"etag": 'W/"one"'},
        {"etag": 'W/"one"', "modified": OLD},
        {"etag": None},
        {"etag": None, "modified": DATE},
        {"etag": None, "modified": DATE - 59},
        {"etag": None, "modified": OLD, "date": None},
        {"accept_ranges": "none"},
    ],
)
def test_without_a_strong_validator_nothing_is_asked_for(kind: Kind, settings: dict[str, Any]) -> None:
    with kind() as client, serve(entity(**settings), cuts=[10]) as server:
        read = client.read(server.url)
        assert type(read.error) is kind.broken
        assert len(read.notes) == 1
        assert len(server.seen) == 1


def test_a_date_proves_as_well(kind: Kind) -> None:
    with kind() as client, serve(entity(etag=None, modified=DATE - 60), cuts=[10, 3]) as server:
        assert client.read(server.url).body == PLAIN
        assert server.seen[1].headers["if-range"] == "Tue, 14 Nov 2023 22:12:20 GMT"


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_server_without_ranges_sends_the_whole_again_and_the_beginning_is_skipped(
    kind: Kind, coding: str, framing: str
) -> None:
    with kind() as client, serve(entity(coding), cuts=[10, 20, 5, 30], rest="whole", framing=framing) as server:
        assert client.read(server.url).body == PLAIN
        assert len(server.seen) == 5


def test_a_server_may_send_less_than_it_was_asked_for(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[len(PLAIN) - 3], rest="short") as server:
        assert client.read(server.url).body == PLAIN
        assert len(server.seen) == 4


@pytest.mark.parametrize("asked", ["bytes=5-20", "bytes=5-5", "bytes=5-"])
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_the_range_of_the_caller_is_kept(kind: Kind, asked: str, coding: str) -> None:
    with kind() as client, serve(entity()) as server:
        wire = server.entity.wire
        first, last = 5, int(asked.partition("-")[2] or len(wire) - 1)
        for cut in range(0, last - first + 1, 3):
            server.seen.clear()
            server.cuts = [cut, 0, None]
            read = client.read(server.url, headers={"Range": asked})
            assert (read.status, read.body) == (206, wire[first : last + 1])
            end = "" if last == len(wire) - 1 else last
            assert server.seen[-1].headers["range"] == f"bytes={first + cut}-{end}"


def test_several_ranges_are_left_alone(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[10], rest="multipart") as server:
        read = client.read(server.url, headers={"Range": "bytes=1-30"})
        assert type(read.error) is kind.broken
        assert "several ranges" in read.notes[0]
        assert len(server.seen) == 1


def test_conditions_of_the_caller_are_not_sent_with_the_rest(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[9]) as server:
        headers = {"If-None-Match": '"zero"', "If-Modified-Since": "Tue, 14 Nov 2000 22:12:20 GMT", "X-Other": "kept"}
        assert client.read(server.url, headers=headers).body == PLAIN
        sent = server.seen[1].headers
        assert {"if-none-match", "if-modified-since"}.isdisjoint(sent)
        assert sent["x-other"] == "kept"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_left_alone(kind: Kind, method: str) -> None:
    with kind() as client, serve(entity(), cuts=[10]) as server:
        assert type(client.read(server.url, method).error) is kind.broken
        assert len(server.seen) == 1


def test_a_head_has_no_body_to_go_on(kind: Kind) -> None:
    with kind() as client, serve(entity()) as server:
        read = client.read(server.url, "HEAD")
        assert (read.status, read.body, read.error, len(server.seen)) == (200, b"", None, 1)


# Within the rules of retries ------------------------------------------------------------------------------------------


def test_attempts_count_anew_after_each_byte(kind: Kind) -> None:
    with (
        kind() as client,
        serve(entity(), cuts=[1, 0, 1, 0, 1, 0, 1]) as server,
    ):  # of three in a row, one brings a byte
        assert client.read(server.url).body == PLAIN
        assert len(server.seen) == 8


def test_attempts_that_bring_nothing_end_it(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[10, 0, 0, 0, 0]) as server:
        read = client.read(server.url)
        assert type(read.error) is kind.broken
        assert read.notes == ["polvo: the body does not go on: gave up after 3 attempts"]
        assert len(server.seen) == 3


def test_the_budget_bounds_it(kind: Kind) -> None:
    budget = polvo.retry.RetryBudget(trust=0, reserve=3, ratio=0)
    with kind(retry=retrying(budget=budget)) as client, serve(entity(), cuts=[1] * 30) as server:
        assert client.read(server.url).notes == ["polvo: the body does not go on: the retry budget is used up"]
        assert len(server.seen) == 4


def test_without_retries_there_is_nothing_to_go_on_by(kind: Kind) -> None:
    with kind(retry=False) as client, serve(entity(), cuts=[10]) as server:
        assert type(client.read(server.url).error) is kind.broken
        assert len(server.seen) == 1


def test_it_is_off_unless_it_is_asked_for(kind: Kind) -> None:
    with kind(resume=None) as client, serve(entity(), cuts=[10, None, 10]) as server:
        assert type(client.read(server.url).error) is kind.broken
        assert len(server.seen) == 1
        server.seen.clear()
        with polvo.call(resume=True):
            assert client.read(server.url).body == PLAIN


def test_a_call_can_do_without(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[10]) as server, polvo.call(resume=False):
        assert type(client.read(server.url).error) is kind.broken
        assert len(server.seen) == 1


@pytest.mark.parametrize(("timeout", "deeds"), [(0.1, {}), (5, {}), (5, {0: "close"})])
def test_the_deadline_of_the_call_holds_for_the_rest(kind: Kind, timeout: float, deeds: dict[int, str]) -> None:
    with kind(deadline=0.3, timeout=timeout) as client, serve(entity(), cuts=[1] * 30, deed="hang") as server:
        server.deeds = deeds
        began = time.monotonic()
        assert isinstance(client.read(server.url).error, polvo.DeadlineExceeded)
        assert 0.25 < time.monotonic() - began < 2.5  # of 3 or more


@pytest.mark.parametrize("rest", ["part", "whole"])
def test_the_deadline_holds_for_a_rest_that_drips(kind: Kind, rest: str) -> None:
    with kind(deadline=0.3, timeout=5) as client, serve(entity(), cuts=[2, 2, None], rest=rest, pause=0.1) as server:
        server.chunk = 1
        began = time.monotonic()
        assert isinstance(client.read(server.url).error, polvo.DeadlineExceeded)
        assert 0.25 < time.monotonic() - began < 2.5  # of 3.4


def test_the_deadline_holds_while_the_beginning_is_skipped(kind: Kind) -> None:
    with kind(deadline=0.2, timeout=5) as client, serve(entity(), cuts=[20, 10], rest="whole", deed="hang") as server:
        server.deeds = {0: "close"}
        began = time.monotonic()
        assert isinstance(client.read(server.url).error, polvo.DeadlineExceeded)
        assert time.monotonic() - began < 3


def test_a_silent_server_is_given_up_and_asked_again(kind: Kind) -> None:
    with kind(timeout=0.1) as client, serve(entity(), cuts=[10, 5], deed="hang") as server:
        read = client.read(server.url)
        assert read.body == PLAIN
        assert {each.failure for each in read.report.breaks} == {"read timeout"}


def test_every_policy_of_attempts_is_passed_and_no_slot_is_held(kind: Kind) -> None:
    told: list[Any] = []
    options = {
        "retry": retrying(listeners=(told.append,)),
        "bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5},
        "circuit_breaker": {"failure_threshold": 3},
        "rate_limit": polvo.ratelimit.TokenBucket(rate=1000, capacity=1000),
        "hedge": 5.0,
    }
    with kind(**options) as client, serve(entity(), cuts=[10, 5]) as server:
        for _ in range(2):
            server.seen.clear()
            assert client.read(server.url).body == PLAIN
        assert [each.attempt for each in told] == [2, 2, 2, 2]
        assert {each.failure for each in told} == {"truncated body"}


def test_an_open_circuit_ends_it(kind: Kind) -> None:
    with kind(circuit_breaker={"failure_threshold": 1}) as client, serve(entity(), cuts=[10]) as server:
        assert type(client.read(server.url).error) is kind.broken
        assert len(server.seen) == 1


def test_it_is_said_as_retries_are(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    with kind() as client, serve(entity(), cuts=[10]) as server, caplog.at_level(logging.WARNING):
        read = client.read(server.url)
    assert [record.polvo_event for record in caplog.records] == ["retry"]  # type: ignore[attr-defined]
    assert "truncated body; attempt 2 of 3" in caplog.text
    assert "the body broke off after 10 bytes (truncated body)" in str(read.report)


# Connections and ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_connections_are_used_again(kind: Kind, framing: str) -> None:
    with kind() as client, serve(entity(), cuts=[10], framing=framing) as server:
        for _ in range(4):
            assert client.read(server.url).body == PLAIN
        is_left = kind is RequestsClient and framing == "chunked"  # what follows the last chunk of the rest
        assert server.accepted == 2 + is_left


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_body_that_is_not_read_to_its_end_gives_everything_back(kind: Kind, taken: int) -> None:
    options = {"bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5}, "circuit_breaker": True}
    with kind(**options) as client, serve(entity(), cuts=[10, None, 10, None]) as server:
        client.read_some(server.url, taken)
        server.seen.clear()
        assert client.read(server.url).body == PLAIN


# Where the rest comes from --------------------------------------------------------------------------------------------


def test_a_region_that_brought_the_body_brings_the_rest(kind: Kind) -> None:
    with serve(entity(), cuts=[10, 5]) as server, serve(entity()) as other:
        base, spare = (each.url.rpartition("/")[0] for each in (server, other))
        with kind(regions=[base, spare]) as client:
            assert client.read(server.url).body == PLAIN
        assert (len(server.seen), len(other.seen)) == (3, 0)


@pytest.mark.parametrize("mode", ["fallback", "race"])
def test_the_rest_comes_from_a_region_also_where_the_host_is_but_a_name(kind: Kind, mode: str) -> None:
    with serve(entity(), cuts=[10, 5]) as server:
        regions = {"urls": [server.url.rpartition("/")[0]], "mode": mode}
        with kind(regions=regions) as client:
            assert client.read("http://named.test/file.bin", headers={"X-API-Key": "k"}).body == PLAIN
        assert [seen.headers.get("x-api-key") for seen in server.seen] == ["k"] * 3


def test_the_rest_comes_from_the_fallback_without_credentials(kind: Kind) -> None:
    with serve(entity(), cuts=[10, 5]) as server, polvo.testing.FailureServer() as first:
        fallback, url = server.url.rpartition("/")[0], f"{first.url}/file.bin"
        first.stop()
        with kind(fallback=fallback, retry=retrying(max_attempts=2)) as client:
            assert client.read(url, headers={"Authorization": "Bearer s3cret"}).body == PLAIN
        assert len(server.seen) == 3
        assert "s3cret" not in repr(server.seen)


# Credentials ----------------------------------------------------------------------------------------------------------


class Guarded(CuttingServer):
    """A server that takes another token after its first answer."""

    later = "new"

    def answer(self, connection: Any, seen: Seen, number: int) -> bool:
        good = self.later if number else "old"
        if seen.headers.get("authorization") != f"Bearer {good}":
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer\r\n\r\n")
            return True
        return super().answer(connection, seen, number)


def auth_for(kind: Kind, auth: Any) -> Any:
    return auth.httpx() if kind.kind == "httpx, sync" else auth


def test_a_credential_that_has_expired_meanwhile_is_replaced(kind: Kind) -> None:
    tokens = iter(("old", "new"))
    server = Guarded(entity(), cuts=[10, None, None, 5])
    try:
        auth = auth_for(kind, polvo.auth.bearer(polvo.Secret(lambda: next(tokens))))
        with kind(bulkhead={"max_concurrency": 1, "acquisition_timeout": 0.5}, deadline=5) as client:
            read = client.read(server.url, auth=auth)
            assert read.body == PLAIN
            sent = [seen.headers["authorization"][7:] for seen in server.seen]
            assert [token for token, before in zip(sent, ["", *sent], strict=False) if token != before] == [
                "old",
                "new",
            ]
            assert sent[:2] == ["old", "old"]
            assert [attempt.status for attempt in read.report.attempts][:3] == [200, 401, 206]
    finally:
        server.close()


def test_a_credential_that_stays_refused_ends_it(kind: Kind) -> None:
    server = Guarded(entity(), cuts=[10])
    try:
        with kind() as client:
            read = client.read(server.url, auth=auth_for(kind, polvo.auth.bearer("old")))
            assert type(read.error) is kind.broken
            assert "401" in read.notes[0]
    finally:
        server.close()


class Stamp:
    """Signs the names of the headers that a request has, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, request: Any) -> Any:
        self.count += 1
        names = {name.lower() for name in request.headers} & {"range", "if-range"}
        request.headers["X-Signature"] = f"{self.count}:{','.join(sorted(names))}"
        return request


def test_the_rest_is_signed_anew(kind: Kind) -> None:
    with kind() as client, serve(entity(), cuts=[10, 5]) as server:
        assert client.read(server.url, auth=auth_for(kind, polvo.auth.signed(Stamp()))).body == PLAIN
        sent = [seen.headers["x-signature"] for seen in server.seen]
        assert [signature.partition(":")[2] for signature in sent] == ["", "if-range,range", "if-range,range"]
        assert len(set(sent)) == 3
