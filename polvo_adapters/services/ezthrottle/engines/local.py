"""The engine in this process: worker threads over an acknowledged queue, which lies on the disk or in memory.

Theory of operation.

    submit ──▶ queue (synced) ──▶ dispatcher ──▶ worker: attempts ──▶ record (synced) ──▶ follow-ups ──▶ acknowledged
                                      ▲                                                      │
                                      └──── webhooks, on_success, on_failure, later tries ◀──┘

A job is in the queue before `submit` returns, and leaves it when everything that follows from it is in the queue too.
`local_jobs` says what makes that safe when a process is killed. Several processes may submit and ask, and one of them
works: the one that holds the lock of the directory (`local_files`). When it ends, another goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from polvo_adapters.core.http import HEADER_NAME
from polvo_adapters.redaction import HiddenText, unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.runtime.logs import logger
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.engines.local_attempts import Attempts, encode_key
from polvo_adapters.services.ezthrottle.engines.local_delivery import Delivery
from polvo_adapters.services.ezthrottle.engines.local_dispatcher import TICK, Dispatcher
from polvo_adapters.services.ezthrottle.engines.local_files import LocalFiles
from polvo_adapters.services.ezthrottle.engines.local_jobs import JobRunner
from polvo_adapters.services.ezthrottle.engines.local_records import JobRecord
from polvo_adapters.services.ezthrottle.engines.local_results import check_keys, describe, identify
from polvo_adapters.services.ezthrottle.errors import JobTimeoutError, UnknownJobError
from polvo_adapters.services.ezthrottle.jobs import make_job
from polvo_adapters.services.ezthrottle.local_call import is_idempotent
from polvo_adapters.services.ezthrottle.results import FINAL
from polvo_adapters.services.ezthrottle.webhooks import Secrets, require_secrets
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logger("ezthrottle")

_KEYWORDS = (
    *("path", "regions", "workers", "honours_keys", "key_header", "webhook_secrets", "webhook_backoff", "keep"),
    *("store", "clock", "timeout"),
)


@partial(fix_options, more=_KEYWORDS, changeable=("path",))
@unpicklable
class LocalEngine:
    """Executes jobs in this process, with the policies of this library.

    Args:
        path: Directory of the queue, which is made where it is missing; None to keep everything in memory, for tests.
        regions: Base URLs of regions by name, such as {"iad": "https://iad.api.example.com"}. A name that is not in
            it stands for the URL of the step itself, unless the step's `region_policy` is "strict".
        workers: How many jobs and webhooks are under way at a time.
        honours_keys: Whether the servers honour idempotency keys, so that a POST whose answer was lost is sent again.
        key_header: Name of the header with the key.
        webhook_secrets: The secret that webhooks are signed with, or several while they are rotated.
        webhook_backoff: Seconds between the first two tries to deliver a webhook; they double up to a minute.
        keep: Seconds for which the result of a job is kept, and its key is known.
        store: Where circuits, quotas and the records of keys live; by default beside the queue.
        clock: Time and chance.
        **session: Other keywords of `polvo_adapters.Session` for the attempts, such as `rate_limit`,
            `circuit_breaker` or `timeout`.

    Raises:
        ArgumentError: A value cannot work, or other users can change the directory, or the store is not as lasting as
            the jobs; or `persist-queue` is not installed.
        TypeError: There is no such keyword.
    """

    knows_status = True

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        regions: Mapping[str, str] | None = None,
        workers: int = 8,
        honours_keys: bool = False,
        key_header: str = "Idempotency-Key",
        webhook_secrets: Secrets = (),
        webhook_backoff: float = 1.0,
        keep: float = 86_400.0,
        store: Store | None = None,
        clock: Clock = SYSTEM,
        **session: Any,
    ) -> None:
        checks.check_session_options(session, "LocalEngine", _KEYWORDS)
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not os.fspath(path)):
            raise checks.refuse("path", "it must be the name of a directory, and is empty, or no text")
        if not isinstance(regions or {}, Mapping):
            raise checks.refuse("regions", 'it must be a mapping such as {"iad": "https://iad.example.com"}')
        if not isinstance(honours_keys, bool):
            raise checks.refuse("honours_keys", "it must be True or False")
        if not isinstance(key_header, str) or not HEADER_NAME.fullmatch(key_header):
            raise checks.refuse("key_header", "it must be the name of a header")
        if store is not None and not callable(getattr(store, "decide", None)):
            raise checks.refuse("store", f"it must be a store, and is of type {type(store).__name__}")
        if "idempotency" in session:
            raise checks.refuse("idempotency", "jobs have keys of their own; say honours_keys=True, or key_header=")
        if path is not None and type(store) is MemoryStore:
            raise checks.refuse("store", "it ends with the process, and jobs do not: what was sent would be forgotten")
        self.path = None if path is None else os.path.abspath(os.path.expanduser(os.fspath(path)))
        self.repeats_safely = honours_keys
        self._most = checks.check_count("workers", workers, 1)
        self._keep = checks.check_seconds("keep", keep)
        self._backoff = checks.check_seconds("webhook_backoff", webhook_backoff)
        self._clock, self._given_store = clock, store
        secrets: list[str] = []
        if webhook_secrets not in ((), []):
            secrets = [HiddenText(secret) for secret in require_secrets(webhook_secrets, "webhook_secrets")]
        self._make_delivery: Callable[[], Delivery] = lambda: Delivery(secrets, clock)
        self._make_attempts: Callable[[Store], Attempts] = lambda owned: Attempts(
            regions or {},
            owned,
            clock,
            honours_keys=honours_keys,
            key_header=key_header,
            keep=keep,
            session=session,
        )
        self._is_closed = self._is_open = self._is_left = False
        self._opening = threading.Lock()
        self._open()
        forks.register(self)

    # ---- What a client asks for

    def attempt_headers(self, job: Mapping[str, Any]) -> dict[str, str]:
        """Return the header with the job's key, where servers honour keys."""
        if not self.repeats_safely or is_idempotent(job["method"]):
            return {}
        return {self._attempts.key_header: encode_key(job.get("idempotent_key") or identify(job))}

    def submit(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Accept a job; see `Engine.submit`. It is on the disk when this returns.

        Raises:
            ArgumentError: A field cannot work, or the engine is closed.
            DuplicateJobError: The key belongs to a job with another URL, method or body.
        """
        checked = make_job(job)
        self._ensure_open()
        check_keys(checked, {})
        self._attempts.check(checked)
        with self._files.explain():
            return self._jobs.enqueue(checked, identify(checked))

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what has become of a job; see `Engine.status`."""
        self._ensure_open()
        with self._files.explain():
            record = self._files.records.find(job_id) if isinstance(job_id, str) else None
        if record is None:
            raise UnknownJobError(f"there is no job {job_id!r}; results are kept for {self._keep:g} s", reason="job_id")
        return describe(record)

    def wait(self, job_id: str, timeout: float | None = None, *, delivered: bool = False) -> dict[str, Any]:
        """Return the result of a job once it has ended; see `Engine.wait`.

        Args:
            job_id: The job.
            timeout: Seconds to wait at most; None for as long as it takes.
            delivered: Whether to wait for its webhooks too, until they are delivered or given up.
        """
        if timeout is not None and timeout != 0:
            checks.check_seconds("timeout", timeout)
        ends = None if timeout is None else self._clock.now() + timeout
        while True:
            seen = self._changes
            found = self.status(job_id)
            if found["status"] in FINAL and not (delivered and found.get("webhooks", {}).get("pending")):
                return found
            left = TICK if ends is None else min(TICK, ends - self._clock.now())
            if left <= 0:
                text = f"the job {job_id} is {found['status']} after {timeout:g} s; it goes on, ask for it again"
                raise JobTimeoutError(text, reason="timeout")
            self._await_change(seen, left)

    def cancel(self, job_id: str) -> bool:
        """Take a job back where it has not begun; see `Engine.cancel`."""
        self.status(job_id)
        done = False

        def change(record: JobRecord) -> JobRecord:
            nonlocal done
            done = record.status == "queued"
            gone = record._replace(status="cancelled", deliveries={}, changed=self._clock.wall())
            return gone if done else record

        with self._files.explain():
            record = self._files.records.change(job_id, change, sure=True)
            if done and record is not None:  # its item may be due long after the record is forgotten
                self._files.queue.acknowledge(record.item)
        self._announce()
        return done

    def resolve(self, job_id: str, *, done: bool) -> dict[str, Any]:
        """Say what became of a job that is in doubt, once it was found out on the other side.

        Args:
            job_id: The job.
            done: Whether the server has done the work. If so the job has succeeded, and what follows from that is
                done; otherwise it is executed once more.

        Returns:
            The status of the job.

        Raises:
            ArgumentError: The job is not in doubt.
            UnknownJobError: There is no such job.
        """
        if self.status(job_id)["status"] != "in_doubt":
            raise checks.refuse("job_id", f"the job {job_id} is not in doubt")
        record = self._files.records.find(job_id)
        assert record is not None  # noqa: S101 - it was there
        job = record.result["job"]
        with self._files.explain():
            self._jobs.replace_item(
                {"kind": "job", "job_id": job_id, "job": job, "resolved": done, "replaces": record.item}
            )
        return self.status(job_id)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all jobs have ended and all webhooks are delivered or given up, and return whether that is so.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.
        """
        self._ensure_open()
        ends = None if timeout is None else self._clock.now() + timeout
        while self._count_open():
            left = TICK if ends is None else min(TICK, ends - self._clock.now())
            if left <= 0:
                return False
            self._await_change(self._changes, left)
        return True

    def _count_open(self) -> int:
        with self._files.explain():
            return self._files.records.count_open()

    def close(self, timeout: float = 5.0) -> None:
        """Stop taking up jobs, wait for those under way, and close the files; the next engine goes on.

        Args:
            timeout: Seconds to wait for what is under way. What takes longer goes on, and the directory is free for the
                next engine when it has ended.
        """
        with self._opening:
            if self._is_closed:
                return
            self._is_closed = True
        if not self._is_open:
            return
        self._dispatcher.stop()
        ends = self._clock.now() + timeout
        while self._dispatcher.is_working and self._clock.now() < ends:
            self._await_change(self._changes, 0.05)
        self._attempts.close()
        self._delivery.close()
        left = self._files.records.count_open() if self.path is None else 0
        if left:
            _log.warning("%d jobs were in memory only, and are lost with the engine; name a path to keep them", left)
        with self._opening:
            is_left = self._is_left = self._dispatcher.is_working
        if not is_left:
            self._release_files()

    def _release_files(self) -> None:
        """Close the files and free the directory, unless a job is still under way here: then its end does so."""
        with self._opening:
            if not self._is_open or self._dispatcher.is_working:
                return
            self._is_open = False
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalEngine {'in memory' if self.path is None else self.path}>"

    # ---- Opening and forks

    def _open(self) -> None:
        self._condition = threading.Condition()
        self._changes = 0
        self._files = LocalFiles(self.path, self._given_store)
        self._attempts = self._make_attempts(self._files.store)
        self._delivery = self._make_delivery()
        self._jobs = JobRunner(
            self._files,
            self._attempts,
            self._delivery,
            self._clock,
            keep=self._keep,
            backoff=self._backoff,
            honours_keys=self.repeats_safely,
            wake=self._wake,
        )
        hooks: dict[str, Any] = {
            "do": self._jobs.do,
            "may_work": self._files.take_lock,
            "on_change": self._announce,
        }
        self._dispatcher = Dispatcher(self._files.queue, self._most, self._clock.wall, **hooks)
        self._dispatcher.start()
        self._is_open = True

    def _ensure_open(self) -> None:
        if self._is_closed:
            raise checks.refuse("engine", "it is closed")
        if not self._is_open:
            with self._opening:
                if not self._is_open:
                    self._open()

    def after_fork_in_child(self) -> None:
        """Let go of the files: a child has neither the threads of its parent nor a use for its connections."""
        self._opening = threading.Lock()
        if self._is_closed:
            return
        if self._is_open:
            self._files.abandon()
        self._is_open = False  # until it is used: a child that has nothing to do with jobs does none

    # ---- News for those that wait

    def _wake(self) -> None:
        self._dispatcher.wake()

    def _announce(self) -> None:
        with self._condition:
            self._changes += 1
            self._condition.notify_all()
        if not self._is_closed:
            return
        with self._opening:
            is_left = self._is_left
        if is_left:  # otherwise `close` does so, and returns when it is done
            self._release_files()

    def _await_change(self, seen: int, seconds: float) -> None:
        with self._condition:
            if self._changes == seen:
                self._condition.wait(seconds)
