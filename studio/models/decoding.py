"""How a clip's latents will be decoded: chosen before, by what memory is free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Wished = Literal["auto", "whole", "chunked", "tiled"]

SLICE_PIXELS = 1 << 20
"""Pixels, counted over frames, that whole decoding works on at a time."""

MARGIN = 1.1
"""What is wanted over the activations themselves: room that the allocator can't use, a convolution's workspace."""

_LEAST_TILE = 32
"""Cells (256 pixels); smaller tiles see too little of the picture."""


@dataclass(frozen=True)
class Decode:
    """One way from latents to frames.

    Args:
        way: whole: as if all frames were decoded at once, exactly; chunked: `chunk` frames at a time, each chunk a
            little video of its own; tiled: whole, but in spatial tiles that overlap and are blended, approximately.
        recompute: computes some layers twice to keep less.
        tile: most latent cells of a tile, down and across.
        says: a sentence for the user where the result is not the exact one.
    """

    way: Literal["whole", "chunked", "tiled"]
    chunk: int
    recompute: bool = False
    tile: tuple[int, int] = (72, 128)
    says: str = ""

    def smaller(self) -> Decode | None:
        """The next way that needs less memory; None after chunked and tiled, which shrink by themselves or not."""
        if self.way != "whole":
            return None
        if not self.recompute:
            return replace(self, recompute=True)
        return replace(self, way="chunked", recompute=False, says=_chunks(self.chunk))


def choose_decode(
    wished: Wished, *, frames: int, width: int, height: int, chunk: int, value_bytes: int, free_bytes: int | None
) -> Decode:
    """The decoding to start with.

    What is wished for by name is done. ``auto`` decodes the whole clip at once unless it is known not to fit; then
    in chunks of at most `chunk` frames, and in tiles where not even a single frame fits.

    Args:
        width, height: of the clip, in pixels.
        value_bytes: of one activation: 2 in fp16, 4 in fp32.
        free_bytes: what can be taken; None where nobody can say.
    """
    chunk = min(chunk, frames)
    if wished == "whole":
        return Decode("whole", chunk)
    if wished == "chunked":
        return Decode("chunked", chunk)
    if wished == "tiled":
        return _tiles(frames, width, height, chunk, value_bytes, free_bytes)
    if free_bytes is None:
        return Decode("whole", chunk)
    for recompute in (False, True):
        if whole_bytes(frames, width, height, value_bytes, recompute=recompute) * MARGIN <= free_bytes:
            return Decode("whole", chunk, recompute)
    fitting = int(free_bytes / (chunk_bytes(1, width, height, value_bytes) * MARGIN))
    if fitting >= 1:
        chunk = min(chunk, fitting)
        return Decode("chunked", chunk, says=_chunks(chunk) if chunk < frames else "")
    return _tiles(frames, width, height, chunk, value_bytes, free_bytes)


def whole_bytes(frames: int, width: int, height: int, value_bytes: int, *, recompute: bool = False) -> int:
    """The most activations that live while SVD's decoder takes the whole clip at once.

    With its channels (128 at full size, 256 as they arrive there, 512 below): what is kept, and some four tensors of
    a slice. Counted on the meta device in tests/engines/test_whole_decode.py.
    """
    pixels, frame = frames * width * height, width * height
    through_time = pixels * 128 * (1 if recompute else 2) + 3 * 128 * max(SLICE_PIXELS, frames * width)
    full = pixels * (64 + 128) + 640 * max(SLICE_PIXELS, frame)
    half = pixels * (32 + 64) + 1280 * min(max(SLICE_PIXELS, frame // 4), pixels // 4)
    return value_bytes * max(through_time, full, half)


def chunk_bytes(frames: int, width: int, height: int, value_bytes: int) -> int:
    """The most activations that live while diffusers' own decoder takes that many frames: 1024 values a pixel."""
    return frames * width * height * 1024 * value_bytes


def _tiles(frames: int, width: int, height: int, chunk: int, value_bytes: int, free_bytes: int | None) -> Decode:
    """The largest tiles that fit, halving the longer side from the size that SVD was trained at."""
    down, across = 72, 128
    while free_bytes is not None and across > _LEAST_TILE:
        if whole_bytes(frames, across * 8, down * 8, value_bytes, recompute=True) * MARGIN <= free_bytes:
            break
        down, across = (down, across // 2) if across >= down else (down // 2, across)
    several = height // 8 > down or width // 8 > across
    says = "The clip is decoded in tiles that are blended where they overlap, which is an approximation."
    return Decode("tiled", chunk, recompute=True, tile=(down, across), says=says if several else "")


def _chunks(chunk: int) -> str:
    frames = "1 frame" if chunk == 1 else f"{chunk} frames"
    return f"The clip does not fit for decoding as a whole; it is decoded {frames} at a time, which can flicker."
