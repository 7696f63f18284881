"""Runs the benchmarks, or says in one line what they need: `python -m tests.benchmarks`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("cryptography", "httpx", "persistqueue", "pytest", "requests", "rich", "stamina", "tenacity")


def run() -> int:
    """Run the benchmarks that the command line asks for, and return the exit code; 2 where a package is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"the benchmarks need {', '.join(missing)}: python -m pip install -e '.[test]'", file=sys.stderr)
        return 2
    from tests.benchmarks.command_line import main

    return main()


if __name__ == "__main__":
    raise SystemExit(run())
