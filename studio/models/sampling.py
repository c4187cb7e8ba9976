"""How a clip's latents are sampled: in more or less memory, and exactly or quicker than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FF_ROWS = 1 << 15
"""Tokens, counted over branches and frames, that a sliced feed-forward takes at a time: enough to keep a GPU busy."""

DISTILLED = "draft_unet"
"""The component that is a UNet trained for few steps; a variant may come without."""


@dataclass(frozen=True)
class Approximate:
    """What may be left out where a result near the exact one will do.

    Args:
        cache_every: of so many evaluations of the UNet one is whole, the first and the last always; the others run its
            last layer alone on what the whole one before them kept. 1 keeps nothing.
        guided_down_to: below this noise level there is no unconditional branch, and no guidance. 0 keeps it.
        quantise: what the UNet's large matrices are held in: "" for what they are.

    Source: Ma et al. 2024, "DeepCache: Accelerating Diffusion Models for Free"; Kynkaanniemi et al. 2024, "Applying
    Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models".
    """

    cache_every: int = 3
    guided_down_to: float = 0.3
    quantise: Literal["", "int8", "fp8"] = ""

    def __post_init__(self) -> None:
        assert self.cache_every >= 1, self.cache_every

    def whole(self, evaluation: int, evaluations: int) -> bool:
        """True where that one of so many evaluations, counted from 0, runs the whole UNet."""
        return evaluation % self.cache_every == 0 or evaluation == evaluations - 1


@dataclass(frozen=True)
class Sample:
    """One way to run the UNet.

    Args:
        branches_at_once: guided and unguided in one call; else one after the other, in half the memory.
        ff_rows: most tokens that a feed-forward takes at a time; None takes all. Only with the exact savings.
        approximate: what is left out; None nothing, so that ways differ by rounding alone.
    """

    branches_at_once: bool = True
    ff_rows: int | None = None
    approximate: Approximate | None = None

    @property
    def quantise(self) -> Literal["", "int8", "fp8"]:
        """What the UNet's large matrices are held in; "" for what they are."""
        return "" if self.approximate is None else self.approximate.quantise


def unet_of(wish: Any) -> str:
    """The component that samples for that request: the sampler for few steps goes with the UNet that was trained for
    few, and no other one does. So what a request says decides, whatever is installed since it was completed."""
    return DISTILLED if getattr(wish, "sampler", None) == "lcm" else "unet"
