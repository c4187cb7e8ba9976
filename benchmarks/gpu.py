"""SVD-XT at full size on a CUDA device: diffusers' own pipeline beside the studio's engine.

Random weights that keep the variance stand in for the trained ones, since speed and memory do not depend on them; no
network and no download is needed. Both run eagerly in fp16 around the very same modules, in turns, with an identity
control (the pipeline against itself): one UNet call with guidance, the decoding of all frames, and the whole clip.
Peak bytes are those that torch allocated on top of nothing, weights included. Both take the same noise, so that the
frames are compared too.

The machine needs torch with CUDA, transformers, accelerate, safetensors, huggingface_hub, numpy, pillow, pydantic
and pyyaml. Where diffusers is missing, bring its wheel (it is pure Python, 6 MB):

    pip download --no-deps --dest wheels diffusers==0.42.1
    pip install --no-deps wheels/diffusers-0.42.1-py3-none-any.whl

It imports requests and regex besides, which most of the above bring along.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from typing import Any

import numpy as np

from benchmarks.compare import compare

NEEDS = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "PIL", "pydantic", "yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--budget-s", type=float, default=480, help="seconds for all of it, building included (480)")
    parser.add_argument("--rounds", type=int, default=5, help="most rounds of each comparison (5)")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps of the whole clip (25)")
    parser.add_argument("--decode-chunk", type=int, default=25, help="frames decoded at a time (25, diffusers' way)")
    parser.add_argument("--tiny", action="store_true", help="the same code at tiny size on the CPU, as a check of it")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Times of both, their ratios with identity controls, peak bytes, and how far the frames differ."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        _stop(f"{', '.join(missing)} can't be imported here; python -m benchmarks gpu --help says what to bring.")
    import torch

    if not args.tiny and not torch.cuda.is_available():
        _stop("This machine has no CUDA device that torch can use; --tiny checks the code on the CPU.")
    begun = time.monotonic()
    bench = _Bench(args, begun)
    figures = bench.figures()
    figures["elapsed_s"] = time.monotonic() - begun
    return figures


class _Bench:
    """The modules of one size and both ways to run them."""

    def __init__(self, args: argparse.Namespace, begun: float) -> None:
        import torch

        from benchmarks import svd_models as models

        self._torch, self._models, self._args, self._begun = torch, models, args, begun
        self.cuda = not args.tiny
        if args.tiny:
            torch.set_num_threads(1)  # two threads that wait for a shared core take many times as long as one
        self.device, self.dtype = ("cuda:0", "fp16") if self.cuda else ("cpu", "fp32")
        size = {} if self.cuda else {"width": 128, "height": 64, "frames": 4}
        chunk = min(args.decode_chunk, size.get("frames", 25))
        self.wish = models.request(steps=args.steps, decode_chunk=chunk, **size)
        configs = models.FULL if self.cuda else models.TINY
        self.modules = models.build(configs, self.device, self.dtype)
        self.pipeline = models.make_pipeline(self.modules)
        self.engine = models.make_engine(self.modules, self.device, self.dtype)
        self.picture = models.made_picture(self.wish.width, self.wish.height)

    def figures(self) -> dict[str, Any]:
        """Everything that is measured, the cheap before the dear."""
        args, wish = self._args, self.wish
        facts = {
            "device": self._torch.cuda.get_device_name(0) if self.cuda else None,
            "size": f"{wish.width}x{wish.height}, {wish.frames} frames, {wish.steps} steps, {self.dtype}",
            "decode_chunk": wish.decode_chunk,
            "weight_bytes": {name: self._weight_bytes(module) for name, module in self.modules.items()},
            "build_s": time.monotonic() - self._begun,
        }
        with self._torch.no_grad():
            facts["unet_step"] = self._compare(*self._unet_steps(), share=0.15)
            facts["decode"] = self._compare(*self._decodes(), share=0.15)
            facts["peak_bytes"] = {
                "diffusers_unet_step": self._peak(self._unet_steps()[0]),
                "ours_unet_step": self._peak(self._unet_steps()[1]),
                "diffusers_decode": self._peak(self._decodes()[0]),
                "ours_decode": self._peak(self._decodes()[1]),
            }
        theirs, ours = self._clips()
        made: dict[str, np.ndarray] = {}
        facts["peak_bytes"]["diffusers_clip"] = self._peak(lambda: made.update(theirs=theirs()))
        facts["peak_bytes"]["ours_clip"] = self._peak(lambda: made.update(ours=ours()))
        difference = np.abs(np.rint(made["theirs"] * 255) - made["ours"])
        facts["frames_differ"] = {"most_of_255": float(difference.max()), "mean_of_255": float(difference.mean())}
        # The two clips above have warmed everything up.
        facts["clip"] = self._compare(theirs, ours, share=1.0, warm_up=0)
        return {**facts, "rounds_asked": args.rounds}

    def _compare(self, theirs: Any, ours: Any, *, share: float, warm_up: int = 1) -> dict[str, Any]:
        left_s = self._args.budget_s - (time.monotonic() - self._begun)
        found = compare(
            theirs, ours, rounds=self._args.rounds, budget_s=left_s * share, warm_up=warm_up, clock=self._clock
        )
        return {
            "diffusers_s": found.pop("baseline_s"),
            "ours_s": found.pop("candidate_s"),
            "ours_to_diffusers": found.pop("ratio"),
            **found,
        }

    def _clock(self) -> float:
        if self.cuda:
            self._torch.cuda.synchronize()
        return time.perf_counter()

    def _weight_bytes(self, module: Any) -> int:
        return sum(p.numel() * p.element_size() for p in module.parameters())

    def _peak(self, task: Any) -> int | None:
        """Most bytes that torch had allocated on the device while the task ran; None on the CPU."""
        if not self.cuda:
            task()
            return None
        self._torch.cuda.synchronize()
        self._torch.cuda.empty_cache()
        self._torch.cuda.reset_peak_memory_stats()
        task()
        self._torch.cuda.synchronize()
        return self._torch.cuda.max_memory_allocated()

    def _randn(self, *shape: int) -> Any:
        generator = self._torch.Generator().manual_seed(1)
        return self._torch.randn(*shape, generator=generator).to(self.device)

    def _unet_steps(self) -> tuple[Any, Any]:
        """One evaluation with guidance as the pipeline's loop makes it, and as ours does, from latents to v."""
        from studio.engines.svd_network import Conditioning, Network

        torch, wish, unet = self._torch, self.wish, self.modules["unet"]
        cells = (wish.height // 8, wish.width // 8)
        half = torch.float16 if self.cuda else torch.float32
        latent = self._randn(1, wish.frames, 4, *cells)
        picture = self._randn(1, 4, *cells)
        context = self._randn(1, 1, unet.config.cross_attention_dim)
        ids = torch.tensor([[6.0, 127.0, 0.02]], device=self.device)
        weights = torch.linspace(wish.guidance_min, wish.guidance_max, wish.frames, device=self.device)
        weights = weights.to(half)[None, :, None, None, None]
        time_step = torch.tensor(0.25, device=self.device)
        pictures = torch.cat([torch.zeros_like(picture), picture])[:, None].repeat(1, wish.frames, 1, 1, 1).to(half)
        contexts = torch.cat([torch.zeros_like(context), context]).to(half)
        latent_half, ids_half = latent.to(half), torch.cat([ids, ids]).to(half)

        def theirs() -> Any:
            x = torch.cat([torch.cat([latent_half] * 2), pictures], dim=2)
            v = unet(x, time_step, encoder_hidden_states=contexts, added_time_ids=ids_half, return_dict=False)[0]
            uncond, cond = v.chunk(2)
            return uncond + weights * (cond - uncond)

        conditions = Conditioning(context, picture, ids)
        network = Network(unet, conditions, wish.frames, wish.guidance_min, wish.guidance_max)
        return theirs, lambda: network(latent, time_step)

    def _decodes(self) -> tuple[Any, Any]:
        """All frames from latents to pixels on the host."""
        from studio.engines.svd_decode import decode_frames

        wish, vae = self.wish, self.modules["vae"]
        latent = self._randn(1, wish.frames, 4, wish.height // 8, wish.width // 8)
        latent_half = latent.to(vae.dtype)
        ctx = self._models.quiet_context()

        def theirs() -> Any:
            video = self.pipeline.decode_latents(latent_half, wish.frames, wish.decode_chunk)
            return self.pipeline.video_processor.postprocess_video(video=video, output_type="np")

        return theirs, lambda: decode_frames(vae, latent[0], wish.decode_chunk, ctx)

    def _clips(self) -> tuple[Any, Any]:
        """From the picture to frames on the host."""
        ctx = self._models.quiet_context()
        return (
            lambda: self._models.call_pipeline(self.pipeline, self.picture, self.wish),
            lambda: self.engine.animate(self.picture, self.wish, ctx).frames,
        )


def _stop(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    raise SystemExit(2)
