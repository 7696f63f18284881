"""The keywords that a client of a service hands to its session: those that cannot work are told of by its own name.

A client takes the keywords of a session and sets some of them itself. A session would say of an unknown keyword "use
session.verify", where there is no session to reach; and it would take an `auth` or a `base_url` that the client never
uses. So a client says which keywords it has, before it makes the session.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from polvo_adapters.policies.stack import refuse_unknown_keywords

_MORE = ("store", "tenancy")
_IN_PLACE_OF_OTHERS = {
    "verify": "REQUESTS_CA_BUNDLE in the environment, which names the authorities that are trusted",
    "proxies": "HTTP_PROXY and HTTPS_PROXY in the environment",
    "proxy": "HTTP_PROXY and HTTPS_PROXY in the environment",
    "backoff_factor": "retry={'base': ...}",
    "status_forcelist": "retry={'retry_on': [...]}",
    "allowed_methods": "retry={'methods': [...]}",
}


def refuse_foreign_options(
    options: Mapping[str, Any],
    owner: str,
    own: Collection[str],
    elsewhere: Mapping[str, str],
    more: Collection[str] = (),
) -> None:
    """Check that all further keywords of a client are of use to its session.

    Args:
        options: The keywords.
        owner: Name of the client, for the message.
        own: The keywords that the client itself has, for the message.
        elsewhere: What to use in the place of keywords that the client does not have.
        more: Further keywords of the session.

    Raises:
        TypeError: One is of no use.
    """
    known = {*own, *_MORE, *more}
    names = {name: use for name, use in {**_IN_PLACE_OF_OTHERS, **elsewhere}.items() if name not in known}
    if "proxy" in known:  # a session of httpx
        names["proxies"] = "proxy=..."
    refuse_unknown_keywords(options, owner, known, names)
