"""Modules that have moved: the paths that documentation named, and that pickles hold, keep working.

The finder is asked last, so that no other import pays for it. A pickle names the module of its classes; one that was
written before the modules moved into layers is read as before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MOVED = {
    "adapters.installation": ("shells.requests.install",),
    "adapters.policy": ("shells.requests.policy_adapter", "context.call"),
    "adapters.resilient": ("shells.requests.resilient_adapter",),
    "adapters.single": ("shells.requests.single_policy_adapters",),
    "auth.fixed": ("auth.static",),
    "auth.flows": ("auth.protocol.grant_flow",),
    "auth.login": ("auth.jwt_login_auth",),
    "auth.places": ("auth.tokens.storage_factory",),
    "auth.sealing": ("auth.tokens.sealing",),
    "auth.token": ("auth.protocol.token",),
    "circuit": ("shells.circuit_control",),
    "clock": ("runtime.clock",),
    "correlation": ("context.correlation",),
    "events": ("core.report",),
    "flow": ("core.effects", "core.calls", "core.outcomes", "core.machines"),
    "idempotency_key": ("shells.request_identity",),
    "operation": ("shells.operation_control",),
    "policies.alternatives": ("policies.fallback.alternatives",),
    "policies.budget": ("policies.retry_budget",),
    "policies.circuits": ("policies.breaker.state",),
    "policies.concurrency": ("policies.bulkhead.concurrency_limit",),
    "policies.gate": ("policies.gates",),
    "policies.lastgood": ("policies.fallback.stale_cache",),
    "policies.records": ("policies.idempotency.record",),
    "policies.token": ("refresh.lifecycle",),
    "policies.window": ("policies.breaker.windows",),
    "response": ("shells.requests.response",),
    "services.cache": ("services.double_o.cache",),
    "services.operations": ("services.double_o.effects",),
    "session": ("shells.requests.session",),
    "simulate": ("testing.simulation.simulation", "testing.virtual_clock"),
    "tenancy": ("shells.requests.tenancy", "context.tenant"),
    "testing.crowd": ("testing.simulation.crowd",),
    "testing.limits": ("testing.limiters",),
    "testing.overload": ("testing.simulation.overload",),
    "verbs": ("shells.requests.api",),
}
"""Where the names of a module are now, most of them in the first."""

_PACKAGE = __name__.rpartition(".")[0]


class MovedModuleFinder:
    """Finds a module of before: one whose names are looked up where they are now."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004 - the signature of a finder
        """Return the spec of a module that has moved, or None for any other."""
        package, _, short = name.partition(".")
        return ModuleSpec(name, MovedModuleFinder()) if package == _PACKAGE and short in _MOVED else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave it to the import system to make an empty module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Give the module a `__getattr__` (PEP 562)."""
        homes = _MOVED[module.__name__.partition(".")[2]]

        def load(name: str) -> Any:
            for home in homes:
                found = importlib.import_module(f"{_PACKAGE}.{home}")
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}; it is {', '.join(homes)} now")

        module.__getattr__ = load  # type: ignore[method-assign]


def install_finder() -> None:
    """Let the import system find modules that have moved, once it has found nothing else."""
    if MovedModuleFinder not in sys.meta_path:
        sys.meta_path.append(MovedModuleFinder)
