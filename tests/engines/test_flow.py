import cv2
import numpy as np
import pytest

from studio.engines import flow
from studio.engines.flow import Motion
from studio.engines.gaps import Gap, scale_for
from studio.errors import Cancelled
from studio.models.spec import read_spec
from studio.settings import Settings
from tests.engines.test_rife import Listening

ENGINE = flow.Engine(read_spec(Settings().configs / "models" / "flow.yaml"))


def texture(height, width, seed):
    """uint8 (H, W, 3), with detail of every size."""
    drawn = np.random.default_rng(seed)
    levels = [
        cv2.resize(drawn.normal(0, k**0.5, (height // k + 2, width // k + 2, 3)), (width, height)) for k in (4, 8, 16)
    ]
    return np.clip(sum(levels) * 14 + 128, 0, 255).astype(np.uint8)


def psnr(made, truth):
    return 10 * np.log10(255**2 / max(1e-4, np.mean((made.astype(float) - truth) ** 2)))


@pytest.fixture(scope="module")
def moving():
    """A patch that moves over a ground that stays: at 0, at the middle, at 1."""
    ground, patch = texture(160, 240, 0), texture(64, 64, 1)
    frames = []
    for x in (70, 76, 82):
        frames.append(ground.copy())
        frames[-1][48:112, x : x + 64] = patch
    return frames


def test_a_patch_that_moves_is_put_where_it_is_and_not_blended(moving):
    first, middle, last = moving
    made = ENGINE.between(first, last, [0.5], Listening())[0]
    assert psnr(made, middle) > psnr(cv2.addWeighted(first, 0.5, last, 0.5, 0), middle) + 6
    inside = (slice(56, 104), slice(84, 132))
    assert psnr(made[inside], middle[inside]) > 35


def test_what_one_frame_hides_comes_from_the_other_where_the_flow_is_right(moving, monkeypatch):
    first, middle, last = moving
    ahead, back = np.zeros((2, 160, 240, 2), np.float32)
    ahead[48:112, 70:134, 0] = 12
    back[48:112, 82:146, 0] = -12
    flows = iter((ahead, back))
    monkeypatch.setattr(flow, "_flow", lambda source, target, scale: next(flows))
    made = Motion(first, last).frame(0.5)
    blended = cv2.addWeighted(first, 0.5, last, 0.5, 0)
    for uncovered in (slice(70, 75), slice(141, 146)):  # seen by one of the two frames only
        strip = (slice(52, 108), uncovered)
        assert psnr(made[strip], middle[strip]) > psnr(blended[strip], middle[strip]) + 3


def test_each_time_has_its_own_place(moving):
    first, _, last = moving
    made = ENGINE.between(first, last, [0.25, 0.75], Listening())
    for frame, x in zip(made, (73, 79), strict=True):
        inside = frame[56:104, x + 8 : x + 56]
        assert psnr(inside, texture(64, 64, 1)[8:56, 8:56]) > 30


def test_frames_that_are_the_same_and_the_ends_are_the_frames_themselves(moving):
    first, _, last = moving
    assert np.array_equal(ENGINE.between(first, first, [0.3], Listening())[0], first)
    start, end = ENGINE.between(first, last, [0.0, 1.0], Listening())
    assert np.array_equal(start, first)
    assert np.array_equal(end, last)


def test_the_same_frames_give_the_same_bytes_whatever_the_threads(moving):
    first, _, last = moving
    before, made = cv2.getNumThreads(), []
    for threads in (1, 4):
        cv2.setNumThreads(threads)
        made.append(Motion(first, last).frame(0.4))
    cv2.setNumThreads(before)
    assert np.array_equal(*made)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (8, 64), (37, 53)])
def test_any_size_is_filled_also_those_that_opencv_crashes_on(size):
    first, second = texture(*size, 0), texture(*size, 1)
    assert ENGINE.between(first, second, [0.5], Listening())[0].shape == (*size, 3)


def test_motion_is_found_in_a_smaller_picture_where_asked(moving):
    first, middle, last = moving
    made = ENGINE.between(first, last, [0.5], Listening(), scale=0.5)[0]
    assert psnr(made, middle) > psnr(cv2.addWeighted(first, 0.5, last, 0.5, 0), middle) + 5
    assert [scale_for(w * h) for w, h in ((1920, 1080), (3840, 2160), (7680, 4320))] == [1.0, 0.5, 0.25]


def test_pictures_that_have_nothing_in_common_are_still_filled():
    made = ENGINE.between(np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8), [0.5], Listening())[0]
    assert made.min() > 100
    assert made.max() < 155


def test_many_gaps_come_out_in_order_and_cancelling_ends_them(moving):
    first, middle, last = moving
    gaps = [Gap(first, middle, [0.5]), Gap(middle, middle, [0.5]), Gap(middle, last, [0.5])]
    filled = [made[0] for made in ENGINE.fill(gaps, Listening())]
    assert np.array_equal(filled[1], middle)
    assert psnr(filled[0], first) > 15
    with pytest.raises(Cancelled):
        list(ENGINE.fill(gaps * 10, Listening(cancel_after=4)))


def test_cancelling_does_not_wait_for_the_rest_of_a_gap(moving, monkeypatch):
    first, _, last = moving
    made = []
    frame = Motion.frame
    monkeypatch.setattr(Motion, "frame", lambda self, at: made.append(at) or frame(self, at))
    gap = Gap(first, last, [i / 400 for i in range(1, 400)])
    with pytest.raises(Cancelled):
        list(ENGINE.fill([gap], Listening(cancel_after=2)))
    assert len(made) < 200
