import numpy as np
import pytest

from studio.media.drift import drift
from studio.media.seam import joined, seam

RNG = np.random.default_rng(0)
TEXTURE = np.kron(RNG.integers(0, 256, (24, 24, 3)), np.ones((6, 6, 1))).astype(np.uint8)


def turning(shifts):
    """A texture moved to the right and back in at the left."""
    return np.stack([np.roll(TEXTURE, shift, axis=1) for shift in shifts])


def test_an_even_loop_has_a_seam_like_all_other_steps():
    found = seam(turning(range(0, 144, 6)))
    assert found.pixels == pytest.approx(1, abs=0.1)
    assert 0.5 < found.motion < 2


def test_a_loop_that_jumps_home_and_one_that_halts_are_told_apart():
    assert seam(turning(range(0, 30, 2))).pixels > 1.25
    assert seam(turning([*range(0, 144, 6), 0])).pixels < 0.8


def test_a_loop_that_turns_back_at_its_seam_shows_in_its_motion():
    there_and_back = [0, 2, 4, 6, 8, 10, 8, 6, 4, 2]
    found = seam(turning(there_and_back[5:] + there_and_back[:5]))
    assert found.pixels == pytest.approx(1, abs=0.1)
    bounced = seam(turning(there_and_back))
    assert bounced.motion > 3 * max(1.0, seam(turning(range(0, 144, 6))).motion)


def test_a_still_loop_has_no_ratio():
    assert seam(np.repeat(TEXTURE[None], 4, axis=0)).public() == {"pixels": None, "motion": None}


def test_joined_clips_fade_evenly_where_they_overlap():
    first, second = np.full((5, 2, 2, 3), 10, np.uint8), np.full((6, 2, 2, 3), 210, np.uint8)
    clip = joined(first, second, 3)
    assert clip[:, 0, 0, 0].tolist() == [10, 10, 60, 110, 160, 210, 210, 210]
    assert len(joined(first, second, 0)) == 11


def test_drift_tells_colour_contrast_and_detail():
    given = turning([0, 6])
    same = drift(given, given)
    assert (same.colour, same.contrast, same.detail) == (0, 1, 1)
    faded = (given // 2 + 90).astype(np.uint8)
    faded[..., 0] = given[..., 0] // 2 + 110
    found = drift(given, faded)
    assert found.colour == pytest.approx(faded[..., 0].mean() - given[..., 0].mean(), abs=0.1)
    assert found.contrast == pytest.approx(0.5, abs=0.02)
    assert found.detail == pytest.approx(0.25, abs=0.03)
    assert set(found.public()) == {"colour", "contrast", "detail"}
