"""The mesh and the orbit's camera, animated, as one binary glTF file.

glTF 2.0 (Khronos) with KHR_materials_unlit, since the colours are those of pictures and hold their light already. The
world is y up. ``COLOR_0`` is linear where a texture is sRGB. trimesh writes neither of these nor animations.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from studio.scene.export.paint import corners, texture_png, vertex_colours
from studio.scene.export.rig import Y_UP_FROM_Z_UP, Rig, opengl_camera_to_world
from studio.scene.surface import Surface

_NEAR, _FAR = 0.01, 100.0

_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4"}
_COMPONENTS = {"float32": 5126, "uint32": 5125}
_VERTICES, _INDICES = 34962, 34963
_LINEAR, _CLAMP = 9729, 33071


def mesh_glb(surface: Surface, rig: Rig, fps: float) -> bytes:
    """The mesh with a camera that goes round it, one keyframe a frame of the clip, the first at 0 s.

    A clip of T frames has T keyframes and lasts (T - 1) / fps: played round and round, no pose comes twice.
    """
    file = _File()
    mesh = _mesh(file, surface)
    camera = {
        "name": "orbit",
        "type": "perspective",
        "perspective": {
            "yfov": rig.angle_of_view(rig.height),
            "aspectRatio": rig.width / rig.height,
            "znear": _NEAR,
            "zfar": _FAR,
        },
    }
    places, turns = _keyframes(rig)
    times = (np.arange(len(rig)) / fps).astype(np.float32)
    clock = file.accessor(times, bounds=True)
    paths = {"translation": places, "rotation": turns}
    page = {
        "asset": {"version": "2.0", "generator": "SVD Studio"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "object", "mesh": 0},
            {"name": "orbit camera", "camera": 0, "translation": places[0].tolist(), "rotation": turns[0].tolist()},
        ],
        "cameras": [camera],
        "animations": [
            {
                "name": "orbit",
                "samplers": [
                    {"input": clock, "output": file.accessor(values), "interpolation": "LINEAR"}
                    for values in paths.values()
                ],
                "channels": [
                    {"sampler": number, "target": {"node": 1, "path": path}} for number, path in enumerate(paths)
                ],
                "extras": {"fps": fps, "frames": len(rig)},
            }
        ],
        **mesh,
    }
    return file.glb(page)


def _mesh(file: _File, surface: Surface) -> dict[str, Any]:
    """The page's ``meshes`` and all that they use."""
    places = (surface.vertices @ Y_UP_FROM_Z_UP.T).astype(np.float32)
    material: dict[str, Any] = {
        "name": "object",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
        "extensions": {"KHR_materials_unlit": {}},
    }
    page: dict[str, Any] = {"materials": [material]}
    if surface.texture is not None:
        vertex, uv, faces = corners(surface)
        attributes = {
            "POSITION": file.accessor(places[vertex], _VERTICES, bounds=True),
            "TEXCOORD_0": file.accessor(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1), _VERTICES),
        }
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        page["textures"] = [{"source": 0, "sampler": 0}]
        page["images"] = [{"name": "texture", "mimeType": "image/png", "bufferView": file.view(texture_png(surface))}]
        # neither wrapped nor scaled down: the texture may be a sheet of views that have nothing to do with neighbours
        page["samplers"] = [{"magFilter": _LINEAR, "minFilter": _LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}]
    else:
        faces = surface.faces
        attributes = {
            "POSITION": file.accessor(places, _VERTICES, bounds=True),
            "COLOR_0": file.accessor(_linear(vertex_colours(surface)), _VERTICES),
        }
    indices = file.accessor(faces.astype(np.uint32).ravel(), _INDICES)
    page["meshes"] = [{"name": "object", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}]
    return page


def _linear(colours: np.ndarray) -> np.ndarray:
    """float32 (V, 3) in [0, 1] of uint8 sRGB (IEC 61966-2-1). 8 bits would lose the dark ones."""
    c = np.arange(256) / 255
    table = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colours]


def _keyframes(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """(places, turns): float32 (T, 3), and unit quaternions float32 (T, 4) x, y, z, w, y up.

    q and -q are one rotation, but between keyframes the sign decides which way round it turns: neighbours agree.
    """
    poses = np.stack([opengl_camera_to_world(camera) for camera in rig.cameras])
    turns = Rotation.from_matrix(Y_UP_FROM_Z_UP @ poses[:, :3, :3]).as_quat(canonical=True)
    against = np.sum(turns[1:] * turns[:-1], axis=1) < 0
    turns[1:][np.cumsum(against) % 2 == 1] *= -1
    return (poses[:, :3, 3] @ Y_UP_FROM_Z_UP.T).astype(np.float32), turns.astype(np.float32)


class _File:
    """The binary part of a file that is being put together, with its table of contents."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """The index of the buffer view that now holds these bytes."""
        view = {"buffer": 0, "byteOffset": len(self._body), "byteLength": len(data)}
        self._views.append(view if target is None else {**view, "target": target})
        self._body += data + b"\0" * (-len(data) % 4)
        return len(self._views) - 1

    def accessor(self, values: np.ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """The index of the accessor for rows of float32 or uint32; `bounds` writes their least and greatest."""
        entry: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes(), target),
            "componentType": _COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": _TYPES[values.shape[1:]],
        }
        if bounds:
            entry |= {"min": np.atleast_1d(values.min(0)).tolist(), "max": np.atleast_1d(values.max(0)).tolist()}
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def glb(self, page: dict[str, Any]) -> bytes:
        """Header, JSON chunk, binary chunk."""
        page = {
            **page,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._body)}],
        }
        text = json.dumps(page, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = [(b"JSON", text), (b"BIN\0", bytes(self._body))]
        body = b"".join(np.uint32(len(data)).astype("<u4").tobytes() + kind + data for kind, data in chunks)
        return b"glTF" + np.array([2, 12 + len(body)], "<u4").tobytes() + body
