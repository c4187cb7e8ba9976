"""`Task`: what a runner needs to run a job; plain data, so that it can cross a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Task(BaseModel):
    """One run of one job.

    Args:
        request: complete, as `Job.request`.
        target: the file to write; its suffix is the format.
        poster: where the small picture of the clip goes.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    mode: str
    request: dict[str, Any]
    target: Path
    poster: Path
