"""A pytest plugin for `tests.support.foreign_suites`: puts this library under the suite of `requests`, or of others.

`POLVO_FACE` says how: "bare" changes nothing, "drop_in" puts `polvo_adapters.requests` in the place of `requests`,
"standard_adapter" puts `ResilientAdapter` in the place of `HTTPAdapter`.
"""

import os
import sys

import requests
import requests.adapters
import requests.sessions

import polvo_adapters
import polvo_adapters.requests

FACE = os.environ["POLVO_FACE"]

if FACE == "drop_in":
    sys.modules["requests"] = polvo_adapters.requests
elif FACE == "standard_adapter":
    requests.adapters.HTTPAdapter = requests.sessions.HTTPAdapter = polvo_adapters.ResilientAdapter


def pytest_collection_finish():
    """Make sure that the tests, which are imported by now, see what was put in place."""
    tests = sys.modules.get("tests.test_requests")
    if not hasattr(tests, "HTTPAdapter"):
        return  # another suite, or the process that only hands out the work
    adapter = tests.requests.Session().get_adapter("http://localhost/")
    assert isinstance(adapter, polvo_adapters.ResilientAdapter) == (FACE != "bare")
    assert (tests.requests is polvo_adapters.requests) == (FACE == "drop_in")
    assert (tests.HTTPAdapter is polvo_adapters.ResilientAdapter) == (FACE == "standard_adapter")
