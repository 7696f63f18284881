"""The transport that a transport of ours sends through: what can be one, and how it does not retry a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.shells.bound_policies import PolicyControls


def view_without_retries(transport: Any, policies: Sequence[Policy]) -> Any:
    """Return the wrapped transport, or where policies retry a view on it whose policies do not."""
    if retry_place(policies) is None or not _has_policies(transport):
        return transport
    twin: Any = object.__new__(type(transport))
    twin.__dict__.update(transport.__dict__)
    place = retry_place(transport.policies)
    if place is not None:
        twin.policies = (*transport.policies[:place], *transport.policies[place + 1 :])
        twin._bound = transport._bound.with_policies(twin.policies)
    twin._below = view_without_retries(transport.inner, policies)
    return twin


def _has_policies(transport: Any) -> bool:
    return isinstance(transport, PolicyControls) and hasattr(transport, "_below")


def require_inner(transport: object, inner: Any, method: str, keywords: dict[str, Any]) -> None:
    """Raise TypeError where a transport cannot send through what it is given."""
    name = type(transport).__name__
    policies = [keyword for keyword in keywords if keyword in StackOptions.__annotations__]
    if policies:
        resilient = name.replace("Policy", "Resilient")
        raise TypeError(f"{name}: {policies[0]} is a keyword of {resilient}, or a policy to give without a keyword")
    if inner is None:
        return
    if isinstance(inner, type) or not callable(getattr(inner, method, None)):
        raise TypeError(f"{name}: inner must be a transport with {method}, not {inner!r}")
    if keywords:
        raise TypeError(f"{name}: {', '.join(keywords)} belong to the transport given as inner")
