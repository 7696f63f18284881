"""What a session of httpx is given as `auth`, as an auth object of httpx, and within the deadline of its call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import anyio
import httpx
from requests.auth import AuthBase

from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import TimeSource

_WANTED = (
    "expected a (user, password) tuple or an auth object, such as polvo.auth.bearer(token), polvo.auth.OAuth2(...) "
    "or an httpx.Auth"
)


def as_httpx_auth(value: Any) -> Any:
    """Return what httpx can use as `auth`, or raise TypeError, which shows nothing of it.

    An auth object of this package, which sessions of `requests` may use at the same time, gives its side for httpx.
    """
    if value is None or isinstance(value, httpx.Auth):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        if None in value:
            raise TypeError("auth: user or password is None; is the environment variable set that it is read from?")
        return value
    if isinstance(value, type):
        raise TypeError(f"auth: {_WANTED}, not the class {value.__name__}")
    make = getattr(value, "httpx", None)
    if callable(make):
        return make()
    if isinstance(value, AuthBase):
        raise TypeError(f"auth: a {type(value).__name__} is for requests only; {_WANTED}")
    if not callable(value):
        raise TypeError(f"auth: {_WANTED}, not {type(value).__name__}")
    return value


class AuthWithin(httpx.Auth):
    """An auth object each of whose steps ends with a deadline, such as the wait for a token.

    Args:
        auth: The auth object.
        deadline: The deadline, on the clock.
        clock: Time.
    """

    requires_request_body = requires_response_body = False  # the flow below looks after both

    def __init__(self, auth: httpx.Auth, deadline: float, clock: TimeSource) -> None:
        self._auth, self._deadline, self._clock = auth, deadline, clock

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorize a request as the auth object does, and wait for it no longer than to the deadline."""
        flow = self._auth.async_auth_flow(request)
        try:
            asked = await self._wait(anext(flow))
            while True:
                response = yield asked
                asked = await self._wait(flow.asend(response))
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def _wait(self, step: Awaitable[httpx.Request]) -> httpx.Request:
        with anyio.move_on_after(self._deadline - self._clock.now()):
            return await step
        raise DeadlineExceeded("the deadline is over, and there is no credential yet; allow a longer deadline")

    def __repr__(self) -> str:
        return f"<AuthWithin of {type(self._auth).__name__}>"
