"""The plans for a request on a device: all there are, ranked, and the one to take. No torch.

Working memory starts from the family's formulas (`studio.models.costs`), is corrected by what was measured
(`studio.models.learned`), and gets a margin for what an allocator can't use (`studio.models.placement`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from studio.errors import DoesNotFit
from studio.models import advice
from studio.models.costs import PhaseCost, phases_of
from studio.models.learned import DeviceFacts, Learned
from studio.models.limits import Limits
from studio.models.memory import VALUE_BYTES
from studio.models.placement import Placer
from studio.models.planned import Plan, PlannedPhase
from studio.models.spec import VariantSpec

_THRIFT = 1.1
"""Where a policy asks for less memory, a way may take so many times the quickest one's seconds."""

_SAME = 1.03
"""Predictions are no better than this: a plan so much slower than another is not slower."""

_CALM = ("resident", "swap", "stream")
"""From the residency that moves the least to the one that moves the most."""

Options = Mapping[str, tuple[PlannedPhase, ...]]
"""Phase -> every way to place and do it with its own components on the device."""


@dataclass(frozen=True)
class Plans:
    """All plans for one request on one device.

    Args:
        chosen: the best that fits; None where none does.
        all: every plan, also those that do not fit and that the policy does not allow.
        message, remedy: where none fits: what is the matter, and what would help.
    """

    variant: str
    facts: DeviceFacts
    chosen: Plan | None
    all: tuple[Plan, ...]
    options: Options = field(default_factory=dict)
    message: str = ""
    remedy: str = ""

    @property
    def budget_bytes(self) -> int | None:
        """The most that may be on the device at once; None where nothing bounds it."""
        return self.all[0].budget_bytes

    @property
    def least_bytes(self) -> int:
        """What the leanest of all plans needs."""
        return min(p.peak_bytes for p in self.all)

    @property
    def cheaper(self) -> Plan | None:
        """The quickest plan that needs clearly less memory than the chosen one; an exact one where there is any."""
        if self.chosen is None:
            return None
        return _best(p for p in self.all if p.peak_bytes < 0.95 * self.chosen.peak_bytes)

    @property
    def dearer(self) -> Plan | None:
        """The leanest plan that is clearly quicker, or closer to the exact one, whatever it needs."""
        now = self.chosen
        if now is None:
            return None
        best = _closest(self.all)
        better = [
            p for p in best if p.peak_bytes > now.peak_bytes and (now not in best or p.seconds * _SAME < now.seconds)
        ]
        least = min((p.peak_bytes for p in better), default=0)
        return _best(p for p in better if p.peak_bytes <= _SAME * least)

    def chosen_or_raise(self) -> Plan:
        """The chosen plan.

        Raises:
            DoesNotFit: none fits; says what would.
        """
        if self.chosen is None:
            raise DoesNotFit(self.message, self.remedy)
        return self.chosen


def make_plans(
    spec: VariantSpec,
    wish: Any,
    *,
    facts: DeviceFacts,
    limits: Limits,
    learned: Learned,
    component_bytes: Mapping[str, int],
    exact_savings: bool = True,
    held: Collection[str] = (),
) -> Plans:
    """Every plan for that request, and the best that fits: an exact one where there is any, and the quickest.

    Plans whose seconds are about the same count as equally quick; then what is moved less is better: all components
    staying on the device before swapping, and that before streaming.

    Args:
        wish: has the fields of the request, none of them None that the family listens to.
        component_bytes: in the device's precision.
        held: components that need not be read from a file.
    """
    budget = budget_of(facts, limits)
    value_bytes = VALUE_BYTES[facts.dtype]
    used = {
        component
        for cost in phases_of(spec, wish, value_bytes=value_bytes, exact_savings=exact_savings)
        for component in cost.components
    }
    # A variant may have two UNets, of which one samples. An engine without phases needs all that it has.
    component_bytes = {c: b for c, b in component_bytes.items() if c in used or not used}
    placer = Placer(spec.measured_as, facts, limits, learned, component_bytes, budget)

    def options_of(wish: Any) -> Options:
        costs: tuple[PhaseCost, ...] = phases_of(spec, wish, value_bytes=value_bytes, exact_savings=exact_savings)
        return {cost.phase: placer.options(cost) for cost in costs}

    options, total = options_of(wish), sum(component_bytes.values())
    load_s = sum(b for c, b in component_bytes.items() if c not in held) / facts.read_bytes_per_s
    if not options:
        only = Plan(spec.id, "resident", (), None, load_s, total)
        return Plans(spec.id, facts, only, (only,))
    found = [Plan(spec.id, name, phases, budget, load_s, total) for name, phases in _combined(options, total)]
    allowed = _allowed(limits, options, component_bytes)
    plans = Plans(spec.id, facts, None, tuple(found), options)
    chosen = _best(p for p in found if p.fits and allowed(p))
    if chosen is not None:
        return replace(plans, chosen=chosen)
    assert budget is not None or limits.policy != "auto", "without a bound everything fits"
    message, remedy = advice.does_not_fit(
        spec,
        wish,
        budget_bytes=budget,
        limits=limits,
        least=min(found, key=lambda p: p.peak_bytes),
        least_bytes_of=lambda smaller: least_bytes(options_of(smaller)),
    )
    return replace(plans, message=message, remedy=remedy)


def budget_of(facts: DeviceFacts, limits: Limits) -> int | None:
    """The most that may be on the device at once: what is there, and what the user allows; None without a bound."""
    known = [b for b in (facts.room_bytes, limits.device_bytes) if b is not None]
    return min(known) if known else None


def least_bytes(options: Options) -> int:
    """What the leanest plan made of these options needs."""
    return max(min(p.peak_bytes for p in phase) for phase in options.values())


def leaner(plan: Plan, phase: str, plans: Plans) -> Plan | None:
    """The plan with the next rung down the ladder for that phase, after it ran out of memory; None at its end.

    First what leaves the arithmetic as it is, bit for bit: the same way, with more of the weights streamed; then the
    exact ways that need less, and at last the approximate ones.
    """
    now = plan.phase(phase)
    options = plans.options.get(phase, ())
    same = [p for p in options if p.way.name == now.way.name and p.weights_bytes < now.weights_bytes and p.resident]
    if same:
        return _with(plan, max(same, key=lambda p: p.weights_bytes))
    lean = [p for p in options if p.working_bytes < now.working_bytes and p.weights_bytes <= now.weights_bytes]
    lean = [p for p in lean if p.way.exact or not now.way.exact] or lean
    return _with(plan, max(lean, key=lambda p: (p.working_bytes, p.weights_bytes))) if lean else None


def _with(plan: Plan, step: PlannedPhase) -> Plan:
    phases = tuple(step if p.phase == step.phase else p for p in plan.phases)
    streamed = any(p.resident for p in phases)
    return replace(plan, phases=phases, residency="stream" if streamed else plan.residency)


def _best(plans: Iterable[Plan]) -> Plan | None:
    plans = _closest(plans)
    quickest = min((p.seconds for p in plans), default=0.0)
    near = [p for p in plans if p.seconds <= _SAME * quickest]
    return min(near, key=lambda p: (_CALM.index(p.residency), p.seconds, p.peak_bytes), default=None)


def _closest(plans: Iterable[Plan]) -> list[Plan]:
    """Those that are approximate in the fewest phases: in none, unless the request itself asks for an approximation."""
    plans = list(plans)
    lost = [sum(not p.way.exact for p in plan.phases) for plan in plans]
    return [plan for plan, count in zip(plans, lost, strict=True) if count == min(lost)]


def _combined(options: Options, total_bytes: int) -> Iterator[tuple[str, tuple[PlannedPhase, ...]]]:
    """Every choice of one option a phase; and all ways once more with everything staying on the device."""
    for phases in product(*options.values()):
        streamed = any(p.resident for p in phases)
        yield "stream" if streamed else "swap", phases
        if not streamed:
            yield "resident", tuple(_stays(p, total_bytes) for p in phases)


def _stays(planned: PlannedPhase, total_bytes: int) -> PlannedPhase:
    """The phase with all components on the device already: nothing comes over the bus."""
    return replace(planned, weights_bytes=total_bytes, moved_bytes=0, seconds=planned.seconds - planned.weights_seconds)


def _allowed(limits: Limits, options: Options, component_bytes: Mapping[str, int]) -> Callable[[Plan], bool]:
    """What ``--vram`` lets through; with ComfyUI's meanings.

    high: all components stay. normal: each phase has its own. low: the big component is streamed with at most half of
    it staying, the other phases are done in their leanest exact ways. none: nothing of it stays, every phase in its
    leanest exact way. Where less memory is asked for, a way that takes 10 % longer is taken for the quickest.
    """
    policy = limits.policy
    if policy in ("auto", "high"):
        return lambda plan: policy == "auto" or plan.residency == "resident"
    most = {}
    for phase, found in options.items():
        ways = [p for p in found if p.way.exact and not p.resident] or list(found)
        streams = any(p.resident for p in found)
        leanest = policy == "none" or (policy == "low" and not streams)
        near = ways if leanest else _within(ways, _THRIFT)
        most[phase] = min(p.working_bytes for p in near)

    def allowed(plan: Plan) -> bool:
        if plan.residency == "resident" or any(p.working_bytes > most[p.phase] for p in plan.phases):
            return False
        if policy == "normal":
            return plan.residency == "swap"
        share = 0.5 if policy == "low" else 0.0
        return all(
            all(p.resident.get(c, 2**62) <= share * component_bytes[c] for c in _streamable(options[p.phase]))
            for p in plan.phases
        )

    return allowed


def _within(ways: Iterable[PlannedPhase], factor: float) -> list[PlannedPhase]:
    ways = list(ways)
    quickest = min(p.seconds for p in ways)
    return [p for p in ways if p.seconds <= factor * quickest]


def _streamable(found: Iterable[PlannedPhase]) -> set[str]:
    return {component for p in found for component in p.resident}
