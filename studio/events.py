"""What a job says about itself while it lives: frozen data, the same in memory, on a pipe and in JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str


class Queued(_Event):
    """The job waits; `position` is 1 for the next one to run."""

    kind: Literal["queued"] = "queued"
    position: int = Field(ge=1)


class Started(_Event):
    """A runner took the job. `attempt` is 1, and one more each time after the device process died."""

    kind: Literal["started"] = "started"
    attempt: int = 1


class Loading(_Event):
    """Weights are on their way to the device."""

    kind: Literal["loading"] = "loading"
    component: str
    done_bytes: int
    total_bytes: int


class Step(_Event):
    """`done` of `total` units of `stage` are finished; `eta_s` is for the whole job, None while unknown."""

    kind: Literal["step"] = "step"
    stage: str
    done: int
    total: int
    eta_s: float | None = None


class Preview(_Event):
    """`path` is an animated WebP of all frames as they look now; it is replaced, so read it at once."""

    kind: Literal["preview"] = "preview"
    path: str
    width: int
    height: int


class Writing(_Event):
    """`done` of `total` frames are in the file (under its temporary name)."""

    kind: Literal["writing"] = "writing"
    done: int
    total: int
    eta_s: float | None = None


class Notice(_Event):
    """One sentence that the user should see although the job goes on: an option ignored, a picture cropped."""

    kind: Literal["notice"] = "notice"
    message: str


class Finished(_Event):
    """The files are whole and named; the first is the clip."""

    kind: Literal["finished"] = "finished"
    files: tuple[str, ...]
    elapsed_s: float


class Failed(_Event):
    """The job is over without a file. `error` is a kind of `studio.errors`, or ``unexpected``."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str
    remedy: str = ""
    field: str | None = None


class CancelledEvent(_Event):
    """The job is over because the user said so; nothing was left behind."""

    kind: Literal["cancelled"] = "cancelled"


Event = Queued | Started | Loading | Step | Preview | Writing | Notice | Finished | Failed | CancelledEvent

_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def event_from_json(text: str | bytes) -> Event:
    """The event that `event.model_dump_json()` wrote."""
    return _adapter.validate_json(text)


def event_from_dict(data: dict[str, Any]) -> Event:
    """The event that `event.model_dump()` wrote."""
    return _adapter.validate_python(data)


def is_last(event: Event) -> bool:
    """True for the events after which a job says nothing more."""
    return isinstance(event, (Finished, Failed, CancelledEvent))
