"""``python -m studio tune``: finds out what is quickest on the device."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from studio.cli.base import Json, chosen_settings, err, out, print_json
from studio.errors import BadInput, DoesNotFit
from studio.models.memory import choose_device
from studio.models.out_of_memory import is_out_of_memory
from studio.models.tuned import Tuned, machine, tuned_file


def tune(
    frames: Annotated[int, typer.Option(help="Of the clips that are to be quick.", min=1, max=100)] = 25,
    width: Annotated[int | None, typer.Option(help="1024 by default; 512 on the CPU.", min=64, max=4096)] = None,
    height: Annotated[int | None, typer.Option(help="576 by default; 320 on the CPU.", min=64, max=4096)] = None,
    as_json: Json = False,
) -> None:
    """Measures which attention, which memory format and whether compiling is quickest here, and keeps the answers.

    Nothing else should use the device meanwhile. What differs is speed, and the last bits by rounding; a page that is
    open hears of it when it is started again.
    """
    settings = chosen_settings()
    try:
        device = choose_device(settings.device, settings.precision)
    except ValueError as e:
        raise BadInput(str(e), "Choose another with --device.") from e
    from studio.engines.compiled import Compiling, compiler_for
    from studio.engines.kernels import Recorder
    from studio.engines.place import DTYPES
    from studio.engines.tuning import ClipShape, Finding
    from studio.engines.tuning import tune as findings_of

    small = not device.accelerator
    clip = ClipShape(frames, width or (512 if small else 1024), height or (320 if small else 576))
    tuned = Tuned(tuned_file(settings.home, device), machine(device))
    compiling = None
    # Asked in a fresh state: an answer that compiling is slower must not keep it from being measured again.
    if Tuned(None).compiles(settings.compile, device.name):
        compiling = Compiling(compiler_for(device.name, settings.home / "compiled"), _Told(), tuned)
    err.print(f"{device.title}, {device.dtype}, clips of {clip.frames} frames of {clip.width}x{clip.height}:")
    found: list[Finding] = []
    try:
        recorder = Recorder() if device.name.startswith("cuda") else None
        for finding in findings_of(tuned, device.name, DTYPES[device.dtype], clip, compiling, recorder):
            found.append(finding)
            err.print(f"  {finding.question}: {finding.choice}", highlight=False)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise DoesNotFit("The device is too full to measure on.", "Close what else uses it, or lower width.") from e
    if as_json:
        print_json({"device": device.name, "made_with": machine(device), "found": [f._asdict() for f in found]})
    else:
        out.print(_table(found))


class _Told:
    """Notices go to stderr; nobody cancels."""

    def notice(self, sentence: str) -> None:
        err.print(sentence, soft_wrap=True)

    def check(self) -> None:
        pass


def _table(found: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("what", "quickest", "milliseconds of each"):
        table.add_column(column, overflow="fold")
    for finding in found:
        each = ", ".join(f"{name} {s * 1000:.3g}" for name, s in sorted(finding.seconds.items(), key=lambda i: i[1]))
        table.add_row(finding.question, finding.choice, each)
    return table
