"""The failure server, checked at the level of bytes: it is the ruler everything else is measured with."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

import polvo_adapters
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.server.faults import FAULTS
from polvo_adapters.testing.server.state import Quotas

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing ever takes that long unless it is broken."""

SILENCE = 0.1
"""Seconds of silence that are taken for lasting silence."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@pytest.fixture
def server():
    with FailureServer() as running:
        yield running


def ask(server, method, target, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())


def get(server, target, **headers):
    return ask(server, "GET", target, headers={name.replace("_", "-"): text for name, text in headers.items()})


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def head(target, method="GET", version="1.1", **headers):
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_to_end(client):
    """Return all bytes, and how the connection ended: by "eof" or by "reset"."""
    data = b""
    while True:
        try:
            piece = client.recv(65536)
        except ConnectionResetError:
            return data, "reset"
        if not piece:
            return data, "eof"
        data += piece


def converse(server, data):
    with connect(server) as client:
        client.sendall(data)
        return read_to_end(client)


def read_until(client, ending):
    data = b""
    while not data.endswith(ending):
        piece = client.recv(1)
        assert piece, data
        data += piece
    return data


def read_reply(client):
    """Read one reply and not a byte of the next, unlike http.client."""
    status_line, *lines = read_until(client, b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += client.recv(1)
    return Answer(int(status_line.split()[1]), headers, body)


def is_silent(client):
    client.settimeout(SILENCE)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def is_uuid4(text):
    return uuid.UUID(text).version == 4


class TestMessage:
    def test_gives_a_new_id_each_time(self, server):
        first, second = get(server, "/msg"), get(server, "/msg")
        assert first.status == second.status == 200
        assert list(first.json) == ["message_id"]
        assert is_uuid4(first.json["message_id"])
        assert first.json != second.json

    def test_every_reply_has_a_correlation_id_of_its_own(self, server):
        answers = [
            get(server, "/msg"),
            get(server, "/msg"),
            get(server, "/msg?delay=x"),
            get(server, "/nowhere"),
            get(server, "/health"),
            get(server, "/fail/status"),
            ask(server, "POST", "/msg"),
            ask(server, "POST", "/fail/count/1"),
            get(server, "/msg"),
        ]
        assert [answer.status for answer in answers] == [200, 200, 422, 404, 200, 200, 405, 200, 500]
        identities = {answer.headers["x-correlation-id"] for answer in answers}
        assert len(identities) == len(answers)
        assert all(map(is_uuid4, identities))

    def test_waits_for_the_delay(self, server):
        began = time.monotonic()
        assert get(server, "/msg?delay=60").status == 200
        assert time.monotonic() - began >= 0.06

    @pytest.mark.parametrize("delay", ["-1", "30001", "x", "", "1.5", "1_0", "9" * 5000])
    def test_refuses_a_wrong_delay_without_using_up_a_failure(self, server, delay):
        ask(server, "POST", "/fail/count/1")
        assert get(server, f"/msg?delay={delay}").status == 422
        assert get(server, "/fail/status").json["failure_status"]["fail_requests_count"] == 1

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
    def test_knows_only_get(self, server, method):
        answer = ask(server, method, "/msg")
        assert answer.status == 405
        assert answer.headers["allow"] == "GET"

    def test_unknown_path(self, server):
        answer = get(server, "/nowhere")
        assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


class TestInducedFailures:
    def test_a_count_fails_so_many_requests(self, server):
        answer = ask(server, "POST", "/fail/count/2")
        assert answer.status == 200
        assert answer.json["fail_requests_count"] == 2
        assert isinstance(answer.json["message"], str)
        assert [get(server, "/msg").status for _ in range(3)] == [500, 500, 200]

    def test_the_failure_reply(self, server):
        ask(server, "POST", "/fail/count/1")
        assert get(server, "/msg").json == {"detail": "Induced server failure"}

    def test_a_count_replaces_the_one_before(self, server):
        ask(server, "POST", "/fail/count/9")
        ask(server, "POST", "/fail/count/1")
        assert [get(server, "/msg").status for _ in range(2)] == [500, 200]
        ask(server, "POST", "/fail/count/9")
        ask(server, "POST", "/fail/count/0")
        assert get(server, "/msg").status == 200

    def test_only_messages_fail(self, server):
        ask(server, "POST", "/fail/count/1")
        assert [get(server, path).status for path in ("/health", "/echo", "/quota", "/fail/status")] == [200] * 4

    def test_a_failure_is_not_delayed(self, server):
        ask(server, "POST", "/fail/count/1")
        began = time.monotonic()
        assert get(server, "/msg?delay=30000").status == 500
        assert time.monotonic() - began < 15

    def test_a_duration_fails_everything_until_it_is_over(self, server):
        began = time.monotonic()
        answer = ask(server, "POST", "/fail/duration/1")
        assert answer.json["duration_seconds"] == 1
        assert isinstance(answer.json["message"], str)
        first = get(server, "/msg").status
        if time.monotonic() - began < 0.9:
            assert first == 500
        wait_until(lambda: not get(server, "/fail/status").json["currently_failing"])
        assert time.monotonic() - began >= 0.9
        assert get(server, "/msg").status == 200

    def test_a_count_is_used_up_during_a_duration_too(self, server):
        ask(server, "POST", "/fail/duration/3600")
        ask(server, "POST", "/fail/count/5")
        assert [get(server, "/msg").status for _ in range(2)] == [500, 500]
        assert get(server, "/fail/status").json["failure_status"]["fail_requests_count"] == 3

    def test_a_count_outlasts_a_duration(self, server):
        ask(server, "POST", "/fail/count/1")
        ask(server, "POST", "/fail/duration/3600")
        ask(server, "POST", "/fail/duration/0")
        assert [get(server, "/msg").status for _ in range(2)] == [500, 200]

    def test_status(self, server):
        calm = get(server, "/fail/status").json
        assert calm == {
            "failure_status": {
                "fail_requests_count": 0,
                "fail_until_timestamp": None,
                "duration_remaining_seconds": 0.0,
                "currently_failing": False,
            },
            "currently_failing": False,
        }
        ask(server, "POST", "/fail/duration/1000")
        ask(server, "POST", "/fail/count/3")
        get(server, "/fail/status")
        failing = get(server, "/fail/status").json
        status = failing["failure_status"]
        assert failing["currently_failing"] is status["currently_failing"] is True
        assert status["fail_requests_count"] == 3
        assert 900 < status["duration_remaining_seconds"] <= 1000
        assert abs(status["fail_until_timestamp"] - time.time() - 1000) < 100

    def test_reset_clears_both_but_not_the_cache(self, server):
        first = get(server, "/msg", X_Request_ID="a").json
        ask(server, "POST", "/fail/count/9")
        ask(server, "POST", "/fail/duration/3600")
        answer = ask(server, "POST", "/fail/reset")
        assert answer.json["status"] == "normal_operation"
        assert isinstance(answer.json["message"], str)
        assert get(server, "/msg", X_Request_ID="a").json == first

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("count/-1", {"type": "greater_than_equal", "loc": ["path", "count"], "input": "-1", "ctx": {"ge": 0}}),
            ("count/1001", {"type": "less_than_equal", "loc": ["path", "count"], "input": "1001", "ctx": {"le": 1000}}),
            ("duration/x", {"type": "int_parsing", "loc": ["path", "seconds"], "input": "x"}),
        ],
    )
    def test_says_which_value_is_out_of_bounds(self, server, path, expected):
        (detail,) = ask(server, "POST", f"/fail/{path}").json["detail"]
        assert detail.pop("msg").startswith("Input should be ")
        assert detail == expected

    @pytest.mark.parametrize(
        "path", ["count/-1", "count/1001", "count/x", "duration/-1", "duration/3601", "duration/1.5"]
    )
    def test_refuses_amounts_out_of_bounds(self, server, path):
        assert ask(server, "POST", f"/fail/{path}").status == 422
        assert get(server, "/fail/status").json["currently_failing"] is False

    @pytest.mark.parametrize("path", ["count/1000", "count/0", "duration/3600", "duration/0"])
    def test_accepts_the_bounds_themselves(self, server, path):
        assert ask(server, "POST", f"/fail/{path}").status == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "count/1"), ("GET", "duration/1"), ("GET", "reset"), ("POST", "status")],
    )
    def test_knows_one_method_each(self, server, method, path):
        assert ask(server, method, f"/fail/{path}").status == 405


class TestIdempotency:
    def test_the_same_id_gets_the_same_message(self, server):
        first = get(server, "/msg", X_Request_ID="a")
        second = get(server, "/msg?delay=1", X_Request_ID="a")
        other = get(server, "/msg", X_Request_ID="b")
        assert first.json == second.json != other.json
        assert first.headers["x-correlation-id"] != second.headers["x-correlation-id"]

    def test_an_empty_id_is_none(self, server):
        assert get(server, "/msg", X_Request_ID="").json != get(server, "/msg", X_Request_ID="").json

    def test_a_failure_comes_before_a_cached_success_and_is_not_cached(self, server):
        first = get(server, "/msg", X_Request_ID="a").json
        ask(server, "POST", "/fail/count/1")
        assert get(server, "/msg", X_Request_ID="a").status == 500
        assert get(server, "/msg", X_Request_ID="a").json == first

    def test_a_cached_success_is_not_delayed(self, server):
        get(server, "/msg", X_Request_ID="a")
        began = time.monotonic()
        assert get(server, "/msg?delay=30000", X_Request_ID="a").status == 200
        assert time.monotonic() - began < 15

    def test_the_least_recently_used_is_forgotten(self):
        with FailureServer(cache_max_size=2) as server:
            ids = {name: get(server, "/msg", X_Request_ID=name).json for name in "ab"}
            assert get(server, "/msg", X_Request_ID="a").json == ids["a"]
            get(server, "/msg", X_Request_ID="c")
            assert get(server, "/msg", X_Request_ID="a").json == ids["a"]
            assert get(server, "/msg", X_Request_ID="b").json != ids["b"]

    def test_a_failure_takes_no_room_in_the_cache(self):
        with FailureServer(cache_max_size=1) as server:
            first = get(server, "/msg", X_Request_ID="a").json
            ask(server, "POST", "/fail/count/1")
            get(server, "/msg", X_Request_ID="b")
            assert get(server, "/msg", X_Request_ID="a").json == first

    def test_lasts_from_its_creation_however_often_it_is_used(self):
        with FailureServer(cache_ttl_seconds=0.2) as server:
            began = time.monotonic()
            first = get(server, "/msg", X_Request_ID="a").json
            wait_until(lambda: get(server, "/msg", X_Request_ID="a").json != first)
            assert time.monotonic() - began >= 0.2
            assert server.counters["processed"] >= 2

    @pytest.mark.parametrize("cache_max_size", [0, 1000])
    def test_concurrent_requests_share_one_message(self, cache_max_size):
        with FailureServer(cache_max_size=cache_max_size) as server, ThreadPoolExecutor(20) as pool:
            together = threading.Barrier(20)

            def one(_):
                together.wait()
                return get(server, "/msg?delay=1000", X_Request_ID="a").json["message_id"]

            assert len(set(pool.map(one, range(20)))) == 1
            assert server.counters_for("/msg") == {"received": 20, "processed": 1}

    def test_a_waiting_request_takes_over_when_the_first_times_out(self):
        with FailureServer(request_timeout=1.0) as server, connect(server) as first, connect(server) as second:
            first.sendall(head("/msg?delay=30000", X_Request_ID="a"))
            wait_until(lambda: server.counters["received"] == 1)
            # The second one needs time left of its own when that of the first is up.
            time.sleep(0.5)
            second.sendall(head("/msg", X_Request_ID="a"))
            assert read_reply(first).status == 408
            assert read_reply(second).status == 200
            assert server.counters_for("/msg") == {"received": 2, "processed": 1}

    def test_a_client_that_goes_away_does_not_stop_the_work(self, server):
        with connect(server) as client:
            client.sendall(head("/msg?delay=300", X_Request_ID="a"))
            wait_until(lambda: server.counters["processed"] == 1)
        assert get(server, "/msg", X_Request_ID="a").status == 200
        assert server.counters_for("/msg") == {"received": 2, "processed": 1}

    def test_a_retry_after_a_failure_is_processed_once(self, server):
        ask(server, "POST", "/fail/count/2")
        assert [get(server, "/msg", X_Request_ID="a").status for _ in range(4)] == [500, 500, 200, 200]
        assert server.counters_for("/msg") == {"received": 4, "processed": 1}

    def test_a_retry_after_a_failure_without_an_id_is_a_duplicate(self, server):
        ask(server, "POST", "/fail/count/1")
        assert [get(server, "/msg").status for _ in range(2)] == [500, 200]
        assert server.counters_for("/msg") == {"received": 2, "processed": 2}

    def test_extensions_process_an_id_once(self, server):
        paths = ["/fault/status?code=503", "/fault/status?code=500&times=1&key=k", "/echo", "/echo"]
        for path in paths:
            get(server, path, X_Request_ID="a")
        assert [record.processed for record in server.requests] == [False, True, False, False]

    def test_extensions_process_an_id_once_even_at_the_same_time(self, server):
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: get(server, "/echo", X_Request_ID="a"), range(40)))
        assert server.counters_for("/echo") == {"received": 40, "processed": 1}


class TestLimits:
    def test_a_request_that_takes_too_long(self):
        with FailureServer(request_timeout=0.05) as server:
            answer = get(server, "/msg?delay=30000")
            assert (answer.status, answer.json) == (408, {"detail": "Request timeout"})
            assert "x-correlation-id" not in answer.headers
            assert server.counters_for("/msg") == {"received": 1, "processed": 0}

    def test_requests_over_the_limit_wait_except_health_and_extensions(self):
        with FailureServer(max_concurrency=1) as server, connect(server) as first, connect(server) as second:
            first.sendall(head("/msg?delay=2000"))
            wait_until(lambda: server.counters["processed"] == 1)
            second.sendall(head("/msg"))
            wait_until(lambda: server.counters["received"] == 2)
            assert get(server, "/health").status == 200
            assert get(server, "/echo").status == 200
            assert server.counters_for("/msg") == {"received": 2, "processed": 1}
            assert read_reply(first).status == 200
            assert read_reply(second).status == 200

    def test_waiting_for_a_slot_does_not_count_toward_the_timeout(self):
        with FailureServer(max_concurrency=1, request_timeout=1.4) as server, ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: get(server, "/msg?delay=800"), range(3)))
            assert [answer.status for answer in answers] == [200] * 3

    def test_health(self, server):
        answer = get(server, "/health")
        assert answer.status == 200
        assert answer.json["status"] == "ok"
        assert answer.json["uptime_seconds"] >= 0
        assert ask(server, "POST", "/health").status == 405


class TestEcho:
    def test_tells_what_it_got(self, server):
        answer = ask(server, "PUT", "/echo?a=1", body=b"hello", headers={"X-Thing": "one"})
        told = answer.json
        assert answer.status == 200
        assert (told["method"], told["path"], told["body_length"]) == ("PUT", "/echo?a=1", 5)
        assert told["headers"]["x-thing"] == "one"
        assert told["body_sha256"] == hashlib.sha256(b"hello").hexdigest()

    def test_head_has_no_body(self, server):
        data, _ = converse(server, head("/echo", "HEAD", Connection="close"))
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data.endswith(b"\r\n\r\n")
        assert int(re.search(rb"Content-Length: (\d+)", data).group(1)) > 0

    @pytest.mark.parametrize("size", [0, 1, 65536, 300_000])
    def test_size(self, server, size):
        answer = get(server, f"/echo?size={size}")
        assert answer.headers["content-length"] == str(size)
        assert answer.body == b"x" * size

    @pytest.mark.parametrize("size", [0, 1, 300_000])
    def test_chunked(self, server, size):
        answer = get(server, f"/echo?size={size}&chunked=1")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        assert answer.body == b"x" * size

    def test_wrong_size(self, server):
        assert get(server, "/echo?size=-1").status == 422
        assert server.counters == {
            "received": 1,
            "processed": 0,
            "keys": {"/echo": {"received": 1, "processed": 0}},
        }

    def test_a_client_that_does_not_read_does_not_fill_the_memory(self, server):
        with connect(server) as client:
            client.sendall(head("/echo?size=1000000000"))
            assert client.recv(10)
        wait_until(lambda: server.open_connections == 0)


class TestReader:
    def test_keeps_alive_and_answers_pipelined_requests_in_order(self, server):
        with connect(server) as client:
            client.sendall(
                head("/echo?n=1", "POST", Content_Length=3) + b"abc" + head("/msg?delay=30") + head("/echo?n=3")
            )
            first, second, third = (read_reply(client) for _ in range(3))
        assert (first.json["path"], first.json["body_length"]) == ("/echo?n=1", 3)
        assert "message_id" in second.json
        assert third.json["path"] == "/echo?n=3"

    def test_head_in_single_bytes(self, server):
        with connect(server) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head("/echo"):
                client.sendall(bytes([byte]))
            assert read_reply(client).status == 200

    def test_blank_lines_between_requests(self, server):
        with connect(server) as client:
            client.sendall(head("/echo") + b"\r\n\r\n" + head("/echo"))
            assert [read_reply(client).status for _ in range(2)] == [200, 200]

    def test_chunked_body(self, server):
        body = b"3\r\nabc\r\n4;note=1\r\ndefg\r\n0\r\nX-Trailer: t\r\n\r\n"
        with connect(server) as client:
            client.sendall(head("/echo", "POST", Transfer_Encoding="chunked") + body + head("/echo"))
            told = read_reply(client).json
            assert told["body_length"] == 7
            assert told["body_sha256"] == hashlib.sha256(b"abcdefg").hexdigest()
            assert read_reply(client).status == 200

    def test_expect_continue(self, server):
        with connect(server) as client:
            client.sendall(head("/echo", "POST", Content_Length=2, Expect="100-continue"))
            assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert is_silent(client)
            client.sendall(b"hi")
            assert read_reply(client).json["body_length"] == 2

    def test_connection_close(self, server):
        data, ending = converse(server, head("/echo", Connection="close"))
        assert b"\r\nConnection: close\r\n" in data
        assert ending == "eof"

    def test_http_1_0_closes_unless_asked_not_to(self, server):
        data, ending = converse(server, head("/echo?size=5&chunked=1", version="1.0"))
        assert data.endswith(b"\r\n\r\nxxxxx")
        assert ending == "eof"
        with connect(server) as client:
            client.sendall(head("/echo", version="1.0", Connection="Keep-Alive") * 2)
            assert read_reply(client).headers["connection"] == "keep-alive"
            assert read_reply(client).status == 200

    def test_a_client_that_ended_its_side_gets_its_reply(self, server):
        with connect(server) as client:
            client.sendall(head("/msg?delay=50"))
            client.shutdown(socket.SHUT_WR)
            data, ending = read_to_end(client)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert ending == "eof"

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            ("http://example.test/echo?a=1", "/echo?a=1"),
            ("http://example.test:80/echo", "/echo"),
        ],
    )
    def test_absolute_form(self, server, target, path):
        data, _ = converse(server, head(target, Connection="close"))
        assert json.loads(data.partition(b"\r\n\r\n")[2])["path"] == path

    def test_connect(self, server):
        data, ending = converse(server, head("example.test:443", "CONNECT"))
        assert data.startswith(b"HTTP/1.1 405 ")
        assert ending == "eof"

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"hello\r\n\r\n",
            b"GET /echo\r\n\r\n",
            b"GET  /echo HTTP/1.1\r\n\r\n",
            b"GET echo HTTP/1.1\r\n\r\n",
            b"GET /echo HTTP/2.0\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nName : value\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"GET /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        ],
    )
    def test_malformed(self, server, request_bytes):
        with connect(server) as client:
            client.sendall(request_bytes + b"more" * 100)
            client.shutdown(socket.SHUT_WR)
            data, ending = read_to_end(client)
        assert data.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nConnection: close\r\n" in data
        assert ending == "eof"
        assert server.counters["received"] == 0

    def test_a_head_too_long_is_answered_although_more_is_coming(self, server):
        with connect(server) as client:
            client.sendall(b"GET /echo HTTP/1.1\r\nX-Long: " + b"x" * 20_000_000)
            client.shutdown(socket.SHUT_WR)
            data, ending = read_to_end(client)
        assert data.startswith(b"HTTP/1.1 431 ")
        assert ending == "eof"

    def test_a_long_head_within_the_limit(self, server):
        with connect(server) as client:
            client.sendall(head("/echo?size=1", X_Long="x" * 250_000))
            assert read_reply(client).status == 200

    def test_a_client_that_leaves_in_the_middle_is_no_error(self, server, caplog):
        for data in [b"GET /ec", head("/echo", "POST", Content_Length=5) + b"ab"]:
            with connect(server) as client:
                client.sendall(data)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: server.open_connections == 0)
        assert server.counters["received"] == 0
        assert caplog.records == []

    def test_large_body_is_summed_up_and_kept_in_part(self, server):
        body = os.urandom(3_000_000)
        told = ask(server, "POST", "/echo", body=body).json
        digest = hashlib.sha256(body).hexdigest()
        assert (told["body_length"], told["body_sha256"]) == (len(body), digest)
        (record,) = server.requests
        assert (record.body_length, record.body_sha256) == (len(body), digest)
        assert record.body == body[: 64 * 1024]


NORMAL_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
NORMAL_REPLY = NORMAL_HEAD + b'{"status": "ok"}'


class TestFaults:
    def fault(self, server, kind, body=b"abc", method="POST"):
        return converse(server, head(f"/fault/{kind}", method, Content_Length=len(body)) + body)

    def test_status(self, server):
        query = "code=599&retry_after=a%20b&header=X-A:%20%201&header=X-B:two&header=x-a:%20%E9&body=hello"
        with connect(server) as client:
            client.sendall(head(f"/fault/status?{query}"))
            data = read_until(client, b"hello")
        assert data == (
            b"HTTP/1.1 599 Unknown\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n"
            b"Retry-After: a b\r\nX-A:  1\r\nX-B:two\r\nx-a: \xe9\r\n\r\nhello"
        )

    def test_status_by_default(self, server):
        answer = get(server, "/fault/status")
        assert (answer.status, answer.body) == (503, b"")
        assert "retry-after" not in answer.headers

    def test_status_header_replaces_the_usual_one(self, server):
        answer = get(server, "/fault/status?header=content-type:%20text/html&body=x")
        assert answer.headers["content-type"] == "text/html"

    @pytest.mark.parametrize("code", [204, 304])
    def test_status_without_a_body_keeps_the_connection_usable(self, server, code):
        with connect(server) as client:
            client.sendall(head(f"/fault/status?code={code}&body=x") + head("/echo"))
            assert [read_reply(client).status for _ in range(2)] == [code, 200]

    def test_hang(self, server):
        with connect(server) as client:
            client.sendall(head("/fault/hang"))
            wait_until(lambda: server.counters["processed"] == 1)
            assert is_silent(client)
            assert server.open_connections == 1
        wait_until(lambda: server.open_connections == 0)

    def test_slow_headers(self, server):
        began = time.monotonic()
        with connect(server) as client:
            client.sendall(head("/fault/slow-headers?interval=0.003"))
            assert read_until(client, b'"ok"}') == NORMAL_REPLY
        assert time.monotonic() - began >= 0.003 * (len(NORMAL_HEAD) - 1)

    def test_drip(self, server):
        began = time.monotonic()
        with connect(server) as client:
            client.sendall(head("/fault/drip?size=5&interval=0.05"))
            start = read_until(client, b"\r\n\r\n")
            assert b"\r\nContent-Length: 5\r\n" in start
            assert [client.recv(1) for _ in range(5)] == [b"x"] * 5
            assert is_silent(client)
        assert time.monotonic() - began >= 0.25

    def test_drip_sends_the_headers_at_once(self, server):
        with connect(server) as client:
            client.sendall(head("/fault/drip?interval=3600"))
            assert b"\r\nContent-Length: 12\r\n" in read_until(client, b"\r\n\r\n")
            assert is_silent(client)

    def test_drip_stops_when_the_client_leaves(self, server, caplog):
        with connect(server) as client:
            client.sendall(head("/fault/drip?size=1000000&interval=0.001"))
            client.recv(1)
        wait_until(lambda: server.open_connections == 0)
        assert caplog.records == []

    @pytest.mark.parametrize(
        ("kind", "length", "size"),
        [("truncated", 100, 10), ("truncated?length=7&size=3", 7, 3), ("overlong", 10, 100)],
    )
    def test_wrong_length(self, server, kind, length, size):
        data, ending = self.fault(server, kind)
        start, _, body = data.partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: %d" % length in start
        assert body == b"x" * size
        assert ending == "eof"

    def test_reset_early_strikes_before_the_body(self, server):
        data, ending = converse(server, head("/fault/reset-early", "POST", Content_Length=1_000_000))
        assert (data, ending) == (b"", "reset")
        assert server.counters_for("/fault/reset-early") == {"received": 1, "processed": 0}

    @pytest.mark.parametrize("kind", ["reset", "eof", "status", "garbage", "hang"])
    def test_the_other_faults_strike_after_the_body(self, server, kind):
        with connect(server) as client:
            client.sendall(head(f"/fault/{kind}", "POST", Content_Length=4) + b"ab")
            assert is_silent(client)
            assert server.counters["received"] == 0
            client.sendall(b"cd")
            wait_until(lambda: server.counters["received"] == 1)
        assert server.requests[0].body == b"abcd"

    def test_reset(self, server):
        assert self.fault(server, "reset") == (b"", "reset")

    def test_reset_headers(self, server):
        data, ending = self.fault(server, "reset-headers")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\n\r\n" not in data
        assert ending == "reset"

    def test_reset_body(self, server):
        data, ending = self.fault(server, "reset-body")
        start, _, body = data.partition(b"\r\n\r\n")
        assert 0 < len(body) < int(re.search(rb"Content-Length: (\d+)", start).group(1))
        assert ending == "reset"

    def test_eof(self, server):
        assert self.fault(server, "eof") == (b"", "eof")

    def test_cut_headers(self, server):
        assert self.fault(server, "cut-headers") == (NORMAL_HEAD[: len(NORMAL_HEAD) // 2], "eof")

    def test_broken_chunk(self, server):
        data, ending = self.fault(server, "broken-chunk")
        start, _, body = data.partition(b"\r\n\r\n")
        assert b"\r\nTransfer-Encoding: chunked" in start
        assert body.startswith(b"a\r\nxxxxxxxxxx\r\nnot-a-size\r\n")
        assert ending == "eof"

    def test_cut_chunk(self, server):
        data, ending = self.fault(server, "cut-chunk")
        assert b"\r\nTransfer-Encoding: chunked" in data
        assert data.endswith(b"\r\n\r\na\r\nxxxxxxxxxx\r\n")
        assert ending == "eof"

    def test_broken_gzip(self, server):
        with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.DecodeError):
            pool.request("GET", f"{server.url}/fault/broken-gzip", retries=False)
        assert get(server, "/fault/broken-gzip").headers["content-encoding"] == "gzip"

    def test_garbage(self, server):
        data, ending = self.fault(server, "garbage")
        assert data
        assert not data.startswith(b"HTTP/")
        assert ending == "eof"

    def test_early_hints(self, server):
        with connect(server) as client:
            client.sendall(head("/fault/early-hints"))
            hints = read_until(client, b"\r\n\r\n")
            assert hints.startswith(b"HTTP/1.1 103 Early Hints\r\n")
            assert read_until(client, b'"ok"}') == NORMAL_REPLY

    def test_stale(self, server):
        assert self.fault(server, "stale") == (NORMAL_REPLY, "eof")

    def test_redirect(self, server):
        first = get(server, "/fault/redirect")
        assert (first.status, first.headers["location"]) == (302, "/echo")
        second = get(server, "/fault/redirect?code=308&to=http://127.0.0.1:1/x%3Fy")
        assert (second.status, second.headers["location"]) == (308, "http://127.0.0.1:1/x?y")

    @pytest.mark.parametrize("size", [200_000, 50])
    def test_huge_header(self, server, size):
        query = "" if size == 200_000 else f"?size={size}"
        data, _ = converse(server, head(f"/fault/huge-header{query}", Connection="close"))
        (line,) = [line for line in data.split(b"\r\n") if line.startswith(b"X-Huge")]
        assert len(line) == size

    def test_unknown_kind(self, server):
        assert get(server, "/fault/nonsense").status == 404

    @pytest.mark.parametrize(
        "target",
        [
            "status?code=99",
            "status?code=x",
            "drip?size=-1",
            "drip?interval=nan",
            "drip?interval=-1",
            "redirect?code=200",
            "hang?times=x",
        ],
    )
    def test_a_wrong_parameter_is_refused_and_does_not_count_as_a_turn(self, server, target):
        assert get(server, f"/fault/{target}&key=k").status == 422
        assert server.counters_for("k") == {"received": 1, "processed": 0}
        assert get(server, "/fault/status?times=1&key=k").status == 503

    def test_times(self, server):
        statuses = [get(server, "/fault/status?times=2&key=k").status for _ in range(4)]
        assert statuses == [503, 503, 200, 200]
        assert get(server, "/fault/status?times=2&key=other").status == 503

    def test_after(self, server):
        statuses = [get(server, "/fault/status?after=2&times=1").status for _ in range(4)]
        assert statuses == [200, 200, 503, 200]

    def test_every_time_by_default(self, server):
        assert [get(server, "/fault/status").status for _ in range(5)] == [503] * 5

    def test_the_kind_is_the_key_by_default(self, server):
        get(server, "/fault/status?times=1")
        assert get(server, "/fault/status?times=1&key=status").status == 200

    def test_times_is_exact_for_concurrent_requests(self, server):
        with ThreadPoolExecutor(10) as pool:
            statuses = list(pool.map(lambda _: get(server, "/fault/status?times=7").status, range(30)))
        assert statuses.count(503) == 7

    def test_behaves_as_echo_afterwards(self, server):
        ask(server, "POST", "/fault/drip?size=3&times=1&interval=0")
        told = ask(server, "POST", "/fault/drip?size=3&times=1", body=b"abc").json
        assert (told["method"], told["body_length"]) == ("POST", 3)
        get(server, "/fault/status?times=1")
        assert get(server, "/fault/status?times=1&size=9").body == b"x" * 9


class TestCounting:
    @pytest.mark.parametrize(
        ("target", "processed"),
        [
            ("/msg", 1),
            ("/msg?delay=x", 0),
            ("/echo", 1),
            ("/nowhere", 0),
            ("/fault/nonsense", 0),
            ("/quota?limit=1", 1),
            ("/quota?limit=0", 0),
            ("/fault/status?code=200", 1),
            ("/fault/status?code=302", 0),
            ("/fault/status?code=400", 0),
            ("/fault/status?code=408", 0),
            ("/fault/status?code=413", 0),
            ("/fault/status?code=429", 0),
            ("/fault/status?code=500", 1),
            ("/fault/status?code=502", 1),
            ("/fault/status?code=503", 0),
            ("/fault/status?code=504", 1),
            ("/fault/redirect", 0),
            ("/fault/reset-early", 0),
            *[(f"/fault/{kind}", 1) for kind in sorted(FAULTS.keys() - {"status", "redirect", "reset-early"})],
        ],
    )
    def test_what_counts_as_processed(self, server, target, processed):
        with connect(server) as client:
            client.sendall(head(target))
            wait_until(lambda: server.counters["received"] == 1)
            if processed:
                wait_until(lambda: server.counters["processed"] == 1)
            elif "reset-early" not in target:
                client.recv(1)
        key = target.partition("?")[0]
        assert server.counters == {
            "received": 1,
            "processed": processed,
            "keys": {key: {"received": 1, "processed": processed}},
        }
        assert [record.processed for record in server.requests] == [bool(processed)]

    def test_the_key_parameter(self, server):
        get(server, "/echo?key=k")
        get(server, "/fault/status?key=k")
        get(server, "/echo?key=%C3%A9")
        assert server.counters_for("k") == {"received": 2, "processed": 1}
        assert server.counters_for("é") == {"received": 1, "processed": 1}
        assert server.counters_for("unknown") == {"received": 0, "processed": 0}

    def test_the_counters_endpoint_tells_the_same(self, server):
        get(server, "/echo?key=k")
        assert get(server, "/counters").json == server.counters
        assert ask(server, "POST", "/counters").status == 405

    def test_deleting_the_counters_leaves_the_rest(self, server):
        get(server, "/fault/status?times=1")
        message = get(server, "/msg", X_Request_ID="a").json
        assert ask(server, "DELETE", "/counters").status == 204
        assert server.counters == {"received": 0, "processed": 0, "keys": {}}
        assert server.requests == []
        assert get(server, "/fault/status?times=1").status == 200
        assert get(server, "/msg", X_Request_ID="a").json == message

    @pytest.mark.parametrize("target", ["/counters", "/health", "/fail/status", "/fail/nonsense"])
    def test_what_is_not_counted(self, server, target):
        get(server, target)
        assert server.counters["received"] == 0
        assert server.requests == []

    def test_records(self, server):
        ask(server, "PUT", "/echo?key=k&a=1", body=b"abc", headers={"X-Thing": "One"})
        (record,) = server.requests
        assert (record.method, record.path, record.key) == ("PUT", "/echo?key=k&a=1", "k")
        assert record.headers["x-thing"] == "One"
        assert (record.body, record.body_length) == (b"abc", 3)
        assert record.body_sha256 == hashlib.sha256(b"abc").hexdigest()
        with pytest.raises(AttributeError):
            record.key = "other"

    def test_snapshots_are_copies(self, server):
        get(server, "/echo")
        server.counters["keys"].clear()
        server.counters_for("/echo")["received"] = 9
        server.requests.clear()
        server.requests[0].headers.clear()
        assert server.counters_for("/echo")["received"] == 1
        assert server.requests[0].headers

    def test_only_the_last_requests_are_kept(self, server):
        with connect(server) as client, client.makefile("rb") as replies:
            for key in ["first", *["rest"] * 20]:
                client.sendall(head(f"/fault/status?code=204&key={key}") * 500)
                for _ in range(500):
                    assert replies.readline() == b"HTTP/1.1 204 No Content\r\n"
                    assert replies.readline() == b"\r\n"
        assert server.counters["received"] == 10_500
        assert len(server.requests) == 10_000
        assert {record.key for record in server.requests} == {"rest"}

    def test_reset_forgets_everything(self, server):
        message = get(server, "/msg", X_Request_ID="a").json
        get(server, "/fault/status?times=1")
        get(server, "/quota?limit=1&window=3600")
        ask(server, "POST", "/fail/count/9")
        ask(server, "POST", "/fail/duration/3600")
        server.reset()
        assert server.counters == {"received": 0, "processed": 0, "keys": {}}
        assert server.requests == []
        assert get(server, "/msg", X_Request_ID="a").json != message
        assert get(server, "/fault/status?times=1").status == 503
        assert get(server, "/quota?limit=1&window=3600").status == 200

    def test_a_request_still_running_leaves_no_trace_after_a_reset(self, server):
        with connect(server) as client:
            client.sendall(head("/msg?delay=100", X_Request_ID="a"))
            wait_until(lambda: server.counters["received"] == 1)
            server.reset()
            old = read_reply(client).json
        assert server.counters["received"] == server.counters["processed"] == 0
        assert get(server, "/msg", X_Request_ID="a").json != old


class TestQuota:
    def quota(self, server, dialect, **parameters):
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return get(server, f"/quota?dialect={dialect}&{query}")

    def interesting(self, answer):
        return {name: text for name, text in answer.headers.items() if "ratelimit" in name or "retry" in name}

    @pytest.mark.parametrize(
        ("dialect", "expected"),
        [
            (
                "draft-3",
                {"ratelimit-limit": "5, 5;w=3600", "ratelimit-remaining": "4", "ratelimit-reset": "3600"},
            ),
            (
                "draft-6",
                {
                    "ratelimit-policy": "5;w=3600",
                    "ratelimit-limit": "5",
                    "ratelimit-remaining": "4",
                    "ratelimit-reset": "3600",
                },
            ),
            (
                "draft-7",
                {"ratelimit": "limit=5, remaining=4, reset=3600", "ratelimit-policy": "5;w=3600"},
            ),
            (
                "draft-8",
                {"ratelimit": '"default";r=4;t=3600', "ratelimit-policy": '"default";q=5;w=3600'},
            ),
            ("none", {}),
        ],
    )
    def test_dialects(self, server, dialect, expected):
        answer = self.quota(server, dialect, limit=5, window=3600)
        assert answer.status == 200
        assert self.interesting(answer) == expected

    def test_the_old_dialect_tells_a_moment(self, server):
        before = time.time()
        answer = self.quota(server, "x", limit=5, window=100)
        found = self.interesting(answer)
        reset = int(found.pop("x-ratelimit-reset"))
        assert found == {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "4"}
        assert before + 100 - 1 <= reset <= time.time() + 101

    def test_refuses_when_it_is_used_up(self, server):
        answers = [self.quota(server, "draft-3", limit=2, window=3600) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "0"]
        assert "retry-after" not in answers[1].headers
        assert 3500 < int(answers[2].headers["retry-after"]) <= 3600
        assert server.counters_for("/quota") == {"received": 4, "processed": 2}

    def test_silent_refusal(self, server):
        answer = self.quota(server, "none", limit=0)
        assert answer.status == 429
        assert self.interesting(answer) == {}

    def test_each_key_has_its_window(self, server):
        statuses = [self.quota(server, "x", limit=1, window=3600, key=key).status for key in "aba"]
        assert statuses == [200, 200, 429]

    def test_the_window_ends(self, server):
        began = time.monotonic()
        assert self.quota(server, "x", limit=1, window=0.2).status == 200
        wait_until(lambda: self.quota(server, "x", limit=1, window=0.2).status == 200)
        assert time.monotonic() - began >= 0.2

    def test_the_time_left_runs_out(self):
        quotas = Quotas()
        first = quotas.take("k", limit=1, window=3600)
        time.sleep(0.002)
        second = quotas.take("k", limit=1, window=3600)
        assert (first.allowed, second.allowed) == (True, False)
        assert 3500 < second.seconds_left < first.seconds_left

    def test_retry_after_is_rounded_up(self, server):
        answer = self.quota(server, "draft-3", limit=0, window=99.5)
        assert answer.headers["retry-after"] == "100"

    @pytest.mark.parametrize("query", ["limit=x", "window=0", "dialect=latin"])
    def test_wrong_parameters(self, server, query):
        assert get(server, f"/quota?{query}").status == 422


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class TestLife:
    @pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.test", ""])
    def test_binds_to_loopback_only(self, host):
        with pytest.raises(ValueError, match="loopback"):
            FailureServer(host=host)

    @pytest.mark.parametrize(
        "limits",
        [
            {"max_concurrency": 0},
            {"request_timeout": -1},
            {"cache_max_size": -1},
            {"cache_ttl_seconds": -1},
            {"port": -1},
            {"port": 65536},
        ],
    )
    def test_limits_must_make_sense(self, limits):
        with pytest.raises(ValueError, match="must"):
            FailureServer(**limits)

    def test_url(self):
        server = FailureServer(host="localhost")
        with pytest.raises(RuntimeError, match="not started"):
            _ = server.url
        with server:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
            assert urllib3.request("GET", server.url + "/health").status == 200

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
    def test_localhost_is_every_address_of_that_name(self, host):
        with FailureServer(host="localhost") as server:
            if host == "[::1]" and not has_ipv6():
                pytest.skip("no ::1 on this machine")
            assert urllib3.request("GET", f"http://{host}:{server.port}/health").status == 200
        with FailureServer(host="localhost", port=server.port):
            pass

    def test_localhost_is_not_shared_with_another_program(self):
        if not has_ipv6():
            pytest.skip("no ::1 on this machine")
        with FailureServer(host="::1") as other:
            with pytest.raises(OSError, match="in use"):
                FailureServer(host="localhost", port=other.port).start()
            with FailureServer(host="127.0.0.1", port=other.port):  # nothing was left open
                pass

    def test_localhost_without_version_6(self, monkeypatch):
        create_server = socket.create_server

        def create(address, **keywords):
            if address[0] == "::1":
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            return create_server(address, **keywords)

        monkeypatch.setattr(socket, "create_server", create)
        with FailureServer(host="localhost") as server:
            assert urllib3.request("GET", server.url + "/health").status == 200

    def test_a_port_that_is_free_on_both(self, monkeypatch):
        create_server, refused = socket.create_server, []

        def create(address, **keywords):
            if address[0] == "::1" and len(refused) < 3:
                refused.append(address[1])
                raise OSError(errno.EADDRINUSE, "Address already in use")
            return create_server(address, **keywords)

        monkeypatch.setattr(socket, "create_server", create)
        with FailureServer(host="localhost") as server:
            assert len(refused) == 3
            assert urllib3.request("GET", server.url + "/health").status == 200

    def test_internet_protocol_version_6(self):
        try:
            with FailureServer(host="::1") as server:
                assert urllib3.request("GET", server.url + "/health").status == 200
                assert server.url.startswith("http://[::1]:")
        except OSError:
            pytest.skip("no ::1 on this machine")

    def test_start_twice_and_stop_twice(self):
        server = FailureServer()
        server.stop()
        server.start()
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
        server.stop()
        server.stop()

    def test_comes_back_on_the_same_port_with_its_memory(self):
        server = FailureServer()
        with server:
            port = server.port
            get(server, "/echo")
        assert server.counters["received"] == 1
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        with server:
            assert server.port == port
            get(server, "/echo")
        assert server.counters["received"] == 2

    def test_counts_open_connections(self, server):
        assert server.open_connections == 0
        clients = [connect(server) for _ in range(5)]
        wait_until(lambda: server.open_connections == 5)
        for client in clients[:2]:
            client.close()
        wait_until(lambda: server.open_connections == 3)
        for client in clients[2:]:
            client.close()
        wait_until(lambda: server.open_connections == 0)

    def test_a_client_that_gave_up_does_not_count_as_open(self, server):
        with connect(server) as client:
            client.sendall(head("/msg?delay=20000"))
            wait_until(lambda: server.counters["processed"] == 1)
            assert server.open_connections == 1
        wait_until(lambda: server.open_connections == 0)

    @pytest.mark.parametrize("target", ["/fault/hang", "/msg?delay=20000", "/fault/drip?interval=3600", None])
    def test_stops_at_once_with_many_connections_open(self, target, caplog):
        server = FailureServer()
        server.start()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(server)) for _ in range(50)]
            if target:
                for client in clients:
                    client.sendall(head(target))
                wait_until(lambda: server.counters["processed"] == 50)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 5
            assert server.open_connections == 0
            assert all(read_to_end(client)[1] in {"eof", "reset"} for client in clients)
        assert not [thread for thread in threading.enumerate() if thread.name == "FailureServer"]
        assert caplog.records == []

    def test_hundreds_of_hanging_connections_do_not_block_others(self, server):
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(connect(server)).sendall(head("/fault/hang"))
            wait_until(lambda: server.counters["received"] == 300)
            assert server.open_connections == 300
            assert get(server, "/msg").status == 200

    def test_may_run_beside_the_loop_of_a_test(self):
        async def inside():
            with FailureServer() as server:
                return await asyncio.to_thread(get, server, "/health")

        assert asyncio.run(inside()).status == 200


@pytest.fixture(scope="module")
def authority():
    return pytest.importorskip("trustme").CA()


@pytest.fixture
def server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestTls:
    def converse(self, server, client_context, data):
        with client_context.wrap_socket(connect(server), server_hostname="127.0.0.1") as client:
            client.sendall(data)
            return read_to_end(client)

    def test_serves(self, server_context, client_context):
        with FailureServer(ssl_context=server_context) as server:
            assert server.url.startswith("https://")
            data, ending = self.converse(server, client_context, head("/echo?size=200000", Connection="close"))
        assert data.endswith(b"\r\n\r\n" + b"x" * 200_000)
        assert ending == "eof"

    def test_resets(self, server_context, client_context):
        # Python's own TLS sockets report a reset as an end of file, so the TCP connection itself is looked at.
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = client_context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with FailureServer(ssl_context=server_context) as server, connect(server) as plain:
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    secure.do_handshake()
                    break
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
            secure.write(head("/fault/reset-body"))
            plain.sendall(outgoing.read())
            data, ending = read_to_end(plain)
            incoming.write(data)
            assert secure.read(65536).endswith(b"\r\n\r\n" + b"x" * 50)
        assert ending == "reset"

    def test_a_failed_handshake_is_no_error(self, server_context, caplog):
        with FailureServer(ssl_context=server_context) as server:
            with connect(server) as plain, pytest.raises(ssl.SSLCertVerificationError):
                ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
            with connect(server) as plain:
                plain.sendall(b"this is no handshake\r\n\r\n")
                read_to_end(plain)
        assert caplog.records == []

    def test_stops_at_once_during_handshakes_and_hangs(self, server_context, client_context, caplog):
        server = FailureServer(ssl_context=server_context)
        server.start()
        with contextlib.ExitStack() as stack:
            silent = stack.enter_context(connect(server))
            wrapped = client_context.wrap_socket(connect(server), server_hostname="127.0.0.1")
            stack.enter_context(wrapped).sendall(head("/fault/hang"))
            wait_until(lambda: server.counters["received"] == 1)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 5
            assert silent.recv(1) == b""
        assert caplog.records == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
class TestCommandLine:
    def run(self, *arguments):
        root = Path(next(iter(polvo_adapters.__path__))).parent
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "polvo_adapters.testing.server", *arguments],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_serves_until_a_signal(self, number):
        process = self.run("--port", "0", "--max-concurrency", "3", "--request-timeout", "0.01")
        with process:
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
            assert urllib3.request("GET", url + "/msg?delay=30000", retries=False).status == 408
            with socket.create_connection(("127.0.0.1", urllib3.util.parse_url(url).port)) as client:
                client.sendall(head("/fault/hang"))
                process.send_signal(number)
                rest, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, rest, errors) == (0, "", "")

    def test_a_port_that_is_taken_costs_one_line(self, server):
        with self.run("serve", "--reload", "--port", str(server.port)) as process:
            out, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (2, "")
        assert errors.startswith(f"port {server.port} is not available: ")
        assert errors.endswith("choose another one, or let --port 0 pick a free one\n")
        assert errors.count("\n") == 1

    @pytest.mark.parametrize(
        ("option", "problem"),
        [(("--port", "70000"), "port must"), (("--max-concurrency", "0"), "max_concurrency must")],
    )
    def test_mistakes(self, option, problem):
        with self.run(*option) as process:
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert problem in errors
        assert "Traceback" not in errors

    def test_refuses_to_listen_to_the_world(self):
        with self.run("--port", "0", "--host", "0.0.0.0") as process:
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert "not a loopback address" in errors


def test_the_package_offers_the_server_and_its_records():
    from polvo_adapters.testing.server import FailureServer as Server
    from polvo_adapters.testing.server import RequestRecord, main

    assert Server is FailureServer
    assert RequestRecord.__module__ == "polvo_adapters.testing.server.journal"
    assert main.__module__ == "polvo_adapters.testing.server.failure_server"
