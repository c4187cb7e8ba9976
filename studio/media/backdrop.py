"""What lies behind an object, told by its colour alone: an even backdrop, a generated view's white, or a guess."""

from __future__ import annotations

import numpy as np

GUESSED = (
    "The cut-out is a guess from the colours at the picture's border. For a better one run: "
    "python -m studio models pull starter, or give a mask."
)
"""What the user should be told where `guess_object` was all there is."""

_EVEN = 0.75
"""Share of the border's pixels that must agree with one smooth colour."""

_EVEN_DEVIATION = 3.0
"""Lab units; a border that is rougher is no backdrop."""

_PLAIN_PX = 1600
"""Longer side that an even backdrop is looked for at; more takes memory and shows nothing."""

_RARE = 0.1
"""Of the border's pixels."""

_GUESS_PX = 480
"""Longer side that the guess works at: GrabCut takes a second there."""

_HOLE = 0.002
"""Of the picture; an enclosed place in the backdrop's colour is a hole from this size on, below it a highlight."""

_WHITE = 12
"""Of 255, off white in any channel: what is nearer is a generated view's background, its noise or a light shadow."""


def plain_background(pixels: np.ndarray) -> np.ndarray | None:
    """Alpha, uint8 (H, W), of what stands before an even backdrop, a gradient at most; None where there is none.

    Args:
        pixels: uint8 (H, W, 3).
    """
    import cv2

    full_height, full_width = pixels.shape[:2]
    by = min(1.0, _PLAIN_PX / max(full_height, full_width))
    if by < 1:
        size = (max(1, round(full_width * by)), max(1, round(full_height * by)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    height, width = pixels.shape[:2]
    lab = _lab(pixels)
    ring = max(2, round(0.015 * min(height, width)))
    border = np.ones((height, width), bool)
    border[ring:-ring, ring:-ring] = False
    terms = _terms(height, width)
    weight = np.ones(int(border.sum()), np.float32)
    for _ in range(12):  # the object may touch the border: the less a pixel agrees, the less it counts in the next fit
        root = np.sqrt(weight)[:, None]
        fitted = np.linalg.lstsq(terms[border] * root, lab[border] * root, rcond=None)[0]
        missed = np.linalg.norm(lab[border] - terms[border] @ fitted, axis=1)
        weight = 1 / (1 + (missed / max(1.0, float(np.median(missed)))) ** 2) ** 2  # Geman and McClure
    agrees = missed < max(4.0, 3 * float(np.median(missed)))
    deviation = float(np.sqrt((missed[agrees] ** 2).mean()))
    if agrees.mean() < _EVEN or deviation > _EVEN_DEVIATION:
        return None
    off = np.linalg.norm(lab - terms @ fitted, axis=2)
    floor = max(5.0, 4 * deviation)
    off = cv2.medianBlur(off.astype(np.float32), 3)
    alpha = _soft(off, off > floor, near=floor / 2)
    return alpha if by == 1 else cv2.resize(alpha, (full_width, full_height), interpolation=cv2.INTER_LINEAR)


def guess_object(pixels: np.ndarray) -> np.ndarray:
    """Alpha, uint8 (H, W), of what differs from the colours along the border: GrabCut begun there. A guess: `GUESSED`.

    Args:
        pixels: uint8 (H, W, 3).

    Source: Rother, Kolmogorov, Blake, GrabCut, 2004, in OpenCV.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, _GUESS_PX / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    lab = _lab(small)
    ring = max(2, round(0.03 * min(size)))
    border = np.ones(lab.shape[:2], bool)
    border[ring:-ring, ring:-ring] = False
    cv2.setRNGSeed(0)  # of this thread; both below draw from it
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 0.5)
    _, which, seen = cv2.kmeans(lab[border], 6, None, stop, 2, cv2.KMEANS_PP_CENTERS)
    often = np.bincount(which.ravel(), minlength=len(seen)) >= _RARE * len(which)
    seen = seen[often]  # a colour that is rare there is the object's, where that touches the border
    off = np.min([np.linalg.norm(lab - colour, axis=2) for colour in seen], axis=0)
    bar, _ = cv2.threshold(np.rint(off.clip(0, 255)).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    marks = np.where(off > bar, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[border & (off <= bar)] = cv2.GC_BGD
    if not (marks == cv2.GC_PR_FGD).any() or not (marks == cv2.GC_BGD).any():
        return np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), marks, None, *models, 4, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    inside = 1 - _behind(_main_parts(inside), lab[..., 0], near=-1)
    blurred = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0)
    full = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(((full - 0.25) * 2).clip(0, 1) * 255).astype(np.uint8)


def white_alpha(frames: np.ndarray) -> np.ndarray:
    """Alpha, uint8 of the frames' shape without the channels, of an object on white as a network draws it.

    Noise and light shadows on the white are background; a place in the object that is as white as that is a hole only
    where it is large. In the edge, alpha is how much of the object's colour next to it there is.

    Args:
        frames: uint8 (..., H, W, 3).
    """
    import cv2

    flat = frames.reshape(-1, *frames.shape[-3:])
    found = np.empty(flat.shape[:3], np.uint8)
    for i, frame in enumerate(flat):
        off = 255.0 - frame.min(axis=2).astype(np.float32)
        calm = cv2.medianBlur(off, 3)
        found[i] = _soft(off, calm > _WHITE, near=_WHITE / 3)
    return found.reshape(frames.shape[:-1])


def _lab(pixels: np.ndarray) -> np.ndarray:
    """float32 (H, W, 3): L in 0..100, a and b in the same unit."""
    import cv2

    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _terms(height: int, width: int) -> np.ndarray:
    """float32 (H, W, 6): 1, x, y, xx, xy, yy, of which a smooth backdrop's colours are sums."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)


def _soft(off: np.ndarray, inside: np.ndarray, near: float) -> np.ndarray:
    """Alpha, uint8 (H, W), from how far each pixel is off the background.

    Args:
        off: float32 (H, W).
        inside: bool (H, W), where it is more than noise.
        near: what is in a hole is less off than that, in the middle.
    """
    import cv2

    inside = _main_parts(inside.astype(np.uint8))
    outside = _behind(inside, off, near)
    core = cv2.erode(1 - outside, np.ones((3, 3), np.uint8), iterations=2, borderType=cv2.BORDER_REPLICATE)
    # Next to the edge a pixel is off by as much as the object's colour there, times how much of the pixel it covers.
    object_off = cv2.dilate(cv2.GaussianBlur(off, (3, 3), 0) * (1 - outside), np.ones((5, 5), np.uint8))
    covered = (off / np.maximum(object_off, 1e-3)).clip(0, 1)
    ring = cv2.dilate(1 - outside, np.ones((3, 3), np.uint8)) > 0
    alpha = np.where(core > 0, 1.0, np.where(ring, covered, 0.0))
    return np.rint(alpha * 255).astype(np.uint8)


def _main_parts(inside: np.ndarray) -> np.ndarray:
    """uint8 (H, W), 1 in the parts that have at least a fiftieth of the largest one's area."""
    import cv2

    count, labels, facts, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    areas = facts[1:count, cv2.CC_STAT_AREA]
    if areas.size == 0:
        return inside
    return np.concatenate([[False], areas >= areas.max() / 50]).astype(np.uint8)[labels]


def _behind(inside: np.ndarray, off: np.ndarray, near: float) -> np.ndarray:
    """uint8 (H, W), 1 where the background is seen: around the object, and in its holes."""
    import cv2

    count, labels, facts, _ = cv2.connectedComponentsWithStats(1 - inside, connectivity=4)
    seen = np.zeros(count, np.uint8)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        seen[edge] = 1
    for label in np.flatnonzero(facts[:, cv2.CC_STAT_AREA] >= _HOLE * inside.size):
        if not seen[label] and np.median(off[labels == label]) < near:
            seen[label] = 1
    seen[0] = 0  # stands for what is inside
    return seen[labels]
