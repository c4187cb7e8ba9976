"""Frames between frames: from clips of every kind and from pictures, with the embedded engine, at a small size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from studio.errors import BadInput, Cancelled
from studio.media.clip import Clip
from studio.media.probe import probe
from studio.media.recipe import make_recipe, read_recipe
from studio.media.stream import Stream
from studio.media.write import write_clip
from studio.modes.interpolate import MODE, Interpolate
from studio.modes.mode import Result
from tests.bare import CATALOG, Bare
from tests.media.films import clicks, heard, write_film


def moving_square(count: int, speed: float = 4.0, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    """A bright square on a soft ground, further right in each frame."""
    width, height = size
    ground = np.linspace(20, 90, width).astype(np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    frames = []
    for i in range(count):
        frame = ground.copy()
        x = round(6 + speed * i) % (width - 16)
        frame[24:40, x : x + 16] = 230
        frames.append(frame)
    return frames


def place(frame: np.ndarray) -> float:
    """Where the bright square is, pixels from the left."""
    return float(np.flatnonzero(frame[26:38, :, 1].mean(axis=0) > 150).mean())


def request(**fields: Any) -> Interpolate:
    return Interpolate.model_validate(
        {"seed": 1, **{k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}}
    )


def run(ctx: Bare | None = None, **fields: Any) -> Result:
    return MODE.run(request(**fields), ctx or Bare())


def frames_of(result: Result) -> np.ndarray:
    return (result.clip.in_memory() if isinstance(result.clip, Stream) else result.clip).frames


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Two seconds at 6 frames a second, with a click at its beginning and near its end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_film(
        path, 12, rate=Fraction(6), size=(96, 64), frames=moving_square(12), sound=clicks([0.25, 1.75], 2)
    )


# --- smooth -------------------------------------------------------------------------------------------------------


def test_a_clip_gets_twice_as_smooth_where_nothing_is_said(film: Path) -> None:
    ctx = Bare()
    result = run(ctx, clip=film)
    assert result.facts["interpolation"]["says"] == "12 frames at 6 fps -> 24 frames at 12 fps, 2.00 s"
    assert ctx.notices == ["12 frames at 6 fps -> 24 frames at 12 fps, 2.00 s."]
    places = [place(f) for f in frames_of(result)]
    assert places[:23] == pytest.approx([place(moving_square(1)[0]) + 2 * k for k in range(23)], abs=0.7)
    assert places[23] == places[22]


@pytest.mark.parametrize(
    ("own", "target", "count"),
    [
        (Fraction(24000, 1001), 60.0, 60),
        (Fraction(25), 24.0, 23),
        (Fraction(6), 24.0, 96),
        (Fraction(6), 7.5, 30),
        (Fraction(30), 29.97, 24),
    ],
)
def test_at_any_rate_each_frame_shows_its_own_moment_and_the_clip_lasts_as_long(
    own: Fraction, target: float, count: int, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "film.mp4", 24, rate=own, size=(160, 64), frames=moving_square(24, 5.0, (160, 64)))
    result = run(clip=path, export_fps=target)
    frames = frames_of(result)
    assert len(frames) == count
    assert abs(count / result.clip.fps - 24 / own) <= 1 / result.clip.fps
    begin = place(moving_square(1)[0])
    for k, frame in enumerate(frames):
        moment = min(float(k / result.clip.fps * own), 23.0)
        assert place(frame) == pytest.approx(begin + 5 * moment, abs=1.2), k


def test_what_is_written_has_the_exact_times_of_its_rate(film: Path, tmp_path: Path) -> None:
    result = run(clip=film, export_fps=23.976)
    path = write_clip(result.clip, tmp_path / "x.mp4", recipe=make_recipe({}, "flow", facts=result.facts))
    with av.open(str(path)) as opened:
        times = [Fraction(f.pts) * f.time_base for f in opened.decode(video=0)]
    assert times == [k * Fraction(1001, 24000) for k in range(48)]


def test_a_clip_of_uneven_frames_is_evened_out_in_time(tmp_path: Path) -> None:
    times = [Fraction(t, 12) for t in (0, 1, 2, 4, 5, 7, 8, 9)]
    frames = [moving_square(10, 5.0)[round(12 * t)] for t in times]
    path = write_film(tmp_path / "uneven.mp4", times, rate=Fraction(12), size=(96, 64), frames=frames)
    result = run(clip=path, export_fps=12.0)
    assert result.facts["interpolation"]["even"] is False
    places = [place(f) for f in frames_of(result)]
    assert places[:10] == pytest.approx([place(f) for f in moving_square(10, 5.0)], abs=1.2)


def test_nothing_is_made_across_a_cut(tmp_path: Path) -> None:
    dark, light = moving_square(8), [255 - f for f in moving_square(8)]
    path = write_film(tmp_path / "cut.mp4", 16, size=(96, 64), frames=dark + light)
    ctx = Bare()
    result = run(ctx, clip=path, factor=4)
    assert result.facts["interpolation"]["cuts"] == [8]
    assert "1 cut found, at 0.67 s; nothing is made across them." in ctx.notices
    frames = frames_of(result)[28:33].astype(int)
    assert [abs(f - dark[7]).mean() < 4 for f in frames] == [True, True, False, False, False]
    assert [abs(f - light[0]).mean() < 4 for f in frames] == [False, False, True, True, True]
    made = frames_of(run(clip=path, factor=4, cut_guard=False))[29:32].astype(int)
    assert any(abs(f - dark[7]).mean() > 20 and abs(f - light[0]).mean() > 20 for f in made)


def test_drawings_that_are_shown_twice_are_made_anew_on_demand(tmp_path: Path) -> None:
    frames = [f for f in moving_square(8) for _ in range(2)]
    path = write_film(tmp_path / "twos.mp4", 16, size=(96, 64), frames=frames)
    ctx = Bare()
    jerky = [place(f) for f in frames_of(run(ctx, clip=path, export_fps=12.0))]
    assert any("repair_duplicates" in sentence for sentence in ctx.notices)
    smooth = [place(f) for f in frames_of(run(clip=path, export_fps=12.0, repair_duplicates=True))]
    assert np.diff(jerky[:14]).max() == pytest.approx(4, abs=0.5)
    assert np.diff(smooth[:14]) == pytest.approx([2] * 13, abs=0.8)


def test_slow_motion_lasts_longer_with_its_sound(film: Path, tmp_path: Path) -> None:
    result = run(clip=film, slow_motion=2.0, export_fps=12.0)
    assert len(result.clip) == 48
    path = write_clip(result.clip, tmp_path / "x.mp4", recipe=make_recipe({}, "flow"))
    assert probe(path).duration_s == pytest.approx(4)
    assert heard(path)[0] == pytest.approx([0.5, 3.5], abs=0.08)


def test_sound_is_kept_in_time_or_dropped_with_a_word(film: Path, tmp_path: Path) -> None:
    result = run(clip=film)
    assert result.facts["interpolation"]["sound"] == "as it was"
    path = write_clip(result.clip, tmp_path / "x.mp4", recipe=make_recipe({}, "flow"))
    assert heard(path)[0] == pytest.approx([0.25, 1.75], abs=0.01)
    assert run(clip=film, sound="drop").clip.sound is None
    ctx = Bare()
    assert run(ctx, clip=film, format="webp").clip.sound is None
    assert "sound: a webp has none; it is left out." in ctx.notices


def test_the_same_request_gives_the_same_frames(film: Path) -> None:
    assert (frames_of(run(clip=film, factor=3)) == frames_of(run(clip=film, factor=3))).all()


def test_a_clip_in_which_nothing_moves_says_so_and_stays(tmp_path: Path) -> None:
    path = write_film(tmp_path / "still.mp4", 6, frames=[moving_square(1)[0]] * 6, size=(96, 64))
    ctx = Bare()
    frames = frames_of(run(ctx, clip=path))
    assert "Nothing moves in this clip; its frames are only repeated." in ctx.notices
    assert abs(frames.astype(int) - frames[0]).max() <= 2


def test_it_tells_how_far_it_is_and_shows_what_there_is(film: Path) -> None:
    ctx = Bare()
    frames_of(run(ctx, clip=film))
    steps = [(e.stage, e.done, e.total) for e in ctx.heard if e.kind == "step"]
    assert ("look", 12, 12) in steps
    assert [s for s in steps if s[0] == "interpolate"] == [("interpolate", k, 24) for k in range(25)]


@pytest.mark.parametrize("after", [3, 20])
def test_cancelling_ends_it_while_it_looks_and_while_it_makes_frames(film: Path, after: int) -> None:
    with pytest.raises(Cancelled):
        frames_of(run(Bare(cancel_after=after), clip=film, factor=4))


def test_what_was_made_is_kept_where_the_user_wants_it(film: Path, tmp_path: Path) -> None:
    ctx = Bare(cancel_after=40)
    result = run(ctx, clip=film, factor=4, on_cancel="keep")
    path = write_clip(
        result.clip, tmp_path / "x.mp4", recipe=make_recipe({}, "flow"), on_frame=lambda d, t: ctx.check()
    )
    kept = probe(path).frames
    assert 1 <= kept < 48
    assert f"Stopped: the first {kept} of 48 frames are kept." in ctx.notices
    assert read_recipe(path)["facts"]["kept_frames"] == kept


def test_more_frames_than_a_file_may_have_are_refused(film: Path, monkeypatch) -> None:
    monkeypatch.setattr("studio.modes.interpolate.MOST_FRAMES", 100)
    with pytest.raises(BadInput, match="384 frames are more") as caught:
        run(clip=film, slow_motion=16.0, factor=2)
    assert caught.value.field == "export_fps"


# --- loops, pictures, clips that go on ----------------------------------------------------------------------------


def test_a_clip_that_loops_leads_back_to_its_first_frame(tmp_path: Path) -> None:
    path = write_film(tmp_path / "slow.mp4", 12, rate=Fraction(6), size=(96, 64), frames=moving_square(12, 1.0))
    result = run(clip=path, make="loop", frames=5)
    frames = frames_of(result)
    assert len(frames) == 17
    assert result.clip.fps == 6
    places = [place(f) for f in frames[11:]]
    assert np.diff([*places, place(frames[0])]).max() < 0, "the square goes back"


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_two_pictures_become_a_clip_that_begins_and_ends_with_them(tmp_path: Path) -> None:
    first, *_, last = moving_square(4)
    result = run(make="between", start=saved(tmp_path / "a.png", first), end=saved(tmp_path / "b.png", last), frames=7)
    assert isinstance(result.clip, Clip)
    frames = result.clip.frames
    assert (frames[0] == first).all()
    assert (frames[-1] == last).all()
    assert [place(f) for f in frames] == pytest.approx(np.linspace(place(first), place(last), 7), abs=1)
    assert result.clip.fps == 24


def test_an_end_picture_of_another_shape_is_fitted_to_the_start(tmp_path: Path) -> None:
    start = saved(tmp_path / "a.png", moving_square(1)[0])
    end = saved(tmp_path / "b.png", moving_square(1, size=(128, 128))[0])
    assert run(make="between", start=start, end=end, frames=3).clip.frames.shape == (3, 64, 96, 3)


class Recorder:
    """In the place of SVD: says what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, list[tuple[int, ...]]]] = []

    def _clip(self, name: str, arrays: Sequence[np.ndarray], frames: int) -> Clip:
        self.given.append((name, [a.shape for a in arrays]))
        return Clip(np.stack(moving_square(frames, size=(64, 64))), 7.0)

    def bridge(self, first: np.ndarray, last: np.ndarray, request: Interpolate, ctx: Bare) -> Clip:
        return self._clip("bridge", [first, last], request.frames)

    def loop(self, picture: np.ndarray, request: Interpolate, ctx: Bare) -> Clip:
        return self._clip("loop", [picture], request.frames - 1)

    def extend(self, frames: np.ndarray, request: Interpolate, ctx: Bare) -> Clip:
        return self._clip("extend", [frames], len(frames) + request.frames)


def test_a_model_that_films_between_pictures_gets_them_at_its_size(film: Path, tmp_path: Path) -> None:
    svd = Recorder()
    ctx = Bare(engines={"svd-xt": svd})
    start, end = (saved(tmp_path / f"{i}.png", f) for i, f in enumerate(moving_square(2)))
    more = {"variant": "svd-xt", "width": 64, "height": 64, "frames": 5}
    run(ctx, make="between", start=start, end=end, **more)
    loop = run(ctx, make="loop", start=start, **more)
    assert set(loop.facts["seam"]) == {"pixels", "motion"}
    on = run(ctx, make="continue", clip=film, **more)
    assert set(on.facts) == {"drift"}
    assert svd.given == [
        ("bridge", [(64, 64, 3)] * 2),
        ("loop", [(64, 64, 3)]),
        ("extend", [(12, 64, 64, 3)]),
    ]
    assert "sound: a clip that goes on has none; it is left out." in ctx.notices


# --- what it takes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "clip"),
        ({"make": "between", "start": "a.png"}, "end"),
        ({"make": "between", "end": "a.png"}, "start"),
        ({"make": "loop"}, "clip"),
        ({"make": "continue"}, "clip"),
        ({"clip": "a.mp4", "factor": 2, "export_fps": 24.0}, "factor"),
        ({"clip": "a.mp4", "on_cancel": "keep", "format": "gif"}, "on_cancel"),
    ],
)
def test_what_is_missing_or_contradicts_itself_names_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        request(**given)
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")


def test_what_is_made_takes_its_own_files_and_forgets_the_others() -> None:
    everything = {"clip": "a.mp4", "start": "a.png", "end": "b.png", "factor": 3, "windows": 2}
    files_of = {"smooth": {"clip"}, "between": {"start", "end"}, "loop": {"clip"}, "continue": {"clip"}}
    for make, files in files_of.items():
        made = request(make=make, **everything)
        assert {n for n in ("clip", "start", "end") if getattr(made, n)} == files
        assert (made.factor is not None) is (make == "smooth")
        assert (made.windows is not None) is (make == "continue")
    assert request(make="between", start="a", end="b").both_ways
    assert not request(clip="a").both_ways


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"clip": "a.mp4", "variant": "svd-xt"}, "flow"),
        ({"make": "continue", "clip": "a.mp4"}, "svd"),
        ({"make": "loop", "start": "a.png"}, "svd"),
        ({"make": "loop", "clip": "a.mp4", "variant": "svd"}, "flow"),
        ({"clip": "a.mp4", "variant": "parallax"}, "flow"),
    ],
)
def test_a_model_that_can_not_make_it_is_refused_with_those_that_can(given: dict[str, Any], needed: str) -> None:
    with pytest.raises(BadInput, match=rf"Choose one of .*\b{needed}\b") as caught:
        MODE.used_roles(request(**given), CATALOG)
    assert caught.value.field == "variant"
