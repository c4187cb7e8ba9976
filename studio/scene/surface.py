"""`Surface`: a triangle mesh with its colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles in the world of `studio.scene.orbit`, coloured by vertex or by a texture, or not at all.

    Args:
        vertices: float64 (V, 3), finite.
        faces: int32 (F, 3), counter-clockwise seen from outside.
        colours: uint8 (V, 3), sRGB, or None.
        uv: float32 (F, 3, 2), where in the texture each corner of each face lies, or None: u to the right, v upwards,
            (0, 0) the lower left corner of the lower left pixel and (1, 1) the upper right one of the upper right.
        texture: uint8 (H, W, 3), sRGB, or None; with `uv` or not at all.

    Raises:
        ValueError: the arrays do not have these shapes or types, or a face names a vertex that is not there.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check("vertices", self.vertices, np.float64, (None, 3))
        _check("faces", self.faces, np.int32, (None, 3))
        vertices, faces = len(self.vertices), len(self.faces)
        if not np.isfinite(self.vertices).all():
            raise ValueError("surface: vertices are not all finite.")
        if faces and not (self.faces.min() >= 0 and self.faces.max() < vertices):
            raise ValueError(f"surface: faces name vertices up to {self.faces.max()} of {vertices}.")
        if self.colours is not None:
            _check("colours", self.colours, np.uint8, (vertices, 3))
        if (self.uv is None) != (self.texture is None):
            raise ValueError("surface: uv and texture go together; one of them is None.")
        if self.uv is not None and self.texture is not None:
            _check("uv", self.uv, np.float32, (faces, 3, 2))
            _check("texture", self.texture, np.uint8, (None, None, 3))
            if not self.texture.size:
                raise ValueError("surface: the texture has no pixels.")

    def __repr__(self) -> str:
        said = [f"{len(self.vertices)} vertices", f"{len(self.faces)} faces"]
        if self.colours is not None:
            said.append("coloured")
        if self.texture is not None:
            said.append(f"texture {self.texture.shape[1]}x{self.texture.shape[0]}")
        return f"Surface({', '.join(said)})"

    def with_colours(self, colours: np.ndarray) -> Surface:
        """The same triangles with these vertex colours and no texture."""
        return replace(self, colours=colours, uv=None, texture=None)

    def to_trimesh(self) -> trimesh.Trimesh:
        """A `trimesh.Trimesh` of the same vertices and faces in the same order, with the vertex colours if any.

        The texture does not go along: it would have to be a Pillow image.
        """
        import trimesh  # slow to import, and rendering does not need it

        return trimesh.Trimesh(self.vertices, self.faces, vertex_colors=self.colours, process=False)


def _check(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(f"surface: {name} {array.dtype}{list(array.shape)} is not {np.dtype(dtype)} ({wanted}).")
