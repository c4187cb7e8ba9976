"""Works on a latent tile by tile and blends the results where the tiles overlap.

An approximation: no tile sees beyond its own edge, and norms see one tile at a time.

Shapes: T frames, C channels, h x w latent cells, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

CELL = 8
"""Pixels on a side of one latent cell."""


def in_tiles(
    decode: Callable[[torch.Tensor], torch.Tensor],
    latent_TCHW: torch.Tensor,
    *,
    tile: tuple[int, int],
    overlap: int,
    on_tile: Callable[[int, int], None],
) -> torch.Tensor:
    """What `decode` gives of all tiles, as one: fp32 (T, 3, H, W) on the CPU.

    Across an overlap one tile fades out as the next fades in, linearly; the weights sum to 1 everywhere.

    Args:
        decode: (T, C, h, w) -> (T, 3, 8 h, 8 w).
        tile: most cells of a tile, down and across. All tiles are of the same size.
        overlap: least cells that neighbours share; less than a tile.
        on_tile: hears (done, total); whatever it raises ends the work.
    """
    assert overlap < min(tile), (tile, overlap)
    count, _, height, width = latent_TCHW.shape
    down, across = (spans(n, t, overlap) for n, t in zip((height, width), tile, strict=True))
    fade_down, fade_across = fades(down, height), fades(across, width)
    out_TCHW = torch.zeros(count, 3, height * CELL, width * CELL)
    total = len(down) * len(across)
    for i, (rows, fade_H) in enumerate(zip(down, fade_down, strict=True)):
        for j, (columns, fade_W) in enumerate(zip(across, fade_across, strict=True)):
            tile_TCHW = decode(latent_TCHW[:, :, rows, columns]).float().cpu()
            out_TCHW[:, :, _pixels(rows), _pixels(columns)] += tile_TCHW * fade_H[:, None] * fade_W
            on_tile(i * len(across) + j + 1, total)
    return out_TCHW


def spans(length: int, tile: int, overlap: int) -> list[slice]:
    """As few spans of `tile` cells as cover `length` with at least that overlap, evenly spread; one where it fits."""
    if length <= tile:
        return [slice(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [slice(start, start + tile) for start in starts]


def fades(along: list[slice], length: int) -> list[torch.Tensor]:
    """For each span the weight of each of its pixels along one axis, fp32; over all spans they sum to 1.

    A weight rises from a span's edge to its middle; divided by the sum of all weights at that pixel it becomes
    the share. An edge of the picture itself is not faded.
    """
    raw, total = [], torch.zeros(length * CELL, dtype=torch.float64)
    for i, span in enumerate(along):
        size = (span.stop - span.start) * CELL
        at = torch.arange(size, dtype=torch.float64) + 0.5
        before = (along[i - 1].stop - span.start) * CELL if i else 0
        after = (span.stop - along[i + 1].start) * CELL if i + 1 < len(along) else 0
        weight = torch.ones(size, dtype=torch.float64)
        if before:
            weight = torch.minimum(weight, at / before)
        if after:
            weight = torch.minimum(weight, (size - at) / after)
        raw.append(weight)
        total[_pixels(span)] += weight
    return [(weight / total[_pixels(span)]).float() for weight, span in zip(raw, along, strict=True)]


def _pixels(span: slice) -> slice:
    return slice(span.start * CELL, span.stop * CELL)
