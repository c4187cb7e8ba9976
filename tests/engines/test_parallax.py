import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from studio import events
from studio.context import Context
from studio.engines import METHODS, parallax
from studio.errors import Cancelled
from studio.models.spec import read_spec
from studio.modes.image_to_video import ImageToVideo
from studio.scene.path import EASINGS, MOVES
from tests.scene.planes import texture

ROOT = Path(__file__).resolve().parents[2]
SPEC = read_spec(ROOT / "configs/models/parallax.yaml")


def choices(field):
    """The values of an optional Literal field of the request."""
    return [v for option in get_args(ImageToVideo.model_fields[field].annotation) for v in get_args(option)]


def wish(**fields):
    """A request with the variant's own defaults, small, and with what is given."""
    filled = {name: option.default for name, option in SPEC.options_for("image-to-video").items()}
    filled |= {"image": "photo.png", "seed": 3, "frames": 4, **fields}
    return ImageToVideo.model_validate(filled)


def context(tmp_path, seen=None, cancelled=lambda: False, show=lambda make: None):
    return Context(
        job_id="j",
        scratch=tmp_path,
        emit=(seen if seen is not None else []).append,
        lease=None,
        find_input=Path,
        cancelled=cancelled,
        show=show,
    )


@pytest.fixture(scope="module")
def photo():
    """A bright disc before a dark ground, 160 x 96, with grain everywhere."""
    picture = texture(96, 160) // 2
    cv2.circle(picture, (80, 52), 22, (240, 200, 60), -1)
    return picture


def animate(photo, tmp_path, **fields):
    return parallax.Engine(SPEC, None).animate(photo, wish(**fields), context(tmp_path))


def test_the_request_offers_exactly_the_moves_and_easings_that_there_are():
    assert choices("camera_move") == list(MOVES)
    assert choices("easing") == list(EASINGS)


def test_it_is_an_engine_that_needs_nothing():
    assert parallax.COMPONENTS == ()
    assert all(hasattr(parallax.Engine, METHODS[c]) for c in SPEC.capabilities)


@pytest.mark.parametrize("move", choices("camera_move"))
def test_every_move_begins_with_the_picture_and_every_further_frame_differs(photo, tmp_path, move):
    clip = animate(photo, tmp_path, camera_move=move)
    assert clip.frames.shape == (4, 96, 160, 3)
    assert np.array_equal(clip.frames[0], photo)
    for a, b in pairwise(clip.frames.astype(int)):
        assert np.abs(a - b).mean() > (0.05 if move == "handheld" else 0.3)  # a hand hardly moves in 1/24 s


def test_amount_zero_gives_the_picture_again_and_again(photo, tmp_path):
    clip = animate(photo, tmp_path, camera_move="arc-left", amount=0)
    assert all(np.array_equal(f, photo) for f in clip.frames)


@pytest.mark.parametrize("move", ["pan-right", "truck-right"])
def test_a_camera_that_goes_right_shows_content_going_left(photo, tmp_path, move):
    last = animate(photo, tmp_path, camera_move=move).frames[-1]
    bright = [np.argwhere((f[..., 0] > 200) & (f[..., 2] < 120))[:, 1].mean() for f in (photo, last)]
    assert bright[1] < bright[0] - 4


def test_the_tone_stays_the_same_in_every_frame(photo, tmp_path):
    for frame in animate(photo, tmp_path, camera_move="handheld", frames=8).frames:
        disc = frame[(frame[..., 0] > 200) & (frame[..., 2] < 120)]
        assert len(disc) > 1000
        assert (np.median(disc, axis=0) == (240, 200, 60)).all()


def test_the_rate_is_the_one_asked_for(photo, tmp_path):
    assert animate(photo, tmp_path, export_fps=24).fps == 24


def test_the_same_request_gives_the_same_bytes_and_another_seed_other_ones(photo, tmp_path):
    a, again, b = (animate(photo, tmp_path, camera_move="handheld", seed=s).frames for s in (1, 1, 2))
    assert np.array_equal(a, again)
    assert not np.array_equal(a, b)


def test_the_number_of_threads_changes_no_byte(photo, tmp_path):
    threads = cv2.getNumThreads()
    digests = set()
    try:
        for n in (1, 2, 5):
            cv2.setNumThreads(n)
            frames = animate(photo, tmp_path, camera_move="arc-right").frames
            digests.add(hashlib.sha256(frames.tobytes()).hexdigest())
    finally:
        cv2.setNumThreads(threads)
    assert len(digests) == 1


@pytest.mark.parametrize("size", [(64, 64), (64, 258), (250, 66)])
def test_odd_shapes_and_the_smallest_size_work_with_the_strongest_move(tmp_path, size):
    picture = texture(*size)
    for move in ("roll", "pull-out", "orbit"):
        clip = animate(picture, tmp_path, camera_move=move, amount=2, frames=3)
        assert clip.frames.shape == (3, *size, 3)


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_colour_stays_that_colour(tmp_path, value):
    picture = np.full((64, 96, 3), value, np.uint8)
    assert (animate(picture, tmp_path, camera_move="truck-left").frames == value).all()


def test_progress_is_told_by_stage_and_frame(photo, tmp_path):
    seen = []
    parallax.Engine(SPEC, None).animate(photo, wish(), context(tmp_path, seen))
    steps = [(e.stage, e.done, e.total) for e in seen if isinstance(e, events.Step)]
    assert steps == [("depth", i, 2) for i in range(3)] + [("render", i, 4) for i in range(1, 5)]


def test_the_preview_is_the_whole_move_and_small(tmp_path):
    made = []
    picture = texture(180, 320)
    ctx = context(tmp_path, show=lambda make: made.append(make()))
    parallax.Engine(SPEC, None).animate(picture, wish(camera_move="pan-left"), ctx)
    assert len(made) == 4
    assert (len(made[0]), made[0].width, made[0].height) == (4, 256, 144)
    assert np.abs(made[0].frames[0].astype(int) - made[0].frames[-1]).mean() > 1


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5])
def test_cancel_takes_effect_at_the_very_next_step(photo, tmp_path, at):
    seen = []
    ctx = context(tmp_path, seen, cancelled=lambda: len(seen) >= at)
    with pytest.raises(Cancelled):
        parallax.Engine(SPEC, None).animate(photo, wish(frames=200), ctx)
    assert len(seen) == at


def test_the_guessed_depth_can_be_had_alone(photo):
    d = parallax.Engine(SPEC, None).disparity(photo)
    assert d.shape == photo.shape[:2]
    assert d[52, 80] > d[52, 5]


def test_it_loads_no_torch():
    code = "import sys, studio.engines.parallax; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
