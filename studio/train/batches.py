"""What training is fed: batches of clips, orbits and pictures on the training device, with what is true of them.

Shapes: B clips, T frames, S pixels on a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips and what they show.

    Args:
        frames: uint8 (B, T, 3, S, S) sRGB.
        captions: in English, of what is seen in the first frame.
        captions_zh: the same in Chinese.
        motion: float32 (B,): mean length of the measured optical flow over pixels and frames, pixels a frame at 256
            pixels (`studio.train.scores.measured_flow`): the motion that is seen.
        true_motion: float32 (B,): the same of the flow that is known from depth, cameras and motions; where a plain
            floor or a round thing moves, nothing is seen of it.
        fps: int64 (B,), in 4..12.
        buckets: int64 (B,), in 1..255: SVD's motion bucket, from `motion`.
        colours: of the main object, a name of `studio.scene.toybox.vocabulary.COLOURS`; "" where there is none.
        shapes: what the main object is, a name of `studio.scene.toybox.vocabulary.THINGS`; "" where there is none.
    """

    frames: torch.Tensor
    captions: tuple[str, ...]
    captions_zh: tuple[str, ...]
    motion: torch.Tensor
    true_motion: torch.Tensor
    fps: torch.Tensor
    buckets: torch.Tensor
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.frames, 5, self.captions, self.captions_zh, self.motion, self.fps, self.buckets, self.colours)

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True, eq=False)
class OrbitBatch:
    """Objects seen from 21 sides, on white; the last frame is the input view (`studio.scene.orbit`).

    Args:
        frames: uint8 (B, 21, 3, S, S) sRGB.
        azimuths_deg: float32 (B, 21), growing in [0, 360); the last is 0.
        elevations_deg: float32 (B, 21).
        masks: bool (B, 21, S, S): where the object is.
        colours, shapes, captions: as in `ClipBatch`.
    """

    frames: torch.Tensor
    azimuths_deg: torch.Tensor
    elevations_deg: torch.Tensor
    masks: torch.Tensor
    captions: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.frames, 5, self.captions, self.masks, self.azimuths_deg, self.elevations_deg, self.colours)

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Pictures and what they show.

    Args:
        frames: uint8 (B, 3, S, S) sRGB.
        captions, captions_zh, colours, shapes: as in `ClipBatch`.
    """

    frames: torch.Tensor
    captions: tuple[str, ...]
    captions_zh: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.frames, 4, self.captions, self.captions_zh, self.colours, self.shapes)

    def __len__(self) -> int:
        return len(self.captions)


def _check(frames: torch.Tensor, rank: int, *others: torch.Tensor | tuple[str, ...]) -> None:
    assert (frames.dtype, frames.ndim) == (torch.uint8, rank), (frames.dtype, frames.shape)
    assert frames.shape[-3:] == (3, frames.shape[-1], frames.shape[-1]), frames.shape
    assert all(len(other) == len(frames) for other in others), (len(frames), [len(other) for other in others])
