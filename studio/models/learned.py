"""What is known of a device: its rates and room, and what the phases of jobs really took there. No torch.

`Learned` corrects the formulas of `studio.models.costs` by what was measured, and keeps that in one JSON file a
device, which the page reads without asking the device.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from studio.models.limits import host_memory
from studio.models.memory import Device
from studio.models.weights_file import replace_json

log = logging.getLogger(__name__)

_FOLDER = "devices"

_TRUSTED = 0.6
"""A peak below this share of the formula is no measure of it: a phase of which only a part ran, a network that is
smaller than the family's."""

_SMOOTHING = 0.3
"""Weight of the newest of several measurements."""

_RAN_OUT = 1.1
"""After memory ran out a phase is taken to need at least this much more than before, ..."""

_MOST_AT_ONCE = 1.5
"""... and at most this much, whatever was free: it may have been another process that took it."""


@dataclass(frozen=True)
class DeviceFacts:
    """What plans need to know of a device.

    Args:
        name: as torch names it, or ``assumed`` where there is none and a plan is made all the same.
        room_bytes: most that the studio may take there, what it has taken included; None where nobody can say.
        host_bytes: all host memory that this process may use.
        flop_per_s: of matrix products, as long runs of them sustain it.
        moved_bytes_per_s: of the device's own memory.
        bus_bytes_per_s: from host memory to the device.
        read_bytes_per_s: from files.
        measured: True once the pace of a phase was measured there; until then seconds come from these rates alone.
    """

    name: str
    title: str
    dtype: str
    total_bytes: int | None
    room_bytes: int | None
    host_bytes: int
    flop_per_s: float
    moved_bytes_per_s: float
    bus_bytes_per_s: float = 12e9
    read_bytes_per_s: float = 1.5e9
    measured: bool = False

    @property
    def shares_host_memory(self) -> bool:
        """True where device and host memory are the same."""
        return self.name in ("cpu", "mps")


_RATES: tuple[tuple[str, float, float, float], ...] = (
    ("H200", 400e12, 3.6e12, 40e9),
    ("H100", 400e12, 2.4e12, 40e9),
    ("A100", 140e12, 1.3e12, 20e9),
    ("RTX 5090", 134e12, 1.4e12, 40e9),
    ("RTX 4090", 105e12, 0.8e12, 20e9),
    ("RTX 4080", 66e12, 0.57e12, 20e9),
    ("RTX 3090", 45e12, 0.75e12, 20e9),
    ("cuda", 40e12, 0.35e12, 12e9),
    ("assumed", 40e12, 0.35e12, 12e9),
    ("mps", 6e12, 0.15e12, 50e9),
    ("cpu", 0.2e12, 0.02e12, 8e9),
)
"""(title or kind, flop/s in fp16 (of the CPU in fp32), bytes/s of its memory, bytes/s to it): estimates, until a first
job was measured. Those of the A100 and the RTX 4080 give the published 40 and 83 seconds of 25 steps with
diffusers' own code; the other cards' follow from them by their peak rates, and the last four are guesses."""


def default_facts(
    name: str, title: str, dtype: str, *, total_bytes: int | None, room_bytes: int | None, host_bytes: int
) -> DeviceFacts:
    """The facts of a device on which nothing was measured: rates by its title, else by its kind."""
    kind = name.partition(":")[0]
    _, flop, moved, bus = next(row for row in _RATES if row[0] in title or row[0] == kind or row[0] == "cpu")
    if dtype == "fp32" and kind != "cpu":
        flop /= 4
    return DeviceFacts(name, title, dtype, total_bytes, room_bytes, host_bytes, flop, moved, bus)


def assumed_facts(device_bytes: int) -> DeviceFacts:
    """A CUDA device with that much room beside this machine's host memory, where there is none to ask."""
    host = host_memory().total_bytes
    title = "an assumed CUDA device"
    return default_facts("assumed", title, "fp16", total_bytes=device_bytes, room_bytes=device_bytes, host_bytes=host)


def unknown_facts(precision: str) -> DeviceFacts:
    """A CUDA device of which nothing is known, not even its room."""
    dtype = "fp16" if precision == "auto" else precision
    host = host_memory().total_bytes
    return default_facts("assumed", "", dtype, total_bytes=None, room_bytes=None, host_bytes=host)


class Learned:
    """What was measured on one device. Safe to use from several threads.

    Args:
        path: its JSON file, read once and replaced as a whole; None keeps nothing. One that is damaged is started anew.
        keeps: False only reads it: the process that has the device is the one to write.
    """

    def __init__(self, path: Path | None, *, keeps: bool = True) -> None:
        self._path = path if keeps else None
        self._lock = threading.Lock()
        data = _read(path)
        self._facts: dict[str, Any] = data.get("facts", {})
        self._ways: dict[str, dict[str, float]] = {
            name: {k: float(v) for k, v in way.items()} for name, way in data.get("ways", {}).items()
        }

    def working_factor(self, family: str, phase: str, way_name: str) -> float:
        """What the phase really took, over what its formula says; 1.0 until measured."""
        with self._lock:
            return self._ways.get(_key(family, phase, way_name), {}).get("factor", 1.0)

    def flop_per_s(self, family: str, phase: str, way_name: str) -> float | None:
        """The pace of the phase as measured, all its work counted; None until then."""
        with self._lock:
            return self._ways.get(_key(family, phase, way_name), {}).get("flop_per_s")

    def hear(
        self,
        family: str,
        phase: str,
        way_name: str,
        *,
        working_bytes: int,
        peak_bytes: int | None,
        flop: float,
        seconds: float,
    ) -> None:
        """Takes in what a phase took.

        A larger peak than known counts at once, a smaller one bit by bit, and one that is below 60 % of the formula
        not at all. Where nobody counts, what running out of memory has raised goes back bit by bit.

        Args:
            working_bytes: what its formula says.
            peak_bytes: the most that was taken beside the weights; None where nobody counts.
            flop: of all its work; 0 where the seconds are not of that work alone.
        """
        with self._lock:
            way = self._ways.setdefault(_key(family, phase, way_name), {})
            if peak_bytes is not None and working_bytes and peak_bytes >= _TRUSTED * working_bytes:
                found, known = peak_bytes / working_bytes, way.get("factor")
                way["factor"] = found if known is None or found > known else _blend(known, found)
            elif peak_bytes is None and way.get("factor", 1.0) > 1:
                way["factor"] = _blend(way["factor"], 1.0)
            if flop > 0 and seconds > 0:
                found, known = flop / seconds, way.get("flop_per_s")
                way["flop_per_s"] = found if known is None else _blend(known, found)
            self._keep()

    def ran_out(self, family: str, phase: str, way_name: str, *, working_bytes: int, had_bytes: int | None) -> None:
        """Takes in that memory ran out: the phase needs more than was believed, and more than it had.

        Args:
            working_bytes: what its formula says.
            had_bytes: what was there for it beside the weights; None where nobody can say.
        """
        with self._lock:
            way = self._ways.setdefault(_key(family, phase, way_name), {})
            known = way.get("factor", 1.0)
            had = had_bytes / working_bytes if had_bytes is not None and working_bytes else 0.0
            way["factor"] = min(max(known, had) * _RAN_OUT, known * _MOST_AT_ONCE)
            self._keep()

    def facts(self, device: Device, *, held_bytes: int = 0) -> DeviceFacts:
        """The device as it is now, kept for whoever can't ask it (`known_devices`).

        Args:
            held_bytes: of the studio's own weights on it: room that can be made.
        """
        free, total = device.free_bytes(), device.total_bytes()
        room = None if free is None else free + max(device.taken_bytes(), held_bytes)
        if room is not None and total is not None:
            room = min(room, total)
        found = default_facts(
            device.name,
            device.title,
            device.dtype,
            total_bytes=total,
            room_bytes=room,
            host_bytes=host_memory().total_bytes,
        )
        with self._lock:
            found = replace(found, measured=any("flop_per_s" in way for way in self._ways.values()))
            if self._facts != asdict(found):
                self._facts = asdict(found)
                self._keep()
        return found

    def kept_facts(self) -> DeviceFacts | None:
        """The facts as they were last kept; None where none were."""
        names = {f.name for f in fields(DeviceFacts)}
        try:
            return DeviceFacts(**{k: v for k, v in self._facts.items() if k in names})
        except TypeError:
            return None

    def _keep(self) -> None:
        if self._path is None:
            return
        try:
            replace_json(self._path, {"facts": self._facts, "ways": self._ways})
        except OSError as e:
            log.warning("what was learned can't be kept: %s", e)


KnownDevice = tuple[DeviceFacts, Learned]
"""A device, and what was measured on it."""


def device_file(home: Path, device: Device) -> Path:
    """Where what is known of that device lies."""
    return home / _FOLDER / f"{device.name.replace(':', '')}-{device.dtype}.json"


def known_device(home: Path, wanted: str = "auto") -> KnownDevice | None:
    """The device that jobs last ran on, by what was kept of it; None where none has.

    Args:
        wanted: `Settings.device`.
    """
    try:
        paths = sorted((home / _FOLDER).glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for path in paths:
        learned = Learned(path, keeps=False)
        facts = learned.kept_facts()
        if facts is not None and wanted in ("auto", facts.name, facts.name.partition(":")[0]):
            return facts, learned
    return None


def _key(family: str, phase: str, way_name: str) -> str:
    return f"{family}/{phase}/{way_name}"


def _blend(known: float, found: float) -> float:
    return known + _SMOOTHING * (found - known)


def _read(path: Path | None) -> dict[str, Any]:
    """The file's two parts, each a dict of what it should be; less where it is missing or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    facts, ways = data.get("facts"), data.get("ways")
    sound = {
        name: way
        for name, way in (ways.items() if isinstance(ways, dict) else ())
        if isinstance(way, dict) and all(isinstance(v, (int, float)) and v > 0 for v in way.values())
    }
    return {"facts": facts if isinstance(facts, dict) else {}, "ways": sound}
