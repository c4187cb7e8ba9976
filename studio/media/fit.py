"""A picture of one shape in a clip of another: cropped or padded, never stretched, and where each pixel went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from studio.errors import BadInput
from studio.media.read import colour

Fit = Literal["crop", "pad", "blur-pad"]
"""crop: cut what sticks out; pad: keep all, bars of one colour; blur-pad: keep all, a blurred copy behind."""

_ENLARGED = 1.05
"""From this scale on the user is told that the picture was enlarged."""


@dataclass(frozen=True)
class Mapping:
    """Where a point of the picture lies in the fitted one: ``x' = x * scale + offset_x``, and y alike.

    Coordinates are continuous: 0 is the left (top) edge of the first pixel, whose centre is at 0.5. `says` is a
    sentence for the user, empty where nothing worth saying happened.
    """

    scale: float
    offset_x: float
    offset_y: float
    says: str = ""

    def to_fitted(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture, in the fitted one; it may lie outside."""
        return x * self.scale + self.offset_x, y * self.scale + self.offset_y

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """A point of the fitted picture, in the picture; it may lie outside."""
        return (x - self.offset_x) / self.scale, (y - self.offset_y) / self.scale

    def as_dict(self) -> dict[str, Any]:
        """For the recipe."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Fitted:
    """`pixels`: uint8 (height, width, 3), an array of its own; `mapping`: how they came from the picture."""

    pixels: np.ndarray
    mapping: Mapping


def fit_picture(pixels: np.ndarray, width: int, height: int, fit: Fit, background: str = "#ffffff") -> Fitted:
    """The picture in exactly that size, the same scale in both directions, centred; resampled with Lanczos.

    Args:
        pixels: uint8 (H, W, 3).
        background: ``#rrggbb``, the colour of the bars for ``pad``.

    Raises:
        BadInput: no such fit, size or colour.
    """
    if fit not in get_args(Fit):
        raise BadInput(f"fit: {fit!r} is not one of {', '.join(get_args(Fit))}.", field="fit")
    if width < 1 or height < 1:
        raise BadInput(f"width: {width}x{height} is not a size.", "Give both in pixels.", field="width")
    image = Image.fromarray(pixels)
    if fit == "crop":
        return _cropped(image, width, height)
    behind = Image.new("RGB", (width, height), colour(background)) if fit == "pad" else _blurred(image, width, height)
    return _padded(image, behind, fit)


def _cropped(image: Image.Image, width: int, height: int) -> Fitted:
    scale = max(width / image.width, height / image.height)
    done, x0, y0 = _scaled(image, width, height, scale)
    mapping = Mapping(scale, 0.0 - x0 * scale, 0.0 - y0 * scale, _says_cropped(image, width, height, scale))
    return Fitted(np.array(done), mapping)


def _padded(image: Image.Image, behind: Image.Image, fit: Fit) -> Fitted:
    width, height = behind.size
    scale = min(width / image.width, height / image.height)
    # Whole pixels inside the bars; the box below takes up the fraction, so the scale stays the same both ways.
    inner_width = max(1, int(image.width * scale + 1e-6))
    inner_height = max(1, int(image.height * scale + 1e-6))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    inner, x0, y0 = _scaled(image, inner_width, inner_height, scale)
    behind.paste(inner, (left, top))
    says = _says_padded(image, (width, height), (inner_width, inner_height), scale, fit)
    return Fitted(np.array(behind), Mapping(scale, left - x0 * scale, top - y0 * scale, says))


def _scaled(image: Image.Image, width: int, height: int, scale: float) -> tuple[Image.Image, float, float]:
    """The middle of the image that fills the size at that scale, and the left and top of it in the image."""
    take_x, take_y = min(width / scale, image.width), min(height / scale, image.height)
    x0, y0 = (image.width - take_x) / 2, (image.height - take_y) / 2
    if image.size == (width, height) and scale == 1:
        return image, 0.0, 0.0
    box = (x0, y0, x0 + take_x, y0 + take_y)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0), x0, y0


def _blurred(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture as its own backdrop: it fills the size, out of focus and a little darker."""
    small = (max(1, width // 8), max(1, height // 8))
    scale = max(small[0] / image.width, small[1] / image.height)
    backdrop, _, _ = _scaled(image, *small, scale)
    backdrop = backdrop.filter(ImageFilter.GaussianBlur(max(small) / 24))
    backdrop = backdrop.resize((width, height), Image.Resampling.BICUBIC)
    return ImageEnhance.Brightness(backdrop).enhance(0.8)


def _says_cropped(image: Image.Image, width: int, height: int, scale: float) -> str:
    cut_x, cut_y = image.width - width / scale, image.height - height / scale
    cut, whole, where = (
        (cut_x, image.width, "left and right") if cut_x > cut_y else (cut_y, image.height, "top and bottom")
    )
    start = f"The picture ({image.width}x{image.height})"
    if cut < 0.5:
        return _says_enlarged(start, scale)
    share = f" ({100 * cut / whole:.0f} % of it)" if cut / whole >= 0.01 else ""
    said = f"{start} was cropped to {width}x{height}: {_px(cut)} cut at the {where}{share}."
    return " ".join(filter(None, (said, _says_enlarged("It", scale))))


def _says_padded(image: Image.Image, size: tuple[int, int], inner: tuple[int, int], scale: float, fit: Fit) -> str:
    bars_x, bars_y = size[0] - inner[0], size[1] - inner[1]
    start = f"The picture ({image.width}x{image.height})"
    if not (bars_x or bars_y):
        return _says_enlarged(start, scale)
    bars, where = (bars_x, "left and right") if bars_x > bars_y else (bars_y, "top and bottom")
    kind = "a blurred copy" if fit == "blur-pad" else "bars"
    said = f"{start} was padded to {size[0]}x{size[1]}: {bars} px of {kind} at the {where}."
    return " ".join(filter(None, (said, _says_enlarged("It", scale))))


def _says_enlarged(start: str, scale: float) -> str:
    return f"{start} was enlarged {scale:.2g} times, so it may look soft." if scale >= _ENLARGED else ""


def _px(amount: float) -> str:
    pixels = max(1, round(amount))
    return f"{pixels} px is" if pixels == 1 else f"{pixels} px are"
