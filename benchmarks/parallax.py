"""Seconds that the embedded parallax engine needs for a clip, beside a bare OpenCV zoom of as many frames.

Each round runs four things in turn: the engine, the engine again (the identity control: what two runs of the same
thing differ by), the zoom, the zoom again. Figures are medians over the rounds. The picture is made here, a textured
ground with discs on it; reading it and writing the clip are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from studio.context import Context
from studio.engines import parallax
from studio.models.spec import read_spec
from studio.modes.image_to_video import ImageToVideo
from studio.scene.path import MOVES
from studio.settings import shipped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--width", type=int, default=1024, help="pixels (1024)")
    parser.add_argument("--height", type=int, default=576, help="pixels (576)")
    parser.add_argument("--frames", type=int, default=25, help="frames of the clip (25)")
    parser.add_argument("--move", choices=list(MOVES), default="arc-right", help="camera move (arc-right)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of all four (5)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures: seconds a clip, their ratio to the zoom's, and what the identity control says."""
    picture = made_picture(args.width, args.height)
    spec = read_spec(shipped("configs") / "models" / "parallax.yaml")
    options = {name: option.default for name, option in spec.options_for("image-to-video").items()}
    options |= {"width": args.width, "height": args.height, "frames": args.frames, "camera_move": args.move}
    request = ImageToVideo.model_validate({**options, "image": "made-here", "seed": 0})
    engine = parallax.Engine(spec)
    with tempfile.TemporaryDirectory() as folder:
        ctx = _context(Path(folder))
        tasks = {
            "parallax": lambda: engine.animate(picture, request, ctx),
            "parallax_again": lambda: engine.animate(picture, request, ctx),
            "zoom": lambda: zoom(picture, args.frames),
            "zoom_again": lambda: zoom(picture, args.frames),
        }
        times = _interleaved(tasks, args.rounds)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "width": args.width,
        "height": args.height,
        "frames": args.frames,
        "move": args.move,
        "rounds": args.rounds,
        "seconds_a_clip": round(median["parallax"], 4),
        "milliseconds_a_frame": round(1000 * median["parallax"] / args.frames, 2),
        "identity_control_ratio": round(median["parallax_again"] / median["parallax"], 4),
        "zoom_seconds": round(median["zoom"], 4),
        "zoom_identity_control_ratio": round(median["zoom_again"] / median["zoom"], 4),
        "ratio_to_zoom": round(median["parallax"] / median["zoom"], 2),
        "all_seconds": {name: [round(s, 4) for s in seconds] for name, seconds in times.items()},
    }


def zoom(picture: np.ndarray, frames: int) -> np.ndarray:
    """The baseline: uint8 (T, H, W, 3), `cv2.warpAffine` with a cubic kernel, up to 1.22 times as large."""
    height, width = picture.shape[:2]
    made = np.empty((frames, *picture.shape), np.uint8)
    for i in range(frames):
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, 1 + 0.22 * i / max(1, frames - 1))
        cv2.warpAffine(picture, matrix, (width, height), dst=made[i], flags=cv2.INTER_CUBIC)
    return made


def made_picture(width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3): textured, with three discs that stand out, so that there are depth edges to fill behind."""
    noise = np.random.default_rng(0).uniform(0, 160, (height, width, 3)).astype(np.float32)
    picture = np.rint(cv2.GaussianBlur(noise, (0, 0), 2)).astype(np.uint8)
    for x, y, r, colour in (
        (0.35, 0.55, 0.2, (240, 90, 40)),
        (0.6, 0.5, 0.14, (40, 200, 240)),
        (0.5, 0.75, 0.1, (250,) * 3),
    ):
        cv2.circle(picture, (round(x * width), round(y * height)), round(r * height), colour, -1)
    return picture


def _context(folder: Path) -> Context:
    """A context that nobody listens to."""
    return Context(
        job_id="benchmark", scratch=folder, emit=lambda event: None, lease=lambda variant, ctx: None, find_input=Path
    )


def _interleaved(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every task in every round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            if i:
                times[name].append(time.perf_counter() - begun)
    return times
