"""Measures what applies to this machine, or one thing; keeps the figures with the machine, the versions and the day.

python -m benchmarks                        all that applies here, the cheap before the dear, within --budget-s
python -m benchmarks --tiny                 the benchmarks of a CUDA device at tiny size on the CPU, as a check; their
                                            figures are kept only where --results names a folder
python -m benchmarks --list                 what there is
python -m benchmarks parallax --frames 25   one of them; each has a --help

Figures are kept as they come: what a benchmark had found when it was stopped is there. benchmarks/RESULTS.md shows
them, and which of the targets were met.

On a CUDA device the benchmarks need torch with CUDA and its triton, numpy, opencv-python-headless, pillow, pyyaml,
filelock, psutil, safetensors, huggingface_hub, accelerate, transformers, requests and regex. A machine without network
that lacks the rest takes these wheels, 9 MB in all:

    diffusers==0.42.1 pydantic==2.14.3 pydantic_core==2.50.4 annotated_types==0.8.0 typing_inspection==0.4.5
    typing_extensions==4.16.0 platformdirs==4.14.7

(and torchao for the rows in int8 and fp8, which are left out without it):

    pip download --no-deps --only-binary=:all: --python-version X.Y --platform manylinux_2_17_x86_64 --dest wheels ...
    pip install --no-deps --no-index wheels/*.whl

and then gives, with a folder that outlasts the machine: python -m benchmarks --results FOLDER/results
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

from benchmarks import everything, machine, results_page
from benchmarks.parts import failed_parts

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
    """Exit code 0 with figures, 1 where a benchmark or a part of one failed, 2 for a mistake in the options or where
    this machine can't run the benchmark."""
    argv = list(sys.argv[1:] if argv is None else argv)
    known = benchmarks()
    if argv and argv[0] in ("--list", "-h", "--help"):
        print((__doc__ or "").strip(), "\n")
        for name, text in known.items():
            print(f"  {name:21}{text.splitlines()[0]}")
        return 0
    if not argv or argv[0].startswith("-"):
        return _everything(argv)
    name, *rest = argv
    if name not in known:
        print(f"There is no benchmark {name!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    return _one(name, rest, known[name])


def _one(name: str, options: Sequence[str], text: str) -> int:
    parser = _parser(name, text)
    module = importlib.import_module(f"benchmarks.{name}")
    module.add_arguments(parser)
    args = parser.parse_args(options)
    keeper = _Keeper(name, options, _folder(args))
    args.keep = keeper.keep
    figures = module.run(args)
    print(json.dumps(figures, indent=1))
    keeper.keep(figures, finished=True)
    failed = failed_parts(figures)
    for part, why in failed.items():
        print(f"{name}: {part} failed: {why}", file=sys.stderr)
    return int(bool(failed))


def _everything(options: Sequence[str]) -> int:
    parser = _parser("", __doc__ or "")
    everything.add_arguments(parser)
    args = parser.parse_args(options)
    keeper = _Keeper("", options, _folder(args))
    outcome = everything.run_all(args, on_done=keeper.render)
    keeper.render()
    for name, sentence in outcome.items():
        print(f"{name:21}{sentence}")
    return int(any(sentence.startswith("failed") for sentence in outcome.values()))


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}".strip(),
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-save", action="store_true", help="print the figures only")
    parser.add_argument("--results", type=Path, help="folder to keep them in (benchmarks/results)")
    return parser


def _folder(args: argparse.Namespace) -> Path | None:
    """Where the figures are kept; what was only a check of the code is not, unless a folder is named for it."""
    if args.no_save or (args.results is None and getattr(args, "tiny", False)):
        return None
    return args.results or HERE / "results"


def _without_folder(options: Sequence[str]) -> list[str]:
    """Where figures are kept is not what made them."""
    options = list(options)
    if "--results" in options:
        at = options.index("--results")
        del options[at : at + 2]
    return options


class _Keeper:
    """Where the figures of one benchmark go.

    Args:
        folder: of the results; None to keep nothing.
    """

    def __init__(self, name: str, options: Sequence[str], folder: Path | None) -> None:
        self._name, self._options, self._folder = name, options, folder

    def keep(self, figures: dict, *, finished: bool = False) -> None:
        """Keeps them; a benchmark that used an accelerator says so by a figure named ``device``."""
        if self._folder is None:
            return
        result = {
            "figures": figures,
            "finished": finished,
            "command": " ".join(["python -m benchmarks", self._name, *_without_folder(self._options)]),
            "machine": machine.describe(figures.get("device")),
            "versions": machine.versions(),
            "revision": machine.revision(HERE),
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        path = results_page.add_result(self._folder, self._name, result)
        self.render()
        if finished:
            print(f"kept in {path.name}", file=sys.stderr)

    def render(self) -> None:
        """The page shows what is in the folder."""
        if self._folder is not None:
            page = results_page.render(self._folder)
            (self._folder.parent / "RESULTS.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
