"""Swaps one variant's UNet for another's: the manager beside plain `.to()`, diffusers' offloading and a raw copy.

Writes two variants of random weights that share their image encoder and VAE, and lets the manager hold one UNet at a
time. Each way of swapping is timed in turns with the baseline and an identity control, and its bytes are counted.

On any machine: a swap by the manager against copying each tensor out and in, as `.to()` does, and against reading the
variant anew (`from_pretrained` and letting go), which is what happens where nothing manages. Without a CUDA device half
of the host's memory stands for the device's: the copies are real, the bus is not, and diffusers' own ways of offloading
can't be run, since they ask for an accelerator.

On a CUDA device besides: against a raw copy of the same bytes from pinned memory, against the hooks of
`enable_model_cpu_offload` and against diffusers' ComponentsManager; and a cold load against a plain read of the same
file.

Full size needs 8 GB of disk and a CUDA device; without one, or with --small, the same code runs at a small size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import compare
from benchmarks.load import drop_cache, read_through
from benchmarks.parts import Parts
from benchmarks.written_variants import WrittenVariants

Work = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--budget-s", type=float, default=420, help="seconds for all of it, building included (420)")
    parser.add_argument("--rounds", type=int, default=7, help="most rounds of each comparison (7)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the weights are made")
    parser.add_argument("--small", action="store_true", help="small weights on the CPU, whatever the machine has")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds, bytes and ratios of each way."""
    import torch

    with tempfile.TemporaryDirectory(dir=args.folder, prefix="svd-studio-swap-") as folder:
        return _Bench(args, Path(folder), cuda=torch.cuda.is_available() and not args.small).figures()


class _Bench:
    """Two variants on disk and a manager on this machine's device."""

    def __init__(self, args: argparse.Namespace, folder: Path, *, cuda: bool) -> None:
        import torch

        from benchmarks import svd_models as models

        self._torch, self._models, self._args, self._folder, self.cuda = torch, models, args, folder, cuda
        if not cuda:
            torch.set_num_threads(1)  # two threads that wait for a shared core take many times as long as one
        self._parts = Parts(args.keep, args.budget_s, tidy=self._empty)
        self._variants = WrittenVariants(folder, ("first", "second"), cuda=cuda)
        self.dtype, self._configs, self._manager = self._variants.dtype, self._variants.configs, self._variants.manager
        self._empty()

    def _empty(self) -> None:
        import gc

        gc.collect()
        if self.cuda:
            self._torch.cuda.empty_cache()

    def _clock(self) -> float:
        if self.cuda:
            self._torch.cuda.synchronize()
        return time.perf_counter()

    def _beside(self, baseline: Work, candidate: Work, budget_s: float, names: tuple[str, str]) -> dict[str, Any]:
        with self._torch.no_grad():
            found = compare(baseline, candidate, rounds=self._args.rounds, budget_s=budget_s, clock=self._clock)
        return {f"{names[0]}_s": found.pop("baseline_s"), f"{names[1]}_s": found.pop("candidate_s"), **found}

    def figures(self) -> dict[str, Any]:
        """Everything that is measured, the cheap before the dear."""
        parts = self._parts
        manager = self._manager(device_bytes=self._one_unet_bytes())
        swap = _Swaps(manager)
        swap(), swap()
        before = manager.ledger()["moved"]
        swap()
        after = manager.ledger()["moved"]
        parts.fact(
            device=self._torch.cuda.get_device_name(0) if self.cuda else None,
            unet_bytes=swap.unet_bytes,
            moved_bytes_a_swap={name: after[name] - before[name] for name in after},
            rounds_asked=self._args.rounds,
        )

        def beside(name: str, baseline: Callable[[], Work], baseline_name: str, share: float) -> None:
            names = (baseline_name, "manager")
            parts.part(name, lambda budget_s: self._beside(baseline(), swap, budget_s, names), share=share)

        beside("raw_copy", lambda: self._raw_copy(swap.unet_bytes), "raw", 0.2)
        beside("reload", self._reload, "reload", 0.2)
        unets = [self._unet_on_host(seed) for seed in (0, 99)]
        beside("to_and_back", lambda: _To(*unets) if self.cuda else _CopyOutAndIn(*unets), "to", 0.3)
        if self.cuda:
            beside("model_offload", lambda: _Offload(*unets), "offload", 0.4)
            parts.part("components_manager", lambda budget_s: self._components_manager(swap, unets, budget_s))
        unets.clear()
        manager.unload()
        self._empty()
        parts.part("cold_load", lambda budget_s: self._cold_load())
        return parts.figures

    def _unet_on_host(self, seed: int) -> Any:
        """Made on the device, which draws so many numbers in no time."""
        device = "cuda:0" if self.cuda else "cpu"
        modules = self._models.build(self._configs, device, self.dtype, seed=seed, names=("unet",))
        return modules["unet"].to("cpu")

    def _one_unet_bytes(self) -> int:
        """A budget in which one UNet fits and two don't."""
        file = self._folder / "models" / "first" / "unet"
        return int(sum(p.stat().st_size for p in file.glob("*.safetensors")) * 1.5)

    def _reload(self) -> Work:
        """Reads one UNet, then the other, with diffusers' own loader, and lets go of the one before."""
        from diffusers import UNetSpatioTemporalConditionModel

        turns = {"now": 0, "module": None}

        def reload() -> None:
            turns["now"] = 1 - turns["now"]
            turns["module"] = None
            root = self._folder / "models" / ("first", "second")[turns["now"]] / "unet"
            module = UNetSpatioTemporalConditionModel.from_pretrained(
                root, variant="fp16" if self.cuda else None, torch_dtype=self._torch.float16 if self.cuda else None
            )
            turns["module"] = module.to("cuda:0") if self.cuda else module

        return reload

    def _components_manager(self, swap: _Swaps, unets: Sequence[Any], budget_s: float) -> dict[str, Any]:
        """A swap beside diffusers' own manager."""
        free = self._torch.cuda.mem_get_info()[0]
        components = _ComponentsManager(*unets, free - int(swap.unet_bytes * 1.2))
        try:
            return self._beside(components, swap, budget_s, ("components", "manager"))
        finally:
            components.close()

    def _raw_copy(self, nbytes: int) -> Work:
        """One copy of so many bytes from pinned memory to the device."""
        pinned = self._torch.zeros(nbytes, dtype=self._torch.uint8, pin_memory=self.cuda)
        target = self._torch.zeros(nbytes, dtype=self._torch.uint8, device="cuda:0" if self.cuda else "cpu")
        return lambda: target.copy_(pinned, non_blocking=True)

    def _cold_load(self) -> dict[str, Any]:
        """Bytes a second from a file that is not in the page cache, beside a plain read of it."""
        manager = self._manager()
        spec = manager.catalog.get("first")
        installed = manager._find(spec)
        [path] = installed.files("unet")
        read_s = read_through(path, cold=True)
        drop_cache(path)
        begun = self._clock()
        holding = manager.pin(spec, installed, "unet", lambda *_: None)
        load_s = self._clock() - begun
        manager.unpin(holding)
        manager.unload()
        return {"read_s": read_s, "load_s": load_s, "share_of_read_rate": read_s / load_s}


class _Swaps:
    """The manager brings the UNet of the variant that is not there; the other one has to go."""

    def __init__(self, manager: Any) -> None:
        self._manager, self._turn = manager, 0
        self.unet_bytes = 0

    def __call__(self) -> None:
        self._turn = 1 - self._turn
        spec = self._manager.catalog.get(("first", "second")[self._turn])
        holding = self._manager.pin(spec, self._manager._find(spec), "unet", lambda *_: None)
        self.unet_bytes = holding.weights.device_bytes
        self._manager.unpin(holding)


class _To:
    """`.to("cpu")` and `.to("cuda")`, as most code does it."""

    def __init__(self, *unets: Any) -> None:
        self._unets, self._turn = unets, 0

    def __call__(self) -> None:
        self._unets[self._turn].to("cpu")
        self._turn = 1 - self._turn
        self._unets[self._turn].to("cuda:0")


class _CopyOutAndIn:
    """What `.to()` does between two memories: every tensor of one is copied out, every tensor of the other in."""

    def __init__(self, *unets: Any) -> None:
        self._unets = unets

    def __call__(self) -> None:
        for unet in self._unets:
            for parameter in unet.parameters():
                parameter.data = parameter.data.clone()


class _Offload:
    """accelerate's hooks, which `enable_model_cpu_offload` puts on each component."""

    def __init__(self, *unets: Any) -> None:
        from accelerate import cpu_offload_with_hook

        self._pairs = [cpu_offload_with_hook(unet, "cuda:0") for unet in unets]
        self._turn = 0

    def __call__(self) -> None:
        self._pairs[self._turn][1].offload()
        self._turn = 1 - self._turn
        unet, hook = self._pairs[self._turn]
        hook.hook.pre_forward(unet)


class _ComponentsManager:
    """diffusers' own manager with automatic offloading, in room for one UNet."""

    def __init__(self, first: Any, second: Any, reserve_bytes: int) -> None:
        from accelerate.hooks import remove_hook_from_module
        from diffusers import ComponentsManager

        for unet in (first, second):
            remove_hook_from_module(unet)
        self._manager = ComponentsManager()
        self._unets = (first, second)
        self._manager.add("first", first)
        self._manager.add("second", second)
        self._manager.enable_auto_cpu_offload(device="cuda:0", memory_reserve_margin=f"{reserve_bytes // 2**20}MB")
        self._turn = 0

    def __call__(self) -> None:
        self._turn = 1 - self._turn
        unet = self._unets[self._turn]
        unet._hf_hook.pre_forward(unet)

    def close(self) -> None:
        """The hooks are gone and everything is on the host again."""
        self._manager.disable_auto_cpu_offload()
        for unet in self._unets:
            unet.to("cpu")
