"""The noise that pocket-svd and pocket-sv3d are trained with, and what they must say about it.

Shapes: B clips, T frames, C channels, h x w latent cells.
"""

from __future__ import annotations

import torch

from studio.diffusion.precondition import v_scalings

LOG_MEAN = -0.1
"""Of ln sigma. SVD's 1.0 at 72 x 128 cells, lowered by ln 3: with a third of the cells on a side, a third of the noise
hides as much of what is larger than a cell (Hoogeboom et al. 2023, "simple diffusion", eq. 4)."""

LOG_DEVIATION = 1.6
"""Of ln sigma. Source of both: Blattmann et al. 2023, "Stable Video Diffusion", appendix D."""

AUGMENTATION_LOG_MEAN = -3.0
"""Of the ln of what the picture is noised by before it is encoded."""

AUGMENTATION_LOG_DEVIATION = 0.5
"""Source of both: the same appendix."""

DROP_BOTH = 0.1
"""How often a clip has neither the picture's latent nor its embedding: the unconditional branch of guidance."""

DROP_ONE = 0.025
"""How often it lacks one of them, for each. Source of the scheme: Brooks et al. 2023, "InstructPix2Pix", 3.2.1."""


def levels(count: int, generator: torch.Generator) -> torch.Tensor:
    """fp32 (B,): noise levels drawn from the log-normal, one from each of B equally likely parts of it.

    A batch so covers the whole range, and its loss says more; each level by itself has that distribution.
    """
    part = torch.arange(count, device=generator.device)
    inside = torch.rand(count, generator=generator, device=generator.device)
    quantile = ((part + inside) / count).clamp(1e-4, 1 - 1e-4)
    return torch.exp(LOG_MEAN + LOG_DEVIATION * torch.special.ndtri(quantile))


def augmentations(count: int, generator: torch.Generator) -> torch.Tensor:
    """fp32 (B,): how much noise is put on the pictures."""
    normal = torch.randn(count, generator=generator, device=generator.device)
    return torch.exp(AUGMENTATION_LOG_MEAN + AUGMENTATION_LOG_DEVIATION * normal)


def kept(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 (B,) twice: 1 where the clip has the picture's latent, or its embedding, 0 where it does not."""
    u = torch.rand(count, generator=generator, device=generator.device)
    both, one = DROP_BOTH, DROP_ONE
    no_latent = u < both + one
    no_embedding = (u < both) | ((u >= both + one) & (u < both + 2 * one))
    return 1 - no_latent.float(), 1 - no_embedding.float()


def noised(
    clean_BTCHW: torch.Tensor, sigma_B: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the network is given, c_in (x + sigma n) and c_noise (B,), and the v that it should say.

    The v for which c_skip x + c_out v is the clean sample. Its mean squared error is the loss of Karras et al. 2022,
    eq. 8, with their weight 1 / c_out^2.
    """
    sigma_B1111 = sigma_B[:, None, None, None, None]
    c = v_scalings(sigma_B1111)
    normal = torch.randn(clean_BTCHW.shape, generator=generator, device=clean_BTCHW.device)
    x_BTCHW = clean_BTCHW + sigma_B1111 * normal
    v_BTCHW = (clean_BTCHW - c.c_skip * x_BTCHW) / c.c_out
    return c.c_in * x_BTCHW, c.c_noise.flatten(), v_BTCHW
