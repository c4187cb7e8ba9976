"""Small videos of every kind that people have, made with PyAV: any times, any pixels, turned, with sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48_000
"""Of the sound, samples a second."""


def picture(i: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A bright bar on a ramp, further right in each frame."""
    frame = np.repeat(np.linspace(20, 120, width).astype(np.uint8)[None, :, None], height, 0).repeat(3, 2)
    frame[:, (4 * i) % width : (4 * i) % width + 6] = 230
    return frame


def write_film(
    path: Path,
    times: Sequence[Fraction] | int = 12,
    *,
    rate: Fraction = Fraction(12),
    size: tuple[int, int] = (64, 48),
    frames: Sequence[np.ndarray] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    turned: int = 0,
    pixel_shape: Fraction | None = None,
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    unit: Fraction = Fraction(1, 90_000),
) -> Path:
    """A video whose frames are shown at these times, or so many at that rate.

    Args:
        turned: degrees that a player turns it, counter-clockwise.
        pixel_shape: how much wider than high a pixel is.
        sound: float32 samples of one channel.
    """
    shown = [i / rate for i in range(times)] if isinstance(times, int) else list(times)
    with av.open(str(path), "w") as made:
        stream = made.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.time_base = unit
        stream.codec_context.time_base = unit
        stream.options = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {"crf": "12", "b": "0"}
        if pixel_shape is not None:
            stream.sample_aspect_ratio = pixel_shape
        if turned:
            stream.set_display_rotation(turned)
        track = None
        if sound is not None:
            track = made.add_stream(sound_codec, rate=RATE)
            track.codec_context.layout = "mono"
        for i, at in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(frames[i] if frames is not None else picture(i, *size), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts = round(at / unit)
            frame.time_base = unit
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
        if track is not None:
            for start in range(0, len(sound), 1024):
                block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024].astype(np.float32), "flt", "mono")
                block.sample_rate, block.pts, block.time_base = RATE, start, Fraction(1, RATE)
                made.mux(track.encode(block))
            made.mux(track.encode(None))
    return path


def clicks(at_s: Sequence[float], length_s: float) -> np.ndarray:
    """Silence with a short burst at each of these times: float32 samples of one channel."""
    samples = np.zeros(round(length_s * RATE), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 3000 * np.arange(480) / RATE).astype(np.float32)
    for at in at_s:
        samples[round(at * RATE) :][:480] = burst[: max(0, len(samples) - round(at * RATE))]
    return samples


def heard(path: Path) -> tuple[list[float], str]:
    """When bursts begin in a file, seconds from its first picture, and its sound's codec."""
    with av.open(str(path)) as opened:
        zero = next(opened.decode(video=0)).time
        codec = opened.streams.audio[0].codec_context.name
    with av.open(str(path)) as opened:
        parts = [(f.time, f.to_ndarray().reshape(-1, f.samples)[0], f.sample_rate) for f in opened.decode(audio=0)]
    rate = parts[0][2]
    samples = np.concatenate(
        [np.abs(p.astype(np.float32) / (1 if p.dtype.kind == "f" else 32768)) for _, p, _ in parts]
    )
    loud = np.flatnonzero(samples > 0.2)
    begins = [loud[0], *loud[1:][np.diff(loud) > rate * 0.05]]
    return [float(parts[0][0] + i / rate - zero) for i in begins], codec
