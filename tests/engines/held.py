"""What an engine is leased, with everything on the device already and the quickest way for every phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.models.costs import Way, phases_of
from studio.models.spec import VariantSpec
from studio.models.tuned import Tuned


class Held:
    """Stands where the model manager's `Components` do, and is the run of its own plan.

    Args:
        device, dtype: where the modules are, and "fp16" or "fp32".
        compiling: "on" or "off"; `compiled_dir` is where what is compiled is kept.
        tuned: what was measured on the device.
    """

    def __init__(
        self,
        spec: VariantSpec,
        modules: dict[str, Any],
        *,
        device: str = "cpu",
        dtype: str = "fp32",
        exact_savings: bool = True,
        compiling: str = "off",
        compiled_dir: Path | None = None,
        tuned: Tuned | None = None,
    ) -> None:
        self.modules, self.device, self.dtype, self.exact_savings = modules, device, dtype, exact_savings
        self.compiling, self.compiled_dir, self.tuned = compiling, compiled_dir, tuned or Tuned(None)
        self._spec = spec
        self._ways: dict[str, Way] = {}
        self._chosen: dict[str, Any] = {}

    def choose(self, phase: str, choice: Any) -> None:
        """The phase is done in this way from now on."""
        self._chosen[phase] = choice

    def start(self, wish: Any, told: Any) -> Held:
        """Every phase will be done in its first way."""
        value_bytes = 2 if self.dtype == "fp16" else 4
        phases = phases_of(self._spec, wish, value_bytes=value_bytes, exact_savings=self.exact_savings)
        self._ways = {phase.phase: phase.ways[0] for phase in phases}
        return self

    def phase(self, name: str, work: Callable[[Way], Any], *, whole: bool = True) -> Any:
        """What the work gives; errors go through."""
        way = self._ways[name]
        return work(replace(way, choice=self._chosen.get(name, way.choice)))

    def recall(self, component: str, about: Any, make: Callable[[], Any]) -> Any:
        """Always made anew."""
        return make()

    @contextmanager
    def use(self, *names: str, phase: str) -> Iterator[tuple[Any, ...]]:
        """The modules of these names."""
        yield tuple(self.modules[name] for name in names)
