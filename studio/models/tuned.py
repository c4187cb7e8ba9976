"""What is quickest on a device, as it was measured there: kept beside what `studio.models.learned` keeps. No torch.

A question has candidates by name, and once one of them was chosen the answer stays, so that the same request gives the
same bytes: measuring again on a busy machine could end otherwise. Only ``python -m studio tune`` asks anew.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from studio.models.memory import Device
from studio.models.weights_file import replace_json

log = logging.getLogger(__name__)

EAGER, COMPILED = "eager", "compiled"
CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels last"
LAUNCHED, RECORDED = "launched", "recorded"
SMALL_STEPS = "small steps"
"""The question whether a small step runs quicker `LAUNCHED` kernel by kernel or `RECORDED` and played back."""

BLOCKS = "blocks"
"""The question whether blocks run quicker `EAGER` or `COMPILED`."""

_DRIVER = Path("/proc/driver/nvidia/version")

_LIBRARIES = ("torch", "triton", "flash-attn", "flash-attn-3", "xformers")


class Tuned:
    """Question -> the candidate that was quickest. Safe to use from several threads.

    Args:
        path: its JSON file, read once and replaced as a whole; None keeps nothing beyond this process. One that is
            damaged, or that was measured with something else, counts as empty.
        made_with: what the answers hold for (see `machine`).
    """

    def __init__(self, path: Path | None, made_with: str = "") -> None:
        self._path = path
        self._made_with = made_with
        self._lock = threading.Lock()
        self._answers = _read(path, made_with)

    def choice(self, question: str) -> str | None:
        """The answer; None where nobody has measured."""
        with self._lock:
            return self._answers.get(question, {}).get("choice")

    def seconds(self, question: str) -> Mapping[str, float]:
        """What each candidate took when the answer was found."""
        with self._lock:
            return dict(self._answers.get(question, {}).get("seconds", {}))

    def questions(self) -> tuple[str, ...]:
        """All that were answered, in order of the alphabet."""
        with self._lock:
            return tuple(sorted(self._answers))

    def keep(self, question: str, choice: str, seconds: Mapping[str, float], *, anew: bool = False) -> str:
        """The answer as it stands from now on: the one that was there already, unless it is asked `anew`."""
        with self._lock:
            known = self._answers.get(question)
            if known is not None and not anew:
                return known["choice"]
            self._answers[question] = {"choice": choice, "seconds": dict(seconds)}
            if self._path is not None:
                # What another process has found out meanwhile stays: here it counts from the next start on.
                answers = {**self._answers, **_read(self._path, self._made_with), question: self._answers[question]}
                try:
                    replace_json(self._path, {"made_with": self._made_with, "answers": answers})
                except OSError as e:
                    log.warning("what was measured can't be kept: %s", e)
            return choice

    def forget(self) -> None:
        """Nothing is answered any more."""
        with self._lock:
            self._answers = {}

    def compiles(self, compiling: str, device: str) -> bool:
        """Whether networks are compiled.

        Args:
            compiling: `Settings.compile`; ``auto`` compiles where that pays as a rule, on CUDA with Triton beside it,
                and was not measured to be slower.
            device: as torch names it.
        """
        if compiling != "auto":
            return compiling == "on"
        able = device.startswith("cuda") and importlib.util.find_spec("triton") is not None
        return able and self.choice(BLOCKS) != EAGER

    def channels_last(self, *, compiled: bool) -> bool:
        """Whether convolutions run quicker with their channels last; not before that was measured."""
        return self.choice(memory_format_of(COMPILED if compiled else EAGER)) == CHANNELS_LAST


def memory_format_of(how: str) -> str:
    """The question which memory format suits convolutions that run `EAGER` or `COMPILED`."""
    return f"memory format, {how}"


def tuned_file(home: Path, device: Device) -> Path:
    """Where the answers for that device lie."""
    return home / "devices" / "tuned" / f"{device.name.replace(':', '')}-{device.dtype}.json"


def machine(device: Device) -> str:
    """What a measurement depends on: the device, its driver and the versions of what computes there."""
    known = [f"{device.title} {device.dtype}", *(f"{name} {v}" for name in _LIBRARIES if (v := _version(name)))]
    with suppress(OSError, IndexError):  # another system, or no such driver
        known.append(_DRIVER.read_text(encoding="utf-8").splitlines()[0].strip())
    return "; ".join(known)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _read(path: Path | None, made_with: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict) or data.get("made_with") != made_with or not isinstance(data.get("answers"), dict):
        return {}
    return {question: answer for question, answer in data["answers"].items() if _sound(answer)}


def _sound(answer: Any) -> bool:
    return (
        isinstance(answer, dict)
        and isinstance(answer.get("choice"), str)
        and isinstance(answer.get("seconds"), dict)
        and all(isinstance(s, (int, float)) for s in answer["seconds"].values())
    )
