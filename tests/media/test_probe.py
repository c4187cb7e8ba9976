"""Probing counts frames, believes no header, and opens nothing that a file points to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.errors import BadInput
from studio.media import decode
from studio.media.decode import read_clip
from studio.media.probe import MediaFacts, probe
from studio.media.write import write_clip
from tests.media.conftest import moving


def test_facts_of_an_mp4(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write_clip(moving(64, 48, 10, 8.0), tmp_path / "clip.mp4", recipe=recipe)
    assert probe(path) == MediaFacts(64, 48, 8.0, 10, 1.25, "h264", "yuv420p")


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"), [("webm", "vp9", "yuv420p"), ("gif", "gif", "bgra"), ("zip", "png", "rgb24")]
)
def test_facts_of_the_others(suffix: str, codec: str, pix_fmt: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    facts = probe(write_clip(moving(64, 48, 4), tmp_path / f"clip.{suffix}", recipe=recipe))
    assert (facts.codec, facts.pix_fmt, facts.frames) == (codec, pix_fmt, 4)


def test_content_counts_and_not_the_name(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write_clip(moving(64, 48, 4), tmp_path / "clip.webm", recipe=recipe).rename(tmp_path / "clip.mp4")
    assert probe(path).codec == "vp9"


@pytest.mark.parametrize("suffix", ["mp4", "webm", "webp", "zip"])
def test_a_truncated_clip_is_called_damaged_or_counted_as_far_as_it_goes(
    suffix: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    noise = moving(64, 48, 8)
    noise.frames[:] = np.random.default_rng(0).integers(0, 256, noise.frames.shape)
    path = write_clip(noise, tmp_path / f"clip.{suffix}", recipe=recipe)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix == "webm":
        assert probe(path).frames < 8
    else:
        with pytest.raises(BadInput, match="is damaged"):
            probe(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not a clip that is known here"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is not a clip that is known here"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is not a clip that is known here"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 500, "is damaged"),
        (b"\x1a\x45\xdf\xa3" + b"junk" * 100, "is damaged"),
        (b"GIF89a" + b"\xff" * 200, "is damaged"),
        (b"RIFF\xff\0\0\0WEBPVP8 " + b"junk" * 50, "is damaged"),
        (b"PK\3\4" + b"junk" * 50, "is damaged"),
    ],
)
def test_junk_gets_its_sentence(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        probe(path)
    assert caught.value.message.startswith("clip.mp4 ")
    assert says in caught.value.message


def test_limits_hold_while_decoding(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(moving(64, 48, 6), tmp_path / "clip.mp4", recipe=recipe)
    monkeypatch.setattr(decode, "MAX_FRAMES", 5)
    with pytest.raises(BadInput, match="is too long"):
        read_clip(path)
    monkeypatch.setattr(decode, "MAX_SIDE", 60)
    with pytest.raises(BadInput, match="a side may have 60 px"):
        probe(path)


def test_a_read_clip_has_the_rate_that_was_written(recipe: dict[str, Any], tmp_path: Path) -> None:
    for suffix, tolerance in (("mp4", 1e-9), ("webm", 1e-2), ("gif", 0.3), ("webp", 0.02), ("zip", 1e-9)):
        path = write_clip(moving(64, 48, 6, 12.5), tmp_path / f"clip.{suffix}", recipe=recipe)
        assert read_clip(path).fps == pytest.approx(12.5, abs=tolerance)
