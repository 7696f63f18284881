"""`polvo job`, run for real against the stand-in of EZThrottle and of an API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from polvo_adapters.__main__ import main
from polvo_adapters.services.ezthrottle.engines import hosted
from tests.support.ezthrottle_server import KEY, EZThrottleServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EZThrottleServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("EZTHROTTLE_API_KEY", raising=False)
    with EZThrottleServer() as running:
        yield running


def test_a_job_runs_here_where_there_is_no_account(
    server: EZThrottleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["job", server.url + "/target/200", "-X", "post", "--json", "{}", "--webhook", server.url + "/hook/a"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("  success")
    assert lines[1:4] == ["200 OK", "1 attempt", "webhooks: 1 delivered, 0 failed, quorum reached"]
    assert lines[-1] == '{"t": 1}'
    assert server.received[0].headers["Content-Type"] == "application/json"


def test_a_failure_is_told_and_each_call_is_a_job_of_its_own(
    server: EZThrottleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["job", server.url + "/target/404", "--as-json"]) == 1
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")["status_code"] == 404
    assert len(server.received) == 2


def test_a_job_is_submitted_to_the_service_where_there_is_an_account(
    server: EZThrottleServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZTHROTTLE_API_KEY", KEY)
    monkeypatch.setattr(hosted.HostedEngine.__init__, "__defaults__", (server.url, server.url))
    from polvo_adapters.services.ezthrottle import EZThrottle

    monkeypatch.setattr(EZThrottle.__init__, "__defaults__", (None, server.url, server.url))
    assert main(["job", "https://api.example.com/x", "--region", "iad", "--key", "order-1"]) == 0
    assert "job_1  queued" in capsys.readouterr().out
    job = json.loads(json.loads(server.received[0].body)["body"])
    assert (job["regions"], job["idempotent_key"]) == (["iad"], "order-1")
    server.always = None
    monkeypatch.setenv("EZTHROTTLE_API_KEY", "with space")
    assert main(["job", "https://api.example.com/x"]) == 2
    assert "api_key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_that_does_not_end_in_time_stays_in_the_queue(
    server: EZThrottleServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.slow = 1.0
    queue = ["--queue", str(tmp_path / "jobs")]
    assert main(["job", server.url + "/target/slow", "--wait", "0.1", "--key", "k", *queue]) == 3
    assert "it goes on" in capsys.readouterr().err
    assert main(["job", server.url + "/target/slow", "--key", "k", *queue]) == 0
    assert "success" in capsys.readouterr().out


def test_bad_options_are_usage_errors(server: EZThrottleServer, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ftp://x"], ["https://x", "--region", "=y"], ["https://x", "--retries", "-1"]):
        with pytest.raises(SystemExit):
            main(["job", *arguments])
    assert main(["job", server.url, "-d", "x", "--key", " "]) == 2
    assert not server.received
