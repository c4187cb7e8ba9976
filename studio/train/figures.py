"""Patterns of materials, in torch: `studio.scene.toybox.march` on many points at once."""

from __future__ import annotations

import torch

from studio.scene.toybox import march as m
from studio.train.skies import cloud, smooth

Tensor = torch.Tensor


def figure(pattern: int, x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    """float32 (n,) in [0, 1]: how much of the second colour there is at points of the thing's own frame."""
    return _FIGURES[pattern](x, y, z, nx, nz)


def _grain(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    wave = torch.frac(((z + 0.8 * y) * 8 + 3.2 * cloud(x * 0.9, (z + y) * 2 + 5, 3)) + 64)
    return 0.42 * smooth(0.0, 0.8, wave) * smooth(1.0, 0.85, wave) + 0.4 * cloud(x * 4, (y + z) * 45, 2)


def _stone(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    return 0.75 * cloud(x * 5 + y * 3, z * 5 - y * 4, 4)


def _stripes(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    w = y * 5
    return smooth(0.27, 0.23, (w - w.floor() - 0.5).abs())


def _dots(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    at = torch.stack([x, y, z]) * 4.2 + 0.5
    return smooth(0.36, 0.33, (at - at.floor() - 0.5).norm(dim=0))


def _bricks(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    row = (y * 9).floor()
    u = torch.where(nx.abs() > nz.abs(), z, x) * 4 + 0.5 * (row - 2 * (row / 2).floor())
    u, v = u - u.floor(), y * 9 - row
    return torch.maximum(smooth(0.06, 0.03, torch.minimum(u, 1 - u)), smooth(0.13, 0.08, torch.minimum(v, 1 - v)))


def _veins(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    return smooth(0.16, 0.0, (cloud(x * 2 + y, z * 2 - y, 4) - 0.5).abs() * 2)


def _checks(x: Tensor, y: Tensor, z: Tensor, nx: Tensor, nz: Tensor) -> Tensor:
    return ((x * 4).floor() + (y * 4 + 0.01).floor() + (z * 4).floor()).remainder(2)


_FIGURES = {
    m.GRAIN: _grain, m.STONE: _stone, m.STRIPES: _stripes, m.DOTS: _dots, m.BRICKS: _bricks, m.VEINS: _veins,
    m.CHECKS: _checks,
}  # fmt: skip
