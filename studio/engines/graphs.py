"""Plays back a network's calls as they were recorded: at small sizes a device waits for launches, not for work.

A call is made twice before it is played: once as ever, by which all that is chosen and compiled on the way has been,
and once while it is recorded. What was recorded reads the same memory each time, so that inputs are copied to where
the recording's were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from studio.engines.exact_blocks import Prepared
from studio.engines.kernels import Recorder
from studio.engines.weights.streaming import is_streamed
from studio.models.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

MOST_CELLS = 1 << 17
"""Latent cells, counted over branches and frames, up to which launches may be what takes the time: a guided step of 25
frames of 512x320."""


class _Recording(NamedTuple):
    """One call, with the memory that it reads its inputs from."""

    x_BTCHW: torch.Tensor
    c_noise: torch.Tensor
    play: Callable[[], None]
    out: torch.Tensor


class Recorded:
    """A rewritten UNet that is played back wherever it is called with the same `Prepared` again.

    What is called with anything else, is too large or is streamed runs as ever.
    """

    def __init__(self, unet: nn.Module, recorder: Recorder) -> None:
        self._unet = unet
        self._recorder = recorder
        self._ready = not is_streamed(unet)
        self._met: dict[int, Prepared] = {}
        self._recordings: dict[int, _Recording] = {}

    def __call__(
        self, x_BTCHW: torch.Tensor, c_noise: torch.Tensor, *, encoder_hidden_states: Any, **told: Any
    ) -> tuple[torch.Tensor]:
        """(v,), a tensor of its own."""
        prepared, name = encoder_hidden_states, id(encoder_hidden_states)
        small = x_BTCHW.numel() // x_BTCHW.shape[2] <= MOST_CELLS
        if not (self._ready and small and isinstance(prepared, Prepared)):
            return self._unet(x_BTCHW, c_noise, encoder_hidden_states=prepared, **told)
        if name not in self._met:
            self._met[name] = prepared  # held on to: another one would get its name
            return self._unet(x_BTCHW, c_noise, encoder_hidden_states=prepared, **told)
        if name not in self._recordings:
            try:
                self._recordings[name] = self._record(x_BTCHW, c_noise, prepared, told)
            except RuntimeError as e:
                if is_out_of_memory(e):
                    raise
                log.warning("the network's calls can't be recorded: %s", e)
                self._ready = False
                return self._unet(x_BTCHW, c_noise, encoder_hidden_states=prepared, **told)
        known = self._recordings[name]
        known.x_BTCHW.copy_(x_BTCHW)
        known.c_noise.copy_(c_noise.reshape(1), non_blocking=True)
        known.play()
        return (known.out.clone(),)

    def _record(
        self, x_BTCHW: torch.Tensor, c_noise: torch.Tensor, prepared: Prepared, told: dict[str, Any]
    ) -> _Recording:
        x_BTCHW, c_noise = x_BTCHW.clone(), c_noise.reshape(1).to(x_BTCHW.device, copy=True)
        call = {"encoder_hidden_states": prepared, **told}
        play, out = self._recorder.record(lambda: self._unet(x_BTCHW, c_noise, **call)[0])
        return _Recording(x_BTCHW, c_noise, play, out)
