"""SV3D_p's UNet: SVD's, told something else of every frame.

Shapes: B videos, T frames, C channels, h x w latent cells, L tokens.
"""

from __future__ import annotations

import torch
from diffusers import UNetSpatioTemporalConditionModel


class PerFrameUNet(UNetSpatioTemporalConditionModel):
    """diffusers' UNet with one conditioning vector a frame instead of three numbers a video.

    SV3D_p is given each frame's camera, so that the embedding that every block adds differs from frame to frame.
    The numbers come embedded already: 256 wide for the noise augmentation, 512 for each angle. All networks and
    their weights are diffusers' own; only the order of this forward pass is ours.

    Source: generative-models, `VideoUNet.forward`, which embeds B*T rows.
    """

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        vector: torch.Tensor,
        return_dict: bool = False,
    ) -> tuple[torch.Tensor]:
        """(v,) of shape (B, T, 4, h, w).

        Args:
            sample: (B, T, 8, h, w); h and w are multiples of what the UNet shrinks by (8 for the published ones).
            timestep: c_noise, scalar or (B,).
            encoder_hidden_states: (B, L, C).
            vector: (B, T, N), embedded.
        """
        assert not return_dict, "gives a tuple"
        batch, frames = sample.shape[:2]
        noise_BC = self.time_proj(timestep.to(sample.device).expand(batch)).to(sample.dtype)
        embedded_BTC = self.time_embedding(noise_BC)[:, None] + self.add_embedding(vector.to(sample.dtype))
        told = {
            "temb": embedded_BTC.flatten(0, 1),
            "image_only_indicator": torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device),
        }
        seen = {"encoder_hidden_states": encoder_hidden_states.repeat_interleave(frames, dim=0)}

        x = self.conv_in(sample.flatten(0, 1))
        kept = [x]
        for block in self.down_blocks:
            x, outputs = block(x, **told, **(seen if _attends(block) else {}))
            kept.extend(outputs)
        x = self.mid_block(x, **told, **seen)
        for block in self.up_blocks:
            count = len(block.resnets)
            kept, skipped = kept[:-count], tuple(kept[-count:])
            x = block(x, res_hidden_states_tuple=skipped, **told, **(seen if _attends(block) else {}))
        v = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return (v.unflatten(0, (batch, frames)),)


def _attends(block: torch.nn.Module) -> bool:
    return getattr(block, "has_cross_attention", False)
