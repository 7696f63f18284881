"""Parts of the tests that come as npm packages, installed where a package.json asks for them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATIENCE = 180.0
"""Seconds that an installation may take."""


def install_packages(folder: Path) -> None:
    """Install what the package-lock.json of a folder says, once, also where several processes run the tests."""
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if missing := [program for program in ("node", "npm") if shutil.which(program) is None]:
        unavailable(f"{' and '.join(missing)} not found")
    with (folder / "package.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
            return
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            unavailable(f"npm ci failed: {done.stderr.strip()[-500:]}")
        stamp.write_text(wanted, encoding="ascii")


def unavailable(reason: str) -> None:
    """Skip, but not in the build, which is to notice."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
