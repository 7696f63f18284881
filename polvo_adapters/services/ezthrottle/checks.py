"""Checks of what a step is made of: each returns plain data, or raises ArgumentError with the name of the field.

What is checked here never shows a value that may be a secret: a header, a body, a URL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from polvo_adapters.core.http import HEADER_NAME
from polvo_adapters.services.ezthrottle.errors import ArgumentError
from polvo_adapters.services.json_problems import find_json_problem
from polvo_adapters.services.session_options import refuse_foreign_options

LONGEST_KEY = 255
EARLIEST_MILLISECONDS = 100_000_000_000
"""Less is a number of seconds, or a duration: this is a day of 1973."""

MOST = (1 << 53) - 1

_METHOD = re.compile(r"[A-Za-z]{1,20}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_WEBHOOK_FIELDS = {"url", "regions", "has_quorum_vote"}
_POLICY_FIELDS = ("max_retries", "max_reroutes", "retry_codes", "reroute_codes")


_ELSEWHERE = {
    "auth": "Step.headers(...), as each step may go to another server",
    "token": "api_key=...",
    "headers": "Step.headers(...)",
    "session": "the keywords of polvo_adapters.Session, such as rate_limit=...",
}


def check_session_options(options: Mapping[str, Any], owner: str, own: Collection[str]) -> None:
    """Check the further keywords of a client or an engine.

    Args:
        options: The keywords.
        owner: Name of the class.
        own: The keywords that it has itself.

    Raises:
        TypeError: One is of no use to its session.
    """
    elsewhere = dict(_ELSEWHERE)
    if "retries" in own:
        elsewhere["max_retries"] = "retries=..."
        elsewhere["base_url"] = "tracktags_url=... and ezthrottle_url=..."
    else:
        elsewhere["max_retries"] = elsewhere["retries"] = "retry={'max_attempts': ...}, or Step.retry_policy(...)"
        elsewhere["base_url"] = "the URL of each step, or regions={...}"
    refuse_foreign_options(options, owner, own, elsewhere)


def refuse(field: str, problem: str) -> ArgumentError:
    """Return the error for a field whose value cannot work."""
    return ArgumentError(f"{field}: {problem}; nothing was sent", reason=field)


def check_api_key(value: object) -> str:
    """Return the API key."""
    if value is None or value == "":
        raise refuse(
            "api_key", "there is none; pass EZThrottle(api_key=...), set EZTHROTTLE_API_KEY, or choose an engine"
        )
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise refuse(
            "api_key",
            "it must be a string of visible ASCII characters; look at where it, or EZTHROTTLE_API_KEY, was read from",
        )
    return value


def check_url(field: str, value: object) -> str:
    """Return an absolute URL of http or https."""
    if not isinstance(value, str) or not value:
        raise refuse(field, f"it must be a URL, and is {_name_type(value)}")
    if not value.isprintable() or " " in value:
        raise refuse(field, "it has a space, or a character that cannot be printed; encode it as %20 or the like")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise refuse(field, "it is no URL") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise refuse(field, "it must begin with http:// or https:// and a host")
    return value


def check_method(value: object) -> str:
    """Return an HTTP method in upper case."""
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        raise refuse("method", f"{_show(value)} is no HTTP method")
    return value.upper()


def check_headers(value: object) -> dict[str, str]:
    """Return headers of a call."""
    if not isinstance(value, Mapping):
        raise refuse("headers", f"it must be a mapping of strings, and is {_name_type(value)}")
    for name, text in value.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise refuse("headers", "a name is no header name")
        if name.lower() in _FRAMING:
            raise refuse("headers", f"{name} cannot be set; it follows from the body")
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise refuse("headers", f"the value of {name} must be a string without line breaks")
    return dict(value)


def check_body(value: object) -> str:
    """Return the body of a call."""
    return check_text("body", value)


def check_text(field: str, value: object) -> str:
    """Return text that can be sent."""
    if not isinstance(value, str):
        advice = "json.dumps(...) makes one of it" if isinstance(value, (dict, list)) else "decode it"
        raise refuse(field, f"it must be a string, and is {_name_type(value)}; {advice}")
    try:
        value.encode()
    except UnicodeEncodeError:
        pass
    else:
        return value
    raise refuse(field, "it has half a character, and cannot be encoded as UTF-8")


def check_metadata(value: object) -> dict[str, Any]:
    """Return values that come back with the result."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise refuse("metadata", "it must be a mapping whose keys are strings")
    copied: dict[str, Any] = _copy_plain("metadata", dict(value))
    return copied


def check_webhooks(value: object) -> list[dict[str, Any]]:
    """Return webhooks."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise refuse("webhooks", 'it must be a list such as [{"url": "https://app.example.com/webhook"}]')
    return [_check_webhook(each) for each in value]


def _check_webhook(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "url" not in value:
        raise refuse("webhooks", 'each must be a mapping with a "url"')
    unknown = [str(name) for name in value if name not in _WEBHOOK_FIELDS]
    if unknown:
        raise refuse("webhooks", f"{unknown[0]!r} is no field of a webhook; they have {_list(sorted(_WEBHOOK_FIELDS))}")
    webhook: dict[str, Any] = {"url": check_url("webhooks", value["url"])}
    if "regions" in value:
        webhook["regions"] = check_regions("webhooks", value["regions"])
    if "has_quorum_vote" in value:
        if not isinstance(value["has_quorum_vote"], bool):
            raise refuse("webhooks", "has_quorum_vote must be True or False")
        webhook["has_quorum_vote"] = value["has_quorum_vote"]
    return webhook


def check_quorum(value: int, webhooks: Iterable[Mapping[str, Any]]) -> None:
    """Raise where a quorum cannot be reached."""
    votes = sum(bool(webhook.get("has_quorum_vote", True)) for webhook in webhooks)
    if value > max(votes, 1):
        raise refuse("webhook_quorum", f"it is {value}, and only {votes} webhooks have a vote")


def check_regions(field: str, value: object) -> list[str]:
    """Return names of regions."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise refuse(field, f'regions must be a list such as ["iad", "lax"], and is {_name_type(value)}')
    names = list(value)
    if not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise refuse(field, "each region must be a string that is not empty")
    if len(set(names)) < len(names):
        raise refuse(field, "a region is named twice")
    return names


def check_word(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise refuse(field, f"{_show(value)} is unknown; it is one of {_list(allowed)}")
    return value


def check_count(field: str, value: object, low: int) -> int:
    """Return a whole number of at least `low`, and not more than JSON can carry everywhere."""
    if isinstance(value, int) and value > MOST:
        raise refuse(field, f"it is more than {MOST}")
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise refuse(field, f"{_show(value)} is no whole number of at least {low}")
    return value


def check_seconds(field: str, value: object) -> float:
    """Return a number of seconds above 0."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < 1e9:  # type: ignore[operator]
        raise refuse(field, f"{_show(value)} is no number of seconds above 0")
    return value  # type: ignore[return-value]


def check_time(field: str, value: object) -> int:
    """Return a Unix time in milliseconds."""
    number = check_count(field, value, 0)
    if number < EARLIEST_MILLISECONDS:
        raise refuse(field, f"{number} is no Unix time in milliseconds; int(time.time() * 1000) is the present one")
    return number


def check_codes(field: str, value: object, low: int = 400) -> list[int]:
    """Return HTTP statuses."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise refuse(field, f"it must be a list of HTTP statuses such as [429, 503], and is {_name_type(value)}")
    codes = list(value)
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not low <= code <= 599:
            raise refuse(field, f"{_show(code)} is no HTTP status from {low} to 599")
    return [int(code) for code in codes]


def check_retry_policy(value: object) -> dict[str, Any]:
    """Return a retry policy."""
    if not isinstance(value, Mapping):
        raise refuse("retry_policy", f"it must be a mapping, and is {_name_type(value)}")
    policy: dict[str, Any] = {}
    for name, part in value.items():
        if name not in _POLICY_FIELDS:
            raise refuse("retry_policy", f"{_show(name)} is unknown; it has {_list(_POLICY_FIELDS)}")
        field = f"retry_policy.{name}"
        policy[name] = check_count(field, part, 0) if name.startswith("max_") else check_codes(field, part)
    both = set(policy.get("retry_codes", ())) & set(policy.get("reroute_codes", ()))
    if both:
        raise refuse("retry_policy", f"{min(both)} is among retry_codes and reroute_codes; it can be one of them")
    return policy


def check_key(field: str, value: object) -> str:
    """Return an idempotent key."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise refuse(field, f"it must be a printable string that is not empty, and is {_name_type(value)}")
    if len(value) > LONGEST_KEY:
        raise refuse(field, f"it has {len(value)} characters, and may have {LONGEST_KEY}")
    return value


def _copy_plain(field: str, value: Any) -> Any:
    with suppress(TypeError, ValueError, RecursionError):
        return json.loads(json.dumps(value, allow_nan=False))
    raise refuse(field, f"it cannot be written as JSON: {find_json_problem(value)}")


def _name_type(value: object) -> str:
    return "None" if value is None else "empty" if value == "" else f"of type {type(value).__name__}"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _list(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in words)
