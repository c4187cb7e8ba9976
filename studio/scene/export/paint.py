"""A `Surface`'s paint as each format wants it: a colour a vertex, or corners with texture coordinates and a PNG."""

from __future__ import annotations

import cv2
import numpy as np

from studio.scene.surface import Surface

UNPAINTED = 180
"""sRGB grey of a surface that has no colours."""


def vertex_colours(surface: Surface) -> np.ndarray:
    """uint8 (V, 3) sRGB: its own, or else the texture's at one of the vertex's corners, or else grey."""
    if surface.colours is not None:
        return surface.colours
    colours = np.full((len(surface.vertices), 3), UNPAINTED, np.uint8)
    if surface.texture is not None:
        height, width = surface.texture.shape[:2]
        u, v = surface.uv[::-1].reshape(-1, 2).T  # backwards: the first corner of a vertex is written last, and stays
        columns = np.clip(np.floor(u * width), 0, width - 1).astype(int)
        rows = np.clip(np.floor((1 - v) * height), 0, height - 1).astype(int)
        colours[surface.faces[::-1].ravel()] = surface.texture[rows, columns]
    return colours


def corners(surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertex, uv, faces): each vertex as often as it has texture coordinates.

    Returns:
        vertex: int (N,), which vertex of the surface each one is.
        uv: float32 (N, 2), v upwards.
        faces: int32 (F, 3) into the N.
    """
    keys = np.empty(surface.faces.size, [("vertex", "<i4"), ("u", "<f4"), ("v", "<f4")])
    keys["vertex"] = surface.faces.ravel()
    keys["u"], keys["v"] = surface.uv.reshape(-1, 2).T
    unique, place = np.unique(keys, return_inverse=True)
    uv = np.stack([unique["u"], unique["v"]], axis=1)
    return unique["vertex"], uv, place.reshape(-1, 3).astype(np.int32)


def texture_png(surface: Surface) -> bytes:
    """The texture, sRGB."""
    done, page = cv2.imencode(".png", np.ascontiguousarray(surface.texture[..., ::-1]))
    assert done
    return page.tobytes()
