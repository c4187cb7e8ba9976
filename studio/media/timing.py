"""When frames are shown: exact rates, and which frames of a faster clip fall between which of a slower one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_NTSC = Fraction(1000, 1001)
_NEAR = 0.0006
"""Frames per second by which a rounded NTSC rate (23.976, 29.97, 59.94) may miss the real one, of 24."""

_LONG = 3
"""A frame that is shown so many times as long as usual stands still until what comes after it is as near as usual."""


def exact_rate(fps: float) -> Fraction:
    """The rate that is meant: 23.976 is 24000/1001, 12.5 is 25/2."""
    whole = round(fps * 1.001)
    ntsc = whole * _NTSC
    if whole and abs(fps - ntsc) <= _NEAR * whole / 24 and fps != whole:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def frame_count(duration_s: Fraction, rate: Fraction) -> int:
    """How many frames last as long, to the nearest; one at least."""
    return max(1, math.floor(duration_s * rate + Fraction(1, 2)))


@dataclass(frozen=True)
class Span:
    """Frames to be made between two of the source, by their indices; at 0 is the first's time, at 1 the second's."""

    first: int
    second: int
    at: tuple[float, ...]


def spans(
    times: Sequence[Fraction],
    end: Fraction,
    rate: Fraction,
    *,
    slow_motion: Fraction = Fraction(1),
    cuts: Collection[int] = (),
    left_out: Collection[int] = (),
    closed: bool = False,
    most: int = 16,
) -> Iterator[Span]:
    """All frames of a clip of that rate, in order: frame k at k / rate seconds, `frame_count` of them.

    Args:
        times: of the source's frames, seconds from 0, growing.
        end: when its last frame is over.
        slow_motion: how many times as long it is to last.
        cuts: frames that follow a cut: nothing is made across it, the nearer frame is shown.
        left_out: frames that only repeat the one before; never the first.
        closed: whether the first frame follows the last at `end`; else the last is held until then.
        most: frames in one span.
    """
    total = frame_count(end * slow_motion, rate)
    slowed = slow_motion * rate
    keys = [i for i in range(len(times)) if i not in left_out]
    usual = _usual(times, end)
    k = 0
    for a, b in pairwise([*keys, None]):
        last = b is None
        until = end if b is None else times[b]
        second = a if b is None else b
        if last and closed:
            second = keys[0]
        still = (last and not closed) or second == a
        begins = times[a] if until - times[a] <= _LONG * usual * _skipped(a, b, len(times)) else until - usual
        reached = until * slowed
        at: list[float] = []
        while k < total and (last or k < reached):
            where = max(Fraction(0), (k / slowed - begins) / (until - begins)) if not still else Fraction(0)
            where = min(where, Fraction(1))
            if second in cuts:
                where = Fraction(int(where >= Fraction(1, 2)))
            at.append(float(where))
            k += 1
            if len(at) == most:
                yield Span(a, second, tuple(at))
                at = []
        if at:
            yield Span(a, second, tuple(at))


def _skipped(a: int, b: int | None, count: int) -> int:
    """How many frames' time lies between two that are kept."""
    return (count if b is None else b) - a


def _usual(times: Sequence[Fraction], end: Fraction) -> Fraction:
    """The median time for which a frame is shown."""
    lengths = sorted(b - a for a, b in pairwise([*times, end]))
    return lengths[len(lengths) // 2]
