"""pocket-svd: 14 frames from a picture, told frame rate, motion and how noisy the picture is, as SVD is.

Shapes: B clips, T frames, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from studio.train import networks, noise
from studio.train.encoding import as_pixels, encode
from studio.train.pool import Rows
from studio.train.scores import flicker, measured_flow, psnr, spearman
from studio.train.sheets import as_frames, sheet
from studio.train.shipped import Shipped
from studio.train.stages import Bound, Clock, Measured, Setup
from studio.train.video import VideoTraining

LADDER = (20, 60, 100, 140, 180, 220)
"""Motion buckets that the same picture is animated with."""


class Svd:
    name = "svd"
    needs = ("vae", "clip")
    begins_from = None
    minutes = 9.0
    evaluation_s = 80.0
    bounds: Mapping[str, Bound] = {
        "first_frame_below_round_trip_db": Bound("at most", 1.0),
        "flow_by_bucket_spearman": Bound("at least", 0.8),
        "flicker_ratio": Bound("at most", 1.2),
    }

    def begin(self, setup: Setup) -> _Training:
        return _Training(setup)

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """Held-out clips against their own, told what is true of them; then one picture by rising motion buckets.

        The rank correlation is the mean of those of single pictures, a quarter as many as there are clips.
        """
        source, frames = setup.held_out(), setup.size.frames
        first, trip, whole, still, mine, theirs, pictures, rows = [], [], [], [], [], [], [], []
        for i in range(count):
            batch = source.clips(1, frames)
            true = as_frames(batch.frames[0])
            bucket, fps = int(batch.buckets[0]), int(batch.fps[0])
            made = shipped.animate(true[0], frames=frames, motion_bucket=bucket, fps=fps, seed=i)
            first.append(psnr(made[:1], true[:1]))
            trip.append(psnr(shipped.round_trip(true)[:1], true[:1]))
            whole.append(psnr(made, true))
            still.append(psnr(np.repeat(true[:1], frames, axis=0), true))
            mine.append(flicker(made))
            theirs.append(flicker(true))
            pictures.append((true[0], fps))
            if i < 6:
                rows += [true, made]
            if clock.left_s < 0.4 * self.evaluation_s:
                break
        ranks = []
        for i, (picture, fps) in enumerate(pictures[: max(1, count // 4)]):
            ladder = [shipped.animate(picture, frames=frames, motion_bucket=b, fps=fps, seed=i) for b in LADDER]
            rank = spearman(LADDER, [measured_flow(made) for made in ladder])
            ranks.append(0.0 if math.isnan(rank) else rank)  # nothing moved more than anything else
            if i == 0:
                rows += [ladder[0], ladder[-1]]
            if clock.left_s < 5:
                break
        figures = {
            "first_frame_psnr_db": mean(first),
            "round_trip_psnr_db": mean(trip),
            "first_frame_below_round_trip_db": mean(trip) - mean(first),
            "clip_psnr_db": mean(whole),
            "still_picture_psnr_db": mean(still),
            "flow_by_bucket_spearman": mean(ranks),
            "samples": float(len(first)),
            "ladders": float(len(ranks)),
        }
        steady = [(m, t) for m, t in zip(mine, theirs, strict=True) if not math.isnan(m + t)]
        if not steady:
            return Measured(figures, sheet(rows), {"flicker_ratio": "no pixel could be followed through a clip"})
        made_flicker, true_flicker = (mean([pair[i] for pair in steady]) for i in (0, 1))
        figures |= {
            "flicker": made_flicker,
            "true_flicker": true_flicker,
            "flicker_ratio": made_flicker / max(1e-9, true_flicker),
        }
        return Measured(figures, sheet(rows))


class _Training(VideoTraining):
    def __init__(self, setup: Setup) -> None:
        super().__init__(
            setup,
            "svd",
            networks.svd_config(setup.size),
            setup.resumed("svd", "unet"),
            **({"batch": 4, "made": 4, "first": 8, "capacity": 32} if setup.toy else
               {"batch": 16, "made": 8, "first": 256, "capacity": 20_000}),
        )  # fmt: skip

    def _make(self) -> Rows:
        batch = self._source.clips(self._made, self._frames)
        picture_BCHW = batch.frames[:, 0]
        numbers_B2 = torch.stack([batch.fps - 1, batch.buckets], dim=1).float()
        return {**self._encoded(batch.frames, picture_BCHW), "picture": picture_BCHW, "numbers": numbers_B2}

    def _told(self, rows: Rows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        pixels_BCHW = as_pixels(rows["picture"])
        amount_B = noise.augmentations(len(pixels_BCHW), self._dice)
        normal = torch.randn(pixels_BCHW.shape, generator=self._dice, device=pixels_BCHW.device)
        latent_BCHW = encode(self._vae, pixels_BCHW + amount_B[:, None, None, None] * normal)
        return latent_BCHW, {"added_time_ids": torch.cat([rows["numbers"], amount_B[:, None]], dim=1)}


def mean(values: list[float]) -> float:
    """Of some numbers, one at least."""
    return sum(values) / len(values)


STAGE = Svd()
