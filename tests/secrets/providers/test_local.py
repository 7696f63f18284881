"""Environment, files, `.env` files and the keyring, as they are on a machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.runtime.extras import install_command
from polvo_adapters.secrets import DotEnv, Environment, File, Keyring, Secret
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.secret_servers import needed

VALUE = "hunter2-the-value"


def reason(source: Any, *arguments: Any, **keywords: Any) -> tuple[str | None, bool]:
    with pytest.raises(SecretError) as caught:
        Secret(source, *arguments, **keywords).get()
    assert VALUE not in str(caught.value)
    return caught.value.reason, caught.value.final


# ------------------------------------------------------------------------------------------ environment


def test_the_environment(monkeypatch: pytest.MonkeyPatch, clock: VirtualClock) -> None:
    monkeypatch.setenv("HB_Password", VALUE)
    made = Secret("env://HB_Password", clock=clock)
    assert made.get() == VALUE
    monkeypatch.setenv("HB_Password", "second")
    clock.advance(6)
    assert made.get() == VALUE
    clock.advance(4)
    assert made.get() == "second"
    assert Environment().secret("HB_Password").get() == "second"


def test_a_field_of_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HB_JSON", json.dumps({"user": "ada", "port": 5432, "on": True, "deep": {"a": [1]}, "no": None}))
    found = {field: Secret(f"env://HB_JSON#{field}").get() for field in ("user", "port", "on", "deep")}
    assert found == {"user": "ada", "port": "5432", "on": "true", "deep": '{"a": [1]}'}
    assert json.loads(Secret("env://HB_JSON", field="*").get())["port"] == 5432
    assert reason("env://HB_JSON#no") == ("no text", True)
    with pytest.raises(SecretError, match="'pass' is not among its fields: 'deep', 'no', 'on', 'port', 'user'"):
        Secret("env://HB_JSON#pass").get()


@pytest.mark.parametrize("value", ["", VALUE, "[1]", '"' + VALUE + '"', "{", "[" * 100_000])
def test_a_field_of_what_has_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HB_BAD", value)
    assert reason("env://HB_BAD#x") == ("no such field" if value else "not found", True)


def test_a_variable_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HB_NONE", raising=False)
    assert reason("env://HB_NONE") == ("not found", True)


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a b", "a b"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b" a \n", " a "),
        ("ä".encode(), "ä"),
        (b"\xef\xbb\xbfa", "a"),
    ],
)
def test_a_file(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "pass word").write_bytes(content)
    assert Secret(f"file://{tmp_path}/pass%20word").get() == expected
    assert Secret(File(tmp_path), "pass word").get() == expected


def test_a_file_that_kubernetes_swaps(tmp_path: Path, clock: VirtualClock) -> None:
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "password").write_text(f"value {version}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "password").symlink_to("..data/password")
    made = Secret(f"file://{tmp_path}/password", clock=clock)
    assert made.get() == "value 1"
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert made.get() == "value 1"
    clock.advance(10)
    assert made.get() == "value 2"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"a" * (1 << 20) + b"\n")
    os.mkfifo(tmp_path / "pipe")
    found = {
        name: reason(f"file://{tmp_path}/{name}")
        for name in ("nope", "empty", "binary", "large", "empty/below", "pipe", ".")
    }
    assert found == {
        "nope": ("not found", True),
        "empty": ("empty", True),
        "binary": ("no text", True),
        "large": ("no text", True),
        "empty/below": ("not found", True),
        "pipe": ("unavailable", False),
        ".": ("unavailable", False),
    }


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_a_name_does_not_lead_out_of_its_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="leads out"):
        Secret(File(tmp_path), name).get()


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="absolute path"):
        Secret(File(), "run/secret").get()


def test_who_may_not_read_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    path.write_text(VALUE)
    path.chmod(0)
    expected = "denied" if os.geteuid() else None  # the superuser may read everything
    if expected is None:
        assert Secret(f"file://{path}").get() == VALUE
    else:
        assert reason(f"file://{path}") == ("denied", False)


# ------------------------------------------------------------------------------------------ .env


def test_an_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    monkeypatch.setenv("HOME_OF_TESTS", "expanded")
    path.write_text("# comment\nexport A=1\nB='two words'\nC=${HOME_OF_TESTS}\nD\nE=\n")
    found = {name: Secret(f"dotenv://{path}#{name}").get() for name in "ABC"}
    assert found == {"A": "1", "B": "two words", "C": "${HOME_OF_TESTS}"}
    assert Secret(DotEnv(tmp_path), ".env", field="A").get() == "1"
    assert [reason(f"dotenv://{path}#{name}") for name in "DEF"] == [
        ("empty", True),
        ("empty", True),
        ("no such field", True),
    ]
    assert reason(f"dotenv://{path}") == ("no such field", True)
    assert reason(f"dotenv://{tmp_path}/none#A") == ("not found", True)
    assert "A" not in os.environ


# ------------------------------------------------------------------------------------------ keyring


def test_the_keyring(tmp_path: Path) -> None:
    file_backends = needed("keyrings.alt.file")
    backend = file_backends.PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring")
    backend.set_password("service", "ada/admin", VALUE)
    provider = Keyring(backend)
    assert Secret("keyring://service/ada%2Fadmin", provider=provider).get() == VALUE
    assert Secret(provider, "service/ada/admin").get() == VALUE
    assert reason(provider, "service/bob") == ("not found", True)
    with pytest.raises(ConfigurationError, match="must be service/user"):
        Secret(provider, "service").get()


def test_a_machine_without_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = needed("keyring")
    before = keyring.get_keyring()
    try:
        keyring.set_keyring(needed("keyring.backends.fail").Keyring())
        assert reason("keyring://service/user") == ("unavailable", True)
    finally:
        keyring.set_keyring(before)


class Locked:
    """A backend whose user does not unlock it."""

    def get_password(self, service: str, user: str) -> str:
        errors = needed("keyring.errors")
        raise errors.KeyringLocked(VALUE)


def test_a_keyring_that_stays_locked() -> None:
    needed("keyring")
    assert reason(Keyring(Locked()), "service/user") == ("sealed", False)


# ------------------------------------------------------------------------------------------ libraries


@pytest.mark.parametrize(
    ("uri", "library", "extra"),
    [
        ("dotenv:///etc/hostname#A", "dotenv", "dotenv"),
        ("keyring://service/user", "keyring", "keyring"),
        ("vault://secret/data/app", "hvac", "vault"),
        ("aws-ssm:///app", "boto3", "aws"),
        ("aws-secretsmanager://app", "boto3", "aws"),
    ],
)
def test_a_library_that_is_not_installed(uri: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    made = Secret(uri)
    with pytest.raises(ConfigurationError) as caught:
        made.get()
    assert install_command(extra) in str(caught.value)
