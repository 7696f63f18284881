"""Kills a process again and again that has jobs to do in the local engine of EZThrottle, and looks at what was done.

The worker hands in all jobs, each with a key of its own, and waits until they are done; what it has handed in already
it hands in again after a restart, as a program without a memory would. It is killed at fixed intervals.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.support.ezthrottle_server import EZThrottleServer

WORKER = """
import logging, os, sys
logging.disable(logging.CRITICAL)
from polvo_adapters.services.ezthrottle import EZThrottle, LocalEngine, Step

url, folder, count, honours = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
engine = LocalEngine(
    folder, honours_keys=honours, webhook_secrets="s" * 16, webhook_backoff=0.05, retry={"base": 0.01, "budget": None}
)
client = EZThrottle(engine=engine)
print("READY", flush=True)
for number in range(count):
    step = Step(client).url(url + "/work/x").method("POST").body(f"op-{number}").idempotent_key(f"op-{number}")
    step.webhooks([{"url": url + "/hook/a"}]).metadata({"op": number}).execute()
engine.drain()
states = [engine.submit({"url": url + "/work/x", "method": "POST", "body": f"op-{number}",
    "idempotent_key": f"op-{number}"})["status"] for number in range(count)]
engine.close()
print("DONE", *states, flush=True)
"""


class KilledJobs(NamedTuple):
    """What came of it.

    Attributes:
        executions: How often the work of each job was done.
        hooks: How often each job's result was delivered.
        ids: How many ids these deliveries had.
        told: How often each status was told, by webhooks.
        states: How often each status was recorded, by the engine.
        kills: How often the worker was killed.
        seconds: How long it took.
    """

    executions: Counter[str]
    hooks: Counter[str]
    ids: int
    told: Counter[str]
    states: Counter[str]
    kills: int
    seconds: float


def run(
    folder: Path,
    count: int,
    *,
    honours: bool,
    interval: float,
    lost: float,
    most_kills: int = 1000,
    pause: float = 0.05,
) -> KilledJobs:
    """Have jobs done by a worker that is killed.

    Args:
        folder: Directory of the queue.
        count: How many jobs there are.
        honours: Whether the server honours keys.
        interval: Seconds between two kills.
        lost: Share of responses that are lost after the work.
        pause: Seconds between the work and its response, in which most kills come.
        most_kills: How often it is killed at most.
    """
    chance, lock = random.Random(7), threading.Lock()

    def lose() -> bool:
        with lock:
            return chance.random() < lost

    began, kills = time.monotonic(), 0
    with EZThrottleServer() as server:
        server.honours_keys, server.lose, server.pause = honours, lose, pause
        while True:
            arguments = [server.url, str(folder), str(count), str(honours)]
            worker = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True)
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "READY\n"
                output, _ = worker.communicate(timeout=interval if kills < most_kills else 30)
                break
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.communicate()
                if kills >= most_kills:
                    raise  # a job was lost, and it waits for ever
                kills += 1
        hooks = server.at("/hook")
    payloads = [json.loads(hook.body) for hook in hooks]
    first = {payload["metadata"]["op"]: payload for payload in payloads}
    return KilledJobs(
        server.executions,
        Counter(f"op-{payload['metadata']['op']}" for payload in payloads),
        len({hook.headers["X-EZThrottle-Delivery"] for hook in hooks}),
        Counter("in_doubt" if payload.get("in_doubt") else payload["status"] for payload in first.values()),
        Counter(output.split()[1:]),
        kills,
        time.monotonic() - began,
    )
