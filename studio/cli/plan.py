"""``python -m studio plan <mode>``: what a request will need, before anything is loaded or even installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table

from studio.cli.base import VRAM_HELP, Json, err, escape, open_studio, out, print_json
from studio.cli.options import give_signature, option, parameter, preset_parameter, read
from studio.errors import BadInput
from studio.jobs.forecast import Forecast, limits_of
from studio.models.learned import KnownDevice, Learned, assumed_facts, device_file
from studio.models.memory import choose_device
from studio.models.planned import in_gb, in_time
from studio.modes import Mode, all_modes
from studio.settings import Settings

plan_app = typer.Typer(
    help="What a request will need: memory by phase, seconds, and what more or less memory would change.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _device(settings: Settings) -> KnownDevice:
    """The device that the settings choose, as it is now; one that is assumed for a budget where that is the CPU."""
    try:
        device = choose_device(settings.device, settings.precision)
    except ValueError as e:
        raise BadInput(str(e), "Choose another with --device.") from e
    budget = limits_of(settings).device_bytes
    if budget is not None and not device.accelerator:
        return assumed_facts(budget), Learned(None)
    learned = Learned(device_file(settings.home, device), keeps=False)
    return learned.facts(device), learned


def _plan_command(mode: Mode) -> Callable[..., None]:
    def command(
        vram: str | None,
        vram_budget: str | None,
        ram_budget: str | None,
        preset: str | None,
        as_json: bool,
        **fields: Any,
    ) -> None:
        wish = {k: read(mode.request.model_fields[k], v) for k, v in fields.items() if v is not None}
        with open_studio(**_given(vram=vram, vram_budget=vram_budget, ram_budget=ram_budget)) as studio:
            request = {"mode": mode.id, "preset": preset, **wish}
            studio.check(request, files=False)  # says at once what won't do; looking for the device takes seconds
            found = studio.plan(request, device=_device(studio.settings))
        if as_json:
            print_json(found.public())
        else:
            _show(found)
        if not found.fits:
            raise typer.Exit(2)

    named = mode.request.model_fields.items()
    budget_help = "Most device memory to take, such as 8GB; where there is no GPU, one of that size is assumed."
    parameters = [
        *(option(name, field) for name, field in named if name not in ("mode", *mode.inputs)),
        parameter("vram", Annotated[str | None, typer.Option(help=VRAM_HELP)], default=None),
        parameter("vram_budget", Annotated[str | None, typer.Option(help=budget_help)], default=None),
        parameter(
            "ram_budget",
            Annotated[str | None, typer.Option(help="Most host memory for weights that wait there.")],
            default=None,
        ),
        preset_parameter(),
        parameter("as_json", Json, default=False),
    ]
    return give_signature(command, parameters, f"What it will need: {mode.summary}")


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _show(found: Forecast) -> None:
    plans, chosen = found.plans, found.plans.chosen if found.plans else None
    if chosen is None and plans is not None:
        err.print(f"[red]{escape(plans.message)}[/red] {escape(plans.remedy)}", soft_wrap=True)
        return
    says = found.says[:1].upper() + found.says[1:]
    device = f" on {plans.facts.title}" if plans else ""
    out.print(f"{found.spec.id}{device}: {says}.", soft_wrap=True)
    if plans is None or chosen is None or not chosen.phases:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("phase", "how", "weights", "working", "together", "about"):
        table.add_column(column, overflow="fold")
    for p in chosen.phases:
        how = f"{p.way.name}; {', '.join(p.resident)} streamed" if p.resident else p.way.name
        table.add_row(
            p.phase, how, in_gb(p.weights_bytes), in_gb(p.working_bytes), in_gb(p.peak_bytes), in_time(p.seconds)
        )
    out.print(table)
    other = found.public()
    for name, label in (("cheaper", "With less memory"), ("dearer", "With more memory")):
        if other[name]:
            out.print(f"{label}: {other[name]['reason']}", soft_wrap=True)


for _mode in all_modes().values():
    plan_app.command(_mode.id)(_plan_command(_mode))
