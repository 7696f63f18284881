"""Downloads to files by an asynchronous session; see `polvo_adapters.shells.downloads`.

Theory of operation. The disk may take its time: a full cache, a network file system, above all the end, when the whole
file is written out. So all work on the file runs on a thread of its own, in order, and the event loop goes on. Bytes go
there in blocks of 64 KiB, because the way to the thread and back costs more than a small chunk. While one block is
written, the next is read. A slow body is written four times a second.

A task that is cancelled lets the thread finish what it writes, and leaves the file as any other error does: what has
come is kept where a later download can go on from it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from polvo_adapters.core.ranges import content_length
from polvo_adapters.errors import PolvoError
from polvo_adapters.runtime.loops import wait_for, wait_shielded
from polvo_adapters.runtime.serial_thread import SerialThread
from polvo_adapters.shells.downloads import Download, DownloadJob, OnChange, Progress
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.messages import ResponseView
from polvo_adapters.shells.httpx.resuming_body import EARLY_END, find_progress
from polvo_adapters.shells.status_error import status_error

if TYPE_CHECKING:
    from polvo_adapters.runtime.clock import TimeSource

T = TypeVar("T")
Get = Callable[..., Awaitable[httpx.Response]]

_BLOCK = 1 << 16  # bytes
_LONGEST = 0.25  # seconds for which bytes are gathered
_STILL_WAITED = 5.0
"""Seconds for which a task that was cancelled waits until its file is closed; the thread goes on after that."""


async def download(
    get: Get,
    read_error: Callable[[httpx.Response], Awaitable[object]],
    clock: TimeSource,
    url: str,
    path: str | os.PathLike[str],
    *,
    on_change: OnChange = "restart",
    progress: Progress | None = None,
    headers: Any = None,
) -> Download:
    """Download a URL to a file; see `polvo_adapters.AsyncSession.download`.

    Args:
        get: Sends a request for the URL with some headers, and returns the response, unread.
        read_error: Reads the body of an error, as far as its message needs it.
        clock: Time.
        url: The absolute URL.
        path: The file, or a directory to put it in.
        on_change: What to do where the entity changes while it is downloaded.
        progress: A function, or a coroutine function, that is called with the number of bytes that have come, and of
            those that there will be, or None where that is not known.
        headers: The headers that the caller gives.
    """
    file = _FileThread()
    job = await file.open(partial(DownloadJob, url, path, on_change, progress, make_status_error))
    try:
        response = await _AsyncDownload(job, file, get, read_error, clock, headers).run()
        return await file.run(partial(job.finish, response))
    except BaseException as error:
        of_disk = isinstance(error, OSError) and not isinstance(error, (httpx.HTTPError, PolvoError))
        await file.close(partial(job.keep_for_later, error, of_disk=of_disk), error)
        raise


class _FileThread:
    """The thread of one file."""

    def __init__(self) -> None:
        self._thread = SerialThread()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what some work returns, which runs after all that came before."""
        future = self._thread.submit(work)
        await wait_for(future)
        return _take(future)

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Run some work after all that came before, and return a future of its result."""
        return self._thread.submit(work)

    async def open(self, make: Callable[[], DownloadJob]) -> DownloadJob:
        """Return a job; where the task is cancelled meanwhile, its file is closed as soon as it is there."""
        future = self._thread.submit(make)
        try:
            await wait_for(future)
        except BaseException as error:
            await self.close(lambda: None if future.exception() else future.result().partial.keep(), error)
            raise
        return _take(future)

    async def close(self, work: Callable[[], object], error: BaseException) -> None:
        """Run the last work, and wait for it; where the task was cancelled, `_STILL_WAITED` seconds at most."""
        future = self._thread.submit(work)
        try:
            if isinstance(error, Exception):
                await wait_for(future)
            elif not isinstance(error, GeneratorExit):  # then the loop is gone, and nothing can be waited for
                await wait_shielded(future, _STILL_WAITED)
        finally:
            del error, work  # see errors.py, "Errors and frames"


def _take(future: Future[T]) -> T:
    try:
        return future.result()
    finally:
        del future  # see errors.py, "Errors and frames"


class _AsyncDownload:
    """One download in a task."""

    def __init__(
        self,
        job: DownloadJob,
        file: _FileThread,
        get: Get,
        read_error: Callable[[httpx.Response], Awaitable[object]],
        clock: TimeSource,
        headers: Any,
    ) -> None:
        self._job, self._file, self._get, self._read_error = job, file, get, read_error
        self._clock, self._headers = clock, headers
        self._gathered = bytearray()
        self._writing: Future[None] | None = None

    async def run(self) -> httpx.Response:
        """Download until the file is whole, and return the last response."""
        job = self._job
        while True:
            headers = httpx.Headers(self._headers)
            await self._file.run(partial(job.prepare, headers))
            response = await self._get(headers)
            try:
                try:
                    if response.status_code >= 400:
                        await self._read_error(response)
                    if await self._file.run(partial(job.take_up, response)):
                        await self._write(response)
                        return response
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                progress = find_progress(response)
                unproved = None if progress is None else progress.unproved
                if not await self._file.run(partial(job.goes_on, response, error, unproved)):
                    raise

    async def _write(self, response: httpx.Response) -> None:
        """Write the body of a response to the file."""
        await self._report_progress()
        written, since = 0, self._clock.now()
        try:
            async for piece in response.aiter_bytes():
                self._gathered += piece
                written += len(piece)
                if len(self._gathered) >= _BLOCK:
                    await self._write_next()
                    since = self._clock.now()
                elif self._clock.now() - since >= _LONGEST:
                    await self._flush()
                    since = self._clock.now()
            self._require_whole(response, written)
        except httpx.TransportError as error:
            if self._job.writes_parts:
                await self._flush()
            error.polvo = response.extensions.get("polvo")  # type: ignore[attr-defined]
            raise
        except BaseException:
            if self._job.writes_parts:
                self._begin_write()  # before the file is closed
            raise
        await self._flush()

    async def _flush(self) -> None:
        """Write what is gathered, and wait for that."""
        await self._write_next()
        await self._finish_write()

    async def _write_next(self) -> None:
        """Let the thread write what is gathered, once it has written what was gathered before."""
        await self._finish_write()
        if self._gathered:
            self._begin_write()

    def _begin_write(self) -> None:
        block, self._gathered = self._gathered, bytearray()
        self._writing = self._file.begin(partial(self._job.partial.write, block))

    async def _finish_write(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await wait_for(writing)
            _take(writing)
            await self._report_progress()

    async def _report_progress(self) -> None:
        reported = self._job.report_progress()
        if inspect.isawaitable(reported):
            await reported

    def _require_whole(self, response: httpx.Response, written: int) -> None:
        """Check that a body is as long as its response has said, for transports that do not."""
        length = content_length(response.headers)
        if length is not None and "content-encoding" not in response.headers and written < length:
            raise httpx.RemoteProtocolError(EARLY_END, request=response.request)


def make_status_error(response: httpx.Response) -> Exception:
    """Return the error for the status of a response."""
    error: Any = status_error(ResponseView(response))
    error.response = response
    return httpx_error(error, response.request)  # type: ignore[no-any-return]
