"""`Components`: what a lease gives an engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.models.installed import Installed
from studio.models.run import Run, Told
from studio.models.spec import VariantSpec
from studio.models.tuned import Tuned

if TYPE_CHECKING:
    from studio.models.manager import ModelManager


class LoadReport(Protocol):
    """Hears how a load goes on; raises to stop it."""

    def __call__(self, component: str, done_bytes: int, total_bytes: int) -> None: ...


class Components:
    """A variant's components on the device, phase by phase, for the length of one lease."""

    def __init__(self, manager: ModelManager, spec: VariantSpec, installed: Installed, report: LoadReport) -> None:
        self._manager = manager
        self._spec = spec
        self._installed = installed
        self._report = report
        self._run: Run | None = None

    @property
    def device(self) -> str:
        """As torch names it."""
        return self._manager.device.name

    @property
    def dtype(self) -> str:
        """What to compute in there: ``fp16`` or ``fp32``."""
        return self._manager.device.dtype

    @property
    def exact_savings(self) -> bool:
        """Whether to compute what is constant once (`studio.engines.exact`)."""
        return self._manager.exact_savings

    @property
    def tuned(self) -> Tuned:
        """What is quickest on the device, as it was measured there."""
        return self._manager.tuned

    @property
    def compiling(self) -> str:
        """Whether to compile: ``auto``, ``on`` or ``off``."""
        return self._manager.compiling

    @property
    def compiled_dir(self) -> Path | None:
        """Where to keep what is compiled; None: wherever the compiler does."""
        return self._manager.compiled_dir

    def start(self, wish: Any, told: Told) -> Run:
        """The plan for this request, under way: its phases are run through it, and `use` follows it.

        Args:
            wish: has the fields of the request, with no None left in them.
            told: hears what the user should know.

        Raises:
            DoesNotFit: no plan fits; says what would.
        """
        self._run = Run(self._manager, self._spec, self._installed, wish, told)
        return self._run

    def recall(self, component: str, about: Hashable, make: Callable[[], Any]) -> Any:
        """What that component gave before for the same thing, or what `make` gives now.

        Args:
            about: says what it was given, by content.
            make: returns something on the host with `nbytes`, which nobody may change afterwards.
        """
        if not self._manager.exact_savings:
            return make()
        key = (self._manager.key(self._spec, self._installed, component, self._report), self.device, about)
        return self._manager.encodings.recall(key, make)

    @contextmanager
    def use(self, *names: str, phase: str) -> Iterator[tuple[Any, ...]]:
        """The named components, in that order, on the device and pinned until the block ends.

        Whole, or streamed where the plan of the request says so for that phase.

        Args:
            phase: what they are for (encode, sample, decode, ...).
        """
        with ExitStack() as pinned:
            things = []
            for name in names:
                resident_bytes = self._run.resident_bytes(phase, name) if self._run is not None else None
                holding = self._manager.pin(
                    self._spec, self._installed, name, self._report, resident_bytes=resident_bytes
                )
                pinned.callback(self._manager.unpin, holding)
                things.append(holding.thing)
            yield tuple(things)
