"""The training loop: a stage, for as many minutes as it is given, with its weights on disk each minute."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from studio.errors import BadInput, StudioError
from studio.train import export
from studio.train.sheets import as_png
from studio.train.stages import Bound, Clock, Measured, Setup, Stage

MOST_EMA = 0.999
"""Share of the running mean that stays at a step: it is that of some thousand steps."""

_WARM_UP = 100
"""Steps until the learning rate is whole; as the optimiser's state is not kept, also after resuming."""

GLANCES = (1 / 3, 2 / 3)
"""Progress at which a few samples are made, to be looked at while it goes on."""

_CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Order:
    """How a run goes.

    Args:
        root: folder of the family; the stage's folder in it is written.
        steps: after so many it ends, where the time has not run out; None: only the time counts.
        compiled: by torch.compile; where that fails it goes on without.
        held_out: samples that the figures at the end are taken on.
        command: as it was given, for the record.
        log_s: seconds between two lines of the log.
        stopped: True once the run should end and write.
        say: takes a line of progress.
    """

    root: Path
    steps: int | None = None
    compiled: bool = False
    held_out: int = 32
    command: str = ""
    log_s: float = 10.0
    glances: tuple[float, ...] = GLANCES
    stopped: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = print


def train(stage: Stage, setup: Setup, clock: Clock, order: Order) -> dict[str, Any]:
    """The stage's folder holds its weights and metrics; returns what metrics.json says.

    Training ends early enough for its evaluation to end in time too. Whatever happens, the folder holds a whole
    checkpoint that is at most a minute and a step old.

    Raises:
        BadInput: a stage that this one needs has not been trained, or not been the same when this one was begun.
        StudioError: the loss is no number any more.
    """
    return _Run(stage, setup, clock, order).go()


class _Run:
    def __init__(self, stage: Stage, setup: Setup, clock: Clock, order: Order) -> None:
        self.stage, self.setup, self.clock, self.order = stage, setup, clock, order
        if setup.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        before = _told_of(stage.name, setup) if setup.resume else {}
        needs = _needs(stage, setup, before.get("needs", {}))
        self.training = stage.begin(setup)
        self.modules = [*self.training.exported.values(), *self.training.helpers]
        for module in self.modules:
            module.train()
        self.parameters = [p for m in self.modules for p in m.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.training.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=setup.device.type == "cuda",
        )
        self.mean = RunningMean(self.training.exported, resumed=setup.resume)
        self.step = 0
        self.warm_up = _WARM_UP if order.steps is None else min(_WARM_UP, order.steps // 10)
        self.metrics: dict[str, Any] = {
            "stage": stage.name,
            "toy": setup.toy,
            "needs": needs,
            "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in self.training.exported.items()},
            "runs": [*before.get("runs", []), self._record()],
            "log": [*before.get("log", [])],
            "figures": {},
        }

    def go(self) -> dict[str, Any]:
        reserve_s = min(self.stage.evaluation_s, 0.25 * self.clock.minutes * 60)
        began_s = self.clock.spent_s
        until_s = self.clock.minutes * 60 - reserve_s
        if self.order.compiled:
            self._compile()
        losses, since_s, saved_s, glances = _Told(), began_s, began_s, list(self.order.glances)
        while True:
            spent_s = self.clock.spent_s
            progress = (spent_s - began_s) / max(1e-9, until_s - began_s)
            if self.order.steps is not None:
                progress = max(progress, self.step / self.order.steps)
            if progress >= 1 or self.order.stopped():
                break
            losses.add(self._step(progress))
            if self.step == 1 or spent_s - since_s >= self.order.log_s:
                self._log(losses.means(), progress)
                losses, since_s = _Told(), spent_s
            if glances and progress >= glances[0]:
                glances.pop(0)
                self._glance()
                saved_s = self.clock.spent_s
            elif spent_s - saved_s >= _CHECKPOINT_S:
                self._save()
                saved_s = spent_s
        if losses.count:
            self._log(losses.means(), min(1.0, progress))
        self._save()
        if not self.order.stopped():
            self._evaluate()
        return self.metrics

    def _step(self, progress: float) -> dict[str, torch.Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * rate(progress, self.step, self.warm_up)
        device = self.setup.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss, more = self.training.step(progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.mean.update()
        self.step += 1
        return {"loss": loss.detach(), "gradient": norm, **{name: t.detach() for name, t in more.items()}}

    def _log(self, means: Mapping[str, float], progress: float) -> None:
        line = {
            "step": self.step,
            "minutes": round(self.clock.spent_s / 60, 3),
            "progress": round(progress, 4),
            **means,
        }
        if not math.isfinite(means["loss"]):
            raise self._lost()
        self.metrics["log"].append(line)
        self.order.say(json.dumps(line))

    def _lost(self) -> StudioError:
        return StudioError(
            f"{self.stage.name}: the loss is no number any more at step {self.step}.",
            "The last checkpoint is whole; go on with --resume and another --seed.",
        )

    def _save(self) -> Path:
        if not self.mean.is_finite():
            raise self._lost()
        self.metrics["runs"][-1] |= {"steps": self.step, "minutes_spent": round(self.clock.spent_s / 60, 2)}
        configs = self.training.configs()
        return export.write_stage(
            self.order.root,
            self.stage.name,
            {name: (state, configs[name]) for name, state in self.mean.states.items()},
            self.metrics,
            other_files=self.training.other_files(),
        )

    def _glance(self) -> None:
        """A few samples of what it is now; what is measured goes into the log."""
        self._save()
        measured = self._measured(2)
        line = {"step": self.step, "figures": {name: round(v, 4) for name, v in measured.figures.items()}}
        self.metrics["log"].append(line)
        self.order.say(json.dumps(line))
        export.rewrite_told(self.order.root, self.stage.name, self.metrics, as_png(measured.sheet))

    def _evaluate(self) -> None:
        measured = self._measured(self.order.held_out)
        self.metrics["figures"] = judged(measured, self.stage.bounds)
        self.metrics["left_out"] = dict(measured.left_out)
        self.metrics["runs"][-1]["minutes_spent"] = round(self.clock.spent_s / 60, 2)
        export.rewrite_told(self.order.root, self.stage.name, self.metrics, as_png(measured.sheet))

    def _measured(self, count: int) -> Measured:
        return self.stage.measure(self.setup.shipped(self.order.root), self.setup, count, self.clock)

    def _compile(self) -> None:
        """The exported modules are compiled, unless the first step fails with that."""
        for module in self.training.exported.values():
            module.compile(dynamic=False)
        try:
            self._step(0.0)
        except Exception as e:  # whatever a compiler can raise
            self.order.say(f"torch.compile failed; going on without: {type(e).__name__}: {e}")
            for module in self.training.exported.values():
                module._compiled_call_impl = None
            self.metrics["runs"][-1]["compiled"] = False

    def _record(self) -> dict[str, Any]:
        return {
            "command": self.order.command,
            "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seed": self.setup.seed,
            "run": self.setup.run,
            "minutes": self.clock.minutes,
            "compiled": self.order.compiled,
            "device": _device_name(self.setup.device),
            "revision": _revision(),
            "versions": versions(),
        }


def _told_of(name: str, setup: Setup) -> dict[str, Any]:
    """metrics.json of a stage that this run builds on.

    Raises:
        BadInput: it has not been trained, or at another size.
    """
    told = export.read_metrics(export.find(setup.weights, name))
    toy = told.get("toy", setup.toy)
    if toy != setup.toy:
        kinds = ("full-sized", "a toy")
        raise BadInput(
            f"{name}: what was trained is {kinds[toy]}, and this run is {kinds[setup.toy]}.",
            "Give --toy for both or for neither, or another --out.",
            field="toy",
        )
    return told


def _needs(stage: Stage, setup: Setup, were: Mapping[str, str]) -> dict[str, str]:
    """Stage that this one needs -> identity of its weights.

    Args:
        were: the same when this stage was begun.

    Raises:
        BadInput: one has not been trained, at another size, or is not what it was.
    """
    for name in stage.needs:
        _told_of(name, setup)
    needs = {name: export.identity(export.find(setup.weights, name)) for name in stage.needs}
    begins_from = stage.begins_from
    for name, was in were.items():
        if name != begins_from and needs.get(name, was) != was:
            raise BadInput(
                f"{stage.name}: it was trained with another {name} than there is now.",
                f"Begin it anew, without --resume, or bring the {name} back.",
                field="resume",
            )
    return needs


class RunningMean:
    """The exponential moving mean of modules' weights.

    Args:
        resumed: the weights are such a mean already, and are not forgotten in the first steps.
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, resumed: bool = False) -> None:
        self._live = {name: module.state_dict() for name, module in modules.items()}
        self.states = {
            name: {key: t.detach().clone() for key, t in state.items()} for name, state in self._live.items()
        }
        self._updates = 10_000 if resumed else 0

    def update(self) -> None:
        """Takes the weights in as they are now."""
        self._updates += 1
        stays = min(MOST_EMA, (1 + self._updates) / (10 + self._updates))
        for name, state in self.states.items():
            torch._foreach_lerp_(list(state.values()), list(self._live[name].values()), 1 - stays)

    def is_finite(self) -> bool:
        """True where every weight of it is a number."""
        return all(bool(torch.isfinite(t).all()) for state in self.states.values() for t in state.values())


class _Told:
    """Means of what steps tell, added up on the device so that none waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    @property
    def count(self) -> int:
        """Steps that were added."""
        return self._counts.get("loss", 0)

    def add(self, told: Mapping[str, torch.Tensor]) -> None:
        for name, value in told.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.float()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: float(f"{float(total) / self._counts[name]:.5g}") for name, total in self._sums.items()}


def rate(progress: float, step: int, warm_up: int) -> float:
    """The learning rate's share of its highest: a warm-up, level until half-time, then a cosine down to a fiftieth."""
    falling = 1.0 if progress < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * progress - 1)))
    return min(1.0, (step + 1) / (warm_up + 1)) * max(0.02, falling)


def judged(measured: Measured, bounds: Mapping[str, Bound]) -> dict[str, dict[str, Any]]:
    """Figure -> its value, and what it should be and whether it is, where something is wanted of it."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in measured.figures.items():
        found[name] = {"value": round(value, 4)}
        if name in bounds:
            found[name] |= {"wanted": str(bounds[name]), "met": bounds[name].met(value)}
    return found


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers depend on."""
    from importlib.metadata import version

    packages = ("torch", "numpy", "diffusers", "transformers", "safetensors")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def _revision() -> str:
    """Of the repository, with a plus where the tree is not as it was committed; "" where there is none."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
