"""Frames out of a file, within limits; the only place that opens a video."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image

from studio.errors import BadInput
from studio.media.clip import Clip
from studio.media.sniff import pixel_size, shown_name, sniff

MAX_FILE_BYTES = 2**31
MAX_FRAMES = 3600
MAX_SIDE = 8192
MAX_DECODED_BYTES = 2**32
ZIP_FACTS = "clip.json"
"""The member of a PNG sequence that says its rate."""

_DEMUXERS = {"mp4": "mov", "webm": "matroska", "gif": "gif"}
# The road from a decoded frame to RGB. swscale's default shortcut darkens by about 1 of 255; these flags take the exact
# one (FFmpeg 8.0).
EXACT = Interpolation.BICUBIC
if "ACCURATE_RND" in Interpolation.__members__:  # PyAV 18; 17, the last for Python 3.10, rounds chroma less exactly
    EXACT = EXACT | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# What Pillow and zipfile answer damaged data with, besides OSError.
_BAD_IMAGE = (ValueError, SyntaxError, struct.error, Image.DecompressionBombError)
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
_ABLE = "MP4, WebM, GIF, animated WebP and ZIP of PNG are read."


def clip_kind(path: Path) -> str:
    """mp4, webm, gif, webp or zip, by content.

    Raises:
        BadInput: no such file, too large, or something else.
    """
    name = shown_name(path)
    try:
        if not path.is_file():
            raise BadInput(f"{name} does not exist.", "Check the path.")
        size, kind = path.stat().st_size, sniff(path)
    except (OSError, ValueError) as e:
        raise BadInput(f"{name} can't be opened.", "Check the path and its permissions.") from e
    if size > MAX_FILE_BYTES:
        raise BadInput(f"{name} has {size >> 20} MB; a clip may have {MAX_FILE_BYTES >> 20}.")
    if kind not in (*_DEMUXERS, "webp", "zip"):
        raise BadInput(f"{name} is not a clip that is known here.", _ABLE)
    return kind


@contextmanager
def open_media(path: Path, kind: str) -> Iterator[InputContainer]:
    """The file open in the demuxer of its kind and no other: a playlist in disguise never gets to name files.

    Raises:
        BadInput: damaged.
    """
    try:
        with open(path, "rb") as file:
            with av.open(
                file,
                format=_DEMUXERS[kind],
                options={"protocol_whitelist": "", "format_whitelist": "mov,matroska,webm,gif"},
                metadata_errors="replace",
            ) as container:
                yield container
    except (av.error.FFmpegError, EOFError) as e:
        raise damaged(path) from e


def damaged(path: Path) -> BadInput:
    """The sentence for a clip that can't be read to its end."""
    return BadInput(f"{shown_name(path)} is damaged: it can't be decoded to its end.", "Make or fetch it anew.")


def iter_frames(path: Path, kind: str, *, for_memory: bool = True) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame, uint8 (H, W, 3) or (H, W, 4) in sRGB, and its duration in seconds; 0 where the file has none.

    Limits are checked while decoding, for a header may claim anything.

    Args:
        for_memory: whether the frames are to be held all at once, so that their number has a limit.

    Raises:
        BadInput: beyond the limits of this module, or damaged.
    """
    source = {"webp": _webp_frames, "zip": _zip_frames}.get(kind) or (lambda p: _av_pixels(p, kind))
    bytes_so_far = 0
    for count, (pixels, duration_s) in enumerate(source(path), 1):
        if not for_memory:
            yield pixels, duration_s
            continue
        bytes_so_far += pixels.nbytes
        if count > MAX_FRAMES or bytes_so_far > MAX_DECODED_BYTES:
            limit = f"{MAX_FRAMES} frames and {MAX_DECODED_BYTES >> 30} GB of pixels"
            raise BadInput(f"{shown_name(path)} is too long; a clip may have {limit}.", "Cut it shorter.")
        yield pixels, duration_s


def check_side(path: Path, width: int, height: int) -> None:
    """Raises `BadInput` where no frame can be so large."""
    if width < 1 or height < 1:
        raise damaged(path)
    if max(width, height) > MAX_SIDE:
        raise BadInput(f"{shown_name(path)} is {width}x{height}; a side may have {MAX_SIDE} px.", "Scale it down.")


@contextmanager
def open_video(path: Path, kind: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file open, and its pictures, ready to be decoded.

    Raises:
        BadInput: damaged, only sound, or too large a frame.
    """
    with open_media(path, kind) as container:
        if not container.streams.video:
            raise BadInput(f"{shown_name(path)} has no pictures in it, only sound.", "Choose a video.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise damaged(path)
        check_side(path, stream.width, stream.height)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 2
        yield container, stream


def av_frames(path: Path, kind: str) -> Iterator[tuple[av.VideoFrame, float]]:
    """Each frame of an mp4, webm or gif as it was decoded, and its duration in seconds; 0 where the file has none."""
    with open_video(path, kind) as (container, stream):
        last = None
        for frame in container.decode(stream):
            check_side(path, frame.width, frame.height)
            if last is not None:
                yield last, _duration_s(last, frame.time)
            last = frame
        if last is None:
            raise damaged(path)
        yield last, _duration_s(last, container.duration / av.time_base if container.duration else None)


def _av_pixels(path: Path, kind: str) -> Iterator[tuple[np.ndarray, float]]:
    for frame, duration_s in av_frames(path, kind):
        yield frame.reformat(format="rgb24", interpolation=EXACT).to_ndarray(), duration_s


def _duration_s(frame: av.VideoFrame, next_s: float | None) -> float:
    """As the file says it, or until the next frame (PyAV 17 has no durations of a WebM's frames)."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return max(0.0, next_s - frame.time) if next_s is not None and frame.time is not None else 0.0


def _webp_frames(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    try:
        with open(path, "rb") as file:
            check_side(path, *(pixel_size(file.read(30), "webp") or (0, 0)))
        with Image.open(path, formats=("WEBP",)) as image:
            for i in range(getattr(image, "n_frames", 1)):
                image.seek(i)
                image.load()
                pixels = np.asarray(image if image.mode == "RGBA" else image.convert("RGB"))
                yield pixels, image.info.get("duration", 0) / 1000
    except (OSError, EOFError, *_BAD_IMAGE) as e:
        raise damaged(path) from e


def zip_rate(path: Path) -> Fraction | None:
    """Frames per second that a PNG sequence states about itself."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(ZIP_FACTS) as member:
            rate = Fraction(json.loads(member.read(4096))["fps"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OSError, EOFError, *_BAD_ZIP):
        return None
    return rate if 0 < rate <= 1000 else None


def _zip_frames(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    duration_s = float(1 / rate) if (rate := zip_rate(path)) else 0.0
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".png"))
            if not names:
                raise BadInput(f"{shown_name(path)} has no PNG in it.", "Choose a ZIP of PNG pictures.")
            for name in names:
                if archive.getinfo(name).file_size > MAX_SIDE * MAX_SIDE * 4:
                    raise damaged(path)
                data = archive.read(name)
                check_side(path, *(pixel_size(data, "png") or (0, 0)))
                with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                    yield np.asarray(image if image.mode == "RGBA" else image.convert("RGB")), duration_s
    except (OSError, EOFError, *_BAD_ZIP, *_BAD_IMAGE) as e:
        raise damaged(path) from e


def rate_of(durations_s: list[float], stated: Fraction | None = None) -> float:
    """Frames per second: as stated, or from the frames' own durations; 7 where a file has neither."""
    if stated:
        return float(stated)
    total = sum(durations_s)
    return float(len(durations_s) / total) if total > 0 else 7.0


def stated_rate(path: Path, kind: str) -> Fraction | None:
    """The rate in the header of the file, where its kind has one that is worth its word."""
    if kind == "zip":
        return zip_rate(path)
    if kind not in ("mp4", "webm"):
        return None
    with open_media(path, kind) as container:
        streams = container.streams.video
        return streams[0].average_rate if streams else None


def read_clip(path: Path) -> Clip:
    """All frames of a file that the studio writes, with alpha where it has some.

    Raises:
        BadInput: another kind, too large, damaged, or frames of different sizes.
    """
    kind = clip_kind(path)
    frames, durations = [], []
    for pixels, duration_s in iter_frames(path, kind):
        if frames and pixels.shape[:2] != frames[0].shape[:2]:
            raise BadInput(f"{shown_name(path)} has frames of different sizes.", "Make them of one size.")
        frames.append(pixels)
        durations.append(duration_s)
    alpha = None
    if any(f.shape[2] == 4 for f in frames):
        opaque = np.full(frames[0].shape[:2], 255, np.uint8)
        alpha = np.stack([f[..., 3] if f.shape[2] == 4 else opaque for f in frames])
    fps = rate_of(durations, stated_rate(path, kind))
    return Clip(np.stack([f[..., :3] for f in frames]), fps, alpha)
