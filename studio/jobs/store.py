"""`Journal`: every job that was ever submitted, in sqlite. A restart, a reload, another browser read it here."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio.errors import BadInput, StudioError, WriteFailed
from studio.events import event_from_json
from studio.jobs.job import Job, State
from studio.jobs.migrations import MIGRATIONS

_COLUMNS = (
    "id, mode, state, asked, request, request_hash, output, target, owner, session, attempt, created_at, started_at, "
    "ended_at, files, poster, error, notices, version"
)


class Journal:
    """The database of one home folder; safe from several threads and several processes.

    Raises:
        StudioError: the file is newer than this studio, or is not a journal.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._migrate()
        except sqlite3.DatabaseError as e:
            self._db.close()
            raise StudioError(f"{path} can't be read as a journal ({e}).", "Move it away to start a new one.") from e

    def close(self) -> None:
        """Closes the database; the journal can't be used any more."""
        with self._lock:
            self._db.close()

    def _migrate(self) -> None:
        with self._write() as db:
            have = db.execute("PRAGMA user_version").fetchone()[0]
            if have > len(MIGRATIONS):
                raise StudioError(
                    f"{self.path} was written by a newer studio (schema {have}, this one knows {len(MIGRATIONS)}).",
                    "Update the studio, or choose another --home.",
                )
            for number, migrate in enumerate(MIGRATIONS[have:], start=have + 1):
                migrate(db)
                db.execute(f"PRAGMA user_version={number}")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
        except sqlite3.OperationalError as e:
            raise WriteFailed(f"The journal can't be written ({e}).", "Free some space; nothing was lost.") from e

    def _rows(self, where: str, values: Sequence[Any] = (), tail: str = "") -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where} {tail}", values).fetchall()

    def add(self, job: Job, *, target: Path, owner: str, session: str) -> None:
        """Journals a new job.

        Args:
            target: the file that it will write.
            owner: the studio process that will run it.
            session: whoever asked, so that a double click is told from two wishes.
        """
        with self._write() as db:
            db.execute(
                "INSERT INTO jobs (id, mode, state, asked, request, request_hash, output, target, owner, session, "
                "created_at, notices) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    job.id, job.mode, job.state, json.dumps(job.asked), json.dumps(job.request), job.request_hash,
                    job.output, str(target), owner, session, job.created_at, json.dumps(job.notices),
                ),
            )  # fmt: skip

    def get(self, job_id: str) -> Job:
        """The job as journaled.

        Raises:
            BadInput: there is none of this id.
        """
        rows = self._rows("id = ?", (job_id,))
        if not rows:
            raise BadInput(f"There is no job {job_id!r}.", "See: python -m studio history")
        return self._job(rows[0])

    def target(self, job_id: str) -> Path:
        """The file that the job writes."""
        return Path(self._rows("id = ?", (job_id,))[0]["target"])

    def update(self, job_id: str, *, if_state: tuple[State, ...] = (), **values: Any) -> bool:
        """Changes a job's columns; False where its state is not one of `if_state` (then nothing changes)."""
        names = {"files", "notices"}
        sets = ", ".join(f"{name} = ?" for name in values)
        given = [json.dumps(v) if k in names else v for k, v in values.items()]
        where = "id = ?"
        keys: list[Any] = [job_id]
        if if_state:
            where += f" AND state IN ({','.join('?' * len(if_state))})"
            keys += if_state
        with self._write() as db:
            done = db.execute(f"UPDATE jobs SET {sets}, version = version + 1 WHERE {where}", [*given, *keys])
            return done.rowcount > 0

    def delete(self, job_id: str) -> None:
        """Forgets the job."""
        with self._write() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def queue(self, owner: str | None = None) -> list[Job]:
        """The waiting jobs in the order of submission; only that owner's where one is given."""
        where, values = "state = 'queued'", ()
        if owner is not None:
            where, values = "state = 'queued' AND owner = ?", (owner,)
        rows = self._rows(where, values, "ORDER BY created_at, id")
        return [self._job(row, position=i) for i, row in enumerate(rows, start=1)]

    def waiting(self) -> int:
        """How many jobs wait."""
        with self._lock:
            return self._db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]

    def position(self, job_id: str, created_at: float) -> int:
        """The job's place among those that wait, 1 for the first; they need not start in this order."""
        with self._lock:
            found = self._db.execute(
                "SELECT count(*) FROM jobs WHERE state = 'queued' AND (created_at, id) <= (?, ?)", (created_at, job_id)
            )
            return found.fetchone()[0]

    def history(
        self, *, limit: int, before: float | None = None, states: tuple[State, ...] = (), mode: str | None = None
    ) -> list[Job]:
        """Jobs, newest first."""
        where, values = ["1"], []
        if before is not None:
            where.append("created_at < ?")
            values.append(before)
        if states:
            where.append(f"state IN ({','.join('?' * len(states))})")
            values += states
        if mode is not None:
            where.append("mode = ?")
            values.append(mode)
        rows = self._rows(" AND ".join(where), [*values, limit], "ORDER BY created_at DESC, id DESC LIMIT ?")
        return [self._job(row) for row in rows]

    def with_hash(self, request_hash: str, states: tuple[State, ...]) -> list[Job]:
        """Jobs of an equal request, newest first."""
        marks = ",".join("?" * len(states))
        rows = self._rows(
            f"request_hash = ? AND state IN ({marks})", (request_hash, *states), "ORDER BY created_at DESC"
        )
        return [self._job(row) for row in rows]

    def twin(self, session: str, asked: dict[str, Any], since: float) -> Job | None:
        """The open job that this session asked for in the same words since then, if there is one."""
        rows = self._rows(
            "session = ? AND created_at >= ? AND asked = ? AND state IN ('queued', 'running')",
            (session, since, json.dumps(asked)),
        )
        return self._job(rows[0]) if rows else None

    def open_owners(self) -> set[str]:
        """The owners of jobs that have not ended."""
        with self._lock:
            found = self._db.execute("SELECT DISTINCT owner FROM jobs WHERE state IN ('queued', 'running')")
            return {row[0] for row in found}

    def owner(self, job_id: str) -> str:
        """The studio process that runs the job."""
        return self._rows("id = ?", (job_id,))[0]["owner"]

    def cancel_asked(self, owner: str) -> list[Job]:
        """The owner's open jobs that another process wants cancelled."""
        rows = self._rows("cancel_asked AND owner = ? AND state IN ('queued', 'running')", (owner,))
        return [self._job(row) for row in rows]

    def interrupt(self, owner: str) -> list[tuple[str, Path]]:
        """Marks what a dead owner was running as interrupted; returns the jobs with the files they were writing."""
        rows = self._rows("state = 'running' AND owner = ?", (owner,))
        for row in rows:
            self.update(row["id"], if_state=("running",), state="interrupted", ended_at=time.time())
        return [(row["id"], Path(row["target"])) for row in rows]

    def adopt(self, owner: str, heir: str) -> None:
        """Gives a dead owner's waiting jobs to another."""
        with self._write() as db:
            db.execute("UPDATE jobs SET owner = ? WHERE state = 'queued' AND owner = ?", (heir, owner))

    def inputs_in_use(self) -> set[str]:
        """Every `input:` reference in any job's request."""
        with self._lock:
            found = self._db.execute(
                "SELECT DISTINCT value FROM jobs, json_each(jobs.request) WHERE value LIKE 'input:%'"
            )
            return {row[0] for row in found}

    def profile(self, key: str) -> dict[str, float]:
        """Seconds by stage of the last job of this kind, in order; empty where there was none."""
        with self._lock:
            row = self._db.execute("SELECT stages FROM profiles WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else {}

    def keep_profile(self, key: str, stages: dict[str, float]) -> None:
        """Remembers how long each stage took."""
        with self._write() as db:
            db.execute(
                "INSERT INTO profiles VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET stages = excluded.stages, "
                "taken_at = excluded.taken_at",
                (key, json.dumps(stages), time.time()),
            )

    def _job(self, row: sqlite3.Row, position: int | None = None) -> Job:
        if position is None:
            position = self.position(row["id"], row["created_at"]) if row["state"] == "queued" else 0
        return Job(
            id=row["id"],
            mode=row["mode"],
            state=row["state"],
            asked=json.loads(row["asked"]),
            request=json.loads(row["request"]),
            request_hash=row["request_hash"],
            output=row["output"],
            position=position,
            attempt=row["attempt"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            files=tuple(json.loads(row["files"])),
            poster=row["poster"],
            error=event_from_json(row["error"]) if row["error"] else None,
            notices=tuple(json.loads(row["notices"])),
            version=row["version"],
        )
