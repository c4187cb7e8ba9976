"""Runs one benchmark and keeps its figures with the machine, the versions and the day.

python -m benchmarks --list
python -m benchmarks parallax --frames 25
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import machine, results_page

HERE = Path(__file__).resolve().parent


def benchmarks() -> dict[str, str]:
    """Name -> docstring of every module of this folder that has a `run`; nothing is imported for it."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = ast.get_docstring(tree) or ""
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 with figures, 2 for a mistake in the options or where this machine can't run the benchmark."""
    argv = list(sys.argv[1:] if argv is None else argv)
    known = benchmarks()
    if not argv or argv[0] in ("--list", "-h", "--help"):
        print((__doc__ or "").strip(), "\n")
        for name, text in known.items():
            print(f"  {name:12}{text.splitlines()[0]}")
        return 0
    name, *rest = argv
    if name not in known:
        print(f"There is no benchmark {name!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=known[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-save", action="store_true", help="print the figures only")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to keep them in")
    module = importlib.import_module(f"benchmarks.{name}")
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    figures = module.run(args)
    print(json.dumps(figures, indent=1))
    if not args.no_save:
        _save(name, figures, args.results, rest)
    return 0


def _save(name: str, figures: dict, folder: Path, options: Sequence[str]) -> None:
    """Keeps the figures; a benchmark that used an accelerator says so by a figure named ``device``."""
    result = {
        "figures": figures,
        "command": " ".join(["python -m benchmarks", name, *options]),
        "machine": machine.describe(figures.get("device")),
        "versions": machine.versions(),
        "revision": machine.revision(HERE),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    path = results_page.add_result(folder, name, result)
    (folder.parent / "RESULTS.md").write_text(results_page.render(folder), encoding="utf-8")
    print(f"kept in {path.name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
