"""Cut-outs to inflate: pictures of a drawn thing on white, with soft alpha."""

import cv2
import numpy as np

_FINER = 4


def _finished(mask, colours, size):
    """The drawing made at `_FINER` times the size, brought down: (picture, alpha)."""
    on_white = np.where(mask[..., None] > 0, colours, 255).astype(np.uint8)
    return tuple(cv2.resize(a, (size, size), interpolation=cv2.INTER_AREA) for a in (on_white, mask))


def _place(size):
    return lambda *point: tuple(round(p * size * _FINER) for p in point)


def _ground(size):
    """Smooth colours, red growing to the right and green downwards."""
    ramp = np.linspace(30, 220, size * _FINER)
    return np.stack([*np.meshgrid(ramp, ramp), np.full((size * _FINER,) * 2, 90.0)], axis=-1).astype(np.uint8)


def disc(size=192, radius=0.4):
    at, mask = _place(size), np.zeros((size * _FINER,) * 2, np.uint8)
    cv2.circle(mask, at(0.5, 0.5), at(radius)[0], 255, -1)
    return _finished(mask, _ground(size), size)


def ring(size=192):
    at, mask = _place(size), np.zeros((size * _FINER,) * 2, np.uint8)
    cv2.circle(mask, at(0.5, 0.5), at(0.4)[0], 255, -1)
    cv2.circle(mask, at(0.5, 0.5), at(0.18)[0], 0, -1)
    return _finished(mask, _ground(size), size)


def pair(size=192):
    """Two things apart, of which one has a hole."""
    at, mask = _place(size), np.zeros((size * _FINER,) * 2, np.uint8)
    cv2.rectangle(mask, at(0.1, 0.2), at(0.45, 0.8), 255, -1)
    cv2.circle(mask, at(0.72, 0.5), at(0.16)[0], 255, at(0.1)[0])
    return _finished(mask, _ground(size), size)


def figure(size=192):
    """Head, trunk in stripes, arms and legs."""
    at, mask = _place(size), np.zeros((size * _FINER,) * 2, np.uint8)
    cv2.circle(mask, at(0.5, 0.18), at(0.11)[0], 255, -1)
    cv2.rectangle(mask, at(0.4, 0.28), at(0.6, 0.62), 255, -1)
    for a, b in (
        ((0.42, 0.36), (0.22, 0.56)),
        ((0.58, 0.36), (0.8, 0.5)),
        ((0.46, 0.6), (0.4, 0.92)),
        ((0.54, 0.6), (0.6, 0.92)),
    ):
        cv2.line(mask, at(*a), at(*b), 255, at(0.08)[0])
    colours = _ground(size)
    for y in (0.36, 0.44, 0.52):
        cv2.line(colours, at(0, y), at(1, y), (250, 250, 250), at(0.015)[0])
    return _finished(mask, colours, size)
