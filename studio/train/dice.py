"""Random numbers for training data: by counter, so that what training sees and what is held out can never meet."""

from __future__ import annotations

import numpy as np

CLIPS, ORBITS, PICTURES, POOL, FOLDS = range(5)
"""What is drawn for; each has numbers of its own."""


def dice(stream: int, seed: int, number: int, *, held_out: bool = False) -> np.random.Generator:
    """The generator of one thing that is made; no two things share any of its numbers.

    Philox numbers are a bijection of (key, counter): the key holds the seed, the stream and whether it is held out, the
    counter the thing's number, and no thing draws the 2^192 numbers after which the next one's begin (Salmon et al.,
    Parallel random numbers: as easy as 1, 2, 3, 2011).

    Raises:
        ValueError: the seed or the number is negative or beyond 2^62.
    """
    if not (0 <= seed < 1 << 62 and 0 <= number < 1 << 62):
        raise ValueError(f"seed {seed} and number {number} are not both in 0..2^62.")
    return np.random.Generator(np.random.Philox(key=[2 * seed + held_out, stream], counter=[0, 0, 0, number]))
