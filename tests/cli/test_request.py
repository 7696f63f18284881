"""The verbs of the command line, run for real against the failure server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
import requests

from polvo_adapters.__main__ import main
from polvo_adapters.cli import request
from polvo_adapters.cli.arguments import VERBS
from polvo_adapters.runtime.clock import SystemClock

PATIENCE = 60.0
"""Seconds after which a test gives up; nothing takes that long unless it is broken."""

NO_TERMINAL = {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONIOENCODING"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NO_TERMINAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONUTF8", "1")


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(SystemClock, "uniform", staticmethod(lambda low, high: low))


def polvo(*arguments, **keywords):
    command = [sys.executable, "-m", "polvo_adapters", *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, **keywords)


def start(*arguments, before="pass", **keywords):
    code = f"import sys; {before}; from polvo_adapters.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **keywords)


def fault_url(server, code=200, **query):
    query = "".join(f"&{name}={quote(value)}" for name, value in query.items())
    return f"{server.url}/fault/status?code={code}{query}"


def make_response(content, **headers):
    response = requests.Response()
    response._content = content
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    return response


class TestAnswer:
    def test_success_after_retries_tells_each_attempt_and_wait(self, server, capsys, no_waits):
        url = f"{server.url}/fault/status?code=503&times=2&retry_after=0&key=k"

        assert main(["get", url]) == 0

        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert lines[0] == f"GET {server.url}/fault/status"  # without the query
        assert lines[1] == "200 OK"
        assert "Content-Type: application/json" in lines
        assert '  "method": "GET",' in lines
        assert re.findall(r"^ +(\d) (\d{3}) .* \d+\.\d{3} s$", out, re.MULTILINE) == [
            ("1", "503"),
            ("2", "503"),
            ("3", "200"),
        ]
        assert len(re.findall(r"^ +wait: 503, Retry-After 0 s .* \d+\.\d{3} s$", out, re.MULTILINE)) == 2
        assert lines[-1].startswith("3 attempts in ")
        assert err == ""
        assert server.counters_for("k")["received"] == 3

    @pytest.mark.parametrize(("code", "expected"), [(204, 0), (304, 0), (404, 1), (500, 1)])
    def test_exit_code_follows_the_status(self, server, code, expected):
        ended = polvo("get", fault_url(server, code), "--attempts", "1")

        assert ended.returncode == expected
        assert f"\n{code} ".encode() in ended.stdout
        assert ended.stderr == b""

    @pytest.mark.parametrize("more", [("--attempts", "1"), ("--deadline", "2")])
    def test_429_is_shown_although_the_session_raises(self, server, capsys, more):
        assert main(["get", fault_url(server, 429, retry_after="77", body="slow down"), *more]) == 1

        out, err = capsys.readouterr()
        assert "429 Too Many Requests" in out
        assert "slow down" in out
        assert "called again after 77 s" in out
        assert "1 attempt in" in out
        assert err == ""

    def test_note_says_why_there_was_no_further_attempt(self, server, capsys):
        assert main(["post", fault_url(server, 500)]) == 1

        assert "POST is not repeated: the server may have processed it" in capsys.readouterr().out

    def test_attempts_bounds_them(self, server, capsys, no_waits):
        assert main(["get", fault_url(server, 503, key="k"), "--attempts", "2"]) == 1

        assert "gave up after 2 attempts" in capsys.readouterr().out
        assert server.counters_for("k")["received"] == 2

    def test_redirects_are_told_hop_by_hop(self, server, capsys):
        assert main(["get", f"{server.url}/fault/redirect"]) == 0

        out = capsys.readouterr().out
        assert "1 302 Found" in out
        assert "1 200 OK" in out
        assert out.startswith(f"GET {server.url}/echo\n200 OK\n")

    def test_secrets_are_not_shown(self, server, capsys):
        url = fault_url(server, header="Set-Cookie: sid=s3cret").replace("//", "//user:s3cret@", 1)

        assert main(["get", url]) == 0

        out = capsys.readouterr().out
        assert "Set-Cookie: «…»" in out
        assert "s3cret" not in out.replace(quote("sid=s3cret"), "")

    def test_control_codes_of_the_server_are_spelled_out(self, server, capsys):
        assert main(["get", fault_url(server, body="\x1b[31mred", header="X-Evil: \x1b[2J")]) == 0

        out = capsys.readouterr().out
        assert "\\x1b[31mred" in out
        assert "X-Evil: \\x1b[2J" in out
        assert "\x1b" not in out

    def test_binary_body_is_told_by_its_size(self, server, capsys):
        assert main(["get", fault_url(server, body="\0\1\2")]) == 0

        assert "3 bytes of text/plain" in capsys.readouterr().out

    def test_long_lines_are_not_broken(self, server, capsys):
        assert main(["get", f"{server.url}/echo?size=5000"]) == 0

        assert "x" * 5000 in capsys.readouterr().out


class TestBodyOnly:
    def test_stdout_has_the_bytes_and_stderr_the_rest(self, server):
        ended = polvo("get", f"{server.url}/echo?size=70000", "--body")

        assert ended.returncode == 0
        assert ended.stdout == b"x" * 70000
        assert b"200 OK" in ended.stderr
        assert b"1 attempt in" in ended.stderr

    def test_error_status_keeps_its_body_and_its_exit_code(self, server):
        ended = polvo("get", fault_url(server, 404, body="gone"), "--body")

        assert (ended.returncode, ended.stdout) == (1, b"gone")

    def test_without_a_response_stdout_is_empty(self, server):
        ended = polvo("post", f"{server.url}/fault/reset", "--body")

        assert (ended.returncode, ended.stdout) == (3, b"")


class TestNoResponse:
    def test_endless_body_ends_at_the_deadline(self, server):
        ended = polvo("get", f"{server.url}/fault/drip?size=1000000&interval=0.02", "--deadline", "0.3")

        assert ended.returncode == 3
        assert ended.stdout == b""
        for expected in (b"DeadlineExceeded", b"1 deadline", b"1 attempt in 0.", b"--deadline"):
            assert expected in ended.stderr
        assert b"Traceback" not in ended.stderr

    def test_503_that_outlasts_the_deadline_is_shown(self, server, capsys):
        assert main(["get", fault_url(server, 503, retry_after="60"), "--deadline", "5"]) == 1

        out = capsys.readouterr().out
        assert re.search(r"503, Retry-After 60 s, but only (5|4\.\d+) s are left before the deadline", out)
        assert "The server asks to be called again after 60 s." in out

    def test_lost_post_is_in_doubt(self, server, capsys):
        assert main(["post", f"{server.url}/fault/reset?key=k", "-d", "a=1"]) == 3

        err = capsys.readouterr().err
        assert "ConnectionError" in err
        assert "closed the connection before" in err
        assert "find out before you send it again" in err
        assert server.counters_for("k") == {"received": 1, "processed": 1}

    def test_where_nothing_was_sent_nothing_is_in_doubt(self, capsys, no_waits):
        with socket.socket() as taken:  # bound and not listening: nobody answers there
            taken.bind(("127.0.0.1", 0))
            assert main(["post", f"http://127.0.0.1:{taken.getsockname()[1]}/"]) == 3

        err = capsys.readouterr().err
        assert "nothing was sent" in err
        assert "3 no connection" in err
        assert "find out" not in err

    def test_timeout_is_an_attempt_s(self, server, capsys):
        assert main(["get", f"{server.url}/fault/hang", "--timeout", "0.1", "--attempts", "1"]) == 3

        err = capsys.readouterr().err
        assert "sent nothing for too long" in err
        assert re.search(r"1 attempt in \d\.", err)  # not the 30 s that hold without the option

    def test_error_before_the_first_attempt(self, capsys):
        assert main(["get", "http://[broken/"]) == 3

        assert "InvalidURL" in capsys.readouterr().err

    def test_ca_bundle_that_is_not_there(self, monkeypatch, capsys):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")

        assert main(["get", "https://127.0.0.1:9/"]) == 3

        assert "OSError" in capsys.readouterr().err


class TestWhatIsSent:
    @pytest.mark.parametrize("verb", VERBS)
    def test_method(self, server, verb):
        assert main([verb, f"{server.url}/echo"]) == 0

        assert [record.method for record in server.requests] == [verb.upper()]

    @pytest.mark.parametrize(
        ("arguments", "body", "kind"),
        [
            (("--data", "a=ü"), "a=ü".encode(), "application/x-www-form-urlencoded"),
            (("--json", '{"a": 1.10}'), b'{"a": 1.10}', "application/json"),
            (("-d", "x", "-H", "content-type: text/plain"), b"x", "text/plain"),
            ((), b"", None),
        ],
    )
    def test_body(self, server, arguments, body, kind):
        assert main(["put", f"{server.url}/echo", *arguments]) == 0

        (record,) = server.requests
        assert record.body == body
        assert record.headers.get("content-type") == kind

    def test_body_from_a_file(self, server, tmp_path):
        file = tmp_path / "body"
        file.write_bytes(b"\0\xff\r\n")

        assert main(["post", f"{server.url}/echo", "-d", f"@{file}"]) == 0

        assert server.requests[0].body == b"\0\xff\r\n"

    def test_body_from_stdin(self, server):
        assert polvo("post", f"{server.url}/echo", "-d", "@-", input=b"\0\xffpiped").returncode == 0

        assert server.requests[0].body == b"\0\xffpiped"

    def test_headers(self, server):
        given = ["-H", "X-One: 1", "-H", "x-one:2", "-H", "Cookie: a=1", "-H", "Cookie: b=2", "-H", "X-Name: ü"]

        assert main(["get", f"{server.url}/echo", *given]) == 0

        headers = server.requests[0].headers
        assert headers["x-one"] == "1, 2"
        assert headers["cookie"] == "a=1; b=2"
        assert headers["x-name"].encode("latin-1") == "ü".encode()


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["get"], "URL"),
            (["get", "example.com/x"], "'example.com/x' has no scheme: write https://example.com/x"),
            (["get", "localhost:8000"], "has no scheme"),
            (["get", "ftp://example.com"], "unsupported scheme ftp://"),
            (["get", "http://"], "names no host"),
            (["get", "http://h", "-H", "no colon"], "'Name: value'"),
            (["get", "http://h", "-H", "X: a\r\nY: b"], "line break"),
            (["get", "http://h", "--timeout", "0"], "positive number"),
            (["get", "http://h", "--deadline", "nan"], "positive number"),
            (["get", "http://h", "--attempts", "0"], "whole number"),
            (["post", "http://h", "--json", "{"], "not JSON"),
            (["post", "http://h", "-d", "@/nowhere/x"], "cannot be read"),
            (["post", "http://h", "-d", "x", "--json", "1"], "not allowed with"),
            (["fetch", "http://h"], "fetch"),
        ],
    )
    def test_mistakes_are_told_with_exit_code_2(self, arguments, message, capsys):
        with pytest.raises(SystemExit) as ended:
            main(arguments)

        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert message in err
        assert out == ""

    def test_no_scheme_in_a_process_of_its_own(self):
        ended = polvo("get", "example.com")

        assert (ended.returncode, ended.stdout) == (2, b"")

    def test_alone_it_lists_the_commands(self, capsys):
        assert main([]) == 0

        out = capsys.readouterr().out
        assert "  get URL" in out
        assert "  demo " in out

    @pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["get", "--help"]])
    def test_version_and_help_load_nothing_heavy(self, arguments):
        ended = polvo(*arguments, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})

        loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.decode().splitlines()}
        assert ended.returncode == 0
        assert ended.stdout
        assert "polvo_adapters.cli.arguments" in loaded
        assert loaded.isdisjoint({"rich", "requests", "urllib3", "asyncio"})

    @pytest.mark.parametrize("command", [["get", "http://127.0.0.1:9/"], ["demo"]])
    def test_without_rich_one_line_says_what_to_install(self, command):
        ended = start(*command, before="sys.modules['rich'] = None", stdout=-1, stderr=-1)
        out, err = ended.communicate(timeout=PATIENCE)

        assert ended.returncode == 2
        assert out == b""
        assert re.fullmatch(r"the command line needs rich: \S+ -m pip install (-e )?'\S+\[cli\]'\n", err.decode())


class TestProcess:
    @pytest.mark.skipif(sys.platform == "win32", reason="signals")
    def test_interrupt_is_quiet(self, server):
        # A process that was started in the background inherits that it ignores SIGINT.
        before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        process = start("get", f"{server.url}/fault/hang?key=k", before=before, stdout=-1, stderr=-1)
        give_up = time.monotonic() + PATIENCE
        while not server.counters_for("k")["received"]:
            assert time.monotonic() < give_up
            time.sleep(0.01)

        process.send_signal(signal.SIGINT)

        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 130

    @pytest.mark.skipif(sys.platform == "win32", reason="pipes")
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize("more", [["--body"], []])
    def test_closed_pipe_is_quiet(self, server, monkeypatch, more, unbuffered):
        monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
        process = start("get", f"{server.url}/echo?size=3000000", *more, stdout=-1, stderr=-1)
        with process:
            process.stdout.read(10)
            process.stdout.close()
            err = process.stderr.read()

        assert process.returncode == 141
        assert b"Error" not in err
        assert b"Exception" not in err

    def test_ascii_output_does_not_fail(self, server):
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}

        ended = polvo("get", fault_url(server, body="ü « 漢"), env=env)

        assert ended.returncode == 0
        assert b"? ? ?" in ended.stdout
        assert b" ####" in ended.stdout

    @pytest.mark.parametrize(("code", "colour"), [(200, b"32"), (404, b"33"), (500, b"31")])
    def test_status_is_coloured_by_class_unless_no_color(self, server, code, colour):
        arguments = ("get", fault_url(server, code), "--attempts", "1")

        coloured = polvo(*arguments, env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"})
        plain = polvo(*arguments, env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1"})

        assert b"\x1b[1;%bm%d " % (colour, code) in coloured.stdout
        assert b"\x1b[1;%bm" % colour not in plain.stdout
        assert b"%d " % code in plain.stdout

    @pytest.mark.skipif(sys.platform == "win32", reason="no pty")
    def test_terminal_gets_a_spinner_and_a_shortened_body(self, server):
        text = "".join(f"line{number}\n" for number in range(request.MOST_LINES + 7))
        env = {**os.environ, "TERM": "xterm"}
        env.pop("COLUMNS")
        main_end, terminal = os.openpty()
        process = start("get", fault_url(server, body=text), stdout=terminal, stderr=terminal, env=env)
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(main_end, 65536):
                shown += piece
        except OSError:  # how Linux tells the end
            pass
        os.close(main_end)

        assert process.wait(PATIENCE) == 0
        assert f"GET {server.url} ".encode() in shown
        assert b"0 s" in shown
        assert f"line{request.MOST_LINES - 1}\r\n".encode() in shown
        assert f"line{request.MOST_LINES}\r\n".encode() not in shown
        assert b"(7 lines more; --body prints everything)" in shown


class TestBodyText:
    @pytest.mark.parametrize(
        ("content", "kind", "expected"),
        [
            (b'{"b":1,"a":["\xc3\xbc"]}', "application/json", '{\n  "b": 1,\n  "a": [\n    "ü"\n  ]\n}'),
            (b'{"a":1}\n{"a":2}\n', "application/jsonl", '{"a":1}\n{"a":2}'),
            (b"[" * 100_000, "application/json", "[" * 100_000),
            (b"\xfc", "text/plain", "ü"),
            ("ü".encode(), "text/plain", "ü"),
            ("ü".encode("utf-16"), "text/plain; charset=utf-16", None),
            ("ф".encode("cp1251"), "text/plain; charset=windows-1251", "ф"),
            (b"\xfc", "text/plain; charset=nonsense", "ü"),
            (b"\xfc", "application/octet-stream", None),
            (b"a\0b", "text/plain", None),
            (b'{"a":"\\u009b2J"}', "application/json", '{\n  "a": "\\x9b2J"\n}'),
        ],
    )
    def test_text(self, content, kind, expected):
        assert request.format_body(make_response(content, Content_Type=kind)) == expected


class TestCut:
    def test_what_fits_stays(self):
        text = "\n".join("x" * request.MOST_LINES)

        assert request.shorten(text, 80) == (text, "")

    def test_lines(self):
        text = "x\n" * request.MOST_LINES + "y"

        assert request.shorten(text, 80) == (("x\n" * request.MOST_LINES).rstrip(), "1 line")

    def test_one_long_line(self):
        most = request.MOST_LINES * 80

        assert request.shorten("x" * (most + 1234), 80) == ("x" * most, "1,234 characters")
