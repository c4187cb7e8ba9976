"""A z-buffer: what a camera sees of a `Surface`, unlit.

Each pixel is a ray through its centre, tested against the three planes that a triangle's edges span with the camera
(Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997). Nothing is projected and divided,
so attributes are right in perspective and triangles that reach behind the camera need no clipping. Two triangles
that share an edge compute its plane alike but for the sign: no ray slips between them.

One call uses one thread and lets go of the GIL; callers render several frames at a time. No fused multiply-add and
no other loose arithmetic: the same surface gives the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil, floor

import numpy as np
from numba import njit

from studio.scene.camera import Camera
from studio.scene.kernel import kernel
from studio.scene.surface import Surface

NEAR = 1e-3
"""World units along the optical axis; what is nearer is not seen."""

BARE = 200
"""The grey of a surface without colours."""

_BAND = 64
"""Rows of samples that are worked on at a time, so that the buffers stay in the cache."""

_SLACK = 1e-6
"""Samples by which a triangle's box is wider than it must be; its edges decide."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """What a camera sees.

    Args:
        rgb: uint8 (H, W, 3), sRGB, not multiplied by alpha; black where there is nothing.
        alpha: uint8 (H, W): how much of the pixel is covered.
        depth: float32 (H, W), along the optical axis, world units: the nearest sample's; inf where there is nothing.
        face: int32 (H, W): the nearest sample's face, -1 where there is nothing.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    face: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W): where at least half of the pixel is covered."""
        return self.alpha >= 128

    def over(self, grey: int) -> np.ndarray:
        """uint8 (H, W, 3): the same before a background of that grey."""
        a = self.alpha[..., None].astype(np.uint16)
        return ((self.rgb * a + grey * (255 - a) + 127) // 255).astype(np.uint8)


def rasterise(surface: Surface, camera: Camera, width: int, height: int, *, supersample: int = 1) -> Rendered:
    """The surface as the camera sees it: its texture, else its vertex colours, else grey; both sides, no light.

    Args:
        supersample: samples a pixel along x and along y; 1 takes the pixel's centre, so that alpha is 0 or 255.
    """
    rgb = np.empty((height, width, 3), np.uint8)
    alpha = np.empty((height, width), np.uint8)
    depth = np.empty((height, width), np.float32)
    face = np.empty((height, width), np.int32)
    pose, k, s = camera.world_to_camera, camera.intrinsics, supersample
    points = surface.vertices @ pose[:3, :3].T + pose[:3, 3]
    centre = (s * k[0, 2] + (s - 1) / 2, s * k[1, 2] + (s - 1) / 2)
    lens = (s * k[0, 0], s * k[1, 1], *centre)
    colours = _NO_COLOURS if surface.colours is None else np.ascontiguousarray(surface.colours)
    uv = _NO_UV if surface.uv is None else np.ascontiguousarray(surface.uv)
    texture = _NO_TEXTURE if surface.texture is None else np.ascontiguousarray(surface.texture)
    faces = np.ascontiguousarray(surface.faces)
    _draw(np.ascontiguousarray(points), faces, lens, colours, uv, texture, s, rgb, alpha, depth, face)
    return Rendered(rgb, alpha, depth, face)


_NO_COLOURS = np.empty((0, 3), np.uint8)
_NO_UV = np.empty((0, 3, 2), np.float32)
_NO_TEXTURE = np.empty((0, 0, 3), np.uint8)


_inner = partial(njit, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inner()
def _corner(points, i):
    """(x, y, z); an array's row would be counted in and out each time."""
    return points[i, 0], points[i, 1], points[i, 2]


@_inner()
def _plane(p, q, sign, lens):
    """(A, B, C): the plane through the camera and the edge from p to q at sample (x, y) is A x + B y + C.

    From q to p it is the same to the last bit but for the sign.
    """
    fx, fy, cx, cy = lens
    nx = sign * (p[1] * q[2] - p[2] * q[1]) / fx
    ny = sign * (p[2] * q[0] - p[0] * q[2]) / fy
    nz = sign * (p[0] * q[1] - p[1] * q[0])
    return nx, ny, nz - nx * cx - ny * cy


@_inner()
def _volume(a, b, c):
    """Six times the volume of the tetrahedron that a triangle spans with the camera; > 0 where its back is seen."""
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@_inner()
def _box(a, b, c, lens, width, height):
    """(left, top, right, bottom): the samples that a triangle may cover, edges included; none where right < left."""
    fx, fy, cx, cy = lens
    left, top, right, bottom = 1.0 * width, 1.0 * height, -1.0, -1.0
    corners = (a, b, c)
    for i in range(3):
        p, q = corners[i], corners[(i + 1) % 3]
        for j in range(2):  # the corner, and where its edge comes from behind the camera
            x, y, z = p[0], p[1], p[2]
            if j == 1:
                if (p[2] < NEAR) == (q[2] < NEAR):
                    continue
                t = (NEAR - p[2]) / (q[2] - p[2])
                x, y, z = p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1]), NEAR
            elif z < NEAR:
                continue
            u, v = fx * x / z + cx, fy * y / z + cy
            left, right = min(left, u), max(right, u)
            top, bottom = min(top, v), max(bottom, v)
    return (
        ceil(min(max(left - _SLACK, 0.0), width)),
        ceil(min(max(top - _SLACK, 0.0), height)),
        floor(min(max(right + _SLACK, -1.0), width - 1.0)),
        floor(min(max(bottom + _SLACK, -1.0), height - 1.0)),
    )


@kernel
def _draw(points, faces, lens, colours, uv, texture, s, rgb, alpha, depth, face):
    """Fills rgb, alpha, depth and face; points (V, 3) in the camera's axes, lens (fx, fy, cx, cy) in samples."""
    height, width = alpha.shape
    boxes = np.empty((len(faces), 4), np.int32)
    for f in range(len(faces)):
        a, b, c = _corner(points, faces[f, 0]), _corner(points, faces[f, 1]), _corner(points, faces[f, 2])
        left, top, right, bottom = _box(a, b, c, lens, width * s, height * s)
        if right < left or _volume(a, b, c) == 0:
            top, bottom = 1, 0
        boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = left, top, right, bottom
    rows = max(1, _BAND // s)
    nearness = np.empty((rows * s, width * s))
    owner = np.empty((rows * s, width * s), np.int32)
    for start in range(0, height, rows):
        end = min(start + rows, height)
        nearness[:] = 0.0
        owner[:] = -1
        _cover(points, faces, lens, boxes, start * s, end * s, nearness, owner)
        _resolve(points, faces, lens, colours, uv, texture, s, start, end, nearness, owner, rgb, alpha, depth, face)


@_inner()
def _cover(points, faces, lens, boxes, start, end, nearness, owner):
    """Fills nearness (1 / z) and owner (face) of the rows of samples from start to end; of equals the first stays."""
    for f in range(len(faces)):
        top, bottom = max(boxes[f, 1], start), min(boxes[f, 3], end - 1)
        if top > bottom:
            continue
        a, b, c = _corner(points, faces[f, 0]), _corner(points, faces[f, 1]), _corner(points, faces[f, 2])
        volume = _volume(a, b, c)
        sign = 1.0 if volume > 0 else -1.0
        a0, b0, c0 = _plane(b, c, sign, lens)
        a1, b1, c1 = _plane(c, a, sign, lens)
        a2, b2, c2 = _plane(a, b, sign, lens)
        per_z = sign / volume
        for y in range(top, bottom + 1):
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            entered = False
            for x in range(boxes[f, 0], boxes[f, 2] + 1):
                e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                if e0 >= 0 and e1 >= 0 and e2 >= 0:
                    entered = True
                    near = (e0 + e1 + e2) * per_z
                    if near > nearness[y - start, x] and near * NEAR <= 1:
                        nearness[y - start, x] = near
                        owner[y - start, x] = f
                elif entered:  # rounding keeps what grows growing: a row that was left is not entered again
                    break


@_inner()
def _resolve(points, faces, lens, colours, uv, texture, s, start, end, nearness, owner, rgb, alpha, depth, face):
    """Colours the rows of pixels from start to end by the mean of their covered samples."""
    last = -1
    planes = _planes(points, faces, 0, lens) if len(faces) else _NO_PLANES
    for y in range(start, end):
        for x in range(alpha.shape[1]):
            red, green, blue, covered, nearest, front = 0.0, 0.0, 0.0, 0, 0.0, -1
            for j in range(s):
                for i in range(s):
                    row, column = (y - start) * s + j, x * s + i
                    f = owner[row, column]
                    if f < 0:
                        continue
                    if f != last:
                        last, planes = f, _planes(points, faces, f, lens)
                    r, g, b = _colour(planes, faces, colours, uv, texture, f, column, y * s + j)
                    red, green, blue = red + r, green + g, blue + b
                    covered += 1
                    if nearness[row, column] > nearest:
                        nearest, front = nearness[row, column], f
            if covered:
                rgb[y, x, 0] = int(red / covered + 0.5)
                rgb[y, x, 1] = int(green / covered + 0.5)
                rgb[y, x, 2] = int(blue / covered + 0.5)
            else:
                rgb[y, x, :] = 0
            alpha[y, x] = (covered * 255 + s * s // 2) // (s * s)
            depth[y, x] = 1 / nearest if covered else np.inf
            face[y, x] = front


_NO_PLANES = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@_inner()
def _planes(points, faces, f, lens):
    """Of a face, the planes through the camera and each edge, that opposite the first corner first."""
    a, b, c = _corner(points, faces[f, 0]), _corner(points, faces[f, 1]), _corner(points, faces[f, 2])
    return _plane(b, c, 1.0, lens), _plane(c, a, 1.0, lens), _plane(a, b, 1.0, lens)


@_inner()
def _colour(planes, faces, colours, uv, texture, f, x, y):
    """(r, g, b) in 0..255 of a face at a sample."""
    if not len(colours) and not len(uv):
        return 1.0 * BARE, 1.0 * BARE, 1.0 * BARE
    (a0, b0, c0), (a1, b1, c1), (a2, b2, c2) = planes
    e0, e1, e2 = a0 * x + b0 * y + c0, a1 * x + b1 * y + c1, a2 * x + b2 * y + c2
    whole = e0 + e1 + e2
    e0, e1, e2 = e0 / whole, e1 / whole, e2 / whole
    if len(uv):
        u = e0 * uv[f, 0, 0] + e1 * uv[f, 1, 0] + e2 * uv[f, 2, 0]
        v = e0 * uv[f, 0, 1] + e1 * uv[f, 1, 1] + e2 * uv[f, 2, 1]
        return _texel(texture, u, v)
    p, q, r = _corner(colours, faces[f, 0]), _corner(colours, faces[f, 1]), _corner(colours, faces[f, 2])
    return e0 * p[0] + e1 * q[0] + e2 * r[0], e0 * p[1] + e1 * q[1] + e2 * r[1], e0 * p[2] + e1 * q[2] + e2 * r[2]


@_inner()
def _texel(texture, u, v):
    """(r, g, b) in 0..255 of the texture, bilinear, its edges going on for ever."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1 - v) * height - 0.5, 0.0), height - 1.0)
    i, j = int(x), int(y)
    across, down = min(i + 1, width - 1), min(j + 1, height - 1)
    s, t = x - i, y - j
    p, q, r, w = (1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t
    return (
        p * texture[j, i, 0] + q * texture[j, across, 0] + r * texture[down, i, 0] + w * texture[down, across, 0],
        p * texture[j, i, 1] + q * texture[j, across, 1] + r * texture[down, i, 1] + w * texture[down, across, 1],
        p * texture[j, i, 2] + q * texture[j, across, 2] + r * texture[down, i, 2] + w * texture[down, across, 2],
    )
