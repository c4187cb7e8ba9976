"""What a request costs, by family: phases, the ways to do each, and what each way takes. No torch.

A family's costs are a module of its name in this package with one function::

    def phases(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]

`wish` has the attributes of the request (frames, width, height, steps, ...), none of them None. An embedded engine has
no such module: it costs nothing that a plan is needed for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.models.spec import VariantSpec


@dataclass(frozen=True)
class Way:
    """One way to do a phase.

    Args:
        name: for a person and for what is learned of it: ``both branches``, ``whole``, ``whole, kept on the host``.
        working_bytes: the most that lives on the device beside the weights.
        flop: of the whole phase.
        moved_bytes: read and written in device memory, in the whole phase.
        bus_bytes: between host and device, in the whole phase, weights not counted.
        host_bytes: host memory that it takes.
        passes: how often the component that can be streamed runs from start to end in the whole phase.
        exact: False where the result is another one, not only rounded otherwise.
        choice: what the engine is given; it knows the type.
        notice: what the user is told when a way that is not exact was chosen by the studio.
    """

    name: str
    working_bytes: int
    flop: float
    moved_bytes: float = 0
    bus_bytes: float = 0
    host_bytes: int = 0
    passes: int = 1
    exact: bool = True
    choice: Any = None
    notice: str = ""


@dataclass(frozen=True)
class Unit:
    """A part of a component that can be streamed.

    Args:
        share: of the component's bytes.
        flop_share: of the phase's work.
    """

    name: str
    share: float
    flop_share: float


@dataclass(frozen=True)
class PhaseCost:
    """One phase of a job.

    Args:
        phase: encode, sample, decode, ...
        components: what has to be on the device throughout.
        ways: the quickest first; at least one.
        streamed: the component among them that can be streamed, "" where none can.
        units: its parts, in order of execution.
    """

    phase: str
    components: tuple[str, ...]
    ways: tuple[Way, ...]
    streamed: str = ""
    units: tuple[Unit, ...] = ()


def phases_of(spec: VariantSpec, wish: Any, *, value_bytes: int, exact_savings: bool) -> tuple[PhaseCost, ...]:
    """The phases of that request with that variant; none for an embedded engine.

    Args:
        value_bytes: of one activation: 2 in fp16, 4 in fp32.
    """
    name = f"{__name__}.{spec.family}"
    if spec.bundled or importlib.util.find_spec(name) is None:
        return ()
    found = importlib.import_module(name).phases(spec, wish, value_bytes=value_bytes, exact_savings=exact_savings)
    shares = spec.facts.get("share_of_published", {})
    return tuple(_share(cost, shares.get(cost.phase, {})) for cost in found)


def _share(cost: PhaseCost, share: Mapping[str, float]) -> PhaseCost:
    """What the phase costs with networks of another size than the published ones, for which the formulas are.

    Args:
        share: of the published networks' ``working_bytes``, ``flop`` and ``moved_bytes``, where they differ.
    """
    ways = tuple(
        replace(
            way,
            working_bytes=round(way.working_bytes * share.get("working_bytes", 1)),
            flop=way.flop * share.get("flop", 1),
            moved_bytes=way.moved_bytes * share.get("moved_bytes", 1),
        )
        for way in cost.ways
    )
    return replace(cost, ways=ways)
