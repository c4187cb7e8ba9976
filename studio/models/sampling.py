"""How a clip's latents are sampled: the same numbers but for rounding, in more or less memory."""

from __future__ import annotations

from dataclasses import dataclass

FF_ROWS = 1 << 15
"""Tokens, counted over branches and frames, that a sliced feed-forward takes at a time: enough to keep a GPU busy."""


@dataclass(frozen=True)
class Sample:
    """One way to run the UNet.

    Args:
        branches_at_once: guided and unguided in one call; else one after the other, in half the memory.
        ff_rows: most tokens that a feed-forward takes at a time; None takes all. Only with the exact savings.
    """

    branches_at_once: bool = True
    ff_rows: int | None = None
