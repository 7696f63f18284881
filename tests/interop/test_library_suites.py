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
        options: More arguments of pytest.
    """

    tests: tuple[str, ...]
    ignored: tuple[str, ...]
    least: int
    unfair: dict[str, str]
    options: tuple[str, ...] = ()


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
    "requests-mock": Suite(("tests",), (), 140, {}, ("-p", "requests_mock.contrib._pytest_plugin")),
    "keystoneauth1": Suite(("keystoneauth1/tests/unit",), (), 700, {}),
    "google-auth": Suite(
        ("tests/transport/test_requests.py",),
        (),
        60,
        {
            f"tests.transport.test_requests.TestRequestResponse::{test}": "it gives a client certificate to plain "
            "adapters, and leaves alone any other, which the caller has mounted"
            for test in (
                (
                    "test_mtls_cert_error_raises_transport_error_and_recovers["
                    "-----BEGIN CERTIFICATE-----\\ninvalid\\n-----END CERTIFICATE-----\\n-MutualTLSChannelError]"
                ),
                "test_mtls_cert_error_raises_transport_error_and_recovers[None-FileNotFoundError]",
                "test_mtls_cert_error_raises_transport_error_and_recovers[invalid-ClientCertError]",
                "test_mtls_deepcopy",
                "test_mtls_legacy_pickle",
                "test_mtls_no_cert_caches_unavailable",
                "test_mtls_origin_mount_and_reuse[https://iamcredentials.mtls.googleapis.com/]",
                "test_mtls_pickle",
                "test_mtls_request_verify_false",
            )
        },
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_no_new_failure(name, tmp_path_factory):
    suite, folder = SUITES[name], fetch_suite(name)
    # Else pytest would take the configuration of this repository, in which the suite lies.
    options = ["-c", "setup.cfg", *(f"--ignore={path}" for path in suite.ignored), *suite.options]
    bare, drop_in = (
        run_suite(folder, tmp_path_factory.mktemp(face), face, suite.tests, options) for face in ("bare", "drop_in")
    )
    assert list(bare.values()).count("passed") >= suite.least
    new = set(list_failed(drop_in)) - set(list_failed(bare))
    assert new == set(suite.unfair)
    assert bare.keys() == drop_in.keys()
