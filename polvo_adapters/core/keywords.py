"""What the error says where a class is made with arguments that it does not have: which one was probably meant.

Python's own error names the unknown keyword and nothing else. The classes that users make are decorated with
`explain_arguments`: arguments that fit cost nothing more, and for those that do not fit the error names the keyword
that is like it, or the name that it has here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

AnyClass = TypeVar("AnyClass", bound=type)

_NAMES_HERE = {
    "max_retries": "max_attempts, which counts the first attempt as well",
    "retries": "max_attempts, which counts the first attempt as well",
    "total": "max_attempts, which counts the first attempt as well",
    "max_tries": "max_attempts",
    "attempts": "max_attempts",
    "backoff_factor": "base",
    "min": "base",
    "initial": "base",
    "backoff_max": "cap",
    "max_delay": "cap",
    "max_backoff": "cap",
    "status_forcelist": "retry_on",
    "statuses": "retry_on",
    "allowed_methods": "methods",
    "fail_max": "failure_threshold",
    "threshold": "failure_threshold",
    "reset_timeout": "recovery_timeout",
    "timeout": "recovery_timeout",
    "max_calls": "limit",
    "calls": "limit",
    "requests": "limit",
    "period": "window",
    "per": "window",
    "interval": "window",
    "burst": "capacity",
    "tokens": "capacity",
    "refill_rate": "rate",
    "max_concurrent": "max_concurrency",
    "max_concurrent_calls": "max_concurrency",
    "limit": "max_concurrency",
    "after": "delay",
    "hosts": "urls",
    "endpoints": "urls",
    "filename": "path",
    "file": "path",
    "grant_type": "flow",
    "grant": "flow",
    "scopes": "scope",
    "token_endpoint": "token_url",
    "access_token_url": "token_url",
    "refresh_token_url": "token_url",
    "auto_refresh_url": "token_url",
    "authorize_url": "authorization_url",
    "auth_url": "authorization_url",
    "authorization_endpoint": "authorization_url",
    "redirect_url": "redirect_uri",
    "token_endpoint_auth_method": "client_authentication",
    "expiry_margin": "refresh_before",
    "token_updater": "token_cache",
    "cache": "token_cache",
}
"""What other libraries call a keyword; of use where the class has that which it is here."""


def advise_keyword(name: str, known: Collection[str]) -> str:
    """Return what to write in place of an unknown keyword.

    Args:
        name: The keyword.
        known: The keywords that there are.
    """
    here = _NAMES_HERE.get(name, "")
    if here.partition(",")[0] in known:
        return f"it is {here}"
    close = get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(sorted(known))}" if known else "there are none"


def explain_arguments(kind: AnyClass) -> AnyClass:
    """Let the error for arguments that a class does not have say which are meant; a decorator of the class."""
    make: Any = kind.__dict__["__init__"]

    @wraps(make)
    def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: N807 - it is one
        try:
            make(self, *arguments, **keywords)
        except TypeError:
            text = _find_misfit(kind.__name__, make, arguments, keywords)
            if not text:
                raise
        else:
            return
        raise TypeError(text)

    kind.__init__ = __init__  # type: ignore[misc]
    return kind


def _find_misfit(name: str, make: Any, arguments: Collection[Any], keywords: Mapping[str, Any]) -> str:
    """Return how arguments do not fit, or an empty string where they do."""
    from inspect import Parameter, signature  # late, as it takes long to import

    expected = list(signature(make).parameters.values())[1:]
    if any(each.kind is Parameter.VAR_KEYWORD for each in expected):
        return ""
    known = [each.name for each in expected if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    unknown = next((each for each in keywords if each not in known), None)
    if unknown is not None:
        return f"{name}: there is no keyword {unknown}; {advise_keyword(unknown, known)}"
    if any(each.kind is Parameter.VAR_POSITIONAL for each in expected):
        return ""
    by_place = [each.name for each in expected if each.kind is not Parameter.KEYWORD_ONLY]
    if len(arguments) > len(by_place):
        return f"{name}: {len(arguments)} arguments without a keyword, of at most {len(by_place)}; name the others"
    given = {*by_place[: len(arguments)], *keywords}
    missing = [each.name for each in expected if each.default is Parameter.empty and each.name not in given]
    if missing:
        return f"{name}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    twice = next((each for each in by_place[: len(arguments)] if each in keywords), "")
    return f"{name}: {twice} is given twice" if twice else ""
