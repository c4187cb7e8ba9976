"""Result files and the page that shows them: ``results/<device>-<date>.json`` and ``RESULTS.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.machine import slug

_HEAD = """# Benchmark results

Made by `python -m benchmarks`, newest first; each figure's file lies in `results/`. Where two things are compared, the
*ratio* is the median over rounds in which both ran in turn, and the *identity ratio*, the same thing against itself,
says how far to trust it.
"""


def add_result(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """The file of the result's machine and day, now with this benchmark's result in place of an older one.

    Args:
        result: figures, options, machine, versions, revision, time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(result['machine']['device'])}-{result['time'][:10]}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    text = json.dumps({**known, name: result}, indent=1, sort_keys=True)
    partial = path.with_suffix(".part")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def render(folder: Path) -> str:
    """The page of all results in the folder: what was wanted, then a section a benchmark, a table a machine and day."""
    results = [
        (name, result, path.name)
        for path in sorted(folder.glob("*.json"))
        for name, result in json.loads(path.read_text(encoding="utf-8")).items()
    ]
    lines = [_HEAD, "## Targets\n", *targets.tables([(name, result) for name, result, _ in results])]
    for name in sorted({name for name, _, _ in results}):
        lines.append(f"## {name}\n")
        own = [(result, file) for n, result, file in results if n == name]
        for result, file in sorted(own, key=lambda item: item[0]["time"], reverse=True):
            lines.extend(_section(result, file))
    return "\n".join(lines).rstrip() + "\n"


def _section(result: Mapping[str, Any], file: str) -> Iterator[str]:
    machine = result["machine"]
    stopped = "" if result.get("finished", True) else ", stopped before its end"
    yield f"### {machine['device']}, {result['time'][:10]}{stopped}\n"
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}."
    yield f"Revision {result['revision']}; `{result['command']}`; `results/{file}`.\n"
    yield "| figure | value |"
    yield "|---|---|"
    for key, value in _flat(result["figures"]):
        yield f"| {key.replace('_', ' ')} | {_shown(value)} |"
    yield ""


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and plain values; long lists are left to the file, and so is what was not measured."""
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}: ")
        elif value is not None and (not isinstance(value, list) or len(value) <= 3):
            yield before + key, value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(_shown(v) for v in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
