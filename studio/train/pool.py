"""`Pool`: what was rendered and encoded, kept on the device and drawn from many times, so that training never waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

Rows = dict[str, torch.Tensor]
"""Name -> tensor; all with as many rows, on one device."""


class Pool:
    """Rows that `make` gives, the oldest of them overwritten by new ones as training goes.

    Args:
        make: gives some more rows, always of the same names, shapes and dtypes.
        capacity: most rows that are held.
        share: of the time since `fill` that `make` may take.
    """

    def __init__(
        self,
        make: Callable[[], Rows],
        capacity: int,
        *,
        share: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._capacity, self._share, self._now = make, capacity, share, now
        self._rows: Rows = {}
        self._held = self._next = self.made = 0
        self._began_s, self._making_s = now(), 0.0

    def __len__(self) -> int:
        return self._held

    def fill(self, rows: int, *, most_s: float = 60.0) -> None:
        """At least so many rows are there, or as many as could be made in that time."""
        began_s = self._now()
        while self._held < min(rows, self._capacity) and (not self._held or self._now() - began_s < most_s):
            self._add()
        self._began_s, self._making_s = self._now(), 0.0

    def keep_fresh(self) -> None:
        """Some rows are new, where `make` has not had its share of the time yet; else nothing happens."""
        began_s = self._now()
        if self._making_s < self._share * (began_s - self._began_s):
            self._add()
            self._making_s += self._now() - began_s

    def draw(self, count: int, generator: torch.Generator) -> Rows:
        """That many rows, each any of those held, of a generator on the pool's device."""
        assert self._held, "fill it first"
        at = torch.randint(self._held, (count,), generator=generator, device=generator.device)
        return {name: tensor[at] for name, tensor in self._rows.items()}

    def _add(self) -> None:
        with _in_full_precision():
            made = self._make()
        count = len(next(iter(made.values())))
        assert count <= self._capacity, (count, self._capacity)
        if not self._rows:
            self._rows = {name: t.new_empty(self._capacity, *t.shape[1:]) for name, t in made.items()}
        (device,) = {t.device for t in made.values()}
        at = (torch.arange(count, device=device) + self._next) % self._capacity
        for name, tensor in made.items():
            self._rows[name][at] = tensor
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # or the time that it took would be another's
        self._next = (self._next + count) % self._capacity
        self._held = min(self._held + count, self._capacity)
        self.made += count


@contextmanager
def _in_full_precision() -> Iterator[None]:
    """No gradients, and no autocast of a training step around it: a renderer's rays would be cast to bf16."""
    with torch.no_grad(), ExitStack() as plain:
        for kind in ("cuda", "cpu"):
            if torch.is_autocast_enabled(kind):
                plain.enter_context(torch.autocast(kind, enabled=False))
        yield
