"""Going on with a clip: its last frames are known while the ones after them are sampled, and its colours stay.

Shapes: B batch, T frames, C channels, H x W latent cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from studio.diffusion.precondition import Denoise


def pinned(denoise: Denoise, known_BTCHW: torch.Tensor) -> Denoise:
    """The same denoiser, but for the first frames, whose clean sample is known; any sampler brings them there.

    Motion goes on across the border, since the network sees the known frames move, each at the noise level of the step.
    """
    count = known_BTCHW.shape[1]

    def with_known(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.cat([known_BTCHW, denoise(x, sigma)[:, count:]], dim=1)

    return with_known


class Look(NamedTuple):
    """Mean and standard deviation of each latent channel, fp32 (C,) each: the colours and contrast of some frames."""

    mean_C: torch.Tensor
    std_C: torch.Tensor

    @classmethod
    def of(cls, latent_TCHW: torch.Tensor) -> Look:
        """That of these frames."""
        return cls(latent_TCHW.mean(dim=(0, 2, 3)), latent_TCHW.std(dim=(0, 2, 3), correction=0))


def matched(latent_TCHW: torch.Tensor, look: Look, known: int) -> torch.Tensor:
    """The frames with the given look, but for the first `known` ones, which stay as they are.

    The correction that gives all later frames together this look sets in evenly over as many frames as are known: the
    last of them has all of it, so that nothing jumps at the border.
    """
    own = Look.of(latent_TCHW[known:])
    gain_C = look.std_C / own.std_C.clamp(min=1e-6)
    right_TCHW = (latent_TCHW - _spread(own.mean_C)) * _spread(gain_C) + _spread(look.mean_C)
    count = torch.arange(1 - known, len(latent_TCHW) + 1 - known, dtype=latent_TCHW.dtype, device=latent_TCHW.device)
    share_T111 = (count / known).clamp(0, 1).view(-1, 1, 1, 1)
    return torch.lerp(latent_TCHW, right_TCHW, share_T111)


def _spread(each_C: torch.Tensor) -> torch.Tensor:
    return each_C.view(-1, 1, 1)
