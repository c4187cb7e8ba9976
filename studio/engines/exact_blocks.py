"""The blocks of SVD's UNet with what is constant over a run computed once; what is saved is in `studio.engines.exact`.

Their arithmetic is in `studio.engines.block_functions`, and how it is done on the device in a `Kernels`.

Shapes: B branches, T frames, C channels, H x W latent cells, S = H W, N = B T; R rows of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import AlphaBlender, ResnetBlock2D, SpatioTemporalResBlock, TemporalResnetBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn
from torch.nn import functional

from studio.engines.block_functions import (
    add_attended,
    add_feed_forward,
    blend,
    picture,
    projections,
    residual,
    temporal_residual,
    tokens,
    with_positions,
)
from studio.engines.kernels import EAGER, Kernels, as_one
from studio.engines.weights.streaming import present


@dataclass(frozen=True)
class BlockConstants:
    """The constants of one transformer: for each of its block pairs the two biases, and the frames' embedding."""

    spatial_BC: tuple[torch.Tensor, ...]
    temporal_BC: tuple[torch.Tensor, ...]
    position_TC: torch.Tensor
    spatial_share: float


@dataclass(frozen=True)
class Prepared:
    """All that stays the same while one clip is sampled; made by `prepare`, belongs to that UNet alone."""

    branches: int
    frames: int
    added_RC: torch.Tensor
    """Embedding of what is told besides the picture: one row where it is the same for all branches and frames, else
    a row a branch (R = B), or one a branch and frame (R = B T)."""
    blocks: Mapping[nn.Module, BlockConstants]
    spatial_shares: Mapping[nn.Module, float]
    indicator_BT: torch.Tensor
    """Zeros: diffusers' blocks read the number of frames off its shape."""
    ff_rows: int | None
    """Most tokens that a feed-forward takes at a time; None for all."""
    kernels: Kernels = EAGER

    def __getitem__(self, some: slice) -> Prepared:
        """The same constants for some of the branches only."""
        indicator_BT = self.indicator_BT[some]
        rows = len(self.added_RC)
        added_RC = self.added_RC if rows == 1 else self.added_RC.unflatten(0, (self.branches, -1))[some].flatten(0, 1)
        blocks = {
            module: replace(
                constants,
                spatial_BC=tuple(bias_BC[some] for bias_BC in constants.spatial_BC),
                temporal_BC=tuple(bias_BC[some] for bias_BC in constants.temporal_BC),
            )
            for module, constants in self.blocks.items()
        }
        return replace(self, branches=len(indicator_BT), indicator_BT=indicator_BT, added_RC=added_RC, blocks=blocks)


@dataclass(frozen=True)
class Moment:
    """One call: the run's constants and the activated embedding of this noise level."""

    prepared: Prepared
    embedding_RC: torch.Tensor


class SavingResBlock(SpatioTemporalResBlock):
    def forward(self, hidden_states, temb=None, image_only_indicator=None):
        if not isinstance(temb, Moment):
            return super().forward(hidden_states, temb, image_only_indicator)
        prepared, spatial, temporal = temb.prepared, self.spatial_res_block, self.temporal_res_block
        x_NCHW = prepared.kernels.run(
            residual,
            hidden_states,
            spatial.time_emb_proj(temb.embedding_RC),
            *residual_weights(spatial),
            groups=spatial.norm1.num_groups,
            eps=(spatial.norm1.eps, spatial.norm2.eps),
        )
        return prepared.kernels.run(
            temporal_residual,
            x_NCHW,
            temporal.time_emb_proj(temb.embedding_RC),
            1 - prepared.spatial_shares[self],
            *residual_weights(temporal),
            branches=prepared.branches,
            groups=temporal.norm1.num_groups,
            eps=(temporal.norm1.eps, temporal.norm2.eps),
        )


class SavingTransformer(TransformerSpatioTemporalModel):
    def forward(self, hidden_states, encoder_hidden_states=None, image_only_indicator=None, return_dict=True):
        prepared = encoder_hidden_states
        if not isinstance(prepared, Prepared):
            return super().forward(hidden_states, prepared, image_only_indicator, return_dict)
        constants, run, branches = prepared.blocks[self], prepared.kernels.run, prepared.branches
        x_NSC = run(
            tokens,
            hidden_states,
            self.norm.weight,
            self.norm.bias,
            self.proj_in.weight,
            self.proj_in.bias,
            groups=self.norm.num_groups,
            eps=self.norm.eps,
        )
        pairs = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        for i, (spatial, temporal) in enumerate(pairs):
            x_NSC = _attended(spatial, x_NSC, constants.spatial_BC[i], prepared.kernels)
            _feed_forward(spatial.ff, spatial.norm3, x_NSC, prepared)
            z_MTC = run(with_positions, x_NSC, constants.position_TC, branches=branches)
            _feed_forward(temporal.ff_in, temporal.norm_in, z_MTC, prepared)
            z_MTC = _attended(temporal, z_MTC, constants.temporal_BC[i], prepared.kernels)
            _feed_forward(temporal.ff, temporal.norm3, z_MTC, prepared)
            x_NSC = run(blend, x_NSC, z_MTC, 1 - constants.spatial_share, branches=branches)
            del z_MTC
        return (run(picture, x_NSC, hidden_states, self.proj_out.weight, self.proj_out.bias),)


def residual_weights(block: ResnetBlock2D | TemporalResnetBlock) -> Iterator[torch.Tensor]:
    """The block's weights as `studio.engines.block_functions` takes them."""
    for layer in (block.norm1, block.conv1, block.norm2, block.conv2, getattr(block, "conv_shortcut", None)):
        if layer is not None:
            yield layer.weight
            yield layer.bias


def _attended(block: nn.Module, x_NLC: torch.Tensor, bias_BC: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """x, changed: the block's self-attention and its one-token cross-attention added; N holds B branches."""
    attention = block.attn1
    weights = as_one(attention.to_q.weight, attention.to_k.weight, attention.to_v.weight)
    q, k, v = kernels.run(
        projections, x_NLC, block.norm1.weight, block.norm1.bias, *weights, heads=attention.heads, eps=block.norm1.eps
    )
    seen_NHLD = kernels.attend(q, k, v)
    del q, k, v
    return kernels.run(add_attended, x_NLC, seen_NHLD, attention.to_out[0].weight, bias_BC)


def _feed_forward(ff: FeedForward, norm: nn.LayerNorm, x_NLC: torch.Tensor, prepared: Prepared) -> None:
    """x + ff(norm(x)), in place, some rows of tokens at a time."""
    inner, outer = ff.net[0].proj, ff.net[2]
    x_MC, rows = x_NLC.view(-1, x_NLC.shape[-1]), prepared.ff_rows
    for some_MC in (x_MC,) if rows is None else x_MC.split(rows):
        prepared.kernels.run(
            add_feed_forward,
            some_MC,
            norm.weight,
            norm.bias,
            inner.weight,
            inner.bias,
            outer.weight,
            outer.bias,
            eps=norm.eps,
        )


def block_constants(model: TransformerSpatioTemporalModel, context_BC: torch.Tensor, frames: int) -> BlockConstants:
    position = model.time_proj(torch.arange(frames, device=context_BC.device)).to(context_BC.dtype)
    with present(model):
        return BlockConstants(
            spatial_BC=tuple(_bias(block, context_BC) for block in model.transformer_blocks),
            temporal_BC=tuple(_bias(block, context_BC) for block in model.temporal_transformer_blocks),
            position_TC=model.time_pos_embed(position),
            spatial_share=_spatial_share(model.time_mixer),
        )


def res_block_share(block: SpatioTemporalResBlock) -> float:
    with present(block):
        return _spatial_share(block.time_mixer)


def _bias(block: nn.Module, context_BC: torch.Tensor) -> torch.Tensor:
    """Self-attention's output bias with cross-attention's constant on it: one row a branch, summed in fp32."""
    cross: Attention = block.attn2
    value = functional.linear(context_BC.float(), cross.to_v.weight.float())
    constant = functional.linear(value, cross.to_out[0].weight.float(), cross.to_out[0].bias.float())
    return (block.attn1.to_out[0].bias.float() + constant).to(context_BC.dtype)


def _spatial_share(blender: AlphaBlender) -> float:
    """How much of the spatial branch is in the blend, in 0..1, for frames that are no stills."""
    assert blender.merge_strategy != "fixed"
    assert not blender.switch_spatial_to_temporal_mix
    return float(torch.sigmoid(blender.mix_factor.float()))
