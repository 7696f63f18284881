"""What must be in the body of a success before it is worth reading for what it says about quotas.

Theory of operation. Nearly every response is a success that says nothing, so the question is asked for each of them and
has to cost next to nothing: two searches of a few kilobytes. `may_ask_for_less` never says no where a reader would find
something.
"""

from __future__ import annotations

LONGEST_REFUSAL = 1 << 12
EDGE = 1 << 11
ERROR, BACKOFF = b'"error', b'"backoff"'


def may_ask_for_less(body: bytes | None) -> bool:
    """Return whether the body of a success may refuse the request, or ask for a pause after it.

    Args:
        body: The body as far as it was read, decompressed, or None.
    """
    if not body or body[:64].lstrip()[:1] not in (b"{", b"["):
        return False
    if len(body) <= LONGEST_REFUSAL and body.rfind(ERROR) >= 0:
        return True
    return body.rfind(BACKOFF, -EDGE) >= 0 or body.rfind(BACKOFF, 0, EDGE) >= 0
