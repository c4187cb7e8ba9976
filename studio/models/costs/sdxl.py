"""What pictures cost with Stable Diffusion XL, as formulas: the base alone, or the base and then the refiner.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_sdxl.py
repeats. A cell is one latent cell (8x8 pixels) of one branch; a value is one activation.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from studio.models.costs import PhaseCost, Way
from studio.models.costs.sdxl_unets import BASE, REFINER, Unet
from studio.models.decoding import Decode
from studio.models.sampling import Sample
from studio.models.wish import Changed

if TYPE_CHECKING:
    from studio.models.spec import VariantSpec

_CELL = 8
"""Pixels on a side of one latent cell."""

_TEXTS = 2
"""Prompt and negative prompt."""

_MOST_PARTS = 5
"""Of 77 tokens, in each text (`studio.engines.sdxl_prompt`)."""

_TEXT_FLOP = {"text_encoder": 13.3e9, "text_encoder_2": 97.9e9}
"""Of one text."""

_TEXT_MOVED = {"text_encoder": 0.25e9, "text_encoder_2": 0.95e9}
"""Values that a pass over two texts reads and writes, weights included."""

_SAMPLER_LATENTS = 12
"""Latents in fp32 that sampler, guidance and network hold beside the UNet's own activations."""

_DECODER_WEIGHTS = 49_490_199
"""Of the VAE's decoder, which runs in fp32: a copy of it where the weights are in fp16."""

_OVERLAP = 16
"""Cells that neighbouring tiles share (`studio.engines.clip_decode`)."""

_TILES = (64, 32)
"""Cells on a side of a tile: half of what the model was trained at, and half of that."""


def refines(spec: VariantSpec) -> bool:
    """True for a refiner: it goes on with what another model began."""
    return "refine" in spec.capabilities


def steps_of(spec: VariantSpec, wish: Any) -> range:
    """Which of the picture's steps this model does: all of them, or those on its side of ``refine_from``.

    The base does the steps whose timestep is at least that of the split, as in diffusers (``denoising_end``,
    ``denoising_start``).
    """
    if wish.refine_from is None:
        return range(wish.steps)
    trained = spec.facts["timesteps"]
    split = round(trained - wish.refine_from * trained)
    first = sum(i * (trained // wish.steps) + 1 >= split for i in range(wish.steps))
    return range(first, wish.steps) if refines(spec) else range(first)


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """Prompt, sample and decode, each with its ways; what a refiner goes on with is not decoded.

    See `studio.models.costs.phases_of`. `wish.candidates` is how many pictures are painted.
    """
    wish = _as_painted(spec, wish)
    encoders = tuple(name for name in ("text_encoder", "text_encoder_2") if name in spec.component_bytes)
    unet = REFINER if refines(spec) else BASE
    found = [
        PhaseCost("prompt", encoders, (_prompt(encoders, value_bytes),)),
        PhaseCost("sample", ("unet",), tuple(_sample_ways(unet, spec, wish, value_bytes)), "unet", unet.units),
    ]
    if refines(spec) or wish.refine_from is None:
        found.append(PhaseCost("decode", ("vae",), tuple(_decode_ways(wish, value_bytes))))
    return tuple(found)


def _as_painted(spec: VariantSpec, wish: Any) -> Any:
    """The wish no larger than the model paints: a request is planned before the painter was asked for its size."""
    trained = spec.facts.get("buckets", ())
    if not trained or wish.width * wish.height <= max(width * height for width, height in trained):
        return wish
    shape = wish.width / wish.height
    width, height = min(trained, key=lambda size: abs(math.log(size[0] / size[1] / shape)))
    return Changed(wish, width=width, height=height)


def _prompt(encoders: tuple[str, ...], value_bytes: int) -> Way:
    """One text encoder after the other; the second is seven times the first, and the longest prompts take 80 MB."""
    return Way(
        "whole",
        working_bytes=_TEXTS * _MOST_PARTS * 4_140_000 * value_bytes,
        flop=_TEXTS * sum(_TEXT_FLOP[name] for name in encoders),
        moved_bytes=sum(_TEXT_MOVED[name] for name in encoders) * value_bytes,
    )


# --- sampling -------------------------------------------------------------------------------------------------


def _sample_ways(unet: Unet, spec: VariantSpec, wish: Any, value_bytes: int) -> Iterator[Way]:
    cells = -(-wish.width // _CELL) * -(-wish.height // _CELL)
    guided = wish.guidance_scale > 1
    lora_bytes = sum(_file_bytes(path) for path, _ in wish.loras) * value_bytes // 2
    steps = steps_of(spec, wish)
    twice = sum(i < wish.steps - 1 for i in steps) if wish.sampler == "heun" else 0  # the step to no noise is not
    evaluations = wish.candidates * (len(steps) + twice)
    for at_once in (True, False) if guided else (True,):
        branches = 2 if guided and at_once else 1
        calls = 2 if guided and not at_once else 1
        yield Way(
            ("both branches" if branches == 2 else "one branch at a time") if guided else "one branch",
            working_bytes=lora_bytes + cells * 4 * 4 * _SAMPLER_LATENTS + unet.bytes(cells, branches, value_bytes),
            flop=evaluations * calls * unet.flop(cells, branches),
            moved_bytes=evaluations * calls * unet.moved(cells, branches, value_bytes),
            passes=evaluations * calls,
            choice=Sample(branches_at_once=at_once),
        )


def _file_bytes(path: str) -> int:
    """Of a LoRA, in fp16 as they mostly are; one that is not there is told when it is read."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


# --- decoding -------------------------------------------------------------------------------------------------


def _decode_ways(wish: Any, value_bytes: int) -> Iterator[Way]:
    """In fp32, since the published autoencoder overflows in half precision; one picture after the other."""
    width, height, pictures = wish.width, wish.height, wish.candidates
    copied = 0 if value_bytes == 4 else _DECODER_WEIGHTS * 4
    yield Way(
        "whole",
        copied + _decode_bytes(width, height),
        pictures * _decode_flop(width, height),
        moved_bytes=pictures * 16_000 * width * height * 4,
        choice=Decode("whole", 1),
    )
    down, across = -(-height // _CELL), -(-width // _CELL)
    for side in _TILES:
        count = _spans(down, side) * _spans(across, side)
        if count > 1:
            tile = (min(across, side) * _CELL, min(down, side) * _CELL)
            yield Way(
                f"tiled, {tile[0]}x{tile[1]}",
                working_bytes=copied + _decode_bytes(*tile) + 3 * 4 * 2 * width * height,
                flop=pictures * count * _decode_flop(*tile),
                moved_bytes=pictures * count * 16_000 * tile[0] * tile[1] * 4,
                exact=False,
                choice=Decode("tiled", 1, tile=(side, side)),
                notice="The picture is decoded in tiles that are blended where they overlap: an approximation.",
            )


def _decode_bytes(width: int, height: int) -> int:
    return 769 * width * height * 4


def _decode_flop(width: int, height: int) -> float:
    return width * height * (9.461e6 + 0.5 * width * height)


def _spans(length: int, tile: int) -> int:
    """How many tiles cover that length with their overlap."""
    return 1 if length <= tile else -(-(length - _OVERLAP) // (tile - _OVERLAP))
