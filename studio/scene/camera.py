"""`Camera`: a pinhole somewhere in the world, and how a point seen by one camera is seen by another.

Axes are OpenCV's: x right, y down, z forward. The world is the first camera's own frame, so the camera that took the
picture has `world_to_camera` = I. Pixel centres are at whole numbers: (0, 0) is the middle of the top left pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Args:
        intrinsics: float64 (3, 3), K: focal lengths and principal point in pixels, no skew.
        world_to_camera: float64 (4, 4), rigid: ``X_camera = R X_world + t``.

    Raises:
        ValueError: the arrays do not have these shapes.
    """

    intrinsics: np.ndarray
    world_to_camera: np.ndarray

    def __post_init__(self) -> None:
        if self.intrinsics.shape != (3, 3) or self.world_to_camera.shape != (4, 4):
            raise ValueError(
                f"camera: intrinsics {list(self.intrinsics.shape)} and world_to_camera "
                f"{list(self.world_to_camera.shape)} are not (3, 3) and (4, 4)."
            )

    @property
    def position(self) -> np.ndarray:
        """float64 (3,): where the camera stands in the world."""
        rotation, shift = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ shift

    def same_view(self, other: Camera) -> bool:
        """True where both see exactly the same picture."""
        return np.array_equal(self.intrinsics, other.intrinsics) and np.array_equal(
            self.world_to_camera, other.world_to_camera
        )


def picture_camera(width: int, height: int) -> Camera:
    """The camera that is taken to have made a picture of that size: 53 degrees along the longer side, at the origin."""
    focal = float(max(width, height))
    k = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    return Camera(k, np.eye(4))


def moved(
    camera: Camera,
    *,
    position: tuple[float, float, float] = (0.0, 0.0, 0.0),
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    zoom: float = 1.0,
) -> Camera:
    """A camera at the origin put elsewhere.

    Args:
        camera: stands at the origin unrotated.
        position: in world units.
        yaw: radians, positive looks right.
        pitch: radians, positive looks up.
        roll: radians, positive turns the camera clockwise, so that the picture turns counter-clockwise.
        zoom: factor on the focal length.
    """
    turn = turn_camera(yaw, pitch, roll)
    pose = np.eye(4)
    pose[:3, :3] = turn.T
    pose[:3, 3] = -turn.T @ np.asarray(position, dtype=np.float64)
    k = camera.intrinsics.copy()
    k[0, 0] *= zoom
    k[1, 1] *= zoom
    return Camera(k, pose)


def turn_camera(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """float64 (3, 3), camera-to-world: roll about z, then pitch about x, then yaw about y; signs as in `moved`."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    about_z = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return about_y @ about_x @ about_z


def view_change(source: Camera, target: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(H, b) such that a source pixel (u, v) at inverse depth q is seen by the target at ``H [u, v, 1] + q b``.

    The result is homogeneous. H = K' R K^-1 is the homography of the plane at infinity, b = K' t the epipole
    (Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 9.2 and equation 13.2).
    """
    step = target.world_to_camera @ np.linalg.inv(source.world_to_camera)
    h = target.intrinsics @ step[:3, :3] @ np.linalg.inv(source.intrinsics)
    return h, target.intrinsics @ step[:3, 3]


def project(source: Camera, target: Camera, u: np.ndarray, v: np.ndarray, inverse_depth: np.ndarray | float):
    """Where the target sees the source's pixels: arrays x, y of the broadcast shape, float64."""
    h, b = view_change(source, target)
    x = h[0, 0] * u + h[0, 1] * v + h[0, 2] + inverse_depth * b[0]
    y = h[1, 0] * u + h[1, 1] * v + h[1, 2] + inverse_depth * b[1]
    w = h[2, 0] * u + h[2, 1] * v + h[2, 2] + inverse_depth * b[2]
    return x / w, y / w


def unproject(source: Camera, target: Camera, x: np.ndarray, y: np.ndarray, inverse_depth: np.ndarray | float):
    """Which source pixel the target sees at (x, y), were it at that inverse depth of the source: arrays u, v."""
    h, b = view_change(source, target)
    g = np.linalg.inv(h)
    c = g @ b
    w = g[2, 0] * x + g[2, 1] * y + g[2, 2]
    u = (g[0, 0] * x + g[0, 1] * y + g[0, 2]) / w
    v = (g[1, 0] * x + g[1, 1] * y + g[1, 2]) / w
    return u + inverse_depth * (c[2] * u - c[0]), v + inverse_depth * (c[2] * v - c[1])
