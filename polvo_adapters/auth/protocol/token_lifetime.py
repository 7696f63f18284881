"""The lifetime of a token, from what its answer and the token itself say.

Theory of operation. A lifetime is a number of seconds, or the difference of two times of one clock: the end and the
beginning that the server names, or the end and the `Date` of the answer. The clock of this machine is not asked: where
it differs from the server's, each token would look dead on arrival, and be replaced at once.

    source                                       counts
    -------------------------------------------  -----------------------------------------------------------
    `expires_in`                                 a number above 0, of at most ten years
    `expires_in` above ten years                 Unix time, where it and the `Date` differ by less; else no end
    `expires_at`                                 its distance from `issued_at`, else from the `Date`
    `exp` of a JSON Web Token                    its distance from the `Date`, of at most `exp - iat`; else that
    the lifetime in the endpoint's description   as it is

The first one that can be used counts. A token without any is used until the API refuses it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeGuard

from polvo_adapters.auth.protocol.token_endpoint import UNIT_SECONDS, Path, TokenResponse
from polvo_adapters.headers.times import parse_date

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?s?\Z")
_TEN_YEARS = 10 * 365 * 86_400.0
_LATEST = 1e12  # Unix time that no real token contains; larger integers need not fit a float
_MILLISECONDS = 1e11  # Unix time in seconds reaches it in the year 5138


class Lifetime(NamedTuple):
    """What is known of the lifetime of a token.

    Attributes:
        seconds: Seconds from now, or None if no end is known.
        odd: Name of the field whose value means nothing, or an empty string.
    """

    seconds: float | None
    odd: str = ""


def choose_lifetime(
    find: Callable[[Path], Any], described: TokenResponse, access_token: str, server_time: float | None
) -> Lifetime:
    """Return the lifetime of a token; see the table of this module.

    Args:
        find: Returns the value at a path of the answer.
        described: The meaning of the answer.
        access_token: The token.
        server_time: The `Date` of the answer as Unix time, or None.
    """
    given, odd = find(described.expires_in), ""
    if given is not None:
        if _is_never(given, described.never):
            return Lifetime(None)
        number = parse_duration(given)
        seconds = None if number is None else number * UNIT_SECONDS[described.expires_unit]
        if seconds is not None and 0 < seconds <= _TEN_YEARS:
            return Lifetime(seconds)
        if seconds is None or seconds <= 0:
            odd = "expires_in"
        elif number is not None:
            left = None if server_time is None else _scale_moment(number) - server_time
            return Lifetime(left if left is not None and 0 < left <= _TEN_YEARS else None)
    left = _read_end(find, described, server_time)
    if left is None:
        left = read_lifetime(access_token, server_time)
    return Lifetime(described.lifetime if left is None else left, odd)


def _is_never(given: Any, values: tuple[float | str, ...]) -> bool:
    number = parse_duration(given)
    return any(given == each if number is None else number == parse_duration(each) for each in values)


def _read_end(find: Callable[[Path], Any], described: TokenResponse, server_time: float | None) -> float | None:
    """Return the seconds until a moment that the answer names, or None."""
    end = parse_moment(find(described.expires_at))
    start = parse_moment(find(described.issued_at))
    start = server_time if start is None else start
    if end is None or start is None:
        return None
    left = end - start
    return left if 0 < left <= _TEN_YEARS else None


def parse_duration(value: Any) -> float | None:
    """Return a number that is given as one, or as text; infinity for one beyond all measure; None for all else."""
    if isinstance(value, str) and _NUMBER.match(value.strip(" ")):
        value = float(value.strip(" ").rstrip("s"))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    return float(value) if abs(value) <= 1e300 else math.inf if value > 0 else -math.inf


def parse_moment(value: Any) -> float | None:
    """Return a moment as Unix time in seconds, or None.

    Args:
        value: Unix time in seconds or milliseconds, as a number or a text, or a date of ISO 8601 or HTTP. A date
            without a time zone is one of UTC.
    """
    number = parse_duration(value)
    if number is not None:
        moment = _scale_moment(number)
        return moment if 0 < moment < _LATEST else None
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        parsed = datetime.fromisoformat(_normalize_date(value.strip()))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return parse_date(value)


def _normalize_date(text: str) -> str:
    """Return a date of ISO 8601 in the form that Python 3.10 reads: an offset with a colon, six digits of a second."""
    text = re.sub(r"[zZ]\Z", "+00:00", text)
    text = re.sub(r"([+-]\d{2})(\d{2})\Z", r"\1:\2", text)
    return re.sub(r"\.(\d+)", lambda found: f".{found[1][:6]:0<6}", text, count=1)


def _scale_moment(number: float) -> float:
    return number / 1000 if number >= _MILLISECONDS else number


def read_lifetime(token: str, server_time: float | None = None) -> float | None:
    """Return the seconds until a JSON Web Token expires, or None if it takes the clock of this machine to tell.

    Args:
        token: The token; any other text has no lifetime.
        server_time: The `Date` of the answer that brought it as Unix time, or None.

    Source: RFC 7519 sections 4.1.4 and 4.1.6.
    """
    if token.count(".") not in (2, 4):
        return None
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError):
        return None
    expires_at, issued_at = claims.get("exp"), claims.get("iat")
    if not _is_date(expires_at):
        return None
    whole = expires_at - issued_at if _is_date(issued_at) else None
    left = None if server_time is None else expires_at - server_time
    if whole is not None and whole > 0:
        left = left if left is not None and 0 < left <= whole else whole
    return float(left) if left is not None and 0 < left <= _TEN_YEARS else None


def _is_date(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and bool(abs(value) < _LATEST)
