"""`Job`: one request on its way, as the journal knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.errors import StudioError
from studio.events import Event, Failed

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
"""``interrupted``: the studio itself was killed while the job ran; it can be run again."""

OPEN_STATES = ("queued", "running")


class Job(BaseModel):
    """A snapshot; ask the studio again for a newer one.

    Args:
        request: complete, as it is run: nothing is left to a default.
        asked: as it was given, before presets and defaults.
        request_hash: sha256 over the request with its files' contents; equal hashes make equal clips.
        position: in the queue, in the order of submission, 1 is the first; 0 where it does not wait. A job of the
            variant that is in place may start before others (`studio.jobs.order`).
        files: whole and named; the first is the clip. Empty until done.
        poster: a small picture of the clip, or None.
        progress: the newest Loading, Step or Writing event of a running job.
        preview: path of the newest preview (animated WebP) of a running job, or None.
        notices: sentences for the user.
        times: seconds since the epoch.
        version: grows with every change; a page redraws when it sees another one.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    mode: str
    state: State
    request: dict[str, Any]
    asked: dict[str, Any] = Field(default_factory=dict)
    request_hash: str
    output: str | None = None
    position: int = 0
    attempt: int = 0
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    files: tuple[str, ...] = ()
    poster: str | None = None
    error: Failed | None = None
    notices: tuple[str, ...] = ()
    progress: Event | None = None
    preview: str | None = None
    version: int = 0

    @property
    def open(self) -> bool:
        """True while the job may still change by itself."""
        return self.state in OPEN_STATES

    @property
    def variant(self) -> str:
        """The variant that runs it."""
        return str(self.request.get("variant", ""))

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from start to end, None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at

    def public(self) -> Mapping[str, Any]:
        """What `--json` prints and the API returns."""
        data = self.model_dump(mode="json", exclude={"version", "asked"})
        return {**data, "elapsed_s": self.elapsed_s}


def failed(job_id: str, error: StudioError) -> Failed:
    """The event for an error that a user can act on."""
    return Failed(job_id=job_id, error=error.kind, message=error.message, remedy=error.remedy, field=error.field)
