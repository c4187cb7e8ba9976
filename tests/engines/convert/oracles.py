"""The reference cases: those that ship with the tests, and all of them where ../shared/oracles is present."""

from __future__ import annotations

import gzip
import json
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from studio.engines.convert.load import load_component
from studio.engines.networks import set_trained_eps

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared" / "oracles"
KINDS = {"svd": "svd", "svd_image_decoder": "svd-image-decoder", "sv3d_u": "sv3d-u", "sv3d_p": "sv3d-p"}


class Case:
    """One mini checkpoint with its inputs and outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.kind = KINDS[folder.name]
        self.checkpoint = folder / "checkpoint.safetensors"

    @cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    @property
    def frames(self) -> int:
        return self.meta["num_frames"]

    @property
    def heads(self) -> dict[str, int]:
        return {"head_dim": self.meta["unet"]["num_head_channels"], "clip_head_dim": self.meta["clip"]["head_width"]}

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one file."""
        return load_file(self.folder / f"{name}.safetensors")

    @cached_property
    def _modules(self) -> dict[str, torch.nn.Module]:
        return {}

    def module(self, component: str) -> torch.nn.Module:
        """The component, fp32 on the CPU, loaded once."""
        if component not in self._modules:
            module = load_component(component, self.checkpoint, "cpu", "fp32", lambda done, total: None, **self.heads)
            if component == "unet":
                set_trained_eps(module)
            self._modules[component] = module
        return self._modules[component]


_SHIPPED = [Case(SHIPPED / "a" / name) for name in ("svd", "sv3d_p")]
_SHARED = [Case(SHARED / "a" / name) for name in KINDS]


def cases(file: str, only: str | None = None) -> list:
    """Parameters for a test: every case that has that file, by where it lies.

    Those in ../shared are skipped where that is not there.

    Args:
        only: the case of this name alone.
    """
    skip = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/oracles is not there")
    shipped = [(f"shipped-{c.name}", c, ()) for c in _SHIPPED if (c.folder / f"{file}.safetensors").is_file()]
    shared = [(f"shared-{c.name}", c, skip) for c in _SHARED]
    return [pytest.param(c, id=id, marks=marks) for id, c, marks in shipped + shared if only in (None, c.name)]


def full_size_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published file: name -> shape."""
    with gzip.open(SHIPPED / "keys" / f"{name}.json.gz") as file:
        return {key: tuple(shape) for key, shape in json.load(file).items()}
