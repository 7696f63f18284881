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
    "adapters.installation": "shells.requests.install",
    "adapters.policy": "shells.requests.policy_adapter context.call",
    "adapters.resilient": "shells.requests.resilient_adapter",
    "adapters.single": "shells.requests.single_policy_adapters",
    "address": "shells.requests.urls",
    "auth.answered": "auth.attach.response_hook auth.attach.carrier",
    "auth.answers": "auth.protocol.server_response",
    "auth.aside": "refresh.background",
    "auth.authorization": "auth.protocol.authorization_code",
    "auth.cache": "stores.token_cache",
    "auth.client_authentication": "auth.protocol.client_authentication",
    "auth.content": "stores.token_cache",
    "auth.credential": "auth.attach.credential",
    "auth.device": "auth.protocol.device_code auth.device_login",
    "auth.discovery": "auth.protocol.discovery shells.requests.urls",
    "auth.dpop": "auth.protocol.dpop",
    "auth.files": "stores.private_files",
    "auth.fixed": "auth.static",
    "auth.flows": "auth.protocol.grant_flow",
    "auth.forms": "auth.protocol.form_encoding",
    "auth.grants": "auth.protocol.grants",
    "auth.httpx": "auth.httpx_auth",
    "auth.login": "auth.jwt_login_auth",
    "auth.places": "auth.tokens.storage_factory",
    "auth.proofs": "auth.protocol.dpop",
    "auth.refreshing": "auth.tokens.token_fetch",
    "auth.replay": "auth.attach.replay",
    "auth.sealing": "auth.tokens.sealing",
    "auth.sending": "shells.requests.one_shot",
    "auth.server": "auth.protocol.server",
    "auth.signing": "auth.protocol.jwt_signing",
    "auth.storage": "auth.tokens.token_storage",
    "auth.templates": "shells.requests.urls",
    "auth.token": "auth.protocol.token",
    "auth.token_auth": "auth.tokens.token_auth",
    "circuit": "shells.circuit_control",
    "cli.client": "cli.client_secret",
    "cli.forecast": "cli.probe_forecast",
    "cli.plan": "cli.demo_plan",
    "cli.records": "cli.token_records",
    "cli.trial": "cli.demo_trial",
    "clock": "runtime.clock",
    "connections": "shells.requests.watched_pools",
    "correlation": "context.correlation",
    "credentials": "shells.credential_digest",
    "drive.aio": "drivers.aio",
    "drive.deciding": "drivers.decisions drivers.exchange runtime.listeners",
    "drive.sim": "drivers.virtual",
    "drive.sync": "drivers.sync drivers.exchange",
    "drive.threads": "drivers.races runtime.workers",
    "elsewhere": "shells.requests.rerouting core.http",
    "events": "core.report",
    "exchange": "shells.requests.exchange",
    "exchange_httpx": "shells.httpx.exchange",
    "explain": "shells.error_notes",
    "failures": "shells.requests.failures",
    "flow": "core.effects core.calls core.outcomes core.machines",
    "idempotency_key": "shells.request_identity",
    "keeping": "refresh.refresh_ahead drivers.single_shot",
    "loading": "runtime.lazy",
    "operation": "shells.operation_control",
    "policies.account": "policies.ratelimit.account",
    "policies.adaptive": "policies.ratelimit.adaptive",
    "policies.admission": "policies.ratelimit.turns",
    "policies.alternatives": "policies.fallback.alternatives core.http",
    "policies.budget": "policies.retry_budget policies.outcomes",
    "policies.circuits": "policies.breaker.state",
    "policies.concurrency": "policies.bulkhead.concurrency_limit",
    "policies.device": "auth.protocol.device_code",
    "policies.gate": "policies.gates",
    "policies.keyanswers": "policies.idempotency.key_responses",
    "policies.keys": "core.state_keys",
    "policies.lastgood": "policies.fallback.stale_cache core.http",
    "policies.latency": "policies.hedge_latency",
    "policies.pacing": "policies.ratelimit.pacing",
    "policies.pacing.credit": "policies.ratelimit.pacing.credit",
    "policies.pacing.learning": "policies.ratelimit.pacing.learning",
    "policies.pacing.state": "policies.ratelimit.pacing.state",
    "policies.races": "policies.outcomes",
    "policies.records": "policies.idempotency.record",
    "policies.refresh": "refresh.refresh_flow",
    "policies.token": "refresh.lifecycle",
    "policies.validate": "core.validate",
    "policies.window": "policies.breaker.windows",
    "response": "shells.requests.response core.http shells.body_closing",
    "secrets.aws": "secrets.providers.aws",
    "secrets.double_o": "secrets.providers.double_o",
    "secrets.environment": "secrets.providers.environment",
    "secrets.file": "secrets.providers.file",
    "secrets.function": "secrets.providers.function",
    "secrets.inherited": "secrets.chain",
    "secrets.keyring": "secrets.providers.keyring",
    "secrets.vault": "secrets.providers.vault",
    "services.cache": "services.double_o.cache",
    "services.checks": "services.double_o.checks",
    "services.double_o.operations": "services.double_o.calls",
    "services.environment": "services.double_o.env_files",
    "services.operations": "services.double_o.effects",
    "services.sending": "services.double_o.sending",
    "session": "shells.requests.session",
    "simulate": "testing.simulation.simulation testing.virtual_clock",
    "stores.database": "stores.sqlite_file",
    "stores.encoding": "stores.codec",
    "stores.outside": "stores.persistent",
    "stores.rows": "stores.sqlite_schema",
    "tenancy": "shells.requests.tenancy context.tenant",
    "testing.connection": "testing.server.connection",
    "testing.contract": "testing.server.message_endpoints",
    "testing.crowd": "testing.simulation.crowd",
    "testing.faults": "testing.server.faults",
    "testing.journal": "testing.server.journal",
    "testing.limits": "testing.limiters",
    "testing.messages": "testing.server.http_messages",
    "testing.overload": "testing.simulation.overload",
    "testing.quota": "testing.limiters",
    "testing.routes": "testing.server.routes",
    "testing.state": "testing.server.state",
    "testing.tokens": "testing.server.oauth_endpoints testing.server.issued_tokens",
    "verbs": "shells.requests.api",
}
"""Where the names of a module are now, most of them in the first."""

_RENAMED = {
    "auth.flows.Asking": "GrantFlow",
    "auth.places.Places": "TokenStorageFactory",
    "cli.records.Record": "TokenRecord",
    "events.Change": "StateChange",
    "policies.lastgood.LastGood": "StaleCache",
    "policies.token.TokenLife": "Lifecycle",
    "simulate.Fault": "ScriptedFailure",
    "simulate.Reply": "ScriptedReply",
    "testing.crowd.Client": "CrowdClient",
    "testing.crowd.Limited": "QuotaServer",
    "testing.limits.AlignedWindow": "AlignedWindowLimiter",
    "testing.limits.EstimatedWindow": "EstimatedWindowLimiter",
    "testing.limits.FixedWindow": "FixedWindowLimiter",
    "testing.limits.SlidingWindow": "SlidingWindowLimiter",
    "testing.limits.TokenBucket": "TokenBucketLimiter",
}
"""What public classes, and those that pickles name, are called now."""

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
        before = module.__name__.partition(".")[2]
        homes = _MOVED[before].split()

        def load(asked: str) -> Any:
            name = _RENAMED.get(f"{before}.{asked}", asked)
            for home in homes:
                found = importlib.import_module(f"{_PACKAGE}.{home}")
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {asked!r}; it is {', '.join(homes)} now")

        module.__getattr__ = load  # type: ignore[method-assign]


def install_finder() -> None:
    """Let the import system find modules that have moved, once it has found nothing else."""
    if MovedModuleFinder not in sys.meta_path:
        sys.meta_path.append(MovedModuleFinder)
