"""The settings of the resilient client: frozen, comparable, and checked when they are made.

A mapping stands for one of the five parts: `ClientConfig(base_url=url, retry={"max_attempts": 5})`, so that what a
JSON or TOML file holds can be passed on as it is.
"""

from __future__ import annotations

import math
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polvo_adapters.client.exceptions import ClientConfigurationError, UnknownSettingError
from polvo_adapters.redaction import describe_url
from polvo_adapters.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOGGER_NAME = "polvo_adapters.client"
USER_AGENT = f"polvo_adapters/{__version__}"


_LARGEST = sys.float_info.max  # an int may be larger than every float


class Settings:
    """The base of all settings: those that do not exist are refused by name."""

    def __new__(cls, *_: Any, **settings: Any) -> Self:
        """Return an empty object, if all settings exist."""
        known = [each.name for each in fields(cls)]  # type: ignore[arg-type]  # every subclass is a dataclass
        for name in settings:
            if name not in known:
                raise _unknown_setting_error(cls, name, known)
        return super().__new__(cls)


@dataclass(frozen=True)
class TimeoutConfig(Settings):
    """The longest waits of one attempt, in seconds.

    Args:
        connect: For a connection, its TLS handshake included.
        read: For the next bytes of an answer.
        write: For the server to take the next bytes of a request.
        pool: For a connection of the pool.

    Raises:
        ClientConfigurationError: A value is no number above 0.
    """

    connect: float = 60.0
    read: float = 15.0
    write: float = 15.0
    pool: float = 5.0

    def __post_init__(self) -> None:
        for each in fields(self):
            _require_number(self, each.name, 0, above=True)


@dataclass(frozen=True)
class RetryConfig(Settings):
    """How often a call is sent, and the waits between.

    Args:
        max_attempts: Largest number of attempts, the first included; 1 for no retries.
        min_wait_seconds: Shortest wait before a retry; 0 for no waits.
        max_wait_seconds: Longest one. Where the server asks for a longer one, the call ends with its answer.
        multiplier: Growth of the wait from retry to retry.
        jitter: Whether waits are drawn at random, so that many clients do not come back in one moment.
        retry_non_idempotent: Whether POST and PATCH are sent again although the server may have processed them. True
            by default, as for a server that recognizes a repeat by its `X-Request-ID`. Set it to False for others.

    Raises:
        ClientConfigurationError: A value is out of range.
    """

    max_attempts: int = 3
    min_wait_seconds: float = 1.0
    max_wait_seconds: float = 60.0
    multiplier: float = 2.0
    jitter: bool = True
    retry_non_idempotent: bool = True

    def __post_init__(self) -> None:
        _require_count(self, "max_attempts")
        _require_number(self, "min_wait_seconds", 0)
        _require_number(self, "max_wait_seconds", 0)
        _require_number(self, "multiplier", 1)
        _require_bool(self, "jitter")
        _require_bool(self, "retry_non_idempotent")
        if self.min_wait_seconds > self.max_wait_seconds:
            raise ClientConfigurationError(
                f"RetryConfig(min_wait_seconds={self.min_wait_seconds!r}, max_wait_seconds={self.max_wait_seconds!r}): "
                "min_wait_seconds must not be more than max_wait_seconds"
            )


@dataclass(frozen=True)
class CircuitBreakerConfig(Settings):
    """When calls to a host that keeps failing are refused.

    Args:
        failure_threshold: Calls in a row that have failed, all their attempts included, which open the circuit.
        recovery_timeout: Seconds after which one call is let through, to find out whether the host is back.

    Raises:
        ClientConfigurationError: A value is out of range.
    """

    failure_threshold: int = 5
    recovery_timeout: float = 30.0

    def __post_init__(self) -> None:
        _require_count(self, "failure_threshold")
        _require_number(self, "recovery_timeout", 0, above=True)


@dataclass(frozen=True)
class BulkheadConfig(Settings):
    """How many calls are under way at a time; the others wait.

    Args:
        max_concurrency: Calls at a time, of the whole client.
        acquisition_timeout: Seconds for which a call waits for its turn; 0 for not at all.

    Raises:
        ClientConfigurationError: A value is out of range.
    """

    max_concurrency: int = 50
    acquisition_timeout: float = 30.0

    def __post_init__(self) -> None:
        _require_count(self, "max_concurrency")
        _require_number(self, "acquisition_timeout", 0)


@dataclass(frozen=True)
class LoggingConfig(Settings):
    """What is logged, and by which logger.

    Args:
        level: The level of that logger: "DEBUG" for every attempt and wait, "INFO" for one line per call, "WARNING"
            for failed calls and circuits that open, "ERROR" or "CRITICAL" for nothing.
        include_request_id: Whether lines have the `X-Request-ID` of their call.
        logger_name: Name of the logger.

    Raises:
        ClientConfigurationError: The level or the name is none.
    """

    level: str = "INFO"
    include_request_id: bool = True
    logger_name: str = LOGGER_NAME

    def __post_init__(self) -> None:
        level = self.level.upper() if isinstance(self.level, str) else self.level
        if level not in LEVELS:
            raise _setting_error(self, "level", "one of " + ", ".join(LEVELS))
        object.__setattr__(self, "level", level)
        _require_bool(self, "include_request_id")
        if not isinstance(self.logger_name, str) or not self.logger_name:
            raise _setting_error(self, "logger_name", "a name that is not empty")


@dataclass(frozen=True)
class ClientConfig(Settings):
    """All settings of a client; only `base_url` has no default.

    Args:
        base_url: URL that those of calls are relative to: scheme and host, and the path that they have in
            common.
        timeout: The longest waits of one attempt.
        retry: How often a call is sent.
        circuit_breaker: When calls are refused.
        bulkhead: How many calls are under way at a time.
        logging: What is logged.
        follow_redirects: Whether redirects are followed.
        verify_ssl: Whether the certificate of the server must be one to trust. An `ssl.SSLContext` names further
            authorities to trust, or has a client certificate.
        user_agent: Value of the header `User-Agent`.

    Raises:
        ClientConfigurationError: A value cannot work.
        UnknownSettingError: A setting does not exist.
    """

    base_url: str
    timeout: TimeoutConfig = field(default_factory=TimeoutConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    circuit_breaker: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig)
    bulkhead: BulkheadConfig = field(default_factory=BulkheadConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    follow_redirects: bool = True
    verify_ssl: bool | ssl.SSLContext = True
    user_agent: str = USER_AGENT

    def __post_init__(self) -> None:
        _check_base_url(self.base_url)
        for name, kind in PARTS.items():
            object.__setattr__(self, name, _make_part(name, kind, getattr(self, name)))
        _require_bool(self, "follow_redirects")
        if not isinstance(self.verify_ssl, (bool, ssl.SSLContext)):
            raise _setting_error(self, "verify_ssl", "True, False or an ssl.SSLContext")
        agent = self.user_agent
        if not isinstance(agent, str) or not agent.strip() or not agent.isascii() or not agent.isprintable():
            raise _setting_error(self, "user_agent", "printable ASCII text that is not empty")

    def __repr__(self) -> str:
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["base_url"] = describe_url(self.base_url)
        return f"ClientConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @classmethod
    def from_env(cls, prefix: str = "API_", environ: Mapping[str, str] | None = None) -> ClientConfig:
        """Return the settings that environment variables name; the others have their defaults.

        A variable is named after its setting: `API_BASE_URL`, `API_TIMEOUT_CONNECT`, `API_RETRY_MAX_ATTEMPTS`,
        `API_CIRCUIT_BREAKER_RECOVERY_TIMEOUT`, `API_BULKHEAD_MAX_CONCURRENCY`, `API_LOGGING_LEVEL`, `API_VERIFY_SSL`.
        An empty one counts as not set.

        Args:
            prefix: Beginning of the names.
            environ: The variables; by default those of the process.

        Raises:
            ClientConfigurationError: A value cannot be read, or cannot work, or there is no base URL.
            UnknownSettingError: A variable that begins with the name of a part, such as `API_RETRY_`, names no setting.
        """
        from polvo_adapters.client.environment import name_variables, read_settings

        if not isinstance(prefix, str):
            raise ClientConfigurationError(f"prefix={prefix!r}: it must be text, such as 'API_'")
        settings = read_settings(cls, PARTS, prefix, environ)
        try:
            return cls(**settings)
        except ClientConfigurationError as error:
            raise type(error)(f"{name_variables(str(error), settings, prefix)}: {error}") from None


PARTS: dict[str, Any] = {
    "timeout": TimeoutConfig,
    "retry": RetryConfig,
    "circuit_breaker": CircuitBreakerConfig,
    "bulkhead": BulkheadConfig,
    "logging": LoggingConfig,
}
"""The class of each part of a ClientConfig."""


def _make_part(name: str, kind: Any, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
        return kind(**value)
    raise ClientConfigurationError(
        f"ClientConfig({name}={value!r}): {name} must be a {kind.__name__}(...), or a mapping of its settings"
    )


def _check_base_url(value: Any) -> None:
    """Check a base URL, of which no message shows more than a place, as it may hold a password."""
    wanted = (
        "base_url must be a URL such as 'https://api.example.com', with http or https, and without query and fragment"
    )
    if not isinstance(value, str):
        raise ClientConfigurationError(f"ClientConfig(base_url={value!r}): {wanted}")
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    bad = next((mark for mark in "?#\\ " if mark in value), "")
    if not is_url or bad or not value.isprintable():
        found = f"; there is a {bad!r} in it" if bad else ""
        raise ClientConfigurationError(f"ClientConfig(base_url={describe_url(value)!r}): {wanted}{found}")


def _require_number(settings: object, name: str, low: float, *, above: bool = False) -> None:
    value = getattr(settings, name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value <= _LARGEST
    if not is_number or value < low or (above and value == low):
        raise _setting_error(settings, name, f"a number {'above' if above else 'of at least'} {low:g}")


def _require_count(settings: object, name: str) -> None:
    value = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _setting_error(settings, name, "a whole number of at least 1")


def _require_bool(settings: object, name: str) -> None:
    if not isinstance(getattr(settings, name), bool):
        raise _setting_error(settings, name, "True or False")


def _setting_error(settings: object, name: str, wanted: str) -> ClientConfigurationError:
    value = getattr(settings, name)
    return ClientConfigurationError(f"{type(settings).__name__}({name}={value!r}): {name} must be {wanted}")


def _unknown_setting_error(cls: Any, name: str, known: list[str]) -> UnknownSettingError:
    close = get_close_matches(name, known, 1)
    others = [part for part, kind in PARTS.items() if any(each.name == name for each in fields(kind))]
    if close:
        advice = f"did you mean {close[0]}?"
    elif cls is ClientConfig and others:
        advice = f"it is a setting of {PARTS[others[0]].__name__}, for {others[0]}="
    else:
        advice = f"there are {', '.join(known)}"
    return UnknownSettingError(f"{cls.__name__} has no setting {name!r}; {advice}")
