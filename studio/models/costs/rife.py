"""What frames between frames cost with RIFE, as formulas.

A request names no size: a film's is known once it was looked at, a picture's once it was read. So there is no plan
before the job runs; the engine asks for one with `Between`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.models.costs import PhaseCost, Way
from studio.models.spec import VariantSpec

WORKING_BYTES_A_PIXEL = {1.0: 700, 0.5: 400, 0.25: 350}
"""Scale -> what making one frame takes beside the weights; of the padded frame, in fp32 as most of it is. Measured
with 4.25, a third more than was found; 4.0 takes half."""

_FLOP_A_PIXEL = {1.0: 42_400, 0.5: 15_200, 0.25: 8_400}
"""Scale -> of one frame; counted with 4.25. 4.0 takes up to twice as many."""

_AT = {1.0: "full size", 0.5: "half size", 0.25: "a quarter of the size"}


@dataclass(frozen=True)
class Between:
    """One frame between two: what the engine plans for, as it holds one at a time on an accelerator.

    Args:
        width, height: of the padded frame, pixels.
        scales: where motion may be looked for; the first is what was asked for, or what is best.
    """

    width: int
    height: int
    scales: tuple[float, ...]
    frames: int = 1


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """One phase, its ways by scale; none for a request, which names no size."""
    scales = getattr(wish, "scales", ())
    if not scales:
        return ()
    pixels = wish.width * wish.height
    ways = tuple(
        Way(
            f"motion at {_AT[scale]}",
            WORKING_BYTES_A_PIXEL[scale] * pixels,
            _FLOP_A_PIXEL[scale] * pixels,
            exact=scale == scales[0],
            choice=scale,
            notice="" if scale == scales[0] else f"Motion is looked for at {_AT[scale]}, for want of memory.",
        )
        for scale in scales
    )
    return (PhaseCost("interpolate", ("network",), ways),)
