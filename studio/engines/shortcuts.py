"""Where a run of the UNet may take a shortcut, and what is said of it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from studio.models.sampling import Approximate

if TYPE_CHECKING:
    from studio.context import Context


class Shortcuts:
    """What may be left out at each noise level of a schedule.

    That depends on the level alone: a run that was broken off and one that never was do the same, and a sampler that
    asks twice about a level gets the same kind of answer.

    Args:
        levels: fp32 (steps + 1,), falling to 0.
    """

    def __init__(self, approximate: Approximate, levels: torch.Tensor) -> None:
        self._approximate = approximate
        self._levels = [float(level) for level in levels[:-1]]
        self._told = [float(told) for told in torch.log(levels[:-1]) / 4]

    def whole(self, c_noise: torch.Tensor) -> bool:
        """True where the whole UNet runs. `c_noise` is a scalar on the CPU, as in `studio.diffusion.precondition`."""
        return self.whole_at(self._place(c_noise))

    def guided(self, c_noise: torch.Tensor) -> bool:
        """True where the unconditional branch runs too."""
        return self._levels[self._place(c_noise)] >= self._approximate.guided_down_to

    def whole_at(self, step: int) -> bool:
        """True where the whole UNet runs at the noise level that step begins with."""
        return self._approximate.whole(step, len(self._levels))

    def taken(self, moved: Sequence[float], *, guided: bool) -> Taken:
        """What was left out in a run over all levels.

        Args:
            moved: as `studio.engines.svd_network.Network.moved` has it.
            guided: whether there was guidance to leave out.
        """
        unguided = sum(level < self._approximate.guided_down_to for level in self._levels)
        return Taken(
            steps=len(self._levels),
            whole=sum(map(self.whole_at, range(len(self._levels)))),
            unguided=unguided if guided else 0,
            moved_most=max(moved, default=None),
        )

    def _place(self, c_noise: torch.Tensor) -> int:
        told = float(c_noise)
        return min(range(len(self._told)), key=lambda i: abs(self._told[i] - told))


def tell(shortcuts: Shortcuts | None, moved: Sequence[float], ctx: Context, *, guided: bool) -> None:
    """What was left out of a run over all levels, if anything was, is said and kept; see `Shortcuts.taken`."""
    if shortcuts is not None:
        taken = shortcuts.taken(moved, guided=guided)
        ctx.notice(taken.says)
        ctx.fact("fast", taken.public())


@dataclass(frozen=True)
class Taken:
    """The shortcuts of one run.

    Args:
        whole: of the steps, those that ran the whole UNet.
        unguided: those at the end that had no guidance, where the others had some.
        moved_most: by how much what was reused changed at most between one whole step and the next, relative (L2);
            None where nothing was reused, or nothing is known of it.
    """

    steps: int
    whole: int
    unguided: int
    moved_most: float | None

    @property
    def says(self) -> str:
        """One sentence for a person."""
        parts = [f"{self.whole} of {self.steps} steps in full"]
        if self.unguided:
            parts.append(f"the last {'one' if self.unguided == 1 else self.unguided} without guidance")
        if self.moved_most is None:
            return f"Fast: {', '.join(parts)}."
        return f"Fast: {', '.join(parts)}; what was reused had moved by {100 * self.moved_most:.0f} % at most."

    def public(self) -> dict[str, Any]:
        """For the recipe."""
        found = asdict(self)
        return found if self.moved_most is None else {**found, "moved_most": round(self.moved_most, 4)}
