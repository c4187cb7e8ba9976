"""Where rays meet solids, in torch: many rays of many views at once, each only against the solids that it may meet.

A ray is a view's number, an origin and a unit direction. All that needs a solid's field works on a list of pairs (ray,
solid) whose ray comes near enough; what it finds is laid out as (rays, solids) and reduced, so that the order of the
list does not matter and the same rays give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from studio.train.fields import Fields
from studio.train.takes import Stage

Tensor = torch.Tensor

FAR = 1e9
"""A distance beyond everything."""

_STEPS = 72
_CHECKED = 8
"""After so many steps the rays that have arrived are left out."""

_ARRIVED = 0.12
"""In samples of the field, the distance at which a ray has arrived."""

_SHADOW_STEPS = 40
_HEIGHTS = tuple(0.03 + 0.05 * i * (1 + 0.55 * i) for i in range(5))
"""Above a point, at which is looked how much is hidden from it."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rays (or points) and solids that are near each other: `view` and `solid` are int64 (n,)."""

    stage: Stage
    fields: Fields
    view: Tensor
    solid: Tensor

    def __post_init__(self) -> None:
        stage, at = self.stage, (self.view, self.solid)
        object.__setattr__(self, "_volume", stage.volumes[at])
        object.__setattr__(self, "_to_place", stage.to_place[at])
        object.__setattr__(self, "_half", stage.half[at])
        object.__setattr__(self, "_scale", stage.own[at][:, 3])

    def places(self, points: Tensor) -> Tensor:
        """float32 (n, 3): world points in the solids' volumes."""
        return (self._to_place[:, :, :3] * points[:, None]).sum(2) + self._to_place[:, :, 3]

    def ways(self, directions: Tensor) -> Tensor:
        """float32 (n, 3): world directions, the same way."""
        return (self._to_place[:, :, :3] * directions[:, None]).sum(2)

    def distance(self, places: Tensor) -> Tensor:
        """float32 (n,), world units; outside a volume it is reckoned from its nearest point."""
        within = places.clamp(-1, 1)
        out = ((places - within) * self._half).norm(dim=1)
        return self.within(within) + out

    def within(self, places: Tensor) -> Tensor:
        """float32 (n,), world units, of places that lie in the volumes."""
        return self.fields.distance(self._volume, places) * self._scale

    def normal(self, places: Tensor) -> Tensor:
        """float32 (n, 3): unit normals in the world, by differences on a tetrahedron of about a sample."""
        corners = places.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]]) * (2.0 / self.fields.resolution)
        slope = torch.zeros_like(places)
        for corner in corners:
            slope += self.fields.distance(self._volume, places + corner)[:, None] * corner
        turned = (self._to_place[:, :, :3] * slope[:, :, None]).sum(1)
        return turned / turned.norm(dim=1, keepdim=True).clamp_min(1e-20)

    def row(self, places: Tensor) -> Tensor:
        """int64 (n,): the material there, in `Stage.materials`."""
        return self.stage.rows[self.view, self.solid] + self.fields.part(self._volume, places)

    def some(self, which: Tensor) -> Pairs:
        """Those at int64 places of the list."""
        return Pairs(self.stage, self.fields, self.view[which], self.solid[which])


def trace(stage: Stage, fields: Fields, view: Tensor, origin: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """The first solid on each ray: distance float32 (n,), FAR where there is none, and its number int64 (n,)."""
    spheres = stage.spheres[view]
    to = spheres[..., :3] - origin[:, None]
    along = (to * way[:, None]).sum(2)
    off = spheres[..., 3] - (to * to).sum(2) + along * along
    ray, solid = ((off > 0) & (along + off.clamp_min(0).sqrt() > 0)).nonzero(as_tuple=True)
    found = torch.full(off.shape, FAR, device=way.device)
    if len(ray):
        found[ray, solid] = _march(Pairs(stage, fields, view[ray], solid), origin[ray], way[ray])
    best = found.min(dim=1)
    return best.values, best.indices


def _march(pairs: Pairs, origin: Tensor, way: Tensor) -> Tensor:
    """float32 (n,): where each ray meets its solid, else FAR."""
    start, step = pairs.places(origin), pairs.ways(way)
    inverse = 1 / torch.where(step.abs() < 1e-9, 1e-9, step)
    a, b = (-1 - start) * inverse, (1 - start) * inverse
    t = torch.minimum(a, b).amax(1).clamp_min(1e-3)
    end = torch.maximum(a, b).amin(1)
    arrived = _ARRIVED * 2 * pairs._half.amax(1) / pairs.fields.resolution
    met = torch.zeros_like(t, dtype=torch.bool)
    live = (t < end).nonzero()[:, 0]
    for _ in range(0, _STEPS, _CHECKED):
        if not len(live):
            break
        here, at, go = pairs.some(live), start[live], step[live]
        now, last = t[live], end[live] + 1e-4
        for _ in range(_CHECKED):
            d = here.within(torch.addcmul(at, now[:, None], go))
            now = torch.minimum(now + d, last)
        t[live] = now
        there = (d < 2 * arrived[live]) & (now < last)
        met[live] = there
        live = live[~((d < arrived[live]) | (now >= last))]
    return torch.where(met, t, FAR)


def lit(stage: Stage, fields: Fields, view: Tensor, points: Tensor, toward: Tensor, softness: Tensor) -> Tensor:
    """float32 (n,) in [0, 1]: how much of the key light gets to points; see `studio.scene.toybox.march.lit`."""
    spheres = stage.spheres[view]
    to, radius = spheres[..., :3] - points[:, None], spheres[..., 3].clamp_min(0).sqrt()
    along = (to * toward[:, None]).sum(2)
    wide = radius + softness[:, None] * (along + radius).clamp_min(0)
    off = wide * wide - (to * to).sum(2) + along * along
    point, solid = ((spheres[..., 3] > 0) & (along >= -radius) & (off > 0)).nonzero(as_tuple=True)
    open_ = torch.ones_like(along)
    if len(point):
        half = off[point, solid].sqrt()
        along, pairs = along[point, solid], Pairs(stage, fields, view[point], solid)
        least = _least(
            pairs, points[point], toward[point], softness[point], (along - half).clamp_min(0.006), along + half
        )
        open_[point, solid] = least * least * (3 - 2 * least)
    return open_.prod(dim=1)


def _least(pairs: Pairs, points: Tensor, toward: Tensor, w: Tensor, t: Tensor, end: Tensor) -> Tensor:
    """float32 (n,) in [0, 1]: how near each ray comes to its solid; a half is touching it."""
    start, step = pairs.places(points), pairs.ways(toward)
    least = torch.ones_like(t)
    live = (t <= end).nonzero()[:, 0]
    for _ in range(0, _SHADOW_STEPS, _CHECKED):
        if not len(live):
            break
        here, at, go, soft = pairs.some(live), start[live], step[live], w[live]
        now, low, last = t[live], least[live], end[live]
        for _ in range(_CHECKED):
            h = here.distance(at + now[:, None] * go)
            low = torch.where(now <= last, torch.minimum(low, 0.5 + 0.5 * h / (soft * now)), low)
            clear = (h - soft * now) / (1 + soft)
            now = now + torch.maximum(
                clear, torch.minimum(torch.maximum(h.abs(), 0.012 + 0.01 * now), h.new_tensor(0.35))
            )
        t[live], least[live] = now, low
        live = live[(now <= last) & (low > 0)]
    return least.clamp_min(0)


def unhidden(stage: Stage, fields: Fields, view: Tensor, points: Tensor, normal: Tensor) -> Tensor:
    """float32 (n,) in [0, 1]: how much of what is around points is seen from them; on white there is no floor."""
    reach = _HEIGHTS[-1]
    spheres = stage.spheres[view]
    far = (spheres[..., :3] - points[:, None]).norm(dim=2)
    point, solid = ((spheres[..., 3] > 0) & (far < spheres[..., 3].clamp_min(0).sqrt() + 2 * reach)).nonzero(
        as_tuple=True
    )
    heights = points.new_tensor(_HEIGHTS)
    nearest = torch.full((*far.shape, len(_HEIGHTS)), FAR, device=points.device)
    if len(point):
        pairs = Pairs(stage, fields, view[point], solid)
        at, up = pairs.places(points[point]), pairs.ways(normal[point])
        nearest[point, solid] = torch.stack([pairs.distance(at + h * up) for h in _HEIGHTS], dim=1)
    d = nearest.amin(1) if nearest.shape[1] else heights.expand(len(points), -1)
    if not stage.white:
        d = torch.minimum(d, points[:, 1:2] + heights * normal[:, 1:2])
    hidden = ((heights - torch.minimum(d, heights)) / heights) @ points.new_tensor([0.78**i for i in range(5)])
    return (1 - 0.26 * hidden).clamp_min(0)
