"""Compiled: where rays meet solids, how much light gets to a point, and which material lies there."""

from __future__ import annotations

from math import floor, sqrt

from studio.scene.toybox.compiled import inner
from studio.scene.toybox.distance import FAR, KEEP, UNION, Packed, join, part_distance, scene_distance, solid_distance
from studio.scene.toybox.skies import REACH, SOFTNESS, cloud, smooth

ALBEDO, ROUGH, METAL, COAT, GLASS, GLOW, PATTERN = 0, 3, 4, 5, 6, 7, 8
"""Columns of a material: colour (linear rgb), roughness, is it metal, lacquer, glass, does it shine, its pattern."""

MATERIAL_SIZE = 9
NO_PATTERN, GRAIN, STONE, STRIPES, DOTS, BRICKS, VEINS, CHECKS = range(8)

SKY, FLOOR = -2, -1
"""What a ray meets that meets no solid."""

_STEPS = 160
_PRECISE = 1.5e-4


@inner()
def march(packed: Packed, o: int, ox, oy, oz, dx, dy, dz, t: float, end: float, sign: float) -> float:
    """Along the ray from `t`, where it meets the solid's surface before `end`, else FAR; sign -1: from within."""
    for _ in range(_STEPS):
        d = sign * solid_distance(packed, o, ox + t * dx, oy + t * dy, oz + t * dz)
        if d < _PRECISE * (1 + 0.15 * t):
            return t
        t += d
        if t > end:
            return FAR
    return t if d < 0.01 else FAR


@inner()
def trace(packed: Packed, ox, oy, oz, dx, dy, dz):
    """The first thing on a ray: (distance, number of the solid or FLOOR or SKY)."""
    best, hit = FAR, SKY
    if dy < -1e-6 and oy > 0:
        t = -oy / dy
        x, z = ox + t * dx, oz + t * dz
        if x * x + z * z < packed.light[REACH] ** 2:
            best, hit = t, FLOOR
    s = packed.solids
    for o in range(s.shape[0]):
        cx, cy, cz = s[o, 0] - ox, s[o, 1] - oy, s[o, 2] - oz
        b = cx * dx + cy * dy + cz * dz
        off = s[o, 3] * s[o, 3] - (cx * cx + cy * cy + cz * cz) + b * b
        if off < 0:
            continue
        half = sqrt(off)
        if b + half < 0 or b - half > best:
            continue
        t = march(packed, o, ox, oy, oz, dx, dy, dz, max(b - half, 1e-3), min(b + half, best), 1.0)
        if t < best:
            best, hit = t, o
    return best, hit


@inner()
def lit(packed: Packed, x, y, z, lx, ly, lz) -> float:
    """How much of the key light gets to a point, [0, 1]: soft edges from the nearest miss (Quilez, "Soft shadows")."""
    w = packed.light[SOFTNESS]
    open_ = 1.0
    s = packed.solids
    for o in range(s.shape[0]):
        cx, cy, cz = s[o, 0] - x, s[o, 1] - y, s[o, 2] - z
        along = cx * lx + cy * ly + cz * lz
        if along < -s[o, 3]:
            continue
        wide = s[o, 3] + w * max(along + s[o, 3], 0.0)
        off = wide * wide - (cx * cx + cy * cy + cz * cz) + along * along
        if off <= 0:
            continue
        half = sqrt(off)
        t, end, least = max(along - half, 0.006), along + half, 1.0
        for _ in range(64):
            h = solid_distance(packed, o, x + t * lx, y + t * ly, z + t * lz)
            least = min(least, 0.5 + 0.5 * h / (w * t))
            if least <= 0:
                break
            clear = (h - w * t) / (1 + w)  # until there nothing can be nearer than the edge of the shadow is wide
            t += max(clear, min(max(abs(h), 0.012 + 0.01 * t), 0.35))
            if t > end:
                break
        least = max(least, 0.0)
        least = least * least * (3 - 2 * least)
        if s[o, 7] > 0:
            least = 0.5 + 0.5 * least
        open_ *= least
        if open_ < 0.004:
            return 0.0
    return open_


@inner()
def unhidden(packed: Packed, x, y, z, nx, ny, nz) -> float:
    """How much of what is around a point can be seen from it, [0, 1], from five distances along the normal."""
    hidden, weight = 0.0, 1.0
    for i in range(5):
        h = 0.03 + 0.05 * i * (1 + 0.55 * i)
        d = scene_distance(packed, x + h * nx, y + h * ny, z + h * nz, h)
        hidden += (h - d) / h * weight
        weight *= 0.78
    return max(0.0, 1 - 0.26 * hidden)


@inner()
def _figure(pattern: int, x: float, y: float, z: float, nx: float, nz: float) -> float:
    """How much of the second colour there is, [0, 1], at a point of the thing's own frame."""
    if pattern == GRAIN:
        rings = (z + 0.8 * y) * 8 + 3.2 * cloud(x * 0.9, (z + y) * 2 + 5, 3, 0.0)
        wave = rings - floor(rings)
        return 0.42 * smooth(0.0, 0.8, wave) * smooth(1.0, 0.85, wave) + 0.4 * cloud(x * 4, (y + z) * 45, 2, 0.0)
    if pattern == STONE:
        return 0.75 * cloud(x * 5 + y * 3, z * 5 - y * 4, 4, 0.0)
    if pattern == STRIPES:
        w = y * 5
        w = abs(w - floor(w) - 0.5)
        return smooth(0.27, 0.23, w)
    if pattern == DOTS:
        u, v, w = x * 4.2 + 0.5, y * 4.2 + 0.5, z * 4.2 + 0.5
        u, v, w = u - floor(u) - 0.5, v - floor(v) - 0.5, w - floor(w) - 0.5
        return smooth(0.36, 0.33, sqrt(u * u + v * v + w * w))
    if pattern == BRICKS:
        row = floor(y * 9)
        u = (z if abs(nx) > abs(nz) else x) * 4 + 0.5 * (row - 2 * floor(row / 2))
        v = y * 9 - row
        u = u - floor(u)
        return max(smooth(0.06, 0.03, min(u, 1 - u)), smooth(0.13, 0.08, min(v, 1 - v)))
    if pattern == VEINS:
        bend = cloud(x * 2 + y, z * 2 - y, 4, 0.0)
        return smooth(0.16, 0.0, abs(bend - 0.5) * 2)
    if pattern == CHECKS:
        return abs((floor(x * 4) + floor(y * 4 + 0.01) + floor(z * 4)) % 2)
    return 0.0


@inner()
def material_at(packed: Packed, o: int, x, y, z, nx, nz):
    """(row of the material, linear r, g, b) of a solid at a point of its surface; colours flow where parts melt."""
    parts, kinds, materials = packed.parts, packed.kinds, packed.materials
    d, row, r, g, b = FAR, 0, 0.0, 0.0, 0.0
    for i in range(packed.spans[o, 0], packed.spans[o, 1]):
        px, py, pz = x - parts[i, 0], y - parts[i, 1], z - parts[i, 2]
        at_least = sqrt(px * px + py * py + pz * pz) - parts[i, 19]
        other = part_distance(parts, kinds[i, 0], i, px, py, pz, at_least)
        how, k = kinds[i, 1], parts[i, 18]
        gain = d - other if how == UNION else (other if how == KEEP else -other) - d
        share = min(max(0.5 + 0.5 * gain / k, 0.0), 1.0) if k > 0 else (1.0 if gain > 0 else 0.0)
        if share > 0:
            m = kinds[i, 2]
            cr, cg, cb = materials[m, ALBEDO], materials[m, ALBEDO + 1], materials[m, ALBEDO + 2]
            pattern = int(materials[m, PATTERN])
            if pattern != NO_PATTERN:
                s, scale = packed.solids, 1 / parts[i, 20]
                mix = _figure(pattern, (x - s[o, 4]) * scale, (y - s[o, 5]) * scale, (z - s[o, 6]) * scale, nx, nz)
                if pattern in (STRIPES, DOTS, BRICKS, CHECKS):
                    white = 0.62 if pattern == BRICKS else 0.86
                    cr, cg, cb = cr + (white - cr) * mix, cg + (white - cg) * mix, cb + (white - cb) * mix
                else:
                    dark = 1 - 0.72 * mix
                    cr, cg, cb = cr * dark, cg * dark, cb * dark
            r, g, b = r + (cr - r) * share, g + (cg - g) * share, b + (cb - b) * share
            if share >= 0.5:
                row = m
        d = join(d, other, how, k)
    return row, r, g, b
