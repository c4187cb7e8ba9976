import numpy as np
import pytest

from studio.errors import BadInput
from studio.scene.orbit import orbit_cameras, static
from studio.scene.silhouette import check_views, outline_distances


def disc(size, x, y, radius, samples=8):
    """(alpha uint8, true distance) of a disc whose middle is at (x, y)."""
    fine = (np.arange(size * samples) + 0.5) / samples - 0.5
    inside = np.hypot(fine[None, :] - x, fine[:, None] - y) < radius
    alpha = inside.reshape(size, samples, size, samples).mean(axis=(1, 3))
    v, u = np.mgrid[0:size, 0:size]
    return np.rint(255 * alpha).astype(np.uint8), radius - np.hypot(u - x, v - y)


@pytest.mark.parametrize(("as_mask", "most", "mean"), [(False, 0.3, 0.06), (True, 0.7, 0.25)])
def test_distances_to_a_disc_are_right_everywhere_and_finer_with_alpha(as_mask, most, mean):
    alpha, truth = disc(80, 41.3, 37.8, 22.4)
    found = outline_distances((alpha >= 128 if as_mask else alpha)[None])[0]
    assert np.abs(found - truth).max() < most
    assert np.abs(found - truth).mean() < mean


@pytest.mark.parametrize("seed", range(3))
def test_distances_of_any_mask_are_those_to_the_nearest_point_between_in_and_out(seed):
    mask = np.random.default_rng(seed).uniform(size=(17, 23)) > 0.8
    mask[5:12, 6:15] = True
    padded = np.pad(mask, 1)
    across = np.argwhere(padded[:, 1:] != padded[:, :-1]) - [1.0, 0.5]
    along = np.argwhere(padded[1:] != padded[:-1]) - [0.5, 1.0]
    outline = np.concatenate([across, along])
    pixels = np.argwhere(np.ones_like(mask)).astype(float)
    nearest = np.linalg.norm(pixels[:, None] - outline[None], axis=2).min(axis=1).reshape(mask.shape)
    found = outline_distances(mask[None])[0]
    assert (np.sign(found) == np.where(mask, 1, -1)).all()
    assert np.abs(np.abs(found) - nearest).max() < 0.05  # sweeps pass on nearest points; rarely the second nearest


def test_beyond_the_frame_there_is_nothing():
    found = outline_distances(np.ones((1, 9, 9), bool))[0]
    assert found[0, 4] == pytest.approx(0.5)
    assert found[4, 4] == pytest.approx(4.5)


def test_a_mask_that_shows_nothing_is_named():
    masks = np.ones((5, 8, 8), np.uint8) * 255
    masks[2] = 100  # a haze, nowhere half there
    with pytest.raises(BadInput, match="Frame 3 of 5 shows no object"):
        check_views(masks, orbit_cameras(static(0, 5), 8))


def test_masks_and_cameras_must_be_as_many():
    with pytest.raises(ValueError, match=r"\[5, 8, 8\].* 4 cameras"):
        check_views(np.ones((5, 8, 8), bool), orbit_cameras(static(0, 4), 8))
