"""How near things in a single photo probably are, from what is at hand without a trained model.

Three observations hold for most photos: the ground rises towards the horizon, what the photo is about differs from
what touches the frame, and it is in focus. They make a rough map, which is then pulled onto the photo's own edges. It
is a guess that looks right in motion, not a measurement.
"""

from __future__ import annotations

import cv2
import numpy as np

from studio.scene.guided import guided_filter

HORIZON = 0.15
"""Height of the horizon from the top that a photo is taken to have; above it the ground prior is 0."""

_LIFT = 0.5
"""A subject's largest step out of the ground behind it; where the outline is wrong, a larger one tears too far."""

_WORK_PX = 192
"""Longer side at which the cues are found; they are smooth, and the guided filter brings the edges back."""

_REFINE_PX = 640
"""Longer side at which the guided filter finds its coefficients."""


def estimate_disparity(picture: np.ndarray, subject: np.ndarray | None = None) -> np.ndarray:
    """float32 (H, W) in [0, 1], 1 = near: the probable inverse depth of every pixel.

    Args:
        picture: uint8 (H, W, 3) sRGB, of any size and content.
        subject: (H, W) in [0, 1] or bool: where the subject is, when that is known; found otherwise.

    Raises:
        ValueError: the picture or the mask is not of that shape and type.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"picture: {picture.dtype}{list(picture.shape)} is not uint8 (H, W, 3).")
    if subject is not None and subject.shape != picture.shape[:2]:
        raise ValueError(f"subject: {list(subject.shape)} is not the picture's {list(picture.shape[:2])}.")
    if subject is None:
        matte = _matte(picture, find_subject(_shrunk(picture, _WORK_PX)))
    else:
        matte = np.clip(subject.astype(np.float32), 0, 1)
    return _stand_up(_ground(*matte.shape), matte)


def subject_disparity(disparity: np.ndarray) -> float:
    """The disparity of what the picture is about: the upper middle of those near the centre."""
    height, width = disparity.shape
    small = cv2.resize(disparity, (min(64, width), min(64, height)), interpolation=cv2.INTER_AREA)
    weight = _centre(*small.shape, spread=0.22).ravel()
    order = np.argsort(small.ravel(), kind="stable")
    upto = np.cumsum(weight[order])
    return float(small.ravel()[order[np.searchsorted(upto, 0.6 * upto[-1])]])


def find_subject(small: np.ndarray) -> np.ndarray:
    """float32 (h, w) in [0, 1]: how probably a pixel belongs to what a photo is about.

    Args:
        small: uint8 (h, w, 3) sRGB, a few hundred pixels at most.
    """
    apart = _barrier_distance(small) * (0.25 + 0.75 * _unlike_frame(small))
    focus = _focus(small)
    centre = _centre(*small.shape[:2], spread=0.42)
    score = (0.7 * apart + 0.3 * apart * focus + 0.15 * focus) * (0.35 + 0.65 * centre)
    score = cv2.GaussianBlur(score, (0, 0), max(small.shape[:2]) / 48)
    high = max(float(np.quantile(score, 0.97)), 0.25)
    low = 0.30 * high
    return _smoothstep(score, low, 0.75 * high)


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _ground(height: int, width: int) -> np.ndarray:
    """The inverse depth of a level ground: linear in the row below the horizon, nothing above (a pinhole's geometry).

    The bend between them is wide: a sharp one would bend what is upright and straight in the photo.
    """
    rows = (np.arange(height, dtype=np.float32) + 0.5) / height
    ramp = np.logaddexp(0, (rows - HORIZON) / (1 - HORIZON) / 0.25)
    ramp = (ramp - ramp[0]) / (ramp[-1] - ramp[0])
    return np.repeat(ramp.astype(np.float32)[:, None], width, axis=1)


def _centre(height: int, width: int, spread: float) -> np.ndarray:
    """A bell about the middle; `spread` is its sigma as a part of each side."""
    y = ((np.arange(height) + 0.5) / height - 0.5) / spread
    x = ((np.arange(width) + 0.5) / width - 0.5) / spread
    return np.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2)).astype(np.float32)


def _barrier_distance(small: np.ndarray) -> np.ndarray:
    """[0, 1]: how much colour must change on the way to the frame's sides or upper corners.

    The minimum barrier distance, a path cost of (largest - smallest value met), found by sweeps in four directions
    (Zhang et al., Minimum Barrier Salient Object Detection at 80 FPS, 2015). Subjects often leave through the
    bottom, and heads through the middle of the top, so the path may not.
    """
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.2), cv2.COLOR_RGB2LAB).astype(np.float32)
    cost = np.full(small.shape[:2], np.inf, np.float32)
    third = small.shape[1] // 3
    cost[0, :third], cost[0, -third:], cost[:, 0], cost[:, -1] = 0, 0, 0, 0
    low, high = lab.copy(), lab.copy()
    for _ in range(3):
        for turns in range(4):
            planes = [np.rot90(a, turns) for a in (lab, cost, low, high)]
            _sweep_down(*planes)
    scale = max(float(np.quantile(cost, 0.95)), 60.0)
    return np.clip(cost / scale, 0, 1)


def _sweep_down(lab: np.ndarray, cost: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Lets every row take over the path of the row above where that is cheaper; the arrays are views, written to."""
    for i in range(1, len(lab)):
        lower, higher = np.minimum(low[i - 1], lab[i]), np.maximum(high[i - 1], lab[i])
        through = (higher - lower).sum(axis=1)
        better = through < cost[i]
        cost[i] = np.where(better, through, cost[i])
        low[i] = np.where(better[:, None], lower, low[i])
        high[i] = np.where(better[:, None], higher, high[i])


def _unlike_frame(small: np.ndarray) -> np.ndarray:
    """[0, 1]: how far a colour is from those along the frame's sides and top; a few strays there do not count."""
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.2), cv2.COLOR_RGB2LAB).astype(np.float32)
    rim = np.concatenate([lab[0], lab[:, 0], lab[:, -1]])
    rim = rim[np.linspace(0, len(rim) - 1, min(96, len(rim))).astype(int)]
    apart = np.stack([np.linalg.norm(lab - colour, axis=2) for colour in rim])
    return _smoothstep(np.partition(apart, len(rim) // 12, axis=0)[len(rim) // 12], 4.0, 24.0)


def _focus(small: np.ndarray) -> np.ndarray:
    """[0, 1]: how sharp a place is beside the rest: energy of the Laplacian at three scales."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    size = max(small.shape[:2])
    energy = np.zeros_like(grey)
    for sigma in (0.8, 1.6, 3.2):
        edge = np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), sigma), cv2.CV_32F)) * sigma**2
        energy += cv2.GaussianBlur(edge, (0, 0), size / 24)
    high = max(float(np.quantile(energy, 0.97)), 0.05)
    return np.clip(energy / high, 0, 1)


def _stand_up(ground: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The ground with the subject upright on it: about as near at its head as where its feet are."""
    weight = matte.sum(axis=1)
    if float(weight.sum()) < 1e-3 * matte.size:
        return ground
    foot = int(np.searchsorted(np.cumsum(weight), 0.93 * weight.sum()))
    level = float(np.clip(ground[min(foot, len(ground) - 1), 0] + 0.12, 0.5, 0.95))
    return ground + matte * np.clip(level - ground, 0, _LIFT)


def _matte(picture: np.ndarray, score: np.ndarray) -> np.ndarray:
    """float32 (H, W) in [0, 1]: the subject with a crisp outline where the photo has one too, and a soft one elsewhere.

    An outline that cuts through one and the same surface would tear it in motion; a slope merely leans it.
    """
    luminance = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    middle = _shrunk(picture, _REFINE_PX)
    height, width = middle.shape[:2]
    longest = max(height, width)
    likely = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
    guided = guided_filter(luminance, likely, longest // 40, 1e-3)
    crisp = cv2.medianBlur(_smoothstep(guided, 0.40, 0.60), 5)
    coarse = cv2.resize(crisp, (width, height), interpolation=cv2.INTER_AREA)
    sure = _contrast(middle, coarse, longest // 50)
    soft = cv2.GaussianBlur(likely, (0, 0), longest / 20)
    full = luminance.shape[::-1]
    sure, soft = (cv2.resize(a, full, interpolation=cv2.INTER_LINEAR) for a in (sure, soft))
    return soft + sure * (crisp - soft)


def _contrast(picture: np.ndarray, matte: np.ndarray, radius: int) -> np.ndarray:
    """[0, 1]: how clearly the colours inside and outside a matte differ nearby; smooth."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mass = cv2.blur(weight, side)
        return cv2.blur(lab * weight[..., None], side) / (mass[..., None] + 1e-3), mass

    inside, inside_mass = mean(matte)
    outside, outside_mass = mean(1 - matte)
    apart = _smoothstep(np.linalg.norm(inside - outside, axis=2), 12.0, 36.0)
    at_rim = np.minimum(inside_mass, outside_mass) + 1e-4
    sigma = max(1.0, radius / 1.5)
    return cv2.GaussianBlur(apart * at_rim, (0, 0), sigma) / cv2.GaussianBlur(at_rim, (0, 0), sigma)


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
