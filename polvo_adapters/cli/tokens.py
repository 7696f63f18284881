"""`polvo tokens PATH`: list, show, revoke and clear the tokens of a token cache.

Theory of operation. The list needs no key: what it shows is not encrypted. `clear` leaves a mark in the place of the
token, so that a running process that remembers the token does not store it again. `revoke` revokes the token at the
server first and clears it afterwards: a token that could not be revoked stays, and can be tried again. As a running
process may refresh the token meanwhile, `revoke` reads the record again, and revokes the new token too.

No part of a token is shown, not even its beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from rich.text import Text

from polvo_adapters.auth.protocol.revocation import revoke_all
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import VARIABLE, DecryptionError, NoEncryption, Sealer, make_sealer
from polvo_adapters.cli import client_secret, render, token_records
from polvo_adapters.cli.token_records import Cache, TokenRecord
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.refresh.lifecycle import ClearToken, Lifecycle
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.token_cache import TokenCache

_MOST_REFRESHES = 5  # by other processes, before revoking is given up


def run(options: argparse.Namespace) -> int:
    """Perform an action on a token cache.

    Args:
        options: The command line.

    Returns:
        The exit code: 0, or 1 where the action failed.
    """
    out, err = render.open_screens()
    try:
        return _ACTIONS[options.action or "list"](token_records.read(options.path), options, out, err)
    except OSError as error:  # every error of this library is one
        return token_records.print_error(error, err)


def _list(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:
    if options.json:
        values = [to_json(record, cache.now) for record in cache.records]
        out.say(json.dumps(values, indent=2))
    elif cache.records:
        rows = [_cells(number, record, cache.now) for number, record in enumerate(cache.records, 1)]
        columns = {title: [row[title] for row in rows] for title in rows[0]}
        out.print(render.make_table(columns, right=("#", "expires in")))
    else:
        err.say(f"no tokens in {cache.path}")
    return 0


def to_json(record: TokenRecord, now: float) -> dict[str, Any]:
    """Return what a record shows without a key, as a JSON object.

    Args:
        record: The record.
        now: Time of the cache, in seconds.
    """
    state, reason = record.state(now)
    left = record.left(now)
    return {
        "key": record.key,
        "owner": record.owner,
        "generation": record.generation,
        "state": state,
        "reason": reason or None,
        "expires_in": None if left is None else round(left, 3),
        "sealed": record.is_sealed,
    }


def _cells(number: int, record: TokenRecord, now: float) -> dict[str, str]:
    return {
        "#": str(number),
        **{name: record.owner.get(name, "") for name in token_records.FIELDS},
        "generation": "" if record.generation is None else str(record.generation),
        "state": _describe_state(record, now),
        "expires in": _seconds(record.left(now)),
        "sealed": {True: "yes", False: "NO", None: ""}[record.is_sealed],
    }


def _describe_state(record: TokenRecord, now: float) -> str:
    state, reason = record.state(now)
    return f"{state}: {reason}" if reason else state


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{max(0.0, value):,.0f} s"


def _show(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:  # noqa: ARG001
    record = cache.record(options.record)
    left = record.left(cache.now)
    lines = {"key": record.key, **record.owner, "state": _describe_state(record, cache.now)}
    if record.token:
        lines["generation"] = str(record.generation)
        lines["expires in"] = "unknown" if left is None else _seconds(left)
        lines.update(_describe(_unseal(cache, record)))
    width = max(map(len, lines))
    for name, value in lines.items():
        out.say(f"{name:{width}}  {value}")
    return 0


def _describe(token: Token) -> dict[str, str]:
    """Return the properties of a token that are no secrets."""
    return {
        "type": token.token_type,
        "lifetime": "unknown" if token.expires_in is None else _seconds(token.expires_in),
        "granted": token.scope or "as asked for",
        "refresh token": "yes" if token.refresh_token is not None else "no",
        "bound to a key": "yes" if token.key is not None else "no",
        **({"came with": ", ".join(sorted(token.extra))} if token.extra else {}),
    }


def _unseal(cache: Cache, record: TokenRecord) -> Token:
    """Return the token of a record.

    Raises:
        PolvoError: There is no key for it.
    """
    sealer: Sealer | NoEncryption = NoEncryption()
    if record.is_sealed:
        if not os.environ.get(VARIABLE) and not os.path.exists(f"{cache.path}.key"):  # `make_sealer` would make one
            raise PolvoError(f"{cache.path}: there is no key for it; set {VARIABLE}, or bring back {cache.path}.key")
        sealer = make_sealer(None, cache.path)
    try:
        return Token.from_json(sealer.unseal(record.key, record.token))
    except DecryptionError as error:
        problem = str(error)
    except ValueError:  # its text may show what was read
        problem = "the sealed text is no token"
    raise PolvoError(f"{cache.path}: {record.key}: {problem}")


def _revoke(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:  # noqa: ARG001
    chosen = [cache.record(wanted) for wanted in options.records]
    secret = client_secret.read_secret(options)
    for record in chosen:
        host = _revoke_record(cache, record, _make_server(record, options, secret))
        out.say(f"revoked at {host}, and cleared: {record.key}")
    return 0


def _make_server(record: TokenRecord, options: argparse.Namespace, secret: str | None) -> AuthorizationServer:
    """Return the server that issued the token of a record.

    Raises:
        ConfigurationError: Neither the record nor the command line names it.
    """
    name, place = record.owner.get("client"), record.owner.get("server", "")
    if name is None:
        raise ConfigurationError(f"{record.key}: this is no token of an OAuth2 client, and cannot be revoked; clear it")
    urls = {"revocation_url": options.revocation_url, "issuer": options.issuer}
    if options.issuer is None:
        urls["token_url" if options.revocation_url is not None else "issuer"] = place
    return AuthorizationServer(client_id=name, client_secret=secret, tenant=record.owner.get("tenant", ""), **urls)


def _revoke_record(cache: Cache, record: TokenRecord, server: AuthorizationServer) -> str:
    """Revoke the token of a record, clear it, and return the host of the server."""
    current: TokenRecord | None = record
    for _ in range(_MOST_REFRESHES):
        if current is None or not current.token:
            return server.host
        generation = current.generation
        _revoke_at_server(server, _unseal(cache, current))
        current = token_records.read(cache.path).find(record.key)
        if current is not None and current.generation == generation:
            _clear_all(cache, [record])
            return server.host
    problem = "it is refreshed faster than it can be revoked; stop the programs that use it"
    raise PolvoError(f"{record.key}: {problem}", reason="refreshed")


def _revoke_at_server(server: AuthorizationServer, token: Token) -> None:
    try:
        server.endpoint("revocation")
    except PolvoError as error:
        advice = "nothing was revoked: name the server by --issuer or --revocation-url"
        raise PolvoError(f"{' '.join(str(error).split())}; {advice}", host=server.host) from None
    revoke_all(server, token)


def _clear(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:
    chosen = cache.records if options.all else [cache.record(wanted) for wanted in options.records]
    if not options.yes and sys.stdin.isatty() and not _confirm(chosen, err):
        err.say("nothing was cleared")
        return 1
    _clear_all(cache, chosen)
    for record in chosen:
        out.say(f"cleared: {record.key}")
    return 0


def _confirm(chosen: list[TokenRecord], screen: render.Screen) -> bool:
    for record in chosen:
        screen.say(record.key)
    screen.print(Text(f"clear {'this token' if len(chosen) == 1 else f'these {len(chosen)} tokens'}? [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _clear_all(cache: Cache, chosen: list[TokenRecord]) -> None:
    store = SQLiteStore(cache.path) if cache.sqlite else TokenCache(cache.path)
    try:
        store.decide([Event(Lifecycle(), record.key, ClearToken()) for record in chosen])
    finally:
        if isinstance(store, SQLiteStore):
            store.close()
    for record in chosen:  # a store that cannot write goes on in memory
        after = token_records.read(cache.path).find(record.key)
        if after is not None and after.token:
            raise PolvoError(f"{cache.path}: it cannot be written; nothing was cleared", reason="read-only")


_ACTIONS: dict[str, Callable[[Cache, argparse.Namespace, render.Screen, render.Screen], int]]
_ACTIONS = {"list": _list, "show": _show, "revoke": _revoke, "clear": _clear}
