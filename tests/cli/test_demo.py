"""The demo: its plan, the figures that it counts, and what it shows."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
from collections import Counter

import pytest

from polvo_adapters.__main__ import main
from polvo_adapters.cli import demo, demo_trial
from polvo_adapters.cli.demo_plan import ENDLESS, HEALTHY, SCENARIOS, PlannedCall, Scenario, make_plan
from polvo_adapters.cli.demo_trial import Limits
from polvo_adapters.cli.render import Screen
from polvo_adapters.runtime.clock import SystemClock

PATIENT = Limits(timeout=30.0, deadline=60.0, patience=60.0)
"""Times that only a broken trial reaches."""

BARE, RESILIENT, PASTED = demo_trial.CLIENTS
QUICK = [scenario for scenario in SCENARIOS if not scenario.slow]
HANG, DRIP = (scenario for scenario in SCENARIOS if scenario.slow)

EXPECTED = {
    "GET, Retry-After: 0": ("503", "ok", "ok"),
    "GET, connection reset": ("ConnectionError", "ok", "ok"),
    "POST, reset after work": ("ConnectionError", "ConnectionError", "ok, done 2x"),
    "GET, 500 twice": ("500", "ok", "ok"),
    "GET, body cut off": ("ChunkedEncodingError", "ok", "ChunkedEncodingError"),
    "GET, Retry-After: 0.2": ("503", "ok", "InvalidHeader"),
    "POST of a generator": ("503", "503", "ok, but empty"),
    "POST, 429": ("429", "ok", "ok"),
    "PUT, reset after work": ("ConnectionError", "ok", "ok"),
    "POST, 500 after work": ("500", "500", "ok, done 2x"),
    "GET, Retry-After: soon": ("503", "ok", "InvalidHeader"),
    "GET, closed unanswered": ("ConnectionError", "ok", "ok"),
    "GET, Retry-After: date": ("503", "ok", "ok"),
}
"""The result of each trouble that costs no time: requests alone, with the adapter, with the pasted Retry."""


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(SystemClock, "uniform", staticmethod(lambda low, high: low))


def calls(*scenarios):
    return [
        PlannedCall(number, each, b"" if each.upload == "none" else b"data") for number, each in enumerate(scenarios)
    ]


class TestPlan:
    def test_depends_on_the_seed_alone(self):
        assert make_plan(40, 1) == make_plan(40, 1)
        assert make_plan(40, 1) != make_plan(40, 2)

    def test_other_seeds_have_the_same_troubles(self):
        def labels(seed):
            return Counter(call.scenario.label for call in make_plan(40, seed))

        assert labels(1) == labels(2)

    @pytest.mark.parametrize("count", [1, 2, 7, 40, 200])
    def test_half_of_the_calls_are_healthy(self, count):
        plan = make_plan(count, 1)

        assert [call.number for call in plan] == list(range(count))
        assert sum(call.scenario in HEALTHY for call in plan) == count - count // 2

    def test_forty_calls_meet_every_trouble_and_the_slow_ones_once(self):
        met = Counter(call.scenario for call in make_plan(40, 1))

        assert set(SCENARIOS) <= set(met)
        assert (met[HANG], met[DRIP]) == (1, 1)
        assert Counter(call.scenario for call in make_plan(200, 1))[DRIP] == 1

    def test_gets_are_in_the_majority_and_uploads_carry_something(self):
        plan = make_plan(40, 1)

        assert sum(call.scenario.method == "GET" for call in plan) > 20
        assert all(bool(call.payload) == (call.scenario.upload != "none") for call in plan)

    def test_clients_and_calls_do_not_share_keys(self):
        keys = [call.key(client.name) for call in make_plan(40, 1) for client in demo_trial.CLIENTS]

        assert len(set(keys)) == len(keys) == 120

    def test_labels_are_unique(self):
        assert len({scenario.label for scenario in SCENARIOS}) == len(SCENARIOS)


class TestFigures:
    @pytest.mark.parametrize("position", range(3), ids=[client.name for client in demo_trial.CLIENTS])
    def test_what_becomes_of_each_trouble(self, server, no_waits, position):
        figures = demo_trial.run(calls(*QUICK), demo_trial.CLIENTS[position], server, PATIENT)

        seen = {result.call.scenario.label: demo.describe_result(result) for result in figures.results}
        assert seen == {label: expected[position] for label, expected in EXPECTED.items()}

    def test_harm_is_counted(self, server, no_waits):
        alone, resilient, pasted = demo_trial.run_all(calls(*QUICK, *HEALTHY), server, PATIENT)

        assert [each.duplicates for each in (alone, resilient, pasted)] == [0, 0, 2]
        assert [each.empty_uploads for each in (alone, resilient, pasted)] == [0, 0, 1]

    def test_every_call_ends_in_one_way(self, server, no_waits):
        plan = calls(*QUICK, *HEALTHY)

        for each in demo_trial.run_all(plan, server, PATIENT):
            counts = [each.count(ending) for ending in ("success", "error status", "exception", "stuck")]
            assert sum(counts) == len(each.results) == len(plan)
            assert each.count("success") >= len(HEALTHY)
            assert each.seconds > 0

    def test_requests_are_those_of_the_server_s_journal(self, server, no_waits):
        figures = demo_trial.run_all(calls(*QUICK, *HEALTHY), server, PATIENT)

        assert sum(each.requests_received for each in figures) == server.counters["received"]
        assert figures[0].requests_received == len(QUICK) + len(HEALTHY)

    def test_put_that_was_repeated_is_no_duplicate(self, server, no_waits):
        (put,) = (each for each in QUICK if each.label == "PUT, reset after work")

        (result,) = demo_trial.run(calls(put), RESILIENT, server, PATIENT).results

        assert result.times_processed == 2
        assert not result.is_duplicated

    def test_silence_is_survived_by_those_that_retry(self, server, no_waits):
        limits = Limits(timeout=0.3, deadline=60.0, patience=60.0)

        alone, resilient, pasted = (each.results[0] for each in demo_trial.run_all(calls(HANG), server, limits))

        assert (alone.ending, alone.detail) == ("exception", "ReadTimeout")
        assert (resilient.ending, pasted.ending) == ("success", "success")

    def test_body_without_end_meets_the_deadline(self, server):
        limits = Limits(timeout=30.0, deadline=0.2, patience=60.0)

        (result,) = demo_trial.run(calls(DRIP), RESILIENT, server, limits).results

        assert (result.ending, result.detail) == ("exception", "DeadlineExceeded")

    @pytest.mark.parametrize("client", [BARE, PASTED], ids=lambda client: client.name)
    def test_body_without_end_is_left_behind(self, server, client):
        after = Scenario("GET, healthy", "GET")

        figures = demo_trial.run(calls(DRIP, after), client, server, Limits(timeout=30.0, patience=0.2))

        assert figures.results[0].ending == "stuck"
        assert figures.seconds >= 0.2

    def test_the_endless_body_is_endless(self):
        assert ("size", ENDLESS) in DRIP.parameters
        assert ENDLESS * 0.05 > 1e9

    def test_progress_is_told_call_by_call(self, server, no_waits):
        told, lock = Counter(), threading.Lock()

        def tell(client, ending):
            with lock:
                told[client.name, ending] += 1

        figures = demo_trial.run_all(calls(*QUICK), server, PATIENT, tell)

        expected = {(each.client, ending): each.count(ending) for each in figures for _, ending, *_ in each.results}
        assert told == expected

    def test_proxies_of_the_environment_are_not_asked(self, server, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        for each in demo_trial.run_all(calls(HEALTHY[0]), server, PATIENT):
            assert each.count("success") == 1

    def test_a_bug_in_a_client_is_not_swallowed(self, server):
        with pytest.raises(ZeroDivisionError):
            demo_trial.run_all(calls(HEALTHY[0]), server, PATIENT, lambda client, ending: 1 / 0)


class TestShow:
    def rows(self, server):
        stream = io.StringIO()
        demo.show(demo_trial.run_all(calls(*QUICK, *HEALTHY), server, PATIENT), PATIENT, Screen(stream))
        return stream.getvalue().splitlines()

    def row(self, lines, start):
        (line,) = (line for line in lines if line.startswith(start))
        return line.removeprefix(start).split()

    def test_totals(self, server, no_waits, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")

        lines = self.rows(server)

        assert self.row(lines, "of 18 calls") == ["requests", "alone", "ResilientAdapter", "pasted", "Retry"]
        assert self.row(lines, "went right") == ["5", "15", "12"]
        assert self.row(lines, "looked right, and did harm") == ["0", "0", "3"]
        assert self.row(lines, "ended with an error status") == ["8", "2", "0"]
        assert self.row(lines, "ended with an exception") == ["5", "1", "3"]
        assert self.row(lines, "never ended") == ["0", "0", "0"]
        assert self.row(lines, "POSTs done more than once") == ["0", "0", "2"]
        assert self.row(lines, "uploads taken empty") == ["0", "0", "1"]

    def test_each_trouble_and_what_became_of_it(self, server, no_waits, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")

        lines = self.rows(server)

        for label, expected in EXPECTED.items():
            assert self.row(lines, f"{label} ") == ["1", *" ".join(expected).split()]
        assert self.row(lines, "GET, healthy") == ["3", "ok", "ok", "ok"]

    @pytest.mark.parametrize("width", [60, 80, 88, 100, 200])
    def test_no_word_is_broken(self, server, no_waits, monkeypatch, width):
        def words(width):
            monkeypatch.setenv("COLUMNS", str(width))
            stream = io.StringIO()
            demo.show(figures, PATIENT, Screen(stream))
            assert max(map(len, stream.getvalue().splitlines())) <= width
            return set(stream.getvalue().replace("─", " ").split())

        figures = demo_trial.run_all(calls(*QUICK, *HEALTHY), server, PATIENT)

        assert ("(calls)" in words(width)) == (width < 80)  # a line for each client only where it must be
        assert words(width) - words(300) <= {"an", "exception", "(1)", "(3)", "(calls)", "what", "became"}

    def test_harm_is_no_success(self):
        call = PlannedCall(0, next(each for each in SCENARIOS if each.upload == "generator"), b"data")

        def right(**keywords):
            return demo_trial.TrialResult(call, **{"ending": "success", "detail": "200", **keywords}).is_right

        assert right(times_processed=1)
        assert not right(times_processed=2)
        assert not right(arrived_empty=True)
        assert not right(ending="exception", detail="ReadTimeout")

    def test_cell_counts_where_calls_of_a_kind_ended_differently(self):
        call = PlannedCall(0, HEALTHY[0])
        results = [demo_trial.TrialResult(call, "success", "200"), demo_trial.TrialResult(call, "stuck", "stuck")]

        assert demo._cell([*results, results[0]]).plain == "2 ok, 1 stuck"
        assert demo._cell(results[:1]).plain == "ok"


class TestCommand:
    def test_without_a_terminal_it_is_plain_text(self):
        command = [sys.executable, "-m", "polvo_adapters", "demo", "--calls", "6", "--seed", "3"]

        ended = subprocess.run(command, capture_output=True, timeout=60, check=True)

        assert b"\x1b" not in ended.stdout
        assert b"\r" not in ended.stdout.replace(b"\r\n", b"\n")
        assert ended.stderr == b""
        *_, one, two, three, four = ended.stdout.decode(errors="replace").splitlines()
        assert "polvo.ResilientAdapter(" in one
        assert "session.mount(" in two
        assert "polvo.install(session" in three
        assert "import polvo_adapters.requests as requests" in four

    def test_port_that_is_taken(self, capsys):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["demo", "--port", str(port)]) == 2

        assert f"port {port} is not available" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [["--calls", "0"], ["--calls", "201"], ["--port", "65536"], ["--seed", "x"]])
    def test_mistakes(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["demo", *arguments])

        assert ended.value.code == 2
