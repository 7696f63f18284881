"""The log of the resilient client: one logger, plain or structured.

    event      level    when
    ---------  -------  -------------------------------------------------
    request    DEBUG    a call begins
    attempt    DEBUG    an attempt has ended
    retry      DEBUG    before the wait for another attempt
    wait       DEBUG    before any other wait, such as one for a slot of the bulkhead
    cancelled  DEBUG    a call was cancelled
    response   INFO     a call has ended with an answer below 400
    circuit    INFO     a circuit has changed; where it opens, a WARNING
    failed     WARNING  a call has ended with an error

Where the application has configured structlog, events go there with their fields; otherwise they are lines of the
standard `logging`, whose records have the fields as attributes that begin with `polvo_`. structlog is never imported
here: an application that has configured it has imported it.

No line has a query, a header, a cookie or a body.
"""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Any

from polvo_adapters.client.call_record import CallRecord, current_record
from polvo_adapters.client.config import LoggingConfig
from polvo_adapters.client.exceptions import MyAPIError
from polvo_adapters.core.notices import CallEvent, LogListener
from polvo_adapters.runtime.logs import log_scope, say

_TOLD = ("attempt", "retry", "wait", "circuit", "store_failure")
"""Events of the policies that are logged; how a call ends is said by the client."""
_METHODS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}
"""The methods of loggers, by level; applications may give levels other names."""
_FIELDS = ("attempt", "max_attempts", "status", "failure", "seconds", "retry_after", "reason", "before", "after")


class ClientLog(LogListener):
    """The log of one client; it hears of what the policies decide.

    Args:
        config: The settings of logging. The level of the logger is set to the one that they name.
    """

    def __init__(self, config: LoggingConfig) -> None:
        self._name = config.logger_name
        self._shows_ids = config.include_request_id
        self._logger = logging.getLogger(config.logger_name)
        self._logger.setLevel(config.level)

    def say_request(self, record: CallRecord) -> None:
        """Log that a call begins."""
        self._say(logging.DEBUG, "request", "begins", record)

    def say_response(self, record: CallRecord, status: Any, attempts: int, seconds: float) -> None:
        """Log that a call has ended with an answer."""
        text = f"{status} in {seconds:.3f} s" + (f", {attempts} attempts" if attempts > 1 else "")
        self._say(logging.INFO, "response", text, record, status=status, attempt=attempts, seconds=seconds)

    def say_failure(self, record: CallRecord, error: MyAPIError, seconds: float) -> None:
        """Log that a call has ended with an error."""
        place = f"{record.method} {record.url}"
        text = str(error).removeprefix(place).removeprefix(":").strip()
        status = error.status_code if isinstance(error.status_code, int) else 0
        self._say(
            logging.WARNING,
            "failed",
            text,
            record,
            status=status,
            attempt=error.attempts,
            seconds=seconds,
            failure=type(error).__name__,
            retry_after=error.retry_after,
            reason=text,
        )

    def say_cancelled(self, record: CallRecord) -> None:
        """Log that a call was cancelled."""
        self._say(logging.DEBUG, "cancelled", "cancelled", record)

    def __call__(self, event: CallEvent) -> None:
        """Log what the policies have decided about a call."""
        record = current_record.get()
        if event.event not in _TOLD or record is None:
            return
        is_trouble = event.event == "store_failure" or event.after == "open"
        level = logging.WARNING if is_trouble else logging.INFO if event.event == "circuit" else logging.DEBUG
        fields = {name: getattr(event, name) for name in _FIELDS}
        self._say(level, event.event, _describe(event), record, **fields)

    def _say(self, level: int, event: str, text: str, record: CallRecord, **fields: Any) -> None:
        if not self._logger.isEnabledFor(level):
            return
        place: dict[str, Any] = {"method": record.method, "url": record.url, "host": record.host}
        if self._shows_ids and record.request_id:
            place["request_id"] = record.request_id
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            self._say_structured(structlog, level, event, {**place, **fields})
            return
        line = f"{record.method} {record.url}: {text}"
        if "request_id" in place:
            line += f" [request_id={record.request_id}]"
        say(self._logger, level, event, "%s", line, **place, **fields)

    def _say_structured(self, structlog: Any, level: int, event: str, fields: dict[str, Any]) -> None:
        known = {name: value for name, value in fields.items() if value is not None and value != ""}
        for name in ("attempt", "max_attempts", "status"):
            if known.get(name) == 0:
                del known[name]
        with log_scope() as is_first:
            if is_first:
                log = structlog.get_logger(self._name)
                result = getattr(log, _METHODS[level])(event, **known)
                if inspect.iscoroutine(result):  # of an AsyncBoundLogger; nothing here can await it
                    result.close()
                    getattr(log.sync_bl, _METHODS[level])(event, **known)


def _describe(event: CallEvent) -> str:
    if event.event == "attempt":
        return f"attempt {event.attempt}, {event.failure or event.status} after {event.seconds or 0:.3f} s"
    if event.event == "retry":
        return f"{event.reason}; attempt {event.attempt} of {event.max_attempts} in {event.seconds or 0:.3f} s"
    if event.event == "wait":
        return f"{event.reason}; waiting up to {event.seconds or 0:.3f} s"
    if event.event == "circuit":
        return f"circuit breaker {event.before} → {event.after} ({event.reason})"
    return f"the store failed ({event.reason})"
