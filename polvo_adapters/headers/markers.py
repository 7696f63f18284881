"""What must be in the body of a success before it is worth reading for a refusal.

Theory of operation. Nearly every response is a success that refuses nothing. Each is searched, so the search has to be
cheap: one pass over a few kilobytes, and a few passes over a very short body. An API whose refusal contains no
`error` sends nothing else with it either, so that its body is short.
"""

from __future__ import annotations

LONGEST_REFUSAL, LONGEST_TERSE = 1 << 12, 192
LONGEST_NOTE, NOTES = 1 << 10, (b'{\n    "Note"', b'{\n    "Information"', b'{"Note"', b'{"Information"')
"""How Alpha Vantage begins, in place of data."""
ERROR = b"rror"  # of "error", "Error", "errors", "ErrorCode"


def may_refuse(body: bytes | None) -> bool:
    """Return whether the body of a success may refuse the request; never False where a reader would find a refusal.

    Args:
        body: The body as far as it was read, decompressed, or None.
    """
    if body is None or len(body) > LONGEST_REFUSAL:
        return False
    # bytes.rfind is several times faster than bytes.find here, and than one search for all of these.
    return (
        body.rfind(ERROR) >= 0
        or (
            len(body) <= LONGEST_TERSE
            and (
                body.rfind(b"imit") >= 0  # of "Limit" and "limit"
                or body.rfind(b"oo ") >= 0  # of "too many", "too much", "too frequent"
                or body.rfind(b"uota") >= 0
                or body.rfind(b"IMIT") >= 0
            )
        )
        or (len(body) <= LONGEST_NOTE and body.startswith(NOTES))
    )
