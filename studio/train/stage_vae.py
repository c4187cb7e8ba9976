"""pocket-vae: an autoencoder with SVD's temporal decoder, first on small cuts, at the end on whole pictures.

Shapes: B clips, T frames, N = B T, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from studio.engines.networks import build
from studio.train import networks
from studio.train.pool import Pool, Rows
from studio.train.scores import psnr
from studio.train.sheets import as_frames, sheet
from studio.train.shipped import Shipped
from studio.train.stages import Bound, Clock, Measured, Setup

_WHOLE_FROM = 0.75
"""Of training's progress: from there on whole pictures, before that cuts of half their width."""

_SINGLE = 0.15
"""Share of the batches that are single pictures: pocket-sdxl decodes such."""

_CUT_ROWS, _WHOLE_ROWS, _TOY_ROWS = 6, 2, 1
"""Clips in a batch: about as many pixels cut as whole."""

_FIRST_LOG_VARIANCE = -4.0
"""Of latents: a beginner's would drown in noise of unit variance for hundreds of steps."""

_SEEN = 100
"""Steps that the size of latents is a mean of."""

_KL = 1e-4
"""Weight of the divergence from a unit normal, a latent value; pixels differ by some hundredths."""


class Vae:
    name = "vae"
    needs = ()
    begins_from = None
    minutes = 6.0
    evaluation_s = 20.0
    bounds: Mapping[str, Bound] = {"clip_psnr_db": Bound("at least", 28.0), "picture_psnr_db": Bound("at least", 28.0)}

    def begin(self, setup: Setup) -> _Training:
        return _Training(setup)

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """PSNR of the round trip: of clips decoded whole, of single pictures, of orbits."""
        source, size = setup.held_out(), setup.size
        clips, pictures, orbits, rows = [], [], [], []
        for i in range(count):
            frames = as_frames(source.clips(1, size.frames).frames[0])
            back = shipped.round_trip(frames)
            clips.append(psnr(back, frames))
            pictures.append(psnr(shipped.round_trip(frames[:1]), frames[:1]))
            if i < 4:
                rows += [frames, back]
            if i % 4 == 0:
                views = as_frames(source.orbits(1).frames[0])
                orbits.append(psnr(shipped.round_trip(views), views))
            if clock.left_s < 5:
                break
        figures = {"clip_psnr_db": clips, "picture_psnr_db": pictures, "orbit_psnr_db": orbits}
        means = {name: sum(values) / len(values) for name, values in figures.items()}
        return Measured({**means, "samples": float(len(clips))}, sheet(rows))


class _Training:
    helpers = ()

    def __init__(self, setup: Setup) -> None:
        self._size = size = setup.size
        torch.manual_seed(setup.seed)
        vae = build("vae", networks.vae_config(size))
        self._mean_square, self._seen = torch.ones((), device=setup.device), 0
        with torch.no_grad():
            vae.quant_conv.bias[4:] = _FIRST_LOG_VARIANCE
        if setup.resume:
            vae.load_state_dict(setup.state("vae", "vae"))
            self._mean_square /= setup.config("vae", "vae")["scaling_factor"] ** 2
            self._seen = _SEEN
        self._vae = vae.to(setup.device)
        self.exported = {"vae": self._vae}
        self._source, self._dice = setup.source("vae"), setup.generator("vae")
        self._host = torch.Generator().manual_seed(setup.seed)
        self._makes = self._steps = 0
        # A clip of 14 frames is 2.8 MB, and the first ones must be there before training begins.
        self.learning_rate = 2e-3 if setup.toy else 4e-4
        self._cut_rows, self._whole_rows = (0, _TOY_ROWS) if setup.toy else (_CUT_ROWS, _WHOLE_ROWS)
        capacity, first = (16, 8) if setup.toy else (1500, 128)
        self._pool = Pool(self._make, capacity, share=setup.making_share)
        self._pool.fill(first)

    def step(self, progress: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self._pool.keep_fresh()
        whole = progress >= _WHOLE_FROM or not self._cut_rows
        frames_BTCHW = self._pool.draw(self._whole_rows if whole else self._cut_rows, self._dice)["frames"]
        if not whole:
            frames_BTCHW = self._cut(frames_BTCHW)
        self._steps += 1
        if self._steps % 20 < 20 * _SINGLE:
            frames_BTCHW = frames_BTCHW.flatten(0, 1)[:, None]
        count = frames_BTCHW.shape[1]
        pixels_NCHW = frames_BTCHW.flatten(0, 1).float() / 127.5 - 1
        mean_NCHW, log_variance_NCHW = self._vae.quant_conv(self._vae.encoder(pixels_NCHW)).float().chunk(2, dim=1)
        log_variance_NCHW = log_variance_NCHW.clamp(-30, 10)
        normal = torch.randn(mean_NCHW.shape, generator=self._dice, device=mean_NCHW.device)
        latent_NCHW = mean_NCHW + torch.exp(0.5 * log_variance_NCHW) * normal
        indicator = torch.zeros(len(frames_BTCHW), count, device=pixels_NCHW.device)
        back_NCHW = self._vae.decoder(latent_NCHW, num_frames=count, image_only_indicator=indicator).float()
        apart = difference(back_NCHW, pixels_NCHW)
        kl = 0.5 * (mean_NCHW**2 + log_variance_NCHW.exp() - 1 - log_variance_NCHW).mean()
        with torch.no_grad():
            self._seen = min(_SEEN, self._seen + 1)
            self._mean_square.lerp_((mean_NCHW**2).mean(), 1 / self._seen)
            squared = functional.mse_loss(back_NCHW, pixels_NCHW)
        return apart + _KL * kl, {"kl": kl, "psnr_db": 10 * torch.log10(4 / squared)}

    def configs(self) -> Mapping[str, dict]:
        """With the factor that brings latents to unit variance, as they were in the last steps."""
        return {"vae": networks.vae_config(self._size, round(float(self._mean_square) ** -0.5, 5))}

    def other_files(self) -> Mapping[str, str]:
        return {}

    def _make(self) -> Rows:
        """Four clips, or once in four times four pieces of orbits, with these first."""
        turn, which = divmod(self._makes, 4)
        self._makes += 1
        if which:
            return {"frames": self._source.clips(4, self._size.frames).frames}
        views = self._source.orbits(4).frames
        begin = turn % (views.shape[1] - self._size.frames + 1)
        return {"frames": views[:, begin : begin + self._size.frames]}

    def _cut(self, frames_BTCHW: torch.Tensor) -> torch.Tensor:
        """A square of half the width, at the same random place of all clips."""
        side = self._size.side // 2
        top, left = (int(at) for at in torch.randint(self._size.side - side + 1, (2,), generator=self._host))
        return frames_BTCHW[..., top : top + side, left : left + side]


def difference(back_NCHW: torch.Tensor, pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """Scalar: mean absolute difference at full, half and quarter size, and of the slopes between neighbours.

    Coarse sizes hold colours and light in place, slopes hold edges sharp; nothing that was trained elsewhere judges.
    """
    total = functional.l1_loss(back_NCHW, pixels_NCHW)
    for dim in (-1, -2):
        total = total + 0.5 * functional.l1_loss(back_NCHW.diff(dim=dim), pixels_NCHW.diff(dim=dim))
    for size in (2, 4):
        total = total + 0.5 * functional.l1_loss(
            functional.avg_pool2d(back_NCHW, size), functional.avg_pool2d(pixels_NCHW, size)
        )
    return total


STAGE = Vae()
