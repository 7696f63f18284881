"""The test suite of `requests` itself, run three ways: bare, on the drop-in face, and on the standard adapter.

What passes, fails or is skipped must be the same, test by test. The suite is that of the installed version, taken
unchanged from its source distribution, which is fetched once and kept in `.cache/` at the root of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

VERSION = version("requests")
HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
PATIENCE = 600.0
"""Seconds that one run, or the download, may take."""

# These four connect to an address of which they hope that nobody answers there. On a network that refuses it at
# once, or that has something there, they fail whatever the adapter does.
UNREACHABLE = [
    f"tests/test_requests.py::TestTimeout::{test}[timeout{number}]"
    for test in ("test_connect_timeout", "test_total_timeout_connect")
    for number in (0, 1)
]


@pytest.fixture(scope="module")
def suite():
    """Return the folder of the source distribution of the installed `requests`."""
    folder = CACHE / f"requests-{VERSION}"
    if not folder.is_dir():
        archive = download()
        with tempfile.TemporaryDirectory(dir=CACHE) as unpacked:  # so that no half of it is ever left behind
            with tarfile.open(archive) as packed:
                # Patch releases before 3.10.12 and 3.11.4 do not know filters.
                packed.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            Path(unpacked, folder.name).rename(folder)
    return folder


@pytest.fixture(scope="module")
def bare(suite, tmp_path_factory):
    return run(suite, tmp_path_factory.mktemp("bare"), "bare")


def test_bare_suite_passes(bare):
    assert failed(bare) == []
    assert Counter(bare.values())["passed"] > 500


@pytest.mark.parametrize("face", ["drop_in", "standard_adapter"])
def test_same_outcomes(suite, bare, tmp_path, face):
    outcomes = run(suite, tmp_path, face)
    assert failed(outcomes) == []
    assert outcomes == bare


def download():
    CACHE.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--dest", str(CACHE), f"requests=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        unavailable = pytest.fail if os.environ.get("CI") else pytest.skip
        unavailable(f"no source distribution of requests {VERSION}: {done.stderr.strip()[-500:]}")
    return CACHE / f"requests-{VERSION}.tar.gz"


def run(suite, folder, face):
    """Run the suite in a process of its own, and return what came of each test."""
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    command += ["--basetemp", str(folder / "temp"), f"--junit-xml={results}", "tests"]
    command += [f"--deselect={test}" for test in UNREACHABLE]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(HERE),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # In this order; unlike `-p` it is read early in the workers of xdist too.
        "PYTEST_PLUGINS": "suite_plugin,xdist.plugin,pytest_mock,pytest_httpbin.plugin",
        "POLVO_FACE": face,
    }
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=suite, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    print(f"{face}: {time.monotonic() - started:.0f} s, {done.stdout.strip().splitlines()[-1:]}")
    if done.returncode:
        print(done.stdout[-20_000:])
    assert done.returncode in (0, 1), done.stderr[-5000:]
    return read(results)


def read(results):
    outcomes = {}
    for case in ET.parse(results).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = "+".join(sorted(kinds)) or "passed"
    return outcomes


def failed(outcomes):
    return sorted(test for test, outcome in outcomes.items() if outcome not in ("passed", "skipped"))
