"""What a picture costs with Stable Diffusion XL, as formulas.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_sdxl.py
repeats. Shapes: a cell is one latent cell (8x8 pixels) of one branch; a value is one activation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from studio.models.costs import PhaseCost, Unit, Way
from studio.models.decoding import Decode
from studio.models.sampling import Sample
from studio.models.spec import VariantSpec

_CELL = 8
"""Pixels on a side of one latent cell."""

_TEXTS = 2
"""Prompt and negative prompt."""

_MOST_PARTS = 5
"""Of 77 tokens, in each text (`studio.engines.sdxl_prompt`)."""

_SAMPLER_LATENTS = 12
"""Latents in fp32 that sampler, guidance and network hold beside the UNet's own activations."""

_DECODER_WEIGHTS = 49_490_199
"""Of the VAE's decoder, which runs in fp32: a copy of it where the weights are in fp16."""

_OVERLAP = 16
"""Cells that neighbouring tiles share (`studio.engines.clip_decode`)."""

_TILES = (64, 32)
"""Cells on a side of a tile: half of what the model was trained at, and half of that."""


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """Prompt, sample and decode, each with its ways; see `studio.models.costs.phases_of`."""
    return (
        PhaseCost("prompt", ("text_encoder", "text_encoder_2"), (_prompt(value_bytes),)),
        PhaseCost("sample", ("unet",), tuple(_sample_ways(wish, value_bytes)), "unet", UNET_UNITS),
        PhaseCost("decode", ("vae",), tuple(_decode_ways(wish.width, wish.height, value_bytes))),
    )


def _prompt(value_bytes: int) -> Way:
    """One text encoder after the other; the second is seven times the first, and the longest prompts take 80 MB."""
    return Way(
        "whole",
        working_bytes=_TEXTS * _MOST_PARTS * 4_140_000 * value_bytes,
        flop=_TEXTS * 111.2e9,
        moved_bytes=1.2e9 * value_bytes,
    )


# --- sampling -------------------------------------------------------------------------------------------------


def _sample_ways(wish: Any, value_bytes: int) -> Iterator[Way]:
    cells = -(-wish.width // _CELL) * -(-wish.height // _CELL)
    guided = wish.guidance_scale > 1
    lora_bytes = sum(_file_bytes(path) for path, _ in wish.loras) * value_bytes // 2
    evaluations = 2 * wish.steps - 1 if wish.sampler == "heun" else wish.steps
    for at_once in (True, False) if guided else (True,):
        branches = 2 if guided and at_once else 1
        calls = 2 if guided and not at_once else 1
        yield Way(
            ("both branches" if branches == 2 else "one branch at a time") if guided else "one branch",
            working_bytes=lora_bytes + cells * 4 * 4 * _SAMPLER_LATENTS + unet_bytes(cells, branches, value_bytes),
            flop=evaluations * calls * unet_flop(cells, branches),
            moved_bytes=evaluations * calls * unet_moved(cells, branches, value_bytes),
            passes=evaluations * calls,
            choice=Sample(branches_at_once=at_once),
        )


def _file_bytes(path: str) -> int:
    """Of a LoRA, in fp16 as they mostly are; one that is not there is told when it is read."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def unet_bytes(cells: int, branches: int, value_bytes: int) -> int:
    """The most activations that live while the UNet runs: inside a feed-forward of the second level."""
    return 5041 * branches * cells * value_bytes


def unet_flop(cells: int, branches: int) -> float:
    """Of one call; the part that grows with the square of the picture is self-attention, the constant one what is
    computed of the prompt."""
    return branches * (363.6e6 * cells + 2800 * cells**2 + 52.6e9)


def unet_moved(cells: int, branches: int, value_bytes: int) -> float:
    """Bytes that one call reads and writes, each tensor at its full size, weights included."""
    return value_bytes / 2 * (1.118e6 * branches * cells + 5.13e9)


def _units(place: str, resnets: tuple[tuple[float, float], ...], blocks: tuple[int, float, float]) -> Iterator[Unit]:
    """Each res block and, after it, the layers of the transformer that follows it."""
    count, share, flop_share = blocks
    for i, (res_share, res_flop_share) in enumerate(resnets):
        yield Unit(f"{place}.resnets.{i}", res_share, res_flop_share)
        for layer in range(count):
            yield Unit(f"{place}.attentions.{i}.transformer_blocks.{layer}", share, flop_share)


_NONE = (0, 0.0, 0.0)
_FEW = (2, 0.003897, 0.015464)
_MANY = (10, 0.013537, 0.009906)

UNET_UNITS: tuple[Unit, ...] = (
    *_units("down_blocks.0", ((0.000878, 0.008933), (0.000878, 0.008933)), _NONE),
    Unit("down_blocks.0.downsamplers.0", 0.000359, 0.001117),
    *_units("down_blocks.1", ((0.002554, 0.006948), (0.003192, 0.008933)), _FEW),
    Unit("down_blocks.1.downsamplers.0", 0.001436, 0.001117),
    *_units("down_blocks.2", ((0.009576, 0.006948), (0.012128, 0.008933)), _MANY),
    *_units("mid_block", ((0.012128, 0.008933),), _MANY),
    Unit("mid_block.resnets.1", 0.012128, 0.008933),
    *_units("up_blocks.0", ((0.019149, 0.014393), (0.019149, 0.014393), (0.015958, 0.011911)), _MANY),
    Unit("up_blocks.0.upsamplers.0", 0.005744, 0.017866),
    *_units("up_blocks.1", ((0.006544, 0.019355), (0.004948, 0.014392), (0.004150, 0.011911)), _FEW),
    Unit("up_blocks.1.upsamplers.0", 0.001436, 0.017866),
    *_units("up_blocks.2", ((0.001716, 0.019355), (0.001317, 0.014392), (0.001317, 0.014392)), _NONE),
)
"""The UNet in order of execution: every res block, layer of a transformer, down- and upsampler, with its share of the
weights and of the work at 1024x1024. The 1.2 % of weights in none of them stay on the device."""


# --- decoding -------------------------------------------------------------------------------------------------


def _decode_ways(width: int, height: int, value_bytes: int) -> Iterator[Way]:
    """In fp32, since the published autoencoder overflows in half precision."""
    copied = 0 if value_bytes == 4 else _DECODER_WEIGHTS * 4
    yield Way("whole", copied + _decode_bytes(width, height), _decode_flop(width, height),
              moved_bytes=16_000 * width * height * 4, choice=Decode("whole", 1))  # fmt: skip
    down, across = -(-height // _CELL), -(-width // _CELL)
    for side in _TILES:
        count = _spans(down, side) * _spans(across, side)
        if count > 1:
            tile = (min(across, side) * _CELL, min(down, side) * _CELL)
            yield Way(
                f"tiled, {tile[0]}x{tile[1]}",
                working_bytes=copied + _decode_bytes(*tile) + 3 * 4 * 2 * width * height,
                flop=count * _decode_flop(*tile),
                moved_bytes=count * 16_000 * tile[0] * tile[1] * 4,
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
