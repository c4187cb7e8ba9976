"""Contact sheet and poster."""

from __future__ import annotations

import numpy as np
import pytest

from studio.media.clip import Clip
from studio.media.sheet import contact_sheet, poster


def stepped(count: int) -> Clip:
    return Clip(np.stack([np.full((36, 64, 3), 10 * i, np.uint8) for i in range(count)]), 7.0)


def test_every_frame_has_its_cell() -> None:
    sheet = contact_sheet(stepped(7), columns=3, cell_width=128)
    assert sheet.shape == (3 * (72 + 4) + 4, 3 * (128 + 4) + 4, 3)
    cells = [sheet[4 + row * 76 + 60, 4 + column * 132 + 100, 0] for row in range(3) for column in range(3)]
    assert cells == [0, 10, 20, 30, 40, 50, 60, 24, 24]


def test_numbers_are_drawn_or_not() -> None:
    with_numbers = contact_sheet(stepped(3), columns=3, cell_width=128)
    without = contact_sheet(stepped(3), columns=3, cell_width=128, captions=())
    assert (with_numbers[:30] != without[:30]).any()
    assert (with_numbers[40:] == without[40:]).all()


def test_a_long_clip_is_thinned_from_first_to_last() -> None:
    sheet = contact_sheet(stepped(25), columns=9, cell_width=64, captions=(), max_frames=4)
    assert sheet.shape[1] == 4 * 68 + 4
    assert sheet[20, 36, 0] == 0
    assert sheet[20, -36, 0] == 240


def test_no_columns_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="columns 0"):
        contact_sheet(stepped(2), columns=0)


def test_the_poster_is_the_first_frame() -> None:
    assert (poster(stepped(3)) == 0).all()
    assert poster(stepped(3), max_side=32).shape == (18, 32, 3)
    assert poster(stepped(3), max_side=500).shape == (36, 64, 3)
