"""Pictures that belong together, as one: what is shown of them while more of them come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from studio.media.clip import Clip
from studio.media.sheet import contact_sheet

_WIDTH = 960
"""Pixels across, gaps not counted."""


def picture_grid(pictures: Sequence[np.ndarray]) -> Clip:
    """One frame that shows them all, as near to a square as it goes.

    Args:
        pictures: uint8 (H, W, 3), all of one size; at least one.
    """
    columns = math.isqrt(len(pictures) - 1) + 1
    sheet = contact_sheet(Clip(np.stack(pictures), 1.0), columns, cell_width=_WIDTH // columns, captions=())
    return Clip(sheet[None], 1.0)
