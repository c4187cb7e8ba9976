"""Variants of random weights on disk, and a manager of them on this machine's device.

Without a CUDA device, or where it is asked for, half of the host's memory stands for the device's: the copies are real,
the bus is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from studio.engines import family_module
from studio.engines.weights.carrier import Carrier
from studio.models.memory import Device

_SMALL = {"block_out_channels": [192, 384], "num_attention_heads": [3, 6]}
"""Some 100 MB of UNet, so that copying it takes longer than deciding to."""


class WrittenVariants:
    """Diffusers folders under ``models``, whose UNets differ and whose other networks are equal, a yaml for each.

    Args:
        folder: to write to, 4.5 GB for the first and 3 GB more for each further one at full size.
        names: one a variant.
        cuda: full size in fp16 on the CUDA device; else small, in fp32, on the CPU.
        tiny: as small as in the tests.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, cuda: bool, tiny: bool = False) -> None:
        from benchmarks import svd_models as models

        self.folder, self.cuda = folder, cuda
        self.dtype = "fp16" if cuda else "fp32"
        small = models.TINY if tiny else {**models.TINY, "unet": {**models.TINY["unet"], **_SMALL}}
        self.configs = models.FULL if cuda else small
        self._write(names)

    def _write(self, names: Sequence[str]) -> None:
        from benchmarks import svd_models as models
        from tests import tiny

        device = "cuda:0" if self.cuda else "cpu"
        modules = models.build(self.configs, device, self.dtype)
        for number, variant in enumerate(names):
            if number:
                modules |= models.build(self.configs, device, self.dtype, seed=98 + number, names=("unet",))
            models.write_folder(modules, self.configs, self.folder / "models" / variant, self.dtype)
            tiny.tiny_spec_yaml(variant, self.folder / "configs", frames=25 if self.cuda else 4, dtype=self.dtype)

    def manager(self, home: str = "home", **limits: Any) -> Any:
        """A model manager with these limits, which learns in a folder of its own."""
        from studio.models.catalog import Catalog
        from studio.models.installed import find
        from studio.models.limits import Limits
        from studio.models.manager import ModelManager

        return ModelManager(
            Catalog(self.folder / "configs"),
            self.device,
            find=lambda spec: find(spec, models_dir=self.folder / "models", precision=self.dtype),
            family=family_module if self.cuda else _apart,
            limits=Limits(**limits),
            home=self.folder / home,
        )

    def device(self) -> Watched:
        """Where weights are brought to."""
        import torch

        if self.cuda:
            return Watched("cuda:0", torch.cuda.get_device_name(0), "fp16")
        return _Apart("cpu", "CPU, with memory of its own", "fp32")


@dataclass(frozen=True)
class Watched(Device):
    """A device that remembers the most that was taken although each phase of a clip counts anew.

    Args:
        peaks: of what was forgotten.
    """

    peaks: list[int] = field(default_factory=list, compare=False)

    def forget_peak(self) -> None:
        """`peak_bytes` counts from here; `most_bytes` goes on."""
        self.peaks.append(self.peak_bytes() or 0)
        super().forget_peak()

    def most_bytes(self) -> int:
        """The most that was taken at once, ever."""
        return max(self.peak_bytes() or 0, *self.peaks, 0)


class _Apart(Watched):
    """The CPU, with memory of its own."""

    @property
    def accelerator(self) -> bool:
        """Weights wait on the host and are copied to the device."""
        return True


def _apart(family: str) -> Any:
    """The family, its weights copied to memory of their own."""
    module = family_module(family)
    carrier = Carrier("cpu", separate=True)
    return SimpleNamespace(Engine=module.Engine, open_weights=partial(module.open_weights, carrier=carrier))
