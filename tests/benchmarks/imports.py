"""What importing the library costs, in milliseconds.

What: `import requests`; on top of it `import polvo_adapters`, that and the first `ResilientAdapter()`, and the
drop-in `import polvo_adapters.requests`. Bar: 15 ms on top of `import requests`.

How: fresh interpreters, the two programs in turn, each timing its own statements after start-up. The first runs
are thrown away: they fill the file cache, and compile everything to bytecode, into a directory of their own, so
that neither PYTHONDONTWRITEBYTECODE nor what lies about in the working tree has a say. An installed package is
compiled too.

Why that way: the extra time is measured inside one process and not as difference of two processes, because
`import requests` alone varies by more than all that the library adds.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks.measure import Spread, spread

BAR = "≤ 15 ms more"
_REQUESTS = "import requests"
_PROGRAMS = {
    "package": (_REQUESTS, "import polvo_adapters", "polvo_adapters.ResilientAdapter()"),
    "drop-in": (_REQUESTS, "import polvo_adapters.requests"),
}
_CHILD = """
import json, sys, time
clock, times = time.perf_counter, []
for statement in json.loads(sys.argv[1]):
    code = compile(statement, "benchmark", "exec")
    started = clock()
    exec(code)
    times.append(clock() - started)
print(json.dumps(times))
"""


class ImportCost(NamedTuple):
    """What one import costs, in seconds.

    Attributes:
        name: For the table.
        seconds: Median and quartiles.
        least: The fastest run.
        bar: The promise, or an empty string.
    """

    name: str
    seconds: Spread
    least: float
    bar: str = ""


def import_costs(*, quick: bool = False) -> list[ImportCost]:
    """Measure imports in fresh interpreters."""
    samples = _samples(runs=2 if quick else 25)
    package, drop_in = samples["package"], samples["drop-in"]
    return [
        _cost("import requests", [times[0] for times in package + drop_in]),
        _cost("+ import polvo_adapters", [times[1] for times in package], BAR),
        _cost("+ import polvo_adapters, ResilientAdapter()", [times[1] + times[2] for times in package], BAR),
        _cost("+ import polvo_adapters.requests", [times[1] for times in drop_in], BAR),
    ]


def _cost(name: str, seconds: Sequence[float], bar: str = "") -> ImportCost:
    return ImportCost(name, spread(seconds), min(seconds), bar)


def _samples(runs: int) -> dict[str, list[list[float]]]:
    samples: dict[str, list[list[float]]] = {name: [] for name in _PROGRAMS}
    with TemporaryDirectory() as bytecode:
        for statements in _PROGRAMS.values():
            _run(statements, bytecode)
        for _ in range(runs):
            for name in random.sample(list(_PROGRAMS), len(_PROGRAMS)):
                samples[name].append(_run(_PROGRAMS[name], bytecode))
    return samples


def _run(statements: Sequence[str], bytecode: str) -> list[float]:
    command = [sys.executable, "-c", _CHILD, json.dumps(statements)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    times: list[float] = json.loads(done.stdout)
    return times
