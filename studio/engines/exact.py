"""Exact savings in SVD's UNet: the same function, with what is constant over a run computed once.

`rewrite` gives a UNet the faster way beside its own; which of them runs is the caller's choice at each call: with a
`Prepared` in the place of the CLIP embedding the savings act, with a tensor diffusers' own code runs, untouched.

What is saved, and why the result is the same but for rounding:

- CLIP's embedding is one token. A softmax over one key is 1, so cross-attention is ``to_out(to_v(token))`` for every
  query: a constant of the block and the branch. It goes into the bias of the self-attention before it; queries, keys,
  their norm and the attention itself are gone.
- No frame is ever a still picture here, so a blend of space and time has one share. The temporal residual and the
  blend are then a single addition: a x + (1 - a) (x + f) = x + (1 - a) f.
- The embedding of time and of the added ids is the same for all frames, so it joins the bias of the convolution
  that it was added to. The embeddings of the frame numbers are those of the run.
- Divisions by an output scale of 1 are dropped, and additions are done in place where nobody else holds the tensor.

Beside the exact savings there is one that is none: with a `Reusing` an evaluation may run the last layer alone, on what
the last whole one left for it.

Shapes: B branches (2 with guidance: unconditional first), T frames, C channels, H x W latent cells, S = H W; N = B T.
Source: diffusers 0.42.1, whose modules these are; the counts before and after are in tests/engines/test_exact.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput
from torch import nn
from torch.nn import functional

from studio.engines.exact_blocks import (
    Moment,
    Prepared,
    SavingResBlock,
    SavingTransformer,
    block_constants,
    res_block_share,
)
from studio.engines.kernels import EAGER, Kernels
from studio.engines.sv3d_unet import PerFrameUNet


def rewrite(unet: nn.Module) -> nn.Module:
    """The same UNet, now also taking a `Prepared` for its CLIP embedding. Its weights and their names stay as they are.

    A module that is no SVD UNet is returned as it is; rewriting twice changes nothing.
    """
    if isinstance(unet, UNetSpatioTemporalConditionModel):
        for module in unet.modules():
            module.__class__ = _SAVING.get(type(module), type(module))
    return unet


@torch.no_grad()
def prepare(
    unet: nn.Module,
    context_B1C: torch.Tensor,
    told: torch.Tensor,
    frames: int,
    *,
    ff_rows: int | None = None,
    kernels: Kernels = EAGER,
) -> Prepared:
    """The constants of a run through a UNet that was rewritten.

    Args:
        context_B1C: CLIP's embedding, one token a branch; zeros for the unconditional one.
        told: the added ids, raw, fp32 (B, N), on any device; for a `PerFrameUNet` its vector (B, T, N), embedded.
        ff_rows: most tokens that a feed-forward takes at a time; what is eight times as wide inside it never exists
            for all of them at once.
        kernels: how the blocks compute.
    """
    assert context_B1C.shape[1] == 1, f"{tuple(context_B1C.shape)}: more than one token is no constant"
    branches, dtype = len(context_B1C), context_B1C.dtype
    told_RN = told.flatten(0, -2)
    if bool((told_RN == told_RN[:1]).all()):
        told_RN = told_RN[:1]
    told_RN = told_RN.to(context_B1C.device)
    if not isinstance(unet, PerFrameUNet):
        told_RN = unet.add_time_proj(told_RN.flatten()).reshape(len(told_RN), -1)
    return Prepared(
        branches=branches,
        frames=frames,
        added_RC=unet.add_embedding(told_RN.to(dtype)),
        blocks={
            m: block_constants(m, context_B1C[:, 0], frames) for m in unet.modules() if isinstance(m, SavingTransformer)
        },
        spatial_shares={m: res_block_share(m) for m in unet.modules() if isinstance(m, SavingResBlock)},
        indicator_BT=torch.zeros(branches, frames, dtype=dtype, device=context_B1C.device),
        ff_rows=ff_rows,
        kernels=kernels,
    )


class Kept:
    """What the last whole evaluation left: the input of the last layer of the last block.

    It comes from all of the UNet but that layer, and changes slowly from one noise level to the next.
    """

    def __init__(self) -> None:
        self._x_NCHW: torch.Tensor | None = None
        self._moved: list[torch.Tensor] = []

    def keep(self, x_NCHW: torch.Tensor) -> None:
        """From now on this is kept; nobody changes it any more. How far it is from what was kept is written down.

        Where there are fewer branches than before, they are the last ones.
        """
        if self._x_NCHW is not None:
            change_NCHW = self._x_NCHW[-len(x_NCHW) :].sub_(x_NCHW)
            norms = (torch.linalg.vector_norm(t, dtype=torch.float32) for t in (change_NCHW, x_NCHW))
            self._moved.append(torch.div(*norms))
        self._x_NCHW = x_NCHW

    def take(self, count: int) -> torch.Tensor | None:
        """That of the last `count` frames, counted over branches; None where nothing was kept."""
        return None if self._x_NCHW is None else self._x_NCHW[-count:]

    @property
    def moved(self) -> list[float]:
        """By how much it had changed each time, relative (L2). Waits for the device."""
        return [float(share) for share in self._moved]


@dataclass(frozen=True)
class Reusing:
    """One evaluation among others that may share what is kept; stands where a `Prepared` does.

    Args:
        whole: runs all of the UNet, and keeps; else the last layer alone, or all where nothing is kept.

    Source: Ma et al. 2024, "DeepCache: Accelerating Diffusion Models for Free", with the shallowest of its branches.
    """

    prepared: Prepared
    kept: Kept
    whole: bool


class _SavingUNet(UNetSpatioTemporalConditionModel):
    def forward(self, sample, timestep, encoder_hidden_states, added_time_ids=None, return_dict=True):
        if not isinstance(encoder_hidden_states, Prepared | Reusing):
            return super().forward(sample, timestep, encoder_hidden_states, added_time_ids, return_dict)
        v_BTCHW = _v(self, sample, timestep, encoder_hidden_states)
        return UNetSpatioTemporalConditionOutput(sample=v_BTCHW) if return_dict else (v_BTCHW,)


class _SavingPerFrameUNet(PerFrameUNet):
    def forward(self, sample, timestep, encoder_hidden_states, vector=None, return_dict=False):
        if not isinstance(encoder_hidden_states, Prepared | Reusing):
            return super().forward(sample, timestep, encoder_hidden_states, vector, return_dict)
        return (_v(self, sample, timestep, encoder_hidden_states),)


@torch.no_grad()
def _v(unet: nn.Module, x_BTCHW: torch.Tensor, c_noise: torch.Tensor, told: Prepared | Reusing) -> torch.Tensor:
    """v, (B, T, C, H, W): the networks of the UNet in diffusers' order.

    All in one function: what a caller held on to would live until the end, and the most that lives is what counts.
    """
    kept, whole = (told.kept, told.whole) if isinstance(told, Reusing) else (None, True)
    prepared = told.prepared if isinstance(told, Reusing) else told
    assert x_BTCHW.shape[:2] == prepared.indicator_BT.shape, (x_BTCHW.shape, prepared.indicator_BT.shape)
    sinusoid = unet.time_proj(c_noise.reshape(1).to(x_BTCHW.device, non_blocking=True)).to(x_BTCHW.dtype)
    embedding_RC = functional.silu(unet.time_embedding(sinusoid) + prepared.added_RC)
    given = {"temb": Moment(prepared, embedding_RC), "image_only_indicator": prepared.indicator_BT}
    x = unet.conv_in(x_BTCHW.flatten(0, 1))
    skips = [x]
    before = None if kept is None or whole else kept.take(len(x))
    if before is None:
        for block in unet.down_blocks:
            x, more = block(hidden_states=x, **given, **_context(block, prepared))
            skips.extend(more)
        x = unet.mid_block(hidden_states=x, **given, encoder_hidden_states=prepared)
    last = unet.up_blocks[-1].resnets[-1]
    for block in unet.up_blocks if before is None else unet.up_blocks[-1:]:
        # Not the block's own forward: it would hold its input and every skip until its end.
        attentions = block.attentions if getattr(block, "has_cross_attention", False) else [None] * len(block.resnets)
        layers = list(zip(block.resnets, attentions, strict=True))
        for resnet, attention in layers if before is None else layers[-1:]:
            if before is not None:
                x, before = before, None
            elif resnet is last and kept is not None:
                kept.keep(x)
            x = torch.cat([x, skips.pop()], dim=1)
            x = resnet(x, **given)
            if attention is not None:
                (x,) = attention(x, encoder_hidden_states=prepared)
        for upsampler in block.upsamplers or ():
            # Where a size was odd on the way down, doubling it would miss the next skip.
            x = upsampler(x, skips[-1].shape[2:])
    x = unet.conv_out(functional.silu(unet.conv_norm_out(x), inplace=True))
    return x.unflatten(0, x_BTCHW.shape[:2])


_SAVING: dict[type, type] = {
    UNetSpatioTemporalConditionModel: _SavingUNet,
    PerFrameUNet: _SavingPerFrameUNet,
    SpatioTemporalResBlock: SavingResBlock,
    TransformerSpatioTemporalModel: SavingTransformer,
}


def _context(block: nn.Module, prepared: Prepared) -> dict[str, Prepared]:
    return {"encoder_hidden_states": prepared} if getattr(block, "has_cross_attention", False) else {}
