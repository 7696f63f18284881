"""Where settings come from, and which are refused; where the code runs."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi import Client, ConfigurationError, RuntimeMode
from polvo_adapters.services.taruvi.client import AsyncClient, SyncClient
from tests.support.taruvi_server import TaruviServer

URL = "http://127.0.0.1:9"


def test_an_argument_wins_over_a_variable_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        'TARUVI_API_URL="https://file.example"\nTARUVI_APP_SLUG=file\nTARUVI_TIMEOUT=60\nOTHER=1\nTARUVI_MAX_RETRIES=5\n'
    )
    monkeypatch.setenv("TARUVI_APP_SLUG", "variable")
    monkeypatch.setenv("TARUVI_TIMEOUT", "70")
    client = Client(timeout=80)
    settings = client._settings
    assert (settings.api_url, settings.app_slug) == ("https://file.example", "variable")
    assert (settings.timeout, settings.max_retries, settings.mode) == (80, 5, "sync")
    with pytest.raises(ConfigurationError, match="TARUVI_API_URL"):
        Client(env_file=None)


def test_the_mode_may_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Client(URL, "a"), SyncClient)
    monkeypatch.setenv("TARUVI_MODE", "async")
    assert isinstance(Client(URL, "a"), AsyncClient)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"api_url": None}, "^api_url: it is missing: give api_url=..., or set TARUVI_API_URL"),
        ({"app_slug": ""}, "^app_slug: it is missing"),
        ({"app_slug": "a/b"}, "^app_slug: "),
        ({"api_url": "api.taruvi.cloud"}, "^api_url: it must begin with http"),
        ({"api_url": "https://u:p4ssword@x"}, "^api_url: it holds a name or password"),
        ({"api_url": "https://x/?a=1"}, "^api_url: it has a query"),
        ({"api_url": "https://[x"}, "^api_url: it is no URL"),
        ({"mode": "bogus"}, "^mode: 'bogus'"),
        ({"wire": "2"}, "^wire: '2'"),
        ({"site_slug": "a.b"}, "^site_slug: "),
        *(({"timeout": value}, "^timeout: .* from 1 to 300") for value in (0, 301, "30", True, float("nan"))),
        *(({"max_retries": value}, "^max_retries: .* from 0 to 10") for value in (-1, 11, 2.5, "3", True)),
    ],
)
def test_a_wrong_setting_is_named(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Client(**{"api_url": URL, "app_slug": "a", **keywords})
    assert "p4ssword" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("TARUVI_TIMEOUT", "soon"), ("TARUVI_TIMEOUT", "0"), ("TARUVI_MAX_RETRIES", "11")]
)
def test_a_wrong_variable_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        Client(URL, "a")


def test_credentials_are_no_settings() -> None:
    with pytest.raises(TypeError, match=r"client\.auth\.signInWithToken"):
        Client(URL, "a", jwt="x")
    with pytest.raises(TypeError, match="retrys"):
        Client(URL, "a", retrys=1)


def test_a_password_does_not_go_over_plain_http() -> None:
    with pytest.raises(ConfigurationError, match=r"^api_url: .*allow_http"):
        Client("http://api.example.com", "a").auth.signInWithPassword("alice", "a")
    client = Client("http://api.example.com", "a", mode="async", allow_http=True)
    assert client.auth.signInWithPassword("alice", "a").is_authenticated


def test_a_credential_in_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, taruvi_server: TaruviServer
) -> None:
    monkeypatch.setenv("TARUVI_JWT", "x")
    monkeypatch.setenv("TARUVI_FUNCTION_KEY", "y")
    client = Client(taruvi_server.url, "a")
    client.settings.get()
    assert "authorization" not in taruvi_server.received[0].headers


def test_a_function_has_the_credential_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, taruvi_server: TaruviServer
) -> None:
    for name, value in {"RUNTIME": "true", "KEY": "FNJWT", "ID": "f1", "NAME": "n"}.items():
        monkeypatch.setenv(f"TARUVI_FUNCTION_{name}", value)
    monkeypatch.setenv("TARUVI_EXECUTION_ID", "e1")
    assert str(taruvi.detect_runtime()) == "RuntimeMode.FUNCTION"
    assert taruvi.is_inside_function()
    context = taruvi.get_function_context()
    assert (context["function_id"], context["execution_id"], context["tenant"]) == ("f1", "e1", None)
    client = Client(taruvi_server.url, "a")
    assert client.is_authenticated
    client.functions.execute("h", {"t": 1})
    headers = taruvi_server.received[0].headers
    assert (headers["authorization"], headers["x-execution-id"], headers["x-function-id"]) == (
        "Bearer FNJWT",
        "e1",
        "f1",
    )


def test_the_runtime_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taruvi.detect_runtime() is RuntimeMode.EXTERNAL
    monkeypatch.setenv("TARUVI_LOCAL_DEV", "true")
    assert taruvi.detect_runtime() is RuntimeMode.LOCAL_DEV
    assert set(taruvi.get_function_context().values()) == {None}


def test_a_star_import_hides_no_name_of_python() -> None:
    namespace: dict[str, Any] = {}
    exec("from polvo_adapters.services.taruvi import *", namespace)
    assert {"TimeoutError", "ConnectionError", "RuntimeError"}.isdisjoint(namespace)
    assert namespace["Client"] is Client


def test_failed_functions_can_be_raised() -> None:
    taruvi.raise_for_result({"data": {"status": "SUCCESS"}})
    taruvi.raise_for_result({"data": [1]})
    with pytest.raises(taruvi.FunctionExecutionError) as caught:
        taruvi.raise_for_result({"data": {"status": "FAILURE", "traceback": "t"}})
    assert caught.value.details == {"status": "FAILURE", "traceback": "t"}
    assert isinstance(caught.value, RuntimeError)


def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)
    (tmp_path / ".env").write_text("OTHER=1\n")
    assert Client(URL, "a").app_slug == "a"  # a file of another program
    (tmp_path / ".env").write_text("TARUVI_TIMEOUT=60\n")
    with pytest.raises(ConfigurationError, match=r"^env_file: .*dotenv: .* install .*\[dotenv\]"):
        Client(URL, "a")
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "polvo_adapters.services.taruvi.async_sender", raising=False)
    assert Client(URL, "a", env_file=None).app_slug == "a"
    with pytest.raises(ImportError, match=r"httpx: .* install .*\[httpx\]"):
        Client(URL, "a", mode="async", env_file=None)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^env_file: it cannot be read \(OSError\)"):
        Client(URL, "a", env_file="x" * 5000)


UNVERIFIED = {"no": False, "none": None, "empty": "", "context": ssl._create_unverified_context()}


@pytest.mark.parametrize("verify", UNVERIFIED.values(), ids=UNVERIFIED)
def test_no_argument_lets_a_server_be_anyone(verify: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^verify: "):
        Client(URL, "a", mode="async", verify=verify)
    with pytest.raises(TypeError, match="verify"):
        Client(URL, "a", verify=verify)


def test_derived_clients_share_what_verifies_the_server() -> None:
    first = Client(URL, "a", mode="async")
    assert first.auth.signInWithToken("token")._options["verify"] is first._options["verify"]
