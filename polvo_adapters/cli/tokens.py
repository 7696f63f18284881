"""`polvo tokens PATH`: whose tokens are in a token cache, how they are, and how to be rid of them.

Theory of operation. The list needs no key: what it shows is not encrypted. `clear` leaves a mark in the place of the
token, so that a running process that remembers it does not put it back. `revoke` has the server forget the token first
and clears it afterwards: what could not be revoked stays, and can be tried again. As a running process may refresh the
token meanwhile, `revoke` looks again, and revokes its successor too.

Of a token nothing is shown, not even its beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import VARIABLE, DecryptionError, NoEncryption, Sealer, key_source
from polvo_adapters.cli import client_secret, render, token_records
from polvo_adapters.cli.token_records import Cache, TokenRecord
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.refresh.lifecycle import ClearToken, Lifecycle
from polvo_adapters.stores.sqlite import SQLiteStore

_REFRESHS = 5  # that may come between, before revoking is given up


def run(options: argparse.Namespace) -> int:
    """Do with a token cache what the command line says.

    Args:
        options: The command line.

    Returns:
        The exit code: 0, or 1 where it could not be done.
    """
    out, err = render.screens()
    try:
        return _ACTIONS[options.action or "list"](token_records.read(options.path), options, out, err)
    except OSError as error:  # every error of this library is one
        return token_records.failed(error, err)


# Looking --------------------------------------------------------------------------------------------------------------


def _list(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:
    if options.json:
        values = [plain(record, cache.now) for record in cache.records]
        out.print(Text(json.dumps(values, indent=2)), soft_wrap=True)
    elif cache.records:
        out.print(_table(cache))
    else:
        _say(err, f"no tokens in {cache.path}")
    return 0


def plain(record: TokenRecord, now: float) -> dict[str, Any]:
    """Return what is known of a record without a key, as what JSON can hold.

    Args:
        record: The record.
        now: Time of the cache, in seconds.
    """
    state, reason = record.state(now)
    left = record.left(now)
    return {
        "key": record.key,
        "owner": record.owner,
        "generation": record.life.generation if record.life is not None else None,
        "state": state,
        "reason": reason or None,
        "expires_in": None if left is None else round(left, 3),
        "sealed": record.sealed,
    }


def _table(cache: Cache) -> Table:
    """Return the records, without the columns in which there is nothing."""
    rows = [_cells(number, record, cache.now) for number, record in enumerate(cache.records, 1)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    for title in titles:
        table.add_column(title, justify="right" if title in ("#", "no.", "expires in") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(render.visible(row[title])) for title in titles))
    return table


def _cells(number: int, record: TokenRecord, now: float) -> dict[str, str]:
    state, reason = record.state(now)
    fields = ("server", "tenant", "flow", "client", "scope", "audience", "resource", "user")
    sealed = {True: "yes", False: "NO", None: ""}[record.sealed]
    return {
        "#": str(number),
        **{name: record.owner.get(name, "") for name in fields},
        "generation": str(record.life.generation) if record.life is not None else "",
        "state": f"{state}: {reason}" if reason else state,
        "expires in": _seconds(record.left(now)),
        "sealed": sealed,
    }


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{max(0.0, value):,.0f} s"


def _show(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:  # noqa: ARG001
    record = cache.record(options.record)
    state, reason = record.state(cache.now)
    left = record.left(cache.now)
    lines = {"key": record.key, **record.owner, "state": f"{state}: {reason}" if reason else state}
    if record.life is not None and record.life.token:
        lines["generation"] = str(record.life.generation)
        lines["expires in"] = "unknown" if left is None else _seconds(left)
        lines.update(_redacted(_opened(cache, record)))
    width = max(map(len, lines))
    for name, value in lines.items():
        _say(out, f"{name:{width}}  {value}")
    return 0


def _redacted(token: Token) -> dict[str, str]:
    """Return what may be shown of a token."""
    return {
        "type": token.token_type,
        "lifetime": "unknown" if token.expires_in is None else _seconds(token.expires_in),
        "granted": token.scope or "as asked for",
        "refresh token": "yes" if token.refresh_token is not None else "no",
        "bound to a key": "yes" if token.key is not None else "no",
        **({"came with": ", ".join(sorted(token.extra))} if token.extra else {}),
    }


def _opened(cache: Cache, record: TokenRecord) -> Token:
    """Return the token of a record.

    Raises:
        PolvoError: There is no key for it.
    """
    sealer: Sealer | NoEncryption = NoEncryption()
    if record.sealed:
        if not os.environ.get(VARIABLE) and not os.path.exists(f"{cache.path}.key"):  # or one would be made
            raise PolvoError(f"{cache.path}: there is no key for it; set {VARIABLE}, or bring back {cache.path}.key")
        sealer = key_source(None, cache.path)
    try:
        return Token.from_json(sealer.unseal(record.key, record.life.token if record.life is not None else ""))
    except DecryptionError as error:
        problem = str(error)
    except ValueError:  # its text may show what was read
        problem = "what was sealed is no token"
    raise PolvoError(f"{cache.path}: {record.key}: {problem}")


# Being rid of them ----------------------------------------------------------------------------------------------------


def _revoke(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:  # noqa: ARG001
    chosen = [cache.record(wanted) for wanted in options.records]
    secret = client_secret.secret(options)
    for record in chosen:
        host = _revoked(cache, record, _server(record, options, secret))
        _say(out, f"revoked at {host}, and cleared: {record.key}")
    return 0


def _server(record: TokenRecord, options: argparse.Namespace, secret: str | None) -> AuthorizationServer:
    """Return the server that a record's token comes from.

    Raises:
        ConfigurationError: The record does not tell, and neither does the command line.
    """
    name, place = record.owner.get("client"), record.owner.get("server", "")
    if name is None:
        raise ConfigurationError(f"{record.key}: this is no token of an OAuth2 client, and cannot be revoked; clear it")
    given = {"revocation_url": options.revocation_url, "issuer": options.issuer}
    if options.issuer is None:
        given["token_url" if options.revocation_url is not None else "issuer"] = place
    return AuthorizationServer(client_id=name, client_secret=secret, tenant=record.owner.get("tenant", ""), **given)


def _revoked(cache: Cache, record: TokenRecord, server: AuthorizationServer) -> str:
    """Revoke the token of a record and clear it; return the host that did it."""
    current: TokenRecord | None = record
    for _ in range(_REFRESHS):
        if current is None or current.life is None or not current.life.token:
            return server.host
        token, generation = _opened(cache, current), current.life.generation
        _have_revoked(server, token)
        current = _now(cache, record.key)
        if current is not None and current.life is not None and current.life.generation == generation:
            _clear_all(cache, [record])
            return server.host
    raise PolvoError(
        f"{record.key}: it is refreshed faster than it can be revoked; stop who uses it", reason="refreshed"
    )


def _have_revoked(server: AuthorizationServer, token: Token) -> None:
    try:
        server.endpoint("revocation")
    except PolvoError as error:
        problem = " ".join(str(error).split())
    else:
        if token.refresh_token is not None:
            server.revoke(token.refresh_token, "refresh_token")
        server.revoke(token.access_token, "access_token")
        return
    raise PolvoError(
        f"{problem}; nothing was revoked: name the server by --issuer or --revocation-url", host=server.host
    )


def _now(cache: Cache, key: str) -> TokenRecord | None:
    found = [record for record in token_records.read(cache.path).records if record.key == key]
    return found[0] if found else None


def _clear(cache: Cache, options: argparse.Namespace, out: render.Screen, err: render.Screen) -> int:
    chosen = cache.records if options.all else [cache.record(wanted) for wanted in options.records]
    if not options.yes and sys.stdin.isatty() and not _agreed(chosen, err):
        _say(err, "nothing was cleared")
        return 1
    _clear_all(cache, chosen)
    for record in chosen:
        _say(out, f"cleared: {record.key}")
    return 0


def _agreed(chosen: list[TokenRecord], screen: render.Screen) -> bool:
    for record in chosen:
        _say(screen, record.key)
    screen.print(Text(f"clear {'this token' if len(chosen) == 1 else f'these {len(chosen)} tokens'}? [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _clear_all(cache: Cache, chosen: list[TokenRecord]) -> None:
    store = cache.store()
    try:
        store.decide([Event(Lifecycle(), record.key, ClearToken()) for record in chosen])
    finally:
        if isinstance(store, SQLiteStore):
            store.close()
    for record in chosen:  # a store that cannot write goes on in memory
        after = _now(cache, record.key)
        if after is not None and after.life is not None and after.life.token:
            raise PolvoError(f"{cache.path}: it cannot be written; nothing was cleared", reason="read-only")


def _say(screen: render.Screen, text: str) -> None:
    screen.print(Text(render.visible(text)), soft_wrap=True)


_ACTIONS: dict[str, Callable[[Cache, argparse.Namespace, render.Screen, render.Screen], int]] = {
    "list": _list,
    "show": _show,
    "revoke": _revoke,
    "clear": _clear,
}
