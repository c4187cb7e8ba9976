"""``python -m studio models``: what is installed, how to get, add, convert, check and remove it; what is in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from studio.cli.base import Json, chosen_settings, err, escape, open_studio, out, print_json
from studio.errors import BadInput, DownloadFailed
from studio.jobs.ledgers import ask_unload, read_ledgers
from studio.jobs.workshop import open_catalog
from studio.models.added import choose
from studio.models.checkpoint import read_checkpoint
from studio.service import Studio, VariantStatus

models_app = typer.Typer(
    help="The variants: what is installed, where, and how to get the rest.", no_args_is_help=True, rich_markup_mode=None
)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Every variant, the usable ones first."""
    with open_studio() as studio:
        found = studio.variants()
    if as_json:
        print_json([v.public() for v in found])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("variant", "does", "size", "licence", "state"):
        table.add_column(column, overflow="fold")
    for v in found:
        size = v.disk_bytes if v.usable else v.download_bytes
        state = "\n".join([v.where, *(e.says for e in v.extras)]) if v.usable else v.note
        gate = " (gated)" if v.spec.licence.gated else ""
        table.add_row(v.spec.id, ", ".join(v.spec.capabilities), _size(size), v.spec.licence.name + gate, state)
    out.print(table)


@models_app.command("show")
def models_show(variant: str, as_json: Json = False) -> None:
    """One variant: options with defaults and bounds, sources, licence."""
    with open_studio() as studio:
        found = studio.variant(variant)
    data = {**found.public(), "spec": found.spec.model_dump(mode="json")}
    if as_json:
        print_json(data)
    else:
        out.print_json(json.dumps(data))


def _byte_progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)


def _say_variant(status: Any, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(status.public())
    else:
        out.print(sentence, soft_wrap=True)


STARTER = "starter"
"""Stands for every variant whose spec says so."""


@models_app.command("pull")
def models_pull(
    variant: Annotated[str, typer.Argument(help=f"A variant's id; {STARTER}: all that are small and free.")],
    besides: Annotated[
        str | None, typer.Option("--with", help="What it may have besides, by its purpose: draft.")
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft", help=f"With {STARTER}: exit with 0 though something was not fetched.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetches a variant's weights into the models folder."""
    with open_studio() as studio, _byte_progress() as progress:
        bars: dict[str, Any] = {}

        def report(file: str, done: int, total: int) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        if variant == STARTER:
            found, failed = _pull_starter(studio, report)
        elif besides is not None:
            found, failed = [studio.pull_extra(variant, besides, report)], {}
        else:
            found, failed = [studio.pull(variant, report)], {}
    for each, e in failed.items():
        err.print(f"{each}: {escape(str(e))}", soft_wrap=True)
    if as_json:
        print_json([status.public() for status in found] if variant == STARTER else found[0].public())
    else:
        for status in found:
            there = [e.says for e in status.extras if e.extra.purpose == besides]
            out.print(f"{status.spec.id} is installed: {status.where}" if besides is None else there[0], soft_wrap=True)
    if failed and not soft:
        raise typer.Exit(DownloadFailed.exit_code)


def _pull_starter(
    studio: Studio, report: Callable[[str, int, int], None]
) -> tuple[list[VariantStatus], dict[str, DownloadFailed]]:
    """The starters that are here now, and why others are not: one that fails stops none of the rest."""
    found, failed = [], {}
    for spec in studio.catalog:
        if not spec.starter:
            continue
        try:
            status = studio.variant(spec.id)
            found.append(status if status.usable else studio.pull(spec.id, report))
        except DownloadFailed as e:
            failed[spec.id] = e
    return found, failed


@models_app.command("add")
def models_add(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file as Stability publishes them, or a copy.")],
    variant: Annotated[str | None, typer.Option("--as", help="Which variant it is, where its name won't say.")] = None,
    as_json: Json = False,
) -> None:
    """Uses a single-file checkpoint where it lies; nothing is copied. `models remove` forgets it again."""
    with open_studio() as studio:
        status = studio.add(checkpoint, variant)
    _say_variant(status, as_json, f"{status.spec.id} is read from {status.where}")


@models_app.command("convert")
def models_convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file as Stability publishes them, or a copy.")],
    to: Annotated[Path, typer.Option(help="The folder to write; it must not be there.")],
    head_dim: Annotated[int, typer.Option(help="Channels of one attention head of the UNet.", min=1)] = 64,
    clip_head_dim: Annotated[int, typer.Option(help="The same of the image encoder.", min=1)] = 80,
    as_json: Json = False,
) -> None:
    """Writes a single-file checkpoint as a diffusers folder, in the precision that it is stored in."""
    read_checkpoint(checkpoint)  # says at once what won't do; what follows takes seconds to import
    from studio.engines.convert.folder import write_folder

    with _byte_progress() as progress:
        bar = progress.add_task(checkpoint.name, total=None)
        found = write_folder(
            checkpoint,
            to,
            lambda done, total: progress.update(bar, completed=done, total=total),
            head_dim=head_dim,
            clip_head_dim=clip_head_dim,
            frames=_frames(checkpoint),
        )
    if as_json:
        print_json({"folder": str(to.absolute()), "holds": found.kind})
    else:
        out.print(f"{to} holds {checkpoint.name} as a diffusers folder ({found.kind}).", soft_wrap=True)


def _frames(checkpoint: Path) -> int | None:
    """How many frames the variant makes, where the file says which it is."""
    try:
        spec = choose(checkpoint, open_catalog(chosen_settings()))
        return int(spec.options_for("image-to-video")["frames"].default)
    except BadInput:
        return None


@models_app.command("verify")
def models_verify(variant: str, as_json: Json = False) -> None:
    """Holds a variant's weights to the publisher's checksums, and a single file's tensors to its networks."""
    with open_studio() as studio:
        status = studio.verify(variant)
    _say_variant(status, as_json, f"{variant} is whole.")


@models_app.command("remove")
def models_remove(variant: str, as_json: Json = False) -> None:
    """Removes a variant's weights from the studio's models folder; a file that was added is only forgotten."""
    with open_studio() as studio:
        status = studio.remove(variant)
    _say_variant(status, as_json, f"{variant} is removed.")


# --- what is in memory ----------------------------------------------------------------------------------------

_NOBODY = "No studio that runs here holds weights."
_SHOWN_DECISIONS = 10


@models_app.command("status")
def models_status(as_json: Json = False) -> None:
    """What every studio on this home holds in memory: bytes by component and tier, and the last decisions."""
    ledgers = read_ledgers(chosen_settings().home)
    if as_json:
        print_json(ledgers)
    elif not any(ledger.get("components") for ledger in ledgers):
        out.print(_NOBODY)
    if not as_json:
        for ledger in ledgers:
            _print_ledger(ledger)


def _print_ledger(ledger: dict[str, Any]) -> None:
    device, components = ledger.get("device"), ledger.get("components", [])
    if components:
        title = escape(f"{device['title']}, {device['dtype']}") if device else None
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("component", "of", "where", "on the device", "in host memory", "leases", "next use"):
            table.add_column(column, overflow="fold")
        for row in components:
            table.add_row(
                row["component"],
                ", ".join(row["variants"]),
                row["tier"],
                _size(row["device_bytes"]),
                _size(row["host_bytes"]),
                str(row["leases"]) if row["leases"] else "",
                "" if row["next_use"] is None else f"in {row['next_use']} phases",
            )
        out.print(table)
    if device:
        room = [f"{_size(device[k])} {word}" for k, word in _ROOM.items() if device[k] is not None]
        out.print(f"Device: {', '.join(room)}.", soft_wrap=True)
    health = ledger.get("health")
    if health:
        grown = ", ".join(f"{where} {health[f'{where}_drift_bytes'] / 1e6:+.0f} MB" for where in ("host", "device"))
        out.print(
            f"Process: {_size(health['rss_bytes'])} of host memory; since its first jobs {grown}.", soft_wrap=True
        )
    for told in ledger.get("decisions", [])[-_SHOWN_DECISIONS:]:
        when = time.strftime("%H:%M:%S", time.localtime(told["at"]))
        out.print(f"{when} {escape(told['what'])}: {escape(told['why'])}", soft_wrap=True)


_ROOM = {"total_bytes": "in all", "free_bytes": "free", "budget_bytes": "for the studio"}


def _size(count: int) -> str:
    if not count:
        return ""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@models_app.command("unload")
def models_unload(as_json: Json = False) -> None:
    """Has every studio on this home drop the weights that no job uses, on the device and in host memory."""
    ledgers = ask_unload(chosen_settings().home)
    if as_json:
        print_json([{key: ledger[key] for key in ("owner", "freed_bytes")} for ledger in ledgers])
        return
    if not ledgers:
        out.print(_NOBODY)
    for ledger in ledgers:
        where = (ledger.get("device") or {}).get("title", "the device")
        if ledger["freed_bytes"] is None:
            out.print(f"A job runs on {where}; what is idle then is dropped when it ends.", soft_wrap=True)
        else:
            out.print(f"{_size(ledger['freed_bytes']) or 'Nothing'} on {where} was dropped.", soft_wrap=True)
