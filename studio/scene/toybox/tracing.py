"""Compiled: the colour at the end of a ray, and the entry that renders rows of a picture."""

from __future__ import annotations

from math import exp, sqrt

from studio.scene.toybox.compiled import inner, kept
from studio.scene.toybox.distance import FAR, Packed, normal
from studio.scene.toybox.march import (
    COAT,
    FLOOR,
    GLASS,
    GLOW,
    METAL,
    ROUGH,
    SKY,
    lit,
    march,
    material_at,
    trace,
    unhidden,
)
from studio.scene.toybox.skies import (
    AMBIENT,
    BOUNCE,
    EXPOSURE,
    FADE,
    FLOOR_KIND,
    FOG,
    HORIZON,
    KEY,
    KEY_COLOUR,
    REACH,
    RIM,
    WATER,
    ZENITH,
    floor_look,
    sky,
    smooth,
)


@inner()
def _lighten(packed: Packed, x, y, z, nx, ny, nz, dx, dy, dz, rough, metal, coat):
    """Light that a point sends back along the ray: what its colour has a part in (r, g, b), a highlight (r, g, b)."""
    light = packed.light
    lx, ly, lz = light[KEY], light[KEY + 1], light[KEY + 2]
    facing = nx * lx + ny * ly + nz * lz
    key, shine = 0.0, 0.0
    if facing > 0:
        seen = lit(packed, x + 2e-3 * nx, y + 2e-3 * ny, z + 2e-3 * nz, lx, ly, lz)
        key = facing * seen
        if seen > 0:
            hx, hy, hz = lx - dx, ly - dy, lz - dz
            h = sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
            hn = max((hx * nx + hy * ny + hz * nz) / h, 0.0)
            a2 = rough**4 + 1e-5
            bell = a2 / ((hn * hn * (a2 - 1) + 1) ** 2 * 3.14159265)
            shine = min(bell * (0.02 + 0.06 * coat + 0.5 * metal), 12.0) * key
    around = light[AMBIENT] * unhidden(packed, x, y, z, nx, ny, nz)
    up = 0.5 + 0.5 * ny
    back = max(0.0, -(nx * lx + nz * lz)) * light[RIM] * (0.4 + 0.6 * up)
    r = key * light[KEY_COLOUR] + around * (
        light[BOUNCE] * (1 - up) + (0.5 * light[ZENITH] + 0.5 * light[HORIZON]) * up + back
    )
    g = key * light[KEY_COLOUR + 1] + around * (
        light[BOUNCE + 1] * (1 - up) + (0.5 * light[ZENITH + 1] + 0.5 * light[HORIZON + 1]) * up + back
    )
    b = key * light[KEY_COLOUR + 2] + around * (
        light[BOUNCE + 2] * (1 - up) + (0.5 * light[ZENITH + 2] + 0.5 * light[HORIZON + 2]) * up + back
    )
    for i in range(packed.lamps.shape[0]):
        p = packed.lamps
        vx, vy, vz = p[i, 0] - x, p[i, 1] - y, p[i, 2] - z
        far2 = vx * vx + vy * vy + vz * vz + 1e-9
        fall = max(0.15 + 0.85 * (vx * nx + vy * ny + vz * nz) / sqrt(far2), 0.0) / (0.25 + far2)
        r, g, b = r + p[i, 3] * fall, g + p[i, 4] * fall, b + p[i, 5] * fall
    return r, g, b, shine * light[KEY_COLOUR], shine * light[KEY_COLOUR + 1], shine * light[KEY_COLOUR + 2]


@inner()
def _surface(packed: Packed, hit: int, t, ox, oy, oz, dx, dy, dz, pixel: float):
    """What lies at the end of a ray of length `t`.

    Linear colour (r, g, b), normal (x, y, z), how much it mirrors (r, g, b), share of glass.
    """
    light = packed.light
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    if hit == FLOOR:
        cr, cg, cb, tx, tz, gloss = floor_look(light, x, z, t * pixel / max(-dy, 0.03))
        n = sqrt(tx * tx + tz * tz + 1)
        nx, ny, nz = -tx / n, 1 / n, -tz / n
        water = light[FLOOR_KIND] == WATER
        rough, coat = (0.12, 1.0) if water else (0.75 - 0.5 * gloss, gloss)
        r, g, b, sr, sg, sb = _lighten(packed, x, 0.0, z, nx, ny, nz, dx, dy, dz, rough, 0.0, coat)
        grazing = 1 - max(0.0, -(dx * nx + dy * ny + dz * nz))
        mirror = gloss * (0.045 + 0.7 * grazing**5)
        return cr * r + sr, cg * g + sg, cb * b + sb, nx, ny, nz, mirror, mirror, mirror, 0.0
    nx, ny, nz = normal(packed, hit, x, y, z)
    row, cr, cg, cb = material_at(packed, hit, x, y, z, nx, nz)
    m = packed.materials
    metal, coat, glass, glow = m[row, METAL], m[row, COAT], m[row, GLASS], m[row, GLOW]
    r, g, b, sr, sg, sb = _lighten(packed, x, y, z, nx, ny, nz, dx, dy, dz, m[row, ROUGH], metal, coat)
    body = (1 - metal) * (1 - 0.9 * glass)
    facing = max(0.0, -(dx * nx + dy * ny + dz * nz))
    fresnel = (1 - facing) ** 5
    r = cr * (body * r + glow) + sr * (1 - metal + metal * cr)
    g = cg * (body * g + glow) + sg * (1 - metal + metal * cg)
    b = cb * (body * b + glow) + sb * (1 - metal + metal * cb)
    plain = coat * (0.04 + 0.66 * fresnel)
    shadow = 0.35 + 0.65 * smooth(-0.6, 0.1, ny)
    mr = shadow * (metal * (cr + (1 - cr) * fresnel) + (1 - metal) * plain)
    mg = shadow * (metal * (cg + (1 - cg) * fresnel) + (1 - metal) * plain)
    mb = shadow * (metal * (cb + (1 - cb) * fresnel) + (1 - metal) * plain)
    return r, g, b, nx, ny, nz, mr, mg, mb, glass


@inner()
def _veil(packed: Packed, hit: int, t, ox, oz, dx, dy, dz, r, g, b):
    """A colour seen through what is between: fog, and the far floor's going over into the sky."""
    light = packed.light
    veil = 1 - exp(-light[FOG] * t)
    if hit == FLOOR:
        x, z = ox + t * dx, oz + t * dz
        veil += (1 - veil) * smooth(light[FADE] * light[REACH], light[REACH], sqrt(x * x + z * z))
    if veil <= 0.002:
        return r, g, b
    fr, fg, fb = sky(light, dx, max(dy, 0.0), dz, 0.0)
    return r + (fr - r) * veil, g + (fg - g) * veil, b + (fb - b) * veil


@inner()
def _second(packed: Packed, ox, oy, oz, dx, dy, dz, pixel: float):
    """What a mirror or a lens shows in a direction: the scene once, whose own mirrors show only the sky."""
    t, hit = trace(packed, ox, oy, oz, dx, dy, dz)
    if hit == SKY:
        return sky(packed.light, dx, dy, dz, 1.0)
    r, g, b, nx, ny, nz, mr, mg, mb, glass = _surface(packed, hit, t, ox, oy, oz, dx, dy, dz, pixel)
    if mr + mg + mb > 0.01 or glass > 0:
        k = 2 * (dx * nx + dy * ny + dz * nz)
        er, eg, eb = sky(packed.light, dx - k * nx, abs(dy - k * ny), dz - k * nz, 1.0)
        r, g, b = r + mr * er, g + mg * eg, b + mb * eb
        if glass > 0:
            er, eg, eb = sky(packed.light, dx, abs(dy), dz, 0.0)
            r, g, b = r + 0.75 * glass * er, g + 0.75 * glass * eg, b + 0.75 * glass * eb
    return _veil(packed, hit, t, ox, oz, dx, dy, dz, r, g, b)


@inner()
def _through(packed: Packed, o: int, x, y, z, nx, ny, nz, dx, dy, dz, pixel: float):
    """What is seen through glass: bent once on the way in and once on the way out; (r, g, b, way within)."""
    eta = 1 / 1.45
    c = -(dx * nx + dy * ny + dz * nz)
    k = eta * c - sqrt(max(0.0, 1 - eta * eta * (1 - c * c)))
    rx, ry, rz = eta * dx + k * nx, eta * dy + k * ny, eta * dz + k * nz
    t = march(packed, o, x, y, z, rx, ry, rz, 0.012, 12.0, -1.0)
    if t >= FAR:
        t = 0.02
    x, y, z = x + t * rx, y + t * ry, z + t * rz
    mx, my, mz = normal(packed, o, x, y, z)
    c = rx * mx + ry * my + rz * mz
    bent = 1 - 1.45 * 1.45 * (1 - c * c)
    if bent > 0:
        k = sqrt(bent) - 1.45 * c
        rx, ry, rz = 1.45 * rx + k * mx, 1.45 * ry + k * my, 1.45 * rz + k * mz
    else:  # it would be mirrored within; it is let out on the mirrored way, as if the far wall were open
        rx, ry, rz = rx - 2 * c * mx, ry - 2 * c * my, rz - 2 * c * mz
        x, y, z = x - 0.02 * mx, y - 0.02 * my, z - 0.02 * mz
        t2 = march(packed, o, x, y, z, rx, ry, rz, 0.012, 12.0, -1.0)
        if t2 < FAR:
            x, y, z = x + t2 * rx, y + t2 * ry, z + t2 * rz
            t += t2
    r, g, b = _second(packed, x + 4e-3 * rx, max(y + 4e-3 * ry, 1e-4), z + 4e-3 * rz, rx, ry, rz, pixel)
    return r, g, b, t


@inner()
def _radiance(packed: Packed, ox, oy, oz, dx, dy, dz, pixel: float):
    """What a camera's ray sees: linear (r, g, b), the distance (FAR: sky) and the number of what it meets."""
    t, hit = trace(packed, ox, oy, oz, dx, dy, dz)
    if hit == SKY:
        r, g, b = sky(packed.light, dx, dy, dz, 0.0)
        return r, g, b, FAR, SKY
    r, g, b, nx, ny, nz, mr, mg, mb, glass = _surface(packed, hit, t, ox, oy, oz, dx, dy, dz, pixel)
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    if mr + mg + mb > 0.012:
        k = 2 * (dx * nx + dy * ny + dz * nz)
        wx, wy, wz = dx - k * nx, dy - k * ny, dz - k * nz
        if hit == FLOOR and wy < 0.02:
            wy = 0.02
        er, eg, eb = _second(packed, x + 3e-3 * nx, y + 3e-3 * ny, z + 3e-3 * nz, wx, wy, wz, 2 * pixel)
        r, g, b = r + mr * er, g + mg * eg, b + mb * eb
    if glass > 0:
        er, eg, eb, way = _through(packed, hit, x, y, z, nx, ny, nz, dx, dy, dz, 2 * pixel)
        _, cr, cg, cb = material_at(packed, hit, x, y, z, nx, nz)
        clear = glass * (1 - 0.04 - 0.6 * (1 - max(0.0, -(dx * nx + dy * ny + dz * nz))) ** 5)
        thick = min(0.25 + way * 1.6, 1.8)
        r += clear * er * max(cr, 1e-3) ** thick
        g += clear * eg * max(cg, 1e-3) ** thick
        b += clear * eb * max(cb, 1e-3) ** thick
    r, g, b = _veil(packed, hit, t, ox, oz, dx, dy, dz, r, g, b)
    return r, g, b, t, hit


@inner()
def _film(x: float) -> float:
    """Scene light to what a screen shows, [0, 1] linear: a soft shoulder (fit by Narkowicz, 2015)."""
    x = max(x, 0.0) * 0.72
    return min(max(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0), 1.0)


def _rows(digest):
    def rows(packed, pose, lens, first, last, offsets, wanted, rgb, depth, ids):
        """Renders rows `first` to `last` of the pixels in `wanted`, each as the mean of rays at `offsets`.

        Args:
            packed: `Packed`.
            pose: float64 (4, 4) camera to world of a camera whose y is down and z is forward.
            lens: float64 (3,): focal length and principal point, pixels.
            offsets: float64 (n, 2), pixels from the pixel's centre; where n is 1, depth and ids are written too.
            wanted: bool (H, W).
            rgb: float32 (H, W, 3), linear, what a screen shows.
            depth: float32 (H, W) along the optical axis; inf where sky.
            ids: int16 (H, W): number of the solid, FLOOR or SKY.
        """
        _ = digest
        many = offsets.shape[0]
        for v in range(first, last):
            for u in range(rgb.shape[1]):
                if not wanted[v, u]:
                    continue
                tr, tg, tb = 0.0, 0.0, 0.0
                for i in range(many):
                    cx = (u + offsets[i, 0] - lens[1]) / lens[0]
                    cy = (v + offsets[i, 1] - lens[2]) / lens[0]
                    n = sqrt(cx * cx + cy * cy + 1)
                    dx = (pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2]) / n
                    dy = (pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2]) / n
                    dz = (pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2]) / n
                    r, g, b, t, hit = _radiance(packed, pose[0, 3], pose[1, 3], pose[2, 3], dx, dy, dz, 1 / lens[0])
                    e = packed.light[EXPOSURE]
                    tr, tg, tb = tr + _film(r * e), tg + _film(g * e), tb + _film(b * e)
                    if many == 1:
                        depth[v, u] = t / n if hit != SKY else float("inf")
                        ids[v, u] = hit
                rgb[v, u, 0], rgb[v, u, 1], rgb[v, u, 2] = tr / many, tg / many, tb / many

    return rows


render_rows = kept(_rows)
