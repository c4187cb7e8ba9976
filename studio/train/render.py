"""`render`: takes as pictures with depth and masks, by sphere tracing on the training device.

The toybox's own renderer (`studio.scene.toybox.tracing`) in float32, many views at once, with two things left out:
glass is lacquer of its colour, and mirrors show the sky and the floor's colour, no solids.

A view of 256 pixels samples some 2.4 million distances and moves 1.4 GB through memory, in about 4,700 launches for
every `_RAYS_AT_ONCE`: 600 to 1,000 views a second are predicted of an H100, which nobody has measured yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from studio.scene.toybox import march as m
from studio.scene.toybox import skies as s
from studio.train.fields import Fields
from studio.train.figures import figure
from studio.train.skies import floor_look, sky, smooth
from studio.train.takes import Stage, Take, stage
from studio.train.tracing import FAR, Pairs, lit, trace, unhidden

Tensor = torch.Tensor

_CORNERS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
"""Where a pixel is looked at again whose neighbours differ: a rotated grid."""

_DIFFERS = 0.06
"""From which difference of what a screen shows (square root of linear) two neighbours of one solid are looked at
again; on the floor from twice that."""

_RAYS_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 21}
"""Each takes about 1.5 kB at most."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """V views of S pixels on a side.

    Args:
        rgb: uint8 (V, 3, S, S) sRGB.
        depth: float32 (V, S, S) along the optical axis; inf where there is sky (or white).
        ids: int16 (V, S, S): number of the solid, -1 the floor, -2 the sky (or white).
    """

    rgb: Tensor
    depth: Tensor
    ids: Tensor


def render(takes: Sequence[Take], size: int, fields: Fields, *, white: bool = False, soft: bool = True) -> Rendered:
    """All views of the takes, one after another; neighbouring pixels that differ are the mean of four more rays.

    Args:
        white: only the solids are seen, on white.
        soft: with the four more rays.
    """
    staged = stage(takes, fields, white=white)
    device, views = fields.device, len(staged)
    pixel = torch.arange(views * size * size, device=device)
    rgb = torch.empty(len(pixel), 3, device=device)
    depth, ids = torch.empty(len(pixel), device=device), torch.empty(len(pixel), dtype=torch.int16, device=device)
    at_once = _RAYS_AT_ONCE[device.type]
    for some in pixel.split(at_once):
        rgb[some], depth[some], ids[some] = _seen(staged, fields, some, size, torch.zeros(1, 2, device=device))
    if soft:
        corners = torch.tensor(_CORNERS, device=device)
        again = _edges(rgb.view(views, size, size, 3), ids.view(views, size, size)).view(-1).nonzero()[:, 0]
        for some in again.split(at_once // len(corners)):
            four = some.repeat(len(corners))
            screen = _seen(staged, fields, four, size, corners.repeat_interleave(len(some), 0))[0]
            rgb[some] = screen.view(len(corners), -1, 3).mean(0)
    shape = (views, size, size)
    return Rendered(_srgb_bytes(rgb.view(*shape, 3)), depth.view(shape), ids.view(shape))


def _seen(st: Stage, fields: Fields, pixel: Tensor, size: int, offset: Tensor):
    """Of pixels, looked at `offset` (n, 2) or (1, 2) from their middles.

    What a screen shows, linear (n, 3); depth (n,); ids int16 (n,).
    """
    view, within = pixel // (size * size), pixel % (size * size)
    middle, focal = (size - 1) / 2, st.focal[view] * size
    x = (within % size + offset[:, 0] - middle) / focal
    y = (within // size + offset[:, 1] - middle) / focal
    axes = st.axes[view]
    way = axes[:, :, 0] * x[:, None] + axes[:, :, 1] * y[:, None] + axes[:, :, 2]
    length = way.norm(dim=1)
    way = way / length[:, None]
    origin, light = st.eyes[view], st.light[st.scene[view]]
    t, hit = trace(st, fields, view, origin, way)
    hit = torch.where(t < FAR, hit, m.SKY)
    if not st.white:
        floor = torch.where((way[:, 1] < -1e-6) & (origin[:, 1] > 0), -origin[:, 1] / way[:, 1].clamp_max(-1e-6), FAR)
        ground = origin + floor[:, None] * way
        floor = torch.where(torch.hypot(ground[:, 0], ground[:, 2]) < light[:, s.REACH], floor, FAR)
        hit = torch.where(floor < t, m.FLOOR, hit)
        t = torch.minimum(t, floor)
    rgb = torch.ones_like(way)
    shade = _Shade(st, fields, 1 / (st.focal[view] * size))
    if not st.white:
        sees_sky = (hit == m.SKY).nonzero()[:, 0]
        rgb[sees_sky] = sky(light[sees_sky], way[sees_sky])
        on_floor = (hit == m.FLOOR).nonzero()[:, 0]
        rgb[on_floor] = shade.floor(on_floor, view, t, origin, way)
    on_solid = (hit >= 0).nonzero()[:, 0]
    rgb[on_solid] = shade.solid(on_solid, view, hit, t, origin, way)
    screen = _film(rgb * light[:, s.EXPOSURE, None])
    if st.white:
        screen[hit < 0] = 1.0
    depth = torch.where(hit == m.SKY, torch.inf, t / length)
    return screen, depth, hit.short()


@dataclass(frozen=True, eq=False)
class _Shade:
    """Colours where rays end; `pixel` float32 (n,) is how wide a pixel is a unit away."""

    st: Stage
    fields: Fields
    pixel: Tensor

    def floor(self, which: Tensor, view: Tensor, t: Tensor, origin: Tensor, way: Tensor) -> Tensor:
        """float32 (k, 3), linear, of the rays `which`."""
        view, t, way = view[which], t[which], way[which]
        light = self.st.light[self.st.scene[view]]
        at = origin[which] + t[:, None] * way
        blur = t * self.pixel[which] / (-way[:, 1]).clamp_min(0.03)
        colour, tilt_x, tilt_z, gloss = floor_look(light, at[:, 0], at[:, 2], blur, self.st.floors)
        normal = torch.stack([-tilt_x, torch.ones_like(tilt_x), -tilt_z], dim=1)
        normal = normal / normal.norm(dim=1, keepdim=True)
        water = light[:, s.FLOOR_KIND] == s.WATER
        rough, coat = torch.where(water, 0.12, 0.75 - 0.5 * gloss), torch.where(water, 1.0, gloss)
        at = torch.stack([at[:, 0], torch.zeros_like(t), at[:, 2]], dim=1)
        body, shine = self._lighten(view, at, normal, way, rough, torch.zeros_like(coat), coat)
        grazing = 1 - (-(way * normal).sum(1)).clamp_min(0)
        mirror = (gloss * (0.045 + 0.7 * grazing**5))[:, None]
        rgb = colour * body + shine + mirror * self._mirrored(light, way, normal, floor=True)
        veil = 1 - torch.exp(-light[:, s.FOG] * t)
        far = smooth(light[:, s.FADE] * light[:, s.REACH], light[:, s.REACH], torch.hypot(at[:, 0], at[:, 2]))
        return _veiled(light, way, rgb, veil + (1 - veil) * far)

    def solid(self, which: Tensor, view: Tensor, hit: Tensor, t: Tensor, origin: Tensor, way: Tensor) -> Tensor:
        """The same of rays that meet solids."""
        view, t, way, hit = view[which], t[which], way[which], hit[which]
        light = self.st.light[self.st.scene[view]]
        at = origin[which] + t[:, None] * way
        pairs = Pairs(self.st, self.fields, view, hit)
        places = pairs.places(at)
        normal = pairs.normal(places)
        row = self.st.materials[pairs.row(places)]
        colour = self._patterned(row, view, hit, at, normal)
        metal, coat, glow = row[:, m.METAL], row[:, m.COAT], row[:, m.GLOW]
        body, shine = self._lighten(view, at, normal, way, row[:, m.ROUGH], metal, coat)
        fresnel = ((1 - (-(way * normal).sum(1)).clamp_min(0)) ** 5)[:, None]
        is_metal = metal[:, None]
        rgb = colour * ((1 - is_metal) * body + glow[:, None]) + shine * (1 - is_metal + is_metal * colour)
        plain = coat[:, None] * (0.04 + 0.66 * fresnel)
        shadow = (0.35 + 0.65 * smooth(-0.6, 0.1, normal[:, 1]))[:, None]
        mirror = shadow * (is_metal * torch.lerp(colour, torch.ones_like(colour), fresnel) + (1 - is_metal) * plain)
        rgb = rgb + mirror * self._mirrored(light, way, normal)
        return _veiled(light, way, rgb, 1 - torch.exp(-light[:, s.FOG] * t))

    def _patterned(self, row: Tensor, view: Tensor, hit: Tensor, at: Tensor, normal: Tensor) -> Tensor:
        """Linear albedo, in the solid's own frame as it stood when its pattern was laid on."""
        colour = row[:, m.ALBEDO : m.ALBEDO + 3].clone()
        for pattern in self.st.patterns:
            which = (row[:, m.PATTERN] == pattern).nonzero()[:, 0]
            if not len(which):
                continue
            own, (c, sn) = self.st.own[view[which], hit[which]], self.st.swung[view[which], hit[which]].unbind(1)
            x, y, z = ((at[which] - own[:, :3]) / own[:, 3:]).unbind(1)
            nx, nz = normal[which, 0], normal[which, 2]
            mix = figure(pattern, c * x - sn * z, y, sn * x + c * z, c * nx - sn * nz, sn * nx + c * nz)[:, None]
            here = colour[which]
            if pattern in (m.STRIPES, m.DOTS, m.BRICKS, m.CHECKS):
                colour[which] = here + ((0.62 if pattern == m.BRICKS else 0.86) - here) * mix
            else:
                colour[which] = here * (1 - 0.72 * mix)
        return colour

    def _lighten(self, view: Tensor, at: Tensor, normal: Tensor, way: Tensor, rough, metal, coat):
        """Light that points send back: what their colour has a part in (n, 3), and a highlight (n, 3)."""
        st, scene = self.st, self.st.scene[view]
        light = st.light[scene]
        toward = light[:, s.KEY : s.KEY + 3]
        facing = (normal * toward).sum(1)
        seen = torch.zeros_like(facing)
        lit_side = (facing > 0).nonzero()[:, 0]
        seen[lit_side] = lit(
            st, self.fields, view[lit_side], (at + 2e-3 * normal)[lit_side], toward[lit_side],
            light[lit_side, s.SOFTNESS],
        )  # fmt: skip
        key = facing.clamp_min(0) * seen
        between = toward - way
        hn = ((between * normal).sum(1) / (between.norm(dim=1) + 1e-12)).clamp_min(0)
        a2 = rough**4 + 1e-5
        bell = a2 / ((hn * hn * (a2 - 1) + 1) ** 2 * 3.14159265)
        shine = (bell * (0.02 + 0.06 * coat + 0.5 * metal)).clamp_max(12.0) * key
        around = (light[:, s.AMBIENT] * unhidden(st, self.fields, view, at, normal))[:, None]
        up = (0.5 + 0.5 * normal[:, 1])[:, None]
        behind = -(normal[:, 0] * toward[:, 0] + normal[:, 2] * toward[:, 2]).clamp_max(0)
        back = behind[:, None] * light[:, s.RIM, None] * (0.4 + 0.6 * up)
        key_colour = light[:, s.KEY_COLOUR : s.KEY_COLOUR + 3]
        over = 0.5 * (light[:, s.ZENITH : s.ZENITH + 3] + light[:, s.HORIZON : s.HORIZON + 3])
        body = key[:, None] * key_colour + around * (light[:, s.BOUNCE : s.BOUNCE + 3] * (1 - up) + over * up + back)
        for lamp in st.lamps[scene].unbind(1):
            to = lamp[:, :3] - at
            far2 = (to * to).sum(1) + 1e-9
            fall = (0.15 + 0.85 * (to * normal).sum(1) / far2.sqrt()).clamp_min(0) / (0.25 + far2)
            body = body + lamp[:, 3:] * fall[:, None]
        return body, shine[:, None] * key_colour

    def _mirrored(self, light: Tensor, way: Tensor, normal: Tensor, *, floor: bool = False) -> Tensor:
        """What a mirror shows: the sky, or below the horizon the floor's colour in the light from all around."""
        back = way - 2 * (way * normal).sum(1, keepdim=True) * normal
        if floor:
            back = torch.stack([back[:, 0], back[:, 1].clamp_min(0.02), back[:, 2]], dim=1)
        above = sky(light, torch.stack([back[:, 0], back[:, 1].abs(), back[:, 2]], dim=1), mirrored=True)
        if floor:
            return above
        key = (light[:, s.KEY + 1, None]).clamp_min(0) * light[:, s.KEY_COLOUR : s.KEY_COLOUR + 3]
        over = 0.5 * (light[:, s.ZENITH : s.ZENITH + 3] + light[:, s.HORIZON : s.HORIZON + 3])
        ground = light[:, s.FLOOR_A : s.FLOOR_A + 3] * (key * 0.6 + light[:, s.AMBIENT, None] * over)
        return torch.where(back[:, 1:2] > 0, above, ground)


def _veiled(light: Tensor, way: Tensor, rgb: Tensor, veil: Tensor) -> Tensor:
    """A colour seen through what is between."""
    which = (veil > 0.002).nonzero()[:, 0]
    if not len(which):
        return rgb
    level = way[which]
    level = torch.stack([level[:, 0], level[:, 1].clamp_min(0), level[:, 2]], dim=1)
    return rgb.index_copy(0, which, torch.lerp(rgb[which], sky(light[which], level), veil[which, None]))


def _film(rgb: Tensor) -> Tensor:
    """Scene light to what a screen shows, [0, 1] linear: a soft shoulder (fit by Narkowicz, 2015)."""
    x = rgb.clamp_min(0) * 0.72
    return (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0, 1)


def _edges(rgb: Tensor, ids: Tensor) -> Tensor:
    """bool (V, S, S): the pixels that differ from one beside or above them."""
    shown = rgb.sqrt()
    bounds = torch.where(ids == m.FLOOR, 2 * _DIFFERS, _DIFFERS)
    found = torch.zeros_like(ids, dtype=torch.bool)
    for axis in (1, 2):
        n = ids.shape[axis] - 1
        after, before = (lambda x, a=axis, n=n: x.narrow(a, 1, n)), (lambda x, a=axis, n=n: x.narrow(a, 0, n))
        apart = (after(shown) - before(shown)).abs().amax(3)
        differs = (after(ids) != before(ids)) | (apart > after(bounds))
        after(found).logical_or_(differs)
        before(found).logical_or_(differs)
    return found


def _srgb_bytes(linear: Tensor) -> Tensor:
    """uint8 (V, 3, S, S) sRGB; half a step of ordered noise keeps a wide sky from showing bands."""
    size = linear.shape[1]
    c = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
    at = torch.arange(size, device=linear.device, dtype=torch.float32)
    wave = 52.9829189 * torch.frac(0.06711056 * at[None] + 0.00583715 * at[:, None])
    return (c * 255 + 1e-3 + torch.frac(wave)[..., None]).clamp(0, 255).to(torch.uint8).permute(0, 3, 1, 2).contiguous()
