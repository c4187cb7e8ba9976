"""What was wanted of speed and memory, beside what was measured, a table a device. What was not run is not met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]

_GIB = 2**30

_TRUSTED = 0.1
"""What an identity control may be off by: with more, the machine was too busy for the figure beside it."""


@dataclass(frozen=True)
class Target:
    """One thing that is wanted.

    Args:
        what: for a person.
        paths: where the figure is: benchmark and names, dotted; of several that were measured the best one counts.
        worst: the worst one counts.
        at_least, at_most: what is wanted of it; neither where it only has to be known.
        unit: written after the figure; "GiB" of a figure in bytes.
        only_on: a part of the name of the devices that it is meant for.
    """

    what: str
    paths: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    only_on: str = ""
    worst: bool = False

    @property
    def bounded(self) -> bool:
        """Whether anything is wanted of it but to be known."""
        return self.at_least is not None or self.at_most is not None

    @property
    def wanted(self) -> str:
        """In words."""
        if not self.bounded:
            return "to be known"
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{bound}{_after(self.unit)}{f' on an {self.only_on}' if self.only_on else ''}"

    def figure(self, results: Mapping[str, Figures]) -> tuple[str, float] | None:
        """Path and value of the one that counts, in the target's unit; None where none was measured."""
        found = [(path, value) for path in self.paths if (value := _value(results, path)) is not None]
        if not found:
            return None
        path, value = (max if (self.at_least is not None) != self.worst else min)(found, key=lambda item: item[1])
        return path, value / _GIB if self.unit == "GiB" else value

    def met_by(self, value: float) -> bool:
        """Whether that is what was wanted."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


ON_CUDA = (
    Target(
        "UNet guided step, 25 frames of 1024x576, against diffusers eager",
        (
            "gpu_unet.eager.times_faster",
            "gpu_unet.attention.times_faster",
            "gpu_unet.channels_last.times_faster",
            "gpu_compiled.unet.times_faster",
            "gpu_compiled.unet_channels_last.times_faster",
        ),
        at_least=1.6,
        unit="times",
    ),
    Target(
        "decoding of the whole clip, against diffusers eager, all frames at once",
        ("gpu_decode.chunk_25.times_faster", "gpu_decode.attention.times_faster", "gpu_compiled.decode.times_faster"),
        at_least=2,
        unit="times",
    ),
    Target("peak of that decoding, beside the weights", ("gpu_decode.peak_bytes.ours",), at_most=10, unit="GiB"),
    Target(
        "exact clip, from picture to frames",
        ("gpu_clip.exact.ours_s", "gpu_clip.fast.exact_s"),
        at_most=10,
        unit="s",
        only_on="H100",
    ),
    Target(
        "error of a UNet step to fp32, over that of diffusers in fp16",
        ("gpu_compiled.relative_error.ours_to_diffusers", "gpu_unet.relative_error.ours_to_diffusers"),
        at_most=1.1,
        unit="times",
        worst=True,
    ),
    Target(
        "error of decoding to fp32, over that of diffusers in fp16",
        ("gpu_decode.relative_error.ours_to_diffusers",),
        at_most=1.1,
        unit="times",
    ),
    *(
        Target(
            f"peak of an exact clip with --vram {policy}, all in",
            (f"gpu_memory.policy_{policy}.peak_bytes",),
            unit="GiB",
        )
        for policy in ("high", "normal", "low", "none")
    ),
    Target("fast over exact", ("gpu_clip.fast.times_faster",), at_least=1.45, unit="times"),
    Target("draft, from picture to frames", ("gpu_clip.draft.draft_s",), at_most=1.5, unit="s"),
    Target("swap of a UNet, over a raw copy of its bytes", ("swap.raw_copy.ratio",), at_most=1.3, unit="times"),
    Target("bytes that a swap writes back", ("swap.moved_bytes_a_swap.device_to_host_bytes",), at_most=0),
    Target("swap, over that by diffusers' model offloading", ("swap.model_offload.ratio",), at_most=0.2, unit="times"),
    Target("cold load, over the rate of a plain read", ("swap.cold_load.share_of_read_rate",), at_least=0.8),
)

ON_CPU = (
    Target(
        "exact savings, processor time of a tiny UNet's guided step against diffusers' code",
        ("cpu_svd.exact_savings.times_faster",),
        at_least=1.08,
        unit="times",
    ),
    Target(
        "feature cache, processor time of a tiny UNet's loop against the whole one",
        ("cpu_svd.feature_cache.times_faster",),
        at_least=1.6,
        unit="times",
    ),
)


def tables(results: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Lines of the page: a table for every device, of the newest result of each benchmark on it.

    Args:
        results: benchmark and result, as they are kept.
    """
    devices: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, result in sorted(results, key=lambda item: item[1]["time"]):
        devices.setdefault(result["machine"]["device"], {})[name] = result
    if set(devices) <= {"cpu"}:
        yield "No figure has been taken on a CUDA device; `python -m benchmarks` takes them there within 10 minutes.\n"
    for device, newest in sorted(devices.items(), key=lambda item: (item[0] == "cpu", item[0])):
        targets = ON_CPU if device == "cpu" else ON_CUDA
        figures = {name: result["figures"] for name, result in newest.items()}
        if any(target.figure(figures) for target in targets):
            yield f"### {device}\n"
            yield "| target | wanted | measured | |"
            yield "|---|---|---|---|"
            yield from (_row(target, figures, newest, device) for target in targets)
            yield ""


def _row(target: Target, figures: Mapping[str, Figures], results: Mapping[str, Any], device: str) -> str:
    found = target.figure(figures)
    if found is None:
        return f"| {target.what} | {target.wanted} | | not measured |"
    path, value = found
    benchmark, *names = path.split(".")
    control = _value(figures, ".".join([benchmark, *names[:-1], "identity_ratio"]))
    if target.only_on not in device:
        verdict = f"no {target.only_on}"
    elif control is not None and abs(control - 1) > _TRUSTED:
        verdict = "not known: the control is off"
    else:
        verdict = ("met" if target.met_by(value) else "**not met**") if target.bounded else "known"
    beside = f", control {control:.3g}" if control is not None else ""
    where = f"{benchmark} {results[benchmark]['time'][:10]}: {' '.join(names[:-1]).replace('_', ' ') or names[-1]}"
    return f"| {target.what} | {target.wanted} | {value:.3g}{_after(target.unit)} ({where}{beside}) | {verdict} |"


def _value(results: Mapping[str, Figures], path: str) -> float | None:
    found: Any = results
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return None if found is None or isinstance(found, (str, bool)) else float(found)


def _after(unit: str) -> str:
    return f" {unit}" if unit else ""
