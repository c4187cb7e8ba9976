"""Where a variant's weights are: the models folder, the hub's cache, ComfyUI's folder; and how they get there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Installed:
    """Weights found on this machine.

    Args:
        root: the folder (diffusers layout) or the file (sgm layout) they are in.
        weights: component -> `.safetensors` file; the component's ``config.json`` lies beside it.
        dtype: of the tensors in the files.
    """

    variant: str
    layout: Literal["diffusers", "sgm", "bundled"]
    root: Path
    weights: dict[str, Path]
    dtype: Literal["fp16", "fp32"]

    @property
    def total_bytes(self) -> int:
        """Bytes of the weights on disk."""
        return sum(p.stat().st_size for p in self.weights.values())
