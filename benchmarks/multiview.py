"""What a mesh from an orbit costs, and how near hull, colours and recovered cameras come to the truth.

Solids that are known by formula are rendered from 21 cameras. Times are medians, each after a first run that compiles,
at the size of SV3D's frames; hull and colour are what stands between the frames and a mesh. Processor seconds are those
of all cores together, and say what is meant where others use the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from studio.scene.colouring import colour_vertices, sheet_texture
from studio.scene.consistency import consistency, reprojection
from studio.scene.hull import Carver, visual_hull
from studio.scene.orbit import Orbit, sine, static
from studio.scene.raster import rasterise
from studio.scene.recover import recover_orbit

_HELD_OUT = Orbit((*(360 * (k + 0.5) / 8 for k in range(7)), 0.0), (5.0,) * 8)

_TRUE_DEG = 12.0
"""Elevation of the static orbit that is to be recovered."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--size", type=int, default=576, help="pixels along a side of the frames that are timed (576)")
    parser.add_argument("--nearness-size", type=int, default=288, help="and of those compared with the truth (288)")
    parser.add_argument("--grid", type=int, default=96, help="points along the longest side of the hull (96)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each time (5)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures: seconds of each step, and by shape what came out."""
    from tests.scene import shapes  # pytest need not be installed for `python -m benchmarks --list`

    return {
        "size": args.size,
        "grid": args.grid,
        "views": 21,
        **_times(shapes, args),
        "nearness_size": args.nearness_size,
        **{name: _nearness(shapes, name, args) for name in shapes.SHAPES},
    }


def _times(shapes: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and processor seconds by step, of the shape with many triangles."""
    seen = shapes.turntable("blob", size=args.size)
    views = (seen.frames, seen.alpha, seen.cameras)
    hull = visual_hull(seen.alpha, seen.cameras, grid=args.grid)
    coloured = colour_vertices(hull, *views)
    steps: dict[str, Callable[[], object]] = {
        "hull": lambda: visual_hull(seen.alpha, seen.cameras, grid=args.grid),
        "colour": lambda: colour_vertices(hull, *views),
        "sheet": lambda: sheet_texture(hull, *views),
        "consistency": lambda: consistency(seen.alpha, seen.cameras, seen.frames),
        "recover": lambda: recover_orbit(seen.alpha, static(0)),
        "render_21_views": lambda: [rasterise(coloured, c, args.size, args.size) for c in seen.cameras],
    }
    medians = {name: _medians(step, args.rounds) for name, step in steps.items()}
    medians["hull_and_colour"] = tuple(map(sum, zip(medians["hull"], medians["colour"], strict=True)))
    return {
        "faces": len(hull.faces),
        "seconds": {name: round(wall, 3) for name, (wall, _) in medians.items()},
        "processor_seconds": {name: round(busy, 3) for name, (_, busy) in medians.items()},
    }


def _medians(step: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Seconds and processor seconds."""
    wall, busy = [], []
    for i in range(rounds + 1):
        begun, began_busy = time.perf_counter(), time.process_time()
        step()
        if i:
            wall.append(time.perf_counter() - begun)
            busy.append(time.process_time() - began_busy)
    return statistics.median(wall), statistics.median(busy)


def _nearness(shapes: Any, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """How near to a shape one gets from perfect views of it."""
    seen = shapes.rendered(shapes.mesh(name), sine(0, 20), args.nearness_size)
    held_out = shapes.rendered(shapes.mesh(name), _HELD_OUT, args.nearness_size)
    hull = visual_hull(seen.alpha, seen.cameras, grid=args.grid, dissent=0)
    found = {
        "hull_iou": _volume_iou(shapes.SHAPES[name], seen, 0),
        "hull_iou_dissent_1": _volume_iou(shapes.SHAPES[name], seen, 1),
        "silhouette_iou": round(float(np.mean(reprojection(hull, seen.masks, seen.cameras))), 4),
    }
    for way, colour in (("vertices", colour_vertices), ("sheet", sheet_texture)):
        made = shapes.rendered(colour(hull, seen.frames, seen.alpha, seen.cameras), _HELD_OUT, args.nearness_size)
        wrong = np.mean((made.frames.astype(np.float64) - held_out.frames) ** 2)
        found[f"held_out_db_{way}"] = round(float(10 * np.log10(255**2 / wrong)), 2)
    low = shapes.rendered(shapes.mesh(name), static(_TRUE_DEG).reversed(), args.nearness_size)
    told = recover_orbit(low.alpha, static(0))
    found |= {"recovered_sure": told.sure, "recovered_margin": round(told.margin, 4)}
    if told.sure:
        found |= {"elevation_error_deg": abs(told.elevation_deg - _TRUE_DEG), "sense_right": told.clockwise}
    for pixels in (0, 1, 3):
        score = consistency(shapes.jittered(seen.masks, pixels), seen.cameras)
        found[f"consistency_at_{pixels}_px"] = [round(score.mean, 4), round(score.split_half, 4)]
    return found


def _volume_iou(distance: Callable[[np.ndarray], np.ndarray], seen: Any, dissent: int) -> float:
    """Intersection over union of solid and hull, at 200,000 points."""
    points = np.random.default_rng(0).uniform(-0.56, 0.56, (200_000, 3))
    inside, truth = Carver(seen.alpha, seen.cameras, dissent=dissent).depths(points) > 0, distance(points) < 0
    return round(float((inside & truth).sum() / (inside | truth).sum()), 4)
