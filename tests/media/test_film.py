"""A film is read as a player shows it: upright, square, in time; and what is none gets its sentence."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from studio.errors import BadInput, Cancelled
from studio.media import film as films
from studio.media.clip import Clip
from studio.media.film import Film, check_film, look
from studio.media.recipe import make_recipe
from studio.media.write import write_clip
from tests.media.conftest import moving
from tests.media.films import picture, write_film


def bars(film: Film) -> list[int]:
    """Where the bright bar begins in each frame."""
    return [int(np.argmax(frame[..., 0].astype(int).max(axis=0) > 180)) for frame in film.frames()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mp4", {}),
        ("film.webm", {"codec": "libvpx-vp9", "unit": Fraction(1, 1000)}),
        ("film.mp4", {"rate": Fraction(24000, 1001)}),
        ("film.webm", {"codec": "libvpx-vp9", "unit": Fraction(1, 1000), "rate": Fraction(24000, 1001)}),
        ("film.mp4", {"rate": Fraction(6)}),
    ],
)
def test_a_steady_film_has_exact_times_whatever_unit_its_file_counts_in(name, options, tmp_path: Path) -> None:
    rate = options.get("rate", Fraction(12))
    film = look(write_film(tmp_path / name, 12, **options))
    assert film.rate == rate
    assert film.times == tuple(i / rate for i in range(12))
    assert film.end == 12 / rate
    assert bars(film) == pytest.approx([4 * i for i in range(12)], abs=1)
    assert film.sound is None
    assert film.notices == ()


def test_a_film_of_uneven_frames_keeps_their_times(tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 40, 80, 200, 210, 500)]
    film = look(write_film(tmp_path / "uneven.mp4", times, rate=Fraction(25)))
    assert film.times == tuple(times)
    assert film.end > times[-1]
    assert len(list(film.frames())) == 6


def test_a_film_that_begins_late_begins_at_zero_and_its_sound_knows(tmp_path: Path) -> None:
    times = [Fraction(1, 2) + Fraction(i, 12) for i in range(6)]
    film = look(write_film(tmp_path / "late.mkv", times, sound=np.zeros(48_000, np.float32), unit=Fraction(1, 1000)))
    assert film.times[0] == 0
    assert film.sound is not None
    assert film.sound.start == pytest.approx(Fraction(1, 2), abs=0.03)


@pytest.mark.parametrize(("turned", "size"), [(90, (48, 64)), (-90, (48, 64)), (180, (64, 48)), (0, (64, 48))])
def test_a_turned_film_is_put_upright(turned: int, size: tuple[int, int], tmp_path: Path) -> None:
    lying = picture(3)
    lying[:10, :20] = (250, 0, 0)
    film = look(write_film(tmp_path / "turned.mp4", 3, frames=[lying] * 3, turned=turned))
    assert (film.width, film.height) == size
    shown = next(film.frames())
    expected = np.rot90(lying, turned // 90)
    assert abs(shown.astype(int) - expected).mean() < 6
    assert (film.first == shown).all()


@pytest.mark.parametrize(("shape", "size"), [(Fraction(4, 3), (85, 48)), (Fraction(1, 2), (64, 96)), (None, (64, 48))])
def test_pixels_that_are_not_square_become_so_and_none_is_thrown_away(shape, size, tmp_path: Path) -> None:
    film = look(write_film(tmp_path / "wide.mp4", 3, pixel_shape=shape))
    assert (film.width, film.height) == size
    assert next(film.frames()).shape == (size[1], size[0], 3)


def test_ten_bits_and_odd_sizes_are_read_as_they_look(tmp_path: Path) -> None:
    deep = look(write_film(tmp_path / "deep.mp4", 3, pixels="yuv420p10le"))
    plain = look(write_film(tmp_path / "plain.mp4", 3))
    assert abs(deep.first.astype(int) - plain.first).mean() < 2
    odd = look(write_film(tmp_path / "odd.mp4", 3, size=(63, 47), pixels="yuv444p"))
    assert (odd.width, odd.height) == (63, 47)
    assert abs(odd.first.astype(int) - picture(0, 63, 47)).mean() < 4


def test_a_file_without_tags_is_read_as_players_read_it(tmp_path: Path) -> None:
    """Small ones as BT.601, which is what the writer here used; large ones as BT.709."""
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    small = look(write_film(tmp_path / "small.mp4", 2, frames=[red] * 2, pixels="yuv444p"))
    assert abs(small.first.astype(int) - red).max() < 8
    large = np.zeros((720, 1280, 3), np.uint8)
    large[..., 0] = 200
    path = write_film(tmp_path / "large.mp4", 2, frames=[large] * 2, size=(1280, 720), pixels="yuv444p")
    assert abs(look(path).first.astype(int) - large).max() > 10


@pytest.mark.parametrize("suffix", ["gif", "webp", "zip", "webm", "mp4"])
def test_what_the_studio_writes_is_a_film(suffix: str, tmp_path: Path) -> None:
    path = write_clip(moving(64, 48, 6, 10.0), tmp_path / f"clip.{suffix}", recipe=make_recipe({}, "parallax"))
    film = look(path)
    assert film.kind == suffix
    assert film.times == tuple(Fraction(i, 10) for i in range(6))
    assert film.end == Fraction(6, 10)
    assert abs(np.stack(list(film.frames())).astype(int) - moving(64, 48, 6).frames).mean() < 8
    assert check_film(path) == f".{suffix}"


def test_transparent_pixels_are_left_out_with_a_word(tmp_path: Path) -> None:
    path = write_clip(moving(alpha=True), tmp_path / "clip.webp", recipe=make_recipe({}, "parallax"))
    assert look(path).notices == ("clip.webp may be transparent in places; that is left out.",)


def test_every_frame_is_told_of_and_looking_can_be_stopped(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 9)
    told: list[tuple[int, int]] = []
    look(path, lambda *now: told.append(now))
    assert told == [(i, 9) for i in range(1, 10)]

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        look(path, stop)


def refused(path: Path, read=look) -> str:
    with pytest.raises(BadInput) as caught:
        read(path)
    assert str(path.parent) not in str(caught.value)
    return caught.value.message


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def noise(count: int = 12) -> list[np.ndarray]:
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is not a clip that is known here"),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is not a clip that is known here"),
        ("empty.mp4", b"", "is not a clip that is known here"),
        ("junk.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 500, "is damaged"),
        ("junk.webm", b"\x1a\x45\xdf\xa3" + b"junk" * 100, "is damaged"),
        ("junk.zip", b"PK\3\4" + b"junk" * 50, "is damaged"),
    ],
)
def test_junk_and_playlists_get_their_sentence_at_once(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert says in refused(tmp_path / name)
    assert says in refused(tmp_path / name, check_film)


def test_a_clip_of_one_frame_has_nothing_between(tmp_path: Path) -> None:
    path = write_film(tmp_path / "one.mp4", 1)
    assert "one frame" in refused(path)
    assert "one frame" in refused(path, check_film)


def test_a_clip_without_frames_and_one_with_only_sound_say_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as made:
        track = made.add_stream("aac", rate=48_000)
        block = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "flt", "mono")
        block.sample_rate, block.pts = 48_000, 0
        made.mux(track.encode(block))
        made.mux(track.encode(None))
    assert "only sound" in refused(tmp_path / "sound.mp4")
    assert "does not exist" in refused(tmp_path / "none.mp4")


@pytest.mark.parametrize(("suffix", "share"), [("mp4", 0.3), ("mp4", 0.6), ("mp4", 0.97), ("webm", 0.3), ("webm", 0.6)])
def test_a_file_that_was_cut_off_is_called_damaged_and_not_taken_for_a_shorter_one(
    suffix: str, share: float, tmp_path: Path
) -> None:
    frames = noise(36)
    if suffix == "mp4":  # its index first, as files are that end too soon
        clip = Clip(np.stack(frames), 12.0)
        path = write_clip(clip, tmp_path / "cut.mp4", recipe=make_recipe({}, "parallax"))
    else:
        path = write_film(tmp_path / "cut.webm", 36, frames=frames, codec="libvpx-vp9", unit=Fraction(1, 1000))
    assert "is damaged" in refused(cut(path, share))


def test_a_file_that_was_cut_off_between_two_frames_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    """Each frame that is there decodes, and the index, which comes first, still names all of them."""
    path = write_clip(Clip(np.stack(noise(36)), 12.0), tmp_path / "cut.mp4", recipe=make_recipe({}, "parallax"))
    with av.open(str(path)) as opened:
        ends = sorted(packet.pos + packet.size for packet in opened.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: ends[-2]])
    assert "is damaged" in refused(path)


def test_a_file_that_was_trimmed_without_coding_it_anew_is_whole_and_begins_where_it_was_trimmed(
    tmp_path: Path,
) -> None:
    """Its first frames are there for the decoder alone, and not shown."""
    write_film(tmp_path / "film.mp4", 48)
    trim = ["-ss", "2", "-i", tmp_path / "film.mp4", "-c", "copy", tmp_path / "trimmed.mp4"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *trim], check=True)
    film = look(tmp_path / "trimmed.mp4")
    assert len(film) == 24
    assert abs(film.first.astype(int) - picture(24)).mean() < 4


def test_frames_of_other_sizes_are_refused(tmp_path: Path) -> None:
    parts = [write_film(tmp_path / f"{i}.webm", 4, size=size, codec="libvpx-vp9", unit=Fraction(1, 1000))
             for i, size in enumerate([(64, 48), (96, 64)])]  # fmt: skip
    with av.open(str(tmp_path / "both.webm"), "w") as made:
        at = 0
        with av.open(str(parts[0])) as first:
            track = made.add_stream_from_template(first.streams.video[0], opaque=True)
        for part in parts:
            with av.open(str(part)) as opened:
                for packet in opened.demux(video=0):
                    if packet.dts is None:
                        continue
                    packet.pts = packet.dts = at
                    at += 83
                    packet.stream = track
                    made.mux(packet)
    assert "changes from 64x48 to 96x64" in refused(tmp_path / "both.webm")


def test_frames_beyond_4k_are_refused_before_they_are_turned_to_pixels(monkeypatch, tmp_path: Path) -> None:
    path = write_film(tmp_path / "large.mp4", 2, size=(4352, 2304))
    assert "is 4352x2304; frames may have 9.4 megapixels" in refused(path, check_film)
    assert "is 4352x2304" in refused(path)
    monkeypatch.setattr(films, "MAX_FRAMES", 3)
    assert "more than 3 frames" in refused(write_film(tmp_path / "long.mp4", 5))


def test_the_file_may_not_become_another_one_between_two_readings(tmp_path: Path) -> None:
    film = look(write_film(tmp_path / "film.mp4", 6))
    write_film(tmp_path / "film.mp4", 3)
    with pytest.raises(BadInput, match="is damaged"):
        list(film.frames())


def test_frames_come_one_at_a_time(tmp_path: Path) -> None:
    frames = look(write_film(tmp_path / "film.mp4", 6)).frames()
    assert all((a != b).any() for a, b in pairwise([next(frames), next(frames), next(frames)]))
    frames.close()
