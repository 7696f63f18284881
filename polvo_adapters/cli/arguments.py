"""The parser of the command line.

Every value is checked here, so that a command runs only with values that can work, and a mistake is reported with
the usage line and exit code 2. Only the standard library is imported.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from functools import partial
from pathlib import Path

from polvo_adapters.version import __version__

VERBS = ("get", "post", "put", "patch", "delete", "head", "options")

MAX_DEMO_CALLS = 200

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LONGEST_NAME = 20  # of what is taken for the name of a header
_LINE_BREAK = re.compile(r"[\r\n\0]")
_OVERVIEW = """\
commands:
  get URL      make a real request, with retries and one deadline, and show each attempt and wait;
               post, put, patch, delete, head and options likewise
  download URL get a file, whole or not at all, and go on where it breaks off, now or in a later run
  job URL      submit a job to EZThrottle, or to a queue of this machine, and show what becomes of it
  probe URL    send one request, and show what quota the response announces and what a rate limit
               would do with it
  demo         send the same calls to a failing server in three ways, and compare the results
  login        log a user in at an authorization server, and keep the token in a token cache
  tokens PATH  show what is in a token cache, or revoke or clear tokens in it

examples:
  {prog} get https://api.example.com/items --deadline 10
  {prog} post https://api.example.com/items --json '{{"name": "polvo"}}'
  {prog} get https://api.example.com/items --body > items.json
  {prog} download https://files.example.com/model.bin -o models/
  {prog} job https://api.example.com/orders -X POST --json '{{"order": 17}}' --queue ~/.jobs
  {prog} probe https://api.example.com/items
  {prog} demo
  {prog} login --issuer https://id.example.com --client-id app --token-cache ~/.app/tokens.json
  {prog} tokens ~/.app/tokens.json
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `module` of the result names the module of the command."""
    prog = "python -m polvo_adapters" if Path(sys.argv[0]).name == "__main__.py" else "polvo"
    top = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] [--version] COMMAND ...",
        description="Resilience for code that already uses requests.",
        epilog=_OVERVIEW.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"polvo_adapters {__version__}")
    top.set_defaults(module=None)
    # The overview lists the commands already.
    commands = top.add_subparsers(metavar="COMMAND", prog=prog, help=argparse.SUPPRESS)
    add_exact = partial(commands.add_parser, allow_abbrev=False)
    for verb in VERBS:
        _add_request(add_exact(verb, description=f"Make a {verb.upper()} request."))
        commands.choices[verb].set_defaults(module="polvo_adapters.cli.request", method=verb.upper())
    _add_download(add_exact("download", description="Get a file, and go on where it breaks off."))
    _add_job(add_exact("job", description="Submit a job, and show what becomes of it."))
    _add_probe(add_exact("probe", description="Show what quota an API announces."))
    _add_demo(commands.add_parser("demo", description="Compare three clients at a failing server."))
    _add_login(add_exact("login", description="Log a user in, and keep the token."))
    _add_tokens(add_exact("tokens", description="List, show, revoke or clear the tokens of a token cache."))
    return top


def _add_target(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("url", metavar="URL", type=_parse_url, help="with its scheme, http:// or https://")
    add(
        "-H",
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        type=_parse_header,
        action="append",
        default=[],
        help="may be given more than once",
    )
    add("--timeout", metavar="S", type=_parse_seconds, default=30.0, help="for connecting, and for each next byte (30)")


def _add_request(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    add = command.add_argument
    body = command.add_mutually_exclusive_group()
    form = "body, sent as a form; @FILE reads a file, @- stdin"
    body.add_argument("-d", "--data", metavar="TEXT", type=_parse_data, help=form)
    body.add_argument("--json", metavar="TEXT", type=_parse_json, help="body, sent as JSON")
    add("--deadline", metavar="S", type=_parse_seconds, help="for the whole call, waits included (none)")
    add("--attempts", metavar="N", type=_parse_count, default=3, help="most times to send it, where that is safe (3)")
    add("--body", action="store_true", help="only the body, as it is, to stdout; the rest to stderr")


def _add_download(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    add = command.add_argument
    where = "file, which is replaced, or directory (the current one); in a directory, the URL names the file"
    add("-o", "--output", metavar="PATH", default=".", help=where)
    add("--deadline", metavar="S", type=_parse_seconds, help="for the whole download, waits included (none)")
    add("--attempts", metavar="N", type=_parse_count, default=5, help="most attempts in a row that bring nothing (5)")
    change = "begin anew where the file changes meanwhile (restart), or fail"
    add("--on-change", choices=("restart", "fail"), default="restart", help=change)
    command.set_defaults(module="polvo_adapters.cli.download")


def _add_job(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    add = command.add_argument
    add("-X", "--request", dest="method", metavar="METHOD", type=_parse_method, default="GET", help="its method (GET)")
    body = command.add_mutually_exclusive_group()
    body.add_argument("-d", "--data", metavar="TEXT", type=_parse_data, help="body; @FILE reads a file, @- stdin")
    body.add_argument("--json", metavar="TEXT", type=_parse_json, help="body, sent as JSON")
    add(
        "--queue",
        metavar="PATH",
        help="directory of a queue on this machine, in which the job is kept until it is done",
    )
    add("--frugal", action="store_true", help="call from here first, and submit a job only where that fails")
    add("--key", metavar="KEY", help="idempotent key: a second job with it is the same one (a new one)")
    add("--honours-keys", action="store_true", help="the server honours keys: a lost POST may be sent again")
    add(
        "--region", dest="regions", metavar="NAME[=URL]", type=_parse_region, action="append", default=[], help="region"
    )
    add("--mode", choices=("race", "fanout"), default="race", help="what several regions are for (race)")
    add(
        "--webhook",
        dest="webhooks",
        metavar="URL",
        type=_parse_url,
        action="append",
        default=[],
        help="gets the result",
    )
    add("--retries", metavar="N", type=partial(_parse_whole, least=0, most=100), help="most repeats in a region (2)")
    add("--wait", metavar="S", type=_parse_seconds, help="for the job to end (as long as it takes)")
    add("--as-json", action="store_true", help="show the result as JSON")
    command.set_defaults(module="polvo_adapters.cli.job")


def _add_probe(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    add = command.add_argument
    add("-X", "--request", dest="method", metavar="METHOD", type=_parse_method, default="GET", help="its method (GET)")
    add("--json", action="store_true", help="show it as JSON")
    command.set_defaults(module="polvo_adapters.cli.probe")


def _add_demo(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--calls", metavar="N", type=_parse_calls, default=40, help=f"calls per client, at most {MAX_DEMO_CALLS} (40)")
    add("--seed", metavar="N", type=int, default=1, help="picks the order of the calls (1)")
    add("--port", metavar="N", type=_parse_port, default=0, help="of the server; 0 picks a free one (0)")
    command.set_defaults(module="polvo_adapters.cli.demo")


def _add_login(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--issuer", metavar="URL", type=_parse_url, help="name of the authorization server, a URL")
    add("--token-url", metavar="URL", type=_parse_url, help="its token endpoint, where it has no such name")
    add("--authorization-url", metavar="URL", type=_parse_url, help="its authorization endpoint")
    add("--device-authorization-url", metavar="URL", type=_parse_url, help="its device authorization endpoint")
    add("--client-id", metavar="ID", required=True, help="name of the client")
    _add_client_secret(command)
    add("--scope", metavar="NAME", action="append", help="may be given more than once")
    add("--audience", metavar="NAME", help="the API that the token is for")
    add("--tenant", metavar="NAME", help="the tenant that the token is for")
    add("--token-cache", metavar="PATH", required=True, help="where the token is kept, encrypted")
    flows = "confirm a code on any device, or use the browser of this machine (device)"
    add("--flow", choices=("device", "code"), default="device", help=flows)
    add("--port", metavar="N", type=_parse_port, default=0, help="for the browser to come back to (any)")
    add("--path", metavar="PATH", type=_parse_path, default="/callback", help="of the redirect URI (/callback)")
    add("--no-browser", action="store_true", help="only print the URL")
    add("--timeout", metavar="S", type=_parse_seconds, help="for the user (300; with a device until the code expires)")
    add("--dpop", action="store_true", help="bind the token to a key (RFC 9449)")
    command.set_defaults(module="polvo_adapters.cli.login")


def _add_client_secret(command: argparse.ArgumentParser) -> None:
    secret = command.add_mutually_exclusive_group()
    secret.add_argument("--client-secret-env", metavar="NAME", help="environment variable with the client's secret")
    secret.add_argument("--client-secret-file", metavar="PATH", help="file with the client's secret")
    secret.add_argument("--client-secret-prompt", action="store_true", help="ask for the client's secret")
    secret.add_argument("--client-secret", nargs="?", action=_RefuseSecret, help=argparse.SUPPRESS)


class _RefuseSecret(argparse.Action):
    """An action that refuses a secret without repeating it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(
            "every user of this machine can read a secret on the command line: use --client-secret-env, "
            "--client-secret-file or --client-secret-prompt, and change the secret if this was it"
        )


def _add_tokens(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", metavar="PATH", help="the token cache, or the file of a SQLiteStore")
    command.add_argument("--json", action="store_true", help="list as JSON")
    command.set_defaults(module="polvo_adapters.cli.tokens", action="list")
    actions = command.add_subparsers(metavar="ACTION", dest="action", help="list (the default), show, revoke or clear")
    add_exact = partial(actions.add_parser, allow_abbrev=False)
    listing = add_exact("list", description="List all records.")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    show = add_exact("show", description="Show one record, without its secrets.")
    show.add_argument("record", metavar="N|KEY", help="number in the list, or key")
    revoke = add_exact("revoke", description="Revoke tokens at their server, and clear them.")
    revoke.add_argument("records", metavar="N|KEY", nargs="+", help="numbers in the list, or keys")
    revoke.add_argument("--issuer", metavar="URL", type=_parse_url, help="its server, if the key does not name it")
    revoke.add_argument("--revocation-url", metavar="URL", type=_parse_url, help="its revocation endpoint")
    _add_client_secret(revoke)
    clear = add_exact("clear", description="Remove tokens, so that no program that shares the cache uses them.")
    which = clear.add_mutually_exclusive_group(required=True)
    which.add_argument("records", metavar="N|KEY", nargs="*", default=[], help="numbers in the list, or keys")
    which.add_argument("--all", action="store_true", help="all records")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def _parse_path(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path such as /callback")
    return text


def _parse_url(text: str) -> str:
    if re.match(r"https?://[^/?#]", text, re.IGNORECASE):
        return text
    shown = _hide_secrets(text)
    scheme, separator, rest = shown.partition("://")
    if not separator:
        raise argparse.ArgumentTypeError(f"{shown!r} has no scheme: write https://{shown} or http://{shown}")
    if scheme.lower() in {"http", "https"}:
        raise argparse.ArgumentTypeError(f"{shown!r} names no host")
    raise argparse.ArgumentTypeError(f"unsupported scheme {scheme}://: write https://{rest} or http://{rest}")


def _hide_secrets(text: str) -> str:
    """Return what was given as a URL as it may be shown: without user name, query and fragment."""
    return re.sub(r"(^|://)[^/]*@", r"\1", re.sub(r"[?#].*", "", text, flags=re.DOTALL))


def _parse_region(text: str) -> tuple[str, str]:
    name, separator, url = text.partition("=")
    if not name or not name.isprintable():
        raise argparse.ArgumentTypeError(f"{_hide_secrets(text)!r} is not of the form NAME or NAME=URL")
    return name, _parse_url(url) if separator else ""


def _parse_method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a method")
    return text.upper()


def _parse_header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not _TOKEN.fullmatch(name):
        shown = repr(text) if text.isalnum() and len(text) <= _LONGEST_NAME else "a header"  # it may be the value
        raise argparse.ArgumentTypeError(f"{shown} is not of the form 'Name: value'")
    if _LINE_BREAK.search(value):
        raise argparse.ArgumentTypeError(f"the value of {name} holds a line break")
    return name, value.strip()


def _parse_data(text: str) -> bytes:
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text[1:]} cannot be read: {error.strerror or error}") from None


def _parse_json(text: str) -> bytes:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    return text.encode("utf-8", "surrogateescape")


def _parse_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _parse_whole(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


_parse_count = partial(_parse_whole, least=1, most=100)
_parse_calls = partial(_parse_whole, least=1, most=MAX_DEMO_CALLS)
_parse_port = partial(_parse_whole, least=0, most=65535)
