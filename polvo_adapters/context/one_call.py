"""What the code around a call says for that call alone: `with polvo.call(retry=False):`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.context.call import call_settings
from polvo_adapters.context.decoration import AnyFunction, run_within
from polvo_adapters.policies.one_call import CallOptions, CallSettings, parse

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CallScope:
    """A block of code for whose calls something is said; `call` makes it.

    It is a context manager that may be entered repeatedly, within itself, and in any number of threads and tasks, and a
    decorator of functions and coroutine functions.

    Args:
        settings: What is said.
    """

    __slots__ = ("settings",)

    def __init__(self, settings: CallSettings) -> None:
        self.settings = settings

    def __enter__(self) -> None:
        call_settings.set(_Entered(self, call_settings.get()))

    def __exit__(self, *_: object) -> None:
        # Not by a token, which is of no use in another context or out of order, as at the end of a generator.
        call_settings.set(_leave(self, call_settings.get()))

    def __call__(self, function: AnyFunction) -> AnyFunction:
        """Return a function for whose calls it is said.

        Raises:
            TypeError: It is a generator function, which runs when its result is iterated, outside of the block; or an
                idempotency key is said, which is for one operation.
        """
        if self.settings.operation is not None:
            raise TypeError("an idempotency_key is for one operation, and a function may be called again; use `with`")
        return run_within(self, function, "nothing can be said for a generator function")

    def __repr__(self) -> str:
        return f"<call {', '.join(self.settings.said)}>"


class _Entered(CallSettings):
    """What holds within a block: what it says, and what is said around it."""

    __slots__ = ("outer", "scope")

    def __init__(self, scope: CallScope, outer: CallSettings | None) -> None:
        super().__init__(scope.settings.within(outer).said)
        self.scope, self.outer = scope, outer


def _leave(scope: CallScope, current: CallSettings | None) -> CallSettings | None:
    """Return what holds once the innermost entry of a block is over."""
    if not isinstance(current, _Entered):
        return current
    if current.scope is scope:
        return current.outer
    outer = _leave(scope, current.outer)
    return current if outer is current.outer else _Entered(current.scope, outer)


def call(**options: Unpack[CallOptions]) -> CallScope:
    """Say something for all calls within a `with` block, by any session, adapter or transport of this library.

    The block holds in its thread or task only. Tasks that it starts inherit it; threads that it starts do not, unless
    they are given a copy of the context (`contextvars.copy_context().run`, `asyncio.to_thread`). Within another block
    the inner one wins, keyword by keyword. Calls that a call makes for itself do not inherit it: the refresh of a
    token, the fetch of a secret, those of the iterator of a body.

    Args:
        **options: What is said; see `polvo_adapters.policies.one_call.CallOptions`.

    Returns:
        A context manager that is also a decorator.

    Raises:
        TypeError: A keyword is unknown, or a value is of no known kind.
        ValueError: A value is out of range.
        ConfigurationError: A label cannot be one.
    """
    return CallScope(parse(options))
