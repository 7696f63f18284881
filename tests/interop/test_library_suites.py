"""Suites of libraries built on `requests`, run bare and with the drop-in in the place of `requests`.

Some of their tests need the internet, or a library that is not among ours; those fail bare as well. What counts is that
no test fails that passes bare, except those named here, each with its reason.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support.foreign_suites import fetch_suite, list_failed, run_suite


class Suite(NamedTuple):
    """A suite.

    Attributes:
        tests: What is run of it.
        ignored: Files that need what is not installed.
        least: How many tests must pass bare, so that the comparison says something.
        unfair: Tests that fail under the drop-in, and why that is right.
    """

    tests: tuple[str, ...]
    ignored: tuple[str, ...]
    least: int
    unfair: dict[str, str]


SUITES = {
    "requests-oauthlib": Suite(("tests",), ("tests/examples",), 60, {}),
    "requests-toolbelt": Suite(("tests",), (), 140, {}),
    "responses": Suite(
        ("responses",),
        ("responses/tests/test_recorder.py",),
        190,
        {
            f"responses.tests.test_responses::{test}": "it counts attempts, of which the drop-in makes more"
            for test in ("test_responses_reuse", "test_connection_error")
        },
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_no_new_failure(name, tmp_path_factory):
    suite, folder = SUITES[name], fetch_suite(name)
    # Else pytest would take the configuration of this repository, in which the suite lies.
    options = ["-c", "setup.cfg", *(f"--ignore={path}" for path in suite.ignored)]
    bare, drop_in = (
        run_suite(folder, tmp_path_factory.mktemp(face), face, suite.tests, options) for face in ("bare", "drop_in")
    )
    assert list(bare.values()).count("passed") >= suite.least
    new = set(list_failed(drop_in)) - set(list_failed(bare))
    assert new == set(suite.unfair)
    assert bare.keys() == drop_in.keys()
