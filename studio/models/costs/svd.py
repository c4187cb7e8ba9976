"""What a clip costs with the SVD family, as formulas.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_svd.py
repeats. Shapes: a cell is one latent cell (8x8 pixels) of one frame and one branch; a value is one activation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from studio.models.costs import PhaseCost, Unit, Way
from studio.models.decoding import LEAN_SLICE_PIXELS, Decode, chunk_bytes, kept_on_host_bytes, whole_bytes
from studio.models.sampling import FF_ROWS, Sample
from studio.models.spec import VariantSpec

_CELL = 8
"""Pixels on a side of one latent cell."""

_HOST_SLICE = 1 << 19
"""Pixels at a time where the clip's tensors lie in host memory: not much slower than more of them, in half the room."""

_LEAST_TILE = 32
"""Cells (256 pixels); smaller tiles see too little of the picture."""

_OVERLAP = 16
"""Cells that neighbouring tiles share (`studio.engines.clip_decode`)."""

_ENCODER_WEIGHTS = 34_163_664
"""Of the VAE's encoder, which runs in fp32: a copy of it where the weights are in fp16."""

_SAMPLER_LATENTS = 12
"""Latents in fp32 that sampler, guidance and network hold beside the UNet's own activations."""


@dataclass(frozen=True)
class _Clip:
    frames: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.frames * self.width * self.height

    @property
    def frame_cells(self) -> int:
        return -(-self.width // _CELL) * -(-self.height // _CELL)

    @property
    def cells(self) -> int:
        return self.frames * self.frame_cells


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
    clip = _Clip(wish.frames, wish.width, wish.height)
    return (
        PhaseCost("encode", ("image_encoder", "vae"), (_encode(clip, value_bytes),)),
        PhaseCost("sample", ("unet",), _sample_ways(clip, wish, value_bytes, exact_savings), "unet", UNET_UNITS),
        PhaseCost(
            "decode",
            ("vae",),
            _repeated(_decode_ways(clip, wish, decoder_value_bytes or value_bytes, image_decoder), _windows(wish)),
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


def _encode(clip: _Clip, value_bytes: int) -> Way:
    """CLIP and the VAE's encoder for one picture. CLIP's 8 MB of activations are never the most."""
    pixels = clip.width * clip.height
    copied = 0 if value_bytes == 4 else _ENCODER_WEIGHTS * 4
    return Way(
        "whole",
        working_bytes=643 * pixels * 4 + copied,
        flop=0.335e12 + pixels * (4.129e6 + 32 * clip.frame_cells),
        moved_bytes=1.05e9 * value_bytes + 37_000 * pixels,
    )


# --- sampling -------------------------------------------------------------------------------------------------


def _sample_ways(clip: _Clip, wish: Any, value_bytes: int, exact_savings: bool) -> tuple[Way, ...]:
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


def _unet_flop(clip: _Clip, branches: int, exact_savings: bool) -> float:
    """Of one call; the part that grows with the square of a frame is self-attention over space."""
    each = 266.7e6 if exact_savings else 279.3e6 + 11.5e6 / clip.frames
    return branches * clip.cells * (each + 7300 * clip.frame_cells)


def _unet_moved(clip: _Clip, branches: int, value_bytes: int, exact_savings: bool) -> float:
    """Bytes that one call reads and writes, each tensor at its full size, weights included."""
    published = 1.495e6 if branches == 2 else 1.44e6 + 12.3e6 / clip.frames
    each = 1.22e6 if exact_savings else published
    return value_bytes / 2 * (branches * clip.cells * each + 3.5e9)


def _level(name: str, *shares: tuple[str, float, float]) -> tuple[Unit, ...]:
    return tuple(Unit(f"{name}.{part}", share, flop_share) for part, share, flop_share in shares)


UNET_UNITS: tuple[Unit, ...] = (
    *_level(
        "down_blocks.0",
        ("resnets.0", 0.002152, 0.014716),
        ("attentions.0", 0.004767, 0.063622),
        ("resnets.1", 0.002152, 0.014716),
        ("attentions.1", 0.004767, 0.063622),
        ("downsamplers.0", 0.000605, 0.001380),
    ),
    *_level(
        "down_blocks.1",
        ("resnets.0", 0.006454, 0.012264),
        ("attentions.0", 0.017324, 0.032669),
        ("resnets.1", 0.007528, 0.014716),
        ("attentions.1", 0.017324, 0.032669),
        ("downsamplers.0", 0.002418, 0.001380),
    ),
    *_level(
        "down_blocks.2",
        ("resnets.0", 0.023654, 0.012264),
        ("attentions.0", 0.065812, 0.028782),
        ("resnets.1", 0.027952, 0.014717),
        ("attentions.1", 0.065812, 0.028782),
        ("downsamplers.0", 0.009672, 0.001380),
    ),
    *_level("down_blocks.3", ("resnets.0", 0.027952, 0.003679), ("resnets.1", 0.027952, 0.003679)),
    *_level(
        "mid_block",
        ("resnets.0", 0.027952, 0.003679),
        ("attentions.0", 0.065812, 0.007092),
        ("resnets.1", 0.027952, 0.003679),
    ),
    *_level(
        "up_blocks.0",
        ("resnets.0", 0.039775, 0.005365),
        ("resnets.1", 0.039775, 0.005365),
        ("resnets.2", 0.039775, 0.005365),
        ("upsamplers.0", 0.009672, 0.005519),
    ),
    *_level(
        "up_blocks.1",
        ("resnets.0", 0.039775, 0.021462),
        ("attentions.0", 0.065812, 0.028782),
        ("resnets.1", 0.039775, 0.021462),
        ("attentions.1", 0.065812, 0.028782),
        ("resnets.2", 0.034401, 0.018396),
        ("attentions.2", 0.065812, 0.028782),
        ("upsamplers.0", 0.009672, 0.022075),
    ),
    *_level(
        "up_blocks.2",
        ("resnets.0", 0.013172, 0.027593),
        ("attentions.0", 0.017324, 0.032669),
        ("resnets.1", 0.010485, 0.021462),
        ("attentions.1", 0.017324, 0.032669),
        ("resnets.2", 0.009141, 0.018396),
        ("attentions.2", 0.017324, 0.032669),
        ("upsamplers.0", 0.002418, 0.022075),
    ),
    *_level(
        "up_blocks.3",
        ("resnets.0", 0.003564, 0.027593),
        ("attentions.0", 0.004767, 0.063622),
        ("resnets.1", 0.002892, 0.021462),
        ("attentions.1", 0.004767, 0.063622),
        ("resnets.2", 0.002892, 0.021462),
        ("attentions.2", 0.004767, 0.063622),
    ),
)
"""SVD's UNet in order of execution: every res block, transformer, down- and upsampler, with its share of the weights
and of the work at 25 frames of 1024x576. The 0.3 % of weights in none of them stay on the device."""


# --- decoding -------------------------------------------------------------------------------------------------


def _decode_ways(clip: _Clip, wish: Any, value_bytes: int, image_decoder: bool) -> tuple[Way, ...]:
    """``auto`` has every way, the exact ones first; a way that is wished for by name has its own leaner forms only."""
    chunk = min(wish.decode_chunk, clip.frames)
    if image_decoder:
        ways = _picture_ways(clip, chunk, value_bytes) if wish.decode != "tiled" else ()
        return ways or _tiled_ways(clip, chunk, value_bytes, image_decoder, wished=True)
    if wish.decode == "whole":
        return _whole_ways(clip, chunk, value_bytes)
    if wish.decode == "chunked":
        return _chunked_ways(clip, chunk, value_bytes, wished=True)
    if wish.decode == "tiled":
        return _tiled_ways(clip, chunk, value_bytes, image_decoder, wished=True)
    return (
        *_whole_ways(clip, chunk, value_bytes),
        *_chunked_ways(clip, chunk, value_bytes, wished=False),
        *_tiled_ways(clip, chunk, value_bytes, image_decoder, wished=False),
    )


def _whole_ways(clip: _Clip, chunk: int, value_bytes: int) -> tuple[Way, ...]:
    size = (clip.frames, clip.width, clip.height, value_bytes)
    ways = []
    for recompute in (False, True):
        ways.append(
            Way(
                "whole, some layers twice" if recompute else "whole",
                working_bytes=_whole_bytes(clip, value_bytes, recompute=recompute),
                flop=_decode_flop(clip, recompute),
                moved_bytes=(83_500 if recompute else 81_600) * clip.pixels * value_bytes / 2,
                choice=Decode("whole", chunk, recompute),
            )
        )
    for slice_pixels, name in ((_HOST_SLICE, "in slices"), (LEAN_SLICE_PIXELS, "in small slices")):
        # The bus is what takes the time: with some layers done twice less goes over it.
        ways.append(
            Way(
                f"whole, kept on the host, {name}",
                working_bytes=min(kept_on_host_bytes(*size, slice_pixels), _whole_bytes(clip, value_bytes)),
                flop=_decode_flop(clip, recompute=True),
                moved_bytes=41_750 * clip.pixels * value_bytes,
                bus_bytes=4285 * clip.pixels * value_bytes,
                host_bytes=192 * clip.pixels * value_bytes,
                choice=Decode("whole", chunk, recompute=True, keep="host", slice_pixels=slice_pixels),
            )
        )
    return tuple(ways)


def _picture_ways(clip: _Clip, chunk: int, value_bytes: int) -> tuple[Way, ...]:
    """To an image decoder each frame is a picture of its own, so that any chunk gives the same."""
    flop = clip.pixels * (9.461e6 + 32 * clip.frame_cells)
    return tuple(
        Way(
            f"{_counted(size)} at a time",
            working_bytes=size * clip.width * clip.height * 769 * value_bytes,
            flop=flop,
            moved_bytes=15_950 * clip.pixels * value_bytes,
            choice=Decode("chunked", size),
        )
        for size in _halves(chunk)
    )


def _chunked_ways(clip: _Clip, chunk: int, value_bytes: int, *, wished: bool) -> tuple[Way, ...]:
    ways = []
    for size in _halves(chunk):
        alone = size == clip.frames
        if alone and not wished:
            continue  # the same clip as decoding it whole, in four times the memory
        as_wished = wished and size == chunk
        ways.append(
            Way(
                f"chunked, {_counted(size)} at a time",
                working_bytes=chunk_bytes(size, clip.width, clip.height, value_bytes),
                flop=_decode_flop(clip, recompute=False),
                moved_bytes=33_000 * clip.pixels * value_bytes,
                exact=alone or as_wished,
                choice=Decode("chunked", size),
                notice=""
                if as_wished
                else f"The clip does not fit for decoding {'in larger chunks' if wished else 'as a whole'}; "
                f"it is decoded {_counted(size)} at a time, which can flicker.",
            )
        )
    return tuple(ways)


def _tiled_ways(clip: _Clip, chunk: int, value_bytes: int, image_decoder: bool, *, wished: bool) -> tuple[Way, ...]:
    """From the size that SVD was trained at, halving the longer side."""
    ways: list[Way] = []
    down, across = 72, 128
    while min(down, across) >= _LEAST_TILE:
        size = (min(across * _CELL, clip.width), min(down * _CELL, clip.height))
        tile = _Clip(1 if image_decoder else clip.frames, *size)
        count = _spans(-(-clip.height // _CELL), down) * _spans(-(-clip.width // _CELL), across)
        if count > 1 or wished:
            work = count * clip.frames * tile.width * tile.height / clip.pixels if count > 1 else 1.0
            ways.append(
                Way(
                    f"tiled, {tile.width}x{tile.height}",
                    working_bytes=tile.pixels * 769 * value_bytes
                    if image_decoder
                    else _whole_bytes(tile, value_bytes, recompute=True),
                    flop=work * _decode_flop(clip, recompute=True),
                    moved_bytes=work * 41_800 * clip.pixels * value_bytes,
                    exact=count == 1 or (wished and not ways),
                    choice=Decode("tiled", chunk, recompute=True, tile=(down, across)),
                    notice="The clip is decoded in tiles that are blended where they overlap, which is an "
                    "approximation."
                    if count > 1
                    else "",
                )
            )
        down, across = (down, across // 2) if across >= down else (down // 2, across)
    return tuple(ways)


def _spans(length: int, tile: int) -> int:
    """How many tiles cover that length with their overlap."""
    overlap = min(_OVERLAP, tile // 2)
    return 1 if length <= tile else -(-(length - overlap) // (tile - overlap))


def _whole_bytes(clip: _Clip, value_bytes: int, *, recompute: bool = False) -> int:
    """The formula counts whole slices; a clip that is smaller than one needs no more than all its layers at once."""
    size = (clip.frames, clip.width, clip.height, value_bytes)
    return min(whole_bytes(*size, recompute=recompute), chunk_bytes(*size))


def _decode_flop(clip: _Clip, recompute: bool) -> float:
    return clip.pixels * ((12.484e6 if recompute else 11.476e6) + 32 * clip.frame_cells)


def _halves(chunk: int) -> list[int]:
    """The chunk, half of it, ... down to a single frame."""
    sizes = [chunk]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _counted(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
