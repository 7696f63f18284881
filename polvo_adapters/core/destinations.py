"""What of a request may go to a server that the caller did not name: one rule for each way there.

    way                                   what goes along
    ------------------------------------  ------------------------------------------------------------------------
    redirect to another origin            what `requests` sends there, without anything that an auth object of this
                                          package has put on the request; see `auth.attach.credential`
    fallback to another server            the headers and the parameters of the query that are known to be harmless,
                                          and those that the user names; never what an auth object has put there
    region of the same service            everything, because the user has declared it to be the same service; but
                                          never from https to http, and through proxies that are judged for its host

The lists name what is harmless. A list of what looks secret would never be complete.

**A region is applied once**, to the caller's URL. The response refers to the caller's own request, so that `requests`
redirects that, hooks see it, and a replay after 401 starts from it. A redirect within the region is translated back, as
reverse proxies do, so that it starts from the caller's URL as well. A URL that lies below one of the regions already is
taken for what the regions have in common.

**What is rerouted stays so.** A server that a fallback has chosen, or that a redirect leads to, is no name for the
regions. What is sent later for the same call goes by the same rule: the rest of a body that broke off is asked for
where the body came from, with what went there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import unquote_plus, urljoin

from polvo_adapters.core.calls import origin
from polvo_adapters.core.http import header_names

_HARMLESS_HEADERS = header_names(
    "accept accept-charset accept-encoding accept-language prefer te user-agent",  # what the client understands
    "cache-control if-match if-modified-since if-none-match",  # which version of the resource
    "if-range if-unmodified-since pragma range",
    "content-digest content-disposition content-encoding content-language",  # what the body is
    "content-length content-md5 content-range content-type transfer-encoding",
    "connection expect host",  # how it is sent
    "idempotency-key soapaction x-http-method x-http-method-override x-method-override",  # which operation it is
)

HARMLESS_PARAMETERS = header_names(
    "page per_page perpage page_size pagesize limit offset start skip top count size rows first last",  # which part
    "sort sort_by sortby order order_by orderby direction dir asc desc",
    "q query search term text filter where fields field select include exclude expand embed",  # what is wanted
    "id ids name slug type kind status state category tag tags group country city region state_code zip postcode",
    "lang language locale hl format fmt output units unit currency timezone tz version v",  # in which form
    "from to since until before after date start_date end_date year month week day hour min max",
    "lat lon lng latitude longitude radius bbox width height depth level",
)
"""Parameters of the query, in lower case, that are known to hold no credential."""

_SEPARATOR = re.compile("([&;])")
_END_OF_HOST = re.compile("[/?#]")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$\[\]-]{0,39}")


def withheld_headers(headers: Iterable[tuple[str, object]], own: Collection[str] = ()) -> list[str]:
    """Return the names of the headers that a request to another server leaves out.

    Args:
        headers: Names and values. A value with an owner was put there by an auth object, whatever its name.
        own: Names of other headers that auth objects have put there, in lower case.
    """
    return [
        name
        for name, value in headers
        if name.lower() not in _HARMLESS_HEADERS or name.lower() in own or hasattr(value, "owner")
    ]


def select_parameters(query: str, own: Collection[str], allowed: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return what of a query may go to another server, and what keeps the request from going, as it may be shown.

    Args:
        query: The query, without "?".
        own: Names of the parameters that auth objects have put there, which are left out.
        allowed: Names of parameters in lower case that go along besides those that are known to be harmless; None lets
            all others go.
    """
    kept: list[str] = []
    refused: list[str] = []
    for separator, pair in _split_pairs(query):
        name = unquote_plus(pair.partition("=")[0])
        if name in own:
            continue
        kept.append(separator * bool(kept) + pair)
        lower = name.lower().removeprefix("$")
        if pair and allowed is not None and lower not in HARMLESS_PARAMETERS and lower not in allowed:
            refused.append(_show_name(name, pair))
    return "".join(kept), tuple(refused)


def _split_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Yield each parameter of a query with the separator before it; some servers read ";" as "&"."""
    parts = ["&", *_SEPARATOR.split(query)]
    yield from zip(parts[::2], parts[1::2], strict=True)


def _show_name(name: str, pair: str) -> str:
    """Return the name of a parameter for a message, unless it may be a key that stands there without a name."""
    value = pair.partition("=")[2].strip("=")
    return name if value and _NAME.fullmatch(name) else "a parameter without a name"


def rebase(url: str, base: str, others: Iterable[str] = ()) -> str:
    """Return the URL with its path and query appended to another base.

    Args:
        url: An absolute URL.
        base: The base, without "/" at its end.
        others: Bases of the same service; a URL that lies below one of them is taken relative to the longest such one.
    """
    rest = max((_find_rest(url, each) for each in others), key=_shortest, default=None)
    if rest is None:
        rest = _find_rest(url, origin(url)) or ""
    return base + (rest if rest.startswith("/") else "/" + rest)


def is_below(url: str, bases: Iterable[str]) -> bool:
    """Return whether a URL lies below one of several bases."""
    return any(_find_rest(url, base) is not None for base in bases)


def _shortest(rest: str | None) -> float:
    return -math.inf if rest is None else -len(rest)


def _find_rest(url: str, base: str) -> str | None:
    """Return what follows a base in a URL that lies below it, or None where it does not."""
    if origin(url) != origin(base):
        return None
    rest, path = _after_host(url), _after_host(base)
    below = rest.startswith(path) and rest[len(path) : len(path) + 1] in ("", "/", "?", "#")
    return rest[len(path) :] if below else None


def _after_host(url: str) -> str:
    """Return path, query and fragment of an absolute URL."""
    rest = url.partition("://")[2]
    found = _END_OF_HOST.search(rest)
    return rest[found.start() :] if found else ""


def is_downgrade(url: str, target: str) -> bool:
    """Return whether a request for one URL would be encrypted, and one for the other is not."""
    return url.lower().startswith("https:") and not target.lower().startswith("https:")


def translate_location(location: str, sent_to: str, asked_for: str) -> str | None:
    """Return where a redirect leads from the caller's URL, or None where it leads out of the region.

    Args:
        location: Value of the Location header.
        sent_to: URL in the region.
        asked_for: URL that the caller named.
    """
    asked, sent = asked_for.partition("#")[0], sent_to.partition("#")[0]
    path = _after_host(asked)
    if not path.startswith("/") or not sent.endswith(path) or location.startswith("///"):
        return None  # "////other.test" is a path to some parsers, and a host to `requests`
    try:
        target = urljoin(sent, location)
    except ValueError:  # what the server says is no URL; the caller is to see it as it is
        return None
    rest = _find_rest(target, sent[: len(sent) - len(path)])
    return None if rest is None else origin(asked) + rest
