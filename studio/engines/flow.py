"""Frames between frames by optical flow: what the studio does where no network is installed.

The flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016; OpenCV's), both ways. Each
pixel's motion is splatted to where the pixel is at the wanted time, weighted by how well both frames and both flows
agree on it (as in Niklaus and Liu, "Softmax Splatting", CVPR 2020); where nothing lands, the motion around goes on.
Both frames are then sampled along that motion. A frame counts as far as its own flow says the same where it is sampled:
what is hidden in one frame comes from the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from studio.engines.flow_loops import blend, differ, distance, lower_outside, move, scatter
from studio.engines.gaps import Gap, Make, fill, fill_one, scale_for
from studio.models.cores import usable_cpus
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS: tuple[str, ...] = ()

_MOST_WORKERS = 4
"""Gaps filled at a time at most; each holds some 150 bytes a pixel."""

_COLOUR_DOUBT, _WAY_DOUBT = 0.05, 0.15
"""What a motion's weight falls by, to the power of e: per level of 255 that the frames differ along it; per pixel by
which the way back misses. Set once on public clips, where half or double changes the result by 0.1 dB."""

_HIDDEN_DOUBT = 0.5
"""The same, per pixel that a frame's own flow differs from the motion: then something else is seen there."""

_OUTSIDE = 0.05
"""Weight of a motion that leads out of the frame."""

_TRUSTED = 0.05
"""Splatted weight from which on a place has a motion of its own."""

_LEAST_SIDE = 32
"""Pixels; OpenCV 5.0's DIS crashes the process with fewer than 16 rows."""

_LEAST = 1e-3
"""Weight of a frame that does not see a place, so that what neither sees is not black."""


def open_weights(component: str, installed: Any, device: str, dtype: str) -> Any:
    """Never called: there is no component to open."""
    raise AssertionError(f"flow has no components, and so none called {component!r}.")


class Engine:
    """Makes frames between two frames, at any time between them. The same frames give the same bytes."""

    def __init__(self, spec: VariantSpec, components: Any = None) -> None:
        self._spec = spec

    def between(
        self, first: np.ndarray, second: np.ndarray, at: Sequence[float], ctx: Context, *, scale: float | None = None
    ) -> list[np.ndarray]:
        """The frames at those times between two, uint8 (H, W, 3); see `fill`."""
        return fill_one(Gap(first, second, at), _maker(scale), _workers(), ctx)

    def fill(self, gaps: Iterable[Gap], ctx: Context, *, scale: float | None = None) -> Iterator[list[np.ndarray]]:
        """The frames of each gap, in order; a few gaps at a time, however many there are.

        Args:
            scale: 1, or less to look for motion in a smaller picture; None: as the frames' size needs it.

        Raises:
            Cancelled: within a moment and the frames that are being made.
        """
        return fill(gaps, _maker(scale), _workers(), ctx)


def _workers() -> int:
    return min(_MOST_WORKERS, usable_cpus())


def _maker(scale: float | None) -> Make:
    def make(first: np.ndarray, second: np.ndarray, at: Sequence[float]) -> Iterator[np.ndarray]:
        height, width = first.shape[:2]
        motion = Motion(first, second, scale_for(width * height) if scale is None else scale)
        return map(motion.frame, at)

    return make


class Motion:
    """What moves how between two frames (uint8 (H, W, 3)); good for any time between them."""

    def __init__(self, first: np.ndarray, second: np.ndarray, scale: float = 1.0) -> None:
        self._frames = (first, second)
        ahead, back = _flow(first, second, scale), _flow(second, first, scale)
        self._flows = (ahead, -back)
        """Of each frame's pixels, the motion from the first frame to the second: float32 (H, W, 2), pixels."""
        self._weights = (_weight(first, second, ahead, back), _weight(second, first, back, ahead))

    def frame(self, at: float) -> np.ndarray:
        """The frame at that time, uint8 (H, W, 3)."""
        height, width = self._frames[0].shape[:2]
        shares = (1 - at, at)
        moved = (at, at - 1)  # how much of its motion a pixel has behind it, by frame
        landed = [_splat(*each) for each in zip(self._flows, self._weights, moved, strict=True)]
        motion = _enlarged(
            _filled(sum(share * each for share, each in zip(shares, landed, strict=True))), width, height
        )
        colours, kept, seen = [], [], []
        for frame, flow, by, there in zip(self._frames, self._flows, moved, landed, strict=True):
            places = _moved(motion, -by)
            colours.append(_sampled(frame, places, cv2.INTER_LANCZOS4))
            kept.append(np.exp(_distance(_sampled(flow, places), motion, -_HIDDEN_DOUBT)))
            seen.append(_enlarged(there[..., 2], width, height))
        made = np.empty((height, width, 3), np.uint8)
        blend(tuple(colours), tuple(kept), tuple(seen), tuple(map(np.float32, shares)), np.float32(_LEAST), made)
        return made


def _flow(source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray:
    """float32 (H, W, 2): where each pixel of `source` went, in pixels (x, y)."""
    height, width = source.shape[:2]
    size = (max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale)))
    pictures = []
    for frame in (source, target):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        pictures.append(grey if size == (width, height) else cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    found = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*pictures, None)
    if size == (width, height):
        return found
    factor = np.array([width / size[0], height / size[1]], np.float32)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) * factor


def _weight(source: np.ndarray, target: np.ndarray, flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """float32 (H, W), 0..1: how far the motion of each pixel of `source` is to be believed."""
    places = _moved(flow, 1)
    differs = np.empty(source.shape[:2], np.float32)
    differ(source, _sampled(target, places), differs)
    misses = _distance(flow, -_sampled(back, places), _WAY_DOUBT)
    weight = np.exp(-(_COLOUR_DOUBT * cv2.blur(differs, (3, 3)) + misses))
    lower_outside(flow, np.float32(_OUTSIDE), weight)
    return weight


def _splat(motion: np.ndarray, weight: np.ndarray, by: float) -> np.ndarray:
    """float32 (h, w, 3), at half the size: of what has moved there, the weighted sum of motions, and of weights.

    Half the size is what DIS resolves; full size took four times as long and was no nearer.

    Args:
        motion: (H, W, 2), pixels.
        by: the part of it that is done.
    """
    height, width = weight.shape
    size = (-(-width // 2), -(-height // 2))
    motion, weight = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (motion, weight))
    landed = np.empty((*weight.shape, 3), np.float32)
    scatter(motion, weight, np.float32(by), np.float32(size[0] / width), np.float32(size[1] / height), landed)
    return landed


def _filled(landed: np.ndarray) -> np.ndarray:
    """float32 (h, w, 2): the motion at every place; where little or nothing landed, that of the surroundings.

    Args:
        landed: (h, w, 3), weighted sums as `_splat` gives them.
    """
    levels = [landed]
    while min(levels[-1].shape[:2]) > 2:
        levels.append(cv2.pyrDown(levels[-1]))
    motion = np.zeros((1, 1, 2), np.float32)
    for level in reversed(levels):
        weight = level[..., 2:]
        around = _enlarged(motion, level.shape[1], level.shape[0])
        own = level[..., :2] / np.maximum(weight, 1e-9)
        motion = around + np.clip(weight / _TRUSTED, 0, 1) * (own - around)
    return motion


def _enlarged(x: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR)


def _moved(motion: np.ndarray, by: float) -> np.ndarray:
    """float32 (H, W, 2): each pixel's own x and y, plus so much of its motion."""
    places = np.empty_like(motion)
    move(motion, np.float32(by), places)
    return places


def _distance(first: np.ndarray, second: np.ndarray, factor: float) -> np.ndarray:
    """float32 (H, W): `factor` times how far two (H, W, 2) are from each other."""
    found = np.empty(first.shape[:2], np.float32)
    distance(first, second, np.float32(factor), found)
    return found


def _sampled(picture: np.ndarray, places: np.ndarray, kind: int = cv2.INTER_LINEAR) -> np.ndarray:
    """The picture's values at these places; its edges go on."""
    return cv2.remap(picture, places, None, kind, borderMode=cv2.BORDER_REPLICATE)
