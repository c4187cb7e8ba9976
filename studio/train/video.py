"""What the training of pocket-svd and of pocket-sv3d has in common: latents in a pool, noise, and a UNet that says v.

Shapes: B clips, T frames, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from studio.engines.networks import build, set_trained_eps
from studio.train import noise
from studio.train.encoding import as_pixels, embed, encode, frozen
from studio.train.pool import Pool, Rows
from studio.train.stages import Setup


class VideoTraining(ABC):
    """A UNet of SVD's kind on its way.

    Args:
        config: of the UNet.
        weights: its first ones; None for random ones. Those of another shape stay random.
        batch: clips in a step; `made` of them are rendered at a time, `first` before the first step.
    """

    helpers = ()
    learning_rate = 3e-4

    def __init__(
        self,
        setup: Setup,
        salt: str,
        config: dict[str, Any],
        weights: Mapping[str, torch.Tensor] | None,
        *,
        batch: int,
        made: int,
        first: int,
        capacity: int,
    ) -> None:
        self._config, self._batch, self._made = config, batch, made
        self._frames = setup.size.frames
        torch.manual_seed(setup.seed)
        unet = build("unet", config)
        set_trained_eps(unet)
        if weights is not None:
            fresh = unet.state_dict()
            unet.load_state_dict(
                {name: t if t.shape == fresh[name].shape else fresh[name] for name, t in weights.items()}
            )
        self._unet = unet.to(setup.device)
        self.exported = {"unet": self._unet}
        self._vae = frozen(setup, "vae", "vae")
        self._image_encoder = frozen(setup, "clip", "image_encoder")
        self._source, self._dice = setup.source(salt), setup.generator(salt)
        self._pool = Pool(self._make, capacity, share=setup.making_share)
        self._pool.fill(first)

    def step(self, progress: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean squared error of v over a batch: see `studio.train.noise`."""
        self._pool.keep_fresh()
        rows = self._pool.draw(self._batch, self._dice)
        clean_BTCHW = rows["latents"].float()
        count, frames = clean_BTCHW.shape[:2]
        sigma_B = noise.levels(count, self._dice)
        x_BTCHW, c_noise_B, v_BTCHW = noise.noised(clean_BTCHW, sigma_B, self._dice)
        keeps_latent_B, keeps_embedding_B = noise.kept(count, self._dice)
        picture_BCHW, told = self._told(rows)
        picture_BCHW = picture_BCHW * keeps_latent_B[:, None, None, None]
        embedding_B1C = rows["embedding"].float() * keeps_embedding_B[:, None, None]
        said_BTCHW = self._unet(
            torch.cat([x_BTCHW, picture_BCHW[:, None].expand(-1, frames, -1, -1, -1)], dim=2),
            c_noise_B,
            encoder_hidden_states=embedding_B1C,
            **told,
            return_dict=False,
        )[0]
        error_B = functional.mse_loss(said_BTCHW.float(), v_BTCHW, reduction="none").mean(dim=(1, 2, 3, 4))
        third = max(1, count // 3)
        by_noise_B = error_B.detach()  # the levels rise along the batch
        told_of = {"low_noise": by_noise_B[:third].mean(), "high_noise": by_noise_B[-third:].mean()}
        return error_B.mean(), told_of

    def configs(self) -> Mapping[str, dict]:
        return {"unet": self._config}

    def other_files(self) -> Mapping[str, str]:
        return {}

    @abstractmethod
    def _make(self) -> Rows:
        """`made` more clips: latents, embedding, and what `_told` reads."""

    @abstractmethod
    def _told(self, rows: Rows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The pictures' latents, fp32 (B, 4, h, w), not scaled, and what the UNet is told besides, by its name."""

    def _encoded(self, frames_BTCHW: torch.Tensor, picture_BCHW: torch.Tensor) -> Rows:
        """fp16: scaled latents (B, T, 4, h, w) of uint8 frames, and embeddings (B, 1, C) of uint8 pictures."""
        latents_NCHW = encode(self._vae, as_pixels(frames_BTCHW.flatten(0, 1))) * self._vae.config.scaling_factor
        return {
            "latents": latents_NCHW.unflatten(0, frames_BTCHW.shape[:2]).half(),
            "embedding": embed(self._image_encoder, picture_BCHW).half(),
        }
