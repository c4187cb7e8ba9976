"""What the pocket models are worth, on scenes that no training showed: every figure beside what it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.errors import BadInput
from studio.train import export, stages
from studio.train.loop import judged, versions
from studio.train.sheets import as_png
from studio.train.stages import Clock, Setup

REPORT = "check.json"


def check(setup: Setup, clock: Clock, out: Path, held_out: int, say: Callable[[str], None] = print) -> bool:
    """True where every stage has been trained and every figure is as wanted; `out` holds check.json and the sheets.

    The stages share the time; each takes as many of the `held_out` samples as its part allows.

    Raises:
        BadInput: no stage has been trained.
    """
    names, found, good = stages.names(), {}, True
    for i, name in enumerate(names):
        stage = stages.stage(name)
        try:
            export.find(setup.weights, name)
        except BadInput:
            say(f"{name}: not trained")
            good = False
            continue
        mine = Clock(clock.left_s / 60 / (len(names) - i))
        measured = stage.measure(setup.shipped(), setup, held_out, mine)
        figures = judged(measured, stage.bounds)
        found[name] = {"figures": figures, "left_out": dict(measured.left_out)}
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}-check.png").write_bytes(as_png(measured.sheet))
        for line in _lines(name, found[name]):
            say(line)
        good = good and not measured.left_out and all(f.get("met", True) for f in figures.values())
    if not found:
        raise BadInput(f"check: no stage has been trained in {setup.weights[0]}.", "Run `python -m studio train vae`.")
    report = {"held_out": held_out, "device": str(setup.device), "versions": versions(), "stages": found}
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return good


def _lines(name: str, told: dict[str, Any]) -> list[str]:
    lines = []
    for figure, says in told["figures"].items():
        wanted = f"  wanted {says['wanted']}: {'met' if says['met'] else 'NOT met'}" if "wanted" in says else ""
        lines.append(f"{name}: {figure} {says['value']:g}{wanted}")
    return [*lines, *(f"{name}: {figure} not taken: {why}" for figure, why in told["left_out"].items())]
