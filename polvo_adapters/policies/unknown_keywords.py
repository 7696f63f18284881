"""The error for a keyword that the standard stack does not know: what was probably meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from difflib import get_close_matches

from polvo_adapters.policies.stack import find_policy_class, option_names

_NAMES_ELSEWHERE = {
    "max_retries": "retry={'max_attempts': ...}, which counts the first attempt as well",
    "retries": "retry={'max_attempts': ...}, which counts the first attempt as well",
    "total": "retry={'max_attempts': ...}, which counts the first attempt as well",
    "backoff_factor": "retry={'base': ...}",
    "status_forcelist": "retry={'retry_on': [...]}",
    "allowed_methods": "retry={'methods': [...]}",
    "headers": "session.headers.update(...)",
    "proxies": "session.proxies.update(...)",
    "verify": "session.verify = ...",
    "cert": "session.cert = ...",
    "cookies": "session.cookies.update(...)",
    "params": "session.params.update(...)",
}
"""What users of `requests`, urllib3 and other libraries look for."""


def unknown_keyword_error(owner: str, name: str, known: Collection[str]) -> TypeError:
    """Return the error for an unknown keyword.

    Args:
        owner: Name of the class or function.
        name: The keyword.
        known: The keywords that there are.
    """
    return TypeError(f"{owner}: there is no keyword {name}; {_advise(name, known)}")


def _advise(name: str, known: Collection[str]) -> str:
    options = [option for option, field in _settings() if field == name and option in known]
    if options:
        return "it is a setting of " + ", or of ".join(f"{option}={{{name!r}: ...}}" for option in options)
    if name in _NAMES_ELSEWHERE:
        return f"use {_NAMES_ELSEWHERE[name]}"
    close = get_close_matches(name, known, 1) or [each for each in known if each.startswith(f"{name}_")]
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(sorted(known))}"


def _settings() -> Iterator[tuple[str, str]]:
    """Yield the keyword of each policy, and each of its fields."""
    for option in option_names():
        for field in fields(find_policy_class(option)):
            if field.init:
                yield option, field.name
