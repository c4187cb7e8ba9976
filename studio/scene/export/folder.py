"""All the files of an orbit in one folder, beside the frames in ``images``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from studio.scene.camera import Camera
from studio.scene.export.colmap import cameras_txt, images_txt, points3d_txt
from studio.scene.export.glb import mesh_glb
from studio.scene.export.mesh import mesh_obj, mesh_ply, mesh_stl, points_ply
from studio.scene.export.nerf import IMAGES, transforms, transforms_train
from studio.scene.export.paint import vertex_colours
from studio.scene.export.rig import Rig
from studio.scene.surface import Surface

POINTS = "points.ply"
COLMAP = "sparse/0"


def export_all(
    folder: Path,
    surface: Surface | None,
    cameras: Sequence[Camera],
    *,
    width: int,
    height: int,
    fps: float,
    frame_names: Sequence[str],
) -> list[Path]:
    """The files that are now in `folder`: cameras, points and mesh, each whole, and a README. None where one fails.

    Args:
        surface: without one there are cameras only.
        cameras: one a frame; see `Rig` for what lens they may have.
        fps: frames per second of the clip, for the animated camera.
        frame_names: plain PNG names. The caller puts the frames into the folder ``images``, straight alpha on white.
    """
    rig = Rig(cameras, width, height, frame_names)
    files = {
        "transforms.json": transforms(rig, None if surface is None else POINTS),
        "transforms_train.json": transforms_train(rig),
        f"{COLMAP}/cameras.txt": cameras_txt(rig),
        f"{COLMAP}/images.txt": images_txt(rig),
    }
    if surface is None:
        files[f"{COLMAP}/points3D.txt"] = points3d_txt(np.empty((0, 3)), np.empty((0, 3), np.uint8))
    else:
        files |= {
            f"{COLMAP}/points3D.txt": points3d_txt(surface.vertices, vertex_colours(surface)),
            POINTS: points_ply(surface),
            "mesh.glb": mesh_glb(surface, rig, fps),
            **mesh_obj(surface, "mesh"),
            "mesh.ply": mesh_ply(surface),
            "mesh.stl": mesh_stl(surface),
        }
    files["README.txt"] = _readme(rig, surface, fps).encode()
    return write_files(folder, files)


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """The paths of the files, all of them in `folder` with these contents. None appears before all are written.

    Args:
        files: contents by path inside the folder, with slashes.
    """
    paths = [folder / name for name in files]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    try:
        for part, data in zip(parts, files.values(), strict=True):
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return paths


def _readme(rig: Rig, surface: Surface | None, fps: float) -> str:
    degrees = np.degrees(rig.angle_of_view(rig.width))
    text = f"""{IMAGES}/: {len(rig)} frames of {rig.width}x{rig.height} pixels, {degrees:.4g} degrees wide. Cameras:

transforms.json        nerfstudio, instant-ngp. nerfstudio leaves the cameras where they are only if told so:
                       ns-train splatfacto --data . nerfstudio-data --center-method none --auto-scale-poses False
transforms_train.json  NeRF's Blender scenes. Loaders that also want transforms_val.json or transforms_test.json
                       are content with copies.
{COLMAP}/*.txt         COLMAP's text model. Gaussian splatting trains from this folder as it is.

World: z up, the object at the origin with a longest side of about 1, the input view's camera on the -y side.
"""
    if surface is None:
        return text
    more = ", mesh.mtl, mesh.png" if surface.texture is not None else ""
    return f"""{text}
{POINTS}             Coloured points for the above to begin from.
mesh.glb               The mesh in unlit colours with the animated camera; y up. In Blender, set the frame rate to
                       {fps:g} before importing: then frames 0 to {len(rig) - 1} are those of the clip, seen through the
                       object "orbit camera".
mesh.obj{more}
                       y up.
mesh.ply, mesh.stl     z up; STL has no colours.
"""
