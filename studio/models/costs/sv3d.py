"""What an orbit costs with SV3D: SVD's UNet on a square clip, and an image decoder that runs in fp32."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.models.costs import PhaseCost, svd
from studio.models.wish import Changed

if TYPE_CHECKING:
    from studio.models.spec import VariantSpec

_DECODER_WEIGHTS = 49_490_179
"""Of the VAE's decoder: a copy of it in fp32 where the weights are in fp16."""


def as_clip(wish: Any) -> Any:
    """A multiview request as SVD reads one: a clip as wide and as high as its `size`."""
    return Changed(wish, width=wish.size, height=wish.size)


def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """Encode, sample and decode, each with its ways; see `studio.models.costs.phases_of`.

    What differs from frame to frame (SV3D_p's cameras) are 1280 numbers a frame, too few to count.
    """
    encode, sample, decode = svd.clip_phases(
        as_clip(wish),
        spec.facts,
        value_bytes=value_bytes,
        exact_savings=exact_savings,
        image_decoder=not spec.facts.get("temporal_decoder", False),
        decoder_value_bytes=4,
    )
    copied = 0 if value_bytes == 4 else _DECODER_WEIGHTS * 4
    ways = tuple(replace(way, working_bytes=way.working_bytes + copied) for way in decode.ways)
    return encode, sample, replace(decode, ways=ways)
