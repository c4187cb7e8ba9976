"""A stream is written frame by frame, with its sound; where the user cancels, nothing stays or what was reached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from studio.errors import BadInput, Cancelled
from studio.media.decode import read_clip
from studio.media.film import look
from studio.media.probe import probe
from studio.media.recipe import read_recipe
from studio.media.sheet import poster
from studio.media.sound import Sound, copied
from studio.media.stream import Stream
from studio.media.write import write_clip
from tests.media.conftest import moving
from tests.media.films import clicks, heard, write_film

SUFFIXES = ("mp4", "webm", "gif", "webp", "zip")


def stream(count: int = 9, fps: Fraction = Fraction(12), **more: Any) -> Stream:
    clip = moving(count=count)
    return Stream((f for f in clip.frames), count, clip.width, clip.height, fps, clip.first, **more)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stream_gives_the_very_file_that_its_frames_in_memory_give(suffix: str, recipe, tmp_path: Path) -> None:
    streamed = write_clip(stream(), tmp_path / f"a.{suffix}", recipe=recipe)
    held = write_clip(stream().in_memory(), tmp_path / f"b.{suffix}", recipe=recipe)
    assert streamed.read_bytes() == held.read_bytes()
    assert read_recipe(streamed) == recipe


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_frame_is_made_only_when_the_one_before_is_in_the_file(suffix: str, recipe, tmp_path: Path) -> None:
    written: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for i, frame in enumerate(moving().frames):
            assert len(written) == i
            yield frame

    one_by_one = Stream(frames(), 9, 96, 64, Fraction(7), moving().first)
    write_clip(one_by_one, tmp_path / f"x.{suffix}", recipe=recipe, on_frame=lambda done, total: written.append(done))
    assert written[:9] == list(range(1, 10))


def test_it_lasts_its_count_and_shows_its_first_frame_on_a_poster() -> None:
    one = stream(9, Fraction(24000, 1001))
    assert len(one) == 9
    assert one.duration_s == pytest.approx(9 * 1001 / 24000)
    assert (poster(one) == one.first).all()
    assert repr(one) == "Stream(9 frames, 96x64, 23.976 fps)"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("where", ["frames", "writing"])
def test_cancelling_leaves_nothing_and_lets_go_of_what_makes_the_frames(
    suffix: str, where: str, recipe, tmp_path: Path
) -> None:
    let_go: list[bool] = []

    def frames() -> Iterator[np.ndarray]:
        try:
            for i, frame in enumerate(moving().frames):
                if where == "frames" and i == 4:
                    raise Cancelled
                yield frame
        finally:
            let_go.append(True)

    def stop(done: int, total: int) -> None:
        if where == "writing" and done == 4:
            raise Cancelled

    one = Stream(frames(), 9, 96, 64, Fraction(7), moving().first)
    with pytest.raises(Cancelled):
        write_clip(one, tmp_path / f"x.{suffix}", recipe=recipe, on_frame=stop)
    assert list(tmp_path.iterdir()) == []
    assert let_go == [True]


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
@pytest.mark.parametrize("where", ["frames", "writing"])
def test_what_was_reached_is_kept_where_that_is_wanted(suffix: str, where: str, recipe, tmp_path: Path) -> None:
    kept: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for i, frame in enumerate(moving(count=30).frames):
            if where == "frames" and i == 12:
                raise Cancelled
            yield frame

    def stop(done: int, total: int) -> None:
        if where == "writing" and done >= 12:
            raise Cancelled

    film = write_film(tmp_path / "film.mp4", 30, sound=clicks([0.2, 0.8, 1.8], 2.5))
    one = Stream(frames(), 30, 96, 64, Fraction(12), moving().first, look(film).sound, kept.append)
    path = write_clip(one, tmp_path / f"x.{suffix}", recipe=recipe, on_frame=stop)
    assert kept == [12]
    assert probe(path).frames == 12
    assert (read_clip(path).frames[11].astype(int) - moving(count=30).frames[11]).__abs__().mean() < 3
    assert read_recipe(path) == {**recipe, "facts": {**recipe["facts"], "kept_frames": 12}}
    begins, _ = heard(path)
    assert begins == pytest.approx([0.2, 0.8], abs=0.03), "the sound ends with the pictures"


def test_a_stream_that_is_not_cancelled_is_not_called_kept(recipe, tmp_path: Path) -> None:
    kept: list[int] = []
    path = write_clip(stream(kept=kept.append), tmp_path / "x.mp4", recipe=recipe)
    assert kept == []
    assert read_recipe(path) == recipe


def test_cancelling_before_the_first_frame_keeps_nothing(recipe, tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        raise Cancelled
        yield

    one = Stream(frames(), 9, 96, 64, Fraction(7), moving().first, kept=lambda frames: None)
    with pytest.raises(Cancelled):
        write_clip(one, tmp_path / "x.mp4", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_while_frames_are_made_is_not_taken_for_a_fault_of_the_file(recipe, tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield moving().first
        raise ValueError("a bug")

    with pytest.raises(RuntimeError, match="could not be made"):
        write_clip(Stream(frames(), 9, 96, 64, Fraction(7), moving().first), tmp_path / "x.mp4", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_will_not_do_is_refused_before_a_frame_is_made(recipe, tmp_path: Path) -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError("a frame was asked for")
        yield

    with pytest.raises(BadInput, match="more than a GIF can show"):
        write_clip(Stream(never(), 9, 96, 64, Fraction(60), moving().first), tmp_path / "x.gif", recipe=recipe)


# --- sound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "codec", "target", "expected"),
    [
        ("film.mp4", "aac", "mp4", "aac"),
        ("film.mp4", "libmp3lame", "mp4", "mp3float"),
        ("film.webm", "libopus", "webm", "opus"),
        ("film.webm", "libopus", "mp4", "opus"),
        ("film.mp4", "aac", "webm", "opus"),
        ("film.mkv", "pcm_s16le", "mp4", "aac"),
    ],
)
def test_sound_stays_in_time_and_is_coded_anew_only_where_it_must_be(
    source: str, codec: str, target: str, expected: str, recipe, tmp_path: Path
) -> None:
    at = [0.1, 1.0, 2.4]
    pictures = {"codec": "libvpx-vp9", "unit": Fraction(1, 1000)} if source.endswith("webm") else {}
    film = look(write_film(tmp_path / source, 36, sound=clicks(at, 3), sound_codec=codec, **pictures))
    path = write_clip(stream(36, sound=film.sound), tmp_path / f"x.{target}", recipe=recipe)
    begins, found = heard(path)
    assert begins == pytest.approx(at, abs=0.012)
    assert found.removeprefix("lib") == expected
    assert read_recipe(path) == recipe
    assert film.sound is not None
    same = copied(film.sound.codec, target)
    assert same == (packets(tmp_path / source)[3:9] == packets(path)[3:9])


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as opened:
        return [bytes(p) for p in opened.demux(audio=0)]


@pytest.mark.parametrize("target", ["mp4", "webm"])
@pytest.mark.parametrize("slow", [2, 3, 10])
def test_slow_motion_slows_the_sound_without_losing_time(slow: int, target: str, recipe, tmp_path: Path) -> None:
    film = look(write_film(tmp_path / "film.mp4", 12, sound=clicks([0.1, 0.8], 1)))
    assert film.sound is not None
    slowed = film.sound.slowed(Fraction(1, slow))
    path = write_clip(stream(12 * slow, sound=slowed), tmp_path / f"x.{target}", recipe=recipe)
    assert heard(path)[0] == pytest.approx([0.1 * slow, 0.8 * slow], abs=0.05 * slow)


@pytest.mark.parametrize("target", ["mp4", "webm"])
def test_sound_of_a_film_that_begins_late_is_cut_to_its_pictures(target: str, recipe, tmp_path: Path) -> None:
    times = [Fraction(1, 2) + Fraction(i, 12) for i in range(24)]
    path = write_film(tmp_path / "late.mkv", times, sound=clicks([0.2, 1.0, 2.0], 2.5), unit=Fraction(1, 1000))
    made = write_clip(stream(24, sound=look(path).sound), tmp_path / f"x.{target}", recipe=recipe)
    assert heard(made)[0] == pytest.approx([0.5, 1.5], abs=0.03)


def test_the_same_stream_gives_the_same_bytes_with_its_sound(recipe, tmp_path: Path) -> None:
    film = look(write_film(tmp_path / "film.mp4", 12, sound=clicks([0.3], 1)))
    for target in ("mp4", "webm"):
        made = [write_clip(stream(12, sound=film.sound), tmp_path / f"{i}.{target}", recipe=recipe) for i in "ab"]
        assert made[0].read_bytes() == made[1].read_bytes()


def test_sound_that_is_gone_is_a_sentence_and_leaves_nothing(recipe, tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 500)
    (tmp_path / "out").mkdir()
    gone = stream(sound=Sound(tmp_path / "gone.mp4", "mp4", "aac"))
    with pytest.raises(BadInput, match="is damaged"):
        write_clip(gone, tmp_path / "out" / "x.mp4", recipe=recipe)
    assert list((tmp_path / "out").iterdir()) == []


# --- memory -------------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from studio.media.recipe import make_recipe
from studio.media.stream import Stream
from studio.media.write import write_clip
count = int(sys.argv[1])
frames = (np.full((360, 640, 3), i % 250, np.uint8) for i in range(count))
stream = Stream(frames, count, 640, 360, Fraction(24), np.zeros((360, 640, 3), np.uint8))
write_clip(stream, Path(sys.argv[2]), recipe=make_recipe({}, "flow"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts peak memory as Linux does")
def test_a_long_stream_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    peaks = []
    for count in (40, 240):
        command = [sys.executable, "-c", PEAK, str(count), tmp_path / "x.mp4"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        peaks.append(int(done.stdout))
    assert peaks[1] <= 1.05 * peaks[0]
