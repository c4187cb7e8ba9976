"""`Studio`: all that a front end ever sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.events import Event
from studio.jobs.job import Job, State
from studio.models.spec import VariantSpec
from studio.modes import Mode, Request
from studio.settings import Settings


@dataclass(frozen=True)
class VariantStatus:
    """A variant as the listing shows it.

    Args:
        usable: it can run now.
        where: file or folder of its weights, or ``embedded``; "" where there is none.
        note: why it is not usable, in one sentence; "" where it is.
        command: what to type to install it; "" where there is nothing to install.
        resident: components on the device now -> bytes.
    """

    spec: VariantSpec
    usable: bool
    where: str
    disk_bytes: int
    note: str = ""
    command: str = ""
    resident: Mapping[str, int] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Plan:
    """What a request will need: `says` is one line for a person; `fits` False means it would be refused."""

    fits: bool
    says: str
    weights_bytes: int
    device_bytes: int | None
    seconds: float | None


class Studio:
    def __init__(self, settings: Settings) -> None: ...
    def close(self) -> None: ...
    def modes(self) -> Mapping[str, Mode]: ...
    def variants(self, capability: str | None = None) -> list[VariantStatus]: ...
    def presets(self, mode: str) -> Mapping[str, Mapping[str, Any]]:
        """Preset id -> its fields (with a `title`)."""
    def check(self, request: Mapping[str, Any] | Request) -> tuple[Request, list[str]]:
        """The complete request (mode's model) and notices. Raises BadInput with .field"""
    def plan(self, request: Mapping[str, Any] | Request) -> Plan: ...
    def submit(self, request: Mapping[str, Any] | Request, *, output: Path | None = None, session: str = "") -> Job:
        """Journals the job and returns at once. request["mode"] names the mode; "preset" may name a preset.
        Raises BadInput (with .field), NotInstalled, before anything is journaled."""
    def job(self, job_id: str) -> Job:
        """Newest snapshot. BadInput if unknown. Cheap: poll it at 4 Hz and compare .version."""
    def events(self, job_id: str) -> Iterator[Event]:
        """Blocks; yields until the last event (Finished, Failed, CancelledEvent). Steps may be skipped when slow."""
    def wait(self, job_id: str, timeout_s: float | None = None) -> Job: ...
    def cancel(self, job_id: str) -> Job: ...
    def history(self, *, limit: int = 50, before: float | None = None, states: tuple[State, ...] = (), mode: str | None = None) -> list[Job]:
        """Newest first."""
    def rerun(self, job_id: str) -> Job:
        """The same request again (same seed), as a new job."""
    def rerun_file(self, path: Path, *, output: Path | None = None, inputs: Mapping[str, Path] | None = None) -> Job:
        """What a finished file's recipe says, again."""
    def delete(self, job_id: str) -> None:
        """Removes an ended job and its files (only those under the studio's outputs)."""
    def recipe(self, path: Path) -> Mapping[str, Any]: ...
    def pull(self, variant: str, report=None) -> VariantStatus: ...
    def verify(self, variant: str) -> VariantStatus: ...
    def remove(self, variant: str) -> VariantStatus: ...
    def unload(self) -> None:
        """Drops idle weights from the device."""
