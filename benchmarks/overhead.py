"""What the studio costs on top of a bare diffusers call, on the same tiny random model, on the CPU.

Two things are timed in turns with diffusers' own pipeline (the baseline, which is also its own identity control): the
engine alone, from picture to frames; and a whole job through `Studio` with the inline runner, which also journals,
reads and fits the picture, makes previews, writes and probes the mp4 and embeds the recipe. The model is so small
that the whole job's extra seconds, not its ratio, are what carries over to real models.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.compare import compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each comparison (15)")
    parser.add_argument("--steps", type=int, default=10, help="sampling steps (10)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Ratio of the engine to the pipeline, and the extra seconds of a whole job, each with its control."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory() as home:
            return _measured(args, Path(home))
    finally:
        torch.set_num_threads(before)


def _measured(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    from PIL import Image

    from benchmarks import svd_models as models
    from studio.service import Studio
    from studio.settings import Settings
    from tests import tiny

    wish = models.request(width=128, height=64, frames=4, steps=args.steps, decode_chunk=4)
    modules = models.build(models.TINY, "cpu", "fp32")
    pipeline, engine = models.make_pipeline(modules), models.make_engine(modules, "cpu", "fp32")
    picture, ctx = models.made_picture(wish.width, wish.height), models.quiet_context()
    Image.fromarray(picture).save(home / "picture.png")

    settings = Settings(home=home, device="cpu", runner="inline")
    tiny.tiny_spec_yaml("tiny-svd", home / "configs" / "models", frames=wish.frames)
    tiny.write_tiny_svd(settings.models / "tiny-svd", frames=wish.frames)
    asked = {name: value for name, value in vars(wish).items() if name != "seed"}
    asked |= {"mode": "image-to-video", "variant": "tiny-svd", "image": str(home / "picture.png")}

    def bare() -> object:
        return models.call_pipeline(pipeline, picture, wish)

    with Studio(settings) as studio:

        def whole_job() -> None:
            job = studio.wait(studio.submit({**asked, "seed": wish.seed}).id)
            if job.state != "done":
                raise SystemExit(f"The job ended as {job.state}: {job.error}")

        alone = compare(bare, lambda: engine.animate(picture, wish, ctx), rounds=args.rounds)
        job = compare(bare, whole_job, rounds=args.rounds)
    return {
        "size": f"{wish.width}x{wish.height}, {wish.frames} frames, {wish.steps} steps, {args.threads} thread",
        "engine": _named(alone, "engine"),
        "whole_job": {"extra_s": job["candidate_s"] - job["baseline_s"], **_named(job, "job")},
    }


def _named(found: dict[str, Any], candidate: str) -> dict[str, Any]:
    """The comparison with its two sides named."""
    return {
        "diffusers_s": found["baseline_s"],
        f"{candidate}_s": found["candidate_s"],
        **{k: v for k, v in found.items() if k not in ("baseline_s", "candidate_s")},
    }
