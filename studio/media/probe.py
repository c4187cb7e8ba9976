"""What a finished file really is: counted by decoding it, not by what its header claims."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.media.decode import clip_kind, damaged, iter_frames, open_media, rate_of, stated_rate


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


def probe(path: Path) -> MediaFacts:
    """The facts of an mp4, webm, gif, webp or zip, every frame decoded.

    Raises:
        BadInput: another kind, beyond the limits of `studio.media.decode`, or damaged.
    """
    kind = clip_kind(path)
    durations = []
    width = height = channels = 0
    for pixels, duration_s in iter_frames(path, kind):
        if durations and pixels.shape[:2] != (height, width):
            raise damaged(path)
        height, width = pixels.shape[:2]
        channels = max(channels, pixels.shape[2])
        durations.append(duration_s)
    fps = rate_of(durations, stated_rate(path, kind))
    codec, pix_fmt = _coding(path, kind, channels)
    return MediaFacts(width, height, fps, len(durations), len(durations) / fps, codec, pix_fmt)


def _coding(path: Path, kind: str, channels: int) -> tuple[str, str]:
    if kind in ("webp", "zip"):
        return {"webp": "webp", "zip": "png"}[kind], "rgba" if channels == 4 else "rgb24"
    with open_media(path, kind) as container:
        context = container.streams.video[0].codec_context
        return context.name, context.pix_fmt or ""
