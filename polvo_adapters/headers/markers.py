"""What must be in the body of a success before it is worth reading for a refusal.

Theory of operation. Nearly every response is a success that says nothing, so the question is asked for each of them and
has to cost next to nothing: one search of a few kilobytes.
"""

from __future__ import annotations

LONGEST_REFUSAL = 1 << 12
ERROR = b'"error'


def may_refuse(body: bytes | None) -> bool:
    """Return whether the body of a success may refuse the request; never False where a reader would find a refusal.

    Args:
        body: The body as far as it was read, decompressed, or None.
    """
    # bytes.rfind is several times faster than bytes.find here.
    return body is not None and len(body) <= LONGEST_REFUSAL and body.rfind(ERROR) >= 0
