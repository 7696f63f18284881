"""What of the requests of a transport is not in them, and yet may select their answers.

`requests` says it at each call. A transport of httpx has it from the beginning, in its keywords. Of a transport that
the caller has made it can be seen whether it verifies servers, and no more.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from polvo_adapters.core.identity import PLAIN_SENDER, Sender


def sender_of(inner: Any, keywords: Mapping[str, Any]) -> Sender:
    """Return what is not in the requests of a transport.

    Args:
        inner: The transport below, or None where one is made from the keywords.
        keywords: Those of `httpx.HTTPTransport`.
    """
    if inner is not None:
        known = getattr(inner, "_sender", None)
        if isinstance(known, Sender):
            return known
        context = getattr(getattr(inner, "_pool", None), "_ssl_context", None)
        verifies = not isinstance(context, ssl.SSLContext) or context.verify_mode is not ssl.CERT_NONE
        return PLAIN_SENDER if verifies else Sender(verify=False)
    verify, proxy = keywords.get("verify", True), keywords.get("proxy")
    own = token_hex(8) if isinstance(verify, ssl.SSLContext) else ""  # nothing says what one context has in common
    return Sender(
        certificate=keywords.get("cert"),
        verify=True if own else verify,
        proxies=None if proxy is None else {"all": _address(proxy)},
        transport=" ".join(filter(None, (own, keywords.get("uds")))),
    )


def _address(proxy: Any) -> str:
    """Return the URL of a proxy, which `httpx.Proxy` holds without the name of its user."""
    auth = getattr(proxy, "raw_auth", None)
    return f"{getattr(proxy, 'url', proxy)}{'' if auth is None else f' {auth!a}'}"
