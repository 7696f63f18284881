"""Kills a process again and again while it writes a token cache, and looks at what is left."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from polvo_adapters.core.machines import Event
from polvo_adapters.stores.token_cache import TokenCache
from tests.support.store_contract import Counter

MANY = Counter(10**9)
LOOK = [Event(MANY, "a", 0)]
ONE = [Event(MANY, "a", 1)]

WRITER = """
import sys
from polvo_adapters.stores.token_cache import TokenCache
from polvo_adapters.core.machines import Event
from tests.support.store_contract import Counter

cache, events = TokenCache(sys.argv[1]), [Event(Counter(10**9), "a", 1)]
while True:
    (count,) = cache.decide(events)
    print(count, flush=True)
"""


class Kills(NamedTuple):
    """What the rounds came to.

    Attributes:
        written: The number that was in the file at the end.
        orphans: How many of the killed left a half-written file beside it.
    """

    written: int
    orphans: int


def rounds(count: int, directory: Path, seed: int = 1) -> Kills:
    """Kill a writer `count` times, and check each time that what it was told is in the file.

    Args:
        count: How often.
        directory: An empty directory.
        seed: Of the moments at which it is killed.

    Raises:
        AssertionError: A number that a writer was told is not there, or the file cannot be used.
    """
    chance, path, orphans, number = random.Random(seed), directory / "tokens.json", 0, 0
    for _ in range(count):
        told = _killed(path, chance.uniform(0.0, 0.012))
        orphans += len(_temporaries(directory))
        cache = TokenCache(path)
        (number,) = cache.decide(LOOK)
        assert number in (told, told + 1), f"{number} is in the file, and the writer was told {told}"
        assert cache.decide(ONE) == (number + 1,)
        assert not cache._failed
        assert _temporaries(directory) == []
        assert sorted(file.name for file in directory.iterdir()) == ["tokens.json", "tokens.json.lock"]
    return Kills(number + 1, orphans)


def _killed(path: Path, seconds: float) -> int:
    """Start a writer, kill it some time after its first number, and return its last one."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline()]
            time.sleep(seconds)  # where this ends within a write is what the rounds are about
        finally:
            process.kill()
        lines += process.stdout.readlines()
    return [int(line) for line in lines if line.endswith("\n")][-1]


def _temporaries(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir() if re.search(r"\.\d+-\d+\.tmp$", file.name)]
