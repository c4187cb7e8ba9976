"""The blocks of SVD's UNet with what is constant over a run computed once; what is saved is in `studio.engines.exact`.

Shapes: B branches, T frames, C channels, H x W latent cells, S = H W, N = B T; R rows of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import AlphaBlender, ResnetBlock2D, SpatioTemporalResBlock, TemporalResnetBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn
from torch.nn import functional

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
        prepared = temb.prepared
        x_NCHW = _spatial_residual(self.spatial_res_block, hidden_states, temb)
        x_BTCHW = x_NCHW.unflatten(0, (prepared.branches, prepared.frames))
        change_BCTHW = _temporal_change(self.temporal_res_block, x_BTCHW.transpose(1, 2), temb.embedding_RC)
        x_BTCHW.add_(change_BCTHW.transpose(1, 2), alpha=1 - prepared.spatial_shares[self])
        return x_NCHW


class SavingTransformer(TransformerSpatioTemporalModel):
    def forward(self, hidden_states, encoder_hidden_states=None, image_only_indicator=None, return_dict=True):
        prepared = encoder_hidden_states
        if not isinstance(prepared, Prepared):
            return super().forward(hidden_states, prepared, image_only_indicator, return_dict)
        constants = prepared.blocks[self]
        count, channels, height, width = hidden_states.shape
        x_NSC = self.norm(hidden_states).permute(0, 2, 3, 1).reshape(count, height * width, channels)
        x_NSC = self.proj_in(x_NSC)
        pairs = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        for i, (spatial, temporal) in enumerate(pairs):
            x_NSC.add_(_self_attention(spatial, x_NSC, constants.spatial_BC[i]))
            _add_feed_forward(spatial.ff, spatial.norm3, x_NSC, prepared.ff_rows)
            x_BTSC = x_NSC.unflatten(0, (prepared.branches, prepared.frames))
            mixed_BSTC = _through_time(temporal, x_BTSC.transpose(1, 2), constants, i, prepared.ff_rows)
            x_BTSC.lerp_(mixed_BSTC.transpose(1, 2), 1 - constants.spatial_share)
        x_NSC = self.proj_out(x_NSC)
        return (hidden_states + x_NSC.unflatten(1, (height, width)).permute(0, 3, 1, 2),)


def _spatial_residual(block: ResnetBlock2D, x_NCHW: torch.Tensor, moment: Moment) -> torch.Tensor:
    """The block's result, a tensor of its own that may be changed."""
    embedding_RC = block.time_emb_proj(moment.embedding_RC)
    h = functional.silu(block.norm1(x_NCHW), inplace=True)
    if len(embedding_RC) == 1:
        h = functional.conv2d(h, block.conv1.weight, block.conv1.bias + embedding_RC[0], padding=1)
    else:
        h = block.conv1(h)
        h.unflatten(0, (len(embedding_RC), -1)).add_(embedding_RC[:, None, :, None, None])
    h = block.conv2(functional.silu(block.norm2(h), inplace=True))
    return h.add_(x_NCHW if block.conv_shortcut is None else block.conv_shortcut(x_NCHW))


def _temporal_change(block: TemporalResnetBlock, x_BCTHW: torch.Tensor, embedding_RC: torch.Tensor) -> torch.Tensor:
    """What the block adds to its input, without adding it."""
    embedding_RC = block.time_emb_proj(embedding_RC)
    h = functional.silu(block.norm1(x_BCTHW), inplace=True)
    if len(embedding_RC) == 1:
        h = functional.conv3d(h, block.conv1.weight, block.conv1.bias + embedding_RC[0], padding=block.conv1.padding)
    else:
        embedding_BRC = embedding_RC.unflatten(0, (len(h), -1))
        h = block.conv1(h).add_(embedding_BRC.transpose(1, 2)[..., None, None])
    return block.conv2(functional.silu(block.norm2(h), inplace=True))


def _through_time(
    block: nn.Module, x_BSTC: torch.Tensor, constants: BlockConstants, i: int, ff_rows: int | None
) -> torch.Tensor:
    """(B, S, T, C): the temporal block's own tensor; the frames' embedding is added on the way into it."""
    z_BSTC = torch.empty(x_BSTC.shape, dtype=x_BSTC.dtype, device=x_BSTC.device)
    torch.add(x_BSTC, constants.position_TC, out=z_BSTC)
    z_NTC = z_BSTC.flatten(0, 1)
    _add_feed_forward(block.ff_in, block.norm_in, z_NTC, ff_rows)
    z_NTC.add_(_self_attention(block, z_NTC, constants.temporal_BC[i]))
    _add_feed_forward(block.ff, block.norm3, z_NTC, ff_rows)
    return z_BSTC


def _add_feed_forward(ff: nn.Module, norm: nn.Module, x_NLC: torch.Tensor, ff_rows: int | None) -> None:
    """x + ff(norm(x)), in place; every token is treated by itself, so that any part of them may be taken at a time."""
    x_MC = x_NLC.view(-1, x_NLC.shape[-1])
    for some_MC in (x_MC,) if ff_rows is None else x_MC.split(ff_rows):
        some_MC.add_(ff(norm(some_MC)))


def _self_attention(block: nn.Module, x_NLC: torch.Tensor, bias_BC: torch.Tensor) -> torch.Tensor:
    """What the block's self-attention and its one-token cross-attention add to (N, L, C); N holds B branches."""
    attention = block.attn1
    normed_NLC = block.norm1(x_NLC)
    projections = (attention.to_q, attention.to_k, attention.to_v)
    q, k, v = (p(normed_NLC).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for p in projections)
    del normed_NLC
    seen_NLC = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    del q, k, v
    weight = attention.to_out[0].weight
    if len(bias_BC) == 1:
        return functional.linear(seen_NLC, weight, bias_BC[0])
    out_NLC = torch.empty_like(x_NLC)
    rows, outs = (t.reshape(len(bias_BC), -1, t.shape[-1]) for t in (seen_NLC, out_NLC))
    for bias_C, rows_MC, out_MC in zip(bias_BC, rows, outs, strict=True):
        torch.addmm(bias_C, rows_MC, weight.t(), out=out_MC)
    return out_NLC


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
