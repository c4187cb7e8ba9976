"""`Shipped`: the pocket family as it lies in files, leased to the studio's own engines.

What is measured is so what a user gets: the files, the loader, the samplers and the decoder of the studio, without its
manager, which needs more than a machine for training has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from studio.diffusion.guidance import GUIDERS
from studio.engines.diffusers_folder import open_folder
from studio.engines.networks import build, set_trained_eps
from studio.engines.weights.module_weights import ModuleWeights
from studio.models.decoding import Decode
from studio.models.sampling import Sample
from studio.models.tuned import Tuned
from studio.scene.orbit import Orbit
from studio.train import export, networks

STEPS = 16
"""Of sampling, for every figure of the full size."""

GUIDANCE = 2.0
"""The most of it."""

_STAGE_OF = {"vae": "vae", "image_encoder": "clip"}


class Shipped:
    """Modules from the files of a family, in the precision that the studio uses there: fp16, on the CPU fp32.

    Args:
        roots: folders of the family; the first that has a stage is where it is read from.
        steps: of sampling.
    """

    def __init__(self, roots: Sequence[Path], device: torch.device, *, steps: int = STEPS) -> None:
        self._roots, self.device, self._steps = tuple(roots), device, steps
        self._modules: dict[tuple[str, str], nn.Module] = {}

    def module(self, stage: str, component: str) -> nn.Module:
        """The component on the device; read once.

        Raises:
            BadInput: the stage has not been trained, or a file is damaged.
        """
        key = (stage, component)
        if key not in self._modules:
            file = export.weights_file(export.find(self._roots, stage) / component)
            dtype = "fp32" if self.device.type == "cpu" else "fp16"
            opened = open_folder(lambda config: build(component, config), file)
            module = ModuleWeights(opened, str(self.device), dtype).place(lambda done, total: None)
            if component == "unet":
                set_trained_eps(module)
            self._modules[key] = module
        return self._modules[key]

    def animate(
        self, picture: np.ndarray, *, frames: int, motion_bucket: int, fps: int, seed: int, noise: float = 0.02
    ) -> np.ndarray:
        """uint8 (T, S, S, 3): pocket-svd's clip of a picture, uint8 (S, S, 3)."""
        from studio.engines.svd import Engine

        height, width = picture.shape[:2]
        wish = self._wish(
            frames, seed, noise, "linear", width=width, height=height, motion_bucket=motion_bucket, conditioning_fps=fps
        )
        engine = Engine(_SPEC, _Leased(self, "svd", frames))
        return engine.animate(picture, wish, Unwatched()).frames

    def orbit(self, picture: np.ndarray, orbit: Orbit, *, seed: int) -> np.ndarray:
        """uint8 (T, S, S, 3): pocket-sv3d's views of an object on white, uint8 (S, S, 3)."""
        from studio.engines.sv3d import Engine

        wish = self._wish(len(orbit), seed, 1e-5, "triangle", size=len(picture))
        engine = Engine(_SPEC, _Leased(self, "sv3d", len(orbit)))
        return engine.orbit(picture, picture[..., 0], orbit, wish, Unwatched()).frames

    def round_trip(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (T, S, S, 3): the frames through the VAE and back, as one clip."""
        from studio.engines.clip_decode import decode_clip
        from studio.engines.svd_encode import as_pixels, encode_mean

        vae = self.module("vae", "vae")
        with torch.no_grad():
            pixels_TCHW = torch.cat([as_pixels(frame) for frame in frames]).to(self.device)
            latent_TCHW = encode_mean(vae, pixels_TCHW) * vae.config.scaling_factor
            return decode_clip(vae, latent_TCHW, Decode("whole", len(frames)), Unwatched())

    def embeddings(self, pictures: np.ndarray) -> torch.Tensor:
        """fp32 (N, C) on the host: pocket-clip's of pictures, uint8 (N, S, S, 3)."""
        from studio.engines.svd_decode import dtype_of
        from studio.engines.svd_encode import as_pixels, clip_pixels

        encoder = self.module("clip", "image_encoder")
        with torch.no_grad():
            seen_NCHW = torch.cat([clip_pixels(as_pixels(picture)) for picture in pictures])
            return encoder(pixel_values=seen_NCHW.to(self.device, dtype_of(encoder))).image_embeds.float().cpu()

    def _wish(self, frames: int, seed: int, noise: float, guider: str, **more: Any) -> SimpleNamespace:
        assert guider in GUIDERS
        return SimpleNamespace(
            seed=seed,
            frames=frames,
            steps=self._steps,
            sampler="euler",
            guidance=guider,
            guidance_min=1.0,
            guidance_max=GUIDANCE,
            noise_augmentation=noise,
            decode="whole",
            decode_chunk=frames,
            export_fps=8.0,
            speed="exact",
            **more,
        )


_SPEC = SimpleNamespace(
    id="pocket",
    facts={
        "sigma_min": networks.SIGMA_MIN,
        "sigma_max": networks.SIGMA_MAX,
        "rho": networks.RHO,
        "told_cameras": True,
        "last_view": "picture",
    },
)
"""What the engines read of a variant."""


class _Leased:
    """Stands where the model manager's components do, and is the run of its own plan: the plainest one."""

    exact_savings = True
    compiling, compiled_dir = "off", None

    def __init__(self, shipped: Shipped, stage: str, frames: int) -> None:
        self._shipped, self._stage = shipped, stage
        self.device = str(shipped.device)
        self.dtype = "fp32" if shipped.device.type == "cpu" else "fp16"
        self.tuned = Tuned(None)
        self._choices = {"encode": None, "sample": Sample(), "decode": Decode("whole", frames)}

    def start(self, wish: Any, ctx: Any) -> _Leased:
        return self

    def phase(self, name: str, work: Any, *, whole: bool = True) -> Any:
        return work(SimpleNamespace(choice=self._choices[name]))

    def recall(self, component: str, about: Any, make: Any) -> Any:
        return make()

    @contextmanager
    def use(self, *names: str, phase: str) -> Iterator[tuple[nn.Module, ...]]:
        yield tuple(self._shipped.module(_STAGE_OF.get(name, self._stage), name) for name in names)


class Unwatched:
    """A job's context that nobody watches."""

    def check(self) -> None: ...
    def step(self, done: int, total: int, stage: str = "sample", preview: Any = None) -> None: ...
    def notice(self, sentence: str) -> None: ...
    def keep(self, state: Any) -> None: ...
    def kept(self) -> None: ...
