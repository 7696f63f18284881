"""What a local engine does with its jobs: into the queue, through their attempts, to what follows from their end.

A process may be killed anywhere: the next one takes up what was not acknowledged. That makes a job begin twice at
times, but never act twice:

* the id of a job follows from its key (or from URL, method and body), so that a second submission is the same job, and
  its record tells how it ended;
* a POST or PATCH has its key in the record of idempotency keys before it leaves. After the death of the process the
  server is asked again with the same key, if it honours keys; otherwise the job is in doubt, and says so;
* what follows has ids that follow from the job, so that it is enqueued twice and done once. A webhook may come twice,
  with the same `X-EZThrottle-Delivery`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from polvo_adapters.core.calls import find_host
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.logs import logger
from polvo_adapters.services.ezthrottle.engines.local_attempts import Attempts
from polvo_adapters.services.ezthrottle.engines.local_delivery import (
    Delivery,
    describe_deliveries,
    make_payload,
    name_delivery,
)
from polvo_adapters.services.ezthrottle.engines.local_execution import execute
from polvo_adapters.services.ezthrottle.engines.local_files import LocalFiles
from polvo_adapters.services.ezthrottle.engines.local_records import JobRecord
from polvo_adapters.services.ezthrottle.engines.local_results import (
    LAPSED,
    await_all,
    derive,
    describe,
    digest_of,
    identify,
    may_act_twice,
)
from polvo_adapters.services.ezthrottle.errors import DuplicateJobError, InDoubtError

_MOST_DELIVERIES = 9
_MOST_RUNS = 12  # of a job whose answers are lost again and again, at a server that honours keys
_LONGEST_PAUSE = 60.0
_PRUNED_EVERY = 500

_log = logger("ezthrottle")


class JobRunner:
    """Puts jobs into the queue, and does what the queue hands out: jobs and webhooks.

    Args:
        files: The queue and the records.
        attempts: Makes the calls of a job.
        delivery: Delivers webhooks.
        clock: Time.
        keep: Seconds for which the result of a job is kept.
        backoff: Seconds between the first two tries to deliver a webhook.
        honours_keys: Whether the servers honour idempotency keys.
        wake: Has the dispatcher look at the queue.
    """

    def __init__(
        self,
        files: LocalFiles,
        attempts: Attempts,
        delivery: Delivery,
        clock: Clock,
        *,
        keep: float,
        backoff: float,
        honours_keys: bool,
        wake: Callable[[], object],
    ) -> None:
        self._files, self._attempts, self._delivery, self._clock = files, attempts, delivery, clock
        self._keep, self._backoff, self._honours_keys, self._wake = keep, backoff, honours_keys, wake
        self._ended = 0

    def enqueue(self, job: Mapping[str, Any], job_id: str, digest: str | None = None) -> dict[str, Any]:
        """Put a job into the queue, unless it is known already."""
        digest = digest_of(job) if digest is None else digest
        now = self._clock.wall()
        known = self._files.records.find(job_id)
        if known is not None and known.counts(now - self._keep):
            return self._report_duplicate(known, digest, job)
        task: dict[str, Any] = {"kind": "job", "job_id": job_id, "job": job}
        if "retry_at" in job:
            task["due"] = job["retry_at"] / 1000
        number = self._files.queue.put(task)
        record = JobRecord(job_id, digest, number, deliveries=await_all(job), changed=now)
        try:
            counts = self._files.records.add(record, now - self._keep)
        except sqlite3.Error as error:
            raise self._make_doubt(error, job) from None
        self._wake()
        if counts.item != number:  # another thread or process was faster; the dispatcher drops this item
            return self._report_duplicate(counts, digest, job)
        return {"job_id": job_id, "status": "queued", "idempotent_key": job.get("idempotent_key", job_id)}

    def _make_doubt(self, error: sqlite3.Error, job: Mapping[str, Any]) -> InDoubtError:
        """Return the error for a job that is in the queue and has no record: it is executed if it was not before."""
        return InDoubtError(
            f"the queue at {self._files.path} cannot be used: {error}; the job may have been accepted: submit it again "
            "with the same key, or the same URL, method and body",
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

    def do(self, number: int, task: dict[str, Any]) -> None:
        """Do a task of the queue, on a worker."""
        if task["kind"] == "job":
            self._run_job(number, task)
        else:
            self._run_delivery(task)
        self._ended += 1
        if self._ended % _PRUNED_EVERY == 0:
            self._files.records.prune(self._clock.wall() - self._keep)

    def _run_job(self, number: int, task: Mapping[str, Any]) -> None:
        job, job_id = task["job"], task["job_id"]
        if "replaces" in task:
            self._claim(task, number)
        now = self._clock.wall()
        new = JobRecord(job_id, digest_of(job), number, deliveries=await_all(job), changed=now)
        record = self._files.records.add(new, now - self._keep)
        if record.item != number:
            return  # the job belongs to another item
        if not record.is_final:
            begun = self._files.records.change(
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
            if status == "in_doubt" and self._honours_keys and task.get("runs", 0) < _MOST_RUNS:
                runs = task.get("runs", 0) + 1
                self._put_back({**task, "runs": runs}, number, min(0.5 * 2.0**runs, _LONGEST_PAUSE))
                return None
            if status == "in_doubt":
                result["job"] = job  # for `resolve`
        if job.get("webhooks"):
            result["webhooks"] = describe_deliveries(job, await_all(job))

        def finish(old: JobRecord) -> JobRecord:
            return old._replace(status=status, result=result, changed=self._clock.wall())

        return self._files.records.change(job_id, finish, sure=True)

    def _put_back(self, task: Mapping[str, Any], number: int, pause: float) -> None:
        """Have a job executed once more after a pause."""
        plain = {name: value for name, value in task.items() if name != "resolved"}
        if task.get("resolved") is False:
            plain["forget"] = True
        self.replace_item({**plain, "replaces": number, "due": self._clock.wall() + pause, "pause": pause})

    def replace_item(self, task: Mapping[str, Any]) -> None:
        """Put an item into the queue that takes the place of the one that a job belongs to."""
        number = self._files.queue.put(dict(task))
        self._claim(task, number)
        self._wake()

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

        self._files.records.change(task["job_id"], change, sure=True)

    def _follow_up(self, job: Mapping[str, Any], record: JobRecord) -> None:
        """Enqueue what follows from the end of a job; all of it has ids that follow from that of the job."""
        if record.status == "cancelled":
            self._files.records.change(record.job_id, lambda old: old._replace(deliveries={}))
            return
        role = {"success": "on_success", "failed": "on_failure"}.get(record.status, "")
        if role in job:
            child = job[role]
            child_id = identify(child) if "idempotent_key" in child else derive(record, role)
            try:
                self.enqueue(child, child_id)
            except DuplicateJobError as error:
                _log.warning("%s of the job %s is not executed: %s", role, record.job_id, error)
        payload = make_payload(job, record.job_id, record.status, record.result)
        for number, hook in enumerate(job.get("webhooks", ())):
            if record.deliveries.get(str(number)) == "pending":
                self._files.queue.put(
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
        self._wake()

    def _run_delivery(self, task: Mapping[str, Any]) -> None:
        job_id, number = task["job_id"], str(task["number"])
        record = self._files.records.find(job_id)
        if record is None or record.deliveries.get(number) != "pending":
            return
        end = self._delivery.deliver(task["url"], task["payload"], task["delivery"])
        tries = task.get("tries", 0) + 1
        if not end.is_success and tries < _MOST_DELIVERIES:
            pause = min(self._backoff * 2.0 ** (tries - 1), _LONGEST_PAUSE)
            pause = max(pause, min(end.retry_after or 0.0, 10 * _LONGEST_PAUSE))
            self._files.queue.put({**task, "tries": tries, "due": self._clock.wall() + pause, "pause": pause})
            return
        state = "delivered" if end.is_success else "failed"
        if state == "failed":
            reason = str(end.status or end.problem)
            _log.warning("a webhook at %s was not delivered after %d tries: %s", find_host(task["url"]), tries, reason)

        def change(old: JobRecord) -> JobRecord:
            deliveries = {**old.deliveries, number: state}
            told = {**old.result, "webhooks": describe_deliveries(task["hooks"], deliveries)}
            return old._replace(deliveries=deliveries, result=told, changed=self._clock.wall())

        self._files.records.change(job_id, change, sure=True)
