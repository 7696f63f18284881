"""The settings of a client: from its arguments, then the environment, then a `.env` file, then the defaults."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polvo_adapters.runtime.extras import missing_text
from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.runtime import get_function_context, is_inside_function

MODES = ("sync", "async")
WIRES = ("current", "2026-01")
_PREFIX = "TARUVI_"
_LEAST_TIMEOUT, _MOST_TIMEOUT, _MOST_RETRIES = 1, 300, 10


@dataclass(frozen=True)
class ClientSettings:
    """The settings of a client, checked.

    Attributes:
        api_url: URL of the API, without a slash at its end.
        app_slug: The app, quoted as a segment of a path.
        mode: "sync" or "async".
        timeout: Seconds that an attempt may wait for a connection, and for each next byte.
        max_retries: How often a call is repeated at most.
        site_slug: The site, or None.
        wire: "current", or "2026-01".
        allow_http: Whether a password may go over plain http to another machine.
        execution: Headers that tell the server which execution of a function calls.
        function_key: The credential that the platform gives to a function, or an empty string.
    """

    api_url: str
    app_slug: str
    mode: str
    timeout: float
    max_retries: int
    site_slug: str | None
    wire: str = "current"
    allow_http: bool = False
    execution: Mapping[str, str] = field(default_factory=dict)
    function_key: str = field(default="", repr=False)

    def longest(self, timeout: float | None) -> float:
        """Return the seconds for a call with all its attempts and waits; the timeout may be its own."""
        return (timeout or self.timeout) * (self.max_retries + 1) + 2.0**self.max_retries


def read_settings(
    given: Mapping[str, Any], wire: str, env_file: str | os.PathLike[str] | None, *, allow_http: bool = False
) -> ClientSettings:
    """Return the settings of a client.

    Args:
        given: What was said by argument; None for what was not.
        wire: "current", or "2026-01".
        env_file: A file of variables, or None for none. One that is not there is none.
        allow_http: Whether a password may go over plain http to another machine.

    Raises:
        ConfigurationError: A value is missing or cannot work.
    """
    found = _Values(given, os.environ, _read_file(env_file))
    checks.require_choice("wire", wire, WIRES)
    mode = checks.require_choice(found.name("mode"), found.get("mode", "sync"), MODES)
    timeout, retries = found.number("timeout", 30), found.number("max_retries", 3)
    context = get_function_context()
    ids = {"X-Execution-ID": context["execution_id"], "X-Function-ID": context["function_id"]}
    return ClientSettings(
        api_url=addresses.require_base_url(found.required("api_url")),
        app_slug=addresses.segment("app_slug", found.required("app_slug")),
        mode=mode,
        timeout=checks.require_seconds(found.name("timeout"), timeout, _LEAST_TIMEOUT, _MOST_TIMEOUT),
        max_retries=checks.require_count(found.name("max_retries"), retries, 0, _MOST_RETRIES),
        site_slug=addresses.require_site(found.get("site_slug", None)),
        wire=wire,
        allow_http=checks.require_flag("allow_http", allow_http),
        execution={name: value for name, value in ids.items() if value is not None},
        function_key=found.get("function_key", "") if is_inside_function() else "",
    )


class _Values:
    """Where a setting is looked for: the arguments, then the environment, then the file."""

    def __init__(self, given: Mapping[str, Any], environ: Mapping[str, str], file: Mapping[str, str]) -> None:
        self._given, self._variables = given, {**file, **environ}

    def get(self, setting: str, default: Any) -> Any:
        value = self._given.get(setting)
        return (self._variables.get(_variable(setting)) or default) if value is None else value

    def required(self, setting: str) -> Any:
        value = self.get(setting, None)
        if value is None or value == "":
            problem = f"it is missing: give {setting}=..., or set {_variable(setting)}"
            raise checks.refuse(setting, problem)
        return value

    def number(self, setting: str, default: float) -> Any:
        value = self.get(setting, default)
        if self._given.get(setting) is not None or not isinstance(value, str):
            return value
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value)
        except ValueError:
            raise checks.refuse(_variable(setting), f"{value!r} is no number") from None

    def name(self, setting: str) -> str:
        """Return where a setting was found, for an error."""
        is_given = self._given.get(setting) is not None or not self._variables.get(_variable(setting))
        return setting if is_given else _variable(setting)


def _variable(setting: str) -> str:
    return _PREFIX + setting.upper()


def _read_file(path: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return the variables of a file that begin with TARUVI_."""
    if path is None:
        return {}
    if not isinstance(path, (str, os.PathLike)):
        raise checks.refuse("env_file", f"{checks.show(path)} is no path")
    problem, text = "", ""
    try:
        if Path(path).is_file():
            text = Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # the second of a path that cannot be one
        problem = f"it cannot be read ({type(error).__name__})"
    if problem:
        raise checks.refuse("env_file", problem)
    if _PREFIX not in text:
        return {}  # a file of another program, which needs no library
    missing = ""
    try:
        import dotenv
    except ImportError:
        missing = missing_text("reading its settings", "the library dotenv", "dotenv")
    if missing:
        raise checks.refuse("env_file", missing)
    variables = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in variables.items() if name.startswith(_PREFIX) and value}
