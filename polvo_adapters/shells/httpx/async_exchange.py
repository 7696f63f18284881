"""One attempt through an httpx transport in a task; see `polvo_adapters.shells.httpx.exchange`."""

from __future__ import annotations

from typing import Any

import httpx
from httpx import ByteStream

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime import async_library
from polvo_adapters.shells.encodings import EncodingCheck
from polvo_adapters.shells.httpx.exchange import TIMEOUTS, BaseHTTPXExchange, KeptBody
from polvo_adapters.shells.httpx.header_fields import find_field
from polvo_adapters.shells.httpx.observed_body import find_whole_encoding, require_whole
from polvo_adapters.shells.httpx.renewal import RenewableCredential, find_credential
from polvo_adapters.shells.late_credentials import LONG_WAIT


class AsyncHTTPXExchange(BaseHTTPXExchange):
    """The attempts at one request, in a task."""

    is_async = True
    _noting = httpx.AsyncHTTPTransport
    broken_off = False

    def _cut_timeouts(self, timeouts: Any, deadline: float, left: float) -> Any:  # noqa: ARG002 - as above
        if _end_before(timeouts, left):
            return timeouts
        parts = [(name, timeouts.get(name)) for name in TIMEOUTS]
        return {name: left if timeout is None else min(timeout, left) for name, timeout in parts}

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        if self.response is not None:
            await self.discard()
        call: Call = effect[0]
        started = now = self.clock.now()
        deadline = call.deadline
        try:
            if self._sent or now - call.started >= LONG_WAIT:
                await _renew(self._prepare_repeat(), self.request)
                now = self.clock.now()
            request = self._prepare(call, now)
            if request is not self.request and not call.anonymous:
                await _renew(find_credential(request), request)  # as there: of another URL
            if deadline is None:
                self.response = response = await self._used.handle_async_request(request)
                response.request = request  # as above
                self._encoding = encoding = find_field(response.headers, b"content-encoding")
                if not self.stream and (encoding is not None or type(response.stream) is not ByteStream):
                    await self._read(response)
            else:
                response = await async_library.finish_within(deadline - now, self._send(request))
            if self.stream:
                self._hand_over(response, call)
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            await self.close()
            if type(error) is async_library.Late:
                error = DeadlineExceeded("the deadline is over and the response is not complete")
            return self._fail(error, started, deadline)
        except BaseException:  # a cancellation, after which the driver discards the response
            self.give_back()
            raise
        return self._succeed(response, started)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response
        self.response = response = await self._used.handle_async_request(request)
        response.request = request
        self._encoding = encoding = find_field(response.headers, b"content-encoding")
        if not self.stream and (encoding is not None or type(response.stream) is not ByteStream):
            await self._read(response)
        return response

    async def _read(self, response: Any) -> None:
        self.reading = True
        if self._is_noted and self._trace is not None:
            self._trace.note_body()
        encoding, chunks = self._encoding, []
        check = None if encoding is None else EncodingCheck(find_whole_encoding(response.status_code, encoding))
        async for chunk in response.stream:
            chunks.append(chunk)
            if check is not None:
                check.feed(chunk)
        if check is not None:
            require_whole(check)
        await response.stream.aclose()
        response.stream = ByteStream(b"".join(chunks))

    async def close(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            await response.aclose()

    async def discard(self) -> None:
        """Take the response of the last attempt from its connection; its body stays readable if it is small."""
        response = self._take_response()
        if response is None:
            return
        if self.broken_off:
            await _close_shielded(response)
            return
        kept = KeptBody()
        try:
            async for chunk in response.stream:  # type: ignore[union-attr]
                kept.whole = kept.add(chunk)
                if not kept.whole:
                    break
        except Exception:  # noqa: BLE001 - as above
            kept.whole = False
        except GeneratorExit:
            raise
        except BaseException:
            await _close_shielded(response)
            raise
        await response.stream.aclose()  # type: ignore[union-attr]
        kept.put_into(response)


async def _renew(credential: RenewableCredential | None, request: httpx.Request) -> None:
    if credential is not None:
        await credential.renew_async(request)


async def _close_shielded(response: httpx.Response) -> None:
    with async_library.shield():
        await response.stream.aclose()  # type: ignore[union-attr]


def _end_before(timeouts: Any, left: float) -> bool:
    """Return whether all timeouts of a request end within so many seconds."""
    try:
        return len(timeouts) == len(TIMEOUTS) and max(timeouts.values()) <= left
    except TypeError:  # one is None
        return False
