"""A clip as a finished file: whole, checked and carrying its recipe, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av.error

from studio.errors import BadInput, StudioError, WriteFailed
from studio.media import encode
from studio.media.clip import Clip
from studio.media.probe import probe
from studio.media.recipe import read_recipe, recipe_text
from studio.media.sniff import shown_name
from studio.media.stream import Ending, Footage, Stream
from studio.media.webp import MAX_SIDE as MAX_WEBP_SIDE

MAX_GIF_FPS = 50
"""Browsers slow a GIF down whose frames last less than 2/100 s."""
MAX_GIF_PIXELS = 150_000_000
"""Frames times pixels: the palette is made from all frames at once, 4 bytes a pixel in memory."""
MAX_ZIP_PIXELS = 1_500_000_000
"""Frames times pixels: PNGs of photographs take about 2 bytes a pixel."""

_WRITERS: Mapping[str, Callable[[Footage, Path, encode.Text, encode.OnFrame], None]] = {
    ".mp4": encode.write_mp4,
    ".webm": encode.write_webm,
    ".gif": encode.write_gif,
    ".webp": encode.write_webp,
    ".zip": encode.write_zip,
}
_EVEN = (".mp4", ".webm")


def write_clip(
    clip: Clip | Stream,
    path: Path,
    *,
    recipe: Mapping[str, Any],
    on_frame: encode.OnFrame = lambda done, total: None,
) -> Path:
    """Writes the clip and returns `path`; same clip and recipe, same bytes.

    A stream's frames are made while they are written. Where it is to be kept when the user cancels, the file ends with
    the frame that was reached, and its recipe's facts say so (``kept_frames``).

    The suffix chooses: .mp4 (H.264) and .webm (VP9), both yuv420p with odd sizes grown to even by doubling the last
    column or row; .gif; .webp, animated; .zip, a PNG sequence. WebP and ZIP keep alpha, the others show the frames
    as they are. The file grows under a temporary name in the same folder; it is decoded, its recipe read back, and
    only then named. Until then whatever stood at `path` is untouched, and on any error nothing is left behind.

    Args:
        recipe: as `studio.media.recipe.make_recipe` makes it.
        on_frame: takes (done, total) after each frame, while the encoder finishes and while the file is read back; it
            may raise `Cancelled`.

    Raises:
        BadInput: a suffix that isn't above, or more frames or pixels than its format is good for.
        WriteFailed: no such folder, no permission, disk full, encoder failed.
    """
    with contextlib.closing(clip.frames) if isinstance(clip, Stream) else contextlib.nullcontext():
        suffix = path.suffix.lower()
        check_format(suffix, frames=len(clip), width=clip.width, height=clip.height, fps=clip.fps)
        footage: Footage = clip
        ending = None
        if isinstance(clip, Stream) and clip.kept is not None:
            footage = ending = Ending(clip, on_frame)
            on_frame = ending.heard
        part = path.with_name(f"{_part_prefix(path)}{secrets.token_hex(4)}{suffix}")
        try:
            _reserve(path, part)
            _WRITERS[suffix](footage, part, lambda: recipe_text(_recipe_of(recipe, ending)), on_frame)
            _verify(footage, part, _recipe_of(recipe, ending), suffix, on_frame)
            _settle(part, path)
        except (OSError, ValueError, av.error.FFmpegError) as e:
            raise _failed(e, path) from e
        finally:
            _remove(part)
        if ending is not None and ending.early:
            clip.kept(len(ending))
    return path


def _recipe_of(recipe: Mapping[str, Any], ending: Ending | None) -> Mapping[str, Any]:
    """The recipe, which says how many frames were kept where that is not all."""
    if ending is None or not ending.early:
        return recipe
    return {**recipe, "facts": {**recipe.get("facts", {}), "kept_frames": len(ending)}}


def leftovers(path: Path) -> list[Path]:
    """The unfinished files that writing `path` left behind when its process was killed."""
    prefix, suffix = _part_prefix(path), path.suffix.lower()
    folder = path.parent.iterdir() if path.parent.is_dir() else ()
    return [p for p in folder if p.name.startswith(prefix) and p.suffix == suffix]


def _part_prefix(path: Path) -> str:
    return f".{path.stem[:40]}.part-"


def check_format(suffix: str, *, frames: int, width: int, height: int, fps: float) -> None:
    """Raises `BadInput` where that format can't hold such a clip or would be beyond reason; ask before a job."""
    if suffix not in _WRITERS:
        able = ", ".join(s[1:] for s in _WRITERS)
        raise BadInput(f"format: {suffix or 'no suffix'} can't be written; {able} can.", field="format")
    size = f"{frames} frames at {width}x{height}"
    pixels = frames * width * height
    if suffix == ".gif" and fps > MAX_GIF_FPS:
        raise BadInput(
            f"export_fps: {float(fps):g} is more than a GIF can show ({MAX_GIF_FPS}).",
            "Lower it, or choose mp4.",
            field="export_fps",
        )
    if suffix == ".gif" and pixels > MAX_GIF_PIXELS:
        megabytes = pixels * 0.8 / 1e6
        raise BadInput(
            f"format: a GIF of {size} would take about {megabytes:.0f} MB.", "Choose mp4 or webm.", field="format"
        )
    if suffix == ".zip" and pixels > MAX_ZIP_PIXELS:
        gigabytes = pixels * 2 / 1e9
        raise BadInput(f"format: PNGs of {size} would take about {gigabytes:.0f} GB.", "Choose mp4.", field="format")
    if suffix == ".webp" and max(width, height) > MAX_WEBP_SIDE:
        raise BadInput(f"format: {size} is beyond WebP's {MAX_WEBP_SIDE} px.", "Choose mp4.", field="format")


def _reserve(path: Path, part: Path) -> None:
    """Makes the empty part, so that a name or folder that won't do is known before any work is done."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise WriteFailed(f"{shown_name(path)} is a folder.", "Give a file name.")
    with open(part, "xb"):
        return


def _verify(clip: Footage, part: Path, recipe: Mapping[str, Any], suffix: str, on_frame: encode.OnFrame) -> None:
    """Decodes what was written and reads the recipe back.

    Raises:
        WriteFailed: it is not what was meant.
    """
    try:
        facts = probe(part, check=lambda: on_frame(len(clip), len(clip)))
        found = read_recipe(part)
    except BadInput as e:
        raise WriteFailed("The written file can't be read back.", "Try again, or another format.") from e
    odd = suffix in _EVEN
    size = (clip.width + (clip.width % 2 if odd else 0), clip.height + (clip.height % 2 if odd else 0))
    meant = (*size, len(clip))
    real = (facts.width, facts.height, facts.frames)
    if real != meant or abs(facts.duration_s - clip.duration_s) > max(0.011, clip.duration_s * 0.001):
        raise WriteFailed(
            f"The written file has {real[2]} frames of {real[0]}x{real[1]} in {facts.duration_s:.2f} s, "
            f"not {meant[2]} of {meant[0]}x{meant[1]} in {clip.duration_s:.2f} s.",
            "Try again, or another format.",
        )
    if recipe_text(found) != recipe_text(recipe):
        raise WriteFailed("The recipe in the written file is not the one that was meant.", "Try another format.")


def _settle(part: Path, path: Path) -> None:
    """Brings the file to the disk and gives it its name."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # a name that could not even be made
        part.unlink(missing_ok=True)


def _failed(error: Exception, path: Path) -> StudioError:
    """The sentence for what the system said."""
    name = shown_name(path)
    code = getattr(error, "errno", None)
    folder = path.parent
    if code in (errno.ENOSPC, errno.EDQUOT):
        return encode.disk_full(path)
    if code == errno.EFBIG:
        return WriteFailed(f"{name} grew larger than this system lets a file be.", "Choose a smaller format.")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WriteFailed(f"{name} may not be written in that folder.", "Choose another, or change its permissions.")
    if not _is_folder(folder):
        return WriteFailed(f"{name} can't be written: its folder does not exist.", "Make the folder first.")
    if isinstance(error, ValueError) or code in (errno.ENAMETOOLONG, errno.EINVAL):
        return WriteFailed(f"{name} is not a name that a file can have.", "Choose another name.")
    return WriteFailed(f"{name} could not be written.", "Check the disk, then try again.")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
