"""Secrets in files, as Docker and Kubernetes mount them, and in `.env` files.

Theory of operation. A file is opened once and read from what was opened, so that it is the old secret or the new one
while Kubernetes swaps its links. It is read again after ten seconds, if the secret is used then, and when the secret is
refused: reading costs hardly more than checking for a change. One line break at the end is not part of the secret. Only
regular files of at most 1 MiB are read: a pipe could make the process wait for ever.

The mode of the file is not checked: Kubernetes mounts secrets readable for all users of a container.
"""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import PurePath

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import LARGEST, Fetched, extract_field, import_library
from polvo_adapters.secrets.providers.base import BaseProvider

_LIFETIME = 10.0  # seconds


class File(BaseProvider):
    """Files with a secret each: `file:///run/secrets/db_password`.

    Args:
        directory: The directory of the names; None if names are absolute paths.
    """

    scheme = "file"
    local = True

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = None if directory is None else os.fspath(directory)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the content of a file, or a field of the JSON in it; see `Provider.fetch`."""
        text = re.sub(r"\r?\n\Z", "", self._read(name))
        return Fetched(extract_field(self.scheme, name, text, field), _LIFETIME)

    def _read(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            SecretError: It is not there, may not be read, or is no text.
            ConfigurationError: It is no path.
        """
        content, path = None, self._path_of(name)
        reason, advice = "not found", "see that the file is mounted, and the path is right"
        try:
            content = _read_regular_file(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except PermissionError:
            reason, advice = "denied", "this process may not read the file"
        except OSError as error:
            reason, advice = "unavailable", f"reading it failed: {error.strerror}"
        if content is None:
            raise self.fetch_error(name, reason, advice)
        try:
            text: str | None = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = None
        if text is None or len(content) > LARGEST:
            raise self.fetch_error(name, "no text", f"it must be a regular file with UTF-8 of at most {LARGEST} bytes")
        return text

    def _path_of(self, name: str) -> str:
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
    """Files in the format of `.env`: `dotenv:///srv/app/.env#NAME`.

    The environment is not changed, and `${NAME}` in a value is not replaced.
    """

    scheme = "dotenv"

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a variable of a file; see `Provider.fetch`."""
        dotenv = import_library("dotenv", "dotenv")
        variables = dotenv.dotenv_values(stream=io.StringIO(self._read(name)), interpolate=False)
        values = {key: value or "" for key, value in variables.items()}
        return Fetched(extract_field(self.scheme, name, values, field), _LIFETIME)


def _read_regular_file(path: str) -> bytes:
    """Return the content of a regular file, or the first `LARGEST` bytes and one more."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(LARGEST + 1)
