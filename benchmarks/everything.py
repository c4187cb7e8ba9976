"""All benchmarks that apply to this machine, each in a process of its own, within one budget.

Whatever one benchmark breaks, fills or compiles, the next one begins afresh; and one that takes too long is killed with
its children, its figures so far kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent

_DONE, _STOPPED, _LEFT_OUT = "done", "stopped", "left out"

_STARTING_S = 15
"""Of a process's time goes to starting and to ending in good order; the rest is the budget that it is told."""


@dataclass(frozen=True)
class Entry:
    """One benchmark in the list.

    Args:
        most_s: it is stopped after this, budget or not.
        least_s: it is not begun with less than this left.
        options: for its command line.
        budgeted: takes ``--budget-s``.
        needs: packages beside those that the studio's engines need.
        tiny: takes ``--tiny``.
        after, otherwise: where that benchmark took too long, this one is given these options.
    """

    name: str
    most_s: float
    least_s: float = 20
    options: tuple[str, ...] = ()
    budgeted: bool = False
    needs: tuple[str, ...] = ()
    tiny: bool = False
    after: str = ""
    otherwise: tuple[str, ...] = ()


ON_CUDA = (
    Entry("gpu_unet", 85, budgeted=True, tiny=True),
    Entry("gpu_decode", 70, budgeted=True, tiny=True),
    Entry("gpu_compiled", 185, least_s=60, budgeted=True, tiny=True),
    Entry("gpu_clip", 135, least_s=45, budgeted=True, tiny=True, after="gpu_compiled", otherwise=("--compile", "off")),
    Entry("gpu_memory", 90, least_s=40, budgeted=True, tiny=True),
    Entry("swap", 80, least_s=40, budgeted=True),
    Entry("gpu_compiled_theirs", 240, least_s=60, budgeted=True, tiny=True),
)
"""What says most comes first. What gpu_compiled compiled, gpu_clip finds; where that took too long, it does without.
diffusers' own compiling comes last: nothing else waits for it. Each ends sooner than its limit if all goes well.
"""

ANYWHERE = (
    Entry("parallax", 60),
    Entry("cpu_svd", 200, least_s=40, budgeted=True, tiny=True),
    Entry("overhead", 120, needs=("gradio",)),
    Entry("swap", 90, options=("--small", "--rounds", "5"), budgeted=True),
    Entry("startup", 120, least_s=40, needs=("gradio",)),
    Entry("multiview", 120, options=("--rounds", "3"), needs=("numba", "skimage", "trimesh")),
)
"""`interpolation` fetches its clips and `load` writes 5 GB: both only by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a run of all."""
    parser.add_argument("--budget-s", type=float, default=540, help="seconds for everything (540)")
    parser.add_argument("--tiny", action="store_true", help="the CUDA device's benchmarks at tiny size on the CPU")


def run_all(
    args: argparse.Namespace,
    *,
    entries: Sequence[Entry] | None = None,
    program: Sequence[str] = (sys.executable, "-m", "benchmarks"),
    on_done: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Benchmark -> what became of it, one sentence; the results themselves are in ``args.results``.

    Args:
        entries: in this order; those of this machine by default.
        program: runs the benchmark that it is given the name and the options of.
        on_done: called after each.
    """
    begun = clock()
    outcome: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="svd-studio-compiled-", ignore_cleanup_errors=True) as folder:
        # What one of them compiled, another one finds; what was compiled before counts for none.
        environment = {"TORCHINDUCTOR_CACHE_DIR": folder, "HF_HUB_OFFLINE": "1", **os.environ}
        for entry in _applying(args.tiny) if entries is None else entries:
            left_s = args.budget_s - (clock() - begun)
            missing = [name for name in entry.needs if importlib.util.find_spec(name) is None]
            if missing:
                outcome[entry.name] = f"{_LEFT_OUT}: {', '.join(missing)} can't be imported here"
            elif left_s < entry.least_s:
                outcome[entry.name] = f"{_LEFT_OUT}: {max(left_s, 0):.0f} s were left, and it takes {entry.least_s:.0f}"
            else:
                limit_s = min(left_s, entry.most_s)
                otherwise = outcome.get(entry.after, _DONE).startswith((_STOPPED, _LEFT_OUT))
                command = [*program, *_options(entry, args, limit_s, otherwise=otherwise)]
                print(f"--- {entry.name}, {limit_s:.0f} s at most", file=sys.stderr, flush=True)
                outcome[entry.name] = _run(command, environment, limit_s, clock, shown=not _keeps(args))
                on_done()
    return outcome


def _applying(tiny: bool) -> Sequence[Entry]:
    if tiny:
        return [entry for entry in (*ON_CUDA, *ANYWHERE) if entry.tiny]
    import torch

    return (*ON_CUDA, *(e for e in ANYWHERE if e.name != "swap")) if torch.cuda.is_available() else ANYWHERE


def _options(entry: Entry, args: argparse.Namespace, limit_s: float, *, otherwise: bool) -> list[str]:
    options = [entry.name, *entry.options, *(entry.otherwise if otherwise else ())]
    if entry.budgeted:
        options += ["--budget-s", f"{max(limit_s - _STARTING_S, 1):.0f}"]
    if args.tiny:
        options += ["--tiny", "--rounds", "1"]
    if args.no_save:
        options.append("--no-save")
    if args.results is not None:
        options += ["--results", str(args.results.resolve())]
    return options


def _keeps(args: argparse.Namespace) -> bool:
    return not args.no_save and (args.results is not None or not args.tiny)


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    limit_s: float,
    clock: Callable[[], float],
    *,
    shown: bool,
) -> str:
    """One sentence about how it ended.

    Args:
        shown: its figures are printed; else they are kept.
    """
    begun = clock()
    stdout = None if shown else subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=stdout, start_new_session=True)
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"{_STOPPED} after {limit_s:.0f} s; what it had found is kept"
    finally:
        _end(process)
    took = f"{clock() - begun:.0f} s"
    return f"{_DONE} in {took}" if code == 0 else f"failed, in whole or in part, with exit code {code} after {took}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and those that it started are gone."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
