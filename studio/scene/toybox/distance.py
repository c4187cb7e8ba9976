"""Signed distances of primitives and of the solids made of them, compiled.

Distances are exact or less than the true one (never more), so that a ray that steps by them passes through nothing:
box, cylinder, cone, torus, round cone and sphere are exact; ellipsoid, pyramid, roof and gem are bounds; so is what
smooth unions and cuts make of them. Formulas after Inigo Quilez, "Distance functions" (iquilezles.org), the bounds
are our own. Units are the scene's; y is up.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from studio.scene.toybox.compiled import inner

SPHERE, ELLIPSOID, BOX, CYLINDER, CONE, TORUS, ROUND_CONE, STAR, HEART, PYRAMID, ROOF, GEM = range(12)
UNION, CUT, KEEP = range(3)
"""How a part joins the parts before it: added, cut out of them, or only what is in both."""

FAR = 1e9
"""A distance beyond everything."""


class Packed(NamedTuple):
    """A scene as arrays, for the compiled functions.

    Args:
        solids: float64 (N, 8): centre and radius of a sphere around it, foot (x, y, z), 1 where it is of glass.
        spans: int64 (N, 2): its first part, and the one after its last.
        parts: float64 (M, 21): centre, rotation world to part (row-major), six sizes, smoothness, radius, scale.
        kinds: int64 (M, 3): primitive, how it joins, material.
        materials: float64 (K, 9): see `studio.scene.toybox.march`.
        light: float64 (L,): see `studio.scene.toybox.skies`.
        lamps: float64 (P, 6): position, colour.
    """

    solids: np.ndarray
    spans: np.ndarray
    parts: np.ndarray
    kinds: np.ndarray
    materials: np.ndarray
    light: np.ndarray
    lamps: np.ndarray


@inner()
def _box2(x: float, y: float, half_x: float, half_y: float) -> float:
    qx, qy = abs(x) - half_x, abs(y) - half_y
    return sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2) + min(max(qx, qy), 0.0)


@inner()
def _slab(flat: float, z: float, half: float) -> float:
    """Of a plane figure, `flat` away, that is `half` thick on either side."""
    qz = abs(z) - half
    return sqrt(max(flat, 0.0) ** 2 + max(qz, 0.0) ** 2) + min(max(flat, qz), 0.0)


@inner()
def _capped_cone(x: float, y: float, below: float, above: float, half: float) -> float:
    k1x, k1y = above, half
    k2x, k2y = above - below, 2 * half
    cax = x - min(x, below if y < 0 else above)
    cay = abs(y) - half
    t = min(max(((k1x - x) * k2x + (k1y - y) * k2y) / (k2x * k2x + k2y * k2y), 0.0), 1.0)
    cbx, cby = x - k1x + k2x * t, y - k1y + k2y * t
    d = sqrt(min(cax * cax + cay * cay, cbx * cbx + cby * cby))
    return -d if cbx < 0 and cay < 0 else d


@inner()
def _round_cone(x: float, y: float, below: float, above: float, high: float) -> float:
    b = (below - above) / high
    a = sqrt(max(0.0, 1 - b * b))
    k = -x * b + y * a
    if k < 0:
        return sqrt(x * x + y * y) - below
    if k > a * high:
        return sqrt(x * x + (y - high) ** 2) - above
    return x * a + y * b - below


@inner()
def _star(x: float, y: float, radius: float, inner_part: float) -> float:
    """Of a five-pointed star in the plane, one point up."""
    k1x, k1y = 0.809016994375, -0.587785252292
    x = abs(x)
    m = max(k1x * x + k1y * y, 0.0)
    x, y = x - 2 * m * k1x, y - 2 * m * k1y
    m = max(-k1x * x + k1y * y, 0.0)
    x, y = x + 2 * m * k1x, y - 2 * m * k1y
    x = abs(x)
    y -= radius
    bx, by = -k1y * inner_part, k1x * inner_part - 1.0
    h = min(max((x * bx + y * by) / (bx * bx + by * by), 0.0), radius)
    d = sqrt((x - bx * h) ** 2 + (y - by * h) ** 2)
    return d if y * bx - x * by > 0 else -d


@inner()
def _heart(x: float, y: float) -> float:
    """Of a heart in the plane, its tip at the origin, about 1.1 high."""
    x = abs(x)
    if y + x > 1.0:
        return sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - sqrt(2.0) / 4
    m = 0.5 * max(x + y, 0.0)
    d = sqrt(min(x * x + (y - 1) ** 2, (x - m) ** 2 + (y - m) ** 2))
    return d if x > y else -d


@inner()
def _primitive(kind: int, x: float, y: float, z: float, p: np.ndarray, i: int) -> float:
    """Of one primitive in its own frame; its sizes, all lengths, are in row `i` from column 12 on.

    No slice is made of the row: each would be counted in memory that all threads share.
    """
    s0, s1, s2, s3 = p[i, 12], p[i, 13], p[i, 14], p[i, 15]
    if kind == SPHERE:
        return sqrt(x * x + y * y + z * z) - s0
    if kind == ELLIPSOID:
        r = sqrt((x / s0) ** 2 + (y / s1) ** 2 + (z / s2) ** 2)
        return (r - 1) * min(s0, min(s1, s2))
    if kind == BOX:
        qx, qy, qz = abs(x) - s0 + s3, abs(y) - s1 + s3, abs(z) - s2 + s3
        out = sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
        return out + min(max(qx, max(qy, qz)), 0.0) - s3
    round_xz = sqrt(x * x + z * z)
    if kind == CYLINDER:
        return _box2(round_xz, y, s0 - s2, s1 - s2) - s2
    if kind == CONE:
        return _capped_cone(round_xz, y, s0, s1, s2) - s3
    if kind == TORUS:
        return sqrt((round_xz - s0) ** 2 + y * y) - s1
    if kind == ROUND_CONE:
        return _round_cone(round_xz, y, s0, s1, s2)
    if kind == STAR:
        flat = _star(x, y, s0, 0.45)
        return _slab(flat, z, s1) - s2
    if kind == HEART:
        flat = _heart(x / s0, y / s0) * s0
        return _slab(flat, z, s1) - s2
    ax, az = abs(x), abs(z)
    if kind == PYRAMID:  # foot at y = 0: half side, height
        slope = sqrt(s0 * s0 + s1 * s1)
        return max((max(ax, az) * s1 + (y - s1) * s0) / slope, -y) - s2
    if kind == ROOF:  # foot at y = 0: half width, height, half depth
        slope = sqrt(s0 * s0 + s1 * s1)
        return max((ax * s1 + (y - s1) * s0) / slope, max(-y, az - s2)) - s3
    sides = max(ax * 0.92387953 + az * 0.38268343, ax * 0.38268343 + az * 0.92387953)  # an eight-sided gem
    slope = sqrt(s0 * s0 + s1 * s1)
    below = sqrt(s0 * s0 + s2 * s2)
    return max((sides * s1 + (y - s1) * s0) / slope, (sides * s2 + (-y - s2) * s0) / below)


@inner()
def part_distance(parts: np.ndarray, kind: int, i: int, x: float, y: float, z: float, at_least: float) -> float:
    """From a point that is given relative to the part's centre; never less than to the sphere round the part."""
    p = parts
    d = _primitive(
        kind,
        p[i, 3] * x + p[i, 4] * y + p[i, 5] * z,
        p[i, 6] * x + p[i, 7] * y + p[i, 8] * z,
        p[i, 9] * x + p[i, 10] * y + p[i, 11] * z,
        p,
        i,
    )
    return max(d, at_least)


@inner()
def join(d: float, other: float, how: int, k: float) -> float:
    """The distance to what a part makes of the solid so far; quadratic smooth minimum within `k`."""
    if how == UNION:
        h = max(k - abs(d - other), 0.0) / k if k > 0 else 0.0
        return min(d, other) - h * h * k * 0.25
    if how == CUT:
        other = -other
    h = max(k - abs(d - other), 0.0) / k if k > 0 else 0.0
    return max(d, other) + h * h * k * 0.25


@inner()
def solid_distance(packed: Packed, solid: int, x: float, y: float, z: float) -> float:
    """From a point of the world to one solid. Parts too far off to matter are passed over, which changes nothing."""
    d = FAR
    parts, kinds = packed.parts, packed.kinds
    for i in range(packed.spans[solid, 0], packed.spans[solid, 1]):
        px, py, pz = x - parts[i, 0], y - parts[i, 1], z - parts[i, 2]
        how, k = kinds[i, 1], parts[i, 18]
        radius, far2 = parts[i, 19], px * px + py * py + pz * pz
        reach = radius + (d + k if how == UNION else k - d)
        if how != KEEP and (reach <= 0 or far2 > reach * reach):
            continue
        at_least = sqrt(far2) - radius
        d = join(d, part_distance(parts, kinds[i, 0], i, px, py, pz, at_least), how, k)
    return d


@inner()
def scene_distance(packed: Packed, x: float, y: float, z: float, reach: float) -> float:
    """From a point to the nearest solid or the floor, or `reach` where that is nearer."""
    d = min(reach, y)
    s = packed.solids
    for o in range(s.shape[0]):
        if (x - s[o, 0]) ** 2 + (y - s[o, 1]) ** 2 + (z - s[o, 2]) ** 2 < (max(d, 0.0) + s[o, 3]) ** 2:
            d = min(d, solid_distance(packed, o, x, y, z))
    return d


@inner()
def normal(packed: Packed, solid: int, x: float, y: float, z: float):
    """The unit normal of a solid at a point of its surface: (x, y, z), by differences on a tetrahedron."""
    e = 4e-4
    nx, ny, nz = 0.0, 0.0, 0.0
    for i in range(4):  # a loop, so that the distance is compiled into it once
        kx, ky, kz = 2.0 * ((i + 3) // 2 % 2) - 1, 2.0 * (i // 2) - 1, 2.0 * (i % 2) - 1
        d = solid_distance(packed, solid, x + e * kx, y + e * ky, z + e * kz)
        nx, ny, nz = nx + d * kx, ny + d * ky, nz + d * kz
    length = sqrt(nx * nx + ny * ny + nz * nz) + 1e-30
    return nx / length, ny / length, nz / length
