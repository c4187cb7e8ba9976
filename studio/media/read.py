"""Pictures from outside: checked by content and header first, decoded once, upright sRGB afterwards."""

from __future__ import annotations

import io
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from studio.errors import BadInput
from studio.media.sniff import NAMES, PICTURES, pixel_size, shown_name, sniff, sniff_bytes

__all__ = ["Picture", "colour", "harden_pillow", "read_picture", "sniff"]

MAX_FILE_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
MAX_SIDE = 16_384
MIN_SIDE = 32
MAX_ASPECT = 8
"""Long side by short side."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "MPO")
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "gif": ".gif"}
_ABLE = "PNG, JPEG, WebP and GIF are read."
_CONVERT = "Convert it to PNG, JPEG or WebP first."


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Args:
        pixels: uint8 (H, W, 3), sRGB, upright, already on the background where it was transparent.
        alpha: uint8 (H, W), as it was before that; None where every pixel is opaque.
        notices: sentences that the user should see although the picture was read.
        suffix: by content, such as ``.png``, whatever the file was called.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()
    suffix: str = ".png"


def read_picture(path: Path, *, background: str = "#ffffff", field: str | None = "image") -> Picture:
    """The picture in a file that nobody vouches for; of an animation its first frame.

    What can't be read is refused from its first bytes: no decoder but PNG, JPEG, WebP and GIF is ever tried, and
    none before size and shape are known to be in bounds. Nothing of the metadata is kept.

    Args:
        background: ``#rrggbb``, behind transparent pixels.
        field: the request field that an error points at.

    Raises:
        BadInput: no such file, too large, another format, damaged; says which.
    """
    behind = colour(background)
    name = shown_name(path)
    try:
        data = _load(path, name)
        kind = _check_kind(data, name)
        _check_size(pixel_size(data, kind), name)
        pixels, alpha, notices = _decode(data, name)
    except BadInput as e:
        raise BadInput(e.message, e.remedy, field=field) from e.__cause__
    if alpha is not None:
        pixels = _over(pixels, alpha, behind)
    return Picture(pixels, alpha, notices, _SUFFIXES[kind])


def colour(text: str, field: str = "background") -> tuple[int, int, int]:
    """Red, green and blue (0-255) of ``#rrggbb``.

    Raises:
        BadInput: it is not of that form.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise BadInput(f"{field}: {text!r} is not a colour.", "Write it as #rrggbb, such as #ffffff.", field=field)
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def harden_pillow() -> None:
    """Leaves Pillow only the decoders named above, for the whole process, and makes its bomb warning an error.

    For start-up: a front end may open an upload before the studio sees it.
    """
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in _FORMATS]
    for name in set(Image.OPEN) - set(_FORMATS):
        del Image.OPEN[name]
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _load(path: Path, name: str) -> bytes:
    """The file's bytes, bounded; whatever the system says against it becomes a sentence."""
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise BadInput(f"{name} is a folder, not a picture.", "Choose a file in it.")
        if not stat.S_ISREG(about.st_mode):
            raise BadInput(f"{name} is not a file.", "Choose a picture file.")
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as e:
        raise BadInput(f"{name} does not exist.", "Check the path.") from e
    except PermissionError as e:
        raise BadInput(f"{name} may not be read by this user.", "Change its permissions, or copy it.") from e
    except (OSError, ValueError) as e:
        raise BadInput(f"{name} is not a path that can be opened.", "Check the path.") from e
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        size = max(about.st_size, len(data)) / 2**20
        raise BadInput(f"{name} has {size:.0f} MB; a picture may have {limit}.", "Save it smaller, or as JPEG.")
    return data


def _check_kind(data: bytes, name: str) -> str:
    kind = sniff_bytes(data[:4096])
    if kind == "empty":
        raise BadInput(f"{name} is empty, so it is not an image.", "Choose another file.")
    if kind == "":
        raise BadInput(f"{name} is not an image that is known here.", _ABLE)
    if kind not in PICTURES:
        raise BadInput(f"{name} is a {NAMES[kind]} file, which is not read here.", _CONVERT)
    return kind


def _check_size(size: tuple[int, int] | None, name: str) -> None:
    if size is None:
        raise _damaged(name)
    width, height = size
    shape = f"{name} is {width}x{height}"
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{shape}, {width * height / 1e6:.0f} megapixels; a picture may have {MAX_PIXELS // 10**6}.",
            "Scale it down.",
        )
    if max(size) > MAX_SIDE:
        raise BadInput(f"{shape}; a side may have {MAX_SIDE} px.", "Scale it down, or crop it.")
    if min(size) < MIN_SIDE:
        raise BadInput(f"{shape}; each side needs at least {MIN_SIDE} px.", "Choose a larger picture.")
    if max(size) > MAX_ASPECT * min(size):
        raise BadInput(f"{shape}; a side may be {MAX_ASPECT} times the other at most.", "Crop it.")


def _damaged(name: str) -> BadInput:
    return BadInput(f"{name} is damaged: it can't be decoded to its end.", "Open it elsewhere and save it anew.")


def _decode(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Pixels (H, W, 3), straight alpha or None, and notices.

    Pillow answers bad data with errors of a dozen types, so here, around its calls alone, all of them mean damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_size(image.size, name)
                image.load()
                notices = _animated(image, name)
                image, crooked = _upright(image, name)
                flat, alpha, odd = _straight(image, name)
                return np.array(flat), alpha, (*notices, *crooked, *odd)
    except BadInput:
        raise
    except MemoryError as e:
        raise BadInput(f"{name} does not fit into memory.", "Scale it down.") from e
    except Exception as e:
        raise _damaged(name) from e


def _animated(image: Image.Image, name: str) -> tuple[str, ...]:
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return ()
    return (f"{name} is animated; its first frame is used.",)


def _upright(image: Image.Image, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        return ImageOps.exif_transpose(image), ()
    except Exception:  # a broken EXIF block is no reason to refuse sound pixels
        return image, (f"The orientation that {name} states can't be read; it is shown as it is stored.",)


def _straight(image: Image.Image, name: str) -> tuple[Image.Image, np.ndarray | None, tuple[str, ...]]:
    """An RGB image, alpha or None, and a notice where the colour profile is unusable."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        image = _narrow(image)
    alpha = None
    if image.has_transparency_data:
        if image.mode == "LA":
            alpha, image = np.asarray(image.getchannel("A")), image.getchannel("L")
        else:
            image = image.convert("RGBA")
            alpha, image = np.asarray(image.getchannel("A")), image.convert("RGB")
        alpha = None if alpha.min() == 255 else alpha
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    flat, notices = _to_srgb(image, profile, name)
    return flat, alpha, notices


def _narrow(image: Image.Image) -> Image.Image:
    """A 16-bit grey image with 8 bits, scaled: Pillow's own conversion clips at 255."""
    wide = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((np.minimum(wide, 65535) * 255 + 32767) // 65535).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """RGB in sRGB by the embedded ICC profile; without one the values are taken as sRGB."""
    if not profile:
        return image.convert("RGB"), ()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return image, ()
        done = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
        return done, ()
    except (ImageCms.PyCMSError, OSError, ValueError):
        says = f"The colour profile in {name} can't be used; its colours are taken as sRGB."
        return image.convert("RGB"), (says,)


def _over(pixels: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int]) -> np.ndarray:
    """The pixels on one colour: uint8, rounded; 16 bits are enough for 255 * 255 + 127."""
    a = alpha[..., None].astype(np.uint16)
    mixed = pixels * a + np.array(behind, np.uint16) * (255 - a) + np.uint16(127)
    return (mixed // np.uint16(255)).astype(np.uint8)
