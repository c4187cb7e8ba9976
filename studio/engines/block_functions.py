"""The arithmetic of SVD's blocks as functions of tensors: what is compiled as one piece where a device compiles.

Weights are arguments, so that one compiled piece serves all blocks of a shape, wherever their weights lie now. What a
docstring calls changed is changed in place, where nobody else holds it; anything else stays as it is.

Shapes: B branches, T frames, C channels, H x W cells or pixels, S = H W, N = B T; L tokens, M tokens of all, R rows of
an embedding (1, B or N). A share is a float, or a scalar tensor: a number would be compiled in.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch.nn import functional

Weight: TypeAlias = torch.Tensor
Share: TypeAlias = "float | torch.Tensor"


def residual(
    x_NCHW: torch.Tensor,
    embedding_RC: torch.Tensor | None,
    norm1: Weight,
    norm1_bias: Weight,
    conv1: Weight,
    bias1: Weight,
    norm2: Weight,
    norm2_bias: Weight,
    conv2: Weight,
    bias2: Weight,
    shortcut: Weight | None = None,
    shortcut_bias: Weight | None = None,
    *,
    groups: int,
    eps: tuple[float, float],
) -> torch.Tensor:
    """The spatial res block's result, a tensor of its own."""
    h = functional.silu(functional.group_norm(x_NCHW, groups, norm1, norm1_bias, eps[0]), inplace=True)
    h = _conv_and_embedding(h, embedding_RC, conv1, bias1)
    h = functional.silu(functional.group_norm(h, groups, norm2, norm2_bias, eps[1]), inplace=True)
    h = functional.conv2d(h, conv2, bias2, padding=1)
    return h.add_(x_NCHW if shortcut is None else functional.conv2d(x_NCHW, shortcut, shortcut_bias))


def temporal_residual(
    x_NCHW: torch.Tensor,
    embedding_RC: torch.Tensor,
    share: Share,
    norm1: Weight,
    norm1_bias: Weight,
    conv1: Weight,
    bias1: Weight,
    norm2: Weight,
    norm2_bias: Weight,
    conv2: Weight,
    bias2: Weight,
    *,
    branches: int,
    groups: int,
    eps: tuple[float, float],
) -> torch.Tensor:
    """x, changed: x + share f(x), with f the temporal res block without its own addition."""
    x_BTCHW = x_NCHW.unflatten(0, (branches, -1))
    h = functional.group_norm(x_BTCHW.transpose(1, 2), groups, norm1, norm1_bias, eps[0])
    h = _conv_and_embedding(functional.silu(h, inplace=True), embedding_RC, conv1, bias1)
    h = functional.silu(functional.group_norm(h, groups, norm2, norm2_bias, eps[1]), inplace=True)
    h = functional.conv3d(h, conv2, bias2, padding=(1, 0, 0))
    _add_share(x_BTCHW, h.transpose(1, 2), share)
    return x_NCHW


def tokens(
    x_NCHW: torch.Tensor, norm: Weight, norm_bias: Weight, proj: Weight, bias: Weight, *, groups: int, eps: float
) -> torch.Tensor:
    """(N, S, C): a transformer's input, a tensor of its own."""
    normed = functional.group_norm(x_NCHW, groups, norm, norm_bias, eps)
    return functional.linear(normed.permute(0, 2, 3, 1).flatten(1, 2), proj, bias)


def picture(x_NSC: torch.Tensor, before_NCHW: torch.Tensor, proj: Weight, bias: Weight) -> torch.Tensor:
    """(N, C, H, W): a transformer's output, what it was given added."""
    out_NSC = functional.linear(x_NSC, proj, bias)
    return before_NCHW + out_NSC.unflatten(1, before_NCHW.shape[2:]).permute(0, 3, 1, 2)


def with_positions(x_NSC: torch.Tensor, position_TC: torch.Tensor, *, branches: int) -> torch.Tensor:
    """(B S, T, C): every cell through time, the frames' embedding added; a tensor of its own."""
    x_BSTC = x_NSC.unflatten(0, (branches, -1)).transpose(1, 2)
    if torch.compiler.is_compiling():
        return (x_BSTC + position_TC).reshape(-1, *x_BSTC.shape[2:]).contiguous()
    # The sum would lie in memory as x does, and then be copied.
    z_BSTC = torch.empty(x_BSTC.shape, dtype=x_NSC.dtype, device=x_NSC.device)
    torch.add(x_BSTC, position_TC, out=z_BSTC)
    return z_BSTC.flatten(0, 1)


def blend(x_NSC: torch.Tensor, z_MTC: torch.Tensor, share: Share, *, branches: int) -> torch.Tensor:
    """x, changed: so much of what came out of time blended in."""
    x_BTSC = x_NSC.unflatten(0, (branches, -1))
    z_BTSC = z_MTC.unflatten(0, (branches, -1)).transpose(1, 2)
    if isinstance(share, torch.Tensor):
        x_BTSC.add_((z_BTSC - x_BTSC) * share)
    else:
        x_BTSC.lerp_(z_BTSC, share)
    return x_NSC


def projections(
    x_NLC: torch.Tensor, norm: Weight, norm_bias: Weight, *weights: Weight, heads: int, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values, (N, H, L, D) each, of the normed tokens.

    Args:
        weights: theirs, (C, C) each; or all three as one, (3 C, C), which is one product instead of three.
    """
    normed_NLC = functional.layer_norm(x_NLC, norm.shape, norm, norm_bias, eps)
    if len(weights) == 1:
        parts = functional.linear(normed_NLC, weights[0]).chunk(3, dim=-1)
    else:
        parts = tuple(functional.linear(normed_NLC, weight) for weight in weights)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    return q, k, v


def add_attended(x_NLC: torch.Tensor, seen_NHLD: torch.Tensor, weight: Weight, bias_BC: torch.Tensor) -> torch.Tensor:
    """x, changed: what attention saw is added, projected, with a bias for each branch."""
    seen_NLC = seen_NHLD.transpose(1, 2).flatten(2)
    if len(bias_BC) == 1:
        return x_NLC.add_(functional.linear(seen_NLC, weight, bias_BC[0]))
    x_BMC, seen_BMC = (t.reshape(len(bias_BC), -1, t.shape[-1]) for t in (x_NLC, seen_NLC))
    for bias_C, x_MC, seen_MC in zip(bias_BC, x_BMC, seen_BMC, strict=True):
        x_MC.add_(functional.linear(seen_MC, weight, bias_C))
    return x_NLC


def add_feed_forward(
    x_MC: torch.Tensor,
    norm: Weight,
    norm_bias: Weight,
    inner: Weight,
    inner_bias: Weight,
    outer: Weight,
    outer_bias: Weight,
    *,
    eps: float,
) -> torch.Tensor:
    """x, changed: x + ff(norm(x)); every token is treated by itself.

    The gate is GEGLU's. Compiled, it is one pass over what is eight times as wide; as it is, two.
    """
    wide = functional.linear(functional.layer_norm(x_MC, norm.shape, norm, norm_bias, eps), inner, inner_bias)
    hidden, gate = wide.chunk(2, dim=-1)
    return x_MC.add_(functional.linear(hidden * functional.gelu(gate), outer, outer_bias))


def picture_projections(
    x_NCHW: torch.Tensor,
    norm: Weight,
    norm_bias: Weight,
    to_q: Weight,
    q_bias: Weight,
    to_k: Weight,
    k_bias: Weight,
    to_v: Weight,
    v_bias: Weight,
    *,
    heads: int,
    groups: int,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values, (N, H, S, D) each, of pictures under a group norm: the VAE's attention."""
    normed_NSC = functional.group_norm(x_NCHW, groups, norm, norm_bias, eps).flatten(2).transpose(1, 2)
    q, k, v = (
        functional.linear(normed_NSC, weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2)
        for weight, bias in ((to_q, q_bias), (to_k, k_bias), (to_v, v_bias))
    )
    return q, k, v


def moments(x_TCHW: torch.Tensor, *, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and mean of each group of channels over all frames and pixels, fp32 (G,)."""
    # Contiguous, so that a part of a tensor and a copy of that part are added up in the same order.
    x_TCHW = x_TCHW.to(torch.float32, memory_format=torch.contiguous_format)
    variance_G, mean_G = torch.var_mean(x_TCHW.unflatten(1, (groups, -1)), dim=(0, 2, 3, 4), correction=0)
    return variance_G, mean_G


def normed_conv(
    x_TCHW: torch.Tensor,
    mean_C: torch.Tensor,
    variance_C: torch.Tensor,
    norm: Weight,
    norm_bias: Weight,
    conv: Weight,
    bias: Weight,
    *,
    eps: float,
) -> torch.Tensor:
    """(T, C, H, W), a view of (1, C, T, H, W): group norm with the statistics given, SiLU and a convolution through
    time."""
    # With the statistics given, batch norm is any norm: one kernel that computes in fp32 for half precision too.
    h_1CTHW = functional.batch_norm(
        x_TCHW.transpose(0, 1)[None].contiguous(), mean_C, variance_C, norm.float(), norm_bias.float(), eps=eps
    )
    h_1CTHW = functional.conv3d(functional.silu(h_1CTHW, inplace=True), conv, bias, padding=(1, 0, 0))
    return h_1CTHW[0].transpose(0, 1)


def add_share(x_TCHW: torch.Tensor, change_TCHW: torch.Tensor, share: Share) -> torch.Tensor:
    """x, changed: x + share * change."""
    _add_share(x_TCHW, change_TCHW, share)
    return x_TCHW


def _conv_and_embedding(
    h: torch.Tensor, embedding_RC: torch.Tensor | None, weight: Weight, bias: Weight
) -> torch.Tensor:
    """A convolution over space (4 dimensions) or time (5), with the embedding added to what it gives."""
    over_time = weight.ndim == 5
    convolve, padding = (functional.conv3d, (1, 0, 0)) if over_time else (functional.conv2d, (1, 1))
    if embedding_RC is None or len(embedding_RC) == 1:
        return convolve(h, weight, bias if embedding_RC is None else bias + embedding_RC[0], padding=padding)
    h = convolve(h, weight, bias, padding=padding)
    if over_time:
        return h.add_(embedding_RC.unflatten(0, (len(h), -1)).transpose(1, 2)[..., None, None])
    h.unflatten(0, (len(embedding_RC), -1)).add_(embedding_RC[:, None, :, None, None])
    return h


def _add_share(x: torch.Tensor, change: torch.Tensor, share: Share) -> None:
    if isinstance(share, torch.Tensor):
        x.add_(change * share)
    else:
        x.add_(change, alpha=share)
