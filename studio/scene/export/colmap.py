"""The cameras and coloured points as a COLMAP text model, whose layout ``sparse/0`` Gaussian splatting trains from.

Format: COLMAP's documentation, "Output format". Its cameras have our axes, its world may be any.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from studio.scene.export.rig import Rig


def cameras_txt(rig: Rig) -> bytes:
    """The one lens: ``id PINHOLE width height fx fy cx cy``."""
    lens = f"{rig.focal_px!r} {rig.focal_px!r} {rig.width / 2!r} {rig.height / 2!r}"
    return f"# CAMERA_ID MODEL WIDTH HEIGHT PARAMS\n1 PINHOLE {rig.width} {rig.height} {lens}\n".encode()


def images_txt(rig: Rig) -> bytes:
    """Two lines a frame: ``id qw qx qy qz tx ty tz camera name`` (world to camera), and no matched points."""
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# POINTS2D"]
    for number, (name, camera) in enumerate(zip(rig.names, rig.cameras, strict=True), start=1):
        x, y, z, w = Rotation.from_matrix(camera.world_to_camera[:3, :3]).as_quat(canonical=True).tolist()
        shift = camera.world_to_camera[:3, 3].tolist()
        lines += [" ".join([str(number), *map(repr, (w, x, y, z, *shift)), "1", name]), ""]
    return ("\n".join(lines) + "\n").encode()


def points3d_txt(points: np.ndarray, colours: np.ndarray) -> bytes:
    """A line a point: ``id x y z r g b error``, with no track since nothing was matched.

    Args:
        points: float (N, 3).
        colours: uint8 (N, 3) sRGB.
    """
    rows = zip(points.tolist(), colours.tolist(), strict=True)
    lines = ["{} {:.9g} {:.9g} {:.9g} {} {} {} 0".format(number, *p, *c) for number, (p, c) in enumerate(rows, start=1)]
    return "\n".join(["# POINT3D_ID X Y Z R G B ERROR TRACK", *lines, ""]).encode()
