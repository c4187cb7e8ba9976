"""Named camera moves: a name, an amount and an easing become one `Camera` a frame.

Directions are the camera's: pan-right turns it to the right, so that the picture's content goes left. A move begins
at the picture's own camera exactly. `orbit` is closed: it is spread over the frames so that the one after the last
would be the first again, and the clip loops without a doubled frame.

Moves that slide the view tighten the lens a little on the way, which keeps the strip narrow that comes into view
from beyond the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studio.scene.camera import Camera, moved, picture_camera

EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda p: p,
    "ease-in": lambda p: p * p,
    "ease-out": lambda p: p * (2 - p),
    "ease-in-out": lambda p: p * p * (3 - 2 * p),
}
"""Progress in [0, 1] -> how much of the move is done, in [0, 1]."""

CLOSED = frozenset({"orbit"})
"""Moves that end where they began."""

NEAREST = 1.0
"""Depth of the nearest thing in a scene, in world units; a camera never comes closer to it than `CLEARANCE`."""

CLEARANCE = 0.5


TIGHTEN = 0.08
"""Growth of the focal length over a move that slides the view, at amount 1."""


@dataclass(frozen=True)
class Shot:
    """What a move is measured against.

    Args:
        camera: the picture's.
        width: pixels.
        height: pixels.
        subject_depth: world units from the camera to what the shot is about; arcs turn about it.
        amount: 1 is a clear move, 0 none.
        duration_s: of the whole clip.
        seed: of the moves that are random.
    """

    camera: Camera
    width: int
    height: int
    subject_depth: float
    amount: float
    duration_s: float
    seed: int

    @property
    def focal(self) -> float:
        """Pixels."""
        return float(self.camera.intrinsics[0, 0])


Move = Callable[[Shot, float], Camera]
"""A move: the camera at a progress in [0, 1]."""


def camera_path(
    move: str,
    *,
    width: int,
    height: int,
    frames: int,
    amount: float = 1.0,
    easing: str = "ease-in-out",
    subject_depth: float = 1.4,
    duration_s: float = 4.0,
    seed: int = 0,
) -> list[Camera]:
    """One camera a frame; the first is `picture_camera(width, height)` exactly, and so are all where amount is 0.

    Args:
        move: a key of `MOVES`.
        easing: a key of `EASINGS`.
        subject_depth: world units; the nearest thing is at `NEAREST`.
        duration_s: only handheld asks for it: a hand sways in seconds, not in frames.
        seed: only handheld draws from it.
    """
    camera = picture_camera(width, height)
    shot = Shot(camera, width, height, subject_depth, amount, duration_s, seed)
    ease = EASINGS[easing]
    last = frames if move in CLOSED else max(1, frames - 1)
    if amount == 0:
        return [camera] * frames
    return [camera if i == 0 else MOVES[move](shot, ease(i / last)) for i in range(frames)]


def _dolly(scale: float) -> Move:
    """Straight on until the subject is `scale` times as large (below 1: straight back), at amount 1."""

    def at(shot: Shot, p: float) -> Camera:
        wanted = scale**shot.amount
        way = min(shot.subject_depth * (1 - 1 / wanted), NEAREST - CLEARANCE)
        return moved(shot.camera, position=(0.0, 0.0, p * way))

    return at


def _pan(right: float, up: float) -> Move:
    """Turns until a far point at the centre has gone that part of the width or height."""

    def at(shot: Shot, p: float) -> Camera:
        part = p * shot.amount
        yaw = math.atan(part * right * shot.width / shot.focal)
        pitch = math.atan(part * up * shot.height / shot.focal)
        return moved(shot.camera, yaw=yaw, pitch=pitch, zoom=1 + TIGHTEN * part)

    return at


def _truck(right: float, up: float) -> Move:
    """Goes sideways, looking straight on, until the subject has gone that part of the width or height."""

    def at(shot: Shot, p: float) -> Camera:
        part = p * shot.amount
        metres_a_pixel = shot.subject_depth / shot.focal
        x = part * right * shot.width * metres_a_pixel
        y = -part * up * shot.height * metres_a_pixel
        return moved(shot.camera, position=(x, y, 0.0), zoom=1 + TIGHTEN * part)

    return at


def _arc(right: float) -> Move:
    """Round the subject, always facing it, until what is far behind it has gone that part of the width."""

    def at(shot: Shot, p: float) -> Camera:
        part = p * shot.amount
        angle = math.atan(right * shot.width / shot.focal) * part
        r = shot.subject_depth
        return moved(
            shot.camera,
            position=(r * math.sin(angle), 0.0, r * (1 - math.cos(angle))),
            yaw=-angle,
            zoom=1 + TIGHTEN * part,
        )

    return at


def _orbit(shot: Shot, p: float) -> Camera:
    """A level ellipse to the right and forward, facing the subject, and back to where it began."""
    r = shot.subject_depth
    turn = 2 * math.pi * (p % 1.0)
    x = 0.08 * shot.width / shot.focal * r * shot.amount * math.sin(turn)
    z = min(0.05 * r * shot.amount, (NEAREST - CLEARANCE) / 2) * (1 - math.cos(turn))
    return moved(shot.camera, position=(x, 0.0, z), yaw=-math.atan2(x, r - z))


def _roll(shot: Shot, p: float) -> Camera:
    part = p * shot.amount
    return moved(shot.camera, roll=math.radians(5) * part, zoom=1 + TIGHTEN * part)


def _dolly_zoom(shot: Shot, p: float) -> Camera:
    """Back, while the lens grows just so much that the subject keeps its size: what is behind it looms."""
    way = 0.35 * shot.amount * p
    return moved(shot.camera, position=(0.0, 0.0, -way), zoom=(shot.subject_depth + way) / shot.subject_depth)


_SWAY_HZ = np.array([0.23, 0.41, 0.67, 1.09, 1.73])
"""Of a hand-held camera: slow drifts with a little tremor above, no two in step."""


def _handheld(shot: Shot, p: float) -> Camera:
    """Smooth and random: five sines an axis with phases from the seed, growing from stillness within half a second."""
    t = p * shot.duration_s
    phases = np.random.default_rng(shot.seed).uniform(0, 2 * math.pi, (6, len(_SWAY_HZ)))
    weights = 0.23 / _SWAY_HZ
    sway = (weights * np.sin(2 * math.pi * _SWAY_HZ * t + phases)).sum(axis=1)
    grow = EASINGS["ease-in-out"](min(1.0, t / 0.5))
    x, y, z, yaw, pitch, roll = (float(s) for s in sway * grow * shot.amount)
    turn = math.radians(0.55)
    return moved(
        shot.camera,
        position=(0.025 * x, 0.018 * y, 0.02 * z),
        yaw=turn * yaw,
        pitch=turn * pitch,
        roll=turn * roll,
    )


MOVES: dict[str, Move] = {
    "push-in": _dolly(1.22),
    "pull-out": _dolly(1 / 1.13),
    "pan-left": _pan(-0.07, 0.0),
    "pan-right": _pan(0.07, 0.0),
    "tilt-up": _pan(0.0, 0.08),
    "tilt-down": _pan(0.0, -0.08),
    "truck-left": _truck(-0.06, 0.0),
    "truck-right": _truck(0.06, 0.0),
    "pedestal-up": _truck(0.0, 0.07),
    "pedestal-down": _truck(0.0, -0.07),
    "arc-left": _arc(-0.105),
    "arc-right": _arc(0.105),
    "orbit": _orbit,
    "roll": _roll,
    "dolly-zoom": _dolly_zoom,
    "handheld": _handheld,
}
"""Name -> move."""
