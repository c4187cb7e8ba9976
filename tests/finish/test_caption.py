"""Captions: legible, inside the frame, at the foot, and honest about letters that can't be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from studio import finish as finishing
from studio.errors import BadInput
from studio.media.clip import Clip
from tests.bare import Bare


def finish(clip: Clip, steps: list[str]) -> Clip:
    return finishing.finish(clip, steps, Bare())


def grey(width: int = 320, height: int = 180, *, alpha: bool = False) -> Clip:
    frames = np.full((2, height, width, 3), 100, np.uint8)
    return Clip(frames, 7.0, np.zeros(frames.shape[:3], np.uint8) if alpha else None)


def changed(clip: Clip) -> tuple[slice, slice]:
    rows, columns = np.nonzero((clip.frames[0] != 100).any(-1))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_a_caption_is_white_on_shade_at_the_foot() -> None:
    clip = grey()
    done = finish(clip, ["caption:A short walk"])
    rows, columns = changed(done)
    assert rows.start > 130
    assert rows.stop < 180
    assert abs((columns.start + columns.stop) / 2 - 160) <= 1
    box = done.frames[0][rows, columns]
    assert box.max() > 240
    assert np.median(box) == pytest.approx(100 * (255 - 150) / 255, abs=1)
    assert (done.frames[0] == done.frames[1]).all()
    assert (clip.frames == 100).all(), "the given clip is left alone"


def test_a_long_caption_wraps_and_stays_inside() -> None:
    short = changed(finish(grey(), ["caption:One line"]))[0]
    rows, columns = changed(finish(grey(), ["caption:" + "many words that go on " * 6]))
    assert rows.stop - rows.start > 2 * (short.stop - short.start)
    assert columns.stop - columns.start <= 320
    rows, columns = changed(finish(grey(), ["caption:" + "W" * 200]))
    assert columns.stop - columns.start <= 320


def test_a_caption_fits_the_smallest_clip() -> None:
    done = finish(grey(64, 64), ["caption:" + "words " * 40])
    assert done.frames.shape == (2, 64, 64, 3)
    assert done.frames.max() > 200


def test_colons_belong_to_the_text() -> None:
    assert (finish(grey(), ["caption:a: b"]).frames != finish(grey(), ["caption:a b"]).frames).any()


def test_a_caption_is_opaque_on_a_transparent_clip() -> None:
    done = finish(grey(alpha=True), ["caption:x"])
    rows, columns = changed(done)
    assert done.alpha is not None
    assert done.alpha[:, rows, columns].min() >= 150
    assert done.alpha[:, :100].max() == 0


def test_what_no_font_can_draw_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"no font on this machine has the caption's '.U0010fffc'"):
        finish(grey(), ["caption:a\U0010fffcb"])


def test_a_novel_is_no_caption() -> None:
    with pytest.raises(BadInput, match="has 301 characters; 300 is the most"):
        finish(grey(), ["caption:" + "x" * 301])
