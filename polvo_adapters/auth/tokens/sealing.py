"""Secrets sealed before they are written, and where the key for that comes from.

Theory of operation. What is written goes through one of two objects with the same two methods: a `Sealer` encrypts
and authenticates (Fernet: AES-128-CBC and HMAC-SHA256, from the library `cryptography`), `Open` does neither. The name
of the record goes inside and is checked, so that nobody can pass one record off as another. Each kind has a prefix
of its own, so that neither takes what the other made.

The first source that has a key wins:

    source                             key
    ---------------------------------  --------------------------------------------------------------------------
    `encryption_key=` text or bytes    a Fernet key: 32 bytes as 44 characters of url-safe base64
    `encryption_key=` bytes            32 raw bytes
    `encryption_key=` list             several of these: the first seals, all of them open (to change keys)
    `encryption_key=` callable         whatever of these it returns
    `encryption_key="keyring"`         in the keyring of the operating system, made there when missing
    POLVO_ENCRYPTION_KEY               Fernet keys in the environment, with commas or spaces between them
    key file                           `<path of the cache>.key`, mode 0600, made when missing

In the keyring, the service is "polvo_adapters" and the user is the path of the cache.

Whoever can read the key file can read the tokens: it protects a copy of the cache, such as a backup, and no more.
"""

from __future__ import annotations

import json
import logging
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias, Union

from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.stores import private_files

VARIABLE = "POLVO_ENCRYPTION_KEY"
"""Name of the environment variable that holds keys."""

Key: TypeAlias = Union[str, bytes, Sequence[Union[str, bytes]]]  # noqa: UP007 - evaluated at import by Python 3.10 tools

_SEALED = "sealed:1:"
_OPEN = "open:1:"
_SERVICE = "polvo_adapters"
_FERNET = re.compile(r"[A-Za-z0-9_-]{43}=")
_HOW = (
    "a key is 44 characters of url-safe base64, or 32 bytes; make one with: python -c "
    '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)

_log = logging.getLogger("polvo_adapters")


class DecryptionError(ValueError):
    """A text cannot be opened: another key, another record, another kind, or damaged. The message shows none of it."""


class NoKeyFile(ConfigurationError):
    """There is no key file, and none can be made: the disk is full, or cannot be written to."""


class Sealer:
    """Encrypts texts, each for the record of one name.

    Args:
        keys: Fernet keys; the first one seals, all of them open.
        changes: What happened to get the keys.

    Attributes:
        changes: What is to be told to listeners, such as that a key was created.

    Raises:
        ConfigurationError: There is no key, or one cannot be a key.
    """

    def __init__(self, keys: Sequence[str | bytes], changes: Sequence[StateChange] = ()) -> None:
        from cryptography.fernet import Fernet, MultiFernet

        self._fernet = MultiFernet([Fernet(key) for key in _checked(list(keys), "Sealer(keys=...)")])
        self.changes = tuple(changes)

    def seal(self, name: str, text: str) -> str:
        """Return a text that only who has a key can read, and nobody can change.

        Args:
            name: Name of the record.
            text: What is to be kept secret.
        """
        return _SEALED + self._fernet.encrypt(_bound(name, text)).decode("ascii")

    def unseal(self, name: str, sealed: str) -> str:
        """Return the text that was sealed for a record.

        Args:
            name: Name of the record.
            sealed: What `seal` returned, or anything.

        Raises:
            Unsealable: It was not sealed by one of the keys for this record.
        """
        from cryptography.fernet import InvalidToken

        token, data = _without(_SEALED, sealed), None
        with suppress(InvalidToken, ValueError):  # not passed on: such an error may hold what was read
            data = self._fernet.decrypt(token.encode("ascii"))
        if data is None:
            raise DecryptionError("no key opens it: it was sealed by another one, or it is damaged")
        return _released(name, data)

    def __repr__(self) -> str:
        return "<Sealer>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sealer holds keys and is not pickled; let the other process call key_source()")


class NoEncryption:
    """Leaves texts as they are, for who has asked for no encryption; the methods are those of a `Sealer`."""

    changes: tuple[StateChange, ...] = ()

    def seal(self, name: str, text: str) -> str:
        """Return the text, marked as one that is not sealed."""
        return _OPEN + _bound(name, text).decode("ascii")

    def unseal(self, name: str, sealed: str) -> str:
        """Return the text that was marked for a record.

        Raises:
            Unsealable: It was not, or for another one.
        """
        return _released(name, _without(_OPEN, sealed).encode("utf-8", "replace"))

    def __repr__(self) -> str:
        return "<Open>"


def key_source(encryption_key: Key | Callable[[], Key] | None, beside: str | None) -> Sealer:
    """Return what seals the records of a cache; the table above says by which key.

    Args:
        encryption_key: What the user gave, or None.
        beside: Path of the cache, or None where it has none.

    Raises:
        ConfigurationError: There is no key, or what is there cannot be one. No message shows any of it.
    """
    if encryption_key is not None:
        return _given(encryption_key, beside)
    keys = [key for key in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if key]
    if keys:
        return Sealer(_checked(keys, f"the environment variable {VARIABLE}"))
    if beside is None:
        raise ConfigurationError(
            "encryption_key: there is no file beside which a key could be kept; pass encryption_key=, or set "
            f"{VARIABLE}, or pass cache_encryption=False to keep the tokens readable"
        )
    return _from_file(_absolute(beside))


def _given(value: Any, beside: str | None) -> Sealer:
    if callable(value):
        value = value()
    if isinstance(value, str) and value == "keyring":
        return _from_keyring(beside)
    keys = list(value) if isinstance(value, (list, tuple)) else [value]
    return Sealer(_checked(keys, "encryption_key"))


def _checked(keys: list[Any], where: str) -> list[bytes]:
    """Return Fernet keys, or say that they are none without showing them."""
    found = []
    for key in keys:
        if isinstance(key, (bytes, bytearray)) and len(key) == 32:
            found.append(urlsafe_b64encode(key))
            continue
        text = key.decode("latin-1") if isinstance(key, (bytes, bytearray)) else key
        if not isinstance(text, str) or not _FERNET.fullmatch(text.strip()):
            raise ConfigurationError(f"{where}: this cannot be an encryption key; {_HOW}")
        found.append(text.strip().encode("ascii"))
    if not found:
        raise ConfigurationError(f"{where}: there is no encryption key in it; {_HOW}")
    return found


def _from_file(beside: str) -> Sealer:
    """Read the key beside a cache, or make it; of processes that start together, one makes it."""
    path = f"{beside}.key"
    where = f"encryption_key: the key file {path}"
    changes: list[StateChange] = []
    try:
        found = private_files.read(path) if os.path.isdir(os.path.dirname(path)) else None
        if found is None:
            changes += _made(path, beside)
            found = private_files.read(path)
    except private_files.Unfit as error:
        raise ConfigurationError(f"{where}: {error}") from None
    except private_files.FileInUse:
        raise ConfigurationError(f"{where} could not be made: another process holds {beside}.lock") from None
    except OSError as error:
        raise NoKeyFile(
            f"{where} can be neither read nor made ({error.strerror}); pass encryption_key=, or set {VARIABLE}"
        ) from None
    if found is not None and found.widely:
        _log.warning("the key file %s could be read by others; it is for its owner alone (mode 0600) now", path)
    data = found.data if found is not None else None
    return Sealer(_checked((data or b"").decode("latin-1").split(), where), changes)


def _made(path: str, beside: str) -> list[StateChange]:
    """Make the key file, unless another process was faster."""
    directory = os.path.dirname(path)
    if private_files.make_directory(directory):
        _log.info("made the directory %s for the token cache %s", directory, beside)
    with private_files.locked(f"{beside}.lock"):
        if os.path.lexists(path):
            return []
        private_files.write(path, _generated() + b"\n")
    reason = f"made the encryption key {path}; whoever can read it can read the tokens"
    _log.info("%s", reason)
    return [StateChange(f"encryption key {path}", "none", "created", reason)]


def _from_keyring(beside: str | None) -> Sealer:
    from importlib import import_module

    if beside is None:
        raise ConfigurationError('encryption_key="keyring": this needs a token cache with a path; pass the key itself')
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise ConfigurationError(
            'encryption_key="keyring": the package keyring is not installed; install polvo_adapters[keyring]'
        ) from None
    user, changes = _absolute(beside), list[StateChange]()
    try:
        key = keyring.get_password(_SERVICE, user)
        if key is None:
            changes += _kept(keyring, user)
            key = keyring.get_password(_SERVICE, user)
    except (errors.KeyringError, private_files.FileInUse, private_files.Unfit, OSError) as error:
        what = type(error).__name__
    else:
        return Sealer(_checked((key or "").split(), 'encryption_key="keyring"'), changes)
    raise ConfigurationError(
        f'encryption_key="keyring": the keyring of the operating system cannot be used ({what}); unlock it, or pass '
        f"the key itself, or set {VARIABLE}"
    )


def _kept(keyring: Any, user: str) -> list[StateChange]:
    """Make a key in the keyring, unless another process was faster."""
    private_files.make_directory(os.path.dirname(user))
    with private_files.locked(f"{user}.lock"):
        if keyring.get_password(_SERVICE, user) is not None:
            return []
        keyring.set_password(_SERVICE, user, _generated().decode("ascii"))
    reason = f"made the encryption key for {user} in the keyring"
    _log.info("%s", reason)
    return [StateChange(f"encryption key for {user}", "none", "created", reason)]


def _generated() -> bytes:
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _bound(name: str, text: str) -> bytes:
    return json.dumps([name, text]).encode("ascii")


def _without(prefix: str, sealed: Any) -> str:
    if not isinstance(sealed, str) or not sealed.startswith(prefix):
        kinds = {_SEALED: "it is not sealed", _OPEN: "it is sealed, or damaged"}
        raise DecryptionError(kinds[prefix])
    return sealed[len(prefix) :]


def _released(name: str, data: bytes) -> str:
    """Return the text if it is that of the record."""
    record: Any = None
    with suppress(ValueError, RecursionError):  # not passed on: such an error holds what was read
        record = json.loads(data)
    if not isinstance(record, list) or len(record) != 2 or record[0] != name or not isinstance(record[1], str):
        raise DecryptionError("it belongs to another record, or it is damaged")
    return record[1]
