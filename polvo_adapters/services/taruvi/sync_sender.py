"""The calls of a synchronous client: a `polvo_adapters.Session` makes them."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
import urllib3.exceptions

from polvo_adapters.errors import DeadlineExceeded, StatusError
from polvo_adapters.services.operation_driver import drive
from polvo_adapters.services.taruvi.file_writer import FileWriter
from polvo_adapters.services.taruvi.limits import Limits
from polvo_adapters.services.taruvi.operations import Call, Effect, Operation, Reply, Together
from polvo_adapters.services.taruvi.sending import FOLLOWED, Wire, WireResponse
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_AT_ONCE = 10
_CHUNK = 1 << 16


class SyncSender:
    """Performs the effects of operations on the calling thread.

    Args:
        wire: What the client sends.
        options: Keywords of the session.
    """

    def __init__(self, wire: Wire, options: Mapping[str, Any]) -> None:
        self._wire = wire
        self._limits = Limits(wire.settings, options)
        self._session = Session(**options)
        # A cookie that came for one user must not go out for another.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def perform(self, effect: Effect) -> Any:
        """Carry out an effect, and return what is to be sent in."""
        return self._send(effect, None) if isinstance(effect, Call) else self._run_together(effect)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _run_together(self, effect: Together, latest: float = math.inf) -> list[Any]:
        clock, seconds = self._session.clock, self._limits.together()
        end = latest if seconds is None else min(latest, clock.now() + seconds)

        def perform(each: Effect) -> Any:
            if not isinstance(each, Call):
                return self._run_together(each, end)
            return self._send(each, None if end == math.inf else end - clock.now())

        if len(effect.operations) == 1:
            return [drive(effect.operations[0], perform)]
        failed: list[str] = []

        def run(each: Operation[Any]) -> Any:
            if failed:  # the others are not begun any more
                return each.close()
            try:
                return drive(each, perform)
            except BaseException as error:
                failed.append(type(error).__name__)
                raise

        workers = min(_AT_ONCE, len(effect.operations))
        with ThreadPoolExecutor(workers, thread_name_prefix="polvo-taruvi") as pool:
            futures: list[Future[Any]] = [pool.submit(copy_context().run, run, each) for each in effect.operations]
            # In the order of their ends: what is not begun after a failure has an end, but no result.
            for future in as_completed(futures):
                future.result()
        return [future.result() for future in futures]

    def _send(self, call: Call, left: float | None) -> Reply:
        url, headers, body = self._wire.encode(call)
        keywords: dict[str, Any] = {**self._limits.bound(call, left), "idempotent": call.idempotent}
        if call.files:
            keywords["files"] = list(call.files)
        auth = None if call.anonymous else self._wire.credential.auth
        writer = FileWriter(call.target)
        try:
            response = self._session.request(
                call.method,
                url,
                params=list(call.params) or None,
                data=dict(call.fields or {}) if call.files else body,
                headers=headers,
                auth=_send_no_credentials if auth is None else auth,
                allow_redirects=call.method in FOLLOWED,
                stream=call.target is not None,
                **keywords,
            )
            return self._read(call, response, writer)
        except BaseException as error:
            writer.take_back()
            if error is writer.error or not isinstance(error, _ERRORS):
                raise
            answered = isinstance(error, StatusError) and not isinstance(error, DeadlineExceeded)
            if answered and error.response is not None:  # type: ignore[union-attr]
                return self._read(call, error.response, writer)  # type: ignore[union-attr]
            failure = classify(error)
            return self._wire.failure(error, failure.name, is_timeout=failure.timeout, attempts=_count_attempts(error))

    def _read(self, call: Call, response: requests.Response, writer: FileWriter) -> Reply:
        body = b""
        if call.target is not None and response.ok:
            for chunk in response.iter_content(_CHUNK):
                writer.write(chunk)
        else:
            body = response.content
        attempts, now = _count_attempts(response), self._session.clock.wall()
        sent = [each.request.headers for each in (*response.history, response) if each.request is not None]
        received = WireResponse(response.status_code, response.headers, body, response.url, attempts, now, sent)
        return self._wire.reply(call, received)


def _send_no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep the credentials of a netrc file out of a call without one."""
    return request


def _count_attempts(source: Any) -> int:
    report = getattr(source, "polvo", None)
    return 0 if report is None else len(report.attempts)
