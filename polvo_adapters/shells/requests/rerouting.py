"""The same request to another URL: for policies that name a region, or an alternative.

An anonymous call keeps only the headers that are known to hold no credential; a list of those that may hold one would
never be complete. It keeps the headers that change the meaning of a request: a POST that says that it is a DELETE must
not become a POST.
"""

from __future__ import annotations

from typing import Any
from urllib.request import getproxies

import requests
from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies

from polvo_adapters.context.call import current_call
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.destinations import translate_location, withheld_headers
from polvo_adapters.shells.credential_owners import credential_places


def reroute(request: requests.PreparedRequest, call: Call) -> requests.PreparedRequest:
    """Return a copy of the request for the URL of the call."""
    copy = request.copy()
    if origin(call.url) != origin(request.url or ""):
        copy.headers.pop("Host", None)
    if call.anonymous:
        for name in withheld_headers(copy.headers.items(), credential_places(request)):
            del copy.headers[name]
        copy._cookies = None  # or a retry of the session would add them again
    copy.url = call.url
    return copy


def translate_redirect(response: requests.Response, sent_to: str, request: requests.PreparedRequest) -> None:
    """Let a redirect within a region start from the caller's URL; see `polvo_adapters.core.destinations`."""
    location = response.headers.get("location") if response.is_redirect else None
    if location is not None:
        translated = translate_location(location, sent_to, request.url or "")
        if translated is not None:
            response.headers["location"] = translated


def judge_proxies(
    keywords: dict[str, Any],
    request: requests.PreparedRequest,
    original: requests.PreparedRequest,
    session: requests.Session | None = None,
) -> dict[str, Any]:
    """Return the keywords of an attempt with the proxies for another host than the one that the caller named.

    A session has judged NO_PROXY for the host that the caller named. A proxy from the environment is left out where the
    other host is in NO_PROXY. Where the caller's host is, and the other is not, the proxy is used if the session is
    known to look at the environment. Proxies that the caller has given stay.

    Args:
        keywords: Those of the attempt.
        request: The request to the other host; it loses a header that is for the proxy of the caller's host.
        original: The caller's request.
        session: The session that the adapter serves, where that is known.
    """
    url, before = request.url or "", original.url or ""
    if origin(url) == origin(before):
        return keywords
    proxies = dict(keywords["proxies"] or {})
    before_proxy = select_proxy(before, proxies)
    no_proxy = proxies.get("no_proxy")
    environment = getproxies()
    if should_bypass_proxies(url, no_proxy=no_proxy):
        proxies = {name: proxy for name, proxy in proxies.items() if environment.get(name) != proxy}
    elif _looks_at_environment(session) and should_bypass_proxies(before, no_proxy=no_proxy):
        proxies = {**get_environ_proxies(url, no_proxy=no_proxy), **proxies}
    if url.lower().startswith("https:") or select_proxy(url, proxies) != before_proxy:
        request.headers.pop("Proxy-Authorization", None)  # it would reach the other host, or another proxy
    return {**keywords, "proxies": proxies}


def _looks_at_environment(session: requests.Session | None) -> bool:
    logical = current_call()
    session = session if logical is None or logical.session is None else logical.session
    return session is not None and bool(session.trust_env)


def drop_foreign_cookies(response: requests.Response, request: requests.PreparedRequest) -> None:
    """Keep a session from storing the cookies of a response from another origin as cookies of the first one.

    They stay in the headers and in `response.cookies`.

    Args:
        response: The response.
        request: The request that the session has sent.
    """
    if origin(response.url or "") == origin(request.url or ""):
        return
    original = getattr(response.raw, "_original_response", None)
    if original is not None:
        del original.msg["Set-Cookie"]
