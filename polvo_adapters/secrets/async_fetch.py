"""Secrets in tasks of an event loop.

Theory of operation. A provider that blocks is asked on another thread, which all tasks share that need the value
(`polvo_adapters.refresh.beside`). One with an asynchronous side is asked in a task: the tasks of a loop that need a
value share one, which drives the same flow as threads do. The store of the Secret gives the right to fetch to one
caller, so that threads and other loops wait for it. A task that is cancelled leaves the fetch to the others. Under
trio, which has no tasks that outlive their callers, each caller drives the flow itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from polvo_adapters.context.call import LogicalCall, separate_call
from polvo_adapters.context.tenant import TenantScope
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.drivers.aio import ASYNC_SYSTEM, drive
from polvo_adapters.drivers.single_shot import make_outcome
from polvo_adapters.errors import PolvoError, SecretError
from polvo_adapters.refresh.beside import run_beside
from polvo_adapters.refresh.lifecycle import WantToken
from polvo_adapters.refresh.refresh_flow import FetchedToken
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.runtime.shared_call import copy_error
from polvo_adapters.secrets.provider import await_without_leak, fetch_error, find_async_fetch
from polvo_adapters.secrets.secret_fetch import SecretFetch

T = TypeVar("T")


async def fetch_current(secret: Any) -> Any:
    """Return the value of a secret that is not held, or is stale, without blocking the event loop."""
    if find_async_fetch(secret.source.provider) is None:
        held = secret.peek()
        return await run_beside(secret.flights, "get", secret.current) if held is None else held
    held = secret._held.get("")
    if held is None or secret._is_expired(held):
        refused = held.known.generation if held is not None and held.refused else 0
        return await _join(secret, WantToken(refused=refused))
    want = WantToken(refresh="stale")
    if not secret._background or async_library.find_trio() is not None:
        return await _join(secret, want)
    _tasks_of(secret).begin(want, partial(_refresh_ahead, secret, want))
    return held


async def fetch_after(secret: Any, held: Any) -> Any:
    """Return a later value than one that was refused, or None if it is still the same; as `Secret.after`."""
    if find_async_fetch(secret.source.provider) is None:
        return await run_beside(secret.flights, ("after", held.known.generation), partial(secret.after, held))
    current = secret._held.get("")
    if current is None or current.value == held.value:
        current = await _join(secret, WantToken(refused=held.known.generation))
    return None if current.value == held.value else current


async def _join(secret: Any, want: WantToken) -> Any:
    return await _tasks_of(secret).join(want, partial(_refresh, secret, want))


def _tasks_of(secret: Any) -> SharedTasks:
    if secret.tasks is None:
        secret.tasks = SharedTasks()
    tasks: SharedTasks = secret.tasks
    return tasks


async def _refresh(secret: Any, want: WantToken) -> Any:
    call, flow, may_renew = secret.begin_refresh(want)
    with TenantScope(""):
        clock = _clock_of(secret._clock)
        outcome = await drive(flow, AsyncSecretFetch(secret, may_renew), secret._store, clock, [], call)
    return secret.end_refresh("", outcome)


async def _refresh_ahead(secret: Any, want: WantToken) -> None:
    try:
        await _refresh(secret, want)
    except PolvoError as error:
        secret.say_failure(error)


async def _fetch(secret: Any, may_renew: bool) -> FetchedToken:
    """Ask the provider; what renews may block, and is called on a thread."""
    provider, name, field = secret.source
    ask = find_async_fetch(provider)
    if ask is None or (may_renew and hasattr(provider, "renew")):
        return await run_beside(secret.flights, object(), partial(secret._fetch, may_renew=may_renew))
    accepted: FetchedToken = secret.accept(await await_without_leak(ask(name, field), secret.translate))
    return accepted


class AsyncSecretFetch(SecretFetch):
    """The exchange of a refresh in a task: each attempt is one fetch."""

    broken_off = False

    async def send(self, effect: Send) -> Outcome:  # type: ignore[override]
        """Fetch the secret once."""
        secret, clock = self._secret, self._secret._clock
        started = clock.now()
        deadline = started + secret._deadline if effect.call.deadline is None else effect.call.deadline
        left, now = deadline - started, SYSTEM.now()
        try:
            with separate_call(LogicalCall(None, now, now + left)):
                fetched = await async_library.finish_within(left, _fetch(secret, self._may_renew))
        except async_library.Late:
            provider, name, _ = secret.source
            return self.fail(effect, started, deadline, fetch_error(provider.scheme, name, "timeout", "try again"))
        except SecretError as error:
            return self.fail(effect, started, deadline, error)
        return make_outcome(clock, started, response=fetched, status=200)

    async def discard(self) -> None:  # type: ignore[override]
        """Do nothing: there is no response to close."""


class AsyncClockOf:
    """A clock for tasks that shows the time of another one, and waits as the event loop does.

    Args:
        clock: The other clock.
    """

    def __init__(self, clock: Clock) -> None:
        self.now, self.wall, self.uniform = clock.now, clock.wall, clock.uniform

    sleep = staticmethod(async_library.sleep)
    wait = staticmethod(async_library.wait)


def _clock_of(clock: Clock) -> Any:
    return ASYNC_SYSTEM if clock is SYSTEM else AsyncClockOf(clock)


class SharedTasks:
    """The tasks in progress of one object, by event loop and by what they are for.

    It needs no lock: the tasks of a loop are looked up and made on its thread.
    """

    def __init__(self) -> None:
        self._tasks: dict[tuple[Any, Hashable], asyncio.Task[Any]] = {}

    async def join(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return what the task in progress returns, which is begun where there is none.

        Args:
            key: What it is for.
            make: Makes the coroutine of a new one.
        """
        if async_library.find_trio() is not None:
            return await make()
        task = self.begin(key, make)
        await asyncio.wait([task])
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            value: T = task.result()
            return value
        try:
            raise copy_error(error)
        finally:
            del error, task  # see errors.py, "Errors and frames"

    def begin(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Return the task in progress, or begin one; its exception is not logged where no caller waits for it."""
        place = (asyncio.get_running_loop(), key)
        task = self._tasks.get(place)
        if task is None or task.done():  # what is over is not in progress, though it is yet to be forgotten
            task = self._tasks[place] = asyncio.ensure_future(make())
            task.add_done_callback(partial(self._forget, place))
        return task

    def _forget(self, place: tuple[Any, Hashable], task: asyncio.Task[Any]) -> None:
        if self._tasks.get(place) is task:
            del self._tasks[place]
        if not task.cancelled():
            task.exception()
