"""The settings of the resilient client: defaults, bounds, and what is refused by which name."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import ssl
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from polvo_adapters.client import (
    BulkheadConfig,
    CircuitBreakerConfig,
    ClientConfig,
    LoggingConfig,
    ResilientClient,
    RetryConfig,
    TimeoutConfig,
)
from polvo_adapters.client.exceptions import ClientConfigurationError, MyAPIError, UnknownSettingError
from polvo_adapters.errors import ConfigurationError, PolvoError

URL = "http://localhost:8000"

WRONG: list[tuple[Any, str, list[Any]]] = [
    (TimeoutConfig, "connect", [0, -1, "60.0", None, True, math.inf, math.nan]),
    (TimeoutConfig, "read", [0, -0.5, (1, 2)]),
    (TimeoutConfig, "write", [0, "15"]),
    (TimeoutConfig, "pool", [0, []]),
    (RetryConfig, "max_attempts", [0, -1, 1.5, "3", None, True]),
    (RetryConfig, "min_wait_seconds", [-1, "1", None, math.inf, 61]),
    (RetryConfig, "max_wait_seconds", [-1, 0.5, None, math.nan]),
    (RetryConfig, "multiplier", [0, 0.5, -2, "2", math.inf]),
    (RetryConfig, "jitter", ["yes", 1, None]),
    (RetryConfig, "retry_non_idempotent", ["no", 0]),
    (CircuitBreakerConfig, "failure_threshold", [0, -1, 2.0, "5"]),
    (CircuitBreakerConfig, "recovery_timeout", [0, -1, "30", math.inf]),
    (BulkheadConfig, "max_concurrency", [0, -5, 5.5, "50", False]),
    (BulkheadConfig, "acquisition_timeout", [-1, None, math.inf]),
    (LoggingConfig, "level", ["LOUD", "", 10, None]),
    (LoggingConfig, "include_request_id", ["yes", 1]),
    (LoggingConfig, "logger_name", ["", None, 5]),
]


def test_the_defaults_are_those_of_the_guide() -> None:
    config = ClientConfig(base_url=URL)
    assert config.timeout == TimeoutConfig(connect=60.0, read=15.0, write=15.0, pool=5.0)
    assert config.retry == RetryConfig(
        max_attempts=3, min_wait_seconds=1.0, max_wait_seconds=60.0, multiplier=2.0, jitter=True
    )
    assert config.circuit_breaker == CircuitBreakerConfig(failure_threshold=5, recovery_timeout=30.0)
    assert config.bulkhead == BulkheadConfig(max_concurrency=50, acquisition_timeout=30.0)
    assert config.logging == LoggingConfig(level="INFO", include_request_id=True, logger_name="polvo_adapters.client")
    assert (config.follow_redirects, config.verify_ssl) == (True, True)
    assert config.user_agent.startswith("polvo_adapters/")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, name, values in WRONG for value in values],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value),
)
def test_an_impossible_value_is_refused_by_name(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ClientConfigurationError) as caught:
        kind(**{name: value})
    assert f"{name}={value!r}" in str(caught.value)
    assert isinstance(caught.value, MyAPIError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PolvoError)


@pytest.mark.parametrize(
    "url",
    [
        *(
            None,
            "",
            5,
            b"http://a",
            "localhost:8000",
            "api.example.com",
            "ftp://a.example.com",
            "http://",
            "https:///x",
        ),
        *("http://a/?q=1", "http://a/#x", "http://a b/", "http://a:99999", "http://a:0", "http://a\\b", "http://a\n"),
    ],
    ids=repr,
)
def test_a_base_url_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(ClientConfigurationError, match="base_url"):
        ClientConfig(base_url=url)


def test_the_password_of_a_base_url_shows_nowhere() -> None:
    config = ClientConfig(base_url="https://user:hunter22@api.example.com/v1")
    assert "hunter22" not in repr(config)
    assert "hunter22" not in repr(ResilientClient(config))
    for wrong in ("ftp://user:hunter22@a", "user:hunter22@a", "http://user:hunter22@a?x", "http://a?key=hunter22"):
        with pytest.raises(ClientConfigurationError) as caught:
            ClientConfig(base_url=wrong)
        assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "name", "advice"),
    [
        ({"base_urll": URL}, "base_urll", "did you mean base_url?"),
        ({"base_url": URL, "max_attempts": 3}, "max_attempts", "a setting of RetryConfig, for retry="),
        ({"base_url": URL, "proxies": {}}, "proxies", "there are base_url, timeout"),
        ({"base_url": URL, "retry": {"max_attempt": 3}}, "max_attempt", "did you mean max_attempts?"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_by_name(settings: Any, name: str, advice: str) -> None:
    with pytest.raises(UnknownSettingError, match=name) as caught:
        ClientConfig(**settings)
    assert advice in str(caught.value)
    assert isinstance(caught.value, (TypeError, ValueError, MyAPIError))


@pytest.mark.parametrize("name", ["timeout", "retry", "circuit_breaker", "bulkhead", "logging"])
@pytest.mark.parametrize("value", [5, None, "x", [], {1: 2}, RetryConfig, ...], ids=repr)
def test_a_part_of_another_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ClientConfigurationError, match=name):
        ClientConfig(base_url=URL, **{name: value})


def test_other_fields_are_checked_as_well() -> None:
    for settings in ({"verify_ssl": "no"}, {"follow_redirects": 1}, {"user_agent": ""}, {"user_agent": "a\nb"}):
        with pytest.raises(ClientConfigurationError, match=next(iter(settings))):
            ClientConfig(base_url=URL, **settings)  # type: ignore[arg-type]
    assert ClientConfig(base_url=URL, verify_ssl=ssl.create_default_context()).verify_ssl is not True


def test_settings_are_values() -> None:
    config = ClientConfig(base_url=URL, retry=RetryConfig(max_attempts=2), logging=LoggingConfig(level="debug"))
    assert config == ClientConfig(base_url=URL, retry={"max_attempts": 2}, logging={"level": "DEBUG"})  # type: ignore[arg-type]
    assert config == ClientConfig(
        **json.loads(json.dumps({"base_url": URL, "retry": {"max_attempts": 2}})), logging=config.logging
    )
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert replace(config, user_agent="x").user_agent == "x"
    assert {config: 1}[config] == 1
    with pytest.raises(FrozenInstanceError):
        config.base_url = "x"  # type: ignore[misc]


class TestEnvironment:
    def test_each_setting_has_a_variable(self) -> None:
        config = ClientConfig.from_env(
            environ={
                "API_BASE_URL": URL,
                "API_TIMEOUT_CONNECT": "3.5",
                "API_RETRY_MAX_ATTEMPTS": " 7 ",
                "API_RETRY_JITTER": "off",
                "API_CIRCUIT_BREAKER_RECOVERY_TIMEOUT": "60",
                "API_BULKHEAD_MAX_CONCURRENCY": "5",
                "API_LOGGING_LEVEL": "warning",
                "API_LOGGING_INCLUDE_REQUEST_ID": "False",
                "API_FOLLOW_REDIRECTS": "no",
                "API_VERIFY_SSL": "0",
                "API_USER_AGENT": "MyApp/1.0",
                "API_TIMEOUT_READ": "",
                "API_KEY": "of another program",
            }
        )
        assert config == ClientConfig(
            base_url=URL,
            timeout=TimeoutConfig(connect=3.5),
            retry=RetryConfig(max_attempts=7, jitter=False),
            circuit_breaker=CircuitBreakerConfig(recovery_timeout=60.0),
            bulkhead=BulkheadConfig(max_concurrency=5),
            logging=LoggingConfig(level="WARNING", include_request_id=False),
            follow_redirects=False,
            verify_ssl=False,
            user_agent="MyApp/1.0",
        )

    def test_those_of_the_process_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BILLING_BASE_URL", URL)
        assert ClientConfig.from_env("BILLING_") == ClientConfig(base_url=URL)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("TIMEOUT_CONNECT", "soon"), ("RETRY_MAX_ATTEMPTS", "3.5"), ("RETRY_JITTER", "maybe"), ("VERIFY_SSL", "2")],
    )
    def test_a_value_that_cannot_be_read_is_refused_by_name(self, name: str, value: str) -> None:
        with pytest.raises(ClientConfigurationError, match=f"API_{name}='{value}'"):
            ClientConfig.from_env(environ={"API_BASE_URL": URL, f"API_{name}": value})

    def test_a_value_out_of_range_is_refused(self) -> None:
        with pytest.raises(ClientConfigurationError, match="max_attempts=0"):
            ClientConfig.from_env(environ={"API_BASE_URL": URL, "API_RETRY_MAX_ATTEMPTS": "0"})

    def test_without_a_base_url_it_says_which_variable_is_missing(self) -> None:
        with pytest.raises(ClientConfigurationError, match="API_BASE_URL is not set"):
            ClientConfig.from_env(environ={})

    def test_a_misspelt_variable_is_refused(self) -> None:
        with pytest.raises(UnknownSettingError, match="did you mean API_RETRY_MAX_ATTEMPTS"):
            ClientConfig.from_env(environ={"API_BASE_URL": URL, "API_RETRY_MAX_ATTEMPT": "3"})

    def test_without_a_prefix_variables_of_other_programs_are_left_alone(self) -> None:
        assert ClientConfig.from_env("", {**os.environ, "BASE_URL": URL, "TIMEOUT_X": "1"}).base_url == URL


def test_an_error_of_the_settings_is_one_of_the_library_only_by_its_base() -> None:
    with pytest.raises(ClientConfigurationError) as caught:
        RetryConfig(max_attempts=0)
    assert not isinstance(caught.value, ConfigurationError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_client_wants_a_config() -> None:
    with pytest.raises(ClientConfigurationError, match="not str"):
        ResilientClient("http://localhost:8000")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"TIMEOUT_READ": "-1", "TIMEOUT_POOL": "3"}, "API_TIMEOUT_READ: TimeoutConfig(read=-1.0)"),
        ({"RETRY_MIN_WAIT_SECONDS": "99"}, "API_RETRY_MIN_WAIT_SECONDS: RetryConfig(min_wait_seconds=99.0"),
        (
            {"RETRY_MIN_WAIT_SECONDS": "9", "RETRY_MAX_WAIT_SECONDS": "1"},
            "API_RETRY_MIN_WAIT_SECONDS and API_RETRY_MAX_WAIT_SECONDS: RetryConfig(",
        ),
        ({"LOGGING_LEVEL": "LOUD"}, "API_LOGGING_LEVEL: LoggingConfig(level='LOUD')"),
        (
            {"BASE_URL": "https://u:s3cret@a.example?k=s3cret"},
            "API_BASE_URL: ClientConfig(base_url='https://a.example')",
        ),
    ],
)
def test_a_value_of_the_environment_that_cannot_work_names_its_variable(variables: dict[str, str], text: str) -> None:
    environ = {f"API_{name}": value for name, value in {"BASE_URL": URL, **variables}.items()}
    with pytest.raises(ClientConfigurationError) as caught:
        ClientConfig.from_env(environ=environ)
    assert str(caught.value).startswith(text)
    assert "s3cret" not in str(caught.value)


def test_a_base_url_is_refused_for_what_is_in_it() -> None:
    with pytest.raises(ClientConfigurationError, match=r"there is a '\?' in it"):
        ClientConfig(base_url="https://a.example?k=1")


def test_a_prefix_is_text() -> None:
    with pytest.raises(ClientConfigurationError, match="prefix=5"):
        ClientConfig.from_env(5)  # type: ignore[arg-type]
