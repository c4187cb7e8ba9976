"""The two costly parts of a clip, as diffusers' pipeline does them and as ours does, from the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

DIFFUSERS_FLOP = 159.90e12
OURS_FLOP = 153.91e12
"""Of a guided evaluation of 25 frames at 1024x576, counted on the meta device (tests/engines/test_exact.py)."""

Step = Callable[[], Any]
"""One evaluation of the UNet, or one decoding."""


class StepInputs:
    """What one evaluation is told: latents at a middling noise level, a picture, an embedding, ids, guidance.

    Args:
        randn: gives fp32 normal numbers on the device, from a seed.
        half: the precision that the UNet runs in.
    """

    def __init__(self, wish: SimpleNamespace, randn: Any, half: Any, width: int) -> None:
        import torch

        from studio.engines.svd_network import Conditioning

        self.torch, self.wish, self.half = torch, wish, half
        cells = (wish.height // 8, wish.width // 8)
        self.latent_BTCHW = randn(1, wish.frames, 4, *cells)
        device = self.latent_BTCHW.device
        ids = torch.tensor([[6.0, 127.0, 0.02]], device=device)
        self.conditions = Conditioning(randn(1, 1, width, seed=3), randn(1, 4, *cells, seed=2), ids)
        self.c_noise = torch.tensor(0.25, device=device)

    def theirs(self, unet: Any, *, dtype: Any = None) -> Step:
        """v in the UNet's precision (1, T, C, h, w), as `StableVideoDiffusionPipeline.__call__` computes it.

        With a largest guidance of 1 there is one branch, as there.

        Args:
            dtype: the UNet's, where it is not that of the rest.
        """
        torch, wish, told = self.torch, self.wish, self.conditions
        dtype = dtype or self.half
        picture = told.latent_BCHW
        guided = wish.guidance_max > 1
        weights = torch.linspace(wish.guidance_min, wish.guidance_max, wish.frames, device=picture.device)
        weights = weights.to(dtype)[None, :, None, None, None]

        def branches(without: Any, with_picture: Any) -> Any:
            return (torch.cat([without, with_picture]) if guided else with_picture).to(dtype)

        pictures = branches(torch.zeros_like(picture), picture)[:, None].repeat(1, wish.frames, 1, 1, 1)
        contexts = branches(torch.zeros_like(told.embedding_B1C), told.embedding_B1C)
        ids = branches(told.added_ids_BN, told.added_ids_BN)
        latent = self.latent_BTCHW.to(dtype)

        def step() -> Any:
            x = torch.cat([torch.cat([latent] * 2) if guided else latent, pictures], dim=2)
            v = unet(x, self.c_noise, encoder_hidden_states=contexts, added_time_ids=ids, return_dict=False)[0]
            if not guided:
                return v
            uncond, cond = v.chunk(2)
            return uncond + weights * (cond - uncond)

        return step

    def network(self, unet: Any, **given: Any) -> Any:
        """Our network around the UNet, which it rewrites; `given` as for `Network`."""
        from studio.engines.svd_network import Network

        wish = self.wish
        return Network(unet, self.conditions, wish.frames, wish.guidance_min, wish.guidance_max, **given)

    def ours(self, unet: Any, **given: Any) -> Step:
        """v, fp32, by our network, from latents to v."""
        network = self.network(unet, **given)
        return lambda: network(self.latent_BTCHW, self.c_noise)


def diffusers_decode(pipeline: Any, latent_TCHW: Any, chunk: int) -> Step:
    """The pipeline's own decoding of scaled latents, so many frames at a time, and its pictures on the host."""
    latent_BTCHW = latent_TCHW[None].to(pipeline.vae.dtype)

    def decode() -> Any:
        video = pipeline.decode_latents(latent_BTCHW, latent_BTCHW.shape[1], chunk)
        return pipeline.video_processor.postprocess_video(video=video, output_type="np")

    return decode


def our_decode(vae: Any, latent_TCHW: Any, **given: Any) -> Step:
    """Ours of the whole clip, as pictures on the host; `given` as for `decode_clip`."""
    from benchmarks.svd_models import quiet_context
    from studio.engines.clip_decode import decode_clip
    from studio.models.decoding import Decode

    ctx, how = quiet_context(), Decode("whole", len(latent_TCHW))
    return lambda: decode_clip(vae, latent_TCHW, how, ctx, **given)
