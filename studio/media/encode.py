"""The encoders: a clip into a file of one format, frame by frame, the same bytes each time.

Videos and GIFs go through moviepy's FFmpeg writer, which takes a frame at a time; WebP and PNG through Pillow.
`on_frame(done, total)` is called after every frame and while an encoder finishes; what it raises stops the encoder.
"""

from __future__ import annotations

import io
import json
import logging
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from studio.errors import WriteFailed
from studio.media.decode import ZIP_FACTS
from studio.media.recipe import ZIP_MEMBER, embed_in_gif, embed_in_video, exif_block, png_text
from studio.media.stream import Footage
from studio.media.webp import AnimationWriter, encode_still, frame_times

if TYPE_CHECKING:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

OnFrame = Callable[[int, int], None]

Text = Callable[[], str]
"""Gives the recipe; asked when the frames are in the file, where its format can wait so long."""

FRAME_TIMEOUT_S = 60.0
"""An encoder that takes no frame for so long is stopped."""
FINISH_TIMEOUT_S = 600.0
_POLL_S = 0.25

_BITEXACT = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact")
# sRGB to limited-range BT.709, and said so: players take untagged small pictures for BT.601. setparams, because
# FFmpeg 9 lets what the filters say win over -color_primaries and -color_trc.
_TO_YUV = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_int+bitexact,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
# filter_units drops x264's user data (SEI 6), which names its version.
_H264 = ("-crf", "17", "-bsf:v", "filter_units=remove_types=6")
_VP9 = ("-crf", "20", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1", "-tile-columns", "1")
_GIF = "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=sierra2_4a"


def write_mp4(clip: Footage, target: Path, text: Text, on_frame: OnFrame) -> None:
    """H.264, yuv420p, BT.709, index first; its sound beside it. Alpha is left out."""
    _write_video(clip, target, text, on_frame, "libx264", _H264)


def write_webm(clip: Footage, target: Path, text: Text, on_frame: OnFrame) -> None:
    """VP9, yuv420p, BT.709; its sound beside it. Alpha is left out."""
    _write_video(clip, target, text, on_frame, "libvpx-vp9", _VP9)


def even(frame: np.ndarray) -> np.ndarray:
    """The frame with its last column and row doubled where width or height is odd, as yuv420p needs them even."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _write_video(
    clip: Footage, target: Path, text: Text, on_frame: OnFrame, codec: str, params: tuple[str, ...]
) -> None:
    raw = target.with_name(f"{target.stem}-raw{target.suffix}")
    rate = rate_of_clip(clip)
    filters = f"{_TO_YUV},{_timed(rate)},format=yuv420p"
    try:
        _through_ffmpeg(clip, raw, on_frame, codec, ["-vf", filters, *params, *_BITEXACT])
        embed_in_video(raw, target, text(), check=lambda: on_frame(len(clip), len(clip)), sound=clip.sound)
    finally:
        raw.unlink(missing_ok=True)


def write_gif(clip: Footage, target: Path, text: Text, on_frame: OnFrame) -> None:
    """One palette of 256 colours for the whole clip, error diffused; loops for ever. Alpha is left out."""
    filters = f"{_timed(rate_of_clip(clip))},{_GIF}"
    _through_ffmpeg(clip, target, on_frame, "gif", ["-filter_complex", filters, "-loop", "0", *_BITEXACT])
    embed_in_gif(target, text())


def rate_of_clip(clip: Footage) -> Fraction:
    """The clip's rate as files state it."""
    return Fraction(clip.fps).limit_denominator(1001)


def _timed(rate: Fraction) -> str:
    """Exact time stamps: moviepy 2.2 rounds the rate that it tells FFmpeg to two decimals."""
    return f"settb={rate.denominator}/{rate.numerator},setpts=N,fps={rate.numerator}/{rate.denominator}"


def _through_ffmpeg(clip: Footage, target: Path, on_frame: OnFrame, codec: str, params: list[str]) -> None:
    """Feeds the frames to FFmpeg and waits for it.

    Raises:
        WriteFailed: FFmpeg is missing, gave up or got stuck.
    """
    with _writer(clip, target, codec, params) as writer:
        process = writer.proc
        try:
            for done, picture in enumerate(clip.pictures(), 1):
                frame = picture[..., :3]
                with _patience(process):
                    writer.write_frame(even(frame) if codec != "gif" else np.ascontiguousarray(frame))
                on_frame(done, len(clip))
        except OSError as e:
            on_frame(0, len(clip))  # Ctrl-C reaches FFmpeg too; then this raises Cancelled and it is no failure
            raise _encoder_failed(target, str(e)) from e
        _finish(process, target, lambda: on_frame(len(clip), len(clip)))


@contextmanager
def _writer(clip: Footage, target: Path, codec: str, params: list[str]) -> Iterator[FFMPEG_VideoWriter]:
    """moviepy's writer, whose process is gone afterwards however the block ends."""
    try:
        # Here, because moviepy takes a while to import, reads the environment and looks for FFmpeg when it does.
        from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

        odd = codec != "gif"  # grown to even, see `even`
        width, height = clip.width + (clip.width % 2 if odd else 0), clip.height + (clip.height % 2 if odd else 0)
        fps = max(0.01, float(clip.fps))
        writer = FFMPEG_VideoWriter(str(target), (width, height), fps, codec=codec, threads=2, ffmpeg_params=params)
    except (OSError, RuntimeError) as e:
        raise WriteFailed("FFmpeg can't be started.", "Install it again: pip install imageio-ffmpeg.") from e
    process = writer.proc
    try:
        yield writer
    finally:
        writer.proc = None  # its own close() would wait for a process that may be stuck
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stderr):
            with suppress(OSError):  # what was still buffered for a process that is gone
                pipe.close()
        process.wait()


@contextmanager
def _patience(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills the process if the block takes too long, so that a write to its full pipe ends."""
    timer = threading.Timer(FRAME_TIMEOUT_S, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _finish(process: subprocess.Popen[bytes], target: Path, check: Callable[[], None]) -> None:
    """Waits until FFmpeg has written everything, asking several times a second whether to go on."""
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    while True:
        try:
            _, said = process.communicate(timeout=_POLL_S)
            break
        except subprocess.TimeoutExpired as e:
            check()
            if time.monotonic() > deadline:
                raise WriteFailed("The encoder got stuck and was stopped.", "Try again, or another format.") from e
    check()
    if process.returncode != 0:
        raise _encoder_failed(target, said.decode("utf-8", "replace"))


def _encoder_failed(target: Path, said: str) -> WriteFailed:
    """One sentence; FFmpeg's own words go to the log."""
    logging.getLogger(__name__).warning("FFmpeg gave up on %s: %s", target.suffix, said)
    if "No space left" in said:
        return disk_full(target)
    if "Unknown encoder" in said:
        return WriteFailed(f"The FFmpeg here can't write {target.suffix}.", "Choose another format.")
    return WriteFailed("The encoder gave up before the file was whole.", "Check the disk's space, or try again.")


def disk_full(target: Path) -> WriteFailed:
    """The sentence for a disk without room."""
    return WriteFailed(
        f"The disk of {target.parent.name or target.parent} is full; nothing was written.", "Free some space."
    )


def write_webp(clip: Footage, target: Path, text: Text, on_frame: OnFrame) -> None:
    """Lossy, quality 90, alpha kept; loops for ever."""
    times_ms = frame_times(clip.fps, len(clip), 0.001)
    with open(target, "wb") as file:
        made = AnimationWriter(file, (clip.width, clip.height), alpha=clip.alpha is not None, exif=exif_block(text()))
        for done, (picture, duration_ms) in enumerate(zip(clip.pictures(), times_ms, strict=True), 1):
            made.add(encode_still(picture, quality=90, method=2), duration_ms)
            on_frame(done, len(clip))
        made.close()


def write_zip(clip: Footage, target: Path, text: Text, on_frame: OnFrame) -> None:
    """frame-00001.png and on, lossless, alpha kept; recipe.json, and the rate in clip.json."""
    rate = rate_of_clip(clip)
    about = {"fps": f"{rate.numerator}/{rate.denominator}", "frames": len(clip)}
    recipe = text()
    info = png_text(recipe)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(ZIP_MEMBER), recipe)
        archive.writestr(_member(ZIP_FACTS), json.dumps(about))
        for done, picture in enumerate(clip.pictures(), 1):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG", compress_level=4, pnginfo=info)
            archive.writestr(_member(f"frame-{done:05d}.png"), buffer.getvalue())
            on_frame(done, len(clip))


def _member(name: str) -> zipfile.ZipInfo:
    """A member whose date and system never vary."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info
