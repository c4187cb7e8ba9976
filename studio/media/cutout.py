"""An object out of its picture: which mask to trust, and the object centred on white in a square frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from studio.errors import BadInput
from studio.media.fit import Mapping
from studio.media.read import Picture, read_picture

RATIO = 0.85
"""Of the frame's side, for the longer side of the object: SV3D was trained on objects between 0.8 and 0.9."""

_SPECK = 0.002
"""Of the object's area; a part that is smaller is no part of it."""

_LARGE_PART = 0.1
"""Of the largest part's area, from which on another one is told of."""

_LEAST_SHARE, _MOST_SHARE = 0.05, 0.9
"""Of the picture; below and above it is unlikely that the mask is one whole object's."""

_LEAST_PX = 8
"""Longer side of what can be an object."""

_ENLARGED = 2.0
"""From this scale on the user is told so."""

_TOUCHES = 0.1
"""Of the object's own width or height: so much of it along a border counts as touching, less as grazing."""


@dataclass(frozen=True, eq=False)
class Framed:
    """The object on white in a square.

    Args:
        pixels: uint8 (S, S, 3).
        alpha: uint8 (S, S).
        mapping: where a point of the picture lies in the frame.
        warnings: a sentence each for what will hardly go well.
    """

    pixels: np.ndarray
    alpha: np.ndarray
    mapping: Mapping
    warnings: tuple[str, ...] = ()


def own_alpha(picture: Picture, *, field: str | None = "image") -> np.ndarray | None:
    """The picture's own alpha where that is the mask of an object; None where it is opaque but for a few pixels.

    Raises:
        BadInput: the picture is transparent all over.
    """
    if picture.alpha is None:
        return None
    seen = picture.alpha >= 128
    if not seen.any():
        raise BadInput(
            "The picture is transparent all over, so there is no object in it.", "Choose another one.", field=field
        )
    # Rounded corners are 1 % of a picture; what is cut away around an object is far more.
    return picture.alpha if 1 - seen.mean() >= 0.02 else None


def read_mask(path: Path, width: int, height: int, *, field: str | None = "mask") -> np.ndarray:
    """The alpha in a mask that somebody drew, uint8 (height, width): white, or what is not transparent, is the object.

    It is scaled to the picture where it is smaller or larger.

    Raises:
        BadInput: it can't be read, has another shape than the picture, or nothing in it is the object.
    """
    picture = read_picture(path, background="#000000", field=field)
    alpha = picture.alpha
    if alpha is None or (alpha >= 128).all():
        # Black and white that went through JPEG are not quite that.
        light = np.asarray(Image.fromarray(picture.pixels).convert("L"), np.float32)
        alpha = np.rint(((light - 12) / 231).clip(0, 1) * 255).astype(np.uint8)
    if abs(alpha.shape[1] * height / (alpha.shape[0] * width) - 1) > 0.01:
        raise BadInput(
            f"{field}: the mask is {alpha.shape[1]}x{alpha.shape[0]}, the picture {width}x{height}.",
            "Draw it on the picture, without cropping.",
            field=field,
        )
    if alpha.shape != (height, width):
        alpha = np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BICUBIC))
    if not (alpha >= 128).any():
        raise BadInput(f"{field}: nothing in the mask is white.", "Paint the object white.", field=field)
    return alpha


def frame_object(
    pixels: np.ndarray,
    alpha: np.ndarray,
    *,
    size: int,
    ratio: float = RATIO,
    flattened: bool = False,
    field: str | None = "image",
) -> Framed:
    """The object on white, in the middle of a square, its longer side `ratio` of the frame's; its shape is kept.

    Soft edges stay soft, and nothing of the old background's colour stays in them.

    Args:
        pixels: uint8 (H, W, 3).
        alpha: uint8 (H, W); the object is where it is at least half.
        size: of the frame, in pixels.
        flattened: the pixels lie on white already, through this very alpha (`read_picture`, `own_alpha`).

    Raises:
        BadInput: there is no object, or next to none.
    """
    assert pixels.shape == (*alpha.shape, 3), (pixels.shape, alpha.shape)
    alpha, parts = _without_specks(alpha)
    if not parts:
        raise BadInput(
            "No object was found in the picture.",
            "Choose one with an object that stands out, or give a mask.",
            field=field,
        )
    left, top, right, bottom = _box(alpha)
    longer = max(right - left, bottom - top)
    if longer < _LEAST_PX:
        raise BadInput(
            f"The object is only {right - left}x{bottom - top} px; it needs at least {_LEAST_PX}.",
            "Choose a larger picture of it.",
            field=field,
        )
    scale = ratio * size / longer
    warnings = _warnings(alpha, parts, (left, top, right, bottom), scale)
    pixels, alpha, shrunk = _shrunk(pixels, alpha, 3 * size / longer)
    mapping = Mapping(scale / shrunk, size / 2 - (left + right) / 2 * scale, size / 2 - (top + bottom) / 2 * scale)
    share = alpha.astype(np.float32) / 255
    if flattened:
        ink = share[..., None] * 255 - (255 - pixels.astype(np.float32))
    else:
        ink = share[..., None] * _foreground(pixels, share, longer * shrunk)
    framed_share, *framed_ink = (
        _resampled(layer, mapping, size) for layer in (share, *np.moveaxis(ink.clip(0, 255), 2, 0))
    )
    # Lanczos rings: colours are taken off before the share is brought back into bounds, or edges would ring with it.
    colours = np.stack(framed_ink, axis=2) / np.maximum(framed_share, 1 / 512)[..., None]
    framed_share = framed_share.clip(0, 1)
    on_white = 255 + framed_share[..., None] * (colours.clip(0, 255) - 255)
    return Framed(
        np.rint(on_white).astype(np.uint8),
        np.rint(framed_share * 255).astype(np.uint8),
        Mapping(scale, mapping.offset_x, mapping.offset_y),
        warnings,
    )


def _shrunk(pixels: np.ndarray, alpha: np.ndarray, by: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Both made smaller by about that factor, and the factor; as they are where that would save little.

    A photo has many times the pixels that a frame can show. The mean of mixed colours is as mixed as the mean of the
    alpha says, so that nothing is lost by it.
    """
    import cv2

    if by > 2 / 3:
        return pixels, alpha, 1.0
    size = (max(1, round(alpha.shape[1] * by)), max(1, round(alpha.shape[0] * by)))
    small = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in (pixels, alpha))
    return *small, max(size) / max(alpha.shape)


def _without_specks(alpha: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The alpha without what is too small to be part of the object, and the areas of its parts, the largest first."""
    import cv2

    count, labels, facts, _ = cv2.connectedComponentsWithStats((alpha >= 128).astype(np.uint8), connectivity=8)
    areas = facts[1:count, cv2.CC_STAT_AREA]
    kept = areas >= _SPECK * areas.sum()
    if not kept.all():
        # What is faint goes with the part that it surrounds, and a speck's surroundings with the speck.
        specks, rest = (np.concatenate([[False], which]).astype(np.uint8)[labels] for which in (~kept, kept))
        wide = np.ones((5, 5), np.uint8)
        gone = (cv2.dilate(specks, wide) > 0) & (cv2.dilate(rest, wide) == 0)
        alpha = np.where(gone, 0, alpha).astype(np.uint8)
    return alpha, sorted(areas[kept].tolist(), reverse=True)


def _box(alpha: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edges of what is at least half there."""
    across, down = np.flatnonzero((alpha >= 128).any(axis=0)), np.flatnonzero((alpha >= 128).any(axis=1))
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def _foreground(pixels: np.ndarray, share: np.ndarray, longer: float) -> np.ndarray:
    """float32 (H, W, 3): the object's own colours where it is mixed with what is behind it.

    Args:
        longer: side of the object.

    Source: Forte, Approximate Fast Foreground Colour Estimation, 2021 (blur fusion in two rounds).
    """
    import cv2

    found = pixels.astype(np.float32)
    if not ((share > 0) & (share < 1)).any():
        return found
    given, behind, mix = found, found, share[..., None]
    for side in (int(longer) // 12 * 2 + 1, 7):

        def mean(layer: np.ndarray, side: int = side) -> np.ndarray:
            return cv2.blur(layer, (side, side), borderType=cv2.BORDER_REPLICATE)

        weight = mean(share)[..., None]
        near = mean(found * mix) / (weight + 1e-5)
        far = mean(behind * (1 - mix)) / (1 - weight + 1e-5)
        found = (near + mix * (given - mix * near - (1 - mix) * far)).clip(0, 255)
        behind = far
    return found


def _resampled(layer: np.ndarray, mapping: Mapping, size: int) -> np.ndarray:
    """float32 (size, size): the layer where the mapping puts it, 0 around it."""
    x0, y0 = mapping.to_source(0, 0)
    side = size / mapping.scale
    # Pillow takes no box that sticks out, so zeros are put around; Lanczos reaches three pixels of the larger grid.
    reach = int(np.ceil(3 * max(1, 1 / mapping.scale))) + 1
    left, top = int(np.floor(x0)) - reach, int(np.floor(y0)) - reach
    span = int(np.ceil(side)) + 2 * reach + 1
    padded = np.zeros((span, span), np.float32)
    inner = layer[max(0, top) : top + span, max(0, left) : left + span]
    down, across = max(0, -top), max(0, -left)
    padded[down : down + inner.shape[0], across : across + inner.shape[1]] = inner
    box = (x0 - left, y0 - top, x0 - left + side, y0 - top + side)
    return np.asarray(Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=box))


def _warnings(alpha: np.ndarray, parts: list[int], box: tuple[int, int, int, int], scale: float) -> tuple[str, ...]:
    said = []
    height, width = alpha.shape
    touched = [
        name
        for name, edge, along in (
            ("left", alpha[:, 0], box[3] - box[1]),
            ("right", alpha[:, -1], box[3] - box[1]),
            ("top", alpha[0], box[2] - box[0]),
            ("bottom", alpha[-1], box[2] - box[0]),
        )
        if (edge >= 128).sum() > max(2, _TOUCHES * along)
    ]
    if touched:
        edges = f"{_listed(touched)} border{'s' if len(touched) > 1 else ''}"
        said.append(f"The object touches the picture's {edges}; what lies beyond is missing.")
    large = [area for area in parts if area >= _LARGE_PART * parts[0]]
    if len(large) > 1:
        said.append(f"The object is in {len(large)} large parts; they turn together, as one object.")
    share = sum(parts) / (width * height)
    if share < _LEAST_SHARE:
        said.append(f"The object is only {100 * share:.1g} % of the picture; crop closer for more detail.")
    if share > _MOST_SHARE:
        said.append(f"The object is {100 * share:.0f} % of the picture; is that all of it and nothing behind it?")
    if scale >= _ENLARGED:
        size = f"{box[2] - box[0]}x{box[3] - box[1]}"
        said.append(f"The object has only {size} px and was enlarged {scale:.2g} times, so it will look soft.")
    return tuple(said)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
