"""`polvo login`: log a user in, and store the token where a program finds it.

Theory of operation. The command makes the same `OAuth2` as the program, logs in with it, and prints the line that makes
it: flow, server, client, scope and audience are part of the key of the token, so that a program with other settings
does not find it. The command checks before the login that the token cache can be used, and afterwards that the token is
in it.

Instructions for the user go to stderr, the result to stdout. No secret is shown.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, cast

from rich.progress import ProgressColumn, Task
from rich.text import Text

from polvo_adapters.auth import loopback
from polvo_adapters.auth.oauth import OAuth2
from polvo_adapters.cli import client_secret, render, token_records
from polvo_adapters.context.tenant import current_tenant, tenant
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, PolvoError
from polvo_adapters.stores import file_trust, private_files

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
    from polvo_adapters.auth.protocol.token import Token
    from polvo_adapters.auth.tokens.token_storage import TokenStorage
    from polvo_adapters.stores.token_cache import TokenCache

_FLOWS = {"device": "device_code", "code": "authorization_code"}
_PATIENCE = 300.0


def run(options: argparse.Namespace) -> int:
    """Log a user in.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 where the token is stored, else 1.
    """
    out, err = render.open_screens()
    try:
        with nullcontext() if options.tenant is None else tenant(options.tenant):
            lines = _log_in(options, err)
    except OSError as error:  # every error of this library is one
        return token_records.print_error(error, err)
    for line in lines:
        out.say(line)
    return 0


def _log_in(options: argparse.Namespace, screen: render.Screen) -> list[str]:
    """Log in, and return the lines to print."""
    settings = collect_settings(options)
    secret = client_secret.read_secret(options)
    oauth = OAuth2(**(settings if secret is None else {**settings, "client_secret": secret}))
    key, host = oauth._identify(current_tenant())
    storage = oauth._storage_for(current_tenant())
    path = cast("TokenCache", storage.store).path  # before a missing key would put memory in its place
    _check_cache(path, storage)
    token = (_log_in_by_code if options.flow == "code" else _log_in_by_device)(oauth, options, screen)
    _require_stored(path, key, oauth)
    life = "no expiry known" if token.expires_in is None else f"expires in {token.expires_in:.0f} s"
    refreshable = "" if token.refresh_token else "; without a refresh token, so that it cannot be refreshed"
    result = f"logged in; token of {options.client_id} at {host}, {life}, in {path}{refreshable}"
    return [result, "", *write_program(settings, options)]


def collect_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of OAuth2, without the secret.

    Args:
        options: The command line.

    Raises:
        ConfigurationError: They do not fit together.
    """
    names = ("client_id", "issuer", "token_url", "authorization_url", "device_authorization_url", "audience")
    values = {name: getattr(options, name) for name in names}
    values["scope"] = " ".join(options.scope) if options.scope else None
    values["token_cache"] = os.path.abspath(os.path.expanduser(options.token_cache))
    settings = {name: value for name, value in values.items() if value is not None}
    return {"flow": _FLOWS[options.flow], **settings, **({"dpop": True} if options.dpop else {})}


def write_program(settings: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Return the lines of a program that uses the token.

    Args:
        settings: The result of `collect_settings`.
        options: The command line.
    """
    parts = [f"{name}={_format_literal(value)}" for name, value in settings.items()]
    secret = client_secret.write_expression(options)
    if secret is not None:
        parts.insert(2, f"client_secret={secret}")
    lines = ["from polvo_adapters.auth import OAuth2", f"session.auth = OAuth2({', '.join(parts)})"]
    if options.tenant is not None:
        lines.append(f"with polvo_adapters.tenant({_format_literal(options.tenant)}): ...")
    return lines


def _format_literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _check_cache(path: str, storage: TokenStorage) -> None:
    """Raise ConfigurationError unless the token can be stored after the login."""
    try:
        private_files.make_directory(os.path.dirname(path))
        private_files.read(path)
        with private_files.hold_lock(path + ".lock"):
            pass
        storage.load_sealer()
    except PolvoError:
        raise
    except (private_files.FileInUse, file_trust.Unfit) as error:
        problem = str(error) or "it is in use by others"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        return
    raise ConfigurationError(f"--token-cache {path}: it cannot be used: {problem}")


def _require_stored(path: str, key: str, oauth: OAuth2) -> None:
    """Raise PolvoError unless the token is where the program will look for it."""
    record = token_records.read(path).find(key)
    if record is None or not record.token or oauth._read_stored_token(current_tenant()) is None:
        raise PolvoError(f"the login succeeded, but the token could not be kept in {path}; log in again", reason="lost")


def _log_in_by_code(oauth: OAuth2, options: argparse.Namespace, screen: render.Screen) -> Token:
    timeout = options.timeout or _PATIENCE
    with ExitStack() as stack:

        def show(text: str) -> None:
            screen.say(text)
            stack.enter_context(render.make_spinner(screen, "waiting for the browser", _SecondsLeft(), timeout))

        return loopback.login(
            oauth, port=options.port, path=options.path, open_browser=not options.no_browser, timeout=timeout, show=show
        )


def _log_in_by_device(oauth: OAuth2, options: argparse.Namespace, screen: render.Screen) -> Token:
    with ExitStack() as stack:

        def show(authorization: DeviceAuthorization) -> None:
            screen.say(f"open this page on any device: {authorization.verification_uri}")
            screen.say(f"and enter this code: {authorization.user_code}")
            if authorization.verification_uri_complete is not None:
                screen.say(f"or open this one, which has the code: {authorization.verification_uri_complete}")
            left = min(authorization.expires_in, options.timeout or authorization.expires_in)
            stack.enter_context(render.make_spinner(screen, "waiting for you to confirm", _SecondsLeft(), left))

        try:
            return oauth.login(show, deadline=options.timeout)
        except DeadlineExceeded as error:
            problem = f"the login was not confirmed within {options.timeout:g} s"
            text = f"{error.host}: {problem}; log in again, or allow more with --timeout"
            raise DeadlineExceeded(text, host=error.host, reason=error.reason) from None


class _SecondsLeft(ProgressColumn):
    """Column that shows how many seconds are left."""

    def render(self, task: Task) -> Text:
        left = max(0.0, (task.total or 0.0) - (task.elapsed or 0.0))
        return Text(f"{left:.0f} s left", style="dim")
