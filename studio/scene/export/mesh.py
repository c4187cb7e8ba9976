"""A `Surface` as PLY, STL and OBJ files, and its vertices as PLY points.

PLY and STL keep our z up, which is what programs take them for; OBJ is y up, which is what programs take it for.
Lengths are the world's: the object's longest side is about 1.
"""

from __future__ import annotations

import numpy as np

from studio.scene.export.paint import corners, texture_png, vertex_colours
from studio.scene.export.rig import Y_UP_FROM_Z_UP
from studio.scene.surface import Surface


def points_ply(surface: Surface) -> bytes:
    """The vertices with their colours, binary."""
    return _ply(surface, faces=False)


def mesh_ply(surface: Surface) -> bytes:
    """The mesh with a colour a vertex, binary."""
    return _ply(surface, faces=True)


def mesh_stl(surface: Surface) -> bytes:
    """The triangles with their normals, binary, without colours."""
    triangles = surface.vertices[surface.faces].astype("<f4")
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    rows = np.zeros(len(triangles), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["normal"] = normals / np.where(lengths > 0, lengths, 1)
    rows["corners"] = triangles
    title = b"SVD Studio".ljust(80)  # must not begin with "solid", by which readers know the text format
    return title + np.uint32(len(rows)).astype("<u4").tobytes() + rows.tobytes()


def mesh_obj(surface: Surface, stem: str) -> dict[str, bytes]:
    """The files by name: ``stem.obj``, and ``stem.mtl`` with ``stem.png`` where the surface is textured.

    Without a texture each vertex line carries its colour, which most programs read.
    """
    places = surface.vertices @ Y_UP_FROM_Z_UP.T
    if surface.texture is None:
        painted = np.hstack([places, vertex_colours(surface) / 255])
        lines = _rows("v {:.8f} {:.8f} {:.8f} {:.5f} {:.5f} {:.5f}", painted) + _rows("f {} {} {}", surface.faces + 1)
        return {f"{stem}.obj": _text(["o object", *lines])}
    _, uv, faces = corners(surface)
    pairs = np.stack([surface.faces, faces], axis=2).reshape(-1, 6) + 1
    lines = _rows("v {:.8f} {:.8f} {:.8f}", places) + _rows("vt {:.8f} {:.8f}", uv)
    lines += ["usemtl object", *_rows("f {}/{} {}/{} {}/{}", pairs)]
    material = ["newmtl object", "illum 0", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", f"map_Kd {stem}.png"]
    return {
        f"{stem}.obj": _text([f"mtllib {stem}.mtl", "o object", *lines]),
        f"{stem}.mtl": _text(material),
        f"{stem}.png": texture_png(surface),
    }


def _ply(surface: Surface, *, faces: bool) -> bytes:
    vertices = np.empty(len(surface.vertices), [("place", "<f4", 3), ("colour", "u1", 3)])
    vertices["place"], vertices["colour"] = surface.vertices, vertex_colours(surface)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    body = vertices.tobytes()
    if faces:
        rows = np.empty(len(surface.faces), [("count", "u1"), ("corners", "<i4", 3)])
        rows["count"], rows["corners"] = 3, surface.faces
        header += [f"element face {len(rows)}", "property list uchar int vertex_indices"]
        body += rows.tobytes()
    return _text([*header, "end_header"]) + body


def _rows(line: str, values: np.ndarray) -> list[str]:
    return [line.format(*row) for row in values.tolist()]


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
