"""Attention as it is quickest on a device: what can compute it there, measured once, and the choice kept.

All candidates compute the same but for rounding. Shapes: N batch, H heads, L tokens, D channels of a head.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from studio.engines.stopwatch import quickest, seconds_of
from studio.models.out_of_memory import is_out_of_memory
from studio.models.tuned import Tuned

log = logging.getLogger(__name__)

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(q, k, v), each (N, H, L, D) -> softmax(q k^T / sqrt(D)) v, of the same shape."""

TORCH = "torch"
"""Torch's own choice among its kernels: what runs where nothing was measured."""

_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

_WIDE = 128
"""Channels of a head above which most kernels are slow, or refuse, and plain matrix products are worth a try."""

_TRIAL_FLOP = {"cuda": 1e12, "cpu": 1e8}
_TRIAL_VALUES = {"cuda": 1 << 25, "cpu": 1 << 20}
"""Most work, and most values of q, in a trial: a few milliseconds."""

_TOLERATED = 2e-2
"""Most that a candidate may be off torch's result, relative to its norm; more is no rounding."""


def in_slices(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention as plain matrix products, some rows of queries at a time.

    For heads so wide that the kernels refuse them: the one of 512 channels in the VAE's middle block. The scores, in
    fp32 always, take no more memory than two of the inputs.
    """
    count, heads, tokens, channels = q.shape
    q_MLD, k_MLD, v_MLD = (t.reshape(-1, t.shape[2], channels) for t in (q, k, v))
    out_MLD = torch.empty_like(v_MLD, memory_format=torch.contiguous_format)
    rows = max(1, channels * q.element_size() // 4)
    for begin in range(0, tokens, rows):
        some = slice(begin, begin + rows)
        scores_MRL = _products(q_MLD[:, some], k_MLD.transpose(1, 2)).mul_(channels**-0.5)
        torch.bmm(scores_MRL.softmax(-1).to(v.dtype), v_MLD, out=out_MLD[:, some])
    return out_MLD.view(count, heads, tokens, channels)


def candidates(q: torch.Tensor) -> Mapping[str, Attend]:
    """Name -> what could compute attention for such queries on their device; whether it does, a trial shows."""
    found: dict[str, Attend] = {TORCH: functional.scaled_dot_product_attention}
    *_, tokens, channels = q.shape
    for name, kernel in _KERNELS.items():
        # What holds all scores at once is for few tokens; on the CPU torch has no other kernels than these two.
        if (name == "math" and tokens > channels) or (q.device.type == "cpu" and name in ("cudnn", "efficient")):
            continue
        found[name] = partial(_with, kernel)
    if channels > _WIDE and (q.dtype == torch.float32 or q.is_cuda):
        found["slices"] = in_slices
    if q.is_cuda:
        found.update((name, lay) for name, there in _INSTALLED.items() if (lay := there()) is not None)
    return found


class Attention:
    """An `Attend` that asks `tuned` which candidate it is for a shape.

    Args:
        measures: makes the trials itself where nobody has yet; else torch chooses.
    """

    def __init__(self, tuned: Tuned, *, measures: bool) -> None:
        self._tuned = tuned
        self._measures = measures
        self._ways: dict[str, Attend] = {}

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        question = question_of(q)
        way = self._ways.get(question)
        if way is None:
            way = self._ways[question] = self._choose(question, q)
        try:
            return way(q, k, v)
        except RuntimeError as e:
            if way is functional.scaled_dot_product_attention or is_out_of_memory(e):
                raise
            log.warning("%s: %s; torch's own choice is used from now on", question, e)
            self._ways[question] = functional.scaled_dot_product_attention
            self._tuned.keep(question, TORCH, {}, anew=True)
            return functional.scaled_dot_product_attention(q, k, v)

    def _choose(self, question: str, q: torch.Tensor) -> Attend:
        name = self._tuned.choice(question)
        if name is None and self._measures:
            name = measure(q, self._tuned)
        return candidates(q).get(name or TORCH, functional.scaled_dot_product_attention)


def measure(like: torch.Tensor, tuned: Tuned, *, anew: bool = False) -> str:
    """The candidate that was quickest for queries of that shape, now kept in `tuned`.

    Args:
        like: queries, or anything of their shape, dtype and device; a trial takes fewer of them where they are many.
    """
    _, heads, tokens, channels = like.shape
    kind = like.device.type
    flop, values = 4 * heads * tokens**2 * channels, heads * tokens * channels
    count = max(1, min(len(like), int(_TRIAL_FLOP[kind] / flop), _TRIAL_VALUES[kind] // values))
    generator = torch.Generator(like.device).manual_seed(0)
    shape, to = (3, count, heads, tokens, channels), {"dtype": like.dtype, "device": like.device}
    q, k, v = torch.randn(shape, generator=generator, **to)
    expected = functional.scaled_dot_product_attention(q, k, v)
    found: dict[str, float] = {}
    for name, attend in candidates(q).items():
        try:
            off = float((attend(q, k, v) - expected).float().norm() / expected.float().norm())
            if off <= _TOLERATED:
                found[name] = seconds_of(partial(attend, q, k, v), like.device)
            else:
                log.info("%s is off by %.1e for %s", name, off, question_of(like))
        except (RuntimeError, TypeError, ValueError) as e:
            log.info("%s does not run for %s: %s", name, question_of(like), e)
    return tuned.keep(question_of(like), quickest(found, TORCH), found, anew=anew)


def question_of(q: torch.Tensor) -> str:
    """What `Tuned` calls the choice for such queries; tokens to the next power of two, the batch doesn't matter."""
    _, heads, tokens, channels = q.shape
    return f"attention, {heads} x {channels}, {1 << (tokens - 1).bit_length()} tokens"


def _products(q_MLD: torch.Tensor, k_MDL: torch.Tensor) -> torch.Tensor:
    """q k^T in fp32, a tensor of its own."""
    if q_MLD.dtype == torch.float32:
        return torch.bmm(q_MLD, k_MDL)
    return torch.bmm(q_MLD, k_MDL, out_dtype=torch.float32)


def _with(kernel: SDPBackend, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    with sdpa_kernel(kernel):
        return functional.scaled_dot_product_attention(q, k, v)


def _tokens_first(attend: Attend, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Through a function that takes (N, L, H, D), and may give something beside the result."""
    out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)


@lru_cache(maxsize=8)
def _function(module: str, name: str) -> Attend | None:
    """That function of an optional library; None where it is not installed, or fails to load."""
    try:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            return None
        return partial(_tokens_first, getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, OSError) as e:
        log.info("%s can't be used: %s", module, e)
        return None


_INSTALLED: Mapping[str, Callable[[], Attend | None]] = {
    "flash-attn-2": partial(_function, "flash_attn", "flash_attn_func"),
    "flash-attn-3": partial(_function, "flash_attn_interface", "flash_attn_func"),
    "xformers": partial(_function, "xformers.ops", "memory_efficient_attention"),
}
"""Optional libraries, used where they are installed."""
