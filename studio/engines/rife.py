"""RIFE: frames between frames, by a network that is small enough for a CPU.

On an accelerator one frame is made at a time. On the CPU as many as there are cores, each by one thread: that is
quicker than all threads on one frame, and where something else uses the cores, frames wait for their turn and not
threads for each other (which was measured to cost ten times the time).

Where memory runs out, what is idle on the device makes room; then, unless the scale was asked for, motion is looked for
in a smaller picture. The frame that it ran out at is made again, so that none is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from studio.engines.gaps import Gap, Make, fill, fill_one, scale_for
from studio.engines.rife_net import RifeNet, shape_of
from studio.engines.weights.layout import Opened, source_of
from studio.engines.weights.module_weights import ModuleWeights
from studio.engines.weights.reading import STORED_DTYPES, begins
from studio.errors import BadInput, DoesNotFit, StudioError
from studio.models.costs import Way
from studio.models.costs.rife import WORKING_BYTES_A_PIXEL, Between
from studio.models.header import read_tensors
from studio.models.installed import Installed
from studio.models.limits import host_memory
from studio.models.out_of_memory import is_out_of_memory
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS = ("network",)

MULTIPLE = 64
"""Width and height that the network takes; frames are continued by their edges up to it."""

_SCALES = (1.0, 0.5, 0.25)


def open_weights(component: str, installed: Installed, device: str, dtype: str) -> ModuleWeights:
    """The network's weights in their file; which of the shapes it is, the names in it say.

    Raises:
        BadInput: the file is damaged, or holds another network.
    """
    file = installed.weights[component]
    stored = read_tensors(file)
    shape = shape_of(stored)
    if shape is None:
        raise BadInput(f"{file} holds no RIFE network of a shape that the studio knows.", "Remove it and pull again.")
    with torch.device("meta"):
        network = RifeNet(shape)
    wanted, where = network.state_dict(), begins(file)
    for name, tensor in wanted.items():
        if stored[name].shape != tuple(tensor.shape) or stored[name].dtype not in STORED_DTYPES:
            raise BadInput(f"{file}: {name} is not what RIFE {shape} has there.", "Remove it and pull again.")
    sources = {
        name: source_of(file, where[name], STORED_DTYPES[stored[name].dtype], stored[name].shape) for name in wanted
    }
    return ModuleWeights(Opened(network, sources, f"the weights in {file.name}"), device, dtype)


class Engine:
    """Makes frames between two frames, at any time between them.

    Args:
        components: gives the network on the device by `use("network", phase="interpolate")`, and by `start` the plan
            for frames of a size.
    """

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec
        self._components = components

    def between(
        self, first: np.ndarray, second: np.ndarray, at: Sequence[float], ctx: Context, *, scale: float | None = None
    ) -> list[np.ndarray]:
        """The frames at those times between two, uint8 (H, W, 3); see `fill`."""
        gap = Gap(first, second, at)
        with self._filling(first.shape, scale, len(at), ctx) as (make, workers):
            return fill_one(gap, make, workers, ctx)

    def fill(self, gaps: Iterable[Gap], ctx: Context, *, scale: float | None = None) -> Iterator[list[np.ndarray]]:
        """The frames of each gap, in order; a few gaps at a time, however many there are. All of one size.

        Args:
            scale: 1, or 0.5 or 0.25 to look for motion in a smaller picture; None: as the frames' size needs it, and
                smaller where memory runs out, which the user is told.

        Raises:
            Cancelled: within a moment and the frames that are being made.
            DoesNotFit: there is not enough memory for frames of this size.
            StudioError: the network gave numbers that are not finite.
        """
        gaps = iter(gaps)
        one = next(gaps, None)
        if one is None:
            return
        with self._filling(one.first.shape, scale, None, ctx) as (make, workers):
            yield from fill(_again(one, gaps), make, workers, ctx)

    @contextmanager
    def _filling(
        self, shape: Sequence[int], scale: float | None, frames: int | None, ctx: Context
    ) -> Iterator[tuple[Make, int]]:
        """What fills a gap of frames of that shape, and how many frames can be made at a time.

        Args:
            frames: how many there will be; None: many.
        """
        height, width = shape[:2]
        best = scale_for(width * height) if scale is None else scale
        scales = (best, *(s for s in _SCALES if s < best and scale is None))
        right, bottom = _padding(width, height, best)[1::2]
        wish = Between(width + right, height + bottom, scales)
        on_cpu = self._components.device == "cpu"
        try:
            planned = _Planned(self._components.start(wish, ctx))
            with self._components.use("network", phase="interpolate") as (network,):
                cores = torch.get_num_threads()
                wanted = cores if frames is None else min(cores, frames)
                workers = _workers(wanted, WORKING_BYTES_A_PIXEL[best] * wish.width * wish.height) if on_cpu else 1

                def make(first: np.ndarray, second: np.ndarray, at: Sequence[float]) -> Iterator[np.ndarray]:
                    sides: dict[float, list[torch.Tensor]] = {}

                    def frame(t: float, scale: float) -> np.ndarray:
                        with torch.inference_mode():
                            if scale not in sides:
                                sides.clear()  # their padding goes by the scale
                                padding = _padding(width, height, scale)
                                sides[scale] = [network.side(self._picture(f, padding)) for f in (first, second)]
                            return self._frame(network(*sides[scale], t, scale)[:, :, :height, :width])

                    for t in at:
                        yield planned(partial(frame, t))

                with _threads(cores // workers) if on_cpu else nullcontext():
                    yield make, workers
        except DoesNotFit as e:
            raise DoesNotFit(
                f"There is not enough memory for {self._spec.id} with frames of {width}x{height}.",
                "Choose flow, or smaller frames." if scale is None else "Set scale to auto, or choose flow.",
            ) from e

    def _picture(self, frame: np.ndarray, padding: Sequence[int]) -> torch.Tensor:
        """fp32 (1, 3, H, W) in 0..1 on the device."""
        pixels = torch.tensor(frame).to(self._components.device).permute(2, 0, 1)[None].float() / 255
        return F.pad(pixels, list(padding), mode="replicate")

    def _frame(self, pixels: torch.Tensor) -> np.ndarray:
        if not bool(torch.isfinite(pixels).all()):
            raise StudioError(f"{self._spec.id} gave numbers that are not finite.", "Set precision to fp32.")
        return (pixels[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()


def _again(one: Gap, others: Iterator[Gap]) -> Iterator[Gap]:
    yield one
    yield from others


class _Planned:
    """Makes frames at the scale that the plan has.

    The first goes through the run of the plan, which makes room on the device and says what there is; the others only
    where memory runs out. They may come from several threads.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._lock = Lock()
        self._scale: float | None = None

    def __call__(self, frame: Callable[[float], np.ndarray]) -> np.ndarray:
        """What `frame` gives for a scale; it is called again where memory runs out.

        Raises:
            DoesNotFit: it does so at every scale.
        """
        if self._scale is not None:
            try:
                return frame(self._scale)
            except (RuntimeError, MemoryError) as e:
                if not is_out_of_memory(e):
                    raise
        # Only here, where the error and with it the tensors in its trace are gone, is there anything to free.
        with self._lock:
            return self._run.phase("interpolate", partial(self._at, frame), whole=False)

    def _at(self, frame: Callable[[float], np.ndarray], way: Way) -> np.ndarray:
        made = frame(way.choice)
        self._scale = way.choice
        return made


def _padding(width: int, height: int, scale: float) -> list[int]:
    """Left, right, top and bottom, as the network takes frames at that scale."""
    multiple = round(MULTIPLE / scale)
    return [0, -width % multiple, 0, -height % multiple]


def _workers(wanted: int, working_bytes: int) -> int:
    """So many, or as many as the host has memory for."""
    return max(1, min(wanted, host_memory().available_bytes // 2 // working_bytes))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Threads that begin in the block compute with that many of torch's; results do not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
