"""`film_take`: a scene filmed by a camera that moves, with solids that move; `orbit_take`: an object from all sides."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from studio.scene.orbit import FOV_DEG, Orbit
from studio.scene.toybox.lights import direction
from studio.scene.toybox.render import look_at, scene_camera
from studio.scene.toybox.scene import Scene, Solid, corners, pack_solids
from studio.scene.toybox.skies import LIGHT_SIZE
from studio.scene.toybox.touch import distances, surface
from studio.train.scenes import spread
from studio.train.takes import Take

FPS = (4, 12)
"""Frames a second of clips, drawn evenly."""

_CAMERA = {"still": 0.22, "arc": 0.32, "push": 0.2, "pan": 0.14, "rise": 0.12}
_SOLID = {"still": 0.45, "turn": 0.25, "slide": 0.18, "hop": 0.12}
_SHOWS_TURNS = ("spotted", "checkered")
"""Patterns by which the turning of a thing is seen that is round itself."""

_SHOWS_TURNS = ("spotted", "checkered")
"""Patterns by which the turning of a thing is seen that is round itself."""

_LOWEST = 0.12
"""A camera's height above the floor at least, scene units."""

_BACK = (1.08, 1.4)
"""How far back from where the solids fill the picture the camera stands, as a factor."""

_FOCAL = 1.0
"""Of clips, in sides of the picture, as `studio.scene.camera.picture_camera`."""

ORBIT_FOCAL = 0.5 / math.tan(math.radians(FOV_DEG) / 2)
"""Of orbits, in sides of the picture."""

FILL = (0.76, 0.9)
"""The part of the input view's side that the object fills, the way that the studio cuts pictures out for SV3D."""

_DIRECTIONS = 400
"""Spread evenly over the sphere, in which the furthest points of a form are looked for."""

_INSIDE = 0.97
"""No view of an orbit fills more."""


def film_take(dice: np.random.Generator, scene: Scene, frames: int) -> tuple[Take, int]:
    """A take of so many frames, and its frames a second; the first frame shows the scene as it is.

    Speeds are drawn a second, so that a clip of fewer frames a second moves further from frame to frame.
    """
    fps = int(dice.integers(FPS[0], FPS[1] + 1))
    seconds = np.arange(frames) / fps
    move = str(dice.choice(list(_CAMERA), p=list(_CAMERA.values())))
    feet, turns = _moved(dice, scene, seconds, always=move == "still")
    return Take(scene, _cameras(dice, scene, seconds, move), _FOCAL, feet, turns), fps


def _cameras(dice: np.random.Generator, scene: Scene, seconds: np.ndarray, move: str) -> np.ndarray:
    """float64 (T, 4, 4): round, towards, past or above the solids; the first sees them all."""
    points = np.concatenate([corners(s) for s in scene.solids])
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    home = scene_camera(scene, 256, 256)
    away = home.position - target
    far = float(np.linalg.norm(away)) * dice.uniform(*_BACK)
    azimuth = math.degrees(math.atan2(away[0], away[2]))
    elevation = math.degrees(math.asin(away[1] / np.linalg.norm(away)))
    way = float(dice.choice([-1.0, 1.0])) * float(dice.uniform(0.3, 1.0)) * (0.0 if move == "still" else 1.0)
    eased = _eased(dice, seconds)
    poses = []
    for t in eased:
        a = azimuth + (28 * way * t if move == "arc" else 0.0)
        e = min(elevation + (abs(way) * 18 * t if move == "rise" else 0.0), 75.0)
        d = far * (max(0.62, 0.85 ** (way * t)) if move == "push" else 1.0)
        aim = target + (direction(azimuth + 90, 0) * 0.15 * far * way * min(t, 2.5) if move == "pan" else 0.0)
        eye = (aim if move == "pan" and way > 0.6 else target) + d * direction(a, e)
        eye[1] = max(eye[1], _LOWEST)
        poses.append(look_at(eye, aim, home.intrinsics).world_to_camera)
    return np.stack(poses)


def _eased(dice: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Seconds, or for every third clip seconds that begin slowly; always rising, from 0 on."""
    if dice.random() < 0.67:
        return seconds
    last = max(float(seconds[-1]), 1e-9)
    p = seconds / last
    return last * p * p * (3 - 2 * p)


def _moved(
    dice: np.random.Generator, scene: Scene, seconds: np.ndarray, *, always: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Feet (T, S, 3) and turns (T, S): one solid, sometimes two, turns, slides away from the others, or hops.

    Args:
        always: none that could move stands still.
    """
    many = len(scene.solids)
    feet = np.tile(np.array([s.foot for s in scene.solids], np.float64), (len(seconds), 1, 1))
    turns = np.tile(np.array([s.turn_deg for s in scene.solids], np.float64), (len(seconds), 1))
    movers = dice.permutation(many)[: 2 if dice.random() < 0.25 else 1]
    for i in movers:
        move = str(dice.choice(list(_SOLID), p=list(_SOLID.values())))
        move = "turn" if always and move == "still" else move
        speed = float(dice.uniform(0.3, 1.0))
        sign = float(dice.choice([-1.0, 1.0]))
        if move == "turn" and scene.solids[i].pattern not in _SHOWS_TURNS and looks_round(scene.solids[i].kind):
            move = "hop"
        if move == "turn":
            turns[:, i] += sign * 60 * speed * seconds
        elif move == "slide":
            way = _free_way(dice, scene, int(i))
            feet[:, i] += 0.55 * speed * scene.solids[i].scale * seconds[:, None] * way
        elif move == "hop":
            period = float(dice.uniform(0.8, 1.6))
            part = seconds / period % 1.0
            feet[:, i, 1] += 1.6 * speed * scene.solids[i].scale * part * (1 - part)
    return feet, turns


@cache
def looks_round(kind: str) -> bool:
    """True where a form looks the same however it is turned about the vertical, but for its colours."""
    points = surface(kind)
    out = np.empty(len(points))
    alone = pack_solids((Solid(kind, "white"),), np.zeros(LIGHT_SIZE), np.zeros((0, 6)))
    distances(alone, 0, np.ascontiguousarray(points @ _upright(37.0).T), out)
    return bool(np.abs(out).max() < 0.02)


def _free_way(dice: np.random.Generator, scene: Scene, mover: int) -> np.ndarray:
    """float64 (3,): a direction on the floor along which the solid goes away from all others."""
    solid = scene.solids[mover]
    for _ in range(16):
        way = direction(float(dice.uniform(0, 360)), 0)
        others = (o for i, o in enumerate(scene.solids) if i != mover)
        if all((np.array(solid.foot) - o.foot) @ way >= -0.2 * spread(o) for o in others):
            return way
    return np.zeros(3)


def orbit_take(dice: np.random.Generator, scene: Scene, orbit: Orbit) -> Take:
    """The scene's only solid seen from an orbit whose azimuth 0 is the scene's own.

    The input view's object is in the middle and fills `FILL` of it, or less where another view would fill more than
    nearly all of its own.
    """
    (solid,) = scene.solids
    points = np.array(solid.foot) + solid.scale * _hull(solid.kind) @ _upright(solid.turn_deg).T
    fill = float(dice.uniform(*FILL))
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    far = 2.0 * float(np.ptp(points, axis=0).max())
    ways = [direction(scene.azimuth_deg + a, e) for a, e in zip(orbit.azimuths_deg, orbit.elevations_deg, strict=True)]
    cameras = np.stack([look_at(way, np.zeros(3), np.eye(3)).world_to_camera for way in ways])
    rotations = cameras[:, :3, :3]
    for _ in range(5):
        seen = (points - target) @ rotations.transpose(0, 2, 1)
        flat = ORBIT_FOCAL * seen[..., :2] / (seen[..., 2:] + far)
        low, high = flat[-1].min(axis=0), flat[-1].max(axis=0)
        target = target + (low + high) / 2 / ORBIT_FOCAL * far @ rotations[-1, :2]
        far *= max(float((high - low).max()) / fill, 2 * float(np.abs(flat).max()) / _INSIDE)
    cameras[:, :3, 3] = -np.einsum("vij,vj->vi", rotations, target + far * np.stack(ways))
    return Take.still(scene, cameras, ORBIT_FOCAL)


@cache
def _hull(kind: str) -> np.ndarray:
    """float64 (n, 3): the points of a form's skin that are furthest out in some direction, enough to frame it by."""
    points = surface(kind)
    turn = np.arange(_DIRECTIONS) * math.pi * (3 - math.sqrt(5))
    up = 1 - (2 * np.arange(_DIRECTIONS) + 1) / _DIRECTIONS
    flat = np.sqrt(1 - up**2)
    ways = np.stack([flat * np.cos(turn), up, flat * np.sin(turn)])
    return points[np.unique((points @ ways).argmax(axis=0))]


def _upright(turn_deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
