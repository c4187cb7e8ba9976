"""The cameras of the files by their formats' own words, with nothing of `studio.scene.export` in between.

Each reader gives a function from world points float (N, 3) to pixels float (T, N, 2), counted from the frame's corner.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

Project = Callable[[np.ndarray], np.ndarray]


def nerfstudio(folder: Path) -> Project:
    """`transforms.json`: OpenGL camera-to-world."""
    page = json.loads((folder / "transforms.json").read_text())
    lens = page["fl_x"], page["fl_y"], page["cx"], page["cy"]
    return lambda points: np.stack([_opengl(f["transform_matrix"], *lens, points) for f in page["frames"]])


def blender_nerf(folder: Path, size: int) -> Project:
    """`transforms_train.json`: the same with an angle of view for square frames of a size that the frames tell."""
    page = json.loads((folder / "transforms_train.json").read_text())
    focal = size / (2 * np.tan(page["camera_angle_x"] / 2))
    lens = focal, focal, size / 2, size / 2
    return lambda points: np.stack([_opengl(f["transform_matrix"], *lens, points) for f in page["frames"]])


def colmap(folder: Path) -> Project:
    """`sparse/0`: world-to-camera by quaternion, OpenCV axes."""
    (camera,) = _lines(folder / "sparse/0/cameras.txt")
    fx, fy, cx, cy = map(float, camera.split()[4:])
    poses = [list(map(float, line.split()[1:8])) for line in _lines(folder / "sparse/0/images.txt")[::2]]

    def project(points: np.ndarray) -> np.ndarray:
        seen = np.stack([points @ rotation(*p[:4]).T + p[4:] for p in poses])
        return np.stack([cx + fx * seen[..., 0] / seen[..., 2], cy + fy * seen[..., 1] / seen[..., 2]], axis=-1)

    return project


def glb(folder: Path, width: int, height: int) -> Project:
    """`mesh.glb`: the animated node's keyframes, and a perspective by its angle and aspect ratio. The world is y up."""
    page, body = glb_parts((folder / "mesh.glb").read_bytes())
    lens = page["cameras"][0]["perspective"]
    places, turns = (
        accessor(page, body, page["animations"][0]["samplers"][number]["output"]).astype(float) for number in (0, 1)
    )

    def project(points: np.ndarray) -> np.ndarray:
        y_up = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
        poses = zip(places, turns, strict=True)
        seen = np.stack([(y_up - place) @ rotation(w, x, y, z) for place, (x, y, z, w) in poses])
        tangent = np.tan(lens["yfov"] / 2)
        right = seen[..., 0] / -seen[..., 2] / tangent / lens["aspectRatio"]
        up = seen[..., 1] / -seen[..., 2] / tangent
        return np.stack([(1 + right) / 2 * width, (1 - up) / 2 * height], axis=-1)

    return project


def glb_parts(data: bytes) -> tuple[dict, bytes]:
    """The JSON page and the binary chunk, each of the length that its header says."""
    magic, version, length, size, kind = struct.unpack("<4sII I4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    rest, kind = struct.unpack("<I4s", data[20 + size : 28 + size])
    assert (kind, 28 + size + rest) == (b"BIN\0", len(data))
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def accessor(page: dict, body: bytes, index: int) -> np.ndarray:
    """The accessor's rows; all views here are tightly packed."""
    entry = page["accessors"][index]
    view = page["bufferViews"][entry["bufferView"]]
    kind = {5126: "<f4", 5125: "<u4"}[entry["componentType"]]
    columns = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,)}[entry["type"]]
    data = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(data, kind).reshape(entry["count"], *columns)


def points3d(folder: Path) -> np.ndarray:
    """float (N, 6): x, y, z, red, green, blue."""
    return np.array([list(map(float, line.split()[1:7])) for line in _lines(folder / "sparse/0/points3D.txt")])


def rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """(3, 3) of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _opengl(matrix: list, fx: float, fy: float, cx: float, cy: float, points: np.ndarray) -> np.ndarray:
    pose = np.array(matrix)
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    return np.stack([cx + fx * seen[:, 0] / -seen[:, 2], cy - fy * seen[:, 1] / -seen[:, 2]], axis=-1)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]
