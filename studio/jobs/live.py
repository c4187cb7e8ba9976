"""`Live`: what is known of a job beyond the journal while its studio process lives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from studio import events
from studio.events import Event
from studio.jobs.estimate import Estimate

_SUPERSEDED = (events.Loading, events.Step, events.Preview, events.Writing, events.Queued)


class Live:
    """One job's.

    Attributes:
        kept_steps: how many steps it had kept when its process last died.
        spared: its process is stopped because of another job, which is not to count as an attempt.
        version: grows with every event.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.progress: Event | None = None
        self.preview: str | None = None
        self.notices: list[str] = []
        self.estimate: Estimate | None = None
        self.started = 0.0
        self.cancelled = False
        self.spared = False
        self.kept_steps = 0
        self.version = 0


def without_superseded(fresh: Sequence[Event]) -> Iterator[Event]:
    """The events without those that the next one of their kind and stage replaces."""
    for i, event in enumerate(fresh):
        later = fresh[i + 1] if i + 1 < len(fresh) else None
        same_stage = getattr(event, "stage", None) == getattr(later, "stage", None)
        if not (isinstance(event, _SUPERSEDED) and type(event) is type(later) and same_stage):
            yield event
