"""Fixtures that every test may use, and which tests are slow."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from polvo_adapters.testing import FailureServer, VirtualClock

pytest_plugins = ["tests.support.leaping_clock", "tests.support.oauth.fixtures", "tests.support.secret_fixtures"]

# A process that a shell starts in the background ignores SIGINT, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no defect of the code.
settings.register_profile("polvo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("polvo")


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are processors: a third of the time, tests wait for servers."""
    usable = getattr(os, "sched_getaffinity", None)
    return (len(usable(0)) if usable is not None else os.cpu_count() or 1) + 1


HERE = Path(__file__).parent
SLOW = (
    "auth/attach/test_redirects.py",
    "auth/attach/test_refused.py",
    "auth/protocol/test_hostile.py",
    "auth/test_jwt_login.py",
    "auth/test_leaks.py",
    "auth/test_oauth.py",
    "auth/test_vendors.py::test_every_fact",
    "auth/tokens/test_processes.py",
    "auth/tokens/test_shared_refresh.py::test_a_",
    "auth/tokens/test_sharing.py",
    "auth/tokens/test_token_tenants.py",
    "benchmarks/",
    "cli/test_demo.py",
    "compose/test_worlds.py::test_any_scene_is_the_same_everywhere",
    "headers/test_structured.py",
    "interop/",
    "policies/breaker/test_breaker.py::Test",
    "policies/bulkhead/test_bulkhead.py::TestSlots",
    "policies/ratelimit/test_pacing.py",
    "policies/test_gates.py::test_whatever_happens_nothing_stays_taken",
    "policies/test_hedge.py::test_the_99th_percentile",
    "refresh/test_lifecycle_properties.py",
    "secrets/providers/test_aws.py",
    "secrets/providers/test_vault.py",
    "services/double_o/test_recorded.py",
    "shells/httpx/test_feature_table.py::test_a_row_is_true",
    "shells/httpx/test_trio_cancellation.py",
    "shells/httpx/test_wire.py::test_fault",
    "shells/httpx/test_wire_deadline.py::test_the_deadline_holds",
    "shells/requests/test_breaker_threads.py",
    "shells/requests/test_bulkhead_threads.py",
    "shells/requests/test_exchange.py",
    "shells/requests/test_idempotency_killed.py",
    "shells/requests/test_pool_limits.py::test_sockets",
    "shells/requests/test_ratelimit_threads.py",
    "shells/requests/test_replay_matrix.py",
    "shells/requests/test_tenancy.py::TestPrecedence",
    "shells/requests/wire/test_wire_addresses.py",
    "shells/requests/wire/test_wire_deadline.py",
    "shells/requests/wire/test_wire_foreign.py",
    "shells/requests/wire/test_wire_interrupted.py",
    "shells/requests/wire/test_wire_matrix.py",
    "stores/test_token_cache.py::test_every_write_is_seen",
    "stores/test_token_cache.py::test_no_damage",
    "stores/test_token_cache_processes.py",
    "test_docs.py",
    "testing/test_crowd.py",
    "testing/test_overload.py",
    "testing/test_server.py",
    "testing/test_simulation.py::test_a_thousand_overlapping_calls",
)
"""Folders, modules and tests that take long: many cases, processes of their own, simulations, searches for a case."""
SLOW_FIXTURES = frozenset({"aws", "bao_process", "oidc_process", "oidc_tls_process"})
"""Servers that are processes of their own, and need what only the extra `test` or npm brings."""
NEEDED = {
    "interop/test_mock_libraries.py": "betamax",
    "interop/sdks/test_sdk_table.py": "pynetbox",
    "interop/test_sdk_auth.py": "docker",
    "interop/test_sdks.py": "docker",
    "secrets/providers/test_aws.py": "boto3",
    "services/double_o/test_recorded.py": "oo",
}
"""Modules that cannot be imported without a library of the extra `test`."""

# The build has all of them, or fails.
collect_ignore = [path for path, library in NEEDED.items() if not os.environ.get("CI") and find_spec(library) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests."""
    unsteady = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unsteady:  # pytest-xdist gives up, as its workers have different tests
        raise pytest.UsageError(f"a test is named by an address, which differs from run to run: {unsteady[0]}")
    for item in items:
        name = item.nodeid.removeprefix(f"{HERE.name}/")
        if name.startswith(SLOW) or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server
