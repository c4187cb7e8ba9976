"""Finds out what is quickest on a device for clips of a size, and keeps it: ``python -m studio tune``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn

from studio.engines.attention import Attention, measure, question_of
from studio.engines.compiled import Compiling
from studio.engines.exact_blocks import Moment, Prepared, SavingResBlock, SavingTransformer, block_constants
from studio.engines.exact_blocks import res_block_share as share_of
from studio.engines.kernels import Kernels, Recorder
from studio.engines.stopwatch import quickest, seconds_of
from studio.engines.weights.layout import channels_last
from studio.models.out_of_memory import is_out_of_memory
from studio.models.tuned import (
    BLOCKS,
    CHANNELS_LAST,
    COMPILED,
    CONTIGUOUS,
    EAGER,
    LAUNCHED,
    RECORDED,
    SMALL_STEPS,
    Tuned,
    memory_format_of,
)

log = logging.getLogger(__name__)

_HEAD = 64
_LEVELS = ((1, 5), (2, 10), (4, 20), (8, 20))
"""(how often the picture is halved, heads) of SVD's UNet."""

_VAE_HEAD = 512
_CELL = 8
_CONTEXT = 1024


@dataclass(frozen=True)
class ClipShape:
    """Of the clips that are to be quick; width and height in pixels."""

    frames: int
    width: int
    height: int

    def cells(self, shrunk: int) -> tuple[int, int]:
        """Down and across, where the picture is so many times smaller than its latent."""
        return -(-self.height // (_CELL * shrunk)), -(-self.width // (_CELL * shrunk))


_SMALL = ClipShape(14, 256, 256)
"""Where launches take longer than work, if anywhere."""


class Finding(NamedTuple):
    """What a question's answer is, and the seconds of each candidate."""

    question: str
    choice: str
    seconds: dict[str, float]


def tune(
    tuned: Tuned,
    device: str,
    dtype: torch.dtype,
    clip: ClipShape,
    compiling: Compiling | None,
    recorder: Recorder | None,
) -> Iterator[Finding]:
    """One finding after another, each kept in `tuned` when it is told.

    Args:
        compiling: how to compile; None: that is not asked.
        recorder: how to record; None: that is not asked.

    Raises:
        torch.OutOfMemoryError: the device is too full for a trial.
    """
    for queries in _queries(clip, device, dtype):
        measure(queries, tuned, anew=True)
        yield _finding(tuned, question_of(queries))
    block = _Block(clip, device, dtype)
    ways: dict[str, Kernels] = {EAGER: Kernels(Attention(tuned, measures=False))}
    if compiling is not None:
        ways[COMPILED] = Kernels(Attention(tuned, measures=False), compiling)
    best: dict[str, float] = {}
    found: dict[str, dict[str, float]] = {}
    for memory_format in (CONTIGUOUS, CHANNELS_LAST):
        if memory_format == CHANNELS_LAST:
            block.put_channels_last()
        for how, kernels in ways.items():
            found.setdefault(how, {})[memory_format] = seconds_of(partial(block, kernels), device)
    for how, seconds in found.items():
        if how == COMPILED and not (compiling and compiling.works):
            continue  # it ran as it is
        choice = tuned.keep(memory_format_of(how), quickest(seconds, CONTIGUOUS), seconds, anew=True)
        best[how] = seconds[choice]
        yield _finding(tuned, memory_format_of(how))
    if COMPILED in best:
        tuned.keep(BLOCKS, quickest(best, EAGER), best, anew=True)
        yield _finding(tuned, BLOCKS)
    if recorder is not None:
        kernels = ways[tuned.choice(BLOCKS) or EAGER] if COMPILED in best else ways[EAGER]
        if _time_small_steps(tuned, _Block(_SMALL, device, dtype), kernels, recorder, device):
            yield _finding(tuned, SMALL_STEPS)


def _time_small_steps(tuned: Tuned, block: _Block, kernels: Kernels, recorder: Recorder, device: str) -> bool:
    """False where nothing can be recorded, or what is played back is something else."""
    seconds = {LAUNCHED: seconds_of(partial(block, kernels), device)}
    expected = block(kernels)
    try:
        play, out = recorder.record(partial(block, kernels))
        play()
        if not torch.equal(out, expected):
            log.warning("what was recorded gives something else; it is not used")
            return False
        seconds[RECORDED] = seconds_of(play, device)
    except RuntimeError as e:
        if is_out_of_memory(e):
            raise
        log.warning("nothing can be recorded: %s", e)
        return False
    tuned.keep(SMALL_STEPS, quickest(seconds, LAUNCHED), seconds, anew=True)
    return True


class _Block(nn.Module):
    """A res block and a transformer of the UNet's second level at full width, with random weights and inputs."""

    def __init__(self, clip: ClipShape, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        shrunk, heads = _LEVELS[1]
        channels, embedded = heads * _HEAD, 1280
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            self.residual = SpatioTemporalResBlock(channels, channels, embedded, merge_strategy="learned_with_images")
            self.transformer = TransformerSpatioTemporalModel(heads, _HEAD, channels, cross_attention_dim=_CONTEXT)
        self.residual.__class__, self.transformer.__class__ = SavingResBlock, SavingTransformer
        self.eval().requires_grad_(False).to(device, dtype)
        to = {"device": device, "dtype": dtype}
        self._x_NCHW = torch.randn(2 * clip.frames, channels, *clip.cells(shrunk), **to)
        self._embedding_RC = torch.randn(1, embedded, **to)
        self._constants = block_constants(self.transformer, torch.zeros(2, _CONTEXT, **to), clip.frames)
        self._share = share_of(self.residual)
        self._indicator_BT = torch.zeros(2, clip.frames, **to)

    def put_channels_last(self) -> None:
        """Weights and input have their channels last, as they come in the UNet then."""
        channels_last(self)
        self._x_NCHW = self._x_NCHW.contiguous(memory_format=torch.channels_last)

    def forward(self, kernels: Kernels) -> torch.Tensor:
        prepared = Prepared(
            branches=2,
            frames=self._indicator_BT.shape[1],
            added_RC=self._embedding_RC,
            blocks={self.transformer: self._constants},
            spatial_shares={self.residual: self._share},
            indicator_BT=self._indicator_BT,
            ff_rows=None,
            kernels=kernels,
        )
        with torch.no_grad():
            (out,) = self.transformer(self.residual(self._x_NCHW, Moment(prepared, self._embedding_RC)), prepared)
        return out


def _queries(clip: ClipShape, device: str, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Queries of each attention in SVD's UNet with both branches, and in its decoder: shapes, without memory."""
    one, told = torch.empty(1, dtype=dtype, device=device), set()
    shapes = []
    for shrunk, heads in _LEVELS:
        rows, columns = clip.cells(shrunk)
        shapes.append((2 * clip.frames, heads, rows * columns, _HEAD))
        shapes.append((2 * rows * columns, heads, clip.frames, _HEAD))
    rows, columns = clip.cells(1)
    shapes.append((clip.frames, 1, rows * columns, _VAE_HEAD))
    for shape in shapes:
        queries = one.expand(shape)
        if question_of(queries) not in told:
            told.add(question_of(queries))
            yield queries


def _finding(tuned: Tuned, question: str) -> Finding:
    return Finding(question, tuned.choice(question) or "", dict(tuned.seconds(question)))
