"""Signatures of webhooks: made, and verified over the raw bytes of the body.

    X-EZThrottle-Signature: t=1700000000,v1=<hex>,v1=<hex>      v1 = HMAC-SHA256(secret, "<t>." + body)

There is one `v1` for each secret of the sender, so that secrets can be rotated: first the receivers accept the new
secret besides the old one, then the sender signs with both, and at last the old one is taken away. A signature holds
for any secret of the receiver's and any `v1`; `t` must be there once, in digits, and within the tolerance.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, Union

from polvo_adapters.redaction import HiddenText, unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.errors import WebhookVerificationError

SIGNATURE_HEADER = "X-EZThrottle-Signature"
DELIVERY_HEADER = "X-EZThrottle-Delivery"
"""Carries an id that is the same whenever one result is delivered to one webhook again."""
TOLERANCE = 300

Secrets: TypeAlias = Union[str, Iterable[str]]  # noqa: UP007 - evaluated at import by Python 3.10 tools

_LONGEST_HEADER = 4096
_TIME = re.compile(r"[0-9]{1,12}")


@unpicklable
class ReplayMemory:
    """Remembers the signatures that were accepted, for as long as they could be accepted again.

    It is the memory of one process: where several receive webhooks, keep the ids of jobs that were dealt with.

    Args:
        most: How many are kept; beyond that the oldest is forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = checks.check_count("most", most, 1)
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        forks.register(self)

    def is_replay(self, signature: bytes, expires_at: float, now: float) -> bool:
        """Return whether a signature was seen before, and remember it.

        Args:
            signature: What the signature is over.
            expires_at: Unix time from which on it is refused for its age.
            now: Unix time.
        """
        with self._lock:
            while self._seen:
                oldest = next(iter(self._seen))
                if self._seen[oldest] > now and len(self._seen) < self._most:
                    break
                del self._seen[oldest]
            if self._seen.get(signature, 0.0) > now:
                return True
            self._seen[signature] = expires_at
            self._seen.move_to_end(signature)
            return False

    def after_fork_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<ReplayMemory of {len(self._seen)}>"


def sign_webhook(payload: bytes | str, secrets: Secrets, timestamp: int | None = None) -> str:
    """Return the signature header of a body.

    Args:
        payload: The body as it is sent.
        secrets: The secret, or several while they are rotated.
        timestamp: Unix time in seconds; by default the present one.

    Raises:
        ArgumentError: A secret is empty.
    """
    moment = int(time.time()) if timestamp is None else checks.check_count("timestamp", timestamp, 0)
    body = _require_bytes(payload)
    marks = (f"v1={_digest(secret, str(moment), body)}" for secret in _require_secrets(secrets))
    return ",".join((f"t={moment}", *marks))


def verify_webhook_signature(
    payload: bytes | str,
    signature_header: str | None,
    secret: Secrets,
    tolerance: float = TOLERANCE,
    *,
    replays: ReplayMemory | None = None,
    now: Callable[[], float] = time.time,
) -> tuple[bool, str]:
    """Return whether the signature of a webhook holds, and the reason.

    Args:
        payload: The body as it was received, before any JSON is parsed.
        signature_header: The header `X-EZThrottle-Signature`.
        secret: The secret, or several of which one must hold.
        tolerance: Seconds that the signature may be old, or ahead of this clock.
        replays: Remembers what was accepted, so that it is accepted once.
        now: Returns the Unix time.

    Returns:
        True and "valid", or False and "no_signature_header", "missing_v1_signature", "missing_timestamp",
        "timestamp_expired (...)", "signature_mismatch" or "replayed".

    Raises:
        ArgumentError: A secret is empty, or the payload is no raw body.
    """
    body, secrets = _require_bytes(payload), _require_secrets(secret)
    checks.check_seconds("tolerance", tolerance)
    if not signature_header or not isinstance(signature_header, str):
        return False, "no_signature_header"
    if len(signature_header) > _LONGEST_HEADER:
        return False, "signature_mismatch"
    times, marks = _parse(signature_header)
    if not marks:
        return False, "missing_v1_signature"
    if len(times) != 1 or not _TIME.fullmatch(times[0]):
        return False, "missing_timestamp"
    moment, present = int(times[0]), now()
    difference = abs(present - moment)
    if difference > tolerance:
        return False, f"timestamp_expired (diff={int(difference)}s, tolerance={int(tolerance)}s)"
    # No comparison is left out, so that the time tells nothing of which secret or mark was close.
    expected = [_digest(each, times[0], body).encode() for each in secrets]
    holds = [hmac.compare_digest(one, mark) for one in expected for mark in marks]
    if not any(holds):
        return False, "signature_mismatch"
    if replays is not None:
        name = hashlib.sha256(times[0].encode() + b"." + body).digest()
        if replays.is_replay(name, moment + tolerance, present):
            return False, "replayed"
    return True, "valid"


def verify_webhook_signature_strict(
    payload: bytes | str,
    signature_header: str | None,
    secret: Secrets,
    tolerance: float = TOLERANCE,
    *,
    replays: ReplayMemory | None = None,
) -> None:
    """Raise WebhookVerificationError where the signature of a webhook does not hold; see `verify_webhook_signature`."""
    is_valid, reason = verify_webhook_signature(payload, signature_header, secret, tolerance, replays=replays)
    if not is_valid:
        raise WebhookVerificationError(f"Webhook signature verification failed: {reason}", reason=reason)


def try_verify_with_secrets(
    payload: bytes | str,
    signature_header: str | None,
    primary_secret: str,
    secondary_secret: str | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[bool, str]:
    """Return whether the signature holds for one of two secrets, and for which.

    Returns:
        True and "valid_primary" or "valid_secondary", or False and the reason.
    """
    is_valid, reason = verify_webhook_signature(payload, signature_header, primary_secret, tolerance)
    if is_valid:
        return True, "valid_primary"
    if secondary_secret is None:
        return False, reason
    is_valid, _ = verify_webhook_signature(payload, signature_header, secondary_secret, tolerance)
    return (True, "valid_secondary") if is_valid else (False, f"both_secrets_failed (primary: {reason})")


@unpicklable
class WebhookReceiver:
    """Verifies webhooks for a view of any framework, and returns what they say.

    Args:
        secrets: The secret, or several while they are rotated.
        tolerance: Seconds that a signature may be old, or ahead of this clock.
        replays: Remembers what was accepted; by default a memory of its own.

    Raises:
        ArgumentError: A secret is empty.
    """

    def __init__(self, secrets: Secrets, *, tolerance: float = TOLERANCE, replays: ReplayMemory | None = None) -> None:
        self._secrets = tuple(map(HiddenText, _require_secrets(secrets)))
        self._tolerance = checks.check_seconds("tolerance", tolerance)
        self._replays = ReplayMemory() if replays is None else replays

    def receive(self, payload: bytes | str, signature_header: str | None) -> dict[str, Any]:
        """Return the result that a webhook brings.

        Args:
            payload: The raw body: `request.get_data()` of Flask, `await request.body()` of FastAPI.
            signature_header: The header `X-EZThrottle-Signature`.

        Raises:
            WebhookVerificationError: The signature does not hold, or the body is no JSON object; answer with 401.
        """
        verify_webhook_signature_strict(
            payload, signature_header, self._secrets, self._tolerance, replays=self._replays
        )
        value = _parse_json(payload)
        if not isinstance(value, dict):
            raise WebhookVerificationError("the body of the webhook is no JSON object", reason="not as promised")
        return value

    def __repr__(self) -> str:
        return f"<WebhookReceiver with {len(self._secrets)} secrets>"


def _parse(header: str) -> tuple[list[str], list[bytes]]:
    """Return all values of `t`, and all of `v1`; other schemes are left out."""
    times, marks = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1" and value:
            marks.append(value.encode("utf-8", "replace"))
    return times, marks


def _parse_json(payload: bytes | str) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _digest(secret: str, moment: str, body: bytes) -> str:
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def _require_bytes(payload: object) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise checks.refuse("payload", f"it must be the raw body, bytes, and is of type {type(payload).__name__}")


def _require_secrets(secrets: Any) -> list[str]:
    values = [secrets] if isinstance(secrets, str) else list(secrets) if isinstance(secrets, Iterable) else []
    if not values or not all(isinstance(value, str) and value for value in values):
        raise checks.refuse("secret", "it must be a string that is not empty, or several of them")
    return values
