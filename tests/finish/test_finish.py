"""The registry of steps, and each step frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import studio.finish
from studio.errors import BadInput, Cancelled
from studio.finish import Shape, all_steps, expect, parse_steps, variants
from studio.media.clip import Clip
from studio.media.stream import Stream
from tests.bare import Bare

RATES = (7.0, 12.5, 24.0, 29.97, 59.94)


def stepped(count: int = 12, fps: float = 7.0, *, alpha: bool = False) -> Clip:
    """Frame i is grey 10 i, and so is its alpha."""
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.full((1, 32, 48, 3), 10, np.uint8)
    return Clip(frames, fps, frames[..., 0].copy() if alpha else None)


def finish(clip: Clip | Stream, steps: list[str], ctx: Bare | None = None) -> Clip:
    return studio.finish.finish(clip, steps, ctx or Bare())


def greys(clip: Clip) -> list[int]:
    assert (clip.frames == clip.frames[:, :1, :1, :1]).all(), "every frame is still of one grey"
    return [int(v) // 10 if v % 10 == 0 else int(v) / 10 for v in clip.frames[:, 0, 0, 0]]


@pytest.mark.parametrize(
    "steps",
    [
        *(["boomerang"], ["loop"], ["loop:3"], ["retime:2x"], ["retime:0.5x"], ["retime:30fps"], ["reverse"]),
        *(
            ["caption:Words"],
            ["side-by-side"],
            ["smooth:24"],
            ["smooth:7.5"],
            ["upscale"],
            ["upscale:1.5", "side-by-side"],
            ["boomerang", "loop:5", "retime:24fps", "side-by-side"],
        ),
    ],
    ids=lambda steps: "+".join(steps),
)
@pytest.mark.parametrize("count", [2, 12, 25])
def test_what_is_expected_is_what_is_made(count: int, steps: list[str]) -> None:
    before = Shape(count, 48, 32, 12.5)
    try:
        expected = expect(before, steps)
    except BadInput as refused:
        says = re.escape(refused.message)
        with pytest.raises(BadInput, match=says):
            finish(stepped(count, 12.5), steps)
        return
    made = finish(stepped(count, 12.5), steps)
    assert (len(made), made.width, made.height, made.fps) == (
        expected.frames,
        expected.width,
        expected.height,
        expected.fps,
    )


def test_each_file_is_a_step_that_says_what_it_does() -> None:
    folder = Path(studio.finish.__file__).parent
    files = {p.stem.replace("_", "-") for p in folder.glob("*.py")} - {"--init--", "step", "moviepy-edit"}
    assert set(all_steps()) == files
    assert all(step.summary.endswith(".") for step in all_steps().values())


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("count", [2, 3, 12, 25])
def test_reverse_is_exact_at_every_rate(fps: float, count: int) -> None:
    done = finish(stepped(count, fps), ["reverse"])
    assert greys(done) == list(range(count))[::-1]
    assert done.fps == fps


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("count", [3, 12, 25])
def test_boomerang_shows_no_turning_point_twice(fps: float, count: int) -> None:
    done = finish(stepped(count, fps), ["boomerang"])
    assert greys(done) == [*range(count), *range(count - 2, 0, -1)]


def test_two_frames_or_one_have_no_way_back() -> None:
    assert greys(finish(stepped(2), ["boomerang"])) == [0, 1]
    assert greys(finish(stepped(1), ["boomerang"])) == [0]


@pytest.mark.parametrize("fps", RATES)
def test_loop_dissolves_the_end_into_the_beginning(fps: float) -> None:
    done = finish(stepped(12, fps), ["loop:4"])
    mixed = [(1 - k / 4) * (80 + 10 * k) + k / 4 * 10 * k for k in range(4)]
    assert len(done) == 8
    assert done.frames[:, 0, 0, 0].astype(float) == pytest.approx([40, 50, 60, 70, *mixed], abs=1)


def test_a_loop_has_no_seam() -> None:
    wave = (127 + 100 * np.sin(np.arange(24) / 5)).astype(np.uint8)
    clip = Clip(wave[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3), 7.0)
    done = finish(clip, ["loop"]).frames[:, 0, 0, 0].astype(int)
    assert len(done) == 18
    assert abs(int(wave[-1]) - int(wave[0])) > 95, "there is a seam to mend"
    assert abs(np.diff([*done, done[0]])).max() <= 40


@pytest.mark.parametrize("fps", RATES)
def test_retime_by_a_speed_keeps_the_rate(fps: float) -> None:
    clip = stepped(12, fps)
    assert greys(finish(clip, ["retime:2x"])) == [0, 2, 4, 6, 8, 10]
    assert greys(finish(clip, ["retime:0.5x"])) == [i // 2 for i in range(24)]
    assert greys(finish(clip, ["retime:3x"])) == [0, 3, 6, 9]
    assert finish(clip, ["retime:2x"]).fps == fps


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("new", [1, 7, 12, 24, 60])
def test_retime_by_a_rate_keeps_the_duration(fps: float, new: int) -> None:
    clip = stepped(12, fps)
    done = finish(clip, [f"retime:{new}fps"])
    assert done.fps == new
    assert len(done) == max(1, round(12 * new / fps))
    assert greys(done) == [int(i * fps / new + 1e-6) for i in range(len(done))]


def test_side_by_side_holds_the_first_frame_on_the_left() -> None:
    done = finish(stepped(), ["side-by-side"])
    assert done.frames.shape == (12, 32, 96, 3)
    assert (done.frames[:, :, :48] == 0).all()
    assert (done.frames[:, :, 48:] == stepped().frames).all()


@pytest.mark.parametrize(
    "step", ["reverse", "boomerang", "loop:4", "retime:2x", "retime:24fps", "side-by-side", "upscale:2"]
)
def test_alpha_goes_with_the_frames(step: str) -> None:
    done = finish(stepped(alpha=True), [step])
    assert done.alpha is not None
    assert (done.alpha == done.frames[..., 0]).all()


def test_steps_follow_one_another() -> None:
    done = finish(stepped(6), ["reverse", "boomerang", "retime:2x"])
    assert greys(done) == [5, 3, 1, 1, 3]


def test_no_steps_change_nothing() -> None:
    clip = stepped()
    assert finish(clip, []) is clip


def test_a_step_stops_when_the_user_cancels() -> None:
    for written in ("reverse", "boomerang", "loop", "retime:2x", "side-by-side", "caption:x", "smooth:24", "upscale"):
        with pytest.raises(Cancelled):
            finish(stepped(), [written], Bare(cancel_after=3))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "sparkle",
            "'sparkle' is not a step; there are boomerang, caption, loop, retime, reverse, side-by-side, smooth, "
            "upscale.",
        ),
        ("", "'' is not a step"),
        ("reverse:2", "reverse takes no value"),
        ("retime", "retime needs a speed such as 2x, or a rate such as 24fps"),
        ("caption:", "caption needs the text"),
    ],
)
def test_a_misspelt_step_is_refused_before_any_work(written: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_steps(["reverse", written])
    assert says in str(caught.value)
    assert caught.value.field == "finish"


@pytest.mark.parametrize("value", ["2", "0x", "11x", "-1x", "nanx", "1e9x", "0fps", "61fps", "٢x", "x", "2x3"])
def test_retime_refuses_what_is_no_speed_or_rate(value: str) -> None:
    with pytest.raises(BadInput, match=r"a speed from 0\.1x to 10x or a rate from 1fps to 60fps will"):
        finish(stepped(), [f"retime:{value}"])


@pytest.mark.parametrize("value", ["0", "7", "-1", "x", "1.5", "9" * 50])
def test_loop_refuses_more_than_half_the_clip(value: str) -> None:
    with pytest.raises(BadInput, match="a clip of 12 frames can dissolve over 1 to 6"):
        finish(stepped(), [f"loop:{value}"])


def test_a_clip_that_would_grow_beyond_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio.finish, "MAX_CLIP_BYTES", stepped().frames.nbytes)
    with pytest.raises(BadInput, match="boomerang makes the clip"):
        finish(stepped(), ["boomerang"])


def test_upscale_is_the_same_picture_with_more_pixels() -> None:
    done = finish(turning(), ["upscale:2"])
    assert done.frames.shape == (8, 128, 128, 3)
    assert done.closed
    assert abs(middles(done.frames) / 2 - middles(turning().frames)).max() < 0.5
    assert finish(stepped(), ["upscale:1.3x"]).frames.shape == (12, 42, 62, 3)


@pytest.mark.parametrize("value", ["1", "0", "4.1", "x", "-2", "2.555", "9" * 30])
def test_upscale_refuses_what_makes_it_no_larger_or_too_large(value: str) -> None:
    with pytest.raises(BadInput, match="up to 4 times will") as caught:
        finish(stepped(), [f"upscale:{value}"])
    assert caught.value.field == "finish"
    with pytest.raises(BadInput, match="makes 8192x4096; 4096 on a side is the most"):
        expect(Shape(2, 4096, 2048, 7.0), ["upscale"])


# --- smooth ---------------------------------------------------------------------------------------------------------


def turning(count: int = 8, *, alpha: bool = False) -> Clip:
    """A bright square that goes once around the middle, closed."""
    frames = np.full((count, 64, 64, 3), 40, np.uint8)
    for i in range(count):
        x, y = (round(26 + 14 * f(2 * np.pi * i / count)) for f in (np.cos, np.sin))
        frames[i, y : y + 12, x : x + 12] = 220
    return Clip(frames, 8.0, (frames[..., 0] > 100).astype(np.uint8) * 255 if alpha else None, closed=True)


def middles(frames: np.ndarray) -> np.ndarray:
    """(T, 2): where the bright square is."""
    return np.array([np.argwhere(f[..., 0] > 130).mean(axis=0) for f in frames])


@pytest.mark.parametrize(("fps", "count"), [("24", 36), ("24fps", 36), ("24 flow", 36), ("6", 9), ("23.976", 36)])
def test_smooth_lasts_as_long_and_shows_the_clips_own_frames_when_their_time_comes(fps: str, count: int) -> None:
    clip = stepped(12, 8.0)
    done = finish(clip, [f"smooth:{fps}"])
    assert len(done) == count
    assert done.fps == float(fps.split()[0].removesuffix("fps"))
    if fps == "24":
        assert greys(done)[::3] == list(range(12))
        assert greys(done)[-3:] == [11, 11, 11]


def test_smooth_of_a_closed_clip_wraps_around_and_repeats_no_pose() -> None:
    done = finish(turning(), ["smooth:24"])
    assert done.closed
    assert len(done) == 24
    steps = np.linalg.norm(np.diff(middles(np.concatenate([done.frames, done.frames[:1]])), axis=0), axis=1)
    assert steps.min() > 1
    assert steps.max() < 7


def test_smooth_of_an_open_clip_holds_its_end() -> None:
    open_clip = Clip(turning().frames, 8.0)
    done = finish(open_clip, ["smooth:24"])
    assert not done.closed
    assert (done.frames[-3:] == open_clip.frames[-1]).all()


def test_smooth_fills_alpha_too() -> None:
    done = finish(turning(alpha=True), ["smooth:16"])
    assert done.alpha is not None
    assert abs(middles(done.frames) - middles(done.alpha[..., None].repeat(3, 3))).max() < 1


def test_smooth_of_one_frame_holds_it() -> None:
    assert greys(finish(stepped(1, 2.0), ["smooth:8"])) == [0, 0, 0, 0]


@pytest.mark.parametrize("value", ["0", "241", "x", "24 svd", "24,flow", "-1", "1e2"])
def test_smooth_refuses_what_is_no_rate_or_maker(value: str) -> None:
    with pytest.raises(BadInput, match="a rate from 1 to 240 will") as caught:
        finish(stepped(), [f"smooth:{value}"])
    assert caught.value.field == "finish"


def test_smooth_uses_the_best_that_is_installed_or_the_one_that_is_named() -> None:
    for steps, installed, expected in (
        (["smooth:24"], {"rife", "flow"}, ["rife"]),
        (["reverse", "smooth:24"], {"flow"}, ["flow"]),
        (["smooth:24 flow", "loop"], {"rife", "flow"}, ["flow"]),
        (["loop"], {"rife", "flow"}, []),
    ):
        assert variants(steps, installed.__contains__) == expected
    with pytest.raises(BadInput, match="rife is not installed"):
        finish(stepped(), ["smooth:24 rife"])


def test_only_what_keeps_a_clip_closed_leaves_it_so() -> None:
    for step, closed in (("reverse", True), ("caption:x", True), ("retime:2x", True), ("side-by-side", True)):
        assert finish(turning(), [step]).closed is closed
    for step in ("boomerang", "loop"):
        assert finish(stepped(), [step]).closed


def test_a_stream_is_taken_into_memory_where_there_are_steps_and_loses_its_sound_with_a_word() -> None:
    def stream(sound: object = None) -> Stream:
        frames = stepped().frames
        return Stream((f for f in frames), 12, 48, 32, Fraction(7), frames[0], sound)

    ctx = Bare()
    assert greys(finish(stream(sound=object()), ["reverse"], ctx)) == list(range(12))[::-1]
    assert ctx.notices == ["sound: finishing steps work on the pictures alone; it is left out."]
    untouched = stream()
    assert finish(untouched, []) is untouched


def test_a_stream_that_would_not_fit_into_memory_is_refused_before_a_frame_is_made() -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError("a frame was asked for")
        yield

    endless = Stream(never(), 10**6, 1920, 1080, Fraction(24), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(BadInput, match="reverse makes the clip"):
        finish(endless, ["reverse"])
