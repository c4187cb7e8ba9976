"""A benchmark in parts: each has its own guard and its share of the time, and is kept as soon as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Figures = dict[str, Any]


class Parts:
    """The figures of a benchmark while it runs. What one part fails by is noted in its place, and the next one runs.

    Args:
        keep: is given all figures after each part.
        budget_s: for everything from now on.
        tidy: called after each part, whatever became of it.
    """

    def __init__(
        self,
        keep: Callable[[Figures], None],
        budget_s: float,
        *,
        tidy: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.figures: Figures = {}
        self._keep, self._budget_s, self._tidy, self._clock = keep, budget_s, tidy, clock
        self._begun = clock()

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left; less than none where it is overdrawn."""
        return self._budget_s - (self._clock() - self._begun)

    def fact(self, **known: Any) -> None:
        """These figures are known already."""
        self.figures.update(known)

    def part(self, name: str, work: Callable[[float], Any], *, share: float = 1.0, least_s: float = 0.0) -> bool:
        """`figures[name]` is what the work gives, or a sentence under ``failed`` or ``left_out``. True if it is done.

        Args:
            work: is given the seconds that it may take; a mapping's figures are merged into those of the name.
            share: of what is left of the budget.
            least_s: it is not begun with less than this left.
        """
        left_s = self.left_s
        if left_s < max(least_s, 0.0):
            self.leave_out(name, f"{max(left_s, 0):.0f} s were left, and it takes {least_s:.0f}")
            return False
        try:
            self._note(name, work(left_s * share))
            return True
        except Exception as e:
            self._note(name, {"failed": _sentence(e)})
            return False
        finally:
            self._tidy()

    def leave_out(self, name: str, why: str) -> None:
        """The part is not done."""
        self._note(name, {"left_out": why})

    def _note(self, name: str, found: Any) -> None:
        self.figures[name] = found
        self.figures["elapsed_s"] = self._budget_s - self.left_s
        self._keep(self.figures)


def failed_parts(figures: Figures) -> dict[str, str]:
    """Part -> why it failed."""
    return {name: f["failed"] for name, f in figures.items() if isinstance(f, dict) and "failed" in f}


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__
