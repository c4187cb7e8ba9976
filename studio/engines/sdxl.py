"""Stable Diffusion XL: diffusers' and transformers' modules under our own sampling loop.

Shapes: B batch (1, or 2 with guidance: unconditional first), T tokens, C channels, H x W pixels, h x w latent cells (an
eighth of a pixel row or column). The modules run in the device's precision; the sampler's state, the schedule and all
noise are fp32. Noise comes from one seeded generator on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from studio.diffusion import sigmas
from studio.diffusion.precondition import denoise_noise
from studio.diffusion.samplers import SAMPLERS, seeded_noise
from studio.diffusion.xl_preview import xl_latent_to_rgb
from studio.engines import sdxl_lora, sdxl_prompt
from studio.engines.clip_decode import decode_clip
from studio.engines.sdxl_weights import open_weights as open_weights
from studio.engines.svd_decode import dtype_of, in_fp32
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.costs import Way
from studio.models.decoding import Decode
from studio.models.sampling import Sample
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.run import Run

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4


class Wish(Protocol):
    """The fields of a request that this family listens to (engines know no modes)."""

    @property
    def negative_prompt(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def sampler(self) -> str: ...
    @property
    def guidance_scale(self) -> float: ...
    @property
    def loras(self) -> Sequence[tuple[str, float]]: ...


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told besides the noisy latent; fp32, on the host, each branch in a row."""

    hidden_BTC: torch.Tensor
    pooled_BC: torch.Tensor
    sizes_BN: torch.Tensor


@dataclass
class Painting:
    """A picture's latent on its way from noise: all that is needed to go on after any step. fp32, on the host.

    Every random number that is still to come is a function of the seed and the step.
    """

    about: str
    """The sha256 of what is painted: a process that died may have been at another picture of the same job."""

    conditions: Conditioning
    x_BCHW: torch.Tensor
    denoised_BCHW: torch.Tensor
    """The last step's estimate; before the first one, anything of its shape."""

    done: int = 0

    def state(self) -> dict[str, np.ndarray]:
        """The same as arrays by name."""
        told = self.conditions
        tensors = {
            "hidden": told.hidden_BTC,
            "pooled": told.pooled_BC,
            "sizes": told.sizes_BN,
            "x": self.x_BCHW,
            "denoised": self.denoised_BCHW,
        }
        about = np.frombuffer(bytes.fromhex(self.about), np.uint8)
        return {name: t.numpy() for name, t in tensors.items()} | {"done": np.array(self.done), "about": about}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray] | None, about: str) -> Painting | None:
        """What `state` was made of, None where that was something else."""
        if state is None or "about" not in state or state["about"].tobytes().hex() != about:
            return None
        t = {name: torch.from_numpy(array) for name, array in state.items() if name not in ("done", "about")}
        told = Conditioning(t["hidden"], t["pooled"], t["sizes"])
        return cls(about, told, t["x"], t["denoised"], int(state["done"]))


class Engine:
    """Stable Diffusion XL, base: which one is data in `spec` and in the weights.

    Args:
        components: gives modules on the device by `use(*names, phase=...)`, a context manager of a tuple, and the plan
            of a request by `start(request, ctx)` (see `studio.models.components`).
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that the model was trained at whose shape is nearest to that of these."""
        return min(
            (tuple(size) for size in self._spec.facts["buckets"]),
            key=lambda size: abs(math.log(size[0] * height / (size[1] * width))),
        )

    def paint(self, prompt: str, request: Wish, ctx: Context) -> np.ndarray:
        """uint8 (H, W, 3): a picture of what the prompt says, at the request's size.

        Where memory runs out the work goes on in a leaner way, after the last step that was finished; where the
        process died, a new one goes on from what this one kept.

        Args:
            prompt: any text; what is too long is cut, which is told in a notice.
            request: with no None left in it; its size is a multiple of 8.

        Raises:
            BadInput: a LoRA is not there, damaged or for other networks.
            Cancelled: at most one sampling step after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        assert request.height % _CELL == request.width % _CELL == 0, (request.height, request.width)
        for path, _ in request.loras:
            sdxl_lora.read_lora(Path(path))  # what is wrong with it is told before anything long begins
        run = self._components.start(request, ctx)
        about = _digest(self._spec.id, prompt, request)
        with torch.no_grad():
            painting = Painting.of(ctx.kept(), about) or self._begin(about, prompt, request, run, ctx)
            if painting.done < request.steps:
                run.phase("sample", lambda way: self._sample(painting, request, way.choice, ctx))
            latent_BCHW = painting.x_BCHW
            return run.phase("decode", lambda way: self._decode(latent_BCHW, way.choice, ctx))

    def _begin(self, about: str, prompt: str, request: Wish, run: Run, ctx: Context) -> Painting:
        """Before the first step."""
        conditions = self._conditions(prompt, request, run, ctx)
        shape = (1, _LATENT_CHANNELS, request.height // _CELL, request.width // _CELL)
        noise_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(request.seed))
        x_BCHW = sigmas.initial_noise(noise_BCHW, sigmas.leading(self._levels(), request.steps)[0])
        return Painting(about, conditions, x_BCHW, denoised_BCHW=x_BCHW)

    def _conditions(self, prompt: str, request: Wish, run: Run, ctx: Context) -> Conditioning:
        """Both text encoders read the same texts, one after the other; what they gave for them before is recalled, and
        then neither needs to be on the device.

        With an empty negative prompt the unconditional branch is told nothing at all: zeros, as in training.
        """
        guided = request.guidance_scale > 1
        texts = (request.negative_prompt, prompt) if guided and request.negative_prompt else (prompt,)
        about = (texts, sdxl_lora.identity(request.loras))
        told = []
        for i, name in enumerate(("text_encoder", "text_encoder_2")):
            ctx.step(i, 2, "prompt")
            told.append(self._components.recall(name, about, partial(self._read, name, texts, request, run)))
        ctx.step(2, 2, "prompt")
        for notice in told[0].notices:
            ctx.notice(notice)
        hidden_BTC = torch.cat([t.hidden_BTC for t in told], dim=-1)
        pooled_BC = told[1].pooled_BC
        if guided and len(texts) == 1:
            hidden_BTC = torch.cat([torch.zeros_like(hidden_BTC), hidden_BTC])
            pooled_BC = torch.cat([torch.zeros_like(pooled_BC), pooled_BC])
        # Original size, the crop's top left corner, target size: a picture that was neither scaled nor cropped.
        size = [request.height, request.width]
        sizes_BN = torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32).repeat(len(hidden_BTC), 1)
        return Conditioning(hidden_BTC, pooled_BC, sizes_BN)

    def _read(self, name: str, texts: tuple[str, ...], request: Wish, run: Run) -> sdxl_prompt.Told:
        def read(way: Way) -> sdxl_prompt.Told:
            with (
                self._components.use(name, phase="prompt") as (encoder,),
                sdxl_lora.applied(name, encoder, request.loras),
            ):
                return sdxl_prompt.encode(encoder, texts, self._components.device)

        return run.phase("prompt", read)

    def _levels(self) -> torch.Tensor:
        facts = self._spec.facts
        return sigmas.trained_levels(facts["timesteps"], beta_start=facts["beta_start"], beta_end=facts["beta_end"])

    def _sample(self, painting: Painting, request: Wish, how: Sample, ctx: Context) -> None:
        """`painting` is at its last step: x has become the scaled latent. It is brought up to date after each step."""
        device, levels = self._components.device, self._levels()

        def on_step(done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
            # Copying to the host also waits for the device, without which progress would run ahead of the work.
            x, denoised = x.cpu(), denoised.cpu()
            if not bool(torch.isfinite(x).all()):
                raise StudioError(
                    f"{self._spec.id} gave numbers that are not finite at step {done}.",
                    "Lower guidance_scale, or set precision to fp32.",
                )
            painting.x_BCHW, painting.denoised_BCHW, painting.done = x, denoised, done
            ctx.keep(painting.state())
            ctx.step(done, request.steps, preview=lambda: Clip(xl_latent_to_rgb(denoised), 1.0))

        with (
            self._components.use("unet", phase="sample") as (unet,),
            sdxl_lora.applied("unet", unet, request.loras),
        ):
            ctx.step(painting.done, request.steps)
            network = Network(unet, painting.conditions, request.guidance_scale, device=device, how=how)
            x_BCHW = painting.x_BCHW.to(device)
            SAMPLERS[request.sampler](
                lambda x, sigma: denoise_noise(network, x, sigma, levels),
                x_BCHW,
                sigmas.leading(levels, request.steps),
                on_step,
                painting.done,
                previous=painting.denoised_BCHW.to(device),
                noise=seeded_noise(request.seed, x_BCHW),
            )

    def _decode(self, latent_BCHW: torch.Tensor, how: Decode, ctx: Context) -> np.ndarray:
        """uint8 (H, W, 3)."""
        with self._components.use("vae", phase="decode") as (vae,):
            return decode_clip(_steady(vae), latent_BCHW.to(self._components.device), how, ctx)[0]


class Network:
    """The UNet as a function (c_in x, timestep) -> noise, guided; what a denoiser is made of.

    Guidance acts on the noise, which is the same as on the denoised sample: both branches share x.

    Args:
        conditions: on any device; two rows with guidance, else one.
        how: which of the ways that differ by rounding alone.
    """

    def __init__(
        self, unet: nn.Module, conditions: Conditioning, guidance_scale: float, *, device: str, how: Sample
    ) -> None:
        self._unet = unet
        self._guidance_scale = guidance_scale
        hidden, pooled = (t.to(device, dtype_of(unet)) for t in (conditions.hidden_BTC, conditions.pooled_BC))
        sizes = conditions.sizes_BN.to(device)
        rows = [slice(None)] if how.branches_at_once else [slice(i, i + 1) for i in range(len(hidden))]
        self._calls = [(hidden[some], {"text_embeds": pooled[some], "time_ids": sizes[some]}) for some in rows]

    def __call__(self, scaled_BCHW: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The noise, fp32 (1, C, h, w)."""
        noise_BCHW = torch.cat([self._noise(scaled_BCHW, timestep, *told) for told in self._calls])
        if len(noise_BCHW) == 1:
            return noise_BCHW
        uncond_BCHW, cond_BCHW = noise_BCHW.chunk(2)
        return torch.lerp(uncond_BCHW, cond_BCHW, self._guidance_scale)

    def _noise(
        self, scaled_BCHW: torch.Tensor, timestep: torch.Tensor, hidden_BTC: torch.Tensor, added: dict[str, Any]
    ) -> torch.Tensor:
        x_BCHW = scaled_BCHW.to(hidden_BTC.dtype).expand(len(hidden_BTC), -1, -1, -1)
        told = {"encoder_hidden_states": hidden_BTC, "added_cond_kwargs": added}
        return self._unet(x_BCHW, timestep, **told, return_dict=False)[0].float()


def _steady(vae: nn.Module) -> Any:
    """The autoencoder's decoder in the precision that it is steady in: fp32 where its config says that half overflows,
    as that of the published one does, else its own."""
    if not vae.config.get("force_upcast", True):
        return vae
    return SimpleNamespace(
        config=vae.config, decoder=in_fp32(vae.decoder), post_quant_conv=in_fp32(vae.post_quant_conv)
    )


def _digest(variant: str, prompt: str, request: Wish) -> str:
    """Names a painting by all that it depends on."""
    fields = ("negative_prompt", "seed", "width", "height", "steps", "sampler", "guidance_scale")
    said = [variant, prompt, *(getattr(request, field) for field in fields), sdxl_lora.identity(request.loras)]
    return hashlib.sha256(repr(said).encode("utf-8", "backslashreplace")).hexdigest()
