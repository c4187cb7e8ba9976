import hashlib
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from studio import events
from studio.context import Context
from studio.engines import METHODS, inflate
from studio.errors import BadInput, Cancelled
from studio.models.spec import read_spec
from studio.scene.orbit import keyed, orbit_cameras, sine, static
from studio.scene.raster import rasterise
from tests.scene.cutouts import disc, figure

ROOT = Path(__file__).resolve().parents[2]
SPEC = read_spec(ROOT / "configs/models/inflate.yaml")
SIZE = 192


@dataclass
class Wish:
    thickness: float = 1.0
    export_fps: float = 14


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


def turn(tmp_path, orbit, cutout=None, **fields):
    picture, alpha = cutout or figure(SIZE)
    return inflate.Engine(SPEC, None).orbit(picture, alpha, orbit, Wish(**fields), context(tmp_path))


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return turn(tmp_path_factory.mktemp("ball"), sine(10, 20, views=8))


def test_it_is_an_engine_that_needs_nothing():
    assert inflate.COMPONENTS == ()
    assert SPEC.bundled
    assert all(hasattr(inflate.Engine, METHODS[c]) for c in SPEC.capabilities)


def test_its_options_are_those_of_a_toy_that_turns():
    options = SPEC.options_for("multiview")
    assert (options["thickness"].min, options["thickness"].max) == (0.3, 1.5)
    assert options["size"].default % options["size"].multiple_of == 0
    assert options["frames"].max >= 240


def test_the_last_frame_is_the_picture_and_every_other_one_differs(views):
    picture, alpha = figure(SIZE)
    assert views.frames.shape == (8, SIZE, SIZE, 3)
    assert views.posed == "exact"
    inside = alpha >= 128
    error = np.mean((views.frames[-1][inside].astype(float) - picture[inside]) ** 2)
    assert 10 * math.log10(255**2 / error) >= 30
    assert all(np.abs(f.astype(int) - picture).mean() > 3 for f in views.frames[:-1])


def test_frames_and_alpha_are_what_the_cameras_of_the_orbit_see_of_the_surface(views):
    for i, camera in enumerate(orbit_cameras(sine(10, 20, views=8), SIZE)):
        seen = rasterise(views.surface, camera, SIZE, SIZE, supersample=3)
        assert np.array_equal(views.alpha[i], seen.alpha)
        assert np.array_equal(views.frames[i], seen.over(255))
    assert (views.frames[views.alpha == 0] == 255).all()


def test_a_thinner_toy_is_narrower_from_the_side(tmp_path):
    orbit = static(0, views=4)
    thin, thick = (turn(tmp_path, orbit, disc(SIZE), thickness=t).alpha[0] for t in (0.3, 1.5))
    assert np.count_nonzero(thin) < 0.35 * np.count_nonzero(thick)


def test_the_same_request_gives_the_same_bytes_whatever_the_number_of_threads(tmp_path, monkeypatch):
    threads = cv2.getNumThreads()
    digests = set()
    try:
        for n in (1, 3):
            cv2.setNumThreads(n)
            monkeypatch.setattr(inflate, "_MOST_WORKERS", n)
            got = turn(tmp_path, keyed([(0, 10), (180, -20)], views=5))
            digests.add(hashlib.sha256(got.frames.tobytes() + got.alpha.tobytes()).hexdigest())
    finally:
        cv2.setNumThreads(threads)
    assert len(digests) == 1


def test_progress_is_told_by_stage_and_frame_and_that_it_is_a_toy(tmp_path):
    seen = []
    inflate.Engine(SPEC, None).orbit(*disc(SIZE), static(0, views=3), Wish(), context(tmp_path, seen))
    steps = [(e.stage, e.done, e.total) for e in seen if isinstance(e, events.Step)]
    assert steps == [("shape", 0, 1), ("shape", 1, 1)] + [("render", i, 3) for i in (1, 2, 3)]
    assert "not SV3D" in next(e.message for e in seen if isinstance(e, events.Notice))


def test_the_preview_is_what_was_rendered_so_far_and_small(tmp_path):
    made = []
    ctx = context(tmp_path, show=lambda make: made.append(make()))
    inflate.Engine(SPEC, None).orbit(*disc(256), static(0, views=3), Wish(), ctx)
    assert [len(clip) for clip in made] == [1, 2, 3]
    assert (made[0].width, made[0].height, made[0].fps) == (192, 192, 14)


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_cancel_takes_effect_at_the_very_next_step(tmp_path, at):
    seen = []
    ctx = context(tmp_path, seen, cancelled=lambda: len(seen) >= at)
    with pytest.raises(Cancelled):
        inflate.Engine(SPEC, None).orbit(*disc(SIZE), static(0, views=200), Wish(), ctx)
    assert len(seen) == at


def test_a_picture_that_is_all_background_is_refused(tmp_path):
    with pytest.raises(BadInput, match="background"):
        turn(tmp_path, static(0), (np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64), np.uint8)))


def test_it_loads_no_torch():
    code = "import sys, studio.engines.inflate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
