"""Sealing of secrets before they are written, and the sources of the key.

Theory of operation. Whatever is written goes through one of two objects with the same two methods: a `Sealer` encrypts
and authenticates (Fernet: AES-128-CBC and HMAC-SHA256, from the library `cryptography`), `NoEncryption` does neither.
The name of the record is sealed with the text and checked, so that one record cannot pass for another. Each kind has a
prefix of its own, so that neither accepts what the other wrote.

The first source that has a key wins:

    source                             key
    ---------------------------------  --------------------------------------------------------------------------
    `encryption_key=` text or bytes    a Fernet key: 32 bytes as 44 characters of url-safe base64
    `encryption_key=` bytes            32 raw bytes
    `encryption_key=` list             several of these: the first seals, all of them unseal (to change keys)
    `encryption_key=` callable         any of these, which it returns
    `encryption_key="keyring"`         in the keyring of the operating system, created there when missing
    POLVO_ENCRYPTION_KEY               Fernet keys in the environment, with commas or spaces between them
    key file                           `<path of the cache>.key`, mode 0600, created when missing

In the keyring, the service is "polvo_adapters" and the user is the path of the cache.

A program that can read the key file can read the tokens: the file protects a copy of the cache, such as a backup, and
no more.
"""

from __future__ import annotations

import json
import logging
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from polvo_adapters.auth.options import EncryptionKey
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.extras import missing_text
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.stores import file_trust, private_files

VARIABLE = "POLVO_ENCRYPTION_KEY"
"""Name of the environment variable for keys."""

_SERVICE = "polvo_adapters"
_FERNET = re.compile(r"[A-Za-z0-9_-]{43}=")
_ADVICE = (
    "a key is 44 characters of url-safe base64, or 32 bytes; make one with: python -c "
    '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)

_log = logger("stores")


_OPEN, _SEALED = _PREFIXES = ("open:1:", "sealed:1:")
_FERNET_TEXT = re.compile(r"gAAAA[\w-]{90,}={0,2}", re.ASCII)  # version, time, and room for the shortest record


class DecryptionError(ValueError):
    """A text that cannot be unsealed: another key, another record, another kind, or damage. The message shows none."""


class OtherKeyError(DecryptionError):
    """A text that is whole as far as can be seen, and was sealed with another key, or in another way."""


class NoKeyFile(ConfigurationError):
    """There is no key file, and none can be made: the disk is full, or read-only."""


class _Records:
    """The format of records, which `Sealer` and `NoEncryption` have in common."""

    changes: tuple[StateChange, ...] = ()
    _prefix: str
    _mismatch: str

    def seal(self, name: str, text: str) -> str:
        """Return a text for the store. That of a Sealer cannot be read or changed without a key.

        Args:
            name: Name of the record.
            text: The secret text.
        """
        return self._prefix + self._encrypt(json.dumps([name, text]).encode("ascii")).decode("ascii")

    def unseal(self, name: str, sealed: Any) -> str:
        """Return the text that was sealed for a record.

        Args:
            name: Name of the record.
            sealed: A sealed text, or anything.

        Raises:
            DecryptionError: It was not sealed for this record by an object of the same kind, with one of the same keys;
                OtherKeyError where another process may have the key that opens it.
        """
        if not isinstance(sealed, str) or not sealed.startswith(self._prefix):
            is_whole = isinstance(sealed, str) and sealed.startswith(_PREFIXES)
            raise OtherKeyError(self._mismatch) if is_whole else DecryptionError(self._mismatch)
        record, data = None, self._decrypt(sealed[len(self._prefix) :])
        with suppress(ValueError, RecursionError):  # not chained: such an error contains what was read
            record = json.loads(data)
        if not isinstance(record, list) or len(record) != 2 or record[0] != name or not isinstance(record[1], str):
            raise DecryptionError("it belongs to another record, or it is damaged")
        return record[1]

    def _encrypt(self, data: bytes) -> bytes:
        return data

    def _decrypt(self, text: str) -> bytes:
        return text.encode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class NoEncryption(_Records):
    """Records in readable form, for users who do not want encryption."""

    _prefix = _OPEN
    _mismatch = "it is sealed, or damaged"


class Sealer(_Records):
    """Encryption of texts, each for the record of one name.

    Args:
        keys: Fernet keys; the first one seals, all of them unseal.
        changes: Changes that were made to get the keys, such as the creation of a key, for the listeners.

    Raises:
        ConfigurationError: There is no key, or one is malformed.
    """

    _prefix = _SEALED
    _mismatch = "it is not sealed"

    def __init__(self, keys: Sequence[str | bytes], changes: Sequence[StateChange] = ()) -> None:
        from cryptography.fernet import Fernet, MultiFernet

        self._fernet = MultiFernet([Fernet(key) for key in _validate_keys(list(keys), "Sealer(keys=...)")])
        self.changes = tuple(changes)

    def _encrypt(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def _decrypt(self, text: str) -> bytes:
        from cryptography.fernet import InvalidToken

        with suppress(InvalidToken, ValueError):  # not chained: such an error may contain what was read
            return self._fernet.decrypt(text.encode("ascii"))
        if _FERNET_TEXT.fullmatch(text):
            raise OtherKeyError("no key opens it: it was sealed by another one")
        raise DecryptionError("it is damaged")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sealer holds keys and is not pickled; let the other process call make_sealer()")


def make_sealer(
    encryption_key: EncryptionKey | Callable[[], EncryptionKey] | None, beside: str | None, checked: bool = True
) -> Sealer:
    """Return the sealer for the records of a cache, with the key of the first source in the table above.

    Args:
        encryption_key: The user's setting, or None.
        beside: Path of the cache, or None if it has none.
        checked: Whether the owner and the mode of the key file and its directory are checked.

    Raises:
        ConfigurationError: There is no key, or it is malformed. No message shows any of it.
    """
    if encryption_key is not None:
        value: Any = encryption_key() if callable(encryption_key) else encryption_key
        if isinstance(value, str) and value == "keyring":
            return _sealer_from_keyring(beside, checked)
        return Sealer(_validate_keys(list(value) if isinstance(value, (list, tuple)) else [value], "encryption_key"))
    keys = [key for key in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if key]
    if keys:
        return Sealer(_validate_keys(keys, f"the environment variable {VARIABLE}"))
    if beside is None:
        raise ConfigurationError(
            "encryption_key: there is no file beside which a key could be stored; pass encryption_key=, or set "
            f"{VARIABLE}, or pass cache_encryption=False to keep the tokens readable"
        )
    return _sealer_from_file(_make_absolute(beside), checked)


def _validate_keys(keys: list[Any], where: str) -> list[bytes]:
    """Return Fernet keys, or raise an error that does not show them."""
    valid = []
    for key in keys:
        if isinstance(key, (bytes, bytearray)) and len(key) == 32:
            valid.append(urlsafe_b64encode(key))
            continue
        text = key.decode("latin-1") if isinstance(key, (bytes, bytearray)) else key
        if not isinstance(text, str) or not _FERNET.fullmatch(text.strip()):
            raise ConfigurationError(f"{where}: this cannot be an encryption key; {_ADVICE}")
        valid.append(text.strip().encode("ascii"))
    if not valid:
        raise ConfigurationError(f"{where}: there is no encryption key in it; {_ADVICE}")
    return valid


def _sealer_from_file(beside: str, checked: bool) -> Sealer:
    """Return the sealer with the key file of a cache, which is made when missing."""
    path = f"{beside}.key"
    where = f"encryption_key: the key file {path}"
    changes: list[StateChange] = []
    try:
        found = private_files.read(path, checked) if os.path.isdir(os.path.dirname(path)) else None
        if found is None:
            changes += _make_key_file(path, beside, checked)
            found = private_files.read(path, checked)
    except file_trust.Unfit as error:
        raise ConfigurationError(f"{where}: {error}") from None
    except private_files.FileInUse:
        raise ConfigurationError(f"{where} could not be made: another process holds {beside}.lock") from None
    except OSError as error:
        problem = f"can be neither read nor made ({error.strerror})"
        raise NoKeyFile(f"{where} {problem}; pass encryption_key=, or set {VARIABLE}") from None
    data = found.data if found is not None else b""
    return Sealer(_validate_keys((data or b"").decode("latin-1").split(), where), changes)


def _make_key_file(path: str, beside: str, checked: bool) -> list[StateChange]:
    """Make the key file, unless another process was faster."""
    directory = os.path.dirname(path)
    if private_files.make_directory(directory):
        text = "made the directory %s for the token cache %s"
        say(_log, logging.INFO, "store", text, directory, beside, what=f"token cache {beside}")
    with private_files.hold_lock(f"{beside}.lock", checked=checked):
        if os.path.lexists(path):
            return []
        private_files.write(path, _generate_key() + b"\n")
    return _report_new_key(
        f"encryption key {path}", f"made the encryption key {path}; a program that can read it can read the tokens"
    )


def _sealer_from_keyring(beside: str | None, checked: bool) -> Sealer:
    from importlib import import_module

    if beside is None:
        raise ConfigurationError('encryption_key="keyring": this needs a token cache with a path; pass the key itself')
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise ConfigurationError(missing_text('encryption_key="keyring"', "keyring", "keyring")) from None
    user, changes = _make_absolute(beside), list[StateChange]()
    try:
        key = keyring.get_password(_SERVICE, user)
        if key is None:
            changes += _make_keyring_key(keyring, user, checked)
            key = keyring.get_password(_SERVICE, user)
    except (errors.KeyringError, private_files.FileInUse, file_trust.Unfit, OSError) as error:
        problem = type(error).__name__
    else:
        return Sealer(_validate_keys((key or "").split(), 'encryption_key="keyring"'), changes)
    raise ConfigurationError(
        f'encryption_key="keyring": the keyring of the operating system cannot be used ({problem}); unlock it, or pass '
        f"the key itself, or set {VARIABLE}"
    )


def _make_keyring_key(keyring: Any, user: str, checked: bool) -> list[StateChange]:
    """Make a key in the keyring, unless another process was faster."""
    private_files.make_directory(os.path.dirname(user))
    with private_files.hold_lock(f"{user}.lock", checked=checked):
        if keyring.get_password(_SERVICE, user) is not None:
            return []
        keyring.set_password(_SERVICE, user, _generate_key().decode("ascii"))
    return _report_new_key(f"encryption key for {user}", f"made the encryption key for {user} in the keyring")


def _report_new_key(what: str, reason: str) -> list[StateChange]:
    """Log the creation of a key, and return the change for the listeners."""
    say(_log, logging.INFO, "store", "%s", reason, what=what, before="none", after="created")
    return [StateChange(what, "none", "created", reason)]


def _generate_key() -> bytes:
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def _make_absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
