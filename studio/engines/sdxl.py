"""Stable Diffusion XL: diffusers' and transformers' modules under our own sampling loop.

Shapes: B batch (1, or 2 with guidance: unconditional first), N pictures, T tokens, C channels, H x W pixels, h x w
latent cells (an eighth of a pixel row or column). The modules run in the device's precision; the sampler's state, the
schedule and all noise are fp32. Noise comes from one seeded generator on the CPU, so that a seed means the same on
every device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
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
from studio.engines.sdxl_painting import Conditioning, Painting, Sketches
from studio.engines.sdxl_weights import open_weights as open_weights
from studio.engines.svd_decode import dtype_of
from studio.errors import StudioError
from studio.media.clip import Clip
from studio.models.costs.sdxl import steps_of
from studio.models.sampling import Sample

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.costs import Way
    from studio.models.run import Run
    from studio.models.spec import VariantSpec

_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

COMPONENTS = (*_TEXT_ENCODERS, "unet", "vae")
"""Of the base; the refiner lacks the first."""

_CELL = 8
"""Pixels on a side of one latent cell."""

_LATENT_CHANNELS = 4


class Wish(Protocol):
    """The fields of a request that this family listens to (engines know no modes).

    `candidates` is how many pictures are asked for together; `refine_from`, where a refiner goes on, as a share of the
    way from noise to picture, None where there is none.
    """

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
    @property
    def candidates(self) -> int: ...
    @property
    def refine_from(self) -> float | None: ...


class Engine:
    """Stable Diffusion XL, base or refiner: which one is data in `spec` and in the weights.

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

    def paint_all(self, prompt: str, wishes: Sequence[Wish], ctx: Context) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) for each wish: a picture of what the prompt says, at the wish's size.

        All are sampled before the first is decoded, so that each network comes to the device once. Where memory runs
        out the work goes on in a leaner way, after the last step that was finished; where the process died, a new one
        goes on from what this one kept.

        Args:
            prompt: any text; what is too long is cut, which is told in a notice.
            wishes: with no None left in them but `refine_from`; they differ in their seeds alone. The size is a
                multiple of 8.

        Raises:
            BadInput: a LoRA is not there, damaged or for other networks.
            Cancelled: at most one sampling step after it was asked for.
            DoesNotFit: memory ran out in the leanest way too.
            StudioError: the model gave numbers that are not finite, in fp32 too.
        """
        run = self._components.start(wishes[0], ctx)
        yield from self._decoded(self._sampled(prompt, wishes, None, run, ctx), run, ctx)

    def sketch_all(self, prompt: str, wishes: Sequence[Wish], ctx: Context) -> Sketches:
        """The same pictures as far as `refine_from`; see `paint_all`."""
        run = self._components.start(wishes[0], ctx)
        return self._sampled(prompt, wishes, None, run, ctx).sketches()

    def refine_all(self, prompt: str, wishes: Sequence[Wish], sketches: Sketches, ctx: Context) -> Iterator[np.ndarray]:
        """The pictures that become of what `sketch_all` gave for the same wishes; see `paint_all`.

        Source: Podell et al. 2023, "SDXL", section 2.5; its split of the noise levels is that of Balaji et al. 2022,
        "eDiff-I".
        """
        run = self._components.start(wishes[0], ctx)
        yield from self._decoded(self._sampled(prompt, wishes, sketches, run, ctx), run, ctx)

    def _sampled(
        self, prompt: str, wishes: Sequence[Wish], sketches: Sketches | None, run: Run, ctx: Context
    ) -> Painting:
        """All pictures at the last of this model's steps."""
        wish = wishes[0]
        assert wish.height % _CELL == wish.width % _CELL == 0, (wish.height, wish.width)
        assert wish.candidates == len(wishes), "the plan is for all of them"
        for path, _ in wish.loras:
            sdxl_lora.read_lora(Path(path))  # what is wrong with it is told before anything long begins
        about = _digest(self._spec.id, prompt, wishes, sketches)
        steps = steps_of(self._spec, wish)
        with torch.no_grad():
            painting = Painting.of(ctx.kept(), about) or self._begin(about, prompt, wishes, sketches, run, ctx)
            if painting.done < len(wishes) * len(steps):
                run.phase(
                    "sample",
                    lambda way: self._sample(painting, wishes, steps, way.choice, ctx),
                    whole=painting.done == 0,
                )
        return painting

    def _begin(
        self, about: str, prompt: str, wishes: Sequence[Wish], sketches: Sketches | None, run: Run, ctx: Context
    ) -> Painting:
        """Before the first step."""
        conditions = self._conditions(prompt, wishes[0], run, ctx)
        if sketches is not None:
            return Painting(about, conditions, torch.tensor(sketches["x"]), torch.tensor(sketches["denoised"]))
        shape = (1, _LATENT_CHANNELS, wishes[0].height // _CELL, wishes[0].width // _CELL)
        noise_NCHW = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(w.seed)) for w in wishes])
        x_NCHW = sigmas.initial_noise(noise_NCHW, sigmas.leading(self._levels(), wishes[0].steps)[0])
        return Painting(about, conditions, x_NCHW, denoised_NCHW=x_NCHW.clone())

    def _conditions(self, prompt: str, wish: Wish, run: Run, ctx: Context) -> Conditioning:
        """The text encoders read the same texts, one after the other; what they gave for them before is recalled, and
        then none needs to be on the device.

        With an empty negative prompt the base's unconditional branch is told nothing at all, zeros, as in training; the
        refiner's, what an empty text says.
        """
        facts = self._spec.facts
        guided = wish.guidance_scale > 1
        told_both = guided and bool(wish.negative_prompt or facts.get("empty_negative") == "encoded")
        texts = (wish.negative_prompt, prompt) if told_both else (prompt,)
        about = (texts, sdxl_lora.identity(wish.loras))
        names = [name for name in _TEXT_ENCODERS if name in self._spec.component_bytes]
        told = []
        for i, name in enumerate(names):
            ctx.step(i, len(names), "prompt")
            told.append(self._components.recall(name, about, partial(self._read, name, texts, wish, run)))
        ctx.step(len(names), len(names), "prompt")
        for notice in told[0].notices:
            ctx.notice(notice)
        hidden_BTC = torch.cat([t.hidden_BTC for t in told], dim=-1)
        pooled_BC = told[-1].pooled_BC
        if guided and not told_both:
            hidden_BTC = torch.cat([torch.zeros_like(hidden_BTC), hidden_BTC])
            pooled_BC = torch.cat([torch.zeros_like(pooled_BC), pooled_BC])
        # Original size, the crop's top left corner, target size: a picture that was neither scaled nor cropped. The
        # refiner is told how beautiful it is to be instead of the target size.
        size = [wish.height, wish.width]
        scores = facts.get("aesthetic_scores")
        ends = [[scores[1]], [scores[0]]] if scores else [size, size]
        rows = [[*size, 0, 0, *end] for end in ends][-len(hidden_BTC) :]
        return Conditioning(hidden_BTC, pooled_BC, torch.tensor(rows, dtype=torch.float32))

    def _read(self, name: str, texts: tuple[str, ...], wish: Wish, run: Run) -> sdxl_prompt.Told:
        def read(way: Way) -> sdxl_prompt.Told:
            with (
                self._components.use(name, phase="prompt") as (encoder,),
                sdxl_lora.applied(name, encoder, wish.loras),
            ):
                return sdxl_prompt.encode(encoder, texts, self._components.device)

        return run.phase("prompt", read)

    def _levels(self) -> torch.Tensor:
        facts = self._spec.facts
        return sigmas.trained_levels(facts["timesteps"], beta_start=facts["beta_start"], beta_end=facts["beta_end"])

    def _sample(self, painting: Painting, wishes: Sequence[Wish], steps: range, how: Sample, ctx: Context) -> None:
        """`painting` is at its last step: x has become the scaled latents. It is brought up to date after each step."""
        device, levels, wish = self._components.device, self._levels(), wishes[0]
        ladder = sigmas.leading(levels, wish.steps)[: steps.stop + 1]
        total = len(wishes) * len(steps)

        def on_step(index: int, done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
            # Copying to the host also waits for the device, without which progress would run ahead of the work.
            x, denoised = x.cpu(), denoised.cpu()
            if not bool(torch.isfinite(x).all()):
                raise StudioError(
                    f"{self._spec.id} gave numbers that are not finite at step {done}.",
                    "Lower guidance_scale, or set precision to fp32.",
                )
            painting.x_NCHW[index], painting.denoised_NCHW[index] = x[0], denoised[0]
            painting.done = index * len(steps) + done - steps.start
            ctx.keep(painting.state())
            ctx.step(painting.done, total, preview=lambda: _preview(painting.denoised_NCHW[: index + 1]))

        with (
            self._components.use("unet", phase="sample") as (unet,),
            sdxl_lora.applied("unet", unet, wish.loras),
        ):
            ctx.step(painting.done, total)
            network = Network(unet, painting.conditions, wish.guidance_scale, device=device, how=how)
            while painting.done < total:
                index, done = divmod(painting.done, len(steps))
                x_BCHW = painting.x_NCHW[index : index + 1].to(device)
                SAMPLERS[wish.sampler](
                    lambda x, sigma: denoise_noise(network, x, sigma, levels),
                    x_BCHW,
                    ladder,
                    partial(on_step, index),
                    steps.start + done,
                    previous=painting.denoised_NCHW[index : index + 1].to(device),
                    noise=seeded_noise(wishes[index].seed, x_BCHW),
                )

    def _decoded(self, painting: Painting, run: Run, ctx: Context) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) each."""
        latents = painting.x_NCHW.split(1)
        for latent_BCHW in latents:
            with torch.no_grad():
                work = partial(self._decode, latent_BCHW, ctx)
                picture = run.phase("decode", work, whole=len(latents) == 1)
            yield picture

    def _decode(self, latent_BCHW: torch.Tensor, ctx: Context, way: Way) -> np.ndarray:
        """uint8 (H, W, 3)."""
        with self._components.use("vae", phase="decode") as (vae,):
            # In fp32 where the config says that half precision overflows, as that of the published one does.
            steady = vae.config.get("force_upcast", True)
            return decode_clip(vae, latent_BCHW.to(self._components.device), way.choice, ctx, fp32=steady)[0]


def _preview(denoised_NCHW: torch.Tensor) -> Clip:
    """What the latents look like: one alone, or all in a grid."""
    from studio.media.grid import picture_grid  # with all that films need, which a machine for training lacks

    pictures = xl_latent_to_rgb(denoised_NCHW)
    return Clip(pictures, 1.0) if len(pictures) == 1 else picture_grid(pictures)


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


def _digest(variant: str, prompt: str, wishes: Sequence[Wish], sketches: Sketches | None) -> str:
    """Names a painting by all that it depends on."""
    wish = wishes[0]
    fields = ("negative_prompt", "width", "height", "steps", "sampler", "guidance_scale", "refine_from")
    said = [variant, prompt, *(getattr(wish, field) for field in fields), sdxl_lora.identity(wish.loras)]
    said += [[w.seed for w in wishes], *(hashlib.sha256(a.tobytes()).hexdigest() for a in (sketches or {}).values())]
    return hashlib.sha256(repr(said).encode("utf-8", "backslashreplace")).hexdigest()
