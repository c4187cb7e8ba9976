"""Counts what torch is asked to do: on the meta device a network of any size is counted in a second.

    with counting() as count:
        unet(...)
    count.launches, count.moved_bytes, count.flop, count.attention_calls, count.peak_bytes

Definitions, which give the figures of `facts/performance.md` section 2 for diffusers 0.42.1's own modules:

- A launch is one aten operation that is no view (`aten._unsafe_view` is one). Scaled dot-product attention is a single
  launch, as it is on a GPU, where the meta device would break it up.
- `moved_bytes`: all tensors that launches read and write, each time at its full size; broadcast ones at their own.
- `flop`: two for each multiply-add of matrix products, convolutions and attention (torch's own registry).
- `peak_bytes`: the most bytes that live in storages made inside the block. What a kernel takes for itself while it
  runs is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_NOT_LAUNCHED = (torch.ops.aten._unsafe_view.default,)


class Count:
    """What was asked of torch inside one `counting` block."""

    def __init__(self) -> None:
        self.launches = 0
        self.moved_bytes = 0
        self.flop = 0
        self.attention_calls = 0
        self.live_bytes = 0
        self.peak_bytes = 0
        self._living: set[int] = set()

    def launched(self, read: list[torch.Tensor], written: list[torch.Tensor]) -> None:
        """One kernel more, between these tensors."""
        self.launches += 1
        self.moved_bytes += sum(t.numel() * t.element_size() for t in [*read, *written])

    def made(self, tensors: list[torch.Tensor]) -> None:
        """Follows the storages of these tensors until they die."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._living:
                self._living.add(key)
                self.live_bytes += storage.nbytes()
                self.peak_bytes = max(self.peak_bytes, self.live_bytes)
                weakref.finalize(storage, self._died, key, storage.nbytes())

    def _died(self, key: int, size: int) -> None:
        self._living.discard(key)
        self.live_bytes -= size


@contextmanager
def counting() -> Iterator[Count]:
    """Counts everything that torch does inside the block, in this thread."""
    count = Count()
    with _Operations(count), _Attention(count):
        yield count


class _Operations(TorchDispatchMode):
    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = _tensors([args, {k: v for k, v in kwargs.items() if k != "out"}])
        written = _tensors(out)
        known = {t.untyped_storage()._cdata for t in _tensors([args, kwargs])}
        self._count.made([t for t in written if t.untyped_storage()._cdata not in known])
        if not func.is_view and func not in _NOT_LAUNCHED:
            self._count.launched(read, written)
        if func._overloadpacket in flop_registry:
            # torch 2.13 takes the dtype that a product may be given for the shape of its result.
            plain = [a for a in args if not isinstance(a, torch.dtype)]
            self._count.flop += flop_registry[func._overloadpacket](*plain, **kwargs, out_val=out)
        return out


class _Attention(TorchFunctionMode):
    """Keeps attention whole: on the meta device nothing is computed, elsewhere torch computes it uncounted."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args
        with torch.utils._python_dispatch._disable_current_modes():
            out = torch.empty_like(q) if q.is_meta else func(q, k, v, **(kwargs or {}))
        self._count.made([out])
        self._count.launched([q, k, v], [out])
        self._count.attention_calls += 1
        self._count.flop += 4 * q.numel() * k.shape[-2]
        return out


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
