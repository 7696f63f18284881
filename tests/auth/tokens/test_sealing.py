"""Sealing, and where the keys come from."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import stat
import subprocess
import sys
import traceback
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from polvo_adapters.auth.tokens.sealing import VARIABLE, DecryptionError, NoEncryption, Sealer, make_sealer
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.stores import private_files

KEYS = [urlsafe_b64encode(bytes([number]) * 32) for number in range(4)]
SEALER, OPEN = Sealer(KEYS[:1]), NoEncryption()
links = pytest.mark.skipif(os.name != "posix", reason="this system has no such links and modes")

STARTER = """
import sys
from polvo_adapters.auth.tokens.sealing import make_sealer

print("ready", flush=True)
sys.stdin.readline()
print(make_sealer(None, sys.argv[1]).seal("name", "text"))
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def beside(tmp_path: Path) -> str:
    return str(tmp_path / "tokens.json")


def opens(sealer: Sealer, key: str | bytes) -> bool:
    """Tell whether a sealer seals with a key."""
    return Sealer([key]).unseal("name", sealer.seal("name", "text")) == "text"


def format_error(error: BaseException | None) -> str:
    """Return everything that an error shows, and those that it came from."""
    text = ""
    while error is not None:
        text += "".join(traceback.format_exception_only(type(error), error)) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return text


# Sealing.


@given(st.text(), st.text())
@pytest.mark.parametrize("kind", [SEALER, OPEN])
def test_what_is_sealed_is_unsealed(kind: Sealer | NoEncryption, name: str, text: str) -> None:
    sealed = kind.seal(name, text)
    assert sealed.isascii()
    assert kind.unseal(name, sealed) == text


@given(st.text(), st.text(), st.text())
@pytest.mark.parametrize("kind", [SEALER, OPEN])
def test_a_record_is_not_taken_for_another(kind: Sealer | NoEncryption, name: str, other: str, text: str) -> None:
    sealed = kind.seal(name, text)
    if name != other:
        with pytest.raises(DecryptionError, match="another record"):
            kind.unseal(other, sealed)


def test_nothing_of_the_text_is_in_what_is_sealed() -> None:
    assert "secret" not in SEALER.seal("name", "secret")
    assert SEALER.seal("name", "secret") != SEALER.seal("name", "secret")


@given(st.text() | st.binary() | st.none() | st.text().map("sealed:1:".__add__) | st.text().map("open:1:".__add__))
@pytest.mark.parametrize("kind", [SEALER, OPEN])
def test_anything_else_is_unsealable(kind: Sealer | NoEncryption, sealed: Any) -> None:
    with pytest.raises(DecryptionError):
        kind.unseal("name", sealed)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"[]", b'["name"]', b'["name", 5]', b'{"name": "text"}']
)
def test_a_sealed_text_of_another_shape_is_unsealable(content: bytes) -> None:
    from cryptography.fernet import Fernet

    with pytest.raises(DecryptionError):
        SEALER.unseal("name", "sealed:1:" + Fernet(KEYS[0]).encrypt(content).decode())
    with pytest.raises(DecryptionError):
        OPEN.unseal("name", "open:1:" + content.decode())


@given(st.integers(0, 10_000), st.characters(max_codepoint=127))
def test_any_damage_makes_it_unsealable(place: int, digit: str) -> None:
    sealed = SEALER.seal("name", "text")
    place %= len(sealed) - 4  # the last digits before the padding have bits that mean nothing
    assume({digit, sealed[place]} not in ({digit}, {"-", "+"}, {"_", "/"}))  # which are the same digit
    with pytest.raises(DecryptionError):
        SEALER.unseal("name", sealed[:place] + digit + sealed[place + 1 :])


def test_no_kind_takes_what_the_other_made() -> None:
    with pytest.raises(DecryptionError, match="it is not sealed"):
        SEALER.unseal("name", OPEN.seal("name", "text"))
    with pytest.raises(DecryptionError, match="it is sealed"):
        OPEN.unseal("name", SEALER.seal("name", "text"))


def test_no_error_shows_what_was_sealed() -> None:
    from cryptography.fernet import Fernet

    texts = [SEALER.seal("other", "secret"), "sealed:1:" + Fernet(KEYS[0]).encrypt(b"secret").decode()]
    for kind, sealed in [*((SEALER, text) for text in texts), (OPEN, "open:1:secret"), (SEALER, "secret")]:
        with pytest.raises(DecryptionError) as caught:
            kind.unseal("name", sealed)
        assert "secret" not in format_error(caught.value)
        assert caught.value.__context__ is None


def test_the_first_key_seals_and_all_of_them_open() -> None:
    old, both, new = Sealer(KEYS[:1]), Sealer([KEYS[1], KEYS[0]]), Sealer(KEYS[1:2])
    assert both.unseal("name", old.seal("name", "text")) == "text"
    assert new.unseal("name", both.seal("name", "text")) == "text"
    with pytest.raises(DecryptionError, match="no key opens it"):
        old.unseal("name", both.seal("name", "text"))


def test_a_sealer_shows_nothing_and_is_not_pickled() -> None:
    assert (repr(SEALER), repr(OPEN)) == ("<Sealer>", "<NoEncryption>")
    assert KEYS[0].decode() not in repr(vars(SEALER))
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Sealer holds keys and is not pickled"):
            attempt(SEALER)
    assert pickle.loads(pickle.dumps(OPEN)).unseal("name", OPEN.seal("name", "text")) == "text"


# Keys that are given.


@pytest.mark.parametrize(
    "given_key",
    [
        KEYS[1],
        KEYS[1].decode(),
        KEYS[1].decode() + "\n",
        b"\1" * 32,
        bytearray(b"\1" * 32),
        [KEYS[1], KEYS[0].decode()],
        (b"\1" * 32, KEYS[0]),
        lambda: KEYS[1],
        lambda: [b"\1" * 32],
    ],
)
def test_a_key_may_have_any_of_these_forms(given_key: Any, beside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEYS[2].decode())
    assert opens(make_sealer(given_key, beside), KEYS[1])
    assert not os.path.exists(f"{beside}.key")


BAD = ["", "hunter2-secret", b"hunter2-secret", KEYS[0][:-1], KEYS[0] + b"=", "é" * 44, 5, True, [], [[]], {}, [None],
       [KEYS[0], "hunter2-secret"], lambda: None, lambda: "hunter2-secret", lambda: lambda: KEYS[0],
       b"\1" * 31]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_anything_else_is_refused_and_not_shown(bad: Any, beside: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^encryption_key: .*; a key is .* make one with: python -c "
    ) as caught:
        make_sealer(bad, beside)
    assert "hunter2" not in format_error(caught.value)
    assert KEYS[0].decode()[:20] not in format_error(caught.value)


def test_what_a_callable_raises_is_raised() -> None:
    def fetch() -> str:
        raise SecretError("the vault is sealed")

    with pytest.raises(SecretError, match="the vault is sealed"):
        make_sealer(fetch, None)


# The environment.


@pytest.mark.parametrize("between", [",", " ", "\n", " , "])
def test_the_environment_comes_second(beside: str, between: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f" {KEYS[2].decode()}{between}{KEYS[1].decode()} ")
    sealer = make_sealer(None, beside)
    assert opens(sealer, KEYS[2])
    assert sealer.unseal("name", Sealer([KEYS[1]]).seal("name", "text")) == "text"
    assert not os.path.exists(f"{beside}.key")


def test_a_variable_that_is_no_key_is_refused_and_not_shown(beside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "hunter2")
    with pytest.raises(ConfigurationError, match=rf"^the environment variable {VARIABLE}: ") as caught:
        make_sealer(None, beside)
    assert "hunter2" not in format_error(caught.value)


def test_an_empty_variable_is_none(beside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " ")
    make_sealer(None, beside)
    assert os.path.exists(f"{beside}.key")


def test_without_any_source_it_says_what_to_do() -> None:
    with pytest.raises(
        ConfigurationError, match=rf"pass encryption_key=, or set {VARIABLE}, or pass cache_encryption=F"
    ):
        make_sealer(None, None)


# The key file.


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@links
@pytest.mark.parametrize("mask", [0, 0o777])
def test_a_key_file_is_made_for_its_owner_alone(
    tmp_path: Path, umask: Callable[[int], int], mask: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    umask(mask)
    path = tmp_path / "app" / "tokens.json.key"
    sealer = make_sealer(None, str(tmp_path / "app" / "tokens.json"))
    key = path.read_text()
    assert opens(sealer, key)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    reason = f"made the encryption key {path}; a program that can read it can read the tokens"
    assert sealer.changes == (StateChange(f"encryption key {path}", "none", "created", reason),)
    assert (caplog.records[-1].levelname, caplog.records[-1].getMessage()) == ("INFO", reason)
    assert key.strip() not in caplog.text
    again = make_sealer(None, str(tmp_path / "app" / "tokens.json"))
    assert (again.unseal("name", sealer.seal("name", "text")), again.changes) == ("text", ())
    assert sorted(file.name for file in path.parent.iterdir()) == ["tokens.json.key", "tokens.json.lock"]


def test_processes_that_start_together_have_the_same_key(beside: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, beside], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    sealer = make_sealer(None, beside)
    assert [sealer.unseal("name", output) for output in outputs] == ["text"] * 6


def test_a_key_file_may_hold_several(beside: str) -> None:
    path = Path(f"{beside}.key")
    path.write_bytes(KEYS[1] + b"\n" + KEYS[0] + b"\n")
    path.chmod(0o600)
    sealer = make_sealer(None, beside)
    assert opens(sealer, KEYS[1])
    assert sealer.unseal("name", SEALER.seal("name", "text")) == "text"


@links
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_could_read_or_write_is_refused(beside: str, mode: int) -> None:
    path = Path(f"{beside}.key")
    path.write_bytes(KEYS[1])
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"^encryption_key: the key file .* run chmod 600 {path}; or pass"):
        make_sealer(None, beside)
    assert opens(make_sealer(None, beside, checked=False), KEYS[1])
    path.chmod(0o600)
    assert opens(make_sealer(None, beside), KEYS[1])


@pytest.mark.parametrize("content", [b"", b"hunter2", b"\xff" * 32, b"x" * 32, KEYS[0] + b" hunter2", KEYS[0][:40]])
def test_a_key_file_with_something_else_is_refused_and_let_be(beside: str, content: bytes) -> None:
    path = Path(f"{beside}.key")
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^encryption_key: the key file .*tokens\.json\.key: ") as caught:
        make_sealer(None, beside)
    assert path.read_bytes() == content
    assert "hunter2" not in format_error(caught.value)


@links
@pytest.mark.parametrize(
    "make", [lambda path: os.symlink("elsewhere", path), os.mkdir, getattr(os, "mkfifo", os.mkdir)]
)
def test_a_key_file_that_is_no_file_is_refused(beside: str, make: Callable[[str], None]) -> None:
    make(f"{beside}.key")
    with pytest.raises(ConfigurationError, match=r"^encryption_key: the key file .*: .* (symbolic link|regular file)"):
        make_sealer(None, beside)
    assert not Path(beside).with_name("elsewhere").exists()


def test_a_key_file_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^encryption_key: the key file .*: its directory .* make it first"):
        make_sealer(None, str(tmp_path / "no" / "app" / "tokens.json"))
    with pytest.raises(ConfigurationError, match=rf"can be neither read nor made \(.*\); pass .* or set {VARIABLE}"):
        make_sealer(None, str(tmp_path / ("n" * 252)))


def test_a_lock_that_others_keep_is_a_clear_error(beside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "PATIENCE", 0.05)
    with (
        private_files.hold_lock(f"{beside}.lock"),
        pytest.raises(ConfigurationError, match="could not be made: another process holds"),
    ):
        make_sealer(None, beside)


# The keyring.


class Keyring(ModuleType):
    """A keyring that is only a dict: the real one needs a desktop."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, user: str) -> str | None:
        if self.locked:
            raise KeyringError("hunter2")
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, password: str) -> None:
        self.kept[service, user] = password


class KeyringError(Exception):
    pass


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    keyring, errors = Keyring(), ModuleType("keyring.errors")
    errors.__dict__["KeyringError"] = KeyringError
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return keyring


def test_a_key_in_the_keyring_is_made_once(beside: str, keyring: Keyring) -> None:
    sealer = make_sealer("keyring", beside)
    assert [*keyring.kept] == [("polvo_adapters", beside)]
    assert opens(sealer, keyring.kept["polvo_adapters", beside])
    assert [change[:3] for change in sealer.changes] == [(f"encryption key for {beside}", "none", "created")]
    again = make_sealer(lambda: "keyring", beside)
    assert (again.unseal("name", sealer.seal("name", "text")), again.changes) == ("text", ())


def test_a_keyring_that_cannot_be_used_is_a_clear_error(
    beside: str, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="this needs a token cache with a path"):
        make_sealer("keyring", None)
    keyring.locked = True
    with pytest.raises(ConfigurationError, match=r"cannot be used \(KeyringError\); unlock it, or") as caught:
        make_sealer("keyring", beside)
    assert "hunter2" not in format_error(caught.value)
    keyring.locked = False
    keyring.kept["polvo_adapters", beside] = "hunter2"
    with pytest.raises(ConfigurationError, match=r"cannot be an encryption key") as caught:
        make_sealer("keyring", beside)
    assert "hunter2" not in format_error(caught.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigurationError, match=r"keyring.* -m pip install .*\[keyring\]"):
        make_sealer("keyring", beside)
