"""Secrets in files, as Docker and Kubernetes mount them, and in `.env` files.

Theory of operation. A file is opened once and read from what was opened, so that it is the old secret or the new one
where Kubernetes swaps its links. It is read again after ten seconds, if the secret is used then, and when the secret is
refused: to read it costs hardly more than to see whether it has changed. One line break at the end is not part of the
secret. Only regular files of at most 1 MiB are read: a pipe could make the process wait for ever.

Who may read the file is not checked. Kubernetes mounts secrets readable for all, and keeps others out at the mount.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import PurePath

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import LARGEST, Fetched, extract_field, library
from polvo_adapters.secrets.providers.base import BaseProvider

_LOOK_AGAIN = 10.0


class File(BaseProvider):
    """Ask files: `file:///run/secrets/db_password`.

    Args:
        directory: Where names are looked for; None where names are absolute paths.
    """

    scheme = "file"
    local = True

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = None if directory is None else os.fspath(directory)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return what a file holds, or a field of the JSON in it; see `Provider.fetch`."""
        text = self._text(name)
        for ending in ("\r\n", "\n"):
            if text.endswith(ending):
                text = text[: -len(ending)]
                break
        return Fetched(extract_field(self.scheme, name, text, field), _LOOK_AGAIN)

    def _text(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            SecretError: It is not there, may not be read, or is no text.
            ConfigurationError: It is no path.
        """
        content, path = None, self._path(name)
        reason, advice = "not found", "see that the file is mounted, and the path is right"
        try:
            content = _content(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except PermissionError:
            reason, advice = "denied", "this process may not read the file"
        except OSError as error:
            reason, advice = "unavailable", f"reading it failed: {error.strerror}"
        if content is None:
            raise self.failure(name, reason, advice)
        try:
            text: str | None = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = None
        if text is None or len(content) > LARGEST:
            raise self.failure(name, "no text", f"it must be a regular file with UTF-8 of at most {LARGEST} bytes")
        return text

    def _path(self, name: str) -> str:
        if self._directory is None:
            if not os.path.isabs(name) or "\0" in name:
                raise ConfigurationError(f"Secret: {self.scheme} needs an absolute path, such as /run/secrets/password")
            return name
        path = PurePath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ConfigurationError(f"Secret: the name {name!r} leads out of the directory of secrets")
        return os.path.join(self._directory, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self._directory is None else f' in {self._directory}'}>"


class DotEnv(File):
    """Ask `.env` files: `dotenv:///srv/app/.env#NAME`. Nothing is put into the environment.

    A value is taken as it is written: `${NAME}` in it stands for nothing else.
    """

    scheme = "dotenv"

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a variable of a file; see `Provider.fetch`."""
        dotenv = library("dotenv", "dotenv")
        variables = dotenv.dotenv_values(stream=io.StringIO(self._text(name)), interpolate=False)
        return Fetched(
            extract_field(self.scheme, name, {key: value or "" for key, value in variables.items()}, field), 10.0
        )


def _content(path: str) -> bytes:
    """Return what a regular file holds, or a byte too much of it."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(LARGEST + 1)
