"""What decoding a clip costs with the decoders of the SVD family, and a clip's size in the terms of these formulas.

Calibrated as those of `studio.models.costs.svd`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.models.costs import Way
from studio.models.decoding import LEAN_SLICE_PIXELS, Decode, chunk_bytes, kept_on_host_bytes, whole_bytes

_CELL = 8
"""Pixels on a side of one latent cell."""

_HOST_SLICE = 1 << 19
"""Pixels at a time where the clip's tensors lie in host memory: not much slower than more of them, in half the room."""

_LEAST_TILE = 32
"""Cells (256 pixels); smaller tiles see too little of the picture."""

_OVERLAP = 16
"""Cells that neighbouring tiles share (`studio.engines.clip_decode`)."""


@dataclass(frozen=True)
class ClipSize:
    """What is made: frames of that many pixels."""

    frames: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames * self.width * self.height

    @property
    def frame_cells(self) -> int:
        """Latent cells of one frame."""
        return -(-self.width // _CELL) * -(-self.height // _CELL)

    @property
    def cells(self) -> int:
        """Latent cells of all frames."""
        return self.frames * self.frame_cells


def decode_ways(clip: ClipSize, wish: Any, value_bytes: int, image_decoder: bool) -> tuple[Way, ...]:
    """``auto`` has every way, the exact ones first; a way that is wished for by name has its own leaner forms only."""
    chunk = min(wish.decode_chunk, clip.frames)
    if image_decoder:
        ways = _picture_ways(clip, chunk, value_bytes) if wish.decode != "tiled" else ()
        return ways or _tiled_ways(clip, chunk, value_bytes, image_decoder, wished=True)
    if wish.decode == "whole":
        return _whole_ways(clip, chunk, value_bytes)
    if wish.decode == "chunked":
        return _chunked_ways(clip, chunk, value_bytes, wished=True)
    if wish.decode == "tiled":
        return _tiled_ways(clip, chunk, value_bytes, image_decoder, wished=True)
    return (
        *_whole_ways(clip, chunk, value_bytes),
        *_chunked_ways(clip, chunk, value_bytes, wished=False),
        *_tiled_ways(clip, chunk, value_bytes, image_decoder, wished=False),
    )


def _whole_ways(clip: ClipSize, chunk: int, value_bytes: int) -> tuple[Way, ...]:
    size = (clip.frames, clip.width, clip.height, value_bytes)
    ways = []
    for recompute in (False, True):
        ways.append(
            Way(
                "whole, some layers twice" if recompute else "whole",
                working_bytes=_whole_bytes(clip, value_bytes, recompute=recompute),
                flop=_decode_flop(clip, recompute),
                moved_bytes=(83_500 if recompute else 81_600) * clip.pixels * value_bytes / 2,
                choice=Decode("whole", chunk, recompute),
            )
        )
    for slice_pixels, name in ((_HOST_SLICE, "in slices"), (LEAN_SLICE_PIXELS, "in small slices")):
        # The bus is what takes the time: with some layers done twice less goes over it.
        ways.append(
            Way(
                f"whole, kept on the host, {name}",
                working_bytes=min(kept_on_host_bytes(*size, slice_pixels), _whole_bytes(clip, value_bytes)),
                flop=_decode_flop(clip, recompute=True),
                moved_bytes=41_750 * clip.pixels * value_bytes,
                bus_bytes=4285 * clip.pixels * value_bytes,
                host_bytes=192 * clip.pixels * value_bytes,
                choice=Decode("whole", chunk, recompute=True, keep="host", slice_pixels=slice_pixels),
            )
        )
    return tuple(ways)


def _picture_ways(clip: ClipSize, chunk: int, value_bytes: int) -> tuple[Way, ...]:
    """To an image decoder each frame is a picture of its own, so that any chunk gives the same."""
    flop = clip.pixels * (9.461e6 + 32 * clip.frame_cells)
    return tuple(
        Way(
            f"{_counted(size)} at a time",
            working_bytes=size * clip.width * clip.height * 769 * value_bytes,
            flop=flop,
            moved_bytes=15_950 * clip.pixels * value_bytes,
            choice=Decode("chunked", size),
        )
        for size in _halves(chunk)
    )


def _chunked_ways(clip: ClipSize, chunk: int, value_bytes: int, *, wished: bool) -> tuple[Way, ...]:
    ways = []
    for size in _halves(chunk):
        alone = size == clip.frames
        if alone and not wished:
            continue  # the same clip as decoding it whole, in four times the memory
        as_wished = wished and size == chunk
        ways.append(
            Way(
                f"chunked, {_counted(size)} at a time",
                working_bytes=chunk_bytes(size, clip.width, clip.height, value_bytes),
                flop=_decode_flop(clip, recompute=False),
                moved_bytes=33_000 * clip.pixels * value_bytes,
                exact=alone or as_wished,
                choice=Decode("chunked", size),
                notice=""
                if as_wished
                else f"The clip does not fit for decoding {'in larger chunks' if wished else 'as a whole'}; "
                f"it is decoded {_counted(size)} at a time, which can flicker.",
            )
        )
    return tuple(ways)


def _tiled_ways(clip: ClipSize, chunk: int, value_bytes: int, image_decoder: bool, *, wished: bool) -> tuple[Way, ...]:
    """From the size that SVD was trained at, halving the longer side."""
    ways: list[Way] = []
    down, across = 72, 128
    while min(down, across) >= _LEAST_TILE:
        size = (min(across * _CELL, clip.width), min(down * _CELL, clip.height))
        tile = ClipSize(1 if image_decoder else clip.frames, *size)
        count = _spans(-(-clip.height // _CELL), down) * _spans(-(-clip.width // _CELL), across)
        if count > 1 or wished:
            work = count * clip.frames * tile.width * tile.height / clip.pixels if count > 1 else 1.0
            ways.append(
                Way(
                    f"tiled, {tile.width}x{tile.height}",
                    working_bytes=tile.pixels * 769 * value_bytes
                    if image_decoder
                    else _whole_bytes(tile, value_bytes, recompute=True),
                    flop=work * _decode_flop(clip, recompute=True),
                    moved_bytes=work * 41_800 * clip.pixels * value_bytes,
                    exact=count == 1 or (wished and not ways),
                    choice=Decode("tiled", chunk, recompute=True, tile=(down, across)),
                    notice="The clip is decoded in tiles that are blended where they overlap, which is an "
                    "approximation."
                    if count > 1
                    else "",
                )
            )
        down, across = (down, across // 2) if across >= down else (down // 2, across)
    return tuple(ways)


def _spans(length: int, tile: int) -> int:
    """How many tiles cover that length with their overlap."""
    overlap = min(_OVERLAP, tile // 2)
    return 1 if length <= tile else -(-(length - overlap) // (tile - overlap))


def _whole_bytes(clip: ClipSize, value_bytes: int, *, recompute: bool = False) -> int:
    """The formula counts whole slices; a clip that is smaller than one needs no more than all its layers at once."""
    size = (clip.frames, clip.width, clip.height, value_bytes)
    return min(whole_bytes(*size, recompute=recompute), chunk_bytes(*size))


def _decode_flop(clip: ClipSize, recompute: bool) -> float:
    return clip.pixels * ((12.484e6 if recompute else 11.476e6) + 32 * clip.frame_cells)


def _halves(chunk: int) -> list[int]:
    """The chunk, half of it, ... down to a single frame."""
    sizes = [chunk]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _counted(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
