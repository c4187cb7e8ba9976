"""Views of a scene: pictures with depth, masks and cameras."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout  # the built-in one only from Python 3.11 on
from dataclasses import dataclass

import numpy as np

from studio.models.cores import usable_cpus
from studio.scene.camera import Camera, picture_camera
from studio.scene.path import NEAREST, camera_path
from studio.scene.toybox.lights import direction
from studio.scene.toybox.march import FLOOR
from studio.scene.toybox.scene import Scene, corners, pack
from studio.scene.toybox.tracing import render_rows

_BAND = 8
"""Rows that are rendered in one go; a cancelled job is done with the bands begun."""

_MOST_WORKERS = 8

_PATIENCE_S = 0.5
"""A report comes at least so often."""

_CORNERS = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]])
"""Where a pixel is looked at again whose neighbours differ: a rotated grid."""

_DIFFERS = 0.06
"""From which difference of what a screen shows (square root of linear) two neighbours of one solid are looked at
again; on the floor, whose texture is filtered already, from twice that."""

MARGIN = 0.82
"""The part of the picture that the solids fill."""

_LOWEST = 0.15
"""A camera's height above the floor at least, scene units."""


@dataclass(frozen=True, eq=False)
class View:
    """A scene from one place.

    Args:
        rgb: uint8 (H, W, 3) sRGB.
        depth: float32 (H, W) along the optical axis, scene units; inf where there is sky.
        ids: int16 (H, W): number of the solid in `Scene.solids`, -1 the floor, -2 the sky.
        camera: in the scene's world (x right, y up, z towards the viewer); its own axes are OpenCV's.
        azimuth_deg: where it stands, 0 is +z, 90 is +x (anticlockwise from above).
        elevation_deg: how high.
    """

    rgb: np.ndarray
    depth: np.ndarray
    ids: np.ndarray
    camera: Camera
    azimuth_deg: float
    elevation_deg: float

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W): where there is a solid."""
        return self.ids >= 0


Report = Callable[[int, int], None]
"""Hears how many of how many rows are done; what it raises ends the rendering."""


def render_view(
    scene: Scene,
    camera: Camera,
    width: int,
    height: int,
    *,
    azimuth_deg: float = 0.0,
    elevation_deg: float = 0.0,
    report: Report = lambda done, total: None,
    workers: int | None = None,
) -> View:
    """The scene as the camera sees it. The same scene gives the same bytes, whatever the number of workers.

    Where neighbouring pixels differ, four more rays are sent.
    """
    packed = pack(scene)
    pose = np.linalg.inv(camera.world_to_camera)
    k = camera.intrinsics
    lens = np.array([k[0, 0], k[0, 2], k[1, 2]])
    rgb = np.empty((height, width, 3), np.float32)
    depth, ids = np.empty((height, width), np.float32), np.empty((height, width), np.int16)
    rounds = 2 * height
    workers = workers or min(_MOST_WORKERS, usable_cpus())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="toybox")

    def pass_over(offsets: np.ndarray, wanted: np.ndarray, before: int) -> None:
        bands = [(v, min(v + _BAND, height)) for v in range(0, height, _BAND)]
        what = (offsets, wanted, rgb, depth, ids)
        futures = [pool.submit(render_rows, packed, pose, lens, first, last, *what) for first, last in bands]
        for future, (first, last) in zip(futures, bands, strict=True):
            while not _done(future):
                report(before + first, rounds)
            report(before + last, rounds)

    try:
        pass_over(np.zeros((1, 2)), np.ones((height, width), bool), 0)
        pass_over(_CORNERS, _edges(rgb, ids), height)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return View(_srgb_bytes(rgb), depth, ids, camera, azimuth_deg, elevation_deg)


def _done(future: Future[None]) -> bool:
    """True when it is; False after a while, for a cancellation to be noticed while the first call ever compiles."""
    try:
        future.result(timeout=_PATIENCE_S)
    except FutureTimeout:
        return False
    return True


def _edges(rgb: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """bool (H, W): the pixels that differ from one beside or above them."""
    shown = np.sqrt(rgb)
    bounds = np.where(ids == FLOOR, np.float32(2 * _DIFFERS), np.float32(_DIFFERS))
    found = np.zeros(ids.shape, bool)
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differs = (ids[a] != ids[b]) | (np.abs(shown[a] - shown[b]).max(axis=2) > bounds[a])
        found[a] |= differs
        found[b] |= differs
    return found


def _srgb_bytes(linear: np.ndarray) -> np.ndarray:
    """uint8 sRGB; half a step of ordered noise keeps a wide sky from showing bands."""
    c = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)
    v, u = np.mgrid[0 : linear.shape[0], 0 : linear.shape[1]]
    wave = 52.9829189 * ((0.06711056 * u + 0.00583715 * v) % 1.0)  # interleaved gradient noise (Jimenez, 2014)
    return np.clip(c * 255 + (wave % 1.0)[..., None], 0, 255).astype(np.uint8)


# --- where cameras stand --------------------------------------------------------------------------------------


def look_at(eye: np.ndarray, target: np.ndarray, intrinsics: np.ndarray) -> Camera:
    """A camera at `eye` that sees `target` in the middle, level."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])  # rows: the camera's x, y (down), z in the world
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    return Camera(intrinsics, pose)


def scene_camera(scene: Scene, width: int, height: int) -> Camera:
    """The camera of the scene's picture: all solids fill the middle of it, seen 53 degrees along the longer side."""
    points = np.concatenate([corners(s) for s in scene.solids])
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    return _framed(points, target, direction(scene.azimuth_deg, scene.elevation_deg), width, height)


def orbit_cameras(
    scene: Scene, views: int, width: int, height: int, elevation_deg: float | None = None
) -> list[tuple[float, float, Camera]]:
    """(azimuth, elevation, camera) of each view of a closed orbit at one distance, the first from the picture's side.

    Seen from above, the camera goes round anticlockwise.
    """
    elevation = scene.elevation_deg if elevation_deg is None else elevation_deg
    points = np.concatenate([corners(s) for s in scene.solids])
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = float(np.linalg.norm(points - target, axis=1).max())
    k = picture_camera(width, height).intrinsics
    narrow = MARGIN * min(width, height) / 2 / k[0, 0]
    distance = radius * math.sqrt(1 + narrow**2) / narrow
    found = []
    for i in range(views):
        azimuth = (scene.azimuth_deg + 360 * i / views) % 360
        found.append((azimuth, elevation, look_at(target + distance * direction(azimuth, elevation), target, k)))
    return found


def _framed(points: np.ndarray, target: np.ndarray, toward: np.ndarray, width: int, height: int) -> Camera:
    """From that direction, as near as keeps all points within the margins, and moved so that they are in the middle."""
    k = picture_camera(width, height).intrinsics
    half = np.array([width, height]) / 2 / k[0, 0] * MARGIN
    for _ in range(3):
        aim = look_at(target + toward, target, k).world_to_camera
        seen = (points - target) @ aim[:3, :3].T
        distance = float(max((np.abs(seen[:, :2]) / half - seen[:, 2:]).max(), 0.8))
        apart = seen[:, :2] / (seen[:, 2:] + distance)
        off = (apart.min(axis=0) + apart.max(axis=0)) / 2 * distance
        target = target + off @ aim[:2, :3]
    eye = target + distance * toward
    eye[1] = max(eye[1], _LOWEST)
    return look_at(eye, target, k)


def film_cameras(
    scene: Scene,
    move: str,
    *,
    width: int,
    height: int,
    frames: int,
    amount: float,
    easing: str,
    duration_s: float,
    seed: int,
) -> list[Camera]:
    """One camera a frame: a move of `studio.scene.path` at the scene's own scale, from the picture's camera on.

    The first is `scene_camera` exactly. None goes below the floor.
    """
    home = scene_camera(scene, width, height)
    points = np.concatenate([corners(s) for s in scene.solids])
    depths = points @ home.world_to_camera[2, :3] + home.world_to_camera[2, 3]
    unit = max(0.3, float(depths.min())) / NEAREST
    path = camera_path(
        move,
        width=width,
        height=height,
        frames=frames,
        amount=amount,
        easing=easing,
        subject_depth=max(NEAREST, float(depths.min() + depths.max()) / 2 / unit),
        duration_s=duration_s,
        seed=seed,
    )
    return [home if step.same_view(path[0]) else _stepped(home, step, unit) for step in path]


def _stepped(home: Camera, step: Camera, unit: float) -> Camera:
    """A camera that stands to `home` as `step` does to the origin, its shift in units of `unit`."""
    there = step.world_to_camera.copy()
    there[:3, 3] *= unit
    pose = there @ home.world_to_camera
    below = _LOWEST - Camera(step.intrinsics, pose).position[1]
    if below > 0:
        pose[:3, 3] -= pose[:3, 1] * below
    return Camera(step.intrinsics, pose)
