"""SVD-XT twice with the same random weights, diffusers' and ours, and how work on one device is timed and measured.

Full size on a CUDA device in fp16, or tiny on the CPU in fp32 as a check of the code. Neither way of running ever
touches the other's modules, so that a compiled, rewritten or offloaded one leaves its baseline as it was.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.compare import compare
from benchmarks.parts import Parts

NEEDS = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "PIL", "cv2", "yaml", "filelock", "pydantic",
    "platformdirs",
)  # fmt: skip

_TINY_SIZE = {"width": 64, "height": 64, "frames": 2, "decode_chunk": 2}

Work = Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser, *, budget_s: float) -> None:
    """The options that these benchmarks share."""
    parser.add_argument(
        "--budget-s", type=float, default=budget_s, help=f"seconds for all of it, building included ({budget_s:.0f})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="most rounds of each comparison (3)")
    parser.add_argument("--tiny", action="store_true", help="the same code at tiny size on the CPU, as a check of it")


class Bench:
    """One size, one device, and the figures of one benchmark.

    Args:
        args: those of `add_arguments`, and `keep`.
        wish: fields of the request that differ from SVD-XT's; at tiny size its own sizes win.

    Raises:
        SystemExit: this machine can't run it; one sentence says why.
    """

    def __init__(self, args: argparse.Namespace, **wish: Any) -> None:
        require(args)
        import torch

        from benchmarks import svd_models as models

        self.torch, self.models, self.rounds = torch, models, args.rounds
        self.cuda = not args.tiny
        if args.tiny:
            torch.set_num_threads(1)  # two threads that wait for a shared core take many times as long as one
        self.parts = Parts(args.keep, args.budget_s, tidy=self.empty)
        self.device, self.dtype = ("cuda:0", "fp16") if self.cuda else ("cpu", "fp32")
        self.precise = torch.float32 if self.cuda else torch.float64
        self.half = torch.float16 if self.cuda else torch.float32
        # At tiny size what is compiled runs eagerly: that torch can follow the code is all that is checked there.
        self.backend = "inductor" if self.cuda else "eager"
        self.configs = models.FULL if self.cuda else models.TINY
        self.wish = models.request(**{**wish, **({} if self.cuda else _TINY_SIZE)})
        size = f"{self.wish.width}x{self.wish.height}, {self.wish.frames} frames, {self.dtype}"
        self.parts.fact(device=torch.cuda.get_device_name(0) if self.cuda else None, size=size)

    def build(self, seed: int = 0) -> dict[str, Any]:
        """The three networks; the same weights for the same seed."""
        return self.models.build(self.configs, self.device, self.dtype, seed=seed)

    def build_one(self, name: str, seed: int = 0) -> Any:
        """One of them, with the same weights as among the three."""
        return self.models.build(self.configs, self.device, self.dtype, seed=seed, names=(name,))[name]

    def kernels(self, tuned: Any, compiler: Any = None) -> Any:
        """How our blocks compute: with the quickest attention that a trial finds, and compiled by that `Compiler`.

        Args:
            tuned: a `Tuned`, which knows afterwards what was tried.
        """
        from studio.engines.attention import Attention
        from studio.engines.compiled import Compiling
        from studio.engines.kernels import Kernels

        attend = Attention(tuned, measures=True)
        if compiler is None:
            return Kernels(attend)
        return Kernels(attend, Compiling(compiler, self.models.quiet_context(), tuned))

    def compare(
        self, baseline: Work, candidate: Work, budget_s: float, *, names: tuple[str, str], warm_up: int = 1
    ) -> dict[str, Any]:
        """Medians under these names, ratios, identity control, and how many times faster the candidate is."""
        with self.torch.no_grad():
            found = compare(
                baseline,
                candidate,
                rounds=self.rounds,
                budget_s=budget_s,
                warm_up=warm_up if self.cuda else 0,
                clock=self.clock,
            )
        return named(found, *names)

    def compare_compiled(
        self, eager: Work, compiled: Work, budget_s: float, *, names: tuple[str, str]
    ) -> dict[str, Any]:
        """`compare`, after a first call of what is compiled, whose seconds are told apart."""
        begun = self.clock()
        with self.torch.no_grad():
            compiled()
        first_s = self.clock() - begun
        return {"first_call_s": first_s, **self.compare(eager, compiled, budget_s - first_s, names=names)}

    def clock(self) -> float:
        """Seconds, once the device has finished what it was given."""
        if self.cuda:
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def empty(self) -> None:
        """What nobody holds any more is free again."""
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()

    def peak(self, work: Work, most_bytes: Callable[[], int] = lambda: 0) -> int | None:
        """Most bytes that torch had allocated while it ran, beyond those before; None on the CPU.

        Args:
            most_bytes: the most that was seen by whoever lets torch count anew in between.
        """
        if not self.cuda:
            work()
            return None
        self.empty()
        self.torch.cuda.synchronize()
        before = self.torch.cuda.memory_allocated()
        self.torch.cuda.reset_peak_memory_stats()
        work()
        self.torch.cuda.synchronize()
        return max(self.torch.cuda.max_memory_allocated(), most_bytes()) - before

    @contextmanager
    def exact_fp32(self) -> Iterator[None]:
        """Convolutions and products in fp32 are not rounded to tf32 in the block."""
        cudnn, cublas = self.torch.backends.cudnn, self.torch.backends.cuda.matmul
        if not self.cuda:
            yield
            return
        before = (cudnn.allow_tf32, cublas.allow_tf32)
        cudnn.allow_tf32 = cublas.allow_tf32 = False
        try:
            yield
        finally:
            cudnn.allow_tf32, cublas.allow_tf32 = before

    def randn(self, *shape: int, seed: int = 1) -> Any:
        """Normal numbers, fp32, on the device."""
        generator = self.torch.Generator().manual_seed(seed)
        return self.torch.randn(*shape, generator=generator).to(self.device)


def named(found: dict[str, Any], baseline: str, candidate: str) -> dict[str, Any]:
    """A comparison with its two sides named; `times_faster` is baseline / candidate."""
    return {
        f"{baseline}_s": found["baseline_s"],
        f"{candidate}_s": found["candidate_s"],
        "times_faster": 1 / found["ratio"],
        "times_faster_range": [1 / r for r in reversed(found["ratio_range"])],
        **{k: found[k] for k in ("identity_ratio", "identity_range", "rounds")},
    }


def relative_error(found: Any, truth: Any) -> float:
    """||found - truth|| / ||truth|| in fp64."""
    truth = truth.double()
    return float((found.double() - truth).norm() / truth.norm())


def require(args: argparse.Namespace) -> None:
    """Returns where this machine can run what was asked for.

    Raises:
        SystemExit: it can't, with one sentence.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        stop(f"{', '.join(missing)} can't be imported here; python -m benchmarks --help says what to bring.")
    import torch

    if not args.tiny and not torch.cuda.is_available():
        stop("This machine has no CUDA device that torch can use; --tiny checks the code on the CPU.")


def stop(sentence: str) -> None:
    """Ends the benchmark with exit code 2."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)
