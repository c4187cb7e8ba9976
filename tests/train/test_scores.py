import numpy as np
import pytest
import torch

from studio.train.scores import flicker, measured_flow, psnr, spearman

DICE = np.random.default_rng(3)
TEXTURE = np.kron(DICE.integers(40, 216, (48, 48, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def panned(step: int, frames: int = 5, size: int = 256) -> np.ndarray:
    return np.stack([TEXTURE[40 : 40 + size, 40 + step * t : 40 + step * t + size] for t in range(frames)])


def test_psnr_is_that_of_the_mean_square_error_of_arrays_or_tensors():
    a = np.full((2, 4, 4, 3), 100, np.uint8)
    assert psnr(a, a + 10) == pytest.approx(10 * np.log10(255**2 / 100))
    assert psnr(torch.from_numpy(a), a + 1) == pytest.approx(48.13, abs=0.01)
    assert psnr(a, a) == 100


def test_psnr_refuses_what_cannot_be_compared():
    a = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8 of one shape"):
        psnr(a, a[:2])
    with pytest.raises(ValueError, match="float"):
        psnr(a, a.astype(np.float32))


@pytest.mark.parametrize("step", [1, 3, 6])
def test_measured_flow_is_how_far_a_pan_goes(step):
    assert measured_flow(panned(step)) == pytest.approx(step, rel=0.15)


def test_measured_flow_is_told_at_256_pixels_whatever_the_size():
    small = np.stack([f[::4, ::4] for f in panned(4)])
    assert measured_flow(small) == pytest.approx(4, rel=0.3)
    assert measured_flow(np.repeat(panned(0)[:1], 3, axis=0)) < 0.05


def test_flicker_is_what_motion_does_not_explain():
    steady, still = panned(3), panned(0)
    shaken = steady.astype(int)
    shaken[1::2] += 12
    shaken = shaken.clip(0, 255).astype(np.uint8)
    assert flicker(still) == 0
    assert flicker(steady) < 3
    assert flicker(shaken) > 3 * flicker(steady)
    assert flicker(shaken) == pytest.approx(12, rel=0.3)


def test_what_comes_out_from_behind_a_thing_is_no_flicker():
    frames = np.repeat(panned(0)[:1] // 2, 5, axis=0)
    for t in range(5):
        frames[t, 80:180, 20 + 16 * t : 90 + 16 * t] = 255 - TEXTURE[:100, :70] // 2
    assert flicker(frames) < 0.4


def test_flicker_of_frames_that_have_nothing_in_common_is_no_number():
    noise = DICE.integers(0, 256, (3, 96, 96, 3)).astype(np.uint8)
    assert not flicker(noise) < 5


def test_a_clip_is_asked_for_where_something_else_is_given():
    with pytest.raises(ValueError, match="two frames or more"):
        measured_flow(panned(1)[:1])


def test_rank_correlation_is_of_ranks_with_ties_shared():
    assert spearman([1, 2, 3, 4], [10, 11, 100, 1e6]) == 1
    assert spearman([1, 2, 3], [3, 2, 1]) == -1
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)
    assert np.isnan(spearman([1, 1], [1, 2]))
