"""`VariantStatus`: a variant as a listing shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.models.source import Installed, download_bytes
from studio.models.spec import VariantSpec


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


def status_of(
    spec: VariantSpec, installed: Installed | None, *, precision: str, resident: Mapping[str, int]
) -> VariantStatus:
    """The variant's line in a listing.

    Args:
        installed: its weights, None where there are none.
        precision: of the weights that would be fetched, "fp16" or "fp32".
        resident: its components on the device -> bytes.
    """
    if spec.bundled:
        return VariantStatus(spec, True, "embedded", 0)
    download = download_bytes(spec, precision)
    command = f"python -m studio models pull {spec.id}"
    if installed is None:
        gate = f" Accept its licence first: {spec.licence.url}" if spec.licence.gated else ""
        note = f"Not installed; {download / 1e9:.1f} GB to fetch.{gate}"
        return VariantStatus(spec, False, "", 0, note, command, download)
    where, size = str(installed.root), installed.total_bytes
    if installed.layout == "sgm":
        note = f"Found {installed.root.name}; single-file checkpoints can't be read yet, a diffusers folder can."
        return VariantStatus(spec, False, where, size, note, command, download)
    return VariantStatus(spec, True, where, size, "", "", download, resident)
