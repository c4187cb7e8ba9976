"""A finished file is whole, shows what was made and says how; or it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

from studio.errors import BadInput, Cancelled, WriteFailed
from studio.media import encode
from studio.media.clip import Clip
from studio.media.decode import read_clip
from studio.media.probe import probe
from studio.media.recipe import read_recipe
from studio.media.write import write_clip
from tests.media.conftest import moving

SUFFIXES = ("mp4", "webm", "gif", "webp", "zip")
MEAN_ERROR = {"mp4": 2.0, "webm": 2.5, "gif": 5.0, "webp": 2.0, "zip": 0.0}
"""Of 255, for a clip of smooth colours with a sharp edge."""

_SHIFT = 0.7 if "ACCURATE_RND" in Interpolation.__members__ else 1.6
"""Of 255; before PyAV 18 the reader cannot be told to round exactly."""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_shows_the_clip_and_carries_its_recipe(
    suffix: str, clip: Clip, recipe: dict[str, Any], tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / f"clip.{suffix}"
    assert write_clip(clip, path, recipe=recipe, on_frame=lambda *now: seen.append(now)) == path
    facts = probe(path)
    assert (facts.width, facts.height, facts.frames) == (96, 64, 9)
    assert facts.fps == pytest.approx(7, rel=0.005)
    assert facts.duration_s == pytest.approx(9 / 7, rel=0.005)
    assert read_recipe(path) == recipe
    error = read_clip(path).frames.astype(int) - clip.frames
    assert abs(error).mean() <= MEAN_ERROR[suffix]
    assert abs(error.mean(axis=(0, 1, 2))).max() <= _SHIFT, "a colour shift"
    assert list(dict.fromkeys(done for done, _ in seen)) == list(range(1, 10))
    assert {total for _, total in seen} == {9}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_clip_gives_the_same_bytes(suffix: str, clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    first, second = (
        write_clip(clip, tmp_path / name / f"x.{suffix}", recipe=recipe) for name in ("a", "b") if make(tmp_path / name)
    )
    assert first.read_bytes() == second.read_bytes()


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_pure_colours_come_back_in_a_browsers_reading(recipe: dict[str, Any], tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 64, 200]], np.uint8)
    frame = colours.repeat(32, 0)[None].repeat(64, 0)
    for suffix in ("mp4", "webm"):
        path = write_clip(Clip(frame[None].repeat(3, 0), 5.0), tmp_path / f"c.{suffix}", recipe=recipe)
        shown = read_clip(path).frames[1, 32, 16::32]
        assert abs(shown.astype(int) - colours).max() <= 4
        with av.open(str(path)) as container:
            frame_read = next(container.decode(video=0))
            assert (frame_read.colorspace, frame_read.color_range) == (1, 1), "BT.709, limited"
            context = container.streams.video[0].codec_context
            assert (context.color_primaries, context.color_trc) == (1, 1)
            assert context.pix_fmt == "yuv420p"


def test_mp4_can_be_played_while_it_loads(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    data = write_clip(clip, tmp_path / "clip.mp4", recipe=recipe).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_no_file_tells_which_encoder_or_hour_made_it(
    suffix: str, clip: Clip, recipe: dict[str, Any], tmp_path: Path
) -> None:
    data = write_clip(clip, tmp_path / f"clip.{suffix}", recipe=recipe).read_bytes()
    assert b"x264" not in data
    assert b"Lavc" not in data
    with av.open(str(tmp_path / f"clip.{suffix}")) as container:
        assert "creation_time" not in container.metadata


@pytest.mark.parametrize(
    ("suffix", "size"), [("mp4", (34, 26)), ("webm", (34, 26)), ("gif", (33, 25)), ("webp", (33, 25))]
)
def test_odd_sizes_grow_to_even_where_they_must(
    suffix: str, size: tuple[int, int], recipe: dict[str, Any], tmp_path: Path
) -> None:
    clip = moving(33, 25, 3)
    path = write_clip(clip, tmp_path / f"clip.{suffix}", recipe=recipe)
    facts = probe(path)
    assert (facts.width, facts.height) == size
    assert abs(read_clip(path).frames[:, :25, :33].astype(int) - clip.frames).mean() < 8


@pytest.mark.parametrize("fps", [1, 6, 7.5, 23.976, 29.97, 60])
def test_rates_are_exact_and_every_frame_is_there(fps: float, recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write_clip(moving(48, 32, 5, fps), tmp_path / "clip.mp4", recipe=recipe)
    assert probe(path).fps == pytest.approx(fps, abs=1e-6)
    assert probe(path).frames == 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_single_frame_is_a_clip_too(suffix: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write_clip(moving(48, 32, 1), tmp_path / f"clip.{suffix}", recipe=recipe)
    assert probe(path).frames == 1
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("suffix", ["webp", "zip"])
def test_alpha_is_kept_where_the_format_has_it(suffix: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    clip = moving(alpha=True)
    back = read_clip(write_clip(clip, tmp_path / f"clip.{suffix}", recipe=recipe))
    assert back.alpha is not None
    assert (back.alpha == clip.alpha).all()


def test_gif_and_webp_loop_for_ever(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    for suffix in ("gif", "webp"):
        with Image.open(write_clip(clip, tmp_path / f"clip.{suffix}", recipe=recipe)) as image:
            assert image.info["loop"] == 0
            assert image.n_frames == 9


def test_a_zip_holds_stored_pngs_and_its_recipe_in_each(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write_clip(clip, tmp_path / "clip.zip", recipe=recipe)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[:3] == ["recipe.json", "clip.json", "frame-00001.png"]
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        archive.extract("frame-00003.png", tmp_path)
    assert read_recipe(tmp_path / "frame-00003.png") == recipe


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("at", [1, 5, 9])
def test_cancelling_leaves_nothing_and_touches_nothing(
    suffix: str, at: int, clip: Clip, recipe: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(b"what was here before")

    def stop(done: int, total: int) -> None:
        if done >= at:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_clip(clip, path, recipe=recipe, on_frame=stop)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"what was here before"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are counted through /proc")
def test_a_cancelled_encoder_is_gone(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    def children() -> set[str]:
        return set(" ".join(p.read_text() for p in Path("/proc/self/task").glob("*/children")).split())

    before, during = children(), set()

    def stop(done: int, total: int) -> None:
        during.update(children() - before)
        raise Cancelled

    with pytest.raises(Cancelled):
        write_clip(clip, tmp_path / "clip.mp4", recipe=recipe, on_frame=stop)
    assert len(during) == 1
    assert not children() & during


def test_a_killed_encoder_is_a_failure_with_a_sentence(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for pids in Path("/proc/self/task").glob("*/children"):
            for pid in pids.read_text().split():
                if b"clip.part" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "):
                    os.kill(int(pid), 9)

    if not Path("/proc/self/task").is_dir():
        pytest.skip("the encoder is found through /proc")
    with pytest.raises(WriteFailed, match="The encoder gave up before the file was whole"):
        write_clip(clip, tmp_path / "clip.mp4", recipe=recipe, on_frame=kill)
    assert list(tmp_path.iterdir()) == []


def test_a_stuck_encoder_is_stopped(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    if os.name != "posix":
        pytest.skip("the stuck encoder is a shell script")
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(script))
    monkeypatch.setattr(encode, "FRAME_TIMEOUT_S", 0.2)
    monkeypatch.setattr(encode, "FINISH_TIMEOUT_S", 0.2)
    (tmp_path / "out").mkdir()
    with pytest.raises(WriteFailed):
        write_clip(moving(640, 480, 3), tmp_path / "out" / "clip.mp4", recipe=recipe)
    with pytest.raises(WriteFailed, match="The encoder got stuck and was stopped"):
        write_clip(moving(48, 32, 1), tmp_path / "out" / "clip.mp4", recipe=recipe)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_ffmpeg_names_its_package(
    clip: Clip, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(tmp_path / "none"))
    with pytest.raises(WriteFailed, match="pip install imageio-ffmpeg"):
        write_clip(clip, tmp_path / "clip.mp4", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
from studio.errors import WriteFailed
from studio.media.recipe import make_recipe
from studio.media.write import write_clip
from tests.media.conftest import moving
import moviepy.video.io.ffmpeg_writer
clip = moving(160, 96, 6)
clip.frames[:] = __import__("numpy").random.default_rng(0).integers(0, 256, clip.frames.shape)
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for suffix in ("mp4", "webm", "gif", "webp", "zip"):
    try:
        write_clip(clip, Path(sys.argv[1]) / f"clip.{suffix}", recipe=make_recipe({}, "parallax"))
    except WriteFailed as e:
        print(suffix, e.message)
"""


def run_limited(folder: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, folder, how], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_file_that_may_not_grow_is_a_failure_and_leaves_nothing(tmp_path: Path) -> None:
    said = run_limited(tmp_path, "limit")
    assert [line.split()[0] for line in said] == list(SUFFIXES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny tmpfs, which takes root")
def test_a_full_disk_is_called_so_and_leaves_nothing(tmp_path: Path) -> None:
    small = make(tmp_path / "small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this system does not let root mount a tmpfs")
    try:
        said = run_limited(small, "disk")
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)
    assert said == [f"{s} The disk of small is full; nothing was written." for s in SUFFIXES]
    assert left == []


def test_folders_and_names_that_will_not_do_get_their_sentence(
    clip: Clip, recipe: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "taken.webp").mkdir()
    cases = {
        tmp_path / "none" / "clip.webp": "its folder does not exist",
        tmp_path / "none" / "clip.mp4": "its folder does not exist",
        tmp_path / "taken.webp": "is a folder",
        tmp_path / ("x" * 400 + ".webp"): "is not a name that a file can have",
        tmp_path / "a\0b.webp": "is not a name that a file can have",
    }
    for path, says in cases.items():
        with pytest.raises(WriteFailed, match=says):
            write_clip(moving(48, 32, 2), path, recipe=recipe)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.webp"]


def test_a_folder_without_permission_gets_its_sentence(clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() == 0:
        path = Path("/proc/clip.webp") if Path("/proc/self").is_dir() else pytest.skip("root may write anywhere")
    else:
        tmp_path.chmod(0o500)
        path = tmp_path / "clip.webp"
    with pytest.raises(WriteFailed):
        write_clip(clip, path, recipe=recipe)


@pytest.mark.parametrize("name", ["clip.avi", "clip", "clip.mp4.exe"])
def test_an_unknown_suffix_lists_the_known(name: str, clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mp4, webm, gif, webp, zip can"):
        write_clip(clip, tmp_path / name, recipe=recipe)


def test_what_would_be_beyond_reason_is_refused_with_an_estimate(recipe: dict[str, Any], tmp_path: Path) -> None:
    large = np.broadcast_to(np.zeros((1, 1, 1, 3), np.uint8), (1000, 1024, 2048, 3))
    with pytest.raises(BadInput, match="a GIF of 1000 frames at 2048x1024 would take about 1678 MB"):
        write_clip(Clip(large, 7.0), tmp_path / "clip.gif", recipe=recipe)
    with pytest.raises(BadInput, match="about 4 GB"):
        write_clip(Clip(large, 7.0), tmp_path / "clip.zip", recipe=recipe)
    with pytest.raises(BadInput, match=r"60 is more than a GIF can show \(50\)"):
        write_clip(moving(48, 32, 2, 60.0), tmp_path / "clip.gif", recipe=recipe)


@pytest.mark.parametrize("name", ["-rf.mp4", "50% {x} 🎬.webm", "a:b.gif", "%d.mp4", 'C\'est "ça".webp'])
def test_odd_names_are_written_like_any_other(name: str, clip: Clip, recipe: dict[str, Any], tmp_path: Path) -> None:
    assert read_recipe(write_clip(clip, tmp_path / name, recipe=recipe)) == recipe
    assert [p.name for p in tmp_path.iterdir()] == [name]
