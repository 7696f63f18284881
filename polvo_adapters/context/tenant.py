"""The tenant on whose behalf the current thread or task makes its calls."""

from __future__ import annotations

import unicodedata
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

from polvo_adapters.context.decoration import AnyFunction, run_within
from polvo_adapters.errors import ConfigurationError

_LONGEST = 255  # characters of a tenant's name
_LONGEST_IN_MESSAGE = 60
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of characters, separators of lines and paragraphs


class TenantScope:
    """A block of code whose calls are made on behalf of a tenant; `tenant` and `Session.tenant` make it.

    It is a context manager that may be entered repeatedly, within itself, and in any number of threads and tasks, and a
    decorator of functions and coroutine functions.

    Args:
        name: The validated name of the tenant; an empty string for none.
        session: The session that it is for, or None for all.
        call: Whether it is one call of that session, so that `current_tenant` returns its tenant.
    """

    __slots__ = ("call", "name", "session")

    def __init__(self, name: str, session: object = None, *, call: bool = False) -> None:
        self.name = name
        self.session = session
        self.call = call

    def __enter__(self) -> str:
        tenant_blocks.set((*tenant_blocks.get(), self))
        return self.name

    def __exit__(self, *_: object) -> None:
        blocks = tenant_blocks.get()
        for index in range(len(blocks) - 1, -1, -1):
            if blocks[index] is self:
                tenant_blocks.set(blocks[:index] + blocks[index + 1 :])
                return

    def __call__(self, function: AnyFunction) -> AnyFunction:
        """Return a function whose calls are made on behalf of the tenant.

        Raises:
            TypeError: It is a generator function, which runs when its result is iterated, outside of the block.
        """
        return run_within(self, function, "a generator function cannot be for a tenant")

    def __repr__(self) -> str:
        return f"<tenant {self.name!r}>"


tenant_blocks: ContextVar[tuple[TenantScope, ...]] = ContextVar("tenants", default=())
"""The blocks that the current thread or task is in, the innermost last."""


def tenant(identifier: str | int) -> TenantScope:
    """Make all calls within a `with` block, by any session, adapter or transport, on behalf of a tenant.

    The block holds in its thread or task only. Tasks that it starts inherit it; threads that it starts do not, unless
    they are given a copy of the context (`contextvars.copy_context().run`, `asyncio.to_thread`).

    Args:
        identifier: Name or number of the tenant, at most 255 characters. It is no secret: reports and messages show it.

    Returns:
        A context manager that is also a decorator.

    Raises:
        ConfigurationError: It cannot be the name of a tenant.
    """
    return TenantScope(validate_tenant(identifier))


def current_tenant() -> str:
    """Return the tenant on whose behalf a call would be made or is being made, or an empty string.

    `Session.set_tenant` and `Session.tenant` count while that session makes a call, so that auth objects, hooks and
    adapters see its tenant.
    """
    blocks = tenant_blocks.get()
    if blocks:
        for block in reversed(blocks):
            if block.session is None or block.call:
                return block.name
    return ""


def tenant_scope_for(session: object, otherwise: str, *, required: bool = False) -> AbstractContextManager[str]:
    """Return the context of a call of a session, or of a part of the call that it is making.

    Args:
        session: The session.
        otherwise: The tenant if there is no block for the session.
        required: Whether a call without a tenant is an error.

    Raises:
        ConfigurationError: There is no tenant, and one is required.
    """
    blocks = tenant_blocks.get()
    if blocks and blocks[-1].call and blocks[-1].session is session:
        return nullcontext(blocks[-1].name)
    name = otherwise
    for block in reversed(blocks):
        if block.session is None or block.session is session:
            name = block.name
            break
    if not name and required:
        raise ConfigurationError(
            "there is no tenant, and Tenancy(required=True) wants one; call within `with session.tenant(...)`, "
            "nothing was sent"
        )
    return TenantScope(name, session, call=True)


def validate_tenant(identifier: str | int) -> str:
    """Return the name of a tenant as text.

    Raises:
        ConfigurationError: It is neither text nor a whole number, empty, too long, or has control characters.
    """
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        # Not by `str`, which returns the name of a member of an enumeration.
        name = int.__repr__(identifier) if identifier.bit_length() <= 4 * _LONGEST else "9" * (_LONGEST + 1)
    elif isinstance(identifier, str):
        name = str.__str__(identifier)
    else:
        raise ConfigurationError(f"tenant: expected text or a whole number, not {type(identifier).__name__}")
    if not name:
        raise ConfigurationError("tenant '': a tenant must have a name; to be without one, use no block")
    if len(name) > _LONGEST:
        raise unfit_tenant_error(name, f"a tenant's name may have {_LONGEST} characters at most")
    if any(unicodedata.category(character) in _UNFIT for character in name):
        raise unfit_tenant_error(name, "a tenant's name must not have control characters")
    return name


def unfit_tenant_error(name: str, reason: str) -> ConfigurationError:
    """Return the error for a tenant whose name cannot be used."""
    shown = repr(name) if len(name) <= _LONGEST_IN_MESSAGE else f"{name[:_LONGEST_IN_MESSAGE]!r}..."
    return ConfigurationError(f"tenant {shown}: {reason}; nothing was sent")
