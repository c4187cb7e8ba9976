"""What a clip costs with the SVD family, as formulas.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_svd.py
repeats. Shapes: a cell is one latent cell (8x8 pixels) of one frame and one branch; a value is one activation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from studio.models.costs import PhaseCost, Way
from studio.models.costs.svd_decoding import ClipSize, decode_ways
from studio.models.costs.svd_units import UNET_UNITS
from studio.models.sampling import FF_ROWS, Sample
from studio.models.spec import VariantSpec

_ENCODER_WEIGHTS = 34_163_664
"""Of the VAE's encoder, which runs in fp32: a copy of it where the weights are in fp16."""

_SAMPLER_LATENTS = 12
"""Latents in fp32 that sampler, guidance and network hold beside the UNet's own activations."""


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """Encode, sample and decode, each with its ways; see `studio.models.costs.phases_of`."""
    image_decoder = any(getattr(source, "holds", "") == "svd-image-decoder" for source in spec.sources)
    return clip_phases(wish, value_bytes=value_bytes, exact_savings=exact_savings, image_decoder=image_decoder)


def clip_phases(
    wish: Any, *, value_bytes: int, exact_savings: bool, image_decoder: bool, decoder_value_bytes: int | None = None
) -> tuple[PhaseCost, ...]:
    """The phases of a clip by this UNet and one of its decoders.

    A wish may say two things more than others: `both_ways`, where each step goes from either end of the clip, and
    `windows`, where several clips of `frames` each are made after one another.

    Args:
        decoder_value_bytes: of one activation of the decoder, where its precision is not the others'.
    """
    clip = ClipSize(wish.frames, wish.width, wish.height)
    return (
        PhaseCost("encode", ("image_encoder", "vae"), (_encode(clip, value_bytes),)),
        PhaseCost("sample", ("unet",), _sample_ways(clip, wish, value_bytes, exact_savings), "unet", UNET_UNITS),
        PhaseCost(
            "decode",
            ("vae",),
            _repeated(decode_ways(clip, wish, decoder_value_bytes or value_bytes, image_decoder), _windows(wish)),
        ),
    )


def _windows(wish: Any) -> int:
    return getattr(wish, "windows", None) or 1


def _repeated(ways: tuple[Way, ...], times: int) -> tuple[Way, ...]:
    """The same, so many times after one another."""
    return tuple(
        replace(
            way,
            flop=times * way.flop,
            moved_bytes=times * way.moved_bytes,
            bus_bytes=times * way.bus_bytes,
        )
        for way in ways
    )


def _encode(clip: ClipSize, value_bytes: int) -> Way:
    """CLIP and the VAE's encoder for one picture. CLIP's 8 MB of activations are never the most."""
    pixels = clip.width * clip.height
    copied = 0 if value_bytes == 4 else _ENCODER_WEIGHTS * 4
    return Way(
        "whole",
        working_bytes=643 * pixels * 4 + copied,
        flop=0.335e12 + pixels * (4.129e6 + 32 * clip.frame_cells),
        moved_bytes=1.05e9 * value_bytes + 37_000 * pixels,
    )


def _sample_ways(clip: ClipSize, wish: Any, value_bytes: int, exact_savings: bool) -> tuple[Way, ...]:
    both_ways = getattr(wish, "both_ways", False)
    guided = both_ways or wish.guidance_max > 1
    each = 2 * wish.steps if both_ways else 2 * wish.steps - 1 if wish.sampler == "heun" else wish.steps
    evaluations = each * _windows(wish)
    ways = []
    for at_once in (True, False) if guided else (True,):
        for ff_rows in (None, FF_ROWS) if exact_savings else (None,):
            branches = 2 if guided and at_once else 1
            calls = 2 if guided and not at_once else 1
            name = ("both branches" if branches == 2 else "one branch at a time") if guided else "one branch"
            latents = clip.cells * 4 * 4 * _SAMPLER_LATENTS
            ways.append(
                Way(
                    f"{name}, feed-forwards in slices" if ff_rows else name,
                    working_bytes=latents
                    + unet_bytes(clip.frames, clip.frame_cells, branches, value_bytes, exact_savings, ff_rows),
                    flop=evaluations * calls * _unet_flop(clip, branches, exact_savings),
                    moved_bytes=evaluations * calls * _unet_moved(clip, branches, value_bytes, exact_savings),
                    passes=evaluations * calls,
                    choice=Sample(branches_at_once=at_once, ff_rows=ff_rows),
                )
            )
    return tuple(ways)


def unet_bytes(
    frames: int, frame_cells: int, branches: int, value_bytes: int, exact_savings: bool, ff_rows: int | None
) -> int:
    """The most activations that live while the UNet runs.

    With the exact savings it is one of four places: the widest convolutions, or a feed-forward on the first, second
    or third level, whose inside is 16 channel widths a token in the memory of a moment.
    """
    cells = branches * frames * frame_cells
    if not exact_savings:
        # The second branch is withheld its picture by a context that is laid out for every cell of one frame.
        return int(value_bytes * cells * (8640 if branches == 1 else 8960 + 1024 / frames))
    rows = cells if ff_rows is None else ff_rows
    values = max(
        2920 * cells,
        1640 * cells + 5440 * min(cells, rows),
        1720 * cells + 10_880 * min(cells // 4, rows),
        1760 * cells + 21_760 * min(cells // 16, rows),
    )
    return value_bytes * values


def _unet_flop(clip: ClipSize, branches: int, exact_savings: bool) -> float:
    """Of one call; the part that grows with the square of a frame is self-attention over space."""
    each = 266.7e6 if exact_savings else 279.3e6 + 11.5e6 / clip.frames
    return branches * clip.cells * (each + 7300 * clip.frame_cells)


def _unet_moved(clip: ClipSize, branches: int, value_bytes: int, exact_savings: bool) -> float:
    """Bytes that one call reads and writes, each tensor at its full size, weights included."""
    published = 1.495e6 if branches == 2 else 1.44e6 + 12.3e6 / clip.frames
    each = 1.22e6 if exact_savings else published
    return value_bytes / 2 * (branches * clip.cells * each + 3.5e9)
