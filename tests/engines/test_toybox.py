from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from studio import events
from studio.context import Context
from studio.engines import toybox
from studio.errors import Cancelled
from studio.models.spec import read_spec

ROOT = Path(__file__).resolve().parents[2]
SPEC = read_spec(ROOT / "configs/models/toybox.yaml")
SIZE = {"width": 160, "height": 96}


@dataclass
class Wish:
    seed: int = 3
    width: int = 160
    height: int = 96
    frames: int = 4
    camera_move: str = "truck-right"
    amount: float = 1.0
    easing: str = "linear"
    export_fps: float = 12.0


def context(tmp_path, seen=None, cancelled=lambda: False, show=lambda make: None):
    emit = (seen if seen is not None else []).append
    return Context(job_id="j", scratch=tmp_path, emit=emit, lease=None, find_input=Path, cancelled=cancelled, show=show)


@pytest.fixture
def engine():
    return toybox.Engine(SPEC, None)


def paint(engine, prompt, seed, ctx):
    (picture,) = engine.paint_all(prompt, [SimpleNamespace(**SIZE, seed=seed)], ctx)
    return picture


def said(seen):
    return [e.message for e in seen if isinstance(e, events.Notice)]


def test_it_is_an_engine_that_needs_nothing():
    assert toybox.COMPONENTS == ()
    assert SPEC.bundled
    assert SPEC.family == "toybox"


def test_the_same_prompt_and_seed_give_the_same_bytes(engine, tmp_path):
    one, two, other = (paint(engine, "a red cup on a table", s, context(tmp_path)) for s in (5, 5, 6))
    assert one.dtype == np.uint8
    assert one.shape == (96, 160, 3)
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()


def test_several_wishes_give_the_pictures_that_each_gives_alone_one_after_the_other(engine, tmp_path):
    wishes = [SimpleNamespace(**SIZE, seed=s) for s in (5, 6)]
    coming = engine.paint_all("a red cup on a table", wishes, context(tmp_path))
    for seed in (5, 6):
        assert np.array_equal(next(coming), paint(engine, "a red cup on a table", seed, context(tmp_path)))
    assert next(coming, None) is None


def test_it_tells_what_the_picture_shows_and_names_what_it_did_not_understand(engine, tmp_path):
    seen = []
    paint(engine, "a red cup beside a zorble, a frimple and a zorble", 1, context(tmp_path, seen))
    shows, unknown = said(seen)
    assert "A red cup" in shows
    assert "not SDXL" in shows
    assert unknown == "The toybox doesn't know: zorble, frimple."
    rows = [e for e in seen if isinstance(e, events.Step)]
    assert {e.stage for e in rows} == {"render"}
    assert rows[-1].done == rows[-1].total


@pytest.mark.parametrize(
    "prompt", ["", "\x00\x1b[2J", "🦖🦕", "قط", "zorble " * 15_000, "量" * 100_000],
    ids=["empty", "control", "emoji", "right-to-left", "long", "long-chinese"],
)  # fmt: skip
def test_odd_prompts_end_in_a_picture_and_a_short_notice(engine, tmp_path, prompt):
    seen = []
    assert paint(engine, prompt, 1, context(tmp_path, seen)).std() > 5
    assert said(seen)[0].startswith("No thing of the toybox was named")
    assert all(len(s) < 600 and s.isprintable() for s in said(seen))


def test_it_says_when_there_is_no_room_for_all(engine, tmp_path):
    seen = []
    paint(engine, "12 balls, 12 cubes and 12 cups", 1, context(tmp_path, seen))
    assert said(seen)[-1] == "There is room for 24 of the 36 things; the others are left out."


def test_it_stops_in_the_middle_of_a_picture_and_of_a_film(engine, tmp_path):
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        paint(engine, "a cup", 1, context(tmp_path, cancelled=lambda: next(calls) > 5))
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        engine.film("a cup", Wish(), context(tmp_path, cancelled=lambda: next(calls) > 30))
    assert next(calls) < 40


def test_a_film_begins_with_the_picture_and_goes_on_from_there(engine, tmp_path):
    made = []
    clip = engine.film("a cup on a table", Wish(), context(tmp_path, show=lambda make: made.append(make())))
    still = paint(engine, "a cup on a table", 3, context(tmp_path))
    assert clip.frames.shape == (4, 96, 160, 3)
    assert clip.fps == 12
    assert np.array_equal(clip.frames[0], still)
    assert all((a != b).any() for a, b in zip(clip.frames, clip.frames[1:], strict=False))
    assert [len(c) for c in made] == [1, 2, 3, 4]


def test_an_orbit_has_depth_masks_and_cameras(engine, tmp_path):
    views = engine.orbit("a cup", 5, **SIZE, seed=3, ctx=context(tmp_path), elevation_deg=20)
    assert [v.elevation_deg for v in views] == [20] * 5
    assert np.allclose(np.diff([v.azimuth_deg for v in views]) % 360, 72)
    for view in views:
        assert view.depth.dtype == np.float32
        assert np.isfinite(view.depth[view.mask]).all()
        assert view.mask.any()
