"""Pictures on their way from noise to the last step: what is kept after each, so that any process can go on from it.

Shapes: B batch (1, or 2 with guidance: unconditional first), N pictures, T tokens, C channels, H x W latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

Sketches = Mapping[str, np.ndarray]
"""Pictures of which another model does the rest: ``x``, the noisy latents, and ``denoised``, the last estimate of what
they become; fp32 (N, C, H, W) each."""


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told besides the noisy latent; fp32, on the host, each branch in a row."""

    hidden_BTC: torch.Tensor
    pooled_BC: torch.Tensor
    sizes_BN: torch.Tensor


@dataclass
class Painting:
    """The latents of pictures that are painted one after the other: all that is needed to go on after any step.

    fp32, on the host. Every random number that is still to come is a function of a picture's seed and the step.
    """

    about: str
    """The sha256 of what is painted: a process that died may have been at another phase of the same job."""

    conditions: Conditioning
    x_NCHW: torch.Tensor
    denoised_NCHW: torch.Tensor
    """Each picture's last estimate; before its first step, anything of its shape."""

    done: int = 0
    """Steps, counted over all pictures."""

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name; they change with it."""
        told = self.conditions
        tensors = {
            "hidden": told.hidden_BTC,
            "pooled": told.pooled_BC,
            "sizes": told.sizes_BN,
            "x": self.x_NCHW,
            "denoised": self.denoised_NCHW,
        }
        about = np.frombuffer(bytes.fromhex(self.about), np.uint8)
        return {name: t.numpy() for name, t in tensors.items()} | {"done": np.array(self.done), "about": about}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None, about: str) -> Painting | None:
        """What `state` was made of, None where that was something else."""
        if state is None or "about" not in state or state["about"].tobytes().hex() != about:
            return None
        t = {name: torch.tensor(array) for name, array in state.items() if name not in ("done", "about")}
        told = Conditioning(t["hidden"], t["pooled"], t["sizes"])
        return cls(about, told, t["x"], t["denoised"], int(state["done"]))

    def sketches(self) -> dict[str, np.ndarray]:
        """What another model goes on with."""
        return {"x": self.x_NCHW.numpy(), "denoised": self.denoised_NCHW.numpy()}
