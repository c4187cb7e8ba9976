"""The networks of Stable Diffusion XL by name: which class a component's config asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

_CLASSES: dict[str, dict[str, type]] = {
    "unet": {"UNet2DConditionModel": UNet2DConditionModel},
    "vae": {c.__name__: c for c in (AutoencoderKL, AutoencoderKLTemporalDecoder)},
}
"""Component -> class name -> class; the first is meant where a config names none. A temporal decoder takes a picture as
a clip of one frame."""


class Told(NamedTuple):
    """What a text encoder makes of some texts: (B, T, C) for the UNet's attention and, where it projects, (B, C)."""

    hidden_BTC: torch.Tensor
    pooled_BC: torch.Tensor | None


class TextEncoder(nn.Module):
    """CLIP's text half, under the names of its published files, with the tokenizer that goes with it.

    transformers 5.23 leaves ``text_model`` out of the first encoder's names and keeps it in the second's.

    Args:
        projects: whether it has a projection of the text as a whole.
    """

    tokenizer: CLIPTokenizer

    def __init__(self, config: CLIPTextConfig, *, projects: bool) -> None:
        super().__init__()
        inner = (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)
        self.text_model = getattr(inner, "text_model", inner)
        self.text_projection = inner.text_projection if projects else None

    def forward(self, ids_BT: torch.Tensor) -> Told:
        """The states before the last layer, not normalised, and the projection of the last state of the whole text.

        Source: Podell et al. 2023, "SDXL", section 2.1; generative-models, ``layer: penultimate``.
        """
        out = self.text_model(ids_BT, output_hidden_states=True)
        pooled = None if self.text_projection is None else self.text_projection(out.pooler_output)
        return Told(out.hidden_states[-2], pooled)


def build(component: str, config: dict[str, Any]) -> nn.Module:
    """The component as its ``config.json`` describes it, on whatever device is torch's default.

    Raises:
        ValueError, TypeError, KeyError: the config describes no such component.
    """
    if component in ("text_encoder", "text_encoder_2"):
        return TextEncoder(CLIPTextConfig.from_dict(config), projects=component == "text_encoder_2")
    classes = _CLASSES[component]
    name = config.get("_class_name", next(iter(classes)))
    if name not in classes:
        raise ValueError(f"{name} is none of {', '.join(classes)}")
    return classes[name].from_config(config)
