"""The calls of an asynchronous client: a `polvo_adapters.AsyncSession` makes them."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from polvo_adapters.runtime.extras import missing_text

try:
    import anyio
    import httpx
except ImportError as error:
    raise ImportError(missing_text('Client(mode="async")', "httpx", "httpx")) from error

from polvo_adapters.context.call import call_settings
from polvo_adapters.errors import DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.services.httpx_failures import classify_end
from polvo_adapters.services.operation_driver import drive_async
from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.file_writer import FileWriter
from polvo_adapters.services.taruvi.limits import Limits
from polvo_adapters.services.taruvi.operations import Call, Effect, Operation, Reply, Together
from polvo_adapters.services.taruvi.sending import FOLLOWED, Wire, WireResponse
from polvo_adapters.shells.httpx.session import AsyncSession

_ERRORS = (httpx.HTTPError, httpx.InvalidURL, PolvoError, OSError, ValueError)
_AT_ONCE = 10


def prepare_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the sessions of a client and of all clients that are derived from it.

    They share what verifies the server, because to read all authorities takes longer than many a call.

    Args:
        options: The keywords that the caller gives.

    Raises:
        ConfigurationError: They say that the server is not to be verified.
    """
    if "verify" not in options:
        return {**options, "verify": httpx.create_ssl_context()}
    given = options["verify"]
    if not given or getattr(given, "verify_mode", ssl.CERT_REQUIRED) == ssl.CERT_NONE:
        raise checks.refuse("verify", "the server is always verified; give a context of ssl that knows its authority")
    return dict(options)


class AsyncSender:
    """Performs the effects of operations on an event loop.

    Args:
        wire: What the client sends.
        options: Keywords of the session.
    """

    def __init__(self, wire: Wire, options: Mapping[str, Any]) -> None:
        self._wire = wire
        self._limits = Limits(wire.settings, options)
        auth = wire.credential.auth
        self._auth = None if auth is None else auth.httpx()
        self._session = AsyncSession(**options)
        # A cookie that came for one user must not go out for another.
        self._session.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def perform(self, effect: Effect) -> Any:
        """Carry out an effect, and return what is to be sent in."""
        return await (self._send(effect, None) if isinstance(effect, Call) else self._run_together(effect))

    async def log_in(self) -> None:
        """Obtain the token of a login now."""
        if self._auth is None or not hasattr(self._auth, "get_held"):
            return
        said = call_settings.get()
        seconds = None if said is None else said.seconds(None)
        with anyio.move_on_after(math.inf if seconds is None else seconds):
            await self._auth.get_held()
            return
        raise DeadlineExceeded("the deadline is over, and there is no token yet; allow a longer deadline")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.aclose()

    async def _run_together(self, effect: Together, latest: float = math.inf) -> list[Any]:
        clock, seconds = self._session.clock, self._limits.together()
        end = latest if seconds is None else min(latest, clock.now() + seconds)
        turns = anyio.CapacityLimiter(_AT_ONCE)
        results: list[Any] = [None] * len(effect.operations)
        failed: list[Exception] = []

        async def perform(each: Effect) -> Any:
            if not isinstance(each, Call):
                return await self._run_together(each, end)
            async with turns:
                return await self._send(each, None if end == math.inf else end - clock.now())

        async def run(number: int, each: Operation[Any]) -> None:
            try:
                results[number] = await drive_async(each, perform)
            except Exception as error:  # noqa: BLE001 - raised below; from here it would come in a group
                failed.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for number, each in enumerate(effect.operations):
                group.start_soon(run, number, each)
        if failed:
            raise failed.pop(0)
        return results

    async def _send(self, call: Call, left: float | None) -> Reply:
        url, headers, body = self._wire.encode(call)
        keywords: dict[str, Any] = {**self._limits.bound(call, left), "idempotent": call.idempotent}
        if call.files:
            keywords |= {"files": list(call.files), "data": dict(call.fields or {})}
        else:
            keywords["content"] = body
        keywords |= {
            "params": list(call.params) or None,
            "headers": headers,
            "auth": None if call.anonymous else self._auth,
            "follow_redirects": call.method in FOLLOWED,
        }
        writer = FileWriter(call.target)
        try:
            if call.target is not None:
                async with self._session.stream(call.method, url, **keywords) as response:
                    return await self._read(call, response, writer)
            return await self._read(call, await self._session.request(call.method, url, **keywords), writer)
        except BaseException as error:
            writer.take_back()
            # What anyio raises for an address that cannot be connected to may be a group.
            if error is writer.error or not (isinstance(error, _ERRORS) or hasattr(error, "exceptions")):
                raise
            answer: Any = getattr(error, "response", None)
            answered = isinstance(error, StatusError) and not isinstance(error, DeadlineExceeded)
            if answered and answer is not None:
                return await self._read(call, answer, writer)
            failure = classify_end(error)
            return self._wire.failure(error, failure.name, is_timeout=failure.timeout, attempts=_count_attempts(error))

    async def _read(self, call: Call, response: httpx.Response, writer: FileWriter) -> Reply:
        body = b""
        if call.target is not None and response.is_success:
            async for chunk in response.aiter_bytes():
                writer.write(chunk)
        else:
            body = await response.aread()
        attempts, now = _count_attempts(response), self._session.clock.wall()
        sent: list[Mapping[str, str]] = [each.request.headers for each in (*response.history, response)]
        url = str(response.request.url)
        return self._wire.reply(
            call, WireResponse(response.status_code, response.headers, body, url, attempts, now, sent)
        )


def _count_attempts(source: Any) -> int:
    report = getattr(source, "polvo", None)
    return 0 if report is None else len(report.attempts)
