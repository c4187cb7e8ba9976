"""`Recogniser`: which plain shape of which colour a picture shows, learned from the renderer's own pictures.

For prompts of one thing on a plain floor in a studio (`check_prompts`). What stands out from the rows of its background
by its colour is the thing; its colour is the nearest of what the renderer makes of each name, its shape what gradients
inside its box say to a ridge classifier (histograms of them: Dalal and Triggs, 2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from studio.scene.toybox.caption import caption
from studio.scene.toybox.lights import BACKDROPS
from studio.scene.toybox.scene import Scene
from studio.scene.toybox.words import Thing
from studio.train.dice import FOLDS, dice
from studio.train.fields import Fields
from studio.train.moves import film_take
from studio.train.render import render
from studio.train.scenes import caption_zh, stood

COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
SHAPES = ("sphere", "cube", "cylinder", "cone", "torus", "pyramid", "star", "heart")
"""What it tells apart."""

_SIDE = 64
"""Pixels that pictures are made, and boxes are looked at, on a side."""

_STANDS_OUT = 16.0
"""In CIELAB, how far a thing's colour is from that of the background of its row, lightness counting a quarter."""

_LEAST = 0.008
"""Of the picture, that a thing covers at least."""

_RIDGE = 0.3
"""How much the classifier keeps its weights small."""

_EACH = 30
"""Pictures of each shape that it learns from."""


@dataclass(frozen=True)
class Prompt:
    """What to paint, and what is to be recognised."""

    caption: str
    caption_zh: str
    colour: str
    shape: str


def check_prompts(count: int) -> list[Prompt]:
    """Prompts of one coloured shape each, every shape and every colour about as often; always the same."""
    found = []
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        colour = COLOURS[(number + number // len(SHAPES)) % len(COLOURS)]
        scene, thing = _scene(dice(FOLDS, 0, number, held_out=True), shape, colour)
        found.append(Prompt(scene.caption, caption_zh([thing], scene.light, scene.floor), colour, shape))
    return found


def pictures(device: torch.device | str, count: int, *, size: int, held_out: bool) -> tuple[np.ndarray, list[Prompt]]:
    """The renderer's own pictures of such prompts, uint8 (N, S, S, 3), and what they show."""
    fields = Fields(device, 64)
    prompts = check_prompts(count)
    takes = []
    for number, prompt in enumerate(prompts):
        d = dice(FOLDS, 1, number, held_out=held_out)
        takes.append(film_take(d, _scene(d, prompt.shape, prompt.colour)[0], 1)[0])
    return render(takes, size, fields).rgb.permute(0, 2, 3, 1).cpu().numpy(), prompts


def _scene(d: np.random.Generator, shape: str, colour: str) -> tuple[Scene, Thing]:
    thing = Thing(shape, colour=colour)
    azimuth = float(d.uniform(-180, 180))
    solid = stood(d, thing, azimuth)
    scene = Scene(
        (solid,),
        "studio",
        "plain",
        backdrop=BACKDROPS[int(d.integers(len(BACKDROPS)))],
        key_azimuth_deg=azimuth + float(d.choice([-1.0, 1.0]) * d.uniform(25, 65)),
        azimuth_deg=azimuth,
        elevation_deg=float(d.uniform(8, 24)),
        caption=caption((thing,), (solid,), "studio", "plain"),
    )
    return scene, thing


class Recogniser:
    """Learned anew each time, from pictures that are always the same ones.

    Args:
        device: that they are rendered on.
        each: pictures of each shape.
    """

    def __init__(self, device: torch.device | str, *, each: int = _EACH) -> None:
        shown, prompts = pictures(device, each * len(SHAPES), size=_SIDE, held_out=False)
        rows, shapes, hues, colours = [], [], [], []
        for picture, prompt in zip(shown, prompts, strict=True):
            for seen in (picture, cv2.GaussianBlur(picture, (0, 0), 1.0)):  # what is generated is less sharp
                mask = _mask(seen)
                if mask is not None:
                    rows.append(_gradients(seen, mask))
                    shapes.append(SHAPES.index(prompt.shape))
                    hues.append(_hue(seen, mask))
                    colours.append(COLOURS.index(prompt.colour))
        x = np.stack(rows)
        self._mean = x.mean(axis=0)
        x = x - self._mean
        wanted = np.eye(len(SHAPES))[shapes] - 1 / len(SHAPES)
        kernel = x @ x.T
        self._weights = x.T @ np.linalg.solve(kernel + _RIDGE * np.eye(len(x)) * np.trace(kernel) / len(x), wanted)
        self._hues, self._colours = np.stack(hues), np.array(colours)

    def read(self, picture: np.ndarray) -> tuple[str, str]:
        """(colour, shape) of uint8 (S, S, 3); ("", "") where nothing stands out."""
        picture = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        mask = _mask(picture)
        if mask is None:
            return "", ""
        near = np.argsort(np.linalg.norm(self._hues - _hue(picture, mask), axis=1), kind="stable")[:5]
        votes = np.bincount(self._colours[near], minlength=len(COLOURS))
        shape = int(np.argmax((_gradients(picture, mask) - self._mean) @ self._weights))
        return COLOURS[int(np.argmax(votes))], SHAPES[shape]


def _mask(picture: np.ndarray) -> np.ndarray | None:
    """bool (S, S): the largest thing that stands out from the ends of its rows; None where there is none."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ends = np.concatenate([lab[:, :4], lab[:, -4:]], axis=1)
    apart = (lab - np.median(ends, axis=1, keepdims=True)) * np.array([0.25, 1, 1], np.float32)
    found = (np.linalg.norm(apart, axis=2) > _STANDS_OUT).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < _LEAST * found.size:
        return None
    return labels == largest


def _gradients(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float64 (n,), of length 1 each half: histograms of gradients of the mask and of the picture in the mask's box."""
    v, u = np.nonzero(mask)
    middle, half = np.array([u.min() + u.max(), v.min() + v.max()]) / 2, max(np.ptp(u), np.ptp(v)) * 0.58 + 1
    to = np.array([[2 * half / _SIDE, 0, middle[0] - half], [0, 2 * half / _SIDE, middle[1] - half]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    inside = np.where(mask, grey, np.uint8(np.median(grey[mask])))
    halves = []
    for layer in (mask.astype(np.uint8) * 255, inside):
        crop = cv2.warpAffine(layer, to, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        halves.append(_histograms(crop.astype(np.float64) / 255))
    return np.concatenate(halves)


def _histograms(grey: np.ndarray) -> np.ndarray:
    """float64 (n,), of length 1: how strong edges of nine directions are in cells of 8 pixels, by blocks of 2 x 2."""
    dy, dx = np.gradient(grey)
    strength, turn = np.hypot(dx, dy), np.arctan2(dy, dx) / np.pi % 1.0 * 9
    low = np.floor(turn)
    bins = np.arange(9)
    share = (low[..., None] % 9 == bins) * (1 - turn + low)[..., None] + ((low[..., None] + 1) % 9 == bins) * (
        turn - low
    )[..., None]
    n = grey.shape[0] // 8
    cells = (share * strength[..., None]).reshape(n, 8, n, 8, 9).sum(axis=(1, 3))
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=-1)
    blocks = blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 0.5)
    return blocks.ravel() / max(float(np.linalg.norm(blocks)), 1e-9)


def _hue(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float32 (3,): CIELAB of the thing's more colourful half, without highlights; lightness counts a half."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[mask]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    return np.median(lab[chroma >= np.median(chroma)], axis=0) * np.array([0.5, 1.0, 1.0], np.float32)
