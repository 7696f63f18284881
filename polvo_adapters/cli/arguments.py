"""The command line as argparse sees it.

Every value is checked here, so that a command runs only with values that can work, and a mistake is told with
the usage line and exit code 2. Only the standard library is imported.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path

from polvo_adapters.version import __version__

VERBS = ("get", "post", "put", "patch", "delete", "head", "options")

MAX_DEMO_CALLS = 200

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE_BREAK = re.compile(r"[\r\n\0]")
_OVERVIEW = """\
commands:
  get URL      make a real request, with retries and one deadline, and show what was done for it;
               post, put, patch, delete, head and options likewise
  probe URL    send one request, and show what quota the answer announces and what a rate limit
               would do with it
  demo         send the same calls to a failing server in three ways, and compare what came of them
  login        log a user in at an authorization server, and keep the token in a token cache
  tokens PATH  show what is in a token cache, or revoke or clear tokens in it

examples:
  {prog} get https://api.example.com/items --deadline 10
  {prog} post https://api.example.com/items --json '{{"name": "polvo"}}'
  {prog} get https://api.example.com/items --body > items.json
  {prog} probe https://api.example.com/items
  {prog} demo
  {prog} login --issuer https://id.example.com --client-id app --token-cache ~/.cache/app/tokens.json
  {prog} tokens ~/.cache/app/tokens.json
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `module` of what it parses names the command's module."""
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
    # Without help of their own the commands are not listed a second time.
    commands = top.add_subparsers(metavar="COMMAND", prog=prog, help=argparse.SUPPRESS)
    for verb in VERBS:
        _add_request(commands.add_parser(verb, description=f"Make a {verb.upper()} request.", allow_abbrev=False))
        commands.choices[verb].set_defaults(module="polvo_adapters.cli.request", method=verb.upper())
    _add_probe(commands.add_parser("probe", description="Show what quota an API announces.", allow_abbrev=False))
    _add_demo(commands.add_parser("demo", description="Compare three clients at a failing server."))
    _add_login(commands.add_parser("login", description="Log a user in, and keep the token.", allow_abbrev=False))
    _add_tokens(
        commands.add_parser(
            "tokens", description="Show what is in a token cache; act on some of it.", allow_abbrev=False
        )
    )
    return top


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", type=_url, help="with its scheme, http:// or https://")
    command.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="may be given more than once",
    )
    command.add_argument(
        "--timeout", metavar="S", type=_seconds, default=30.0, help="for a connection, and for each next byte (30)"
    )


def _add_request(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    body = command.add_mutually_exclusive_group()
    body.add_argument(
        "-d",
        "--data",
        metavar="TEXT",
        type=_data,
        help="body, sent as a form; @FILE reads a file, @- stdin",
    )
    body.add_argument("--json", metavar="TEXT", type=_json, help="body, sent as JSON")
    command.add_argument("--deadline", metavar="S", type=_seconds, help="for the whole call, waits included (none)")
    command.add_argument(
        "--attempts", metavar="N", type=_count, default=3, help="how often it is sent at most, where that is safe (3)"
    )
    command.add_argument(
        "--body", action="store_true", help="only the body to stdout, byte by byte; the rest to stderr"
    )


def _add_probe(command: argparse.ArgumentParser) -> None:
    _add_target(command)
    command.add_argument(
        "-X", "--request", dest="method", metavar="METHOD", type=_method, default="GET", help="what to send (GET)"
    )
    command.add_argument("--json", action="store_true", help="show it as JSON")
    command.set_defaults(module="polvo_adapters.cli.probe")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--calls", metavar="N", type=_calls, default=40, help=f"calls per client, at most {MAX_DEMO_CALLS} (40)"
    )
    command.add_argument("--seed", metavar="N", type=int, default=1, help="picks the order of the calls (1)")
    command.add_argument("--port", metavar="N", type=_port, default=0, help="of the server; 0 picks a free one (0)")
    command.set_defaults(module="polvo_adapters.cli.demo")


def _add_login(command: argparse.ArgumentParser) -> None:
    command.add_argument("--issuer", metavar="URL", type=_url, help="name of the authorization server, a URL")
    command.add_argument("--token-url", metavar="URL", type=_url, help="its token endpoint, where it has no such name")
    command.add_argument("--authorization-url", metavar="URL", type=_url, help="its authorization endpoint")
    command.add_argument(
        "--device-authorization-url", metavar="URL", type=_url, help="its device authorization endpoint"
    )
    command.add_argument("--client-id", metavar="ID", required=True, help="name of the client")
    _add_client_secret(command)
    command.add_argument("--scope", metavar="NAME", action="append", help="may be given more than once")
    command.add_argument("--audience", metavar="NAME", help="the API that the token is for")
    command.add_argument("--tenant", metavar="NAME", help="on whose behalf")
    command.add_argument("--token-cache", metavar="PATH", required=True, help="where the token is kept, encrypted")
    command.add_argument(
        "--flow",
        choices=("device", "code"),
        default="device",
        help="confirm a code on any device, or use the browser of this machine (device)",
    )
    command.add_argument("--port", metavar="N", type=_port, default=0, help="for the browser to come back to (any)")
    command.add_argument(
        "--path", metavar="PATH", type=_path, default="/callback", help="of the redirect URI on 127.0.0.1 (/callback)"
    )
    command.add_argument("--no-browser", action="store_true", help="show the URL only")
    command.add_argument(
        "--timeout", metavar="S", type=_seconds, help="for the user (300; with a device as long as the code is good)"
    )
    command.add_argument("--dpop", action="store_true", help="bind the token to a key (RFC 9449)")
    command.set_defaults(module="polvo_adapters.cli.login")


def _add_client_secret(command: argparse.ArgumentParser) -> None:
    secret = command.add_mutually_exclusive_group()
    secret.add_argument("--client-secret-env", metavar="NAME", help="environment variable with the client's secret")
    secret.add_argument("--client-secret-file", metavar="PATH", help="file with the client's secret")
    secret.add_argument("--client-secret-prompt", action="store_true", help="ask for the client's secret")
    secret.add_argument("--client-secret", nargs="?", action=_Refuse, help=argparse.SUPPRESS)


class _Refuse(argparse.Action):
    """Refuses a secret without repeating it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(
            "a secret on the command line can be read by everybody on this machine: use --client-secret-env, "
            "--client-secret-file or --client-secret-prompt, and change the secret if this was it"
        )


def _add_tokens(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", metavar="PATH", help="the token cache, or the file of a SQLiteStore")
    command.add_argument("--json", action="store_true", help="list as JSON")
    command.set_defaults(module="polvo_adapters.cli.tokens", action="list")
    actions = command.add_subparsers(metavar="ACTION", dest="action", help="list (the default), show, revoke or clear")
    listing = actions.add_parser("list", description="Show all records.", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    show = actions.add_parser("show", description="Show one record, without its secrets.", allow_abbrev=False)
    show.add_argument("record", metavar="N|KEY", help="number in the list, or key")
    revoke = actions.add_parser(
        "revoke", description="Have the server forget tokens, and clear them.", allow_abbrev=False
    )
    revoke.add_argument("records", metavar="N|KEY", nargs="+", help="numbers in the list, or keys")
    revoke.add_argument("--issuer", metavar="URL", type=_url, help="the authorization server, if the key does not tell")
    revoke.add_argument("--revocation-url", metavar="URL", type=_url, help="its revocation endpoint")
    _add_client_secret(revoke)
    clear = actions.add_parser(
        "clear", description="Have nobody who uses the cache use these tokens any more.", allow_abbrev=False
    )
    which = clear.add_mutually_exclusive_group(required=True)
    which.add_argument("records", metavar="N|KEY", nargs="*", default=[], help="numbers in the list, or keys")
    which.add_argument("--all", action="store_true", help="all records")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def _path(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path such as /callback")
    return text


def _url(text: str) -> str:
    if re.match(r"https?://[^/?#]", text, re.IGNORECASE):
        return text
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} has no scheme: write https://{text} or http://{text}")
    if scheme.lower() in {"http", "https"}:
        raise argparse.ArgumentTypeError(f"{text!r} names no host")
    raise argparse.ArgumentTypeError(f"{scheme}:// is not spoken here: write https://{rest} or http://{rest}")


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a method")
    return text.upper()


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not _TOKEN.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 'Name: value'")
    if _LINE_BREAK.search(value):
        raise argparse.ArgumentTypeError(f"the value of {name} holds a line break")
    return name, value.strip()


def _data(text: str) -> bytes:
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text[1:]} cannot be read: {error.strerror or error}") from None


def _json(text: str) -> bytes:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    return text.encode("utf-8", "surrogateescape")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _whole(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


def _count(text: str) -> int:
    return _whole(text, 1, 100)


def _calls(text: str) -> int:
    return _whole(text, 1, MAX_DEMO_CALLS)


def _port(text: str) -> int:
    return _whole(text, 0, 65535)
