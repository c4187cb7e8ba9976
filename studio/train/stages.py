"""What a stage of training is. Adding one is one file: ``stage_<name>.py`` beside this one, with a ``STAGE`` in it."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn

from studio.errors import BadInput
from studio.train import export, networks
from studio.train.clips import Source
from studio.train.networks import Size
from studio.train.shipped import STEPS, Shipped

_PREFIX = "stage_"


class Clock:
    """The time that a run has.

    Args:
        minutes: all of it.
        began_s: when it began, as `now` tells the time: that of the process, so that loading counts.
    """

    def __init__(
        self, minutes: float, *, began_s: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._began_s = now() if began_s is None else began_s
        self.minutes = minutes

    @property
    def spent_s(self) -> float:
        """Since the beginning."""
        return self._now() - self._began_s

    @property
    def left_s(self) -> float:
        """Until the end; below 0 after it."""
        return self.minutes * 60 - self.spent_s


@dataclass(frozen=True)
class Bound:
    """What a figure should be."""

    sense: Literal["at least", "at most"]
    value: float

    def met(self, figure: float) -> bool:
        """True where it is so; a figure that is no number is not."""
        return figure >= self.value if self.sense == "at least" else figure <= self.value

    def __str__(self) -> str:
        return f"{self.sense} {self.value:g}"


@dataclass(frozen=True)
class Measured:
    """What was seen on held-out data.

    Args:
        figures: by name, the unit in the name.
        sheet: uint8 (H, W, 3) sRGB: samples beside what they should be.
        left_out: figures that could not be taken, and why.
    """

    figures: Mapping[str, float]
    sheet: np.ndarray
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """What a stage is given.

    Args:
        weights: folders of the pocket family; the first that has a stage is where it is read from.
        toy: networks of two million parameters at most, on pictures of 32 pixels.
        resume: begin with the stage's own weights, where there are some.
        run: how many runs this stage had before; data and noise of each are others.
    """

    device: torch.device
    seed: int
    weights: tuple[Path, ...]
    toy: bool = False
    resume: bool = False
    run: int = 0

    @property
    def size(self) -> Size:
        """Of pictures and networks."""
        return networks.TOY if self.toy else networks.FULL

    @property
    def making_share(self) -> float:
        """Of the time, for making new samples; toys do with those they begin with."""
        return 0.0 if self.toy else 0.2

    def source(self, salt: str) -> Source:
        """Pictures, clips and orbits for training, of this run alone."""
        return Source(self.device, self._number(salt), size=self.size.side)

    def held_out(self) -> Source:
        """Pictures, clips and orbits that no training shows; the same for every run and seed."""
        return Source(self.device, 0, size=self.size.side, held_out=True)

    def generator(self, salt: str) -> torch.Generator:
        """Random numbers on the device, of this run alone."""
        return torch.Generator(self.device).manual_seed(self._number(salt))

    def state(self, stage: str, component: str) -> dict[str, torch.Tensor]:
        """Name -> tensor of what was trained, as it lies in the files.

        Raises:
            BadInput: the stage has not been trained.
        """
        return export.read_state(export.find(self.weights, stage) / component)

    def config(self, stage: str, component: str) -> dict[str, Any]:
        """The component's config.json.

        Raises:
            BadInput: the stage has not been trained.
        """
        return export.read_config(export.find(self.weights, stage) / component)

    def resumed(self, stage: str, component: str) -> dict[str, torch.Tensor] | None:
        """The stage's own weights, None where this is a beginning."""
        return self.state(stage, component) if self.resume else None

    def shipped(self, *first: Path) -> Shipped:
        """The family as it lies in the folders, in these first."""
        return Shipped((*first, *self.weights), self.device, steps=4 if self.toy else STEPS)

    def _number(self, salt: str) -> int:
        # 31 bits: torch 2.13's generator on the CPU looks at 32 of them.
        return int.from_bytes(hashlib.sha256(f"{salt} {self.seed} {self.run}".encode()).digest()[:4], "big") >> 1


class Training(Protocol):
    """A stage under way."""

    exported: Mapping[str, nn.Module]
    """Folder of the component -> what is trained; a running mean of it (EMA) is written."""
    helpers: Sequence[nn.Module]
    """Trained beside them and thrown away."""
    learning_rate: float

    def step(self, progress: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of the next batch, and what else is worth telling, still on the device.

        Args:
            progress: 0 at the beginning of training, 1 at its end.
        """

    def configs(self) -> Mapping[str, dict]:
        """Folder of the component -> content of its config.json, as it is now."""

    def other_files(self) -> Mapping[str, str]:
        """Path in the stage's folder -> text of what else belongs there."""


class Stage(Protocol):
    """One thing that is trained by itself."""

    name: str
    needs: tuple[str, ...]
    """Stages that must have been trained."""
    begins_from: str | None
    """The one of them that only gives its first weights; the others it goes on using as they were."""
    minutes: float
    """That give what `bounds` ask for on one H100, or as many as a lease of it allows."""
    evaluation_s: float
    """Kept free at the end for `measure` on an H100."""
    bounds: Mapping[str, Bound]

    def begin(self, setup: Setup) -> Training:
        """Networks and data, ready for the first step."""

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """Figures from the files that were written, through the studio's own engines, on `count` held-out samples.

        Takes fewer where the clock runs out, one at least.
        """


def names() -> tuple[str, ...]:
    """Of all stages, each after those that it needs."""
    found = {
        m.name.removeprefix(_PREFIX)
        for m in pkgutil.iter_modules(importlib.import_module("studio.train").__path__)
        if m.name.startswith(_PREFIX)
    }
    ordered: list[str] = []
    while found:
        ready = sorted(n for n in found if set(stage(n).needs) <= set(ordered))
        assert ready, f"{found} need each other"
        ordered += ready
        found -= set(ready)
    return tuple(ordered)


def stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        BadInput: there is none.
    """
    try:
        return importlib.import_module(f"studio.train.{_PREFIX}{name}").STAGE
    except ModuleNotFoundError as e:
        if e.name != f"studio.train.{_PREFIX}{name}":
            raise
        raise BadInput(f"stage: there is no {name!r}; there are {', '.join(names())}.", field="stage") from e
