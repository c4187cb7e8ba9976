"""The UNet's large matrices in 8 bits, for `fast`: weights rounded once, activations as they come.

The arithmetic is torchao's, an optional package. Devices that have it do twice as many 8-bit operations a second as
16-bit ones; the rounding of activations costs a pass over them, so that only a measurement says what it wins
(`python -m benchmarks gpu_unet`), and nothing is quantised unless a variant's facts say so.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from studio.engines.weights.streaming import is_streamed
from studio.errors import BadInput

if TYPE_CHECKING:
    from studio.models.run import Told

Kind = Literal["int8", "fp8"]

LEAST_FEATURES = 256
"""A narrower matrix is not worth the rounding of what goes into it."""

_QUANTISED = re.compile(r"(.*\.)?(attn1\.to_([qkv]|out\.0)|ff(_in)?\.net\.(0\.proj|2)|proj_in|proj_out)")
"""The projections and feed-forwards of the transformers; cross-attention is computed once a run."""

_CAPABILITY = {"int8": (8, 0), "fp8": (8, 9)}
"""Of CUDA devices: from which on they multiply such numbers faster than fp16."""


def held_in(kind: Kind | Literal[""], unet: nn.Module, told: Told) -> nn.Module:
    """`quantised`, or the UNet itself with a notice where that can't be.

    Args:
        kind: "" is the UNet itself.
    """
    if not kind:
        return unet
    reason = why_not(kind, unet)
    if reason:
        told.notice(f"fast: the weights are used as they are. {reason}")
        return unet
    return quantised(unet, kind)


def why_not(kind: Kind, unet: nn.Module) -> str:
    """Why the UNet can't be quantised like that here, in one sentence; "" where it can, and may gain by it."""
    if is_streamed(unet):
        return f"For {kind} all of them have to stay on the device."
    if importlib.util.find_spec("torchao") is None:
        return f"For {kind} install torchao: pip install torchao"
    device = next(unet.parameters()).device
    if device.type == "cuda":
        found, needed = torch.cuda.get_device_capability(device), _CAPABILITY[kind]
        few = f"{kind} takes a CUDA device of capability {needed[0]}.{needed[1]}; this one has {found[0]}.{found[1]}."
        return "" if found >= needed else few
    return "" if kind == "int8" and device.type == "cpu" else f"{device.type} does not multiply in {kind}."


def quantised(unet: nn.Module, kind: Kind, *, least: int = LEAST_FEATURES) -> nn.Module:
    """The UNet with its large matrices in 8 bits: a copy of the tree of modules, which shares everything else.

    The original stays as it is. What is made takes `quantised_bytes` on the device, for as long as it is used.

    Args:
        unet: SVD's or SV3D's, rewritten (`studio.engines.exact`) or not, whole on its device.
        least: matrices with fewer rows or columns stay as they are.

    Raises:
        BadInput: it can't be done here; says why.
    """
    reason = why_not(kind, unet)
    if reason:
        raise BadInput(reason)
    return _copied(unet, {layer: _in_eight_bits(layer, kind) for layer in _chosen(unet, least).values()})


def quantised_bytes(unet: nn.Module, *, least: int = LEAST_FEATURES) -> int:
    """What `quantised` takes beside the UNet: a byte for each number, and a scale in fp32 for each row."""
    return sum(layer.weight.numel() + 4 * layer.out_features for layer in _chosen(unet, least).values())


def _chosen(unet: nn.Module, least: int) -> dict[str, nn.Linear]:
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear)
        and _QUANTISED.fullmatch(name)
        and min(module.in_features, module.out_features) >= least
    }


def _in_eight_bits(layer: nn.Linear, kind: Kind) -> nn.Linear:
    """The layer with its weight as torchao's tensor, which compiles as any other; the bias is the same."""
    from torchao import quantization

    if kind == "int8":
        config = quantization.Int8DynamicActivationInt8WeightConfig(version=2)
    else:
        # Scales for each row are for bf16 alone (torchao 0.18).
        rows = layer.weight.dtype == torch.bfloat16
        config = quantization.Float8DynamicActivationFloat8WeightConfig(
            granularity=quantization.PerRow() if rows else quantization.PerTensor()
        )
    twin = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    twin.weight = nn.Parameter(layer.weight.detach(), requires_grad=False)  # torchao puts another one in its place
    quantization.quantize_(twin, config)
    twin.bias = layer.bias
    return twin.eval()


def _copied(module: nn.Module, instead: dict[nn.Linear, nn.Linear]) -> nn.Module:
    """The module where nothing below it is another; else a copy that shares its own tensors."""
    if isinstance(module, nn.Linear):
        return instead.get(module, module)
    children = {name: _copied(child, instead) for name, child in module.named_children()}
    if all(children[name] is child for name, child in module.named_children()):
        return module
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin
