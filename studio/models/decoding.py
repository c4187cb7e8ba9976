"""How a clip's latents are decoded, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wished = Literal["auto", "whole", "chunked", "tiled"]

SLICE_PIXELS = 1 << 20
"""Pixels, counted over frames, that whole decoding works on at a time."""

LEAN_SLICE_PIXELS = 1 << 17
"""The same where memory is scarce; a single frame of 1024x576 is more, and then the least."""


@dataclass(frozen=True)
class Decode:
    """One way from latents to frames.

    Args:
        way: whole: as if all frames were decoded at once, exactly; chunked: `chunk` frames at a time, each chunk a
            little video of its own; tiled: whole, but in spatial tiles that overlap and are blended, approximately.
        recompute: computes some layers twice to keep less.
        keep: where the tensors of the whole clip lie; in host memory they are copied to the device slice by slice.
        slice_pixels: pixels, counted over frames, that whole decoding works on at a time; less is slower. The result
            is the same but for rounding.
        tile: most latent cells of a tile, down and across.
    """

    way: Literal["whole", "chunked", "tiled"]
    chunk: int
    recompute: bool = False
    keep: Literal["device", "host"] = "device"
    slice_pixels: int = SLICE_PIXELS
    tile: tuple[int, int] = (72, 128)


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


def kept_on_host_bytes(frames: int, width: int, height: int, value_bytes: int, slice_pixels: int = SLICE_PIXELS) -> int:
    """The most activations on the device while the tensors of the whole clip lie in host memory: those of one slice.

    It is one of four places: attention in the middle block, convolutions through time at a quarter of the width and
    height (512 channels both), those that halve the channels at half of it, and at full size. Counted as above.
    """
    frame, least = width * height, slice_pixels

    def pixels(shrunk: int, atom: float) -> float:
        """Of a slice where the picture is so many times smaller each way, and no less than an atom is taken."""
        return min(max(least, atom), frames * frame / shrunk**2)

    values = max(
        3584 * pixels(8, frame / 64),
        2048 * pixels(4, frames * width / 4),
        1280 * pixels(2, frame / 4),
        640 * pixels(1, frame),
    )
    return int(value_bytes * values)


def chunk_bytes(frames: int, width: int, height: int, value_bytes: int) -> int:
    """The most activations that live while diffusers' own decoder takes that many frames: 1024 values a pixel."""
    return frames * width * height * 1024 * value_bytes
