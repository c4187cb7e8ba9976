"""`Source`: fresh clips, orbits and pictures for ever, rendered on the training device; the one door to the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import torch

from studio.scene import orbit as orbits
from studio.train import curate
from studio.train.batches import ClipBatch, OrbitBatch, PictureBatch
from studio.train.dice import CLIPS, ORBITS, PICTURES, dice
from studio.train.fields import Fields
from studio.train.flow import mean_motion
from studio.train.moves import FPS, film_take, orbit_take
from studio.train.photos import Photos
from studio.train.render import render
from studio.train.scenes import draw_scene
from studio.train.scores import measured_flow

__all__ = ["ClipBatch", "OrbitBatch", "PictureBatch", "Source"]

_PHOTOS = 0.06
"""The share of clips that are made of photographs."""

_DYNAMIC = 0.5
"""The share of orbits that go up and down."""

_ELEVATION_DEG = (-5.0, 30.0)
"""Of orbits' input views: SV3D's (arXiv 2403.12008, section 3)."""

_MOST_WORKERS = 8

_COARSE_PX = 64
"""Up to this size things are sampled half as finely."""


class Source:
    """Batches, each new, the same for the same seed and the same calls before.

    Args:
        device: that they are made and lie on.
        seed: of training; a held-out source of any seed draws numbers that no source for training ever draws.
        size: pixels on a side.
        held_out: for evaluation: scenes only, no photographs.
    """

    def __init__(self, device: torch.device | str, seed: int, *, size: int = 256, held_out: bool = False) -> None:
        self.device, self.size = torch.device(device), size
        self._seed, self._held_out, self._made = seed, held_out, {CLIPS: 0, ORBITS: 0, PICTURES: 0}
        self._fields = Fields(device, 96 if size > _COARSE_PX else 48)
        self._photos = Photos(device)

    def clips(self, count: int, frames: int = 14) -> ClipBatch:
        """The next `count` clips of so many frames: the best of somewhat more that are made (`studio.train.curate`)."""
        many = math.ceil(count * (1 + curate.SPARE))
        dices = [self._dice(CLIPS) for _ in range(many)]
        of_photo = [d.random() < _PHOTOS and not self._held_out and self._photos.there() for d in dices]
        made = [self._photo_clip(d, frames) for d, photo in zip(dices, of_photo, strict=True) if photo]
        made += self._filmed([d for d, photo in zip(dices, of_photo, strict=True) if not photo], frames)
        shown = torch.cat([one.frames for one, _ in made])
        motion = self._measured(shown)
        measures = curate.Measures(
            motion=motion,
            cut=curate.cuts(shown),
            sharpness=curate.sharpness(shown),
            named=torch.cat([named for _, named in made]),
        )
        which = curate.kept(measures, count)
        return _joined([made[i][0] for i in which.tolist()], motion[which])

    def orbits(self, count: int) -> OrbitBatch:
        """The next `count` orbits, static ones and dynamic ones."""
        drawn, takes, paths = [], [], []
        for _ in range(count):
            d = self._dice(ORBITS)
            drawn.append(draw_scene(d, alone=True))
            elevation = float(d.uniform(*_ELEVATION_DEG))
            is_dynamic, seed = d.random() < _DYNAMIC, int(d.integers(1 << 31))
            paths.append(orbits.dynamic(elevation, seed) if is_dynamic else orbits.static(elevation))
            takes.append(orbit_take(d, drawn[-1].scene, paths[-1]))
        seen = render(takes, self.size, self._fields, white=True)
        shape = (count, orbits.VIEWS)
        return OrbitBatch(
            frames=seen.rgb.unflatten(0, shape),
            azimuths_deg=torch.tensor([p.azimuths_deg for p in paths], dtype=torch.float32, device=self.device),
            elevations_deg=torch.tensor([p.elevations_deg for p in paths], dtype=torch.float32, device=self.device),
            masks=(seen.ids >= 0).unflatten(0, shape),
            captions=tuple(d.scene.caption.partition(", on ")[0] + "." for d in drawn),
            colours=tuple(d.colour for d in drawn),
            shapes=tuple(d.shape for d in drawn),
        )

    def pictures(self, count: int) -> PictureBatch:
        """The next `count` pictures."""
        drawn, takes = [], []
        for _ in range(count):
            d = self._dice(PICTURES)
            drawn.append(draw_scene(d))
            takes.append(film_take(d, drawn[-1].scene, 1)[0])
        return PictureBatch(
            frames=render(takes, self.size, self._fields).rgb,
            captions=tuple(d.scene.caption for d in drawn),
            captions_zh=tuple(d.caption_zh for d in drawn),
            colours=tuple(d.colour for d in drawn),
            shapes=tuple(d.shape for d in drawn),
        )

    def _dice(self, stream: int) -> np.random.Generator:
        number = self._made[stream]
        self._made[stream] = number + 1
        return dice(stream, self._seed, number, held_out=self._held_out)

    def _measured(self, frames: torch.Tensor) -> torch.Tensor:
        """float32 (B,): the motion that is seen in uint8 (B, T, 3, S, S); 0 where T is 1."""
        if frames.shape[1] == 1:
            return torch.zeros(len(frames), device=self.device)
        clips = frames.permute(0, 1, 3, 4, 2).contiguous().cpu().numpy()
        with ThreadPoolExecutor(min(len(clips), _MOST_WORKERS, cpu_count() or 1), thread_name_prefix="flow") as pool:
            return torch.tensor(list(pool.map(measured_flow, clips)), dtype=torch.float32, device=self.device)

    def _filmed(self, dices: Sequence[np.random.Generator], frames: int) -> list[tuple[_Made, torch.Tensor]]:
        """Clips of scenes, and how much is seen of the thing that is seen least."""
        if not dices:
            return []
        drawn = [draw_scene(d) for d in dices]
        filmed = [film_take(d, one.scene, frames) for d, one in zip(dices, drawn, strict=True)]
        takes = [take for take, _ in filmed]
        seen = render(takes, self.size, self._fields)
        motion = mean_motion(takes, seen) if frames > 1 else torch.zeros(len(takes), device=self.device)
        named = curate.named(seen.ids[::frames], tuple(len(d.scene.solids) for d in drawn))
        made = [
            _Made(clip[None], motion[i], fps, (d.scene.caption, d.caption_zh, d.colour, d.shape))
            for i, (clip, d, (_, fps)) in enumerate(zip(seen.rgb.split(frames), drawn, filmed, strict=True))
        ]
        return list(zip(made, named.split(1), strict=True))

    def _photo_clip(self, d: np.random.Generator, frames: int) -> tuple[_Made, torch.Tensor]:
        fps = int(d.integers(FPS[0], FPS[1] + 1))
        clip = self._photos.clip(d, frames, fps, self.size)
        motion = torch.tensor(clip.motion, device=self.device)
        made = _Made(clip.frames[None], motion, fps, (clip.caption, clip.caption_zh, "", ""))
        return made, torch.ones(1, device=self.device)


@dataclass(frozen=True, eq=False)
class _Made:
    """One clip: frames (1, T, 3, S, S), its true motion, and what is said: two captions, colour and shape."""

    frames: torch.Tensor
    true_motion: torch.Tensor
    fps: int
    said: tuple[str, str, str, str]


def _joined(clips: Sequence[_Made], motion: torch.Tensor) -> ClipBatch:
    captions, captions_zh, colours, shapes = zip(*(clip.said for clip in clips), strict=True)
    return ClipBatch(
        frames=torch.cat([clip.frames for clip in clips]),
        captions=captions,
        captions_zh=captions_zh,
        motion=motion,
        true_motion=torch.stack([clip.true_motion for clip in clips]),
        fps=torch.tensor([clip.fps for clip in clips], device=motion.device),
        buckets=curate.motion_bucket(motion),
        colours=colours,
        shapes=shapes,
    )
