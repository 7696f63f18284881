"""Several sources for one secret, and several secrets at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import Environment, File, Secret, fetch_all, first_of
from polvo_adapters.secrets.provider import fetch_error


def place(tmp_path: Path, name: str, **secrets: str) -> File:
    folder = tmp_path / name
    folder.mkdir()
    for key, value in secrets.items():
        (folder / key).write_text(value)
    return File(folder)


def test_an_app_inherits_from_its_site(tmp_path: Path) -> None:
    app = place(tmp_path, "app", own="from the app", both="from the app")
    site = place(tmp_path, "site", both="from the site", shared="from the site")
    settings = first_of(app, site)
    found = {name: Secret(settings, name).get() for name in ("own", "both", "shared")}
    assert found == {"own": "from the app", "both": "from the app", "shared": "from the site"}
    with pytest.raises(SecretError) as caught:
        Secret(settings, "none").get()
    assert (caught.value.reason, caught.value.final) == ("not found", True)
    assert str(caught.value).endswith("none of these has it: file://none, file://none")


def test_sources_may_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HB_FIRST", raising=False)
    (tmp_path / "x").write_text('{"a": "file"}')
    made = Secret(first_of("env://HB_FIRST", Secret(f"file://{tmp_path}/x#a"), lambda: "last"))
    assert made.get() == "file"
    monkeypatch.setenv("HB_FIRST", "environment")
    made.invalidate()
    assert made.get() == "environment"
    assert Secret(first_of(f"file://{tmp_path}/x#b", lambda: "last")).get() == "last"


def test_one_that_fails_is_not_passed_over() -> None:
    def broken() -> str:
        raise fetch_error("app", "x", "sealed", "unseal it")

    with pytest.raises(SecretError) as caught:
        Secret(first_of(broken, lambda: "from the site")).get()
    assert caught.value.reason == "sealed"


def test_none_at_all() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        first_of()


def test_many_are_fetched_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HB_ONE", "environment")
    together = threading.Barrier(4)

    def ask() -> str:
        together.wait(10)
        return "asked"

    given = {f"asked {number}": Secret(ask) for number in range(4)}
    assert fetch_all({**given, "one": "env://HB_ONE"}) == {**dict.fromkeys(given, "asked"), "one": "environment"}
    assert fetch_all({}) == {}


def test_no_more_than_so_many_at_a_time() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def ask() -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1
        return "asked"

    assert len(fetch_all({str(number): Secret(ask) for number in range(30)}, max_concurrency=2)) == 30
    assert most[0] <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("secrets")]


def test_all_or_none() -> None:
    with pytest.raises(SecretError) as caught:
        fetch_all({"a": "env://HB_NONE_A", "b": Secret(lambda: "there"), "c": Environment().secret("HB_NONE_C")})
    assert "HB_NONE_A" in str(caught.value)
    assert str(caught.value).endswith("failed in all: 'a', 'c'")
    for wrong in (0, True, 1.5):
        with pytest.raises(ConfigurationError, match="max_concurrency"):
            fetch_all({}, max_concurrency=wrong)
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        fetch_all({"a": "nope://x"})
