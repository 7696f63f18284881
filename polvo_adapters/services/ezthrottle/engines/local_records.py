"""What the local engine knows of its jobs: one record each, in memory or in a SQLite file.

Theory of operation. The queue is the truth about what has to be done; a record says what has become of it. A job
belongs to the item of the queue that its record names: another item of the same job, which a second `submit` with the
same key has put there, is dropped. A record that says how a job ended is synced to the disk before the item is
acknowledged; other changes survive the death of the process, but perhaps not that of the machine.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from polvo_adapters.services.ezthrottle.results import FINAL

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, digest TEXT NOT NULL, item INTEGER, status TEXT NOT NULL,
    result TEXT NOT NULL, deliveries TEXT NOT NULL, changed REAL NOT NULL
)
"""


class JobRecord(NamedTuple):
    """What is known of a job.

    Attributes:
        job_id: Its id.
        digest: Digest of URL, method and body: a key stands for one request.
        item: Number of the item of the queue that the job belongs to.
        status: As in a JobResult.
        result: Other values of its result.
        deliveries: State of each webhook by its number: "pending", "delivered" or "failed".
        changed: Unix time of the last change.
    """

    job_id: str
    digest: str
    item: int
    status: str = "queued"
    result: Mapping[str, Any] = {}
    deliveries: Mapping[str, str] = {}
    changed: float = 0.0

    def __repr__(self) -> str:
        return f"<JobRecord {self.job_id} {self.status}>"  # the result holds a body

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINAL

    @property
    def is_free(self) -> bool:
        """Whether its key may be used anew, as nothing of the job was done: cancelled, or never sent."""
        return self.status == "cancelled" or (self.status == "failed" and bool(self.result.get("unsent")))

    def counts(self, expired: float) -> bool:
        """Return whether a job with the same id is this one: not if it is free, or was settled before a time."""
        if not self.is_settled:
            return self.status != "cancelled"
        return not self.is_free and self.changed >= expired

    @property
    def is_settled(self) -> bool:
        """Whether the job has ended, and nothing of it is still to be delivered."""
        return self.is_final and "pending" not in self.deliveries.values()


class JobRecords(Protocol):
    """The records of all jobs, for many threads."""

    def find(self, job_id: str) -> JobRecord | None:
        """Return the record of a job, or None."""

    def add(self, record: JobRecord, expired: float) -> JobRecord:
        """Add a record unless there is one that counts, see `JobRecord.counts`; return the one that counts."""

    def change(self, job_id: str, change: Callable[[JobRecord], JobRecord], *, sure: bool = False) -> JobRecord | None:
        """Change a record, and return the new one; with `sure` it is on the disk then."""

    def prune(self, expired: float) -> int:
        """Forget jobs that are settled since before a time, and return how many."""

    def count_open(self) -> int:
        """Return how many jobs are not settled."""

    def close(self) -> None:
        """Close the file."""


class MemoryRecords:
    """Records that end with the process."""

    def __init__(self) -> None:
        self._records: dict[str, JobRecord] = {}
        self._lock = threading.Lock()

    def find(self, job_id: str) -> JobRecord | None:
        """Return the record of a job, or None."""
        return self._records.get(job_id)

    def add(self, record: JobRecord, expired: float) -> JobRecord:
        """Add a record unless there is one that counts."""
        with self._lock:
            before = self._records.get(record.job_id)
            if before is not None and before.counts(expired):
                return before
            self._records[record.job_id] = record
            return record

    def change(
        self,
        job_id: str,
        change: Callable[[JobRecord], JobRecord],
        *,
        sure: bool = False,  # noqa: ARG002
    ) -> JobRecord | None:
        """Change a record, and return the new one."""
        with self._lock:
            before = self._records.get(job_id)
            if before is None:
                return None
            self._records[job_id] = after = change(before)
            return after

    def prune(self, expired: float) -> int:
        """Forget jobs that are settled since before a time."""
        with self._lock:
            old = [each.job_id for each in self._records.values() if each.is_settled and each.changed < expired]
            for job_id in old:
                del self._records[job_id]
            return len(old)

    def count_open(self) -> int:
        """Return how many jobs are not settled."""
        with self._lock:
            return sum(not record.is_settled for record in self._records.values())

    def close(self) -> None:
        """Do nothing."""


class DiskRecords:
    """Records in a SQLite file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(_SCHEMA)
        self._connection.execute("CREATE INDEX IF NOT EXISTS by_change ON jobs (changed)")

    def find(self, job_id: str) -> JobRecord | None:
        """Return the record of a job, or None."""
        with self._lock:
            return self._read(job_id)

    def add(self, record: JobRecord, expired: float) -> JobRecord:
        """Add a record unless there is one that counts."""

        def write() -> JobRecord:
            before = self._read(record.job_id)
            if before is not None and before.counts(expired):
                return before
            self._write(record)
            return record

        with self._lock:
            if self._write(record, "IGNORE"):  # nearly always, and then without a transaction of its own
                return record
        written: JobRecord = self._transact(write, sure=False)
        return written

    def change(self, job_id: str, change: Callable[[JobRecord], JobRecord], *, sure: bool = False) -> JobRecord | None:
        """Change a record, and return the new one."""

        def write() -> JobRecord | None:
            before = self._read(job_id)
            if before is None:
                return None
            after = change(before)
            if after != before:
                self._write(after)
            return after

        written: JobRecord | None = self._transact(write, sure=sure)
        return written

    def prune(self, expired: float) -> int:
        """Forget jobs that are settled since before a time."""
        with self._lock:
            done = self._connection.execute(
                f"DELETE FROM jobs WHERE changed < ? AND status IN ({','.join('?' * len(FINAL))})"  # noqa: S608 - marks
                " AND deliveries NOT LIKE '%pending%'",
                (expired, *sorted(FINAL)),
            )
            return done.rowcount

    def count_open(self) -> int:
        """Return how many jobs are not settled."""
        with self._lock:
            row = self._connection.execute(
                f"SELECT COUNT(*) FROM jobs WHERE status NOT IN ({','.join('?' * len(FINAL))})"  # noqa: S608 - marks
                " OR deliveries LIKE '%pending%'",
                sorted(FINAL),
            ).fetchone()
            return int(row[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _transact(self, write: Callable[[], Any], *, sure: bool) -> Any:
        with self._lock:
            if sure:
                self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                value = write()
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            if sure:
                self._connection.execute("PRAGMA synchronous=NORMAL")
            return value

    def _read(self, job_id: str) -> JobRecord | None:
        row = self._connection.execute(
            "SELECT job_id, digest, item, status, result, deliveries, changed FROM jobs WHERE job_id = ?", (job_id,)
        ).fetchone()
        if row is None:
            return None
        job, digest, item, status, result, deliveries, changed = row
        return JobRecord(job, digest, item, status, json.loads(result), json.loads(deliveries), changed)

    def _write(self, record: JobRecord, otherwise: Literal["IGNORE", "REPLACE"] = "REPLACE") -> bool:
        texts = (json.dumps(record.result), json.dumps(record.deliveries))
        statement = f"INSERT OR {otherwise} INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - one of two words
        return self._connection.execute(statement, (*record[:4], *texts, record.changed)).rowcount == 1
