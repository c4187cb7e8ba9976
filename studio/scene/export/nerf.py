"""The cameras as ``transforms.json`` (nerfstudio, instant-ngp) and ``transforms_train.json`` (NeRF's Blender scenes).

Conventions: nerfstudio's "data conventions" page and its dataparser; Mildenhall et al., NeRF, `load_blender.py`.
"""

from __future__ import annotations

import json
from typing import Any

from studio.scene.export.rig import Rig, opengl_camera_to_world

IMAGES = "images"
"""The folder of the frames, beside the files."""


def transforms(rig: Rig, points: str | None) -> bytes:
    """``transforms.json``, naming the PLY file of coloured points to begin from, where there is one.

    It has no ``mask_path``: nerfstudio leaves masked pixels out of training, so nothing would tell it that the
    background is empty. The frames' own alpha does.
    """
    page: dict[str, Any] = {
        "camera_model": "OPENCV",
        "w": rig.width,
        "h": rig.height,
        "fl_x": rig.focal_px,
        "fl_y": rig.focal_px,
        "cx": rig.width / 2,
        "cy": rig.height / 2,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "camera_angle_x": rig.angle_of_view(rig.width),
        "camera_angle_y": rig.angle_of_view(rig.height),
        "orientation_override": "none",
        "applied_transform": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    }
    if points is not None:
        page["ply_file_path"] = points
    page["frames"] = _frames(rig, keep_suffix=True)
    return _json(page)


def transforms_train(rig: Rig) -> bytes:
    """``transforms_train.json``: the angle of view, and the frames without their suffix."""
    return _json({"camera_angle_x": rig.angle_of_view(rig.width), "frames": _frames(rig, keep_suffix=False)})


def _frames(rig: Rig, *, keep_suffix: bool) -> list[dict[str, Any]]:
    return [
        {
            "file_path": f"{IMAGES}/{name if keep_suffix else name.removesuffix('.png')}",
            "transform_matrix": opengl_camera_to_world(camera).tolist(),
        }
        for name, camera in zip(rig.names, rig.cameras, strict=True)
    ]


def _json(page: dict[str, Any]) -> bytes:
    return (json.dumps(page, indent=1) + "\n").encode()
