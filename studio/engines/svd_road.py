"""From a picture to a clip's latents, and from these to frames: the road that SVD and SV3D share.

Shapes: B batch (1, or 2 with guidance: unconditional first), T frames, C channels, H x W pixels, h x w latent cells
(an eighth of a pixel row or column). Precision: the modules run in the device's; the VAE encodes in fp32 always;
the sampler's state, the schedule and all noise are fp32. Noise comes from one seeded generator on the CPU, the
picture's first, then the latents', so that a seed means the same on every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import SAMPLERS, seeded_noise
from studio.engines.clip_decode import decode_clip
from studio.engines.kernels import kernels_for
from studio.engines.progress import reporting
from studio.engines.quantised import held_in
from studio.engines.shortcuts import tell
from studio.engines.svd_encode import Encoder, as_pixels
from studio.engines.svd_network import Conditioning, Network, Wish, schedule, starting_noise
from studio.models.decoding import Decode
from studio.models.sampling import Sample, unet_of

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.run import Run
    from studio.models.spec import VariantSpec


@dataclass
class Sampling:
    """A clip's latents on their way from noise: all that is needed to go on after any step. fp32, on the host.

    Every random number that is still to come is a function of the seed and the step.
    """

    conditions: Conditioning
    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    """The last step's estimate; before the first one, anything of its shape."""
    done: int = 0

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name."""
        told = self.conditions
        tensors = {
            "embedding": told.embedding_B1C,
            "latent": told.latent_BCHW,
            "added_ids": told.added_ids_BN,
            "x": self.x_BTCHW,
            "denoised": self.denoised_BTCHW,
        }
        return {name: t.numpy() for name, t in tensors.items()} | {"done": np.array(self.done)}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None) -> Sampling | None:
        """What `state` was made of, None where that was something else: the painting of a keyframe, say."""
        if state is None or not {"embedding", "latent", "added_ids"} <= set(state):
            return None
        t = {name: torch.from_numpy(array) for name, array in state.items() if name != "done"}
        conditions = Conditioning(t["embedding"], t["latent"], t["added_ids"])
        return cls(conditions, t["x"], t["denoised"], int(state["done"]))


class Road:
    """From a picture to a clip's latents, and from these to frames: what SVD and SV3D share.

    Args:
        components: gives modules on the device by `use(*names, phase=...)`, a context manager of a tuple, and the plan
            of a request by `start(request, ctx)` (see `studio.models.components`).
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def _sampled(
        self, picture: np.ndarray, added_ids: torch.Tensor, request: Wish, run: Run, ctx: Context
    ) -> torch.Tensor:
        """The clip's scaled latents, fp32 (T, C, h, w) on the host: from noise, or from what `ctx` has kept.

        Args:
            added_ids: what the UNet is told besides the picture; see `Conditioning`.
        """
        sampling = Sampling.of(ctx.kept()) or self._begin(picture, added_ids, request, run, ctx)
        if sampling.done < request.steps:
            fresh = sampling.done == 0
            run.phase("sample", lambda way: self._sample(sampling, request, way.choice, ctx), whole=fresh)
        return sampling.x_BTCHW[0]

    def _begin(self, picture: np.ndarray, added_ids: torch.Tensor, request: Wish, run: Run, ctx: Context) -> Sampling:
        """Before the first step. CLIP and the VAE see the same picture, the VAE with noise on it."""
        levels = schedule(self._spec, request)  # which may refuse, before anything is computed
        generator = torch.Generator().manual_seed(request.seed)
        encoder = Encoder(self._components, run, ctx, total=2)
        pixels_BCHW = as_pixels(picture)
        noise_BCHW = torch.randn(pixels_BCHW.shape, generator=generator)
        conditions = Conditioning(
            encoder.embedding(pixels_BCHW),
            encoder.latent(pixels_BCHW + request.noise_augmentation * noise_BCHW),
            added_ids,
        )
        x_BTCHW = starting_noise(request, levels, generator)
        return Sampling(conditions, x_BTCHW, denoised_BTCHW=x_BTCHW)

    def _sample(self, sampling: Sampling, request: Wish, how: Sample, ctx: Context) -> None:
        """`sampling` is at its last step: x has become the scaled latents. It is brought up to date after each step."""
        device = self._components.device
        with self._components.use(unet_of(request), phase="sample") as (unet,):
            unet = held_in(how.quantise, unet, ctx)
            ctx.step(sampling.done, request.steps)
            levels, kernels = schedule(self._spec, request), kernels_for(self._components, ctx, "the UNet")
            network = Network(
                unet,
                sampling.conditions,
                request.frames,
                request.guidance_min,
                request.guidance_max,
                guider=request.guidance,
                how=how,
                exact_savings=self._components.exact_savings,
                levels=levels,
                kernels=kernels,
            )
            x_BTCHW = sampling.x_BTCHW.to(device)
            steps = (0, request.steps, network.resumable)
            with reporting(sampling, self._spec, request, ctx, *steps, kernels=kernels) as on_step:
                SAMPLERS[request.sampler](
                    lambda x, sigma: denoise_v(network, x, sigma),
                    x_BTCHW,
                    levels,
                    on_step,
                    sampling.done,
                    previous=sampling.denoised_BTCHW.to(device),
                    noise=seeded_noise(request.seed, x_BTCHW),
                )
            tell(network.shortcuts, network.moved, ctx, guided=network.guided)

    def _decode(self, latent_TCHW: torch.Tensor, how: Decode, ctx: Context, *, fp32: bool = False) -> np.ndarray:
        """uint8 (T, H, W, 3).

        Args:
            fp32: whatever the VAE's own precision is.
        """
        with self._components.use("vae", phase="decode") as (vae,):
            latent_TCHW = latent_TCHW.to(self._components.device)
            kernels = kernels_for(self._components, ctx, "the decoder")
            return decode_clip(vae, latent_TCHW, how, ctx, fp32=fp32, kernels=kernels)
