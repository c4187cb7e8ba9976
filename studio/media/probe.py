"""What a finished file really is: counted by decoding it, not by what its header claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.media.decode import av_frames, clip_kind, damaged, iter_frames, open_media, rate_of, stated_rate


@dataclass(frozen=True)
class MediaFacts:
    """Size in pixels, rate in frames per second, decoded frames, seconds, and FFmpeg's names for codec and pixels."""

    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    codec: str
    pix_fmt: str


def probe(path: Path, check: Callable[[], None] = lambda: None) -> MediaFacts:
    """The facts of an mp4, webm, gif, webp or zip, every frame decoded, however many there are.

    Args:
        check: called for each frame; may raise `Cancelled`.

    Raises:
        BadInput: another kind, frames of different sizes or too large, or damaged.
    """
    kind = clip_kind(path)
    durations = []
    size = None
    channels = 0
    for (width, height, depth), duration_s in _shapes(path, kind):
        check()
        if size not in (None, (width, height)):
            raise damaged(path)
        size = (width, height)
        channels = max(channels, depth)
        durations.append(duration_s)
    assert size is not None, "a file without frames is damaged"
    fps = rate_of(durations, stated_rate(path, kind))
    codec, pix_fmt = _coding(path, kind, channels)
    return MediaFacts(*size, fps, len(durations), len(durations) / fps, codec, pix_fmt)


def _shapes(path: Path, kind: str) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Width, height, channels and duration of each frame; a video's are decoded, but not turned to RGB."""
    if kind in ("webp", "zip"):
        for pixels, duration_s in iter_frames(path, kind, for_memory=False):
            yield (pixels.shape[1], pixels.shape[0], pixels.shape[2]), duration_s
    else:
        for frame, duration_s in av_frames(path, kind):
            yield (frame.width, frame.height, 3), duration_s


def _coding(path: Path, kind: str, channels: int) -> tuple[str, str]:
    if kind in ("webp", "zip"):
        return {"webp": "webp", "zip": "png"}[kind], "rgba" if channels == 4 else "rgb24"
    with open_media(path, kind) as container:
        context = container.streams.video[0].codec_context
        return context.name, context.pix_fmt or ""
