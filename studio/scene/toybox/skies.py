"""Compiled: what is seen where a ray meets no solid, sky or floor, and the noise that both are made of."""

from __future__ import annotations

from math import atan2, exp, floor, sin, sqrt

import numpy as np

from studio.scene.toybox.compiled import inner

PLAIN, CHECKER, WOOD, GRASS, WATER, SAND, SNOW, TILES, MARBLE = range(9)

KEY, KEY_COLOUR, ZENITH, HORIZON, BOUNCE, FLOOR_A, FLOOR_B = range(0, 21, 3)
"""Where in the light's array a direction or a colour (linear rgb) begins."""

FOG, SOFTNESS, EXPOSURE, STARS, CLOUDS, DISC, BOXES, AMBIENT, FLOOR_KIND, GLOSS, REACH, FADE, RIM = range(21, 34)
"""Where a number stands: fog a unit, half-width of a shadow's edge a unit, exposure, how much of each thing in the sky,
soft boxes in reflections, light from all around, the floor's texture and shine, how far the floor goes, from which part
of that it fades, light from behind."""

LIGHT_SIZE = 34


@inner()
def smooth(low: float, high: float, x: float) -> float:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@inner()
def scatter(x: int, y: int, z: int) -> float:
    """A number in [0, 1) that looks random, the same for the same three whole numbers."""
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 668265263) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@inner()
def noise(x: float, y: float) -> float:
    """Smooth noise in [0, 1), about one bump a unit."""
    ix, iy = floor(x), floor(y)
    u, v = x - ix, y - iy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    top = scatter(ix, iy, 0) * (1 - u) + scatter(ix + 1, iy, 0) * u
    low = scatter(ix, iy + 1, 0) * (1 - u) + scatter(ix + 1, iy + 1, 0) * u
    return top * (1 - v) + low * v


@inner()
def cloud(x: float, y: float, octaves: int, blur: float) -> float:
    """Fractal noise in [0, 1); what is finer than `blur` units is left out, so that it doesn't flicker."""
    total, size, norm = 0.0, 0.5, 0.0
    for _ in range(octaves):
        keep = 1 - smooth(0.35, 1.0, blur)
        total += size * (0.5 + keep * (noise(x, y) - 0.5))
        norm += size
        size *= 0.5
        blur *= 2.03
        x, y = 1.62 * x + 1.19 * y + 7.7, -1.19 * x + 1.62 * y + 3.1
    return total / norm


@inner()
def sky(light: np.ndarray, dx: float, dy: float, dz: float, mirrored: float):
    """What is seen far off in a unit direction, linear (r, g, b); a mirror sees a studio's soft boxes and no stars."""
    up = max(dy, 0.0)
    high = smooth(0.0, 1.0, sqrt(up) * 1.05)
    r = light[HORIZON] + (light[ZENITH] - light[HORIZON]) * high
    g = light[HORIZON + 1] + (light[ZENITH + 1] - light[HORIZON + 1]) * high
    b = light[HORIZON + 2] + (light[ZENITH + 2] - light[HORIZON + 2]) * high
    toward = dx * light[KEY] + dy * light[KEY + 1] + dz * light[KEY + 2]
    if light[DISC] > 0 and dy > -0.02:
        glow = 0.30 * exp((toward - 1) * 9) + 0.55 * exp((toward - 1) * 110)
        glow = light[DISC] * (glow + 5.0 * smooth(0.99925, 0.9996, toward))
        r, g, b = r + glow * light[KEY_COLOUR], g + glow * light[KEY_COLOUR + 1], b + glow * light[KEY_COLOUR + 2]
    if light[STARS] > 0 and dy > 0.0 and mirrored == 0:  # in a mirror they look like dirt
        u, v = atan2(dx, dz) * 120, dy * 130
        iu, iv = floor(u), floor(v)
        lit = scatter(iu, iv, 5)
        if lit > 0.955:
            cu, cv = 0.3 + 0.4 * scatter(iu, iv, 6), 0.3 + 0.4 * scatter(iu, iv, 7)
            d = sqrt((u - iu - cu) ** 2 + (v - iv - cv) ** 2)
            star = light[STARS] * (lit - 0.955) * 22 * smooth(0.3, 0.0, d) * smooth(0.0, 0.18, dy)
            r, g, b = r + 0.9 * star, g + 0.95 * star, b + 1.1 * star
    if light[CLOUDS] > 0 and dy > 0.01:
        flat = 1.25 / (dy + 0.16)
        body = cloud(dx * flat + 11.3, dz * flat + 4.1, 5, 0.0)
        cover = light[CLOUDS] * smooth(0.5, 0.74, body) * smooth(0.02, 0.2, dy)
        shade = 0.80 + 0.35 * smooth(0.85, 0.5, body)
        white = 0.55 * shade
        r = r + (white * (0.5 + 0.18 * light[KEY_COLOUR]) + 0.35 * light[HORIZON] - r) * cover
        g = g + (white * (0.5 + 0.18 * light[KEY_COLOUR + 1]) + 0.35 * light[HORIZON + 1] - g) * cover
        b = b + (white * (0.5 + 0.18 * light[KEY_COLOUR + 2]) + 0.35 * light[HORIZON + 2] - b) * cover
    if mirrored > 0 and light[BOXES] > 0 and dy > 0.0:
        flat = 1 / (dy + 0.05)
        kx, kz = light[KEY] / light[KEY + 1], light[KEY + 2] / light[KEY + 1]
        px, pz = dx * flat - kx, dz * flat - kz
        box = smooth(0.62, 0.5, abs(px)) * smooth(0.62, 0.5, abs(pz))
        qx, qz = dx * flat + 1.5 * kx, dz * flat - 0.6 * kz
        box += 0.45 * smooth(0.9, 0.7, abs(qx)) * smooth(1.5, 1.3, abs(qz))
        box *= 4.2 * light[BOXES]
        r, g, b = r + box, g + box, b + box
    return r, g, b


@inner()
def _stripe(x: float, width: float, blur: float) -> float:
    """1 on a line of that width at each whole x, 0 between, softened by `blur` units."""
    x = abs(x - floor(x + 0.5))
    return smooth(0.5 * width + blur, 0.5 * width - blur * 0.5 - 1e-9, x) * min(1.0, (width + 0.02) / (blur + 0.02))


@inner()
def _square(x: float, blur: float) -> float:
    """The mean over `blur` of a wave that is +1 and -1 in turn, a unit each."""
    a, b = x - 0.5 * blur, x + 0.5 * blur
    ia = abs(2 * (a * 0.5 - floor(a * 0.5)) - 1)
    ib = abs(2 * (b * 0.5 - floor(b * 0.5)) - 1)
    return (ia - ib) / blur if blur > 1e-6 else 0.0


@inner()
def floor_look(light: np.ndarray, x: float, z: float, blur: float):
    """The floor at a point: linear albedo (r, g, b), tilt of the normal (x, z), shine in [0, 1].

    `blur` is how many units a pixel covers there.
    """
    kind = int(light[FLOOR_KIND])
    mix, shade, tilt_x, tilt_z, gloss = 0.0, 1.0, 0.0, 0.0, light[GLOSS]
    if kind == CHECKER:
        mix = 0.5 - 0.5 * _square(x * 1.5, blur * 1.5 + 1e-4) * _square(z * 1.5, blur * 1.5 + 1e-4)
        shade = 0.96 + 0.08 * cloud(x * 3, z * 3, 3, blur * 3)
    elif kind == WOOD:
        row = floor(z * 2.2)
        along = x * 0.45 + scatter(row, 3, 1)
        plank = scatter(row, floor(along), 2)
        grain = cloud(x * 1.6 + plank * 40, z * 26, 4, blur * 20)
        fine = cloud(x * 5 + plank * 90, z * 90, 2, blur * 70)
        mix = min(1.0, 0.15 + 0.55 * plank + 0.5 * (grain - 0.5))
        shade = (0.80 + 0.32 * grain) * (0.93 + 0.14 * fine)
        shade *= 1 - 0.65 * _stripe(z * 2.2, 0.022, blur * 2.2) - 0.45 * _stripe(along, 0.006, blur * 0.45)
        gloss *= 0.6 + 0.5 * grain
    elif kind == GRASS:
        mix = smooth(0.3, 0.7, cloud(x * 0.7, z * 0.7, 3, blur))
        blades = cloud(x * 46, z * 26, 3, blur * 22)
        tufts = cloud(x * 6, z * 6, 3, blur * 5)
        shade = 0.35 + 0.75 * blades + 0.7 * (tufts - 0.35)
        tilt_x, tilt_z = 0.5 * (blades - 0.5), 0.5 * (cloud(x * 29 + 9, z * 23, 2, blur * 16) - 0.5)
    elif kind == WATER:
        e = 0.02
        h = cloud(x * 1.7, z * 2.6, 4, blur * 1.5)
        far = 1 / (1 + blur * 14)
        tilt_x = (cloud((x + e) * 1.7, z * 2.6, 4, blur * 1.5) - h) / e * 0.10 * far
        tilt_z = (cloud(x * 1.7, (z + e) * 2.6, 4, blur * 1.5) - h) / e * 0.10 * far
        mix = h
    elif kind == SAND:
        bend = 1.1 * cloud(x * 0.6, z * 0.6, 3, blur)
        wave = (z + 0.25 * x + bend) * 9
        fade = 1 - smooth(0.1, 0.5, blur * 3)
        tilt_z = 0.16 * sin(wave) * fade
        tilt_x = 0.4 * tilt_z
        mix = cloud(x * 2, z * 2, 4, blur * 2)
        shade = 0.9 + 0.2 * cloud(x * 60, z * 60, 2, blur * 60)
    elif kind == SNOW:
        e = 0.05
        h = cloud(x * 0.9, z * 0.9, 4, blur)
        tilt_x = (cloud((x + e) * 0.9, z * 0.9, 4, blur) - h) / e * 0.35
        tilt_z = (cloud(x * 0.9, (z + e) * 0.9, 4, blur) - h) / e * 0.35
        mix = 0.5 * h
    elif kind == TILES:
        tile = scatter(floor(x * 1.4), floor(z * 1.4), 4)
        line = min(1.0, _stripe(x * 1.4, 0.045, blur * 1.4) + _stripe(z * 1.4, 0.045, blur * 1.4))
        mix = line
        shade = 0.93 + 0.12 * tile
        gloss *= 1 - line
    elif kind == MARBLE:
        bend = cloud(x * 0.8, z * 0.8, 5, blur)
        vein = abs(sin(2.3 * (x + 0.6 * z) + 7.5 * bend))
        mix = 0.75 * smooth(0.22, 0.0, vein) + 0.35 * smooth(0.45, 0.75, cloud(x * 2 + 5, z * 2, 4, blur * 2))
    r = (light[FLOOR_A] + (light[FLOOR_B] - light[FLOOR_A]) * mix) * shade
    g = (light[FLOOR_A + 1] + (light[FLOOR_B + 1] - light[FLOOR_A + 1]) * mix) * shade
    b = (light[FLOOR_A + 2] + (light[FLOOR_B + 2] - light[FLOOR_A + 2]) * mix) * shade
    return r, g, b, tilt_x, tilt_z, gloss
