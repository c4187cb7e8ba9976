"""``python -m studio.train STAGE``, ``... check``: what trains the pocket models, on a machine that has little else.

The stages, each after those that it needs, with the minutes that one H100 gives them in a lease of thirty:

    python -m studio.train vae  --minutes 6   --out OUT
    python -m studio.train clip --minutes 2.5 --out OUT
    python -m studio.train svd  --minutes 9   --out OUT
    python -m studio.train sv3d --minutes 7   --out OUT
    python -m studio.train sdxl --minutes 5   --out OUT
    python -m studio.train check --minutes 5  --out OUT

With ``--resume`` each goes on from the weights that are there. It needs torch, numpy, scipy, numba, opencv,
safetensors, transformers, accelerate and diffusers; none of what the studio needs besides.
"""

from __future__ import annotations

import time

_BEGAN_S = time.monotonic()  # before torch is imported, which takes seconds of the minutes that are given

import argparse  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from studio.errors import BadInput, StudioError  # noqa: E402

if TYPE_CHECKING:
    import torch

_CHECK_MINUTES = 5.0

_WORTH_A_GLANCE = 2.0
"""Minutes of a run from which on samples are made while it goes on."""


def main(words: Sequence[str] | None = None, *, began_s: float | None = None) -> int:
    """Trains, or checks what was trained; 0 done, 2 the user's mistake, 1 a failure.

    Args:
        words: as on the command line.
        began_s: when the process began, of `time.monotonic`; now by default.
    """
    words = sys.argv[1:] if words is None else list(words)
    if words[:1] in (["pack"], ["unpack"]):
        from studio.train.pack import main as pack

        return pack(words)
    given = _parser().parse_args(words)
    try:
        return _run(given, shlex.join(map(_without_folders, words)), time.monotonic() if began_s is None else began_s)
    except StudioError as e:
        print(f"{e.message} {e.remedy}".rstrip(), file=sys.stderr)
        return e.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="studio train", description="Trains the pocket models, a stage at a time.")
    add = parser.add_argument
    add("what", metavar="STAGE", help="vae, clip, svd, sv3d, sdxl: what is trained; check: figures of what was")
    add("--minutes", type=_above_0(float), help="from the start of the process to its end, evaluation included")
    add("--steps", type=_above_0(int), help="end after so many steps, where the minutes last")
    add("--resume", action="store_true", help="go on from the stage's weights")
    add("--seed", type=int, default=0)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--out", type=Path, help="folder of the family that is written; the studio's own by default")
    add("--weights", type=Path, help="folder that is read where OUT has not got a stage; the studio's own by default")
    add("--held-out", type=_above_0(int), default=32, help="samples that figures are taken on")
    add("--toy", action="store_true", help="tiny networks on tiny pictures, to try the machinery")
    add("--compile", action="store_true", help="UNets by torch.compile, at the cost of its first minute or two")
    return parser


def _above_0(kind: type) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise ValueError
        return value

    read.__name__ = "number above 0"
    return read


def _without_folders(word: str) -> str:
    """The word, of an absolute path its last part: where a machine keeps things is nobody's business."""
    option, equals, value = word.rpartition("=")
    return option + equals + Path(value).name if Path(value).is_absolute() else word


def _run(given: argparse.Namespace, words: str, began_s: float) -> int:
    from studio.train import export, stages
    from studio.train.loop import GLANCES, Order, train
    from studio.train.report import check

    if given.toy and given.out is None:
        raise BadInput("out: toy weights are not for the studio's own folder. Give --out.", field="out")
    out = given.out or export.POCKET
    roots = (out, given.weights or export.POCKET)
    device = _device(given.device)
    if given.what == "check":
        clock = stages.Clock(given.minutes or _CHECK_MINUTES, began_s=began_s)
        setup = stages.Setup(device, given.seed, roots, toy=given.toy)
        return 0 if check(setup, clock, out, given.held_out) else 1
    stage = stages.stage(given.what)
    for need in stage.needs:
        export.find(roots, need)
    before = export.read_metrics(export.find(roots, stage.name)) if given.resume else {}
    setup = stages.Setup(device, given.seed, roots, toy=given.toy, resume=given.resume, run=len(before.get("runs", [])))
    clock = stages.Clock(given.minutes or stage.minutes, began_s=began_s)
    with _stoppable() as stopped:
        order = Order(
            out,
            steps=given.steps,
            compiled=given.compile,
            held_out=given.held_out,
            command=f"python -m studio.train {words}",
            glances=GLANCES if clock.minutes >= _WORTH_A_GLANCE else (),
            stopped=lambda: bool(stopped),
        )
        train(stage, setup, clock, order)
    return 1 if stopped else 0


def _device(wish: str) -> torch.device:
    import torch

    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=wish).device
    except (RuntimeError, AssertionError) as e:
        raise BadInput(f"device: {wish!r} can't be used here.", "Use auto or cpu.", field="device") from e


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """A list that fills when the process is asked to end; asked twice, it ends at once."""
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(began_s=_BEGAN_S))
