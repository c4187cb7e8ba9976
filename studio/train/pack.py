"""A stage's folder in a few files of bounded size, as a lent machine gives them back, and out of them again.

    python -m studio.train pack OUT/sdxl $OUT      # there: sdxl.1-of-2.tar, sdxl.2-of-2.tar
    python -m studio.train unpack DIR sdxl.*.tar   # here: DIR/sdxl/...

Nothing is compressed: weights in fp16 are noise to any packer.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from studio.errors import BadInput, StudioError

MOST_BYTES = 15 * 2**20
"""Of a part."""

_PART = re.compile(r"(?P<stage>[a-z0-9]+)\.(?P<number>\d+)-of-(?P<count>\d+)\.tar")
_ENTRY_BYTES = 1024
"""What a file takes in an archive besides its content, at most."""


def pack(folder: Path, out: Path) -> list[Path]:
    """The parts, in `out`, that hold all files of the folder; each file is whole in one of them.

    Raises:
        BadInput: there is no such folder, or a file in it is too large for a part.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise BadInput(f"{folder} holds no files.", "Name the folder of a stage.")
    parts: list[list[Path]] = []
    left = -1
    for file in sorted(files, key=lambda path: -path.stat().st_size):
        taken = file.stat().st_size + _ENTRY_BYTES
        if taken > MOST_BYTES - 2 * tarfile.RECORDSIZE:
            raise BadInput(f"{file} has {taken:,} bytes; a part holds {MOST_BYTES:,}.", "Write smaller shards.")
        if taken > left:
            parts.append([])
            left = MOST_BYTES - 2 * tarfile.RECORDSIZE
        parts[-1].append(file)
        left -= taken
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for number, part in enumerate(parts, 1):
        path = out / f"{folder.name}.{number}-of-{len(parts)}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            for file in sorted(part):
                _add(archive, f"{folder.name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        made.append(path)
    return made


def unpack(parts: Sequence[Path], root: Path) -> list[Path]:
    """The stages' folders in `root`, each now as it was packed and with nothing else in it.

    Raises:
        BadInput: a part is missing or damaged, or holds what no stage does.
    """
    stages: dict[str, dict[tuple[int, int], Path]] = {}
    for part in parts:
        named = _PART.fullmatch(part.name)
        if named is None:
            raise BadInput(f"{part.name} is no part of a stage.", "Parts are named like sdxl.1-of-2.tar.")
        stages.setdefault(named["stage"], {})[int(named["number"]), int(named["count"])] = part
    for stage, found in stages.items():
        count = max(count for _, count in found)
        if set(found) != {(number, count) for number in range(1, count + 1)}:
            raise BadInput(f"{stage}: not all of its {count} parts are there, or they are of two packings.")
    made = []
    for stage, found in stages.items():
        fresh = root / f".{stage}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for number in sorted(found):
            _extract(found[number], stage, fresh)
        shutil.rmtree(root / stage, ignore_errors=True)
        fresh.rename(root / stage)
        made.append(root / stage)
    return made


def main(words: Sequence[str]) -> int:
    """`pack` or `unpack` as on the command line; 0 done, else the error's code."""
    parser = argparse.ArgumentParser(prog="studio train")
    kinds = parser.add_subparsers(dest="what", required=True)
    packing = kinds.add_parser("pack", help="a stage's folder into parts")
    packing.add_argument("folder", type=Path)
    packing.add_argument("out", type=Path)
    unpacking = kinds.add_parser("unpack", help="parts into the folder of the family")
    unpacking.add_argument("root", type=Path)
    unpacking.add_argument("parts", type=Path, nargs="+")
    given = parser.parse_args(words)
    try:
        made = pack(given.folder, given.out) if given.what == "pack" else unpack(given.parts, given.root)
    except StudioError as e:
        print(f"{e.message} {e.remedy}".rstrip(), file=sys.stderr)
        return e.exit_code
    for path in made:
        print(path)
    return 0


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Without owner and time, so that the same files give the same part."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _extract(part: Path, stage: str, folder: Path) -> None:
    try:
        with tarfile.open(part) as archive:
            for member in archive:
                inside = PurePosixPath(member.name)
                if not member.isfile() or inside.parts[0] != stage or ".." in inside.parts or inside.is_absolute():
                    raise BadInput(f"{part.name} holds {member.name}, which is no file of {stage}.")
                target = folder.joinpath(*inside.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as e:
        raise BadInput(f"{part.name} is damaged: {e}", "Pack and fetch it again.") from e
