"""What a request will need, said before it is asked for: from the plans for the device that is known, or for none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.models.advice import instead
from studio.models.learned import KnownDevice, Learned, known_device, unknown_facts
from studio.models.limits import Limits, parse_bytes
from studio.models.plan import Plan, Plans, make_plans
from studio.models.planned import in_gb, in_time
from studio.models.spec import VariantSpec
from studio.settings import Settings


@dataclass(frozen=True)
class Forecast:
    """What one request will need.

    Args:
        plans: None for an embedded engine, which needs no plan.
        known: False where no device is known, so that only its bytes can be told.
        last_seconds: what the last job of this kind took; None where there was none.
    """

    spec: VariantSpec
    usable: bool
    plans: Plans | None
    known: bool
    last_seconds: float | None

    @property
    def fits(self) -> bool:
        """False where no plan fits the device that is known."""
        return self.plans is None or self.plans.chosen is not None

    @property
    def least_bytes(self) -> int:
        """What the leanest plan needs; 0 for an embedded engine."""
        return 0 if self.plans is None else self.plans.least_bytes

    @property
    def seconds(self) -> float | None:
        """What the last job of this kind took, else what is predicted; None where nobody knows."""
        if self.last_seconds is not None or self.plans is None or not self.known:
            return self.last_seconds
        return self.plans.chosen.seconds if self.plans.chosen else None

    @property
    def says(self) -> str:
        """One line for a person."""
        last = "" if self.last_seconds is None else f", about {in_time(self.last_seconds)}, as last time"
        if self.plans is None:
            return f"needs no weights and no GPU{last.replace(',', ';', 1)}"
        chosen = self.plans.chosen
        if chosen is None:
            return f"{self.plans.message} {self.plans.remedy}".strip().removesuffix(".")
        if not chosen.phases:
            return f"{in_gb(chosen.weights_bytes)} of weights{last}"
        if not self.known:
            least = self.plans.least_bytes
            return (
                f"needs about {in_gb(chosen.peak_bytes)} of GPU memory at its quickest, {in_gb(least)} at its leanest"
                f"{last}"
            )
        took = last or f", about {in_time(chosen.seconds)}"
        notices = "".join(f"; {n.removesuffix('.')}" for n in chosen.notices)
        return f"{chosen.says}{took}{notices}"

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        plans, chosen = self.plans, self.plans.chosen if self.plans else None
        facts = plans.facts if plans is not None and self.known else None
        data: dict[str, Any] = {
            "variant": self.spec.id,
            "usable": self.usable,
            "fits": self.fits,
            "says": self.says,
            "device": facts.name if facts else None,
            "dtype": facts.dtype if facts else None,
            "rates_measured": facts.measured if facts else False,
            "budget_bytes": plans.budget_bytes if plans else None,
            "weights_bytes": _needed_bytes(self.spec) if chosen is None else chosen.weights_bytes,
            "peak_bytes": chosen.peak_bytes if chosen else 0,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "exact": chosen.exact if chosen else True,
            "phases": [],
            "cheaper": None,
            "dearer": None,
        }
        if plans is None:
            return data
        if chosen is None:
            return {**data, "peak_bytes": plans.least_bytes, "message": plans.message, "remedy": plans.remedy}
        data |= {k: v for k, v in chosen.public().items() if k != "seconds"}
        return {**data, "cheaper": _other(plans.cheaper, chosen), "dearer": _other(plans.dearer, chosen)}


def _needed_bytes(spec: VariantSpec) -> int:
    return sum(nbytes for component, nbytes in spec.component_bytes.items() if component not in spec.extras)


def _other(plan: Plan | None, chosen: Plan) -> dict[str, Any] | None:
    return None if plan is None else {**plan.public(), "reason": instead(plan, chosen)}


def forecast(
    spec: VariantSpec,
    wish: Any,
    settings: Settings,
    *,
    usable: bool,
    last_seconds: float | None = None,
    device: KnownDevice | None = None,
    component_bytes: Mapping[str, int] | None = None,
) -> Forecast:
    """What that request will need.

    Args:
        wish: the complete request.
        device: what is known of it; the one that jobs last ran on by default.
        component_bytes: of the weights that are there, in the device's precision; by the spec where None.

    Raises:
        BadInput: a budget among the settings is none.
    """
    if spec.bundled:
        return Forecast(spec, usable, None, False, last_seconds)
    device = device or known_device(settings.home, settings.device)
    facts, learned = device or (unknown_facts(settings.precision), Learned(None))
    scale = 2 if facts.dtype == "fp32" else 1
    plans = make_plans(
        spec,
        wish,
        facts=facts,
        limits=limits_of(settings),
        learned=learned,
        component_bytes=component_bytes or {c: b * scale for c, b in spec.component_bytes.items()},
        exact_savings=settings.exact_savings,
    )
    return Forecast(spec, usable, plans, device is not None, last_seconds)


def limits_of(settings: Settings) -> Limits:
    """What the settings let the studio take.

    Raises:
        BadInput: a budget is none.
    """
    texts = {"vram_budget": settings.vram_budget, "ram_budget": settings.ram_budget}
    device, host = (parse_bytes(t, field=name) if t is not None else None for name, t in texts.items())
    return Limits(settings.vram, device, host)
