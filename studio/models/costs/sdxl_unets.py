"""What the UNets of Stable Diffusion XL cost, as formulas: the base's and the refiner's.

Calibrated against counts of the real modules at full size on the meta device, which tests/models/test_costs_sdxl.py
repeats. A cell is one latent cell (8x8 pixels) of one branch; a value is one activation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from studio.models.costs import Unit


@dataclass(frozen=True)
class Unet:
    """One UNet's formulas.

    Args:
        cell_values: that live for each cell at most: inside a feed-forward of the second level.
        cell_flop: of one call, for each cell.
        square_flop: of one call, for the square of the cells: self-attention.
        call_flop: of one call and branch: what is computed of the prompt.
        cell_moved: bytes in fp16 that one call reads and writes for each cell, each tensor at its full size.
        call_moved: likewise, once a call: the weights.
        units: every res block, layer of a transformer, down- and upsampler in order of execution, with its share of
            the weights and of the work at 1024x1024. The few weights in none of them stay on the device.
    """

    cell_values: int
    cell_flop: float
    square_flop: float
    call_flop: float
    cell_moved: float
    call_moved: float
    units: tuple[Unit, ...]

    def bytes(self, cells: int, branches: int, value_bytes: int) -> int:
        """The most activations that live while it runs."""
        return self.cell_values * branches * cells * value_bytes

    def flop(self, cells: int, branches: int) -> float:
        """Of one call."""
        return branches * (self.cell_flop * cells + self.square_flop * cells**2 + self.call_flop)

    def moved(self, cells: int, branches: int, value_bytes: int) -> float:
        """Bytes that one call reads and writes, weights included."""
        return value_bytes / 2 * (self.cell_moved * branches * cells + self.call_moved)


def _units(
    place: str, resnets: tuple[tuple[float, float], ...], blocks: tuple[int, float, float] = (0, 0.0, 0.0)
) -> Iterator[Unit]:
    """Each res block and, after it, the layers of the transformer that follows it, where one does."""
    count, share, flop_share = blocks
    for i, (res_share, res_flop_share) in enumerate(resnets):
        yield Unit(f"{place}.resnets.{i}", res_share, res_flop_share)
        for layer in range(count):
            yield Unit(f"{place}.attentions.{i}.transformer_blocks.{layer}", share, flop_share)


_FEW = (2, 0.003897, 0.015464)
_MANY = (10, 0.013537, 0.009906)

BASE = Unet(
    cell_values=5041,
    cell_flop=363.6e6,
    square_flop=2800,
    call_flop=52.6e9,
    cell_moved=1.118e6,
    call_moved=5.13e9,
    units=(
        *_units("down_blocks.0", ((0.000878, 0.008933), (0.000878, 0.008933))),
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
        *_units("up_blocks.2", ((0.001716, 0.019355), (0.001317, 0.014392), (0.001317, 0.014392))),
    ),
)

_FINE = (4, 0.005575, 0.019185)
_COARSE = (4, 0.020547, 0.012971)

REFINER = Unet(
    cell_values=6066,
    cell_flop=372.6e6,
    square_flop=4326,
    call_flop=20.7e9,
    cell_moved=1.076e6,
    call_moved=4.58e9,
    units=(
        *_units("down_blocks.0", ((0.001437, 0.011937), (0.001437, 0.011937))),
        Unit("down_blocks.0.downsamplers.0", 0.000588, 0.001492),
        *_units("down_blocks.1", ((0.004179, 0.009285), (0.005223, 0.011937)), _FINE),
        Unit("down_blocks.1.downsamplers.0", 0.002350, 0.001492),
        *_units("down_blocks.2", ((0.015667, 0.009285), (0.019844, 0.011938)), _COARSE),
        Unit("down_blocks.2.downsamplers.0", 0.009398, 0.001492),
        *_units("down_blocks.3", ((0.019844, 0.002985), (0.019844, 0.002985))),
        *_units("mid_block", ((0.019844, 0.002985),), (4, 0.020547, 0.003139)),
        Unit("mid_block.resnets.1", 0.019844, 0.002985),
        *_units("up_blocks.0", ((0.031331, 0.004809), (0.031331, 0.004809), (0.031331, 0.004809))),
        Unit("up_blocks.0.upsamplers.0", 0.009398, 0.005968),
        *_units("up_blocks.1", ((0.031331, 0.019232), (0.031331, 0.019232), (0.026110, 0.015917)), _COARSE),
        Unit("up_blocks.1.upsamplers.0", 0.009398, 0.023874),
        *_units("up_blocks.2", ((0.010707, 0.025864), (0.008096, 0.019232), (0.006790, 0.015916)), _FINE),
        Unit("up_blocks.2.upsamplers.0", 0.002350, 0.023874),
        *_units("up_blocks.3", ((0.002808, 0.025864), (0.002155, 0.019232), (0.002155, 0.019232))),
    ),
)
