"""ZeroGPU: only work that needs the device is run under ``spaces.GPU``, with a duration that fits it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from studio.models.catalog import Catalog
from studio.models.costs import phases_of
from studio.modes import all_modes

_FLOP_PER_S = 60e12
"""Cautious for half an RTX Pro 6000: a run that outlasts its duration is lost, quota counts what was used."""
_START_S = 25
_MOST_S = 240

Work = Callable[[str, str], Iterator[str]]


def wrapper(catalog: Catalog, gpu: Callable[..., Any]) -> Callable[[Work], Work]:
    """For `Studio(wrap=...)`: sends a task to the device only if one of its variants has weights.

    Args:
        gpu: ``spaces.GPU``.
    """

    def uses(task_json: str) -> list[tuple[Any, Any]]:
        task = json.loads(task_json)
        mode = all_modes()[task["mode"]]
        return mode.uses(mode.request.model_validate(task["request"]), catalog)

    def duration_s(settings_json: str, task_json: str) -> int:
        """Seconds to ask ZeroGPU for; takes what the work itself takes."""
        costs = (
            cost for spec, wish in uses(task_json) for cost in phases_of(spec, wish, value_bytes=2, exact_savings=True)
        )
        return min(_MOST_S, _START_S + round(sum(cost.ways[0].flop for cost in costs) / _FLOP_PER_S))

    def wrap(work: Work) -> Work:
        on_device = gpu(duration=duration_s)(work)

        def choose(settings_json: str, task_json: str) -> Iterator[str]:
            where = work if all(spec.bundled for spec, _ in uses(task_json)) else on_device
            yield from where(_uncompiled(settings_json), task_json)

        return choose

    return wrap


def _uncompiled(settings_json: str) -> str:
    """Each run there is a process of its own: it would compile anew, and pay for that by the second."""
    settings = json.loads(settings_json)
    return json.dumps({**settings, "compile": "off"} if settings.get("compile") == "auto" else settings)
