"""Signatures that a server accepts once: those with a nonce.

A request that is repeated with the nonce of the attempt before is refused, and the 401 hides what went wrong at first.
So it is signed anew for each attempt, or sent once where no code below the session can do so.
"""

from __future__ import annotations

import re

from polvo_adapters.core.http import text_of

_WITH_NONCE = re.compile(r"(?:oauth|hawk|mac)\s.*\bnonce=|oauth\s.*\boauth_nonce=", re.IGNORECASE | re.DOTALL)
"""OAuth 1.0a (RFC 5849 section 3.5.1), Hawk, and the MAC scheme of drafts of OAuth 2."""


def is_single_use(authorization: str | bytes) -> bool:
    """Return whether a value of Authorization is a signature with a nonce."""
    return _WITH_NONCE.match(str(text_of(authorization))) is not None
