"""The toybox's things as volumes of distances, which every step of a ray on a GPU reads with one texture fetch.

The distances are those of the toybox's own compiled functions, sampled once a form. Walking through primitives in
torch would take hundreds of launches a step; a volume takes one, whatever the thing is made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from os import cpu_count

import numpy as np
import torch
from torch.nn.functional import grid_sample

from studio.scene.toybox.compiled import kept
from studio.scene.toybox.distance import solid_distance
from studio.scene.toybox.march import PATTERN, material_at
from studio.scene.toybox.scene import Solid, extent, pack_solids
from studio.scene.toybox.skies import LIGHT_SIZE

_ROOM = 0.06
"""Of a form's box, added on every side, so that the field's slope is known on its skin."""

_POINTS_AT_ONCE = 1 << 14
"""Of which a thread of the CPU samples at least so many."""


def _bake(digest):
    def bake(packed, low, step, distances, parts):
        """Writes distance and part at the points ``low + (x, y, z) step`` to float32 and uint8 (Z, Y, X)."""
        _ = digest
        depth, height, width = distances.shape
        for k in range(depth):
            z = low[2] + k * step[2]
            for j in range(height):
                y = low[1] + j * step[1]
                for i in range(width):
                    x = low[0] + i * step[0]
                    d = solid_distance(packed, 0, x, y, z)
                    distances[k, j, i] = d
                    if abs(d) < 3 * max(step[0], max(step[1], step[2])):
                        parts[k, j, i] = material_at(packed, 0, x, y, z, 0.0, 0.0)[0]

    return bake


_baked = kept(_bake)


@dataclass(frozen=True)
class Box:
    """The box that a form's volume fills, at the form's own size: middle and half sides, float64 (3,)."""

    middle: np.ndarray
    half: np.ndarray


def box_of(kind: str) -> Box:
    """The box of a form's volume: somewhat more than the form's own."""
    low, high = extent(kind)
    half = (high - low) / 2
    return Box((low + high) / 2, half + _ROOM * half.max())


class Fields:
    """Volumes of the forms that were asked for so far, all as large, one after another along z.

    Places in a volume are in [-1, 1] on each axis, from its first sample to its last.

    Args:
        device: that they lie on.
        resolution: samples on a side; 96 is about a pixel of a 256-pixel picture that a thing fills half of.
    """

    def __init__(self, device: torch.device | str, resolution: int = 96) -> None:
        self.device, self.resolution = torch.device(device), resolution
        self._slots: dict[str, int] = {}
        self._distances = torch.zeros(0, resolution, resolution, device=device)
        self._parts = torch.zeros(0, dtype=torch.uint8, device=device)

    def bake(self, kinds: Iterable[str]) -> None:
        """Sees to it that there are volumes of these forms."""
        new = [k for k in dict.fromkeys(kinds) if k not in self._slots]
        if not new:
            return
        with ThreadPoolExecutor(min(len(new), cpu_count() or 1), thread_name_prefix="bake") as pool:
            made = list(pool.map(_sampled, new, [self.resolution] * len(new)))
        self._distances = torch.cat([self._distances, *(torch.from_numpy(d).to(self.device) for d, _ in made)])
        self._parts = torch.cat([self._parts, *(torch.from_numpy(p.ravel()).to(self.device) for _, p in made)])
        for kind in new:
            self._slots[kind] = len(self._slots)

    def slot(self, kind: str) -> int:
        """The number of a form's volume."""
        return self._slots[kind]

    def distance(self, slots: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """float32 (n,): the field at places float32 (n, 3) in [-1, 1] of volumes int64 (n,), at the form's own size."""
        r, many = self.resolution, len(self._slots)
        z = (places[:, 2] + 1) * ((r - 1) / (many * r - 1)) + slots * (2 * r / (many * r - 1)) - 1
        points = torch.stack([places[:, 0], places[:, 1], z], dim=1)
        batches = 1
        if self.device.type == "cpu":  # there its batches are shared by the threads, not its points
            batches = max(1, min(torch.get_num_threads(), len(points) // _POINTS_AT_ONCE))
        n = len(points) // batches * batches
        volume = self._distances[None, None]

        def sampled(some: torch.Tensor, batches: int) -> torch.Tensor:
            some = some.view(batches, 1, 1, -1, 3)
            found = grid_sample(volume.expand(batches, -1, -1, -1, -1), some, padding_mode="border", align_corners=True)
            return found.reshape(-1)

        return sampled(points, 1) if batches == 1 else torch.cat([sampled(points[:n], batches), sampled(points[n:], 1)])

    def part(self, slots: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """int64 (n,): the number of the form's part that lies there."""
        r = self.resolution
        x, y, z = ((places.clamp(-1, 1) + 1) * (0.5 * (r - 1))).round().long().unbind(1)
        return self._parts[((slots * r + z) * r + y) * r + x].long()


@lru_cache(maxsize=128)
def _sampled(kind: str, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances float32 and parts uint8, (Z, Y, X) each; kept, since every `Source` of a process asks for the same."""
    box = box_of(kind)
    packed = pack_solids((Solid(kind, "white"),), np.zeros(LIGHT_SIZE), np.zeros((0, 6)))
    packed.materials[:, PATTERN] = 0
    shape = (resolution,) * 3
    distances, parts = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    _baked(packed, box.middle - box.half, 2 * box.half / (resolution - 1), distances, parts)
    return distances, parts
