"""Animated WebP as a container: stills encoded by Pillow go in one by one, so that writing can be stopped between them.

Layout after the WebP container specification (RIFF chunks VP8X, ANIM, ANMF, EXIF).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

MAX_SIDE = 16_383
"""The longest side that the format can hold, px."""

_HAS_ALPHA, _HAS_EXIF, _IS_ANIMATED = 0x10, 0x08, 0x02
_DO_NOT_BLEND = 0x02


def encode_still(pixels: np.ndarray, *, quality: int, method: int) -> bytes:
    """The image chunks of one lossy still.

    Args:
        pixels: uint8 (H, W, 3), or (H, W, 4) with straight alpha.
        quality: 0-100.
        method: 0 (fast) to 6 (small).
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=method)
    buffer.seek(0)
    chunks = ((name, buffer.read(size)) for name, size in walk(buffer))
    return b"".join(_chunk(name, data) for name, data in chunks if name in (b"ALPH", b"VP8 ", b"VP8L"))


class AnimationWriter:
    """Writes an endlessly looping animation frame by frame into an open, seekable file.

    Args:
        file: empty, open for writing bytes.
        size: width and height, px, at most `MAX_SIDE` each.
        alpha: whether any frame has transparent pixels.
        exif: a TIFF-structured EXIF block, or nothing.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], *, alpha: bool = False, exif: bytes = b"") -> None:
        self._file = file
        self._size = size
        self._exif = exif
        flags = _IS_ANIMATED | (_HAS_ALPHA if alpha else 0) | (_HAS_EXIF if exif else 0)
        file.write(b"RIFF\0\0\0\0WEBP")
        file.write(_chunk(b"VP8X", struct.pack("<I", flags) + _u24(size[0] - 1) + _u24(size[1] - 1)))
        file.write(_chunk(b"ANIM", struct.pack("<IH", 0, 0)))

    def add(self, still: bytes, duration_ms: int) -> None:
        """Appends one frame as `encode_still` made it."""
        corner = _u24(0) + _u24(0)
        size = _u24(self._size[0] - 1) + _u24(self._size[1] - 1)
        head = corner + size + _u24(duration_ms) + bytes([_DO_NOT_BLEND])
        self._file.write(_chunk(b"ANMF", head + still))

    def close(self) -> None:
        """Writes what stands after the frames; the file is whole then and stays open."""
        if self._exif:
            self._file.write(_chunk(b"EXIF", self._exif))
        end = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", end - 8))
        self._file.seek(end)


def walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk, with the file standing at its data; read at most that size before going on.

    Ends quietly where the file does; it is for the caller to miss something.
    """
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WEBP":
        return
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        start = file.tell()
        yield head[:4], size
        file.seek(start + size + size % 2)


def frame_times(fps: float, count: int, unit_s: float) -> list[int]:
    """Durations of `count` frames in whole units, rounded so that the errors never add up."""
    ends = [round((i + 1) / fps / unit_s) for i in range(count)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")
