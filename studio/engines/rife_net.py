"""RIFE's network: the flows from a frame that is not there to its two neighbours, and how to mix these.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation" (ECCV 2022), in the two shapes that
Practical-RIFE published since: 4.0 (four blocks) and 4.25 (five blocks, which also see features of the two pictures and
hand on their own). Each block sees the pictures, warped by the flow so far, at a coarser size, and adds to the flow.

Shapes: B batch, H x W pixels, a multiple of 64 / scale. A *step* is how many pixels of the picture one of a block has.

A block sees its input reduced bilinearly, and by an even step that is the mean of the four pixels in the middle of each
step x step square. So only those are warped; and what an earlier block gave is enlarged straight to the size that the
next one wants. The published code makes everything at full size; the results are the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

FEATURES = 4
"""Channels of what `Head` says of a picture, and half of what a block hands on."""

_PAST_STEPS = 32.0
"""Pixels: beyond this, 4.0 looks again at half the size."""

Shape = Literal["4.0", "4.25"]


@dataclass(frozen=True)
class Side:
    """One of the two pictures as the network takes it.

    Args:
        seen: fp32 (B, 3 or 7, H, W): RGB in 0..1, then its features where the network has any.
    """

    seen: torch.Tensor


def shape_of(names: Collection[str]) -> Shape | None:
    """Which of the shapes has weights of these names; None where neither has."""
    for shape in ("4.0", "4.25"):
        with torch.device("meta"):
            if set(RifeNet(shape).state_dict()) == set(names):
                return shape
    return None


class RifeNet(nn.Module):
    """Makes the picture at any time between two. The names of its weights are those that were published."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape: Shape = shape
        if shape == "4.25":
            self.encode = Head()
            told = 2 * (3 + FEATURES) + 1
            widths = (192, 128, 96, 64, 32)
            for i, width in enumerate(widths):
                self.add_module(f"block{i}", FeatureBlock(told if i == 0 else told + 1 + 2 * FEATURES + 4, width))
        else:
            widths = (192, 128, 96, 64)
            for i, width in enumerate(widths):
                self.add_module(f"block{i}", FlowBlock(7 if i == 0 else 12, width))
        self._blocks = len(widths)

    def side(self, picture_BCHW: torch.Tensor) -> Side:
        """What `forward` takes of a picture (fp32, RGB in 0..1); good for both gaps that it borders."""
        if self.shape == "4.0":
            return Side(picture_BCHW)
        features = self.encode(picture_BCHW.to(self.encode.cnn0.weight.dtype)).float()
        return Side(torch.cat((picture_BCHW, features), 1))

    def forward(self, first: Side, second: Side, at: float, scale: float = 1.0) -> torch.Tensor:
        """The picture at that time (0 the first, 1 the second): fp32 (B, 3, H, W), RGB, about 0..1.

        Args:
            scale: 1, or 0.5 or 0.25 to look for motion in a smaller picture: for large frames.
        """
        steps = [round(2**i / scale) for i in reversed(range(self._blocks))]
        both = _Both(first.seen, second.seen, at)
        flow_BCHW, mask_BCHW = self._flow_4_0(both, steps) if self.shape == "4.0" else self._flow_4_25(both, steps)
        first_BCHW, second_BCHW = both.warped(flow_BCHW, 3).chunk(2)
        share = torch.sigmoid(mask_BCHW)
        return torch.lerp(second_BCHW, first_BCHW, share)

    def _block(self, i: int) -> nn.Module:
        return self.get_submodule(f"block{i}")

    def _flow_4_25(self, both: _Both, steps: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The flows to both pictures, in pixels, and the mask, at full size; the last block's mask is the one."""
        found = self._block(0)(both.reduced(steps[0]), steps[0])
        flow = _enlarged(found[:, :4], steps[0])
        for i, step in enumerate(steps[1:], 1):
            handed_on = _enlarged(found[:, 4:], steps[i - 1] // step)
            last = i == self._blocks - 1
            found = self._block(i)(both.reduced(step, flow, handed_on), step, wanted=5 if last else 13)
            flow = flow + _enlarged(found[:, :4], step)
        return flow, _enlarged(found[:, 4:5], steps[-1])

    def _flow_4_0(self, both: _Both, steps: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same; here the masks of all blocks add up, and each block gives half the size that it sees."""
        found = [self._block(0)(both.reduced(steps[0]), steps[0])]
        flow = _enlarged(found[0][:, :4], 2 * steps[0])
        for i in range(1, self._blocks):
            more = self._refined(both, steps, i, found, flow)
            if i == 1 and _moves_far(more[:, :4], 2 * steps[i]):
                steps = [2 * step for step in steps]
                found = [self._block(0)(both.reduced(steps[0]), steps[0])]
                flow = _enlarged(found[0][:, :4], 2 * steps[0])
                more = self._refined(both, steps, i, found, flow)
            found.append(more)
            flow = flow + _enlarged(more[:, :4], 2 * steps[i])
        masks = [_enlarged(each[:, 4:5], 2 * step) for each, step in zip(found, steps, strict=True)]
        return flow, sum(masks[1:], masks[0])

    def _refined(
        self, both: _Both, steps: list[int], i: int, found: list[torch.Tensor], flow: torch.Tensor
    ) -> torch.Tensor:
        masks = [_enlarged(each[:, 4:5], 2 * steps[k] // steps[i]) for k, each in enumerate(found)]
        return self._block(i)(both.reduced(steps[i], flow, sum(masks[1:], masks[0])), steps[i])


class _Both:
    """The two pictures, and what a block is given of them.

    Args:
        first, second: fp32 (B, C, H, W), RGB first.
        at: the time between them.
    """

    def __init__(self, first: torch.Tensor, second: torch.Tensor, at: float) -> None:
        self._seen = torch.cat((first, second))
        self._count = len(first)
        self._at = at
        height, width = first.shape[2:]
        # To the published code's last bit: grid and flow each in units of half the picture, then their sum.
        self._x = torch.linspace(-1.0, 1.0, width, device=first.device)
        self._y = torch.linspace(-1.0, 1.0, height, device=first.device)
        self._half = torch.tensor([(width - 1.0) / 2.0, (height - 1.0) / 2.0], device=first.device).view(1, 2, 1, 1)

    def reduced(
        self, step: int, flow: torch.Tensor | None = None, handed_on: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A block's input, (B, C, H / step, W / step): pictures (and features), time; then, where there is a flow, what
        the block before handed on and the flow.

        Args:
            flow: (B, 4, H, W) pixels, to the first picture and to the second.
            handed_on: (B, C, H / step, W / step).
        """
        if flow is None:
            seen = _mean(_middle(self._seen, step), step)
        else:
            flow = _middle(flow, step)
            seen = _mean(self.warped(flow, self._seen.shape[1], step), step)
        first, second = seen.chunk(2)
        parts = [first[:, :3], second[:, :3], first[:, 3:], second[:, 3:], torch.full_like(first[:, :1], self._at)]
        if flow is not None:
            assert handed_on is not None
            parts += [handed_on, _mean(flow, step) / step]
        return torch.cat(parts, 1)

    def warped(self, flow: torch.Tensor, channels: int, step: int = 1) -> torch.Tensor:
        """(2 B, channels, h, w): what the first picture, then the second has where the flow leads; edges go on.

        Args:
            flow: (B, 4, h, w): of all pixels, or of the `_middle` ones of that step.
        """
        flow = torch.cat((flow[:, :2], flow[:, 2:]))
        x, y = _middle_of_line(self._x, step), _middle_of_line(self._y, step)
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"))[None] + flow / self._half
        seen = self._seen[:, :channels]
        return F.grid_sample(seen, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)


def _middle_of_line(line: torch.Tensor, step: int) -> torch.Tensor:
    return line.view(-1, step)[:, step // 2 - 1 : step // 2 + 1].reshape(-1) if step > 2 else line


def _middle(x: torch.Tensor, step: int) -> torch.Tensor:
    """Of each step x step square the four pixels in the middle: (..., 2 H / step, 2 W / step)."""
    if step <= 2:
        return x
    batch, channels, height, width = x.shape
    here = slice(step // 2 - 1, step // 2 + 1)
    squares = x.view(batch, channels, height // step, step, width // step, step)[:, :, :, here, :, here]
    return squares.reshape(batch, channels, 2 * height // step, 2 * width // step)


def _mean(x: torch.Tensor, step: int) -> torch.Tensor:
    return F.avg_pool2d(x, 2) if step > 1 else x


def _enlarged(x: torch.Tensor, times: int) -> torch.Tensor:
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False) if times > 1 else x


def _moves_far(flow: torch.Tensor, times: int) -> bool:
    """True where both flows, enlarged, are somewhere more than 4.0 should take in one step."""
    if not all(bool(part.abs().max() > _PAST_STEPS) for part in flow.chunk(2, 1)):
        return False  # enlarging makes nothing larger
    return all(bool(part.abs().max() > _PAST_STEPS) for part in _enlarged(flow, times).chunk(2, 1))


# --- the parts, under their published names -------------------------------------------------------------------


class Head(nn.Module):
    """Four features of every pixel of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, 16, 3, 2, 1)
        self.cnn1 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn2 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(16, FEATURES, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W)."""
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu_(layer(x), 0.2)
        return self.cnn3(x)


class ResConv(nn.Module):
    """A convolution that is scaled by channel and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the input's shape."""
        return F.leaky_relu_(torch.addcmul(x, self.conv(x), self.beta), 0.2)


class FeatureBlock(nn.Module):
    """A block of 4.25: gives flows, mask and eight features, in steps of its input's size."""

    def __init__(self, told: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True))
                for a, b in ((told, width // 2), (width // 2, width))
            )
        )
        self.convblock = nn.Sequential(*(ResConv(width) for _ in range(8)))
        self.lastconv = nn.Sequential(nn.ConvTranspose2d(width, 4 * 13, 4, 2, 1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor, step: int, wanted: int = 13) -> torch.Tensor:
        """fp32 (B, wanted, h, w): the first `wanted` of two flows in pixels of the picture, mask, features."""
        last = self.lastconv[0]
        x = self.convblock(self.conv0(x.to(last.weight.dtype)))
        x = F.conv_transpose2d(x, last.weight[:, : 4 * wanted], last.bias[: 4 * wanted], last.stride, last.padding)
        return _in_pixels(F.pixel_shuffle(x, 2), step)


class FlowBlock(nn.Module):
    """A block of 4.0: gives flows and mask, at half of its input's size."""

    def __init__(self, told: int, width: int) -> None:
        super().__init__()
        halves = ((told, width // 2, 2), (width // 2, width, 2))
        self.conv0 = nn.Sequential(*(_conv(*each) for each in halves))
        self.convblock = nn.Sequential(*(_conv(width, width, 1) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """fp32 (B, 5, h / 2, w / 2): two flows in pixels of the picture, mask."""
        x = self.conv0(x.to(self.lastconv.weight.dtype))
        return _in_pixels(self.lastconv(self.convblock(x) + x), 2 * step)


def _conv(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1), nn.PReLU(width))


def _in_pixels(found: torch.Tensor, step: int) -> torch.Tensor:
    found = found.float()
    return torch.cat((found[:, :4] * step, found[:, 4:]), 1)
