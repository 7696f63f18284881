"""How an asynchronous session sends: one deadline, one tenant and one set of settings for all that is of one call."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from polvo_adapters.context.call import LogicalCall, call_started, current_call
from polvo_adapters.context.one_call import call as one_call
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import PolvoError
from polvo_adapters.shells.error_notes import explain_error
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.given_auth import AuthWithin
from polvo_adapters.shells.httpx.json_errors import explain_json
from polvo_adapters.shells.httpx.messages import ResponseView, read_content
from polvo_adapters.shells.httpx.session_keywords import (
    CALL_OPTIONS,
    DEFAULT,
    OF_SENDING,
    REQUEST_KEYWORDS,
    as_timeout,
    find_longest,
    find_longest_part,
    refuse_unknown,
)
from polvo_adapters.shells.httpx.session_requests import SessionRequests
from polvo_adapters.shells.httpx.session_transport import SessionTransport
from polvo_adapters.shells.httpx.streaming import is_streamed, mark_as_streamed, unmark
from polvo_adapters.shells.httpx.verbs import RequestOptions
from polvo_adapters.shells.session_calls import make_key_header
from polvo_adapters.shells.status_error import find_verdict, raises, status_error
from polvo_adapters.shells.tracebacks import drop_frames

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Unpack

    from polvo_adapters.core.report import Report
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.shells.downloads import OnChange

_HTTPX_LOG = logging.getLogger("httpx")
_LARGEST_ERROR = 1 << 16  # bytes of a streamed error that are read for its message


class SessionSending(SessionRequests):
    """What an asynchronous session does to send a request, and with the response."""

    raise_for_status: bool
    _shown_as = ""  # in messages, where it is not the name of the class
    _longest: float
    _seen_timeout: httpx.Timeout | None
    _policy_transport: SessionTransport

    def _require_open(self, request: httpx.Request | None) -> None:
        """Raise an error where the session cannot send."""
        raise NotImplementedError

    def _find_keys(self, url: httpx.URL) -> IdempotencyKeys | None:
        """Return the policy of idempotency keys for a URL, or None."""
        raise NotImplementedError

    async def request(self, method: str, url: httpx.URL | str, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a request; keywords as for `httpx.AsyncClient.request`, `url` relative to `base_url`.

        There are more keywords: `idempotency_key`, for the key of the operation where the session has `idempotency`,
        and those of `polvo_adapters.call`, such as `retry=False`, for what is said for this call alone.

        Returns:
            The response; its `polvo`, and `extensions["polvo"]`, is the report of the call.

        Raises:
            httpx.HTTPError: As httpx does.
            RateLimitError: 429 or another error for want of quota, after all retries.
            QuotaExceededError: The quota of a plan is used up; at once.
            DeadlineExceeded: The deadline is over.
            StatusError: Any status of 400 or above, with `raise_for_status`.
            ConfigurationError: The tenant is missing or does not fit into the request; or the session has no
                `idempotency`, or the key cannot be sent; or the session is that of another event loop.
            SessionClosedError: The session is closed.
        """
        return await self._call(method, url, {**keywords}, stream=False)

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx.URL | str, **keywords: Unpack[RequestOptions]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and leave the body of the response to the block; keywords and errors as for `request`."""
        response = await self._call(method, url, {**keywords}, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _call(self, method: str, url: Any, keywords: dict[str, Any], *, stream: bool) -> httpx.Response:
        if not REQUEST_KEYWORDS.issuperset(keywords):
            said: Any = {name: keywords.pop(name) for name in CALL_OPTIONS & keywords.keys()}
            if said:
                with one_call(**said):
                    return await self._call(method, url, keywords, stream=stream)
            refuse_unknown(keywords, self._shown_as or type(self).__name__)
        key = keywords.pop("idempotency_key", None)
        sending = {name: keywords.pop(name) for name in OF_SENDING & keywords.keys()}
        timeout = as_timeout(keywords.get("timeout", DEFAULT))
        try:
            with self._tenant_scope(), self._call_scope(self._longest_of(timeout), begins=True):
                request = self.build_request(method, url, **keywords)
                if key is not None:
                    given = httpx.Headers(keywords.get("headers"))
                    request.headers.update(make_key_header(self._find_keys(request.url), key, given))
                return await self.send(request, stream=stream, **sending)
        except PolvoError as error:
            httpx_error(error, error.request)  # type: ignore[arg-type]  # of what comes before there is none
            raise
        except httpx.HTTPError as error:
            drop_frames(error)
            raise

    def _longest_of(self, timeout: Any) -> float:
        """Return the longest time that one phase of an attempt may take."""
        if timeout is not DEFAULT:
            return find_longest(timeout)
        if self._timeout is not self._seen_timeout:
            self._longest, self._seen_timeout = find_longest(self._timeout), self._timeout
        return self._longest

    async def send(
        self, request: httpx.Request, *, stream: bool = False, auth: Any = DEFAULT, follow_redirects: Any = DEFAULT
    ) -> httpx.Response:
        """Send a request as it is; see `httpx.AsyncClient.send`, and `request` for what it raises."""
        self._require_open(request)
        if stream:
            mark_as_streamed(request)
        else:
            unmark(request)
        response: httpx.Response
        outer = current_call()
        begins = outer is not None and outer.session is self and outer.sent  # such as one that a hook sends
        try:
            if outer is not None and outer.session is self and not begins:
                call_started.set(new_tuple(LogicalCall, (*outer[:3], True, *outer[4:])))  # until the call is over
                response = await self._send_alone(request, current_tenant(), stream, auth, follow_redirects)
            else:
                timeouts = request.extensions.get("timeout")
                longest = self._longest_of(DEFAULT) if timeouts is None else find_longest_part(timeouts.values())
                with self._tenant_scope() as tenant, self._call_scope(longest, sent=True, begins=begins):
                    response = await self._send_alone(request, tenant, stream, auth, follow_redirects)
        except PolvoError as error:
            httpx_error(error, request)
            raise
        except httpx.HTTPError as error:
            if type(error) is httpx.TooManyRedirects:  # of which no transport knows
                explain_error(error, error.request, None)
            drop_frames(error, keeps_first=True)
            raise
        body = read_content(response)
        if body is not None:
            explain_json(response, body)
        return response

    async def _send_alone(
        self, request: httpx.Request, tenant: str, stream: bool, auth: Any, follow_redirects: Any
    ) -> httpx.Response:
        chosen = self._choose_auth(request, auth, tenant)
        response = await super().send(request, stream=stream, auth=chosen, follow_redirects=follow_redirects)
        _show_report(response)
        if response.status_code >= 400:
            await self._judge(response)
        return response

    async def _send_handling_auth(
        self, request: httpx.Request, auth: httpx.Auth, follow_redirects: bool, history: list[httpx.Response]
    ) -> httpx.Response:
        if type(auth) is not httpx.Auth:
            return await super()._send_handling_auth(request, auth, follow_redirects, history)
        return await self._send_handling_redirects(request, follow_redirects, history)  # there is none

    async def _send_single_request(self, request: httpx.Request) -> httpx.Response:
        # What httpx does here is to log the call and to look after a body that is still to be read.
        transport = self._transport_for_url(request.url)
        if transport is not self._policy_transport or is_streamed(request) or not _is_quiet(request):
            return await super()._send_single_request(request)
        try:
            response = await self._policy_transport.handle_async_request(request)
        except httpx.RequestError as error:
            error.request = request
            raise
        if not response.is_closed:
            await response.aread()
        self._cookies.extract_cookies(response)
        response.default_encoding = self._default_encoding
        return response

    async def _judge(self, response: httpx.Response) -> None:
        """Raise the error that a response with an error status stands for, if it is one here."""
        report: Report | None = response.extensions.get("polvo")
        verdict = None if report is None else report.verdict
        if verdict is None:
            verdict = find_verdict(ResponseView(response))
        if raises(response.status_code, verdict, raise_for_status=self.raise_for_status):
            await _finish(response)
            error: Any = status_error(ResponseView(response), verdict)
            error.response = response
            try:
                raise httpx_error(error, response.request)
            finally:
                del error  # see errors.py, "Errors and frames"

    def _choose_auth(self, request: httpx.Request, auth: Any, tenant: str) -> httpx.Auth | None:
        """Return the auth object for a request, which waits no longer than the deadline of the call."""
        if auth is DEFAULT:
            auth = self._auth
            if auth is not None and self._base is not None and not self._is_home(request.url, tenant):
                return None
        else:
            auth = self._build_auth(auth)
        if auth is None or type(auth).__module__.startswith("httpx."):
            found: httpx.Auth | None = auth
            return found
        logical = current_call()
        deadline = None if logical is None else logical.deadline
        return auth if deadline is None else AuthWithin(auth, deadline, self.clock)

    async def download(
        self,
        url: httpx.URL | str,
        path: str | os.PathLike[str],
        *,
        on_change: OnChange = "restart",
        progress: Callable[[int, int | None], object] | None = None,
        **keywords: Unpack[RequestOptions],
    ) -> Path:
        """Download a URL to a file, which appears once it is whole, or not at all; as `polvo.Session` does.

        The file is written on another thread. A download that is cancelled keeps what has come, as one that fails.

        Args:
            url: The URL, relative to `base_url` where there is one.
            path: The file, which is replaced where it exists; or a directory, in which it gets the name at the end of
                the URL. One that is named with a slash at its end is made where it is missing.
            on_change: "restart" to begin anew where the entity changes while it is downloaded, or has changed since the
                call that left its beginning; "fail" to raise.
            progress: A function, or a coroutine function, that is called with the number of bytes that are there, and
                of those that there will be, which is None where the server does not say. What it raises ends the
                download.
            **keywords: Those of `get`; `resume=False` for one that does not go on.

        Returns:
            The path of the file.

        Raises:
            httpx.HTTPError: As `get` does, and where the body breaks off and does not go on.
            StatusError: The status is 400 or above, or another that comes without a file.
            EntityChangedError: The entity has changed, and `on_change` is "fail"; or it changes again and again.
            ConfigurationError: The path is a directory, and the URL does not end in a name.
            OSError: The file cannot be written.
        """
        from polvo_adapters.shells.httpx.download import download

        given: dict[str, Any] = {"resume": True, **keywords}
        headers = given.pop("headers", None)

        def get(headers: httpx.Headers) -> Awaitable[httpx.Response]:
            return self._call("GET", url, {**given, "headers": headers}, stream=True)

        try:
            with self._tenant_scope() as tenant, self._call_scope(None):  # each part has its own default deadline
                absolute = self._make_absolute(str(url), tenant)
                options: Any = {"on_change": on_change, "progress": progress, "headers": headers}
                return (await download(get, _finish, self.clock, absolute, path, **options)).path
        except PolvoError as error:
            httpx_error(error, error.request)  # type: ignore[arg-type]
            raise


def _is_quiet(request: httpx.Request) -> bool:
    """Return whether httpx logs no calls, and the body of a request is one that a task can send."""
    return type(request.stream) is httpx.ByteStream and not _HTTPX_LOG.isEnabledFor(logging.INFO)


def _show_report(response: httpx.Response) -> None:
    """Put the reports on the response and on the redirects before it, where those of `requests` have them."""
    for each in (*response.history, response):
        report = each.extensions.get("polvo")
        if report is not None:
            each.polvo = report  # type: ignore[attr-defined]


async def _finish(response: httpx.Response) -> None:
    """Read the body of an error that is streamed, if it is short, and close the response."""
    if response.is_stream_consumed or read_content(response) is not None:
        return
    length = response.headers.get("content-length", "")
    try:
        if length.isdecimal() and int(length[:20]) <= _LARGEST_ERROR:
            await response.aread()
    except httpx.HTTPError:
        pass  # the error says what it can without
    finally:
        await response.aclose()
