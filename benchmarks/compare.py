"""Two ways of doing the same thing, timed in turns, with an identity control.

On a shared machine a single time means little. Here each round runs the baseline, the candidate and the baseline
once more; the ratio of a round's candidate to its baseline is the result, and the ratio of its two baselines, which
ought to be 1, says how far to trust it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Task = Callable[[], object]


def compare(
    baseline: Task,
    candidate: Task,
    *,
    rounds: int,
    budget_s: float = float("inf"),
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    budget_clock: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Medians of both in seconds, the median ratio candidate / baseline, and the identity control's.

    Args:
        rounds: each of three runs, in an order that rotates, so that no place in it is anyone's own.
        budget_s: no round begins that would, at the pace so far, end after this; at least one runs.
        warm_up: rounds that run first and are not counted; the budget counts them.
        clock: seconds; one that waits for the device first where the tasks do not.
        budget_clock: what the budget is of, where `clock` does not tell the time: processor seconds, say.
    """
    tasks = {"baseline": baseline, "candidate": candidate, "again": baseline}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    spent = budget_clock or clock
    begun = spent()
    for _ in range(warm_up):
        baseline()
        candidate()
    for i in range(rounds):
        round_begun = spent()
        for name in _rotated(list(tasks), i):
            started = clock()
            tasks[name]()
            times[name].append(clock() - started)
        now = spent()
        if now - begun + (now - round_begun) > budget_s:
            break
    ratios = [c / b for b, c in zip(times["baseline"], times["candidate"], strict=True)]
    control = [a / b for b, a in zip(times["baseline"], times["again"], strict=True)]
    return {
        "baseline_s": statistics.median(times["baseline"]),
        "candidate_s": statistics.median(times["candidate"]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "identity_ratio": statistics.median(control),
        "identity_range": [min(control), max(control)],
        "rounds": len(ratios),
    }


def _rotated(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]
