"""The networks of the SVD family by name: which class a component's config asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from studio.engines.sv3d_unet import PerFrameUNet

_CLASSES: dict[str, dict[str, type]] = {
    "unet": {c.__name__: c for c in (UNetSpatioTemporalConditionModel, PerFrameUNet)},
    "vae": {c.__name__: c for c in (AutoencoderKLTemporalDecoder, AutoencoderKL)},
}
"""Component -> class name -> class; the first is meant where a config names none. No other name is ever looked up."""

_BUILDING = threading.RLock()


def build(component: str, config: dict[str, Any]) -> nn.Module:
    """The component as its ``config.json`` describes it, on whatever device is torch's default.

    Raises:
        ValueError, TypeError, KeyError: the config describes no such component.
    """
    if component == "image_encoder":
        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    classes = _CLASSES[component]
    name = config.get("_class_name", next(iter(classes)))
    if name not in classes:
        raise ValueError(f"{name} is none of {', '.join(classes)}")
    return classes[name].from_config(config)


def build_empty(component: str, config: dict[str, Any]) -> nn.Module:
    """`build`, with parameters on the meta device: nothing is allocated, nothing initialised."""
    with on_meta():
        return build(component, config)


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules that are built in the block have their parameters on the meta device; one thread at a time.

    accelerate (1.15) patches torch's own class for that, so that whatever another thread built meanwhile would be
    empty too, and the patch of the one that ends last would stay.
    """
    with _BUILDING, init_empty_weights(include_buffers=False):
        yield


def set_trained_eps(unet: nn.Module) -> None:
    """Sets the eps of all res-block norms to 1e-5, as SVD was trained.

    diffusers 0.42.1 makes it 1e-6 in blocks with attention and in all up blocks, which costs some 3e-4 in the
    final latents.
    """
    for name, module in unet.named_modules():
        if isinstance(module, nn.GroupNorm) and "res_block.norm" in name:
            module.eps = 1e-5
