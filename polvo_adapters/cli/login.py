"""`polvo login`: a user logs in, and the token goes where a program finds it.

Theory of operation. The command makes the very `OAuth2` that the program is to make, logs in with it, and ends with
the line that makes it: flow, server, client, scope and audience are part of the name under which the token is kept, so
that a program with other settings does not find it. That the token can be kept is tried before the user is troubled,
and looked up afterwards.

What the user needs to log in goes to stderr, what came of it to stdout. No secret is shown.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from polvo_adapters.auth import loopback
from polvo_adapters.auth.oauth import OAuth2
from polvo_adapters.cli import client_secret, render, token_records
from polvo_adapters.context.tenant import current_tenant, tenant
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, PolvoError
from polvo_adapters.stores import private_files

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
    from polvo_adapters.auth.protocol.token import Token

_FLOWS = {"device": "device_code", "code": "authorization_code"}
_PATIENCE = 300.0


def run(options: argparse.Namespace) -> int:
    """Log in as the command line says.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 where the token is kept, else 1.
    """
    out, err = render.screens()
    try:
        with nullcontext() if options.tenant is None else tenant(options.tenant):
            lines = _logged_in(options, err)
    except OSError as error:  # every error of this library is one
        return token_records.failed(error, err)
    for line in lines:
        out.print(Text(render.visible(line)), soft_wrap=True)
    return 0


def _logged_in(options: argparse.Namespace, screen: render.Screen) -> list[str]:
    """Log in, and return what to tell the user."""
    settings = settings_of(options)
    oauth = OAuth2(**settings, client_secret=client_secret.secret(options))
    key, host = oauth._owner(current_tenant())
    path = token_records.place(options.token_cache, current_tenant())
    _try(path, oauth)
    token = (_by_code if options.flow == "code" else _by_device)(oauth, options, screen)
    _look_up(path, key, oauth)
    life = "no expiry known" if token.expires_in is None else f"expires in {token.expires_in:.0f} s"
    refreshable = "" if token.refresh_token else "; without a refresh token, so that it cannot be refreshed"
    return [
        f"logged in; token of {options.client_id} at {host}, {life}, in {path}{refreshable}",
        "",
        *program(settings, options),
    ]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of OAuth2, without the secret.

    Args:
        options: The command line.

    Raises:
        ConfigurationError: They do not fit together.
    """
    named = ("client_id", "issuer", "token_url", "authorization_url", "device_authorization_url", "audience")
    given = {name: getattr(options, name) for name in named}
    given["scope"] = " ".join(options.scope) if options.scope else None
    given["token_cache"] = os.path.abspath(os.path.expanduser(options.token_cache))
    settings = {name: value for name, value in given.items() if value is not None}
    return {"flow": _FLOWS[options.flow], **settings, **({"dpop": True} if options.dpop else {})}


def program(settings: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Return the lines by which a program uses the token.

    Args:
        settings: What `settings_of` returned.
        options: The command line.
    """
    parts = [f"{name}={_literal(value)}" for name, value in settings.items()]
    secret = client_secret.source(options)
    if secret is not None:
        parts.insert(2, f"client_secret={secret}")
    lines = ["from polvo_adapters.auth import OAuth2", f"session.auth = OAuth2({', '.join(parts)})"]
    if options.tenant is not None:
        lines.append(f"with polvo_adapters.tenant({_literal(options.tenant)}): ...")
    return lines


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


# The token cache ------------------------------------------------------------------------------------------------------


def _try(path: str, oauth: OAuth2) -> None:
    """Find out before the login whether the token can be kept afterwards."""
    storage = oauth._kept(current_tenant())  # raises where the path wants a tenant
    try:
        private_files.make_directory(os.path.dirname(path))
        private_files.read(path)
        with private_files.locked(path + ".lock"):
            pass
        storage._key()
    except PolvoError:
        raise
    except (private_files.FileInUse, private_files.Unfit) as error:
        problem = str(error) or "it is in use by others"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        return
    raise ConfigurationError(f"--token-cache {path}: it cannot be used: {problem}")


def _look_up(path: str, key: str, oauth: OAuth2) -> None:
    """Make sure that the token is where the program will look for it."""
    found = [record for record in token_records.read(path).records if record.key == key and record.life is not None]
    kept = oauth._stored(current_tenant())
    if not found or found[0].life is None or not found[0].life.token or kept is None:
        raise PolvoError(f"the login succeeded, but the token could not be kept in {path}; log in again", reason="lost")


# The two ways to log in -----------------------------------------------------------------------------------------------


def _by_code(oauth: OAuth2, options: argparse.Namespace, screen: render.Screen) -> Token:
    timeout = options.timeout or _PATIENCE
    with ExitStack() as stack:

        def show(text: str) -> None:
            _say(screen, text)
            stack.enter_context(_waiting(screen, "waiting for the browser", timeout))

        return loopback.login(
            oauth,
            port=options.port,
            path=options.path,
            open_browser=not options.no_browser,
            timeout=timeout,
            show=show,
        )


def _by_device(oauth: OAuth2, options: argparse.Namespace, screen: render.Screen) -> Token:
    with ExitStack() as stack:

        def show(authorization: DeviceAuthorization) -> None:
            _say(screen, f"open this page on any device: {authorization.verification_uri}")
            _say(screen, f"and enter this code: {authorization.user_code}")
            if authorization.verification_uri_complete is not None:
                _say(screen, f"or open this one, which has the code: {authorization.verification_uri_complete}")
            left = min(authorization.expires_in, options.timeout or authorization.expires_in)
            stack.enter_context(_waiting(screen, "waiting for you to confirm", left))

        try:
            return oauth.login(show, deadline=options.timeout)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"{error.host}: nobody has confirmed the login within {options.timeout:g} s; log in again, or allow "
                "more with --timeout",
                host=error.host,
                reason=error.reason,
            ) from None


def _say(screen: render.Screen, text: str) -> None:
    screen.print(Text(render.visible(text)), soft_wrap=True)


class _LeftBehind(ProgressColumn):
    """Shows how many seconds are left."""

    def render(self, task: Task) -> Text:
        left = max(0.0, (task.total or 0.0) - (task.elapsed or 0.0))
        return Text(f"{left:.0f} s left", style="dim")


@contextmanager
def _waiting(screen: render.Screen, what: str, seconds: float) -> Iterator[None]:
    """Show what is waited for, and for how much longer, on a terminal only."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _LeftBehind(),
        console=screen,
        transient=True,
        disable=not screen.is_interactive,
    )
    progress.add_task(what, total=seconds)
    with progress:
        yield
