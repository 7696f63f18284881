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
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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


def withheld_headers(names: Iterable[str]) -> list[str]:
    """Return the names of the headers that a request to another server leaves out."""
    return [name for name in names if name.lower() not in _HARMLESS_HEADERS]


def select_parameters(query: str, own: Collection[str], allowed: Collection[str] | None) -> str | list[str]:
    """Return the query that goes to another server, or the names of the parameters that keep the request from going.

    Args:
        query: The query, without "?".
        own: Names of the parameters that auth objects have put there, which are left out.
        allowed: Names of parameters in lower case that go along besides those that are known to be harmless; None lets
            all others go.
    """
    kept, unknown = [], []
    pairs = query.replace(";", "&").split("&")
    for pair in pairs:
        name = unquote_plus(pair.partition("=")[0])
        if name in own:
            continue
        kept.append(pair)
        lower = name.lower().removeprefix("$")
        if pair and allowed is not None and lower not in HARMLESS_PARAMETERS and lower not in allowed:
            unknown.append(name)
    # To many servers ";" is part of a value, so it stays where nothing is left out.
    return unknown or (query if len(kept) == len(pairs) else "&".join(kept))


def rebase(url: str, base: str, others: Iterable[str] = ()) -> str:
    """Return the URL with its path and query appended to another base.

    Args:
        url: An absolute URL.
        base: The base, without "/" at its end.
        others: Bases of the same service; a URL that lies below one of them is taken relative to it.
    """
    below = next((each for each in others if _is_below(url, each)), None)
    if below is not None:
        rest = url[len(below) :]
    else:
        after = url.partition("://")[2]
        ends = [end for end in map(after.find, "/?#") if end >= 0]
        rest = after[min(ends) :] if ends else ""
    return base + (rest if rest.startswith("/") else "/" + rest)


def _is_below(url: str, base: str) -> bool:
    return url.startswith(base) and url[len(base) : len(base) + 1] in ("", "/", "?", "#")


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
    host = origin(asked_for)
    path = asked_for.partition("://")[2].partition("#")[0]
    path = path[path.find("/") :] if "/" in path else ""
    if not path or not sent_to.endswith(path):
        return None
    base = sent_to[: len(sent_to) - len(path)]
    target = urljoin(sent_to, location)
    return host + target[len(base) :] if _is_below(target, base) else None
