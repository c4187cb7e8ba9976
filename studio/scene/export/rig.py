"""`Rig`: the cameras of one orbit with the names of the frames that they took, which every format is written from.

The studio's cameras have OpenCV axes (x right, y down, z forward) and pixel centres at whole numbers; its world has z
up. NeRF files and glTF have cameras with OpenGL axes (x right, y up, looking along -z), glTF's world has y up, and all
formats count pixels from the frame's corner, which puts pixel centres at halves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studio.scene.camera import Camera

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""(4, 4), its own inverse: camera axes of the one convention in those of the other."""

Y_UP_FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""(3, 3): our world in glTF's. The side that the input view sees then looks along +z, as glTF asks of a model."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras that share one lens.

    Args:
        cameras: one a frame; rigid poses. Square pixels and a principal point in the middle, as no other lens can be
            said in all formats.
        width: of the frames, pixels.
        height: likewise.
        names: of the frames' PNG files in the folder ``images``, without spaces, in frame order.

    Raises:
        ValueError: they are not so.
    """

    cameras: Sequence[Camera]
    width: int
    height: int
    names: Sequence[str]

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.names)) != len(self.cameras) or len(self.names) != len(self.cameras):
            raise ValueError(f"rig: {len(self.cameras)} cameras and the names {list(self.names)}; one name for each.")
        for name in self.names:
            if not name.endswith(".png") or set(name) & set("/\\ \t\r\n"):
                raise ValueError(f"rig: {name!r} is not the plain name of a PNG file without spaces.")
        focal = float(self.cameras[0].intrinsics[0, 0])
        lens = [[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]]
        for name, camera in zip(self.names, self.cameras, strict=True):
            if not np.allclose(camera.intrinsics, lens, rtol=1e-9, atol=1e-9):
                raise ValueError(f"rig: the camera of {name} has not the lens {lens} but {camera.intrinsics.tolist()}.")
            r = camera.world_to_camera[:3, :3]
            if not (np.allclose(r @ r.T, np.eye(3), atol=1e-9) and np.linalg.det(r) > 0):
                raise ValueError(f"rig: the camera of {name} is not rigid: its rotation is {r.tolist()}.")

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def focal_px(self) -> float:
        """Of all cameras, both ways."""
        return float(self.cameras[0].intrinsics[0, 0])

    def angle_of_view(self, side_px: int) -> float:
        """Radians that so many pixels across the middle of a frame span."""
        return 2 * math.atan(side_px / (2 * self.focal_px))


def opengl_camera_to_world(camera: Camera) -> np.ndarray:
    """float64 (4, 4): from OpenGL camera axes to our world."""
    rotation = camera.world_to_camera[:3, :3]
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = camera.position
    return pose @ OPENGL_FROM_OPENCV
