"""What is seen where a ray meets no solid, in torch: `studio.scene.toybox.skies` on many points at once.

The same arithmetic in float32. Lights are float32 (n, LIGHT_SIZE), a row a point; see `studio.scene.toybox.skies`.
"""

from __future__ import annotations

import torch

from studio.scene.toybox import skies as s

Tensor = torch.Tensor


def smooth(low: float | Tensor, high: float | Tensor, x: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def scatter(x: Tensor, y: Tensor, z: int) -> Tensor:
    """float32 in [0, 1]: a number that looks random, the same for the same whole numbers (int32)."""
    h = x * 374761393 + y * 668265263 + _signed(z * 1440662683)
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1274126177
    h = (h ^ ((h >> 15) & 0x1FFFF)) * 668265263
    h = (h ^ ((h >> 16) & 0xFFFF)).float() * (1 / 4294967296.0)
    return torch.where(h < 0, h + 1, h)


def _signed(h: int) -> int:
    """The same 32 bits as a number of int32."""
    return (h + (1 << 31)) % (1 << 32) - (1 << 31)


def noise(x: Tensor, y: Tensor) -> Tensor:
    """Smooth noise in [0, 1], about one bump a unit."""
    fx, fy = x.floor(), y.floor()
    u, v = x - fx, y - fy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    ix, iy = fx.int(), fy.int()
    corners = scatter(torch.stack([ix, ix, ix + 1, ix + 1]), torch.stack([iy, iy + 1, iy, iy + 1]), 0)
    left_right = torch.lerp(corners[:2], corners[2:], u)
    return torch.lerp(left_right[0], left_right[1], v)


def cloud(x: Tensor, y: Tensor, octaves: int, blur: Tensor | float = 0.0) -> Tensor:
    """Fractal noise in [0, 1]; what is finer than `blur` units is left out, so that it doesn't flicker."""
    xs, ys = [x], [y]
    for _ in range(1, octaves):
        xs.append(1.62 * x + 1.19 * y + 7.7)
        ys.append(-1.19 * x + 1.62 * y + 3.1)
        x, y = xs[-1], ys[-1]
    wave = noise(torch.stack(xs), torch.stack(ys)) - 0.5
    sizes = torch.tensor([0.5 ** (i + 1) for i in range(octaves)], device=x.device)
    if isinstance(blur, Tensor):
        finer = torch.tensor([2.03**i for i in range(octaves)], device=x.device)
        wave = wave * (1 - smooth(0.35, 1.0, blur * finer[:, None]))
    return 0.5 + (sizes[:, None] * wave).sum(0) / sizes.sum()


def sky(light: Tensor, way: Tensor, *, mirrored: bool = False) -> Tensor:
    """float32 (n, 3), linear: what is seen far off in unit directions (n, 3); mirrors see soft boxes, and no stars."""
    dx, dy, dz = way.unbind(1)
    up = dy.clamp_min(0)
    high = smooth(0.0, 1.0, up.sqrt() * 1.05)
    c = torch.lerp(_rgb(light, s.HORIZON), _rgb(light, s.ZENITH), high[:, None])
    toward = (way * _rgb(light, s.KEY)).sum(1)
    disc = light[:, s.DISC]
    glow = 0.30 * torch.exp((toward - 1) * 9) + 0.55 * torch.exp((toward - 1) * 110)
    glow = torch.where(dy > -0.02, disc * (glow + 5.0 * smooth(0.99925, 0.9996, toward)), 0.0)
    c = c + glow[:, None] * _rgb(light, s.KEY_COLOUR)
    if mirrored:
        return c + _soft_boxes(light, dx, dy, dz)[:, None]
    return _clouded(light, way, _starred(light, way, c))


def _soft_boxes(light: Tensor, dx: Tensor, dy: Tensor, dz: Tensor) -> Tensor:
    flat = 1 / (dy.clamp_min(0) + 0.05)
    steep = light[:, s.KEY + 1].clamp_min(1e-3)
    kx, kz = light[:, s.KEY] / steep, light[:, s.KEY + 2] / steep
    box = smooth(0.62, 0.5, (dx * flat - kx).abs()) * smooth(0.62, 0.5, (dz * flat - kz).abs())
    box = box + 0.45 * smooth(0.9, 0.7, (dx * flat + 1.5 * kx).abs()) * smooth(1.5, 1.3, (dz * flat - 0.6 * kz).abs())
    return torch.where(dy > 0, 4.2 * light[:, s.BOXES] * box, 0.0)


def _starred(light: Tensor, way: Tensor, c: Tensor) -> Tensor:
    where = ((light[:, s.STARS] > 0) & (way[:, 1] > 0)).nonzero()[:, 0]
    if not len(where):
        return c
    dx, dy, dz = way[where].unbind(1)
    u, v = torch.atan2(dx, dz) * 120, dy * 130
    iu, iv = u.floor().int(), v.floor().int()
    lit = scatter(iu, iv, 5)
    cu, cv = 0.3 + 0.4 * scatter(iu, iv, 6), 0.3 + 0.4 * scatter(iu, iv, 7)
    d = torch.hypot(u - iu - cu, v - iv - cv)
    star = light[where, s.STARS] * (lit - 0.955).clamp_min(0) * 22 * smooth(0.3, 0.0, d) * smooth(0.0, 0.18, dy)
    return c.index_add(0, where, star[:, None] * star.new_tensor([0.9, 0.95, 1.1]))


def _clouded(light: Tensor, way: Tensor, c: Tensor) -> Tensor:
    where = ((light[:, s.CLOUDS] > 0) & (way[:, 1] > 0.01)).nonzero()[:, 0]
    if not len(where):
        return c
    here, (dx, dy, dz) = light[where], way[where].unbind(1)
    flat = 1.25 / (dy + 0.16)
    body = cloud(dx * flat + 11.3, dz * flat + 4.1, 5)
    cover = here[:, s.CLOUDS] * smooth(0.5, 0.74, body) * smooth(0.02, 0.2, dy)
    white = 0.55 * (0.80 + 0.35 * smooth(0.85, 0.5, body))
    grey = white[:, None] * (0.5 + 0.18 * _rgb(here, s.KEY_COLOUR)) + 0.35 * _rgb(here, s.HORIZON)
    return c.index_copy(0, where, torch.lerp(c[where], grey, cover[:, None]))


def _stripe(x: Tensor, width: float, blur: Tensor) -> Tensor:
    x = (x - (x + 0.5).floor()).abs()
    soft = smooth(0.5 * width + blur, 0.5 * width - blur * 0.5 - 1e-6, x)
    return soft * ((width + 0.02) / (blur + 0.02)).clamp_max(1.0)


def _square(x: Tensor, blur: Tensor) -> Tensor:
    a, b = x - 0.5 * blur, x + 0.5 * blur
    ia = (2 * (a * 0.5 - (a * 0.5).floor()) - 1).abs()
    ib = (2 * (b * 0.5 - (b * 0.5).floor()) - 1).abs()
    return (ia - ib) / blur.clamp_min(1e-6)


def floor_look(light: Tensor, x: Tensor, z: Tensor, blur: Tensor, kinds: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The floor at points: linear albedo (n, 3), tilt of the normal (n,) in x and in z, shine (n,) in [0, 1].

    Args:
        blur: how many units a pixel covers there.
        kinds: of floor that the lights have.
    """
    mix, shade = torch.zeros_like(x), torch.ones_like(x)
    tilt_x, tilt_z, gloss = torch.zeros_like(x), torch.zeros_like(x), light[:, s.GLOSS].clone()
    for kind in kinds:
        if kind == s.PLAIN:
            continue
        where = slice(None) if len(kinds) == 1 else (light[:, s.FLOOR_KIND] == kind).nonzero()[:, 0]
        made = _TEXTURES[kind](x[where], z[where], blur[where])
        for out, value in zip((mix, shade, tilt_x, tilt_z), made, strict=False):
            if value is not None:
                out[where] = value
        if len(made) == 5:
            gloss[where] = gloss[where] * made[4]
    albedo = torch.lerp(_rgb(light, s.FLOOR_A), _rgb(light, s.FLOOR_B), mix[:, None]) * shade[:, None]
    return albedo, tilt_x, tilt_z, gloss


def _checker(x: Tensor, z: Tensor, blur: Tensor):
    mix = 0.5 - 0.5 * _square(x * 1.5, blur * 1.5 + 1e-4) * _square(z * 1.5, blur * 1.5 + 1e-4)
    return mix, 0.96 + 0.08 * cloud(x * 3, z * 3, 3, blur * 3)


def _wood(x: Tensor, z: Tensor, blur: Tensor):
    row = (z * 2.2).floor().int()
    along = x * 0.45 + scatter(row, torch.full_like(row, 3), 1)
    plank = scatter(row, along.floor().int(), 2)
    grain = cloud(x * 1.6 + plank * 40, z * 26, 4, blur * 20)
    fine = cloud(x * 5 + plank * 90, z * 90, 2, blur * 70)
    shade = (0.80 + 0.32 * grain) * (0.93 + 0.14 * fine)
    shade = shade * (1 - 0.65 * _stripe(z * 2.2, 0.022, blur * 2.2) - 0.45 * _stripe(along, 0.006, blur * 0.45))
    return (0.15 + 0.55 * plank + 0.5 * (grain - 0.5)).clamp_max(1.0), shade, None, None, 0.6 + 0.5 * grain


def _grass(x: Tensor, z: Tensor, blur: Tensor):
    blades = cloud(x * 46, z * 26, 3, blur * 22)
    tufts = cloud(x * 6, z * 6, 3, blur * 5)
    tilt_z = 0.5 * (cloud(x * 29 + 9, z * 23, 2, blur * 16) - 0.5)
    mix = smooth(0.3, 0.7, cloud(x * 0.7, z * 0.7, 3, blur))
    return mix, 0.35 + 0.75 * blades + 0.7 * (tufts - 0.35), 0.5 * (blades - 0.5), tilt_z


def _water(x: Tensor, z: Tensor, blur: Tensor):
    e, far = 0.02, 1 / (1 + blur * 14)
    h = cloud(x * 1.7, z * 2.6, 4, blur * 1.5)
    tilt_x = (cloud((x + e) * 1.7, z * 2.6, 4, blur * 1.5) - h) / e * 0.10 * far
    return h, None, tilt_x, (cloud(x * 1.7, (z + e) * 2.6, 4, blur * 1.5) - h) / e * 0.10 * far


def _sand(x: Tensor, z: Tensor, blur: Tensor):
    wave = (z + 0.25 * x + 1.1 * cloud(x * 0.6, z * 0.6, 3, blur)) * 9
    tilt_z = 0.16 * torch.sin(wave) * (1 - smooth(0.1, 0.5, blur * 3))
    mix = cloud(x * 2, z * 2, 4, blur * 2)
    return mix, 0.9 + 0.2 * cloud(x * 60, z * 60, 2, blur * 60), 0.4 * tilt_z, tilt_z


def _snow(x: Tensor, z: Tensor, blur: Tensor):
    e = 0.05
    h = cloud(x * 0.9, z * 0.9, 4, blur)
    tilt_x = (cloud((x + e) * 0.9, z * 0.9, 4, blur) - h) / e * 0.35
    return 0.5 * h, None, tilt_x, (cloud(x * 0.9, (z + e) * 0.9, 4, blur) - h) / e * 0.35


def _tiles(x: Tensor, z: Tensor, blur: Tensor):
    tile = scatter((x * 1.4).floor().int(), (z * 1.4).floor().int(), 4)
    line = (_stripe(x * 1.4, 0.045, blur * 1.4) + _stripe(z * 1.4, 0.045, blur * 1.4)).clamp_max(1.0)
    return line, 0.93 + 0.12 * tile, None, None, 1 - line


def _marble(x: Tensor, z: Tensor, blur: Tensor):
    vein = torch.sin(2.3 * (x + 0.6 * z) + 7.5 * cloud(x * 0.8, z * 0.8, 5, blur)).abs()
    return (0.75 * smooth(0.22, 0.0, vein) + 0.35 * smooth(0.45, 0.75, cloud(x * 2 + 5, z * 2, 4, blur * 2)),)


_TEXTURES = {
    s.CHECKER: _checker, s.WOOD: _wood, s.GRASS: _grass, s.WATER: _water, s.SAND: _sand, s.SNOW: _snow,
    s.TILES: _tiles, s.MARBLE: _marble,
}  # fmt: skip
"""Kind of floor -> (mix of its two colours, shade, tilt in x, tilt in z, factor on its shine); None: as it is."""


def _rgb(light: Tensor, at: int) -> Tensor:
    return light[:, at : at + 3]
