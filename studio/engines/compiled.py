"""Compiles functions of tensors, one piece a shape, and keeps what was compiled for as long as the process lives.

A piece knows its weights as arguments: what is evicted and placed again, or streamed, is compiled once. On disk
inductor keeps what it generated, so that the next process has it in a tenth of the time.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

import torch

from studio.errors import StudioError
from studio.models.out_of_memory import is_out_of_memory
from studio.models.tuned import Tuned

log = logging.getLogger(__name__)

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The variable of the environment by which inductor is told where to keep things."""


class Told(Protocol):
    """Hears what the user should know although the job goes on; `check` raises once it should not."""

    def notice(self, sentence: str) -> None: ...
    def check(self) -> None: ...


class Compiler:
    """What was compiled in this process for one device.

    Args:
        folder: where inductor keeps what it generates, unless the user has named another place; its own by default.
        backend: of `torch.compile`.
    """

    def __init__(self, folder: Path | None = None, *, backend: str = "inductor") -> None:
        self.seconds = 0.0
        self.failed = ""
        self._folder = folder
        self._backend = backend
        self._pieces: dict[Hashable, Callable[..., Any]] = {}
        self._numbers: dict[tuple[float, torch.device], torch.Tensor] = {}

    @property
    def count(self) -> int:
        """Pieces that were compiled."""
        return len(self._pieces)

    def piece(self, key: Hashable) -> Callable[..., Any] | None:
        """That piece where it was compiled before."""
        return self._pieces.get(key)

    def compile(
        self, key: Hashable, function: Callable[..., Any], given: tuple[Any, ...], fixed: dict[str, Any]
    ) -> Any:
        """What `function` gives; from now on there is a piece for it.

        What can't be compiled is a reason never to try again: `failed` says it, and the function runs as it is.

        Raises:
            torch.OutOfMemoryError: as the function itself might.
        """
        if self._folder is not None:
            _keep_in(self._folder)
        began = time.perf_counter()
        call = _of_its_own(function, fixed, len(self._pieces))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch about torch
                piece = torch.compile(call, fullgraph=True, dynamic=False, backend=self._backend)
                result = piece(*given)
        except StudioError:
            raise
        except Exception as e:  # whatever a compiler, or the compiler's compiler, may say
            if is_out_of_memory(e):
                raise
            log.warning("%s was not compiled: %s", function.__name__, e)
            self.failed = str(e).strip().splitlines()[0][:200] if str(e).strip() else type(e).__name__
            return function(*given, **fixed)
        self._pieces[key] = piece
        self.seconds += time.perf_counter() - began
        return result

    def number(self, value: float, device: torch.device) -> torch.Tensor:
        """The number as a scalar tensor there, fp32: as an argument it would be compiled in, a piece for each."""
        key = (value, device)
        if key not in self._numbers:
            self._numbers[key] = torch.full((), value, device=device)
        return self._numbers[key]


class Compiling:
    """A compiler at work for one job, which is told of it.

    Args:
        tuned: knows how long it took last time.
        what: is compiled: "the decoder".
    """

    def __init__(self, compiler: Compiler, told: Told, tuned: Tuned, what: str = "the network") -> None:
        self._compiler = compiler
        self._told = told
        self._tuned = tuned
        self._what = what
        self._before_s = compiler.seconds

    @property
    def works(self) -> bool:
        """False once something could not be compiled."""
        return not self._compiler.failed

    def __call__(self, function: Callable[..., Any], given: tuple[Any, ...], fixed: dict[str, Any]) -> Any:
        """What the function gives, by its piece."""
        device = given[0].device
        given = tuple(self._compiler.number(g, device) if isinstance(g, float) else g for g in given)
        key = (function, tuple(fixed.items()), tuple(_signature(g) for g in given))
        piece = self._compiler.piece(key)
        if piece is not None:
            return piece(*given)
        self._told.check()
        self._announce()
        result = self._compiler.compile(key, function, given, fixed)
        if not self.works:
            self._told.notice(f"Compiling failed ({self._compiler.failed}); it goes on without, somewhat slower.")
        return result

    def over(self) -> None:
        """All that this job needs has been compiled: says how long it took, if it did."""
        took_s = self._compiler.seconds - self._before_s
        if took_s and self.works:
            self._before_s = self._compiler.seconds
            self._tuned.keep(self._question, "compiled", {"last": took_s}, anew=True)
            self._told.notice(f"Compiled {self._what} in {took_s:.0f} s; the next clip of this size begins at once.")

    def _announce(self) -> None:
        if self._compiler.seconds == self._before_s:
            last_s = self._tuned.seconds(self._question).get("last")
            how_long = "a minute or two" if last_s is None else f"about {last_s:.0f} s, as last time, or less"
            self._told.notice(
                f"Now {self._what} is compiled for this size, once: that takes {how_long}. --compile off leaves it out."
            )

    @property
    def _question(self) -> str:
        """What `Tuned` calls how long it took: from nothing, or from what inductor had kept."""
        return f"compiling {self._what}"


@lru_cache(maxsize=4)
def compiler_for(device: str, folder: Path | None) -> Compiler:
    """The one compiler of this process for that device: what it compiled serves every job."""
    return Compiler(folder)


def _keep_in(folder: Path) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # loads in the second that compiling takes

    # Importing torch's compiler, as diffusers does, sets the variable to the default.
    if os.environ.get(_FOLDER) in (None, os.path.abspath(default_cache_dir())):
        os.environ[_FOLDER] = str(folder)


def _of_its_own(function: Callable[..., Any], fixed: dict[str, Any], number: int) -> FunctionType:
    """The function with these arguments given, as code that nothing else shares.

    torch keeps what it compiled with the code, at most eight pieces of it, and looks through them at each call.
    """

    def call(*given: Any) -> Any:
        return function(*given, **fixed)

    code = call.__code__.replace(co_name=f"{function.__name__}_{number}")
    return FunctionType(code, call.__globals__, code.co_name, None, call.__closure__)


def _signature(given: Any) -> Hashable:
    """What a piece depends on: memory formats too, and whether a weight is quantised, which its class says."""
    if given is None:
        return None
    return type(given), given.shape, given.dtype, given.stride()
