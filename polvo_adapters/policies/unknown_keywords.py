"""The error for a keyword that the standard stack does not know: what was probably meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from polvo_adapters.core.keywords import advise_keyword

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
    "hooks": "session.hooks['response'].append(...)",
    "stream": "session.stream = ..., or stream=True at a call",
    "trust_env": "session.trust_env = ...",
    "max_redirects": "session.max_redirects = ...",
    "adapters": "session.mount(prefix, adapter)",
    "token": "auth=polvo.auth.bearer(token)",
    "api_key": "auth=polvo.auth.api_key(key)",
    "logger": "the module logging, or listeners=[...]",
    "auth": "session.auth = ...",
    "base_url": "polvo.Session(base_url=...)",
    "raise_for_status": "polvo.Session(raise_for_status=...)",
    "tenancy": "polvo.Session(tenancy=...)",
}
"""What users of `requests`, urllib3 and other libraries look for."""


def unknown_keyword_error(
    owner: str,
    name: str,
    known: Collection[str],
    settings: Mapping[str, Collection[str]],
    elsewhere: Mapping[str, str] = _NAMES_ELSEWHERE,
) -> TypeError:
    """Return the error for an unknown keyword.

    Args:
        owner: Name of the class or function.
        name: The keyword.
        known: The keywords that there are.
        settings: The settings of each policy, by its keyword.
        elsewhere: What to use in the place of keywords that other libraries have.
    """
    return TypeError(f"{owner}: there is no keyword {name}; {_advise(name, known, settings, elsewhere)}")


def unknown_setting_error(
    option: str,
    policy: str,
    name: object,
    known: Collection[str],
    siblings: Mapping[str, Collection[str]] | None = None,
) -> TypeError:
    """Return the error for an unknown setting in a mapping that stands for a policy.

    Args:
        option: The keyword that was given the mapping.
        policy: Name of the class of the policy.
        name: The setting.
        known: The settings that there are.
        siblings: The settings of other policies of the kind, by the name of their class.
    """
    found = next((each for each, settings in (siblings or {}).items() if name in settings), "")
    if found:
        return TypeError(f"{option}: {policy} has no setting {name!r}; give {option}={found}({name}=...)")
    return TypeError(f"{option}: {policy} has no setting {name!r}; {advise_keyword(str(name), known)}")


def _advise(
    name: str, known: Collection[str], settings: Mapping[str, Collection[str]], elsewhere: Mapping[str, str]
) -> str:
    options = [option for option, names in settings.items() if name in names and option in known]
    if options:
        return "it is a setting of " + ", or of ".join(f"{option}={{{name!r}: ...}}" for option in options)
    if name in elsewhere:
        return f"use {elsewhere[name]}"
    close = get_close_matches(name, known, 1) or [each for each in known if each.startswith(f"{name}_")]
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(sorted(known))}"
