"""Damaged at random, a file is read or refused with a sentence; nothing else ever comes out of it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from studio.errors import BadInput
from studio.media.probe import probe
from studio.media.read import read_picture
from studio.media.recipe import make_recipe, read_recipe
from studio.media.write import write_clip
from tests.media.conftest import moving


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, mostly near the beginning where headers are; sometimes cut."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        changed[rng.randrange(min(len(data), rng.choice((64, 400, len(data)))))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(data))] if rng.random() < 0.2 else changed)


def tried(path: Path, data: bytes, count: int, *reads: Callable[[Path], object]) -> None:
    rng = random.Random(0)
    for _ in range(count):
        path.write_bytes(mutated(data, rng))
        for read in reads:
            with suppress(BadInput):
                read(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_mutated_picture_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(moving(64, 48, 1).frames[0]).save(buffer, kind)
    tried(tmp_path / "given", buffer.getvalue(), 400, read_picture)


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp", "zip"])
def test_a_mutated_clip_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    path = write_clip(moving(48, 32, 3), tmp_path / f"clip.{suffix}", recipe=make_recipe({}, "parallax"))
    tried(path, path.read_bytes(), 120, probe, read_recipe)
