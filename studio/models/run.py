"""`Run`: one request on its way through its plan. Out of memory is a change of the plan here, not a failure."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from studio.errors import DoesNotFit
from studio.models.costs import Way
from studio.models.installed import Installed
from studio.models.out_of_memory import is_out_of_memory
from studio.models.plan import Plan, PlannedPhase, leaner
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.models.manager import ModelManager

log = logging.getLogger(__name__)

T = TypeVar("T")

_DOING = {
    "prompt": "reading the prompt",
    "encode": "encoding the picture",
    "sample": "sampling",
    "decode": "decoding",
    "interpolate": "making frames",
}


Use = tuple[VariantSpec, Installed, str]
"""A component of a variant that will be needed."""


@dataclass(frozen=True)
class Foreseen:
    """A phase that is to come: what it holds at once, and what it takes beside that."""

    uses: tuple[Use, ...]
    working_bytes: int


class Told(Protocol):
    """Hears what the user should know although the job goes on: a job's context."""

    def notice(self, sentence: str) -> None: ...


class Run:
    """The plan of one request, and what became of it.

    Raises:
        DoesNotFit: no plan fits; says what would.
    """

    def __init__(self, manager: ModelManager, spec: VariantSpec, installed: Installed, wish: Any, told: Told) -> None:
        self._manager = manager
        self._spec = spec
        self._installed = installed
        self._told = told
        self._plans = manager.plans(spec, installed, wish)
        self.plan: Plan = self._plans.chosen_or_raise()
        manager.took(self.plan)
        for sentence in self.plan.notices:
            told.notice(sentence)

    def resident_bytes(self, phase: str, component: str) -> int | None:
        """How much of the component stays on the device in that phase where it is streamed; None: all of it."""
        return self.plan.phase(phase).resident.get(component)

    def phases_from(self, name: str) -> list[Foreseen]:
        """What the run needs in that phase and in those after it."""
        names = [p.phase for p in self.plan.phases]
        return [
            Foreseen(tuple((self._spec, self._installed, c) for c in p.components), p.working_bytes)
            for p in self.plan.phases[names.index(name) :]
        ]

    def phase(self, name: str, work: Callable[[Way], T], *, whole: bool = True) -> T:
        """What `work` gives for the way that the plan has for this phase.

        Where memory runs out, in it or for its weights, what is idle is let go of; then the plan gets leaner, rung by
        rung, and `work` is called again. It goes on from what it has kept by itself.

        Args:
            whole: False where `work` is only a part of what the plan counts for the phase: its pace teaches nothing.

        Raises:
            DoesNotFit: not even the leanest plan fits.
        """
        cleared = False
        refused: DoesNotFit | None = None
        while True:
            planned = self.plan.phase(name)
            try:
                return self._once(planned, work, whole=whole and not cleared)
            except (RuntimeError, MemoryError, DoesNotFit) as e:
                if not (isinstance(e, DoesNotFit) or is_out_of_memory(e)):
                    raise
                refused = DoesNotFit(e.message, e.remedy) if isinstance(e, DoesNotFit) else None
                log.info("memory ran out while %s (%s): %s", _doing(name), planned.way.name, e)
            # Only here, where the error and with it the tensors in its trace are gone, is there anything to free.
            self._clear()
            if not cleared:
                cleared = True
                self._told.notice(
                    f"Memory ran out while {_doing(name)}; what was not in use has made room, and it goes on."
                )
            else:
                self._descend(planned, refused)

    def _once(self, planned: PlannedPhase, work: Callable[[Way], T], *, whole: bool) -> T:
        """One attempt. Its pace is learned where it was the whole phase's, with all weights in place."""
        manager = self._manager
        keys = manager.begin_phase(self, planned)
        with manager.residency.reserve(planned.working_bytes, keep=keys):
            manager.device.forget_peak()
            began, loading_before = time.monotonic(), manager.loading_s
            result = work(planned.way)
            seconds = time.monotonic() - began - (manager.loading_s - loading_before)
            peak_bytes = manager.device.peak_bytes()
            if peak_bytes is not None:
                peak_bytes = max(0, peak_bytes - manager.residency.held_bytes())
        manager.learned.hear(
            self._spec.measured_as,
            planned.phase,
            planned.way.name,
            working_bytes=planned.way.working_bytes,
            peak_bytes=peak_bytes,
            flop=planned.way.flop if whole and not planned.resident else 0.0,
            seconds=seconds,
        )
        return result

    def _clear(self) -> None:
        """Lets go of what is idle and of what was only cached: often that is all it takes.

        Before each rung too: what is held whole would serve a plan that streams it, and nothing would be won.
        """
        gc.collect()
        self._manager.residency.drop_idle(host=False)
        self._manager.device.empty_cache()

    def _descend(self, planned: PlannedPhase, refused: DoesNotFit | None) -> None:
        """The plan is the next leaner one, and the user and the planner know why.

        Args:
            refused: what was said where the room was denied beforehand, which teaches nothing about the phase.
        """
        manager = self._manager
        if refused is None:
            room = manager.room_bytes()
            manager.learned.ran_out(
                self._spec.measured_as,
                planned.phase,
                planned.way.name,
                working_bytes=planned.way.working_bytes,
                had_bytes=None if room is None else max(0, room - planned.weights_bytes),
            )
        below = leaner(self.plan, planned.phase, self._plans)
        if below is None:
            raise refused or DoesNotFit(
                f"There is not enough memory for {_doing(planned.phase)}, not even in the leanest way.",
                self._plans.remedy or "Lower width and height, or frames.",
            )
        self.plan = below
        manager.plans_taken[below.variant] = below
        step = below.phase(planned.phase)
        how = step.way.notice or f"it goes on in a way that needs less of it ({_how(step)})."
        sentence = f"Memory ran out while {_doing(planned.phase)}; {how[:1].lower()}{how[1:]}"
        manager.residency.note(f"went down to {_how(step)} for {planned.phase} of {self._spec.id}", "memory ran out")
        self._told.notice(sentence)


def _doing(phase: str) -> str:
    return _DOING.get(phase, phase)


def _how(planned: PlannedPhase) -> str:
    streamed = ", ".join(planned.resident)
    return f"{streamed} streamed, {planned.way.name}" if streamed else planned.way.name
