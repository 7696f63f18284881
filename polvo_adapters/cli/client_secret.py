"""The secret of an OAuth2 client, read from the environment, a file or the terminal.

It is never an argument itself, because every user of the machine can read the list of processes.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from polvo_adapters.errors import ConfigurationError


def read_secret(options: argparse.Namespace) -> str | None:
    """Return the client's secret, or None for a client without one.

    Args:
        options: The command line.

    Raises:
        ConfigurationError: The place that the command line names holds no secret.
    """
    if options.client_secret_env is not None:
        name = options.client_secret_env
        return _require_text(os.environ.get(name, ""), f"--client-secret-env: {name} is not set in the environment")
    if options.client_secret_file is not None:
        return _read_file(options.client_secret_file)
    if options.client_secret_prompt:
        if not sys.stdin.isatty():
            raise ConfigurationError("--client-secret-prompt: stdin is no terminal; use --client-secret-file")
        return _require_text(getpass.getpass("client secret: "), "--client-secret-prompt: nothing was typed in")
    return None


def write_expression(options: argparse.Namespace) -> str | None:
    """Return the Python expression by which a program gets the same secret, or None for a client without one.

    Args:
        options: The command line.
    """
    if options.client_secret_env is not None:
        return f"os.environ[{options.client_secret_env!r}]"
    if options.client_secret_file is not None:
        path = os.path.abspath(os.path.expanduser(options.client_secret_file))
        return f"pathlib.Path({path!r}).read_text().strip()"
    return 'getpass.getpass("client secret: ")' if options.client_secret_prompt else None


def _read_file(path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:  # its text would show what was read
        problem = "it is not UTF-8"
    else:
        return _require_text(text, f"--client-secret-file: {path} is empty")
    raise ConfigurationError(f"--client-secret-file: {path} cannot be read: {problem}")


def _require_text(text: str, missing: str) -> str:
    if not text.strip():
        raise ConfigurationError(missing)
    return text.strip()
