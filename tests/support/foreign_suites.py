"""Suites of other projects, run in processes of their own, unchanged from their source distributions.

The distribution is that of the installed version. It is fetched once, and kept in `.cache/` at the root of the
repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

CACHE = Path(__file__).parents[2] / ".cache"
PLUGIN = Path(__file__).parents[1] / "interop"
"""Where `suite_plugin` is."""
PATIENCE = 600.0
"""Seconds that one run, or the download, may take."""
PLUGINS = ("xdist.plugin", "pytest_mock", "pytest_httpbin.plugin")


def fetch_suite(distribution: str) -> Path:
    """Return the folder of the source distribution of what is installed, or skip where it cannot be fetched."""
    stem = f"{distribution}-{version(distribution)}"
    folder = CACHE / stem
    if not folder.is_dir():
        archive = _download(distribution)
        with tempfile.TemporaryDirectory(dir=CACHE) as unpacked:  # so that no half of it is ever left behind
            with tarfile.open(archive) as packed:
                # Patch releases before 3.10.12 and 3.11.4 do not know filters.
                packed.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            next(Path(unpacked).iterdir()).rename(folder)
    return folder


def _download(distribution: str) -> Path:
    CACHE.mkdir(exist_ok=True)
    requirement = f"{distribution}=={version(distribution)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        command += ["--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            unavailable = pytest.fail if os.environ.get("CI") else pytest.skip
            unavailable(f"no source distribution of {requirement}: {done.stderr.strip()[-500:]}")
        (found,) = Path(folder).iterdir()
        return found.rename(CACHE / found.name)


def run_suite(
    suite: Path, folder: Path, face: str, tests: Sequence[str] = ("tests",), options: Sequence[str] = ()
) -> dict[str, str]:
    """Run a suite in a process of its own, and return what came of each test.

    Args:
        suite: Folder of the source distribution.
        folder: Where results go.
        face: What is put in the place of `requests`; see `suite_plugin`.
        tests: What is run.
        options: More arguments of pytest.
    """
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-W", "ignore"]
    command += ["--basetemp", str(folder / "temp"), f"--junit-xml={results}", *options, *tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # In this order; unlike `-p` it is read early in the workers of xdist too.
        "PYTEST_PLUGINS": ",".join(("suite_plugin", *PLUGINS)),
        "POLVO_FACE": face,
    }
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=suite, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    print(f"{face}: {time.monotonic() - started:.0f} s, {done.stdout.strip().splitlines()[-1:]}")
    if done.returncode:
        print(done.stdout[-20_000:])
    assert done.returncode in (0, 1), done.stdout[-5000:] + done.stderr[-5000:]
    return _read(results)


def _read(results: Path) -> dict[str, str]:
    outcomes = {}
    for case in ET.parse(results).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = "+".join(sorted(kinds)) or "passed"
    return outcomes


def list_failed(outcomes: dict[str, str]) -> list[str]:
    """Return the tests that neither passed nor were skipped."""
    return sorted(test for test, outcome in outcomes.items() if outcome not in ("passed", "skipped"))
