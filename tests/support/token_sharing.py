"""Crowds that share one token: threads of this process, and processes of several threads each.

A crowd has a clock that a test puts forward: tokens expire at once, while servers and sockets live in real time. What
a process is to do comes to it line by line, so that all of them begin together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.auth import OAuth2, TokenCache
from polvo_adapters.runtime.clock import SystemClock
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.support.oauth.servers import REDIRECT_URI

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.support.oauth.servers import OIDCProvider

HERE = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds that anything here may take."""


class Shifted(SystemClock):
    """The clocks of this machine, put forward (or the wall clock also back) by as much as a test likes."""

    ahead = 0.0

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def wall(self) -> float:
        return time.time() + self.ahead


def logged_in(oidc: OIDCProvider, client: str = "web", login: str = "alice") -> str:
    """Log a user in, and return the refresh token."""
    oauth = OAuth2(
        flow="authorization_code",
        client_id=client,
        client_secret=f"{client}-secret",
        issuer=oidc.issuer,
        redirect_uri=REDIRECT_URI,
        scope="openid offline_access api:read",
    )
    request = oauth.authorization_request(prompt="consent")
    refresh_token = oauth.complete(oidc.approve(request.url, login=login), request).refresh_token
    assert refresh_token is not None
    return refresh_token


def settings_of(oidc: OIDCProvider, **more: Any) -> dict[str, Any]:
    """Return the keywords of an OAuth2 with a refresh token of its own."""
    given = {"client_id": "web", "client_secret": "web-secret", "token_url": oidc.token_url}
    return {**given, "refresh_token": logged_in(oidc), **more}


def place(kind: str, path: str, clock: Shifted) -> Any:
    """Return a token_cache of a kind: "path", or with the clock of a test "cache" and "sqlite"."""
    made: dict[str, Callable[[], Any]] = {
        "path": lambda: path,
        "cache": lambda: TokenCache(path, now=clock.wall, elapsed=clock.now),
        "sqlite": lambda: SQLiteStore(path, now=clock.wall, elapsed=clock.now),
    }
    return made[kind]()


@contextmanager
def plain_session(auth: Any = None) -> Iterator[requests.Session]:
    """Return a session of requests as any program has it."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=64))
        session.auth = auth
        yield session


def at_once(count: int, task: Callable[[int], Any]) -> list[Any]:
    """Run a task on so many threads that begin together; an exception is returned by its class and text."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(PATIENCE)
        try:
            results[number] = task(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            results[number] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    return results


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return what a condition comes to as soon as it holds."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "this takes too long"
        time.sleep(0.005)
    return found


class Crowd:
    """Processes of several threads each that share a token; a context manager.

    Args:
        api_url: What each thread gets, once a round.
        kind: Kind of the token cache; see `place`.
        path: Its path.
        settings: Keywords of OAuth2.
        processes: How many processes.
        threads: How many threads in each.
    """

    def __init__(
        self, api_url: str, kind: str, path: Path, settings: dict[str, Any], processes: int = 4, threads: int = 16
    ) -> None:
        work = {"url": api_url, "kind": kind, "path": str(path), "settings": settings, "threads": threads}
        self._work = json.dumps(work)
        self._count = processes

    def __enter__(self) -> Self:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.support.token_sharing"],
                cwd=HERE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(self._count)
        ]
        for process in self.processes:
            self.tell(process, self._work)
        for process in self.processes:
            assert self.hear(process) == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)
            process.stdout.close()

    def tell(self, process: subprocess.Popen[str], line: str) -> None:
        """Send a line to a process."""
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    def hear(self, process: subprocess.Popen[str]) -> Any:
        """Return what a process has to say."""
        line = process.stdout.readline()
        assert line, "a process of the crowd has died"
        return json.loads(line)

    def round(self, ahead: float) -> Counter[Any]:
        """Have every thread make a request at the same time, and count what they come to.

        Args:
            ahead: By how much the clocks are put forward, in seconds.
        """
        for process in self.processes:
            self.tell(process, str(ahead))
        return Counter(answer for process in self.processes for answer in self.hear(process))


def work() -> None:
    """Be a process of a crowd."""
    given = json.loads(sys.stdin.readline())
    clock = Shifted()
    oauth = OAuth2(token_cache=place(given["kind"], given["path"], clock), clock=clock, **given["settings"])
    with plain_session(oauth) as session:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            clock.ahead = float(line)
            answers = at_once(given["threads"], lambda _: session.get(given["url"], timeout=PATIENCE).status_code)
            print(json.dumps(answers), flush=True)


def in_child(check: Callable[[], object]) -> int:
    """Fork, and return 0 if what is checked in the child is true; it ends as a child of multiprocessing does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(PATIENCE))
            status = 0 if check() else 2
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            os.write(2, f"in the child: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    work()
