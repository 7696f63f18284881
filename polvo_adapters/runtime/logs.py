"""The log: a logger for each part of the library, and the same fields on every record.

Theory of operation. A module logs by `say`, with the logger of its part, an event and a text. Each
record has all of `FIELDS` as attributes, None where they do not apply, so that a formatter can name any of them. The
package configures nothing: it adds a NullHandler to its topmost logger, and what is heard is for the application to
decide.

**Nothing secret.** Of a request, method, host, request id and tenant are said; never a path, a query, a header, a body,
a token, or the text of an exception that is not this library's own.

**Nothing is harmed.** What a handler or a filter raises does not reach the call. A handler that makes calls of its own
through this library, to ship records over HTTP, does not log about them: that would never end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Event
from polvo_adapters.core.state_keys import without_paths
from polvo_adapters.policies.gates import Gate

ROOT = "polvo_adapters"

FIELDS = (
    "polvo_event",
    "polvo_method",
    "polvo_host",
    "polvo_tenant",
    "polvo_request_id",
    "polvo_labels",
    "polvo_attempt",
    "polvo_max_attempts",
    "polvo_status",
    "polvo_failure",
    "polvo_seconds",
    "polvo_retry_after",
    "polvo_reason",
    "polvo_what",
    "polvo_before",
    "polvo_after",
)
"""The attributes of every record; docs/logging.md says what each means."""

_NOTHING: dict[str, Any] = dict.fromkeys(FIELDS)
_CALLER = 2  # frames from `logging` up to the one that has called `say`

logging.getLogger(ROOT).addHandler(logging.NullHandler())

_is_saying: ContextVar[bool] = ContextVar("is_saying", default=False)


@contextmanager
def log_scope() -> Iterator[bool]:
    """Yield whether nothing is being logged here already, and drop what is raised in the block.

    A handler may raise anything, and where could that be logged?
    """
    if _is_saying.get():
        yield False
        return
    token = _is_saying.set(True)
    try:
        yield True
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    finally:
        _is_saying.reset(token)


def name_state(machine: object, key: str) -> str:
    """Return the name of a state in the log: its key, without paths unless a gate or a secret is named by them."""
    is_needed = isinstance(machine, Gate) or getattr(machine, "part", "") == "secrets"
    return key if is_needed else without_paths(key)


def name_states(events: Iterable[Event]) -> str:
    """Return the names of the states that events are about."""
    return ", ".join(name_state(machine, key) for machine, key, _ in events)


def logger(part: str = "") -> logging.Logger:
    """Return the logger of a part of the library, or that of the whole library."""
    return logging.getLogger(f"{ROOT}.{part}" if part else ROOT)


def say(
    log: logging.Logger,
    level: int,
    event: str,
    text: str,
    *args: object,
    call: Call | None = None,
    exc_info: bool = False,
    **fields: Any,
) -> None:
    """Log a line, if the logger is heard at that level.

    Args:
        log: The logger of the part that speaks.
        level: The level.
        event: Name of the event, for `polvo_event`.
        text: The text, in which `%s` and the like stand for the arguments.
        *args: The arguments.
        call: The call that it is about.
        exc_info: Whether to add the traceback of the exception that is being handled; never one of the outside world.
        **fields: Further fields, without the prefix `polvo_`; those that do not apply may be 0 or empty.
    """
    if not log.isEnabledFor(level) or _is_saying.get():
        return
    token = _is_saying.set(True)
    try:
        extra = _make_extra(event, call, fields)
        log.log(level, text, *args, exc_info=exc_info, extra=extra, stacklevel=_CALLER)
    except Exception:  # noqa: BLE001, S110 - a handler may raise anything, and where could that be logged?
        pass
    finally:
        _is_saying.reset(token)


def _make_extra(event: str, call: Call | None, fields: dict[str, Any]) -> dict[str, Any]:
    extra = {**_NOTHING, "polvo_event": event}
    if call is not None:
        extra["polvo_method"], extra["polvo_host"] = call.method, call.host
        extra["polvo_tenant"], extra["polvo_request_id"] = call.tenant or None, call.request_id or None
        extra["polvo_labels"] = dict(call.labels) or None
    for name, value in fields.items():
        extra[f"polvo_{name}"] = None if value == "" or (value == 0 and name in _COUNTS) else value
    return extra


_COUNTS = ("attempt", "max_attempts", "status")
"""Fields whose 0 says that there is none."""
