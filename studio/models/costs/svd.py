"""What a clip costs with the SVD family, as formulas.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_svd.py
repeats. Shapes: a cell is one latent cell (8x8 pixels) of one frame and one branch; a value is one activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.models.costs import PhaseCost, Way
from studio.models.costs.svd_decoding import ClipSize, decode_ways
from studio.models.costs.svd_units import UNET_UNITS
from studio.models.sampling import FF_ROWS, Approximate, Sample, unet_of

if TYPE_CHECKING:
    from studio.models.spec import VariantSpec

_ENCODER_WEIGHTS = 34_163_664
"""Of the VAE's encoder, which runs in fp32: a copy of it where the weights are in fp16."""

_KEPT_VALUES = 320
"""A cell of what the last layer of the UNet is given, which a fast run keeps."""

_QUANTISED_BYTES = 571_805_440
"""What the UNet's large matrices take beside it where a fast run holds them in 8 bits."""

_SAMPLER_LATENTS = 12
"""Latents in fp32 that sampler, guidance and network hold beside the UNet's own activations."""


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """Encode, sample and decode, each with its ways; see `studio.models.costs.phases_of`."""
    image_decoder = any(getattr(source, "holds", "") == "svd-image-decoder" for source in spec.sources)
    return clip_phases(
        wish, spec.facts, value_bytes=value_bytes, exact_savings=exact_savings, image_decoder=image_decoder
    )


def clip_phases(
    wish: Any,
    facts: Mapping[str, Any],
    *,
    value_bytes: int,
    exact_savings: bool,
    image_decoder: bool,
    decoder_value_bytes: int | None = None,
) -> tuple[PhaseCost, ...]:
    """The phases of a clip by this UNet and one of its decoders.

    A wish may say two things more than others: `both_ways`, where each step goes from either end of the clip, and
    `windows`, where several clips of `frames` each are made after one another.

    Args:
        facts: the variant's.
        decoder_value_bytes: of one activation of the decoder, where its precision is not the others'.
    """
    clip = ClipSize(wish.frames, wish.width, wish.height)
    unet = unet_of(wish)
    ways = _sample_ways(clip, wish, facts, value_bytes, exact_savings)
    return (
        PhaseCost("encode", ("image_encoder", "vae"), (_encode(clip, value_bytes),)),
        PhaseCost("sample", (unet,), ways, unet, UNET_UNITS),
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


def _sample_ways(
    clip: ClipSize, wish: Any, facts: Mapping[str, Any], value_bytes: int, exact_savings: bool
) -> tuple[Way, ...]:
    both_ways = getattr(wish, "both_ways", False)
    guided = both_ways or wish.guidance_max > 1
    approximate = approximate_of(wish, facts, exact_savings)
    done = _evaluations(wish, facts, approximate, guided=guided, both_ways=both_ways)
    kept = _KEPT_VALUES * (2 if both_ways else 1) if approximate is not None and approximate.cache_every > 1 else 0
    ways = []
    for at_once in (True, False) if guided else (True,):
        for ff_rows in (None, FF_ROWS) if exact_savings else (None,):
            together = 2 if guided and at_once else 1
            name = ("both branches" if together == 2 else "one branch at a time") if guided else "one branch"
            name += ", feed-forwards in slices" if ff_rows else ""
            flop = moved_bytes = passes = 0.0
            for (whole, branches), count in done.items():
                calls = count if at_once else count * branches
                each = branches if at_once else 1
                flop += calls * _unet_flop(clip, each, exact_savings, whole=whole)
                moved_bytes += calls * _unet_moved(clip, each, value_bytes, exact_savings, whole=whole)
                passes += calls if whole else 0
            latents = clip.cells * 4 * 4 * _SAMPLER_LATENTS
            ways.append(
                Way(
                    name if approximate is None else f"{name}, fast",
                    working_bytes=latents
                    + (_QUANTISED_BYTES if approximate is not None and approximate.quantise else 0)
                    + (2 if guided else 1) * clip.cells * kept * value_bytes
                    + unet_bytes(clip.frames, clip.frame_cells, together, value_bytes, exact_savings, ff_rows),
                    flop=_windows(wish) * flop,
                    moved_bytes=_windows(wish) * moved_bytes,
                    passes=_windows(wish) * int(passes),
                    exact=approximate is None,
                    choice=Sample(branches_at_once=at_once, ff_rows=ff_rows, approximate=approximate),
                )
            )
    return tuple(ways)


def approximate_of(wish: Any, facts: Mapping[str, Any], exact_savings: bool) -> Approximate | None:
    """What that request lets out; None where it is to be exact.

    Args:
        facts: the variant's; ``fast`` has numbers of its own.
        exact_savings: without them nothing is kept that could be used again.
    """
    if getattr(wish, "speed", None) != "fast":
        return None
    approximate = Approximate(**facts.get("fast", {}))
    return approximate if exact_savings else replace(approximate, cache_every=1)


def _evaluations(
    wish: Any, facts: Mapping[str, Any], approximate: Approximate | None, *, guided: bool, both_ways: bool
) -> Mapping[tuple[bool, int], int]:
    """(whole, branches) -> how often the UNet is asked so in one window, by either end of the clip."""
    found: dict[tuple[bool, int], int] = {}
    for i, level in enumerate(_levels(facts, wish.steps)):
        whole = approximate is None or approximate.whole(i, wish.steps)
        fewer = approximate is not None and not both_ways and level < approximate.guided_down_to
        key = whole, 2 if guided and not fewer else 1
        again = both_ways or (wish.sampler == "heun" and i > 0)
        found[key] = found.get(key, 0) + (2 if again else 1)
    return found


def _levels(facts: Mapping[str, Any], steps: int) -> list[float]:
    """As `studio.diffusion.sigmas.karras` has them, without the 0 at their end."""
    rho = facts["rho"]
    most, least = facts["sigma_max"] ** (1 / rho), facts["sigma_min"] ** (1 / rho)
    return [(most + i / max(1, steps - 1) * (least - most)) ** rho for i in range(steps)]


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
        1640 * cells + 5120 * min(cells, rows),
        1720 * cells + 10_240 * min(cells // 4, rows),
        1760 * cells + 20_480 * min(cells // 16, rows),
    )
    return value_bytes * values


def _unet_flop(clip: ClipSize, branches: int, exact_savings: bool, *, whole: bool) -> float:
    """Of one call; the part that grows with the square of a frame is self-attention over space.

    Args:
        whole: else the last layer alone.
    """
    if not whole:
        return branches * clip.cells * (16.69e6 + 1280 * clip.frame_cells)
    each = 266.7e6 if exact_savings else 279.3e6 + 11.5e6 / clip.frames
    return branches * clip.cells * (each + 7300 * clip.frame_cells)


def _unet_moved(clip: ClipSize, branches: int, value_bytes: int, exact_savings: bool, *, whole: bool) -> float:
    """Bytes that one call reads and writes, each tensor at its full size, weights included."""
    if not whole:
        return value_bytes / 2 * branches * clip.cells * 0.141e6
    published = 1.495e6 if branches == 2 else 1.44e6 + 12.3e6 / clip.frames
    each = 1.22e6 if exact_savings else published
    return value_bytes / 2 * (branches * clip.cells * each + 3.5e9)
