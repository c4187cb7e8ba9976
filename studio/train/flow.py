"""The optical flow that a take has by its making: from depth, cameras and the motion of what each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from studio.train.render import Rendered
from studio.train.takes import Take

Tensor = torch.Tensor

_SKY = 1e4
"""How far off the sky is taken to be, scene units."""


def flows(takes: Sequence[Take], seen: Rendered, *, every: int = 1) -> tuple[Tensor, Tensor]:
    """From each frame of each take to its next: flow float32 (N, 2, h, w) in pixels, x and y; and bool (N, h, w).

    The mask is True where what a pixel shows is seen in the next frame too. N counts the takes' frames but their last.

    Args:
        every: only each so-manieth pixel of a row and of a column is looked at, so that h is S / every.
    """
    size = seen.depth.shape[-1]
    firsts = np.concatenate([[0], np.cumsum([len(t) for t in takes])[:-1]])
    views = np.concatenate([first + np.arange(len(take) - 1) for first, take in zip(firsts, takes, strict=True)])
    view = torch.from_numpy(views).to(seen.depth.device)
    steps = [_steps(take) for take in takes]
    most = max(s.shape[1] for s in steps)
    filled = np.concatenate([np.pad(s, ((0, 0), (0, most - s.shape[1]), (0, 0), (0, 0))) for s in steps])
    step = torch.from_numpy(filled.astype(np.float32)).to(view.device)
    focal = np.repeat([take.focal for take in takes], [len(take) - 1 for take in takes])
    focal_px = torch.from_numpy(focal.astype(np.float32)).to(view.device)[:, None, None] * size
    depth, ids = seen.depth[view, ::every, ::every], seen.ids[view, ::every, ::every].long()
    at = torch.arange(0, size, every, device=view.device, dtype=torch.float32)
    middle = (size - 1) / 2
    z = torch.where(depth.isinf(), _SKY, depth)
    x, y = (at[None, None] - middle) / focal_px * z, (at[None, :, None] - middle) / focal_px * z
    which = (ids + 1).clamp_min(0)
    moved = step[torch.arange(len(view), device=view.device)[:, None, None], which]
    there = (moved[..., :3] * torch.stack([x, y, z], dim=-1)[..., None, :]).sum(-1) + moved[..., 3]
    u = there[..., 0] / there[..., 2] * focal_px + middle
    v = there[..., 1] / there[..., 2] * focal_px + middle
    flow = torch.stack([u - at[None, None], v - at[None, :, None]], dim=1)
    return flow, _visible(u, v, there[..., 2], seen, view, size, ids)


def _steps(take: Take) -> np.ndarray:
    """float64 (T - 1, 1 + S, 3, 4): camera to next camera, for what stands still and for each solid."""
    cameras, motions = take.world_to_camera, take.motions()
    back = np.linalg.inv(cameras[:-1])
    still = cameras[1:] @ back
    moving = cameras[1:, None] @ motions[1:] @ np.linalg.inv(motions[:-1]) @ back[:, None]
    return np.concatenate([still[:, None], moving], axis=1)[..., :3, :]


def _visible(u: Tensor, v: Tensor, z: Tensor, seen: Rendered, view: Tensor, size: int, ids: Tensor) -> Tensor:
    inside = (u >= 0) & (v >= 0) & (u <= size - 1) & (v <= size - 1) & (z > 0)
    row, column = v.clamp(0, size - 1).round().long(), u.clamp(0, size - 1).round().long()
    after = (view + 1)[:, None, None]
    met = seen.depth[after, row, column]
    same = seen.ids[after, row, column] == ids
    near = torch.where(met.isinf(), _SKY, met)
    return inside & same & ((near - z).abs() <= 0.03 * z)


def mean_motion(takes: Sequence[Take], seen: Rendered, *, every: int = 4) -> Tensor:
    """float32 (takes,): the mean length of each take's flow over frames and pixels, pixels a frame at 256 pixels."""
    size = seen.depth.shape[-1]
    flow, _ = flows(takes, seen, every=every if size >= 64 else 1)
    lengths = flow.norm(dim=1).clamp_max(size).mean(dim=(1, 2)) * (256 / size)
    return torch.stack([part.mean() for part in lengths.split([len(take) - 1 for take in takes])])
