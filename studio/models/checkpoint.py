"""A single-file checkpoint in Stability's own layout ("sgm"), recognised by what is in it. No torch.

One file holds everything: ``model.diffusion_model.*`` (the UNet), ``conditioner.embedders.0.*`` (CLIP),
``conditioner.embedders.N.encoder.*`` (a whole autoencoder, of which the encoder is used) and ``first_stage_model.*``
(another, of which the decoder is used). SVD, SVD-XT and SVD-XT 1.1 have the same names and shapes: which of them a
file is, only its name or its owner can say.

Stable Diffusion XL's file is laid out the same way, with two text encoders in the conditioner and one autoencoder in
``first_stage_model``; that autoencoder also comes as a file of its own. The refiner's file has only the second of the
text encoders, in the first one's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from studio.errors import BadInput
from studio.models.header import Stored, read_tensors, shown

Kind = Literal["svd", "svd-image-decoder", "sv3d-u", "sv3d-p", "sdxl", "sdxl-refiner", "vae"]
"""What networks a file holds. svd: temporal decoder; the next three: a decoder that knows no time; vae: Stable
Diffusion's autoencoder alone, of which XL's own has the same shapes as the first."""

Component = Literal["image_encoder", "unet", "vae", "text_encoder", "text_encoder_2"]

COMPONENTS: tuple[Component, ...] = ("image_encoder", "unet", "vae")
"""Of SVD and SV3D."""

_COMPONENTS: Mapping[Kind, tuple[Component, ...]] = MappingProxyType(
    {
        "sdxl": ("text_encoder", "text_encoder_2", "unet", "vae"),
        "sdxl-refiner": ("text_encoder_2", "unet", "vae"),
        "vae": ("vae",),
    }
)
"""Of the others."""

UNET = "model.diffusion_model."
CLIP = "conditioner.embedders.0.open_clip.model."
VISION = f"{CLIP}visual."
FIRST_STAGE = "first_stage_model."

CLIP_L = "conditioner.embedders.0.transformer."
CLIP_G = "conditioner.embedders.1.model."
CLIP_G_ALONE = "conditioner.embedders.0.model."
"""Of the refiner."""

_TEXT_LEFT_OVERS = tuple(
    f"{CLIP}{name}" for name in ("positional_embedding", "text_projection", "logit_scale", "token_embedding.weight",
                                 "ln_final.weight", "ln_final.bias")
)  # fmt: skip
"""What remains of open_clip's text half once its transformer is deleted."""

_LABEL = f"{UNET}label_emb.0.0.weight"
_TIME = f"{UNET}input_blocks.1.0.time_stack.in_layers.0.weight"
_CONV_IN = f"{UNET}input_blocks.0.0.weight"
_FLOATS = ("F16", "BF16", "F32", "F64")

_PARTS = {
    "the image encoder": re.escape(VISION),
    "the VAE's encoder": r"conditioner\.embedders\.[13]\.encoder\.encoder\.",
    "the VAE's decoder": re.escape(f"{FIRST_STAGE}decoder."),
}
"""What a whole checkpoint has besides the UNet."""

_XL_PARTS = {
    "the UNet": re.escape(_LABEL),
    "the first text encoder": re.escape(f"{CLIP_L}text_model."),
    "the second text encoder": re.escape(CLIP_G),
    "the VAE's encoder": re.escape(f"{FIRST_STAGE}encoder."),
    "the VAE's decoder": re.escape(f"{FIRST_STAGE}decoder."),
}

_XL_REFINER_PARTS = {
    "the UNet": re.escape(_LABEL),
    "the text encoder": re.escape(CLIP_G_ALONE),
    "the VAE's encoder": re.escape(f"{FIRST_STAGE}encoder."),
    "the VAE's decoder": re.escape(f"{FIRST_STAGE}decoder."),
}

_XL_UNUSED = re.compile(
    rf"{re.escape(CLIP_L)}text_model\.embeddings\.position_ids|conditioner\.embedders\.[01]\.model\.logit_scale"
    r"|denoiser\.sigmas"
    r"|betas|(sqrt_|log_|one_minus_|recip_|recipm1_)*alphas_cumprod(_prev)?"
)
"""Numbers that follow from others, which some tools write along."""

_BARE_VAE = ("encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight", "post_quant_conv.weight")

_OTHERS = (
    (r"model\.diffusion_model\.joint_blocks\.", "Stable Diffusion 3"),
    (r"(model\.diffusion_model\.)?double_blocks\.", "Flux"),
    (r".*(lora_up|lora_down|lora_A|lora_B)\b", "a LoRA"),
    (r".*motion_modules\.", "an AnimateDiff motion module"),
    (r"control_model\.", "a ControlNet"),
    (r"cond_stage_model\.model\.", "Stable Diffusion 2"),
    (r"cond_stage_model\.transformer\.", "Stable Diffusion 1"),
    (r"(down_blocks|up_blocks|encoder\.down_blocks|vision_model)\.", "one component of a diffusers folder"),
    (r"(encoder\.down|decoder\.up)\.", "an autoencoder alone"),
)
"""Names that tell what else a file is; the first that any tensor's name starts with."""


@dataclass(frozen=True)
class Checkpoint:
    """A file that was recognised.

    Args:
        components: component -> the tensors that it is made of, under their names in the file.
        unknown: names that no checkpoint of this kind has; what is known to be unused is not among them.
    """

    path: Path
    kind: Kind
    components: Mapping[Component, Mapping[str, Stored]]
    unknown: tuple[str, ...]

    def component_bytes(self, component: Component) -> int:
        """Bytes of the component's tensors in the file."""
        return sum(t.stored_bytes for t in self.components[component].values())

    @property
    def vae_encoder(self) -> str:
        """What the names of the encoder in use, and of its quant_conv, start with."""
        return _vae_encoder(self.kind)

    @property
    def text_encoder_2(self) -> str:
        """What the names of Stable Diffusion XL's second text encoder start with."""
        return _text_encoder_2(self.kind)


def read_checkpoint(path: Path) -> Checkpoint:
    """The file, recognised by its tensors' names and shapes; only its header is read.

    Raises:
        BadInput: it is damaged, of another family (named where it is a known one), or stored in a precision that
            holds no plain weights (fp8).
    """
    return sort_tensors(path, read_tensors(path))


def sort_tensors(path: Path, tensors: Mapping[str, Stored]) -> Checkpoint:
    """The checkpoint that the file's tensors make; see `read_checkpoint`, of which this is the second half."""
    kind = recognise(tensors, path.name)
    components: dict[Component, dict[str, Stored]] = {c: {} for c in _COMPONENTS.get(kind, COMPONENTS)}
    unknown = []
    for name, stored in tensors.items():
        part = _part(name, kind)
        if part in components:
            components[part][name] = stored
        elif part is None:
            unknown.append(name)
    for part in components.values():
        _refuse_precisions(path, part)
    return Checkpoint(path, kind, components, tuple(unknown))


def read_video_unet(path: Path) -> Checkpoint:
    """The UNet of Stable Video Diffusion in the file, whatever else is in there: all that is asked of it.

    Raises:
        BadInput: the file is damaged, has no such UNet, or stores it in a precision that holds no plain weights (fp8).
    """
    tensors = read_tensors(path)
    if not is_video_unet(tensors):
        raise BadInput(f"{path.name} is {_other(tensors)}, not a UNet of Stable Video Diffusion.")
    unet = {name: stored for name, stored in tensors.items() if name.startswith(UNET)}
    _refuse_precisions(path, unet)
    return Checkpoint(path, "svd", MappingProxyType({"unet": MappingProxyType(unet)}), ())


def is_video_unet(tensors: Mapping[str, Stored]) -> bool:
    """True where a UNet that is told Stable Video Diffusion's three numbers is among the tensors."""
    return _TIME in tensors and _LABEL in tensors and tensors[_LABEL].shape[-1:] == (768,)


def recognise(tensors: Mapping[str, Stored], name: str) -> Kind:
    """Which networks these tensors are, by names and shapes alone.

    Args:
        name: of the file, for the message.

    Raises:
        BadInput: something else; says what, where it is known.
    """
    if any(n.startswith(CLIP_G) for n in tensors):
        _refuse_parts(tensors, name, _XL_PARTS)
        if _CONV_IN in tensors and tensors[_CONV_IN].shape[1:2] != (4,):
            raise BadInput(f"{name} is a Stable Diffusion XL that fills in or edits pictures; the studio can't use it.")
        return "sdxl"
    if any(n.startswith(f"{CLIP_G_ALONE}transformer.") for n in tensors):
        _refuse_parts(tensors, name, _XL_REFINER_PARTS)
        return "sdxl-refiner"
    if all(n in tensors for n in _BARE_VAE) and not any(n.startswith(UNET) for n in tensors):
        return "vae"
    if _TIME not in tensors or _LABEL not in tensors:
        what = _other(tensors)
        raise BadInput(f"{name} is {what}, not a Stable Video Diffusion, SV3D or Stable Diffusion XL checkpoint.")
    _refuse_parts(tensors, name, _PARTS)
    width = tensors[_LABEL].shape[-1] if tensors[_LABEL].shape else 0
    temporal = any(n.startswith(f"{FIRST_STAGE}decoder.") and ".time_stack." in n for n in tensors)
    if any(n.startswith("conditioner.embedders.4.encoder.") for n in tensors):
        raise BadInput(f"{name} is an SV4D checkpoint; the studio reads SVD and SV3D.")
    if width == 768:
        return "svd" if temporal else "svd-image-decoder"
    if width in (256, 1280) and not temporal:
        return "sv3d-u" if width == 256 else "sv3d-p"
    raise BadInput(
        f"{name} is a video model that the studio does not know: {width} conditioning numbers, with "
        f"{'a temporal' if temporal else 'an image'} decoder.",
        "It reads SVD (768), SV3D_u (256) and SV3D_p (1280).",
    )


def _refuse_parts(tensors: Mapping[str, Stored], name: str, parts: Mapping[str, str]) -> None:
    """Raises `BadInput` where a part has no tensor at all; `parts` are patterns by what they stand for."""
    lacks = [what for what, pattern in parts.items() if not any(re.match(pattern, n) for n in tensors)]
    if lacks:
        raise BadInput(
            f"{name} is only a part of a checkpoint: it lacks {' and '.join(lacks)}.", "Use the file as published."
        )


def _refuse_precisions(path: Path, tensors: Mapping[str, Stored]) -> None:
    for name, stored in tensors.items():
        if stored.dtype not in _FLOATS:
            raise BadInput(
                f"{path.name} is stored in {_precision(stored.dtype)} ({shown(name)}); the studio reads fp16 and fp32.",
                "Use an fp16 copy.",
            )


def _vae_encoder(kind: Kind) -> str:
    return f"conditioner.embedders.{1 if kind.startswith('sv3d') else 3}.encoder."


def _text_encoder_2(kind: Kind) -> str:
    return CLIP_G_ALONE if kind == "sdxl-refiner" else CLIP_G


def _part(name: str, kind: Kind) -> Component | Literal["unused"] | None:
    """Where a tensor belongs; None where nothing of this kind has it.

    Each autoencoder is there whole: of the conditioner's, the decoder is unused; of the first stage, the encoder.
    """
    if name.startswith(UNET):
        return "unet"
    if kind in _COMPONENTS:
        return _xl_part(name, kind)
    if name.startswith(VISION):
        return "image_encoder"
    encoder = _vae_encoder(kind)
    if name.startswith((f"{encoder}encoder.", f"{encoder}quant_conv.", f"{FIRST_STAGE}decoder.")):
        return "vae"
    if name.startswith(f"{FIRST_STAGE}post_quant_conv.") and kind == "svd-image-decoder":
        return "vae"
    unused = (f"{encoder}decoder.", f"{encoder}post_quant_conv.", f"{FIRST_STAGE}encoder.", f"{FIRST_STAGE}quant_conv.")
    return "unused" if name.startswith(unused) or name in _TEXT_LEFT_OVERS else None


def _xl_part(name: str, kind: Kind) -> Component | Literal["unused"] | None:
    if kind == "vae":
        return "vae" if name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")) else None
    if _XL_UNUSED.fullmatch(name):
        return "unused"
    places: dict[str, Component] = {_text_encoder_2(kind): "text_encoder_2", FIRST_STAGE: "vae"}
    if kind == "sdxl":
        places[CLIP_L] = "text_encoder"
    return next((component for start, component in places.items() if name.startswith(start)), None)


def _other(tensors: Mapping[str, Stored]) -> str:
    if not tensors:
        return "empty"
    for pattern, what in _OTHERS:
        if any(re.match(pattern, name) for name in tensors):
            return what
    if _TIME in tensors:
        return f"incomplete: it lacks {_LABEL}"
    return f"something else (its first tensor is {shown(next(iter(tensors)))})"


def _precision(dtype: str) -> str:
    return "fp8" if dtype.startswith("F8") else dtype if re.fullmatch(r"\w{1,12}", dtype) else "an unknown format"
