"""`polvo probe`, run for real against the failure server, and what it foresees, without a server."""

from __future__ import annotations

import json
import re
import socket
from urllib.parse import quote

import pytest

from polvo_adapters.__main__ import main
from polvo_adapters.cli import probe, render
from polvo_adapters.cli.request import CallOutcome
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit.turns import TurnResult
from tests.cli.test_request import PATIENCE, polvo, start

DIALECTS = {
    "x": "x-ratelimit",
    "draft-3": "ietf-03",
    "draft-6": "ietf-06",
    "draft-7": "ietf-07",
    "draft-8": "ietf-08",
}
SHOPIFY = {
    "data": {},
    "extensions": {
        "cost": {"throttleStatus": {"maximumAvailable": 2000.0, "currentlyAvailable": 1990, "restoreRate": 100.0}}
    },
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONUTF8", "1")


def quota_url(server, limit=50, window=60, dialect="draft-8", key="k"):
    return f"{server.url}/quota?limit={limit}&window={window}&dialect={dialect}&key={key}"


def fault_url(server, code=200, **query):
    query = "".join(f"&{name}={quote(value)}" for name, value in query.items())
    return f"{server.url}/fault/status?code={code}{query}"


def make_result(*quotas, refused=None):
    return TurnResult("probe", "", 0, 0.05, 429 if refused else 200, quotas, refused)


class TestAccount:
    @pytest.mark.parametrize(("dialect", "name"), DIALECTS.items())
    def test_a_quota_in_any_dialect(self, server, capsys, dialect, name):
        assert main(["probe", quota_url(server, dialect=dialect)]) == 0

        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert lines[0] == f"GET {server.url}/quota"
        assert lines[1].startswith("200 OK after ")
        titles, row = lines[3].split(), lines[5]
        assert titles[-1] == "dialect"
        assert re.search(rf"\b50 +49 +requests .*\b6[01](\.\d)? s +(certain|likely) +{name}$", row.rstrip())
        assert "next request: at once" in lines
        alone = r"^alone: \d+ requests at once, then one every [\d.]+ s, until the reset in 6\d"
        assert re.search(alone, out, re.MULTILINE)
        assert re.search(r"^used up: ", out, re.MULTILINE)
        assert lines[-1] == f'session.mount("{server.url}/", polvo.RateLimitAdapter())'
        assert err == ""

    def test_one_request_without_policies(self, server):
        assert main(["probe", fault_url(server, 503, retry_after="0", key="k")]) == 0

        assert server.counters_for("k")["received"] == 1

    def test_no_quota(self, server, capsys):
        assert main(["probe", f"{server.url}/echo"]) == 0

        out = capsys.readouterr().out
        assert "no quota announced" in out
        assert "sends freely, and finds the rate if it is refused" in out

    def test_refusal_with_a_quota(self, server, capsys):
        url = quota_url(server, limit=1, window=900)
        assert main(["probe", url]) == 0
        assert main(["probe", url]) == 0

        out = capsys.readouterr().out.partition("429 Too")[2]
        assert "refused: 429, kind rate, come back in 900 s" in out
        assert "next request: RateLimitError with retry_after 900 s, beyond max_wait, 60 s" in out
        assert "alone" not in out

    def test_refusal_without_a_quota(self, server, capsys):
        assert main(["probe", fault_url(server, 429, retry_after="7")]) == 0

        out = capsys.readouterr().out
        assert "refused: 429, kind rate, come back in 7 s" in out
        assert "next request: waits 7 s" in out
        assert "then: one request finds out whether it is over" in out

    def test_refusal_of_concurrency(self, server, capsys):
        assert main(["probe", fault_url(server, 429, header="Stripe-Rate-Limited-Reason: endpoint-concurrency")]) == 0

        out = capsys.readouterr().out
        assert "kind concurrency" in out
        assert "under way: at most 1 at once" in out

    def test_quota_in_the_body(self, server, capsys):
        assert main(["probe", fault_url(server, body=json.dumps(SHOPIFY))]) == 0

        out = capsys.readouterr().out
        assert re.search(r"graphql +2,000 +1,990 +points +20 s +0.1 s +certain +shopify", out)
        assert "learned from the responses" in out
        assert "reset in 0.1" not in out.partition("next request")[2]

    def test_redirect_is_not_followed(self, server, capsys):
        assert main(["probe", f"{server.url}/fault/redirect?key=k"]) == 0

        assert "redirected, and not followed" in capsys.readouterr().out
        assert len(server.requests) == 1

    def test_control_codes_of_the_server_are_spelled_out(self, capsys):
        evil = "\x1b[2J"
        quotas = [Quota(evil, 5, 4, 9.0, unit=evil, scope=evil, group=evil, dialect=evil)]
        found = probe.Finding("GET", "http://h/", 429, evil, 0.1, quotas, Throttled("rate", reason=evil), None)

        probe.show(found, render.open_screens()[0])

        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert out.count("\\x1b") == 7


class TestJson:
    def test_the_same_as_json(self, server, capsys):
        assert main(["probe", quota_url(server), "--json"]) == 0

        out, err = capsys.readouterr()
        found = json.loads(out)
        (quota,) = found.pop("quotas")
        expected = found.pop("forecast")
        assert quota["dialect"] == "ietf-08"
        assert (quota["limit"], quota["remaining"], quota["window"]) == (50.0, 49.0, 60.0)
        assert expected["wait"] == 0.0
        assert expected["at_once"] > 1
        assert expected["max_wait"] == 60.0
        assert found.pop("seconds") < PATIENCE
        assert found == {
            "method": "GET",
            "url": f"{server.url}/quota",
            "status": 200,
            "reason": "OK",
            "refused": None,
            "mount": f'session.mount("{server.url}/", polvo.RateLimitAdapter())',
        }
        assert err == ""

    def test_refusal(self, server, capsys):
        assert main(["probe", fault_url(server, 429, retry_after="7"), "--json"]) == 0

        found = json.loads(capsys.readouterr().out)
        expected = {"kind": "rate", "retry_after": 7.0, "quotas": [], "reason": "429", "scope": "", "processed": False}
        assert found["refused"] == expected
        assert found["forecast"]["wait"] == 7.0
        assert found["forecast"]["used_up"] is None

    def test_no_quota(self, server, capsys):
        assert main(["probe", f"{server.url}/echo", "--json"]) == 0

        found = json.loads(capsys.readouterr().out)
        assert (found["quotas"], found["forecast"]) == ([], None)


class TestWhatIsSent:
    def test_method_and_headers(self, server):
        assert main(["probe", f"{server.url}/echo", "-X", "post", "-H", "X-One: 1", "-H", "x-one: 2"]) == 0

        (record,) = server.requests
        assert record.method == "POST"
        assert record.headers["x-one"] == "1, 2"


class TestSecrets:
    @pytest.mark.parametrize("more", [(), ("--json",)])
    def test_an_answer_shows_none(self, server, capsys, more):
        url = f"{server.url}/echo?token=s3cret".replace("//", "//user:s3cret@", 1)

        assert main(["probe", url, "-H", "X-Api-Key: s3cret", *more]) == 0

        out, err = capsys.readouterr()
        assert "s3cret" not in out + err
        assert server.requests[0].headers["authorization"]

    def test_an_error_that_names_the_url_shows_none(self, capsys):
        error = OSError("no good: http://u:s3cret@h/x (url: /x?token=s3cret&a=s3cret (Caused by 'that'))")

        render.open_screens()[0].print(probe._make_error_panel(CallOutcome(None, error, None)))

        out = capsys.readouterr().out
        assert "http://…@h/x (url: /x?… (Caused by 'that'))" in out
        assert "s3cret" not in out

    @pytest.mark.parametrize("url", ["http://u:s3cret@{host}/?token=s3cret", "http://u:s3cret@[x/?token=s3cret"])
    def test_an_error_shows_none(self, capsys, url):
        with socket.socket() as taken:  # bound and not listening: nobody answers there
            taken.bind(("127.0.0.1", 0))
            url = url.format(host=f"127.0.0.1:{taken.getsockname()[1]}")
            assert main(["probe", url, "-H", "Authorization: Bearer s3cret"]) == 3

        out, err = capsys.readouterr()
        assert out == ""
        assert err != ""
        assert "s3cret" not in err


class TestNoAnswer:
    @pytest.mark.parametrize("more", [(), ("--json",)])
    def test_connection_refused(self, capsys, more):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            assert main(["probe", f"http://127.0.0.1:{taken.getsockname()[1]}/", *more]) == 3

        out, err = capsys.readouterr()
        assert out == ""
        assert "ConnectionError" in err
        assert "nothing was sent" in err

    def test_timeout(self, server, capsys):
        assert main(["probe", f"{server.url}/fault/hang", "--timeout", "0.1"]) == 3

        assert "sent nothing for too long" in capsys.readouterr().err

    def test_in_a_process_of_its_own(self, server):
        ended = polvo("probe", quota_url(server))

        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"next request: at once" in ended.stdout

    def test_without_rich_one_line_says_what_to_install(self):
        ended = start("probe", "http://127.0.0.1:9/", before="sys.modules['rich'] = None", stdout=-1, stderr=-1)
        out, err = ended.communicate(timeout=PATIENCE)

        assert (ended.returncode, out) == (2, b"")
        assert b"[cli]" in err

    @pytest.mark.parametrize("arguments", [["example.com"], ["http://h", "-X", "a b"], ["http://h", "-H", "no colon"]])
    def test_mistakes_are_told_with_exit_code_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["probe", *arguments])

        assert ended.value.code == 2


class TestForecast:
    def test_nothing_to_go_by(self):
        assert probe.forecast(make_result()) is None
        assert probe.forecast(make_result(Quota("minute", limit=60, window=60.0))) is None

    def test_half_at_once_and_the_rest_until_the_reset(self):
        expected = probe.forecast(make_result(Quota("core", 5000, 4999, 3600.0, group="core", resolution=1.0)))

        assert expected.wait == 0
        assert 2400 <= expected.at_once <= 2500
        assert expected.every == pytest.approx(3600 / 2500, rel=0.1)
        assert expected.reset == 3600
        assert expected.used_up > expected.max_wait == 60

    def test_large_quotas_are_not_counted_to_the_end(self):
        expected = probe.forecast(make_result(Quota("", 1e9, 1e9 - 1, 60.0, 60.0)))

        assert (expected.at_once, expected.every) == (probe.MOST_AT_ONCE, None)

    def test_the_tightest_quota_names_the_reset(self):
        day, second = Quota("day", 1000, 999, 86_400.0, 86_400.0), Quota("second", 10, 9, 1.0, 1.0)

        assert probe.forecast(make_result(second, day)).reset == 86_400

    def test_a_bucket_refills_and_has_no_reset(self):
        expected = probe.forecast(make_result(Quota("", 40, 39, 0.5, 20.0, dialect="shopify")))

        assert expected.reset is None
        assert 15 <= expected.at_once <= 40
        assert expected.every == pytest.approx(20 / 40, rel=0.5)

    def test_concurrency(self):
        expected = probe.forecast(make_result(Quota("", 7, 6, unit="concurrent-requests")))

        assert (expected.most, expected.used_up, expected.wait) == (7, None, 0)

    def test_refused(self):
        expected = probe.forecast(make_result(refused=Throttled("rate", 90.0)))

        assert (expected.wait, expected.at_once, expected.every, expected.most) == (90.0, 0, None, None)
