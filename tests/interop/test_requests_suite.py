"""The test suite of `requests` itself, run three ways: bare, on the drop-in face, and on the standard adapter.

What passes, fails or is skipped must be the same, test by test.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.foreign_suites import fetch_suite, list_failed, run_suite

# These four connect to an address of which they hope that nobody answers there. On a network that refuses it at
# once, or that has something there, they fail whatever the adapter does.
UNREACHABLE = [
    f"tests/test_requests.py::TestTimeout::{test}[timeout{number}]"
    for test in ("test_connect_timeout", "test_total_timeout_connect")
    for number in (0, 1)
]
OPTIONS = ["-c", "pyproject.toml", *(f"--deselect={test}" for test in UNREACHABLE)]


@pytest.fixture(scope="module")
def suite():
    return fetch_suite("requests")


@pytest.fixture(scope="module")
def bare(suite, tmp_path_factory):
    return run_suite(suite, tmp_path_factory.mktemp("bare"), "bare", options=OPTIONS)


def test_bare_suite_passes(bare):
    assert list_failed(bare) == []
    assert Counter(bare.values())["passed"] > 500


@pytest.mark.parametrize("face", ["drop_in", "standard_adapter"])
def test_same_outcomes(suite, bare, tmp_path, face):
    outcomes = run_suite(suite, tmp_path, face, options=OPTIONS)
    assert list_failed(outcomes) == []
    assert outcomes == bare
