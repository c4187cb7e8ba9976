"""The moving preview."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image

from studio.media.clip import Clip
from studio.media.decode import read_clip
from studio.media.preview import write_preview
from tests.media.conftest import moving


def test_a_preview_moves_and_is_small(tmp_path: Path) -> None:
    clip = moving(640, 360, 5)
    assert write_preview(clip, tmp_path / "p.webp") == (320, 180)
    with Image.open(tmp_path / "p.webp") as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((320, 180), 5, 0)
    back = read_clip(tmp_path / "p.webp")
    assert abs(back.frames[4].astype(int) - clip.frames[4, ::2, ::2]).mean() < 4
    assert back.fps == pytest.approx(7, rel=0.01)


def test_a_small_clip_is_not_enlarged(clip: Clip, tmp_path: Path) -> None:
    assert write_preview(clip, tmp_path / "p.webp") == (96, 64)
    assert write_preview(clip, tmp_path / "p.webp", max_side=48) == (48, 32)
    assert [p.name for p in tmp_path.iterdir()] == ["p.webp"]


def test_a_preview_takes_a_moment(tmp_path: Path) -> None:
    clip = moving(320, 180, 25)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        write_preview(clip, tmp_path / "p.webp")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3  # about 0.05 on an idle machine


def test_a_preview_that_can_not_be_written_leaves_nothing(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "p.webp").mkdir()
    with pytest.raises(OSError, match=r"p\.webp"):
        write_preview(clip, tmp_path / "p.webp")
    assert [p.name for p in tmp_path.iterdir()] == ["p.webp"]
