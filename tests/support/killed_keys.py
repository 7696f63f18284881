"""Kills a process again and again that has operations to do, and looks at what was done.

`run` starts a worker with several threads, kills it after a while, and starts it again, until all operations are done.
The worker notes in a file which ones it knows to be done, as any program would; all else it knows is in the record.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.keyed_server import KeyedServer

WORKER = """
import os, sys, threading
import requests
import polvo_adapters as polvo

url, folder, honours = sys.argv[1], sys.argv[2], sys.argv[5] == "True"
count, threads = int(sys.argv[3]), int(sys.argv[4])
path = os.path.join(folder, "done.txt")
done = open(path, "a+b", buffering=0)
done.seek(0)
known = set(map(int, done.read().split()))
left = iter([number for number in range(count) if number not in known])
record = polvo.idempotency.Record(lease=0.5)
keys = polvo.idempotency.IdempotencyKeys(supported=honours, record=record)
session = polvo.Session(
    base_url=url,
    idempotency=keys,
    retry={"base": 0.005, "budget": None},
    store=polvo.stores.SQLiteStore(os.path.join(folder, "state.db"), max_keys=10 * count),
)
session.trust_env = False
lock = threading.Lock()
print("READY", flush=True)

def attempt(name):
    try:
        session.post("/work", json={"operation": name}, idempotency_key=name)
    except polvo.InDoubtError:
        known = session.get("/done/" + name).json()["done"]
        session.operation("/", name).resolve(done=known > 0)
    except polvo.IdempotencyConflictError as error:
        return error.reason == "duplicate"
    except (polvo.IdempotencyError, requests.ConnectionError):
        return False
    else:
        return True

def work():
    while True:
        with lock:
            number = next(left, None)
        if number is None:
            return
        if any(attempt(f"operation-{number}") for _ in range(100)):
            done.write(b"%d\\n" % number)

workers = [threading.Thread(target=work) for _ in range(threads)]
for each in workers:
    each.start()
for each in workers:
    each.join()
"""


class Killed(NamedTuple):
    """What the rounds came to.

    Attributes:
        operations: How many there were.
        kills: How often the worker was killed.
        lost: Operations that were not done.
        repeated: Operations that were done more than once.
        unknown: Operations that the worker did not come to know of.
        sent: Requests that did or would have done work.
        seconds: How long it took.
    """

    operations: int
    kills: int
    lost: int
    repeated: int
    unknown: int
    sent: int
    seconds: float


def run(folder: Path, operations: int, kills: int, *, honours: bool, threads: int = 8, seed: int = 1) -> Killed:
    """Have operations done by a worker that is killed now and then, at a server that loses one answer in five.

    Args:
        folder: An empty folder.
        operations: How many.
        kills: How often the worker is killed at most.
        honours: Whether the server honours keys.
        threads: Threads of the worker.
        seed: Of the moments and of what is lost.
    """
    chance, done, began = random.Random(seed), 0, time.monotonic()
    with KeyedServer(honours=honours, dropped=0.2, seed=seed) as server:
        command = [sys.executable, "-c", WORKER, server.url, str(folder), str(operations), str(threads), str(honours)]
        for _ in range(kills):
            done += _killed(command, server, operations * (done + 1) // (kills + 1), chance)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
        known = set((folder / "done.txt").read_text().split())
        counts = [server.done[f"operation-{number}"] for number in range(operations)]
        return Killed(
            operations,
            done,
            counts.count(0),
            sum(count > 1 for count in counts),
            operations - len(known),
            len(server.keys),
            time.monotonic() - began,
        )


def _killed(command: list[str], server: KeyedServer, until: int, chance: random.Random) -> int:
    """Start the worker, kill it once so much is done and a moment has passed, and return whether it was killed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(60_000):
                if len(server.done) >= until or process.poll() is not None:
                    break
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
        finally:
            alive = process.poll() is None
            process.kill()
    return int(alive)
