"""Jobs of fields that are given by the names of the wire: each is checked as the setters of a step check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.step import Job, Step, check_fields, order_fields


def make_job(fields: Mapping[str, Any]) -> Job:
    """Return the job of fields by the names of the wire, each of them checked.

    Raises:
        ArgumentError: A field is unknown or cannot work.
    """
    step, links = Step(), {}
    for name, value in fields.items():
        if value is None:
            continue
        if name in _LINKS:
            links[name] = _make_nested(name, value)
        elif name == "on_failure_timeout_ms":
            step._fields[name] = checks.check_count(name, value, 1)
        elif name in _SETTERS:
            getattr(step, name)(value)
        else:
            raise checks.refuse(name, "there is no such field of a job")
    check_fields(step._fields)
    return order_fields(step._fields, {name: links[name] for name in _LINKS if name in links})


_LINKS = ("fallback_job", "on_success", "on_failure")
_SETTERS = frozenset(
    (
        *("url", "method", "headers", "body", "metadata", "webhooks", "webhook_quorum", "regions", "region_policy"),
        *("execution_mode", "retry_policy", "idempotent_key", "retry_at"),
    )
)
_DEEPEST = 32


def _make_nested(name: str, value: Any) -> Job:
    if not isinstance(value, Mapping):
        raise checks.refuse(name, f"it must be a job, a mapping, and is of type {type(value).__name__}")
    if _measure_depth(value) > _DEEPEST:
        raise checks.refuse(name, f"more than {_DEEPEST} jobs are chained one in the other")
    fields = dict(value)
    trigger = fields.pop("trigger", None)
    job = make_job(fields)
    if trigger is not None:
        job["trigger"] = _check_trigger(trigger)
    return job


def _measure_depth(value: Mapping[str, Any]) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [each[name] for each in level for name in _LINKS if isinstance(each.get(name), Mapping)]
    return depth


def _check_trigger(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise checks.refuse("trigger", f"it must be a mapping, and is of type {type(value).__name__}")
    trigger: dict[str, Any] = {}
    for name, part in value.items():
        if name == "type":
            trigger[name] = checks.check_word("trigger.type", part, ("on_error", "on_timeout"))
        elif name == "codes":
            trigger[name] = checks.check_codes("trigger.codes", part)
        elif name == "timeout_ms":
            trigger[name] = checks.check_count("trigger.timeout_ms", part, 1)
        else:
            raise checks.refuse("trigger", f"{name!r} is unknown; it has 'type', 'codes' and 'timeout_ms'")
    return trigger
