"""Brings a sampling's state to the host after each step, looks at it and reports it, without making the device wait.

Where the copies run beside the device's work, a step is looked at when the next one has been given to the device: the
host then waits for work that has another step queued behind it. What is kept, and what a leaner way goes on from, is
always a copy that has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from studio.diffusion.preview import latent_to_rgb
from studio.diffusion.samplers import OnStep
from studio.engines.kernels import EAGER, Kernels
from studio.errors import StudioError
from studio.media.clip import Clip

if TYPE_CHECKING:
    from studio.context import Context
    from studio.models.spec import VariantSpec


class Steps(Protocol):
    """Latents on their way from noise, on the host, and how many steps they have behind them."""

    x_BTCHW: torch.Tensor
    denoised_BTCHW: torch.Tensor
    done: int

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to go on, as arrays by name."""
        ...


class Stepped(Protocol):
    """The fields of a request that reporting listens to."""

    @property
    def steps(self) -> int: ...
    @property
    def export_fps(self) -> float: ...


class Copies:
    """Copies to the host that are there when they begin: from the CPU, and from Metal."""

    beside = False
    """Whether the device works on while they run."""

    def begin(self, tensors: Sequence[torch.Tensor]) -> Any:
        """A mark for `finish`."""
        return [tensor.cpu() for tensor in tensors]

    def finish(self, mark: Any) -> list[torch.Tensor]:
        """The copies, on the host, whole."""
        return mark


class CudaCopies(Copies):
    """Copies through pinned memory, in the order of the device's work, which goes on behind them."""

    beside = True

    def begin(self, tensors: Sequence[torch.Tensor]) -> Any:
        pinned = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
        for to, of in zip(pinned, tensors, strict=True):
            to.copy_(of, non_blocking=True)
        arrived = torch.cuda.Event(blocking=True)
        arrived.record(torch.cuda.current_stream(tensors[0].device))
        return pinned, arrived

    def finish(self, mark: Any) -> list[torch.Tensor]:
        pinned, arrived = mark
        arrived.synchronize()
        return [tensor.clone() for tensor in pinned]  # pinned memory is little, and another copy will want it


@contextmanager
def reporting(
    sampling: Steps,
    spec: VariantSpec,
    request: Stepped,
    ctx: Context,
    before: int,
    total: int,
    resumable: Callable[[int], bool] = lambda step: True,
    *,
    kernels: Kernels = EAGER,
    copies: Copies | None = None,
) -> Iterator[OnStep]:
    """What a sampler tells its steps to: it brings `sampling` up to date, keeps it and reports it.

    At the end of the block the last step has been reported too. Where the block fails, a step whose copy is on its way
    counts as not made.

    Args:
        before: steps of the job that were finished before this sampling began, of `total`.
        resumable: whether one can go on with that step from nothing else; where not, the step is only reported.
        kernels: has nothing to compile any more once the steps are made, and says so.
        copies: how the state comes to the host; the device's own way by default.

    Raises:
        Cancelled: one step after it was asked for, or two where copies run beside the work.
        StudioError: the numbers are not finite.
    """
    waiting: tuple[int, Copies, Any] | None = None

    def on_step(done: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
        nonlocal waiting
        by = copies or (CudaCopies() if x.is_cuda else Copies())
        before_this, waiting = waiting, (done, by, by.begin((x, denoised)))
        kernels.over()
        if by.beside:
            ctx.check()
            settle(before_this)
        else:
            settle(waiting)
            waiting = None

    def settle(begun: tuple[int, Copies, Any] | None) -> None:
        if begun is None:
            return
        done, by, mark = begun
        x, denoised = by.finish(mark)
        if not bool(torch.isfinite(x).all()):
            raise StudioError(
                f"{spec.id} gave numbers that are not finite at step {done}.",
                "Lower guidance, or set precision to fp32.",
            )
        if done == request.steps or resumable(done):
            sampling.x_BTCHW, sampling.denoised_BTCHW, sampling.done = x, denoised, done
            ctx.keep(sampling.state())
        ctx.step(before + done, total, preview=lambda: Clip(latent_to_rgb(denoised[0]), request.export_fps))

    yield on_step
    settle(waiting)
