"""Ids of jobs, and what is kept and told of how they end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from polvo_adapters.services.ezthrottle.engines.local_delivery import keep_headers
from polvo_adapters.services.ezthrottle.engines.local_records import JobRecord
from polvo_adapters.services.ezthrottle.local_call import CallEnd

_HIDDEN = ("headers", "job", "unsent")  # what is in a record for the engine itself


def identify(job: Mapping[str, Any]) -> str:
    """Return the id of a job: equal keys, or else equal URLs, methods and bodies, are the same job."""
    key = job.get("idempotent_key")
    name = digest_of(job) if key is None else f"key\n{key}"
    return f"job_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def derive(record: JobRecord, role: str) -> str:
    """Return the id of a job that follows from another: each execution of a parent has its own."""
    name = "\n".join((role, record.job_id, str(record.item)))
    return f"job_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def digest_of(job: Mapping[str, Any]) -> str:
    """Return the digest of what a key stands for."""
    parts = json.dumps([job["method"], job["url"], job.get("body")])
    return hashlib.sha256(parts.encode()).hexdigest()


def describe(record: JobRecord) -> dict[str, Any]:
    """Return what a client is told of a job."""
    shown = {name: value for name, value in record.result.items() if name not in _HIDDEN}
    return {"job_id": record.job_id, "status": record.status, **shown}


def make_values(end: CallEnd) -> dict[str, Any]:
    """Return what is kept of the end of a job's call."""
    values: dict[str, Any] = {
        "status_code": end.status or None,
        "response": end.text if end.status else None,
        "headers": keep_headers(end.headers),
        "error": None if end.is_success else f"Request failed: {end.status}" if end.status else end.problem,
        "attempts": end.attempts,
    }
    if end.unsent:
        values["unsent"] = True
    if end.note:
        values["note"] = end.note
    if end.lost:
        values["cancelled_attempts"] = end.lost
    return values


def await_all(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the state of a job's webhooks before any is delivered."""
    return {str(number): "pending" for number, _ in enumerate(job.get("webhooks", ()))}
