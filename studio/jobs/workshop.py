"""`Workshop`: what a process that runs jobs holds: settings, catalog, device and the model manager."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from studio.context import Context
from studio.engines import family_module
from studio.errors import BadInput, StudioError
from studio.jobs.forecast import limits_of
from studio.models.catalog import Catalog
from studio.models.installed import Installed, find
from studio.models.manager import ModelManager
from studio.models.memory import Device, choose_device
from studio.models.spec import VariantSpec
from studio.modes import all_modes
from studio.settings import Settings

log = logging.getLogger(__name__)


def open_catalog(settings: Settings) -> Catalog:
    """The shipped variants, and the user's own from `home/configs/models`."""
    return Catalog(settings.configs / "models", settings.home / "configs" / "models")


class Workshop:
    """Made once in a process; the device is looked for when weights are first wanted, not before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog = open_catalog(settings)
        self.manager = ModelManager(
            self.catalog,
            self._look_for_device,
            find=self.installed,
            family=family_module,
            limits=limits_of(settings),
            home=settings.home,
            exact_savings=settings.exact_savings,
            compiling=settings.compile,
        )

    def _look_for_device(self) -> Device:
        try:
            return choose_device(self.settings.device, self.settings.precision)
        except ValueError as e:
            raise BadInput(str(e), "Choose another with --device.") from e

    def installed(self, spec: VariantSpec) -> Installed | None:
        """Where the variant's weights are, those in the device's dtype first; None where they are not."""
        dtype = "fp32" if spec.bundled else self.manager.device.dtype
        return find(spec, models_dir=self.settings.models, comfyui_dir=self.settings.comfyui_dir, precision=dtype)

    def expect(self, upcoming: Sequence[Mapping[str, Any]]) -> None:
        """Tells the manager what comes after the running job, in order.

        Args:
            upcoming: of each waiting job its complete ``request``.
        """
        uses: list[tuple[str, Any]] = []
        for job in upcoming:
            try:
                mode = all_modes()[job["request"]["mode"]]
                request = mode.request.model_validate(job["request"])
                uses.extend((spec.id, wish) for spec, wish in mode.uses(request, self.catalog))
            except (KeyError, ValidationError, StudioError) as e:  # an older studio's, or its variant is gone
                log.info("a waiting job can't be foreseen: %s", e)
        self.manager.expect(uses)

    @contextmanager
    def hold_device(self, variants: Sequence[str], ctx: Context) -> Iterator[None]:
        """Two studios on one machine take turns on an accelerator; embedded engines need no turn."""
        if all(self.catalog.get(v).bundled for v in variants) or not self.manager.device.accelerator:
            yield
            return
        self.settings.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.settings.home / f"device-{self.manager.device.name.replace(':', '')}.lock")
        told = False
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.2)
            except Timeout:
                if not told:
                    ctx.notice(f"Waiting: another studio works on {self.manager.device.title}.")
                    told = True
                ctx.check()
        try:
            yield
        finally:
            lock.release()
