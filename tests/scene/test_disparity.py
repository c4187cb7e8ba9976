import numpy as np
import pytest

from studio.scene.disparity import estimate_disparity, subject_disparity
from tests.scene.planes import texture


def disc(height=180, width=320, colour=(230, 120, 30)):
    """(picture, mask): an orange disc with fine texture on a plain grey wall."""
    y, x = np.mgrid[:height, :width]
    mask = (y - height * 0.5) ** 2 + (x - width * 0.5) ** 2 < (height * 0.25) ** 2
    grain = np.random.default_rng(0).integers(-20, 20, (height, width, 3))
    return np.where(mask[..., None], np.array(colour) + grain, 130).clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("size", [(64, 64), (64, 640), (400, 66), (9, 9), (301, 517)])
def test_any_size_gives_finite_values_between_0_and_1(size):
    d = estimate_disparity(texture(*size))
    assert d.shape == size
    assert d.dtype == np.float32
    assert 0 <= d.min() <= d.max() <= 1


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_picture_is_taken_for_ground_that_comes_nearer_downwards(value):
    d = estimate_disparity(np.full((90, 160, 3), value, np.uint8))
    assert np.ptp(d, axis=1).max() < 1e-6
    assert (np.diff(d[:, 0]) >= 0).all()
    assert d[-1, 0] - d[0, 0] > 0.9


def test_a_subject_stands_out_from_the_wall_beside_it_with_its_outline():
    picture, mask = disc()
    d = estimate_disparity(picture)
    row = d[90]
    assert row[160] > row[20] + 0.2
    near = row > (row[160] + row[20]) / 2
    left, right = np.flatnonzero(near)[[0, -1]]
    wanted = np.flatnonzero(mask[90])[[0, -1]]
    assert np.abs(np.array([left, right]) - wanted).max() <= 3


def test_a_given_mask_is_believed_over_what_would_have_been_found():
    picture, _ = disc()
    mask = np.zeros(picture.shape[:2], bool)
    mask[40:120, 20:80] = True
    d = estimate_disparity(picture, mask)
    assert d[60, 50] > d[60, 160] + 0.2
    assert d[60, 81] < d[60, 78] - 0.2


def test_the_subjects_disparity_is_that_of_the_disc():
    picture, _ = disc()
    d = estimate_disparity(picture)
    assert subject_disparity(d) == pytest.approx(float(d[90, 160]), abs=0.12)


def test_a_picture_of_another_type_or_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"float64\[8, 8, 3\]"):
        estimate_disparity(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"\[4, 8\].*\[8, 8\]"):
        estimate_disparity(np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8), bool))
