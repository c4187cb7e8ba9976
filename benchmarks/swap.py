"""Swaps one variant's UNet for another's: the manager beside plain `.to()`, diffusers' offloading and a raw copy.

Writes two variants of random weights that share their image encoder and VAE, and lets the manager hold one UNet at a
time. Each way of swapping is timed in turns with the baseline and an identity control, and its bytes are counted.

On any machine: a swap by the manager against copying each tensor out and in, as `.to()` does, and against reading the
variant anew (`from_pretrained` and letting go), which is what happens where nothing manages. Without a CUDA device half
of the host's memory stands for the device's: the copies are real, the bus is not, and diffusers' own ways of offloading
can't be run, since they ask for an accelerator.

On a CUDA device besides: against a raw copy of the same bytes from pinned memory, against the hooks of
`enable_model_cpu_offload` and against diffusers' ComponentsManager; a cold load against a plain read of the same file;
and the peak device memory of a clip under each VRAM policy.

Full size needs 8 GB of disk and a CUDA device; without one, or with --small, the same code runs at a small size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.compare import compare
from benchmarks.load import drop_cache, read_through
from studio.engines import family_module
from studio.engines.weights.carrier import Carrier
from studio.models.memory import Device

_SMALL = {"block_out_channels": [192, 384], "num_attention_heads": [3, 6]}
"""Some 100 MB of UNet, so that copying it takes longer than deciding to."""

POLICIES = ("auto", "high", "normal", "low", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--budget-s", type=float, default=420, help="seconds for all of it, building included (420)")
    parser.add_argument("--rounds", type=int, default=7, help="most rounds of each comparison (7)")
    parser.add_argument("--steps", type=int, default=2, help="sampling steps of the clip whose peak is taken (2)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the weights are made")
    parser.add_argument("--small", action="store_true", help="small weights on the CPU, whatever the machine has")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds, bytes and ratios of each way, and the peaks."""
    import torch

    with tempfile.TemporaryDirectory(dir=args.folder, prefix="svd-studio-swap-") as folder:
        return _Bench(args, Path(folder), cuda=torch.cuda.is_available() and not args.small).figures()


class _Bench:
    """Two variants on disk and a manager on this machine's device."""

    def __init__(self, args: argparse.Namespace, folder: Path, *, cuda: bool) -> None:
        import torch

        from benchmarks import svd_models as models

        self._torch, self._models, self._args, self._folder, self.cuda = torch, models, args, folder, cuda
        self._begun = time.monotonic()
        self.dtype = "fp16" if cuda else "fp32"
        self._configs = models.FULL if cuda else {**models.TINY, "unet": {**models.TINY["unet"], **_SMALL}}
        self._write()

    def _write(self) -> None:
        """`first` and `second`: whole diffusers folders whose UNets differ, and a yaml for each."""
        from tests import tiny

        configs = self._configs
        device = "cuda:0" if self.cuda else "cpu"
        modules = self._models.build(configs, device, self.dtype)
        for number, variant in enumerate(("first", "second")):
            root = self._folder / "models" / variant
            if number:
                modules["unet"] = self._models.build(configs, device, self.dtype, seed=99)["unet"]
            self._models.write_folder(modules, configs, root, self.dtype)
            tiny.tiny_spec_yaml(variant, self._folder / "configs", frames=25 if self.cuda else 4, dtype=self.dtype)
        del modules
        self._empty()

    def _manager(self, home: str = "home", **limits: Any) -> Any:
        from studio.models.catalog import Catalog
        from studio.models.installed import find
        from studio.models.limits import Limits
        from studio.models.manager import ModelManager

        device = Device("cuda:0", self._torch.cuda.get_device_name(0), "fp16") if self.cuda else _Apart()
        return ModelManager(
            Catalog(self._folder / "configs"),
            lambda: device,
            find=lambda spec: find(spec, models_dir=self._folder / "models", precision=self.dtype),
            family=family_module if self.cuda else _apart,
            limits=Limits(**limits),
            home=self._folder / home,
        )

    def _empty(self) -> None:
        import gc

        gc.collect()
        if self.cuda:
            self._torch.cuda.empty_cache()

    def _clock(self) -> float:
        if self.cuda:
            self._torch.cuda.synchronize()
        return time.perf_counter()

    def _compare(self, baseline: Callable[[], object], candidate: Callable[[], object], share: float) -> dict[str, Any]:
        left_s = self._args.budget_s - (time.monotonic() - self._begun)
        return compare(baseline, candidate, rounds=self._args.rounds, budget_s=left_s * share, clock=self._clock)

    def figures(self) -> dict[str, Any]:
        """Everything that is measured, the cheap before the dear."""
        manager = self._manager(device_bytes=self._one_unet_bytes())
        swap = _Swaps(manager)
        swap(), swap()
        before = manager.ledger()["moved"]
        swap()
        after = manager.ledger()["moved"]
        figures: dict[str, Any] = {
            "device": self._torch.cuda.get_device_name(0) if self.cuda else None,
            "unet_bytes": swap.unet_bytes,
            "moved_bytes_a_swap": {name: after[name] - before[name] for name in after},
        }
        with self._torch.no_grad():
            figures["reload"] = _named(self._compare(self._reload(), swap, 0.2), "reload_s", "manager_s")
            figures["raw_copy"] = _named(
                self._compare(self._raw_copy(swap.unet_bytes), swap, 0.2), "raw_s", "manager_s"
            )
            unets = [self._models.build(self._configs, "cpu", self.dtype, seed=s)["unet"] for s in (0, 99)]
            to = _To(*unets) if self.cuda else _CopyOutAndIn(*unets)
            figures["to_and_back"] = _named(self._compare(to, swap, 0.3), "to_s", "manager_s")
            if self.cuda:
                figures |= self._offloading(swap, *unets)
            del unets
            manager.unload()
            self._empty()
            figures["cold_load"] = self._cold_load()
            figures["policies"] = {policy: self._peak(policy) for policy in POLICIES}
        return {**figures, "rounds_asked": self._args.rounds, "elapsed_s": time.monotonic() - self._begun}

    def _one_unet_bytes(self) -> int:
        """A budget in which one UNet fits and two don't."""
        file = self._folder / "models" / "first" / "unet"
        return int(sum(p.stat().st_size for p in file.glob("*.safetensors")) * 1.5)

    def _reload(self) -> Callable[[], object]:
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

    def _offloading(self, swap: _Swaps, *unets: Any) -> dict[str, Any]:
        """A swap beside diffusers' two ways of offloading."""
        found = {
            "model_offload": _named(self._compare(_Offload(*unets), swap, 0.4), "offload_s", "manager_s"),
        }
        free = self._torch.cuda.mem_get_info()[0]
        components = _ComponentsManager(*unets, free - int(swap.unet_bytes * 1.2))
        found["components_manager"] = _named(self._compare(components, swap, 0.5), "components_s", "manager_s")
        components.close()
        self._empty()
        return found

    def _raw_copy(self, nbytes: int) -> Callable[[], object]:
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

    def _peak(self, policy: str) -> dict[str, Any]:
        """The most that torch had allocated on the device during one clip, and what the plan had said."""
        from studio.errors import DoesNotFit

        manager = self._manager(home=policy, policy=policy)
        size = {} if self.cuda else {"width": 128, "height": 64, "frames": 4, "decode_chunk": 4}
        wish = self._models.request(steps=self._args.steps, **size)
        picture = self._models.made_picture(wish.width, wish.height)
        ctx = self._models.quiet_context()
        self._empty()
        if self.cuda:
            self._torch.cuda.reset_peak_memory_stats()
        begun = self._clock()
        try:
            with manager.lease("first", ctx.loading) as engine:
                engine.animate(picture, wish, ctx)
                plan = manager.plans_taken["first"]
        except DoesNotFit as e:
            return {"does_not_fit": e.message}
        seconds = self._clock() - begun
        peak = self._torch.cuda.max_memory_allocated() if self.cuda else None
        manager.unload()
        del engine
        self._empty()
        return {"plan": plan.residency, "planned_bytes": plan.peak_bytes, "peak_bytes": peak, "seconds": seconds}


class _Apart(Device):
    """The CPU, with memory of its own."""

    def __init__(self) -> None:
        super().__init__("cpu", "CPU, with memory of its own", "fp32")

    @property
    def accelerator(self) -> bool:
        """Weights wait on the host and are copied to the device."""
        return True


def _apart(family: str) -> Any:
    """The family, its weights copied to memory of their own."""
    module = family_module(family)
    carrier = Carrier("cpu", separate=True)
    return SimpleNamespace(Engine=module.Engine, open_weights=partial(module.open_weights, carrier=carrier))


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


def _named(found: dict[str, Any], baseline: str, candidate: str) -> dict[str, Any]:
    return {baseline: found.pop("baseline_s"), candidate: found.pop("candidate_s"), **found}
