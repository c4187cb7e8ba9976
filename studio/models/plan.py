"""What a request will need, said before it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.models.spec import VariantSpec


@dataclass(frozen=True)
class Plan:
    """What one request will need.

    Args:
        says: one line for a person.
        weights_bytes: of the variant's components, in fp16; 0 for an embedded engine.
        seconds: what the last job of this kind took; None where there was none.
    """

    variant: str
    usable: bool
    says: str
    weights_bytes: int
    seconds: float | None

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "variant": self.variant,
            "usable": self.usable,
            "weights_bytes": self.weights_bytes,
            "seconds": self.seconds,
            "says": self.says,
        }


def make_plan(spec: VariantSpec, *, usable: bool, seconds: float | None) -> Plan:
    """The plan for one request of this variant."""
    weights = sum(spec.component_bytes.values())
    parts = [f"{weights / 1e9:.1f} GB of weights" if weights else "needs no weights and no GPU"]
    if seconds is not None:
        parts.append(f"about {_duration(seconds)}, as last time")
    return Plan(spec.id, usable, "; ".join(parts), weights, seconds)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
