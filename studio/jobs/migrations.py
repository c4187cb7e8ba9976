"""The journal's schema, step by step. A step that has shipped is never edited; a change is a new step."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def m001_jobs(db: sqlite3.Connection) -> None:
    """One row a job."""
    db.execute(
        """
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            mode TEXT NOT NULL,
            state TEXT NOT NULL,
            asked TEXT NOT NULL,
            request TEXT NOT NULL,
            request_hash TEXT NOT NULL,
            output TEXT,
            target TEXT NOT NULL,
            owner TEXT NOT NULL,
            session TEXT NOT NULL,
            attempt INTEGER NOT NULL DEFAULT 0,
            created_at REAL NOT NULL,
            started_at REAL,
            ended_at REAL,
            files TEXT NOT NULL DEFAULT '[]',
            poster TEXT,
            error TEXT,
            notices TEXT NOT NULL DEFAULT '[]',
            version INTEGER NOT NULL DEFAULT 0
        )
        """
    )
    db.execute("CREATE INDEX jobs_by_state ON jobs (state, created_at)")
    db.execute("CREATE INDEX jobs_by_time ON jobs (created_at)")
    db.execute("CREATE INDEX jobs_by_hash ON jobs (request_hash)")


def m002_profiles(db: sqlite3.Connection) -> None:
    """How long each stage of a kind of job took last time; what estimates are made from."""
    db.execute("CREATE TABLE profiles (key TEXT PRIMARY KEY, stages TEXT NOT NULL, taken_at REAL NOT NULL)")


def m003_cancel_from_elsewhere(db: sqlite3.Connection) -> None:
    """Another process than the job's own can ask it to stop."""
    db.execute("ALTER TABLE jobs ADD COLUMN cancel_asked INTEGER NOT NULL DEFAULT 0")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_jobs, m002_profiles, m003_cancel_from_elsewhere)
