"""In which order waiting jobs start: as they came, but a variant that is in place may be used again first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from studio.jobs.job import Job

MOST_OVERTAKEN = 3
"""So many later jobs may start before an earlier one."""
WAITS_S = 600
"""Whoever has waited for so long is overtaken no more."""


def start_order(
    waiting: Sequence[Job], in_place: str | None, overtaken: Mapping[str, int], *, window: int, now_s: float
) -> Iterator[Job]:
    """The waiting jobs in the order in which they start, as far as is known now.

    The next is the first of the variant in place among the first `window` of them, unless somebody whom it would
    overtake may not be overtaken: one that was overtaken `MOST_OVERTAKEN` times, that waits since `WAITS_S`, or that
    was started before and lost its device process. Then it is whoever came first.

    Variants change no more often than in the order of submission, whatever comes in later: taking a job out of a
    sequence adds no change to it, and neither does putting it behind one of its own variant.

    Args:
        waiting: in the order of submission.
        in_place: the variant of the job that ran last, None where none did.
        overtaken: job id -> how often it was overtaken already.
        window: 0 or 1 for the order of submission.
        now_s: seconds since the epoch.
    """
    left, counts = list(waiting), dict(overtaken)
    while left:
        place = _next(left[: max(1, window)], in_place, counts, now_s)
        for job in left[:place]:
            counts[job.id] = counts.get(job.id, 0) + 1
        chosen = left.pop(place)
        in_place = chosen.variant
        yield chosen


def _next(near: Sequence[Job], in_place: str | None, overtaken: Mapping[str, int], now_s: float) -> int:
    for place, job in enumerate(near):
        if job.variant == in_place:
            return place
        if overtaken.get(job.id, 0) >= MOST_OVERTAKEN or now_s - job.created_at >= WAITS_S or job.attempt > 0:
            break
    return 0
