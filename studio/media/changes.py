"""How much a film changes from frame to frame, and what that says: cuts, and frames that only repeat the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np


class Change(NamedTuple):
    """From one frame to the next, of small pictures of their luma.

    Args:
        moved: mean difference, 0..1.
        most: largest difference, 0..1.
        other: how much of the histograms, taken in the picture's quarters, has no counterpart, 0..1.
    """

    moved: float
    most: float
    other: float


class Changes:
    """Collects them; holds one picture at a time."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._found: list[Change] = []

    def add(self, luma: np.ndarray) -> None:
        """The next frame's, uint8 (h, w)."""
        now = (luma, _histograms(luma))
        if self._before is not None:
            apart = cv2.absdiff(luma, self._before[0])
            other = float(np.abs(now[1] - self._before[1]).sum() / 2)
            self._found.append(Change(float(apart.mean() / 255), float(apart.max() / 255), other))
        self._before = now

    def found(self) -> tuple[Change, ...]:
        """One for every frame but the first."""
        return tuple(self._found)


def _histograms(luma: np.ndarray) -> np.ndarray:
    """float (4, 32) of the picture's quarters, all of them adding up to 1."""
    height, width = luma.shape
    parts = [luma[y : y + height // 2, x : x + width // 2] for y in (0, height // 2) for x in (0, width // 2)]
    return np.stack([np.bincount(part.ravel() >> 3, minlength=32) for part in parts]) / luma.size


_CUT_MOVED, _CUT_OTHER = 0.05, 0.2
_CUT_TIMES = 2.5
"""A cut changes at least so much, and so many times as much as the frames around it. On public clips real cuts change
by 0.2 and four times as much or more; what only moves fast, by less than twice as much as what is around it."""

_POP_MOVED, _POP_MOST, _POP_TIMES = 0.004, 0.5, 6.0
"""Where hardly anything moves, less will do: a title that is there all at once."""

_AROUND = 4
"""Frames on either side."""

_REPEAT_MOVED, _REPEAT_MOST = 0.001, 0.016
"""Changes no larger than that are the coder's, a quarter of a level on the whole and four at one place."""

_LONGEST = 3
"""Frames for which a drawing may be shown to count as animation; what is still for longer is meant to be."""


def find_cuts(changes: Sequence[Change]) -> tuple[int, ...]:
    """The frames that follow a cut.

    A cut stands out from the changes around it, all but one: where two cuts are near, or one frame flashes, each still
    stands out.
    """
    found = []
    for i, change in enumerate(changes):
        around = [*changes[max(0, i - _AROUND) : i], *changes[i + 1 : i + 1 + _AROUND]]
        usual = sorted(c.moved for c in around)[-2] if len(around) > 1 else 0.0
        cut = change.moved >= max(_CUT_MOVED, _CUT_TIMES * usual) and change.other >= _CUT_OTHER
        pop = change.moved >= max(_POP_MOVED, _POP_TIMES * usual) and change.most >= _POP_MOST
        if cut or pop:
            found.append(i + 1)
    return tuple(found)


def find_repeats(changes: Sequence[Change]) -> tuple[int, ...]:
    """The frames that only repeat the one before, as in drawings that are shown for two or three frames each."""
    same = [_same(change) for change in changes]
    found: list[int] = []
    start = 0
    while start < len(same):
        end = start
        while end < len(same) and same[end]:
            end += 1
        if start < end <= start + _LONGEST - 1 and end < len(same):
            found += range(start + 1, end + 1)
        start = end + 1
    return tuple(found)


def stands_still(changes: Sequence[Change]) -> bool:
    """True where nothing moves from the first frame to the last."""
    return all(map(_same, changes))


def _same(change: Change) -> bool:
    return change.moved <= _REPEAT_MOVED and change.most <= _REPEAT_MOST
