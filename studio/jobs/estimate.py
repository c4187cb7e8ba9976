"""How long a job will still take: its own pace in the stage that runs, the last such job's for what comes after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from studio.events import Event, Loading, Step, Writing

_SMOOTHING = 0.3
_TELLING_UNITS = 5
"""With nothing known from before, a stage of fewer units is taken for a prelude that tells nothing of the rest."""


def profile_key(mode: str, request: Mapping[str, Any]) -> str:
    """Names the kind of job: requests of one kind take about as long as each other."""
    knobs = ("variant", "frames", "width", "height", "steps", "sampler", "speed", "decode", "decode_chunk", "format")
    painting = ("painter", "refiner", "refine_from", "make", "candidates", "paint_steps", "paint_sampler")
    filling = ("clip", "factor", "slow_motion", "windows")
    turning = ("size", "views", "turntable", "turntable_frames", "turntable_size", "mesh_grid", "texture")
    own = (*painting, *filling, *turning, *(("export_fps",) if "factor" in request else ()))
    parts = [*(request.get(k) for k in knobs), *(request[k] for k in own if k in request)]
    return ":".join([mode, *(str(p) for p in parts)])


class Estimate:
    """Follows one job.

    Args:
        before: seconds by stage, in order, of the last job of this kind; may be empty.
        clock: seconds, monotonic.
    """

    def __init__(self, before: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._before = dict(before)
        self._clock = clock
        self._stage = ""
        self._since = self._at = self._heard = clock()
        self._done = 0
        self._pace: float | None = None
        self.stages: dict[str, float] = {}

    def hear(self, event: Event) -> float | None:
        """Seconds to the end of the job as of this event; None while nothing is known."""
        if isinstance(event, Step):
            return self._advance(event.stage, event.done, event.total)
        if isinstance(event, Writing):
            return self._advance("write", event.done, event.total)
        if isinstance(event, Loading):
            return self._advance(f"load {event.component}", event.done_bytes, event.total_bytes)
        return None

    def _advance(self, stage: str, done: int, total: int) -> float | None:
        now = self._clock()
        if stage != self._stage:
            # a unit that is done when its stage is first heard of began when the last stage was last heard of
            self._close(self._heard if done else now)
            self._stage, self._done, self._pace = stage, 0, None
        self._heard = now
        if done > self._done:
            pace = (now - self._at) / (done - self._done)
            self._pace = pace if self._pace is None else self._pace + _SMOOTHING * (pace - self._pace)
            self._done, self._at = done, now
        rest = self._here(total - done, now)
        after = self._after(total)
        if rest is None or after is None:
            return None
        return rest + after

    def _here(self, remaining: int, now: float) -> float | None:
        if self._pace is not None:
            return max(0.0, remaining * self._pace - (now - self._at))
        known = self._before.get(self._stage)
        return None if known is None else max(0.0, known - (now - self._since))

    def _after(self, total: int) -> float | None:
        names = list(self._before)
        if not names:
            return 0.0 if total >= _TELLING_UNITS else None
        if self._stage not in names:
            return sum(s for n, s in self._before.items() if n not in self.stages)
        return sum(self._before[n] for n in names[names.index(self._stage) + 1 :])

    def _close(self, end: float) -> None:
        if self._stage:
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + (end - self._since)
        self._since = self._at = end

    def finish(self) -> dict[str, float]:
        """Seconds by stage, in order: what the next job of this kind is estimated from."""
        self._close(self._clock())
        self._stage = ""
        return {stage: round(seconds, 3) for stage, seconds in self.stages.items()}
