"""Webhooks of the local engine: what is delivered, and one try to deliver it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from polvo_adapters.redaction import HiddenText, harmless_headers, unpicklable
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.services.ezthrottle.local_call import CallEnd, make_call
from polvo_adapters.services.ezthrottle.webhooks import DELIVERY_HEADER, SIGNATURE_HEADER, sign_webhook
from polvo_adapters.shells.requests.session import Session

_TIMEOUT = 10.0


@unpicklable
class Delivery:
    """Delivers results, signed with every secret.

    Args:
        secrets: The secrets; none to send without a signature.
        clock: Time and chance.
    """

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._secrets = tuple(map(HiddenText, secrets))
        self._clock = clock
        self._session = Session(retry=False, circuit_breaker=None, timeout=_TIMEOUT, deadline=2 * _TIMEOUT, clock=clock)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def deliver(self, url: str, payload: str, delivery: str) -> CallEnd:
        """Send a payload once, and return how that ended.

        Args:
            url: URL of the webhook.
            payload: The body.
            delivery: Id of the delivery, the same whenever it is tried again.
        """
        fields = {"Content-Type": "application/json", DELIVERY_HEADER: delivery}
        if self._secrets:
            fields[SIGNATURE_HEADER] = sign_webhook(payload, self._secrets, int(self._clock.wall()))
        job = {"url": url, "method": "POST", "body": payload}
        return make_call(self._session, job, headers=fields, allow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __repr__(self) -> str:
        return f"<Delivery with {len(self._secrets)} secrets>"


def make_payload(job: Mapping[str, Any], job_id: str, status: str, result: Mapping[str, Any]) -> str:
    """Return the body of a webhook."""
    payload: dict[str, Any] = {
        "job_id": job_id,
        "idempotent_key": job.get("idempotent_key", job_id),
        "status": "success" if status == "success" else "failed",
        "response": {
            "status_code": result.get("status_code"),
            "headers": result.get("headers", {}),
            "body": result.get("response"),
        },
        "metadata": job.get("metadata", {}),
    }
    if result.get("error") is not None:
        payload["error"] = result["error"]
    if status == "in_doubt":
        payload["in_doubt"] = True
    return json.dumps(payload)


def name_delivery(job_id: str, number: int) -> str:
    """Return the id of the delivery of a job's result to one of its webhooks."""
    return hashlib.sha256(f"{job_id}\n{number}".encode()).hexdigest()[:32]


def describe_deliveries(job: Mapping[str, Any], deliveries: Mapping[str, str]) -> dict[str, Any]:
    """Return how many webhooks were delivered, and whether the quorum is reached, is still possible, or is missed."""
    hooks = job.get("webhooks", [])
    votes = [
        deliveries.get(str(number), "pending") for number, hook in enumerate(hooks) if hook.get("has_quorum_vote", True)
    ]
    needed = min(job.get("webhook_quorum", 1), len(votes))
    done, waiting = votes.count("delivered"), votes.count("pending")
    quorum = "reached" if done >= needed else "pending" if done + waiting >= needed else "missed"
    states = list(deliveries.values())
    counts = {name: states.count(name) for name in ("delivered", "pending", "failed")}
    return {**counts, "quorum": quorum}


def keep_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a response that hold no credential."""
    return dict(harmless_headers(headers))
