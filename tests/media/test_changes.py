"""Cuts are found and fast motion is not taken for one; repeated drawings are found and stillness is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from studio.media.changes import Changes, find_cuts, find_repeats, stands_still


def scene(seed: int) -> np.ndarray:
    """A wide picture of soft shapes, uint8 (72, 512), of its own brightness."""
    drawn = np.random.default_rng(seed)
    soft = cv2.resize(drawn.uniform(0, 140, (9, 64)).astype(np.float32), (512, 72), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + 100 * (seed % 2), 0, 255).astype(np.uint8)


def pan(seed: int, count: int, speed: int, start: int = 0) -> list[np.ndarray]:
    """A camera that goes over the scene, so many pixels a frame."""
    wide = scene(seed)
    return [wide[:, start + speed * i : start + speed * i + 128] for i in range(count)]


def changes(frames: list[np.ndarray]):
    found = Changes()
    for frame in frames:
        found.add(np.ascontiguousarray(frame))
    return found.found()


@pytest.mark.parametrize("speed", [0, 2, 5])
def test_a_cut_is_found_at_the_frame_that_follows_it_however_fast_the_camera_is(speed: int) -> None:
    frames = pan(0, 12, speed) + pan(1, 12, speed)
    assert find_cuts(changes(frames)) == (12,)


def test_cuts_that_are_near_are_all_found() -> None:
    frames = pan(0, 10, 3) + pan(1, 2, 3) + pan(2, 10, 3)
    assert find_cuts(changes(frames)) == (10, 12)


@pytest.mark.parametrize("speed", [1, 8, 25])
def test_motion_of_any_speed_is_no_cut(speed: int) -> None:
    assert find_cuts(changes(pan(0, 15, speed))) == ()


def test_a_camera_that_starts_with_a_jerk_and_stays_fast_makes_no_cut() -> None:
    frames = [*pan(0, 10, 0), *pan(0, 10, 20)]
    assert find_cuts(changes(frames)) == ()


def test_a_fade_and_a_dissolve_are_no_cuts() -> None:
    first, second = scene(0)[:, :128], scene(1)[:, :128]
    fade = [(first * (i / 11)).astype(np.uint8) for i in range(12)]
    dissolve = [(first + (second.astype(float) - first) * i / 11).astype(np.uint8) for i in range(12)]
    assert find_cuts(changes(fade)) == ()
    assert find_cuts(changes(dissolve)) == ()


def test_a_title_that_is_there_all_at_once_is_one_and_one_that_slides_in_is_not() -> None:
    black = np.zeros((72, 128), np.uint8)
    titled = black.copy()
    titled[30:36, 40:88] = 240
    assert find_cuts(changes([black] * 8 + [titled] * 8)) == (8,)
    sliding = [np.roll(titled, 6 * i, axis=1) for i in range(10)]
    assert find_cuts(changes(sliding)) == ()


def test_one_frame_that_flashes_stands_between_two_cuts() -> None:
    frames = pan(0, 12, 1)
    frames[6] = np.full_like(frames[6], 255)
    assert find_cuts(changes(frames)) == (6, 7)


@pytest.mark.parametrize("held", [2, 3])
def test_drawings_that_are_shown_two_or_three_times_each_are_repeats(held: int) -> None:
    frames = [frame for frame in pan(0, 8, 4) for _ in range(held)]
    expected = tuple(i for i in range(len(frames)) if i % held and i < len(frames) - held + 1)
    assert find_repeats(changes(frames)) == expected
    assert find_cuts(changes(frames)) == ()


def test_the_coders_noise_does_not_hide_a_repeat() -> None:
    drawn = np.random.default_rng(0)
    frames = [f for f in pan(0, 8, 4) for f in (f, np.clip(f + (drawn.random(f.shape) < 0.05), 0, 255).astype("uint8"))]
    assert len(find_repeats(changes(frames))) == 7


def test_what_stands_still_for_long_is_meant_to() -> None:
    frames = pan(0, 4, 4) + [scene(0)[:, 16:144]] * 5 + pan(0, 4, 4, start=20)
    assert find_repeats(changes(frames)) == ()
    assert find_repeats(changes([scene(0)[:, :128]] * 12)) == ()
    assert stands_still(changes([scene(0)[:, :128]] * 12))
    assert not stands_still(changes(frames))


def test_a_small_thing_that_moves_is_no_repeat() -> None:
    frames = [scene(0)[:, :128].copy() for _ in range(10)]
    for i, frame in enumerate(frames):
        frame[30:34, 10 + 4 * i : 14 + 4 * i] = 255
    assert find_repeats(changes(frames)) == ()


def test_a_film_of_one_or_two_frames_has_no_surprises() -> None:
    assert changes([scene(0)[:, :128]]) == ()
    assert find_cuts(changes(pan(0, 2, 1))) == ()
    assert find_repeats(changes(pan(0, 2, 0))) == ()
