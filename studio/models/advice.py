"""What is said about plans: how two of them differ, and what would help where none fits. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from studio.models.limits import Limits
from studio.models.planned import Plan, PlannedPhase, in_gb, in_time
from studio.models.spec import VariantSpec
from studio.models.wish import Changed

_STEP = 64
"""Pixels by which width and height are lowered where the variant names no step."""


def instead(plan: Plan, chosen: Plan) -> str:
    """One sentence: what the other plan needs and takes instead of the chosen one, and what makes the difference."""
    time = f"about {in_time(plan.seconds)} instead of {in_time(chosen.seconds)}"
    if in_time(plan.seconds) == in_time(chosen.seconds):
        time = f"about {in_time(plan.seconds)} as well"
    changed = [_does(a) for a, b in zip(plan.phases, chosen.phases, strict=True) if _does(a) != _does(b)]
    why = f": {'; '.join(changed)}" if changed else ""
    lost = " The result is an approximation." if chosen.exact and not plan.exact else ""
    return f"{in_gb(plan.peak_bytes)} instead of {in_gb(chosen.peak_bytes)}, {time}{why}.{lost}"


def _does(phase: PlannedPhase) -> str:
    name = f"{phase.phase} {phase.way.name}"
    if not phase.resident:
        return name
    staying = sum(phase.resident.values())
    how = f"streamed, {in_gb(staying)} of it staying" if staying >= 5e7 else "streamed whole"
    return f"{name}, {' and '.join(phase.resident)} {how}"


def does_not_fit(
    spec: VariantSpec,
    wish: Any,
    *,
    budget_bytes: int | None,
    limits: Limits,
    least: Plan,
    least_bytes_of: Callable[[Any], int],
) -> tuple[str, str]:
    """What is the matter, and what would help.

    Args:
        least: the leanest plan of all.
        least_bytes_of: what the leanest plan of a smaller wish needs.
    """
    fits = budget_bytes is None or least.peak_bytes <= budget_bytes
    if fits:
        way = " as --vram " + limits.policy if limits.policy != "auto" else ""
        within = f" within {in_gb(budget_bytes)}" if budget_bytes is not None else ""
        return (
            f"{spec.id} does not fit{way}{within}.",
            "Use --vram auto: it takes the quickest plan that fits.",
        )
    assert budget_bytes is not None
    need = in_gb(_up(least.peak_bytes))
    square = hasattr(wish, "size")
    width, height = (wish.size, wish.size) if square else (wish.width, wish.height)
    message = (
        f"{wish.frames} frames of {width}x{height} with {spec.id} need {need} of memory at least; "
        f"{in_gb(budget_bytes)} may be taken."
    )
    helps = []
    smaller = next((w for w in _smaller_pictures(spec, wish) if least_bytes_of(w) <= budget_bytes), None)
    if smaller is not None:
        helps.append(
            f"lower size to {smaller.size}" if square else f"lower width and height to {smaller.width}x{smaller.height}"
        )
    shorter = next((w for w in _shorter_clips(spec, wish) if least_bytes_of(w) <= budget_bytes), None)
    if shorter is not None:
        helps.append(f"lower frames to {shorter.frames}")
    helps.append(f"allow {need}")
    remedy = ", or ".join(helps)
    return message, remedy[0].upper() + remedy[1:] + "."


def _bounds(spec: VariantSpec, field: str) -> tuple[int, int]:
    """(least, step) of the field among what the variant does."""
    options = [c.options[field] for c in spec.capabilities.values() if field in c.options]
    least = min((int(o.min) for o in options if o.min is not None), default=1)
    return least, next((o.multiple_of for o in options if o.multiple_of), 1)


def _smaller_pictures(spec: VariantSpec, wish: Any) -> Iterator[Any]:
    """Smaller wishes of about the same shape, the largest first; square ones have one `size`."""
    if hasattr(wish, "size"):
        least, step = _bounds(spec, "size")
        step = step if step > 1 else _STEP
        yield from (Changed(wish, size=size) for size in range(wish.size - step, least - 1, -step))
        return
    (least_width, step), (least_height, _) = _bounds(spec, "width"), _bounds(spec, "height")
    step = step if step > 1 else _STEP
    longest = max(wish.width, wish.height)
    for side in range(longest - step, 0, -step):
        width, height = (max(step, round(s * side / longest / step) * step) for s in (wish.width, wish.height))
        if width < least_width or height < least_height:
            return
        yield Changed(wish, width=width, height=height)


def _shorter_clips(spec: VariantSpec, wish: Any) -> Iterator[Any]:
    """Shorter wishes, the longest first."""
    least, _ = _bounds(spec, "frames")
    for frames in range(wish.frames - 1, least - 1, -1):
        yield Changed(wish, frames=frames)


def _up(count: int) -> int:
    """Rounded up to what a person is told, so that exactly that is enough."""
    return -(-count // 10**8) * 10**8
