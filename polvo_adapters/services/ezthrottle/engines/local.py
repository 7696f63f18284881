"""The engine in this process: worker threads over an acknowledged queue, which lies on the disk or in memory.

Theory of operation.

    submit ──▶ queue (synced) ──▶ dispatcher ──▶ worker: attempts ──▶ record (synced) ──▶ follow-ups ──▶ acknowledged
                                      ▲                                                      │
                                      └──── webhooks, on_success, on_failure, later tries ◀──┘

A job is in the queue before `submit` returns, and leaves it when everything that follows from it is in the queue too.
So a process may be killed anywhere: the next one takes up what was not acknowledged. That makes a job begin twice at
times, but never act twice:

* the id of a job follows from its key (or from URL, method and body), so that a second submission is the same job, and
  its record tells how it ended;
* a POST or PATCH has its key in the record of idempotency keys before it leaves. After the death of the process the
  server is asked again with the same key, if it honours keys; otherwise the job is in doubt, and says so;
* what follows has ids that follow from the job, so that it is enqueued twice and done once. A webhook may come twice,
  with the same `X-EZThrottle-Delivery`.

One process at a time works on a directory: the one that holds its lock, which ends with the process. Others may submit
and ask; when the lock is free, one of them goes on with the work.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import HEADER_NAME
from polvo_adapters.redaction import HiddenText, unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.runtime.logs import logger
from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.engines.local_attempts import Attempts, encode_key
from polvo_adapters.services.ezthrottle.engines.local_delivery import (
    Delivery,
    describe_deliveries,
    make_payload,
    name_delivery,
)
from polvo_adapters.services.ezthrottle.engines.local_dispatcher import TICK, Dispatcher
from polvo_adapters.services.ezthrottle.engines.local_execution import execute
from polvo_adapters.services.ezthrottle.engines.local_queue import AckQueue, DiskQueue, MemoryQueue
from polvo_adapters.services.ezthrottle.engines.local_records import (
    DiskRecords,
    JobRecord,
    JobRecords,
    MemoryRecords,
)
from polvo_adapters.services.ezthrottle.engines.local_results import (
    LAPSED,
    await_all,
    check_keys,
    derive,
    describe,
    digest_of,
    identify,
    may_act_twice,
)
from polvo_adapters.services.ezthrottle.errors import (
    DuplicateJobError,
    EZThrottleError,
    InDoubtError,
    JobTimeoutError,
    UnknownJobError,
)
from polvo_adapters.services.ezthrottle.jobs import make_job
from polvo_adapters.services.ezthrottle.local_call import is_idempotent
from polvo_adapters.services.ezthrottle.results import FINAL
from polvo_adapters.services.ezthrottle.webhooks import Secrets, require_secrets
from polvo_adapters.stores import private_files
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.file_trust import Unfit
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_DELIVERIES = 9
_MOST_RUNS = 12  # of a job whose answers are lost again and again, at a server that honours keys
_LONGEST_PAUSE = 60.0
_PRUNED_EVERY = 500
_MOST_KEYS = 1_000_000

_log = logger("ezthrottle")
_abandoned: list[object] = []
"""Connections of the parent in a forked child: SQLite allows neither to use nor to close them there."""


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
            the jobs.
        ConfigurationError: `persist-queue` is not installed.
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
        with self._explain():
            return self._enqueue(checked, identify(checked))

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what has become of a job; see `Engine.status`."""
        self._ensure_open()
        with self._explain():
            record = self._records.find(job_id) if isinstance(job_id, str) else None
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

        with self._explain():
            record = self._records.change(job_id, change, sure=True)
            if done and record is not None:  # its item may be due long after the record is forgotten
                self._queue.acknowledge(record.item)
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
        record = self._records.find(job_id)
        assert record is not None  # noqa: S101 - it was there
        job = record.result["job"]
        with self._explain():
            self._replace_item({"kind": "job", "job_id": job_id, "job": job, "resolved": done, "replaces": record.item})
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
        with self._explain():
            return self._records.count_open()

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
        left = self._records.count_open() if self.path is None else 0
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
        self._queue.close()
        self._records.close()
        if isinstance(self._store, SQLiteStore) and self._given_store is None:
            self._store.close()
        self._release_lock()

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
        self._ended = 0
        self._descriptor: int | None = None
        if self.path is None:
            self._store: Store = MemoryStore(max_keys=_MOST_KEYS) if self._given_store is None else self._given_store
            self._queue: AckQueue = MemoryQueue()
            self._records: JobRecords = MemoryRecords()
        else:
            self._open_directory(self.path)
        self._attempts = self._make_attempts(self._store)
        self._delivery = self._make_delivery()
        hooks: dict[str, Any] = {"do": self._do, "may_work": self._take_lock, "on_change": self._announce}
        self._dispatcher = Dispatcher(self._queue, self._most, self._clock.wall, **hooks)
        self._dispatcher.start()
        self._is_open = True

    def _open_directory(self, path: str) -> None:
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            self._lock_path = os.path.join(path, "lock")
            descriptor = private_files.try_to_lock(self._lock_path, True)
            if descriptor is not None:
                private_files.unlock(descriptor)
                os.close(descriptor)
        except Unfit as error:
            reason = str(error)
        except OSError as error:
            reason = f"the directory cannot be used ({error.strerror or error})"
        else:
            try:
                for name in ("queue.db", "jobs.db"):  # SQLite gives the files beside them the same mode
                    os.close(os.open(os.path.join(path, name), os.O_CREAT | os.O_RDWR, 0o600))
                self._queue = DiskQueue(path)
                self._records = DiskRecords(os.path.join(path, "jobs.db"))
                if self._given_store is None:
                    self._store = SQLiteStore(os.path.join(path, "state.db"), max_keys=_MOST_KEYS)
                else:
                    self._store = self._given_store
                return
            except (sqlite3.Error, OSError) as error:
                reason = f"its files cannot be used ({error})"
        raise checks.refuse("path", reason)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Raise EZThrottleError where the files cannot be read or written."""
        try:
            yield
            return
        except sqlite3.Error as error:
            reason = str(error)
        raise EZThrottleError(
            f"the queue at {self.path} cannot be used: {reason}; submit the job again with the same key", reason="queue"
        )

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
            _abandoned.append((self._queue, self._records))
        if self._descriptor is not None:
            os.close(self._descriptor)  # which unlocks nothing: the parent has it open
            self._descriptor = None
        self._is_open = False  # until it is used: a child that has nothing to do with jobs does none

    def _take_lock(self) -> bool:
        """Return whether this process is the one that works, and become it where there is none."""
        if self.path is None or self._descriptor is not None:
            return True
        try:
            self._descriptor = private_files.try_to_lock(self._lock_path, True)
        except (OSError, Unfit):
            return False
        if self._descriptor is None:
            return False
        self._queue.resume()
        return True

    def _release_lock(self) -> None:
        if self._descriptor is not None:
            private_files.unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    # ---- The queue

    def _enqueue(self, job: Mapping[str, Any], job_id: str, digest: str | None = None) -> dict[str, Any]:
        """Put a job into the queue, unless it is known already."""
        digest = digest_of(job) if digest is None else digest
        now = self._clock.wall()
        known = self._records.find(job_id)
        if known is not None and known.counts(now - self._keep):
            return self._report_duplicate(known, digest, job)
        task: dict[str, Any] = {"kind": "job", "job_id": job_id, "job": job}
        if "retry_at" in job:
            task["due"] = job["retry_at"] / 1000
        number = self._queue.put(task)
        record = JobRecord(job_id, digest, number, deliveries=await_all(job), changed=now)
        try:
            counts = self._records.add(record, now - self._keep)
        except sqlite3.Error as error:
            raise self._make_doubt(error, job) from None
        self._dispatcher.wake()
        if counts.item != number:  # another thread or process was faster; the dispatcher drops this item
            return self._report_duplicate(counts, digest, job)
        return {"job_id": job_id, "status": "queued", "idempotent_key": job.get("idempotent_key", job_id)}

    def _make_doubt(self, error: sqlite3.Error, job: Mapping[str, Any]) -> InDoubtError:
        """Return the error for a job that is in the queue and has no record: it is executed if it was not before."""
        return InDoubtError(
            f"the queue at {self.path} cannot be used: {error}; the job may have been accepted: submit it again with "
            "the same key, or the same URL, method and body",
            key=job.get("idempotent_key", ""),
            reason="queue",
        )

    def _report_duplicate(self, known: JobRecord, digest: str, job: Mapping[str, Any]) -> dict[str, Any]:
        if known.digest != digest:
            raise DuplicateJobError(
                f"{find_host(job['url'])}: the idempotent key belongs to a job with another URL, method or body; "
                "nothing was sent",
                reason="idempotent_key",
            )
        return {**describe(known), "duplicate": True, "idempotent_key": job.get("idempotent_key", known.job_id)}

    def _do(self, number: int, task: dict[str, Any]) -> None:
        """Do a task of the queue, on a worker."""
        if task["kind"] == "job":
            self._run_job(number, task)
        else:
            self._run_delivery(task)
        self._ended += 1
        if self._ended % _PRUNED_EVERY == 0:
            self._records.prune(self._clock.wall() - self._keep)

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

    # ---- A job

    def _run_job(self, number: int, task: Mapping[str, Any]) -> None:
        job, job_id = task["job"], task["job_id"]
        if "replaces" in task:
            self._claim(task, number)
        now = self._clock.wall()
        new = JobRecord(job_id, digest_of(job), number, deliveries=await_all(job), changed=now)
        record = self._records.add(new, now - self._keep)
        if record.item != number:
            return  # the job belongs to another item
        if not record.is_final:
            begun = self._records.change(
                job_id, lambda old: old if old.is_final else old._replace(status="running", changed=now)
            )
            if begun is not None and begun.is_final:
                record = begun  # it was cancelled meanwhile
            else:
                # The keys of what a process had begun that is gone are known no more.
                lapsed = record.status == "running" and max(record.changed, task.get("due", 0.0)) < now - self._keep
                finished = self._execute(number, task, lapsed=lapsed and may_act_twice(job))
                if finished is None:
                    return  # put back, to be tried again later
                record = finished
        self._follow_up(job, record)

    def _execute(self, number: int, task: Mapping[str, Any], *, lapsed: bool) -> JobRecord | None:
        """Make the calls of a job, and return its record, which says how it ended."""
        job, job_id = task["job"], task["job_id"]
        status, result = "success", dict[str, Any](note="resolved by the user")
        if lapsed:
            status, result = "in_doubt", {"error": LAPSED, "job": job}
        elif task.get("resolved") is not True:
            forget = task.get("resolved") is False or task.get("forget", False)
            status, result, held = execute(self._attempts, job, job_id, forget=forget)
            if held is not None and self._clock.wall() - task.get("since", self._clock.wall()) < self._keep:
                self._put_back({"since": self._clock.wall(), **task}, number, held)
                return None
            if status == "in_doubt" and self.repeats_safely and task.get("runs", 0) < _MOST_RUNS:
                runs = task.get("runs", 0) + 1
                self._put_back({**task, "runs": runs}, number, min(0.5 * 2.0**runs, _LONGEST_PAUSE))
                return None
            if status == "in_doubt":
                result["job"] = job  # for `resolve`
        if job.get("webhooks"):
            result["webhooks"] = describe_deliveries(job, await_all(job))

        def finish(old: JobRecord) -> JobRecord:
            return old._replace(status=status, result=result, changed=self._clock.wall())

        return self._records.change(job_id, finish, sure=True)

    def _put_back(self, task: Mapping[str, Any], number: int, pause: float) -> None:
        """Have a job executed once more after a pause."""
        plain = {name: value for name, value in task.items() if name != "resolved"}
        if task.get("resolved") is False:
            plain["forget"] = True
        self._replace_item({**plain, "replaces": number, "due": self._clock.wall() + pause, "pause": pause})

    def _replace_item(self, task: Mapping[str, Any]) -> None:
        """Put an item into the queue that takes the place of the one that a job belongs to."""
        number = self._queue.put(dict(task))
        self._claim(task, number)
        self._dispatcher.wake()

    def _claim(self, task: Mapping[str, Any], number: int) -> None:
        """Give a job to the item that replaces its own: by the thread that has put it there, or the one that takes it.

        A process may be killed before the first has done so. Then both items are there: the old one is executed, and
        the new one finds a job that has ended.
        """

        def change(old: JobRecord) -> JobRecord:
            wanted = old.status == "in_doubt" if "resolved" in task else not old.is_final
            if old.item != task["replaces"] or not wanted:
                return old
            # What may have been processed has begun, so that it cannot be cancelled as if nothing had been sent.
            status = "running" if task.get("runs") or task.get("resolved") else "queued"
            return old._replace(
                item=number, status=status, deliveries=await_all(task["job"]), changed=self._clock.wall()
            )

        self._records.change(task["job_id"], change, sure=True)

    def _follow_up(self, job: Mapping[str, Any], record: JobRecord) -> None:
        """Enqueue what follows from the end of a job; all of it has ids that follow from that of the job."""
        if record.status == "cancelled":
            self._records.change(record.job_id, lambda old: old._replace(deliveries={}))
            return
        role = {"success": "on_success", "failed": "on_failure"}.get(record.status, "")
        if role in job:
            child = job[role]
            child_id = identify(child) if "idempotent_key" in child else derive(record, role)
            try:
                self._enqueue(child, child_id)
            except DuplicateJobError as error:
                _log.warning("%s of the job %s is not executed: %s", role, record.job_id, error)
        payload = make_payload(job, record.job_id, record.status, record.result)
        for number, hook in enumerate(job.get("webhooks", ())):
            if record.deliveries.get(str(number)) == "pending":
                self._queue.put(
                    {
                        "kind": "webhook",
                        "job_id": record.job_id,
                        "number": number,
                        "delivery": name_delivery(f"{record.job_id}-{record.item}", number),
                        "url": hook["url"],
                        "payload": payload,
                        "hooks": {"webhooks": job["webhooks"], "webhook_quorum": job.get("webhook_quorum", 1)},
                    }
                )
        self._dispatcher.wake()

    # ---- A webhook

    def _run_delivery(self, task: Mapping[str, Any]) -> None:
        job_id, number = task["job_id"], str(task["number"])
        record = self._records.find(job_id)
        if record is None or record.deliveries.get(number) != "pending":
            return
        end = self._delivery.deliver(task["url"], task["payload"], task["delivery"])
        tries = task.get("tries", 0) + 1
        if not end.is_success and tries < _MOST_DELIVERIES:
            pause = min(self._backoff * 2.0 ** (tries - 1), _LONGEST_PAUSE)
            pause = max(pause, min(end.retry_after or 0.0, 10 * _LONGEST_PAUSE))
            self._queue.put({**task, "tries": tries, "due": self._clock.wall() + pause, "pause": pause})
            return
        state = "delivered" if end.is_success else "failed"
        if state == "failed":
            reason = str(end.status or end.problem)
            _log.warning("a webhook at %s was not delivered after %d tries: %s", find_host(task["url"]), tries, reason)

        def change(old: JobRecord) -> JobRecord:
            deliveries = {**old.deliveries, number: state}
            told = {**old.result, "webhooks": describe_deliveries(task["hooks"], deliveries)}
            return old._replace(deliveries=deliveries, result=told, changed=self._clock.wall())

        self._records.change(job_id, change, sure=True)
