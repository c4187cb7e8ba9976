"""`Task`: what a runner needs to run a job; plain data, so that it can cross a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Layout = Literal["beside", "folder", "alone"]
"""Where what goes with a clip lies: beside it under its name; with it in a folder of the job's own; nowhere."""


class Task(BaseModel):
    """One run of one job.

    Args:
        request: complete, as `Job.request`.
        target: the file to write; its suffix is the format.
        output: what was asked for: that file, or its folder; "" where the studio chose.
        poster: where the small picture of the clip goes.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    mode: str
    request: dict[str, Any]
    target: Path
    output: str = ""
    poster: Path
