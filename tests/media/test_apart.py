import math

import numpy as np
import pytest

from studio.media.apart import apart

FRAMES = np.full((2, 4, 4, 3), 100, np.uint8)


def test_a_clip_is_no_way_from_itself():
    found = apart(FRAMES, FRAMES)
    assert (found.mean_levels, found.most_levels) == (0, 0)
    assert math.isinf(found.psnr_db)
    assert found.public()["psnr_db"] is None


def test_one_frame_that_is_off_counts_for_all_and_is_the_worst():
    other = FRAMES.copy()
    other[1] = 90
    for a, b in ((FRAMES, other), (other, FRAMES)):  # neither wraps round at 0
        found = apart(a, b)
        assert (found.mean_levels, found.most_levels) == (5.0, 10)
        assert found.psnr_db == pytest.approx(10 * math.log10(255**2 / 50))
        assert found.worst_psnr_db == pytest.approx(10 * math.log10(255**2 / 100))


def test_clips_of_unequal_length_are_not_compared():
    with pytest.raises(AssertionError):
        apart(FRAMES, FRAMES[:1])
