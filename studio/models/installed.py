"""What is on this machine: the models folder, the hub's cache, an existing ComfyUI folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from studio.errors import BadInput, NotInstalled, StudioError
from studio.models import trained
from studio.models.added import added, file_sources, forget
from studio.models.checkpoint import read_checkpoint
from studio.models.extra import find_extras
from studio.models.sampling import DISTILLED
from studio.models.spec import Extra, HubSource, ShippedSource, VariantSpec, WheelSource
from studio.models.unet_file import unet_bytes
from studio.models.weights_file import file_sha256, sha256_of, shards, stored_dtype

MANIFEST = "pulled.json"
"""In a variant's folder: what `pull` put there: repository, revision and each file's bytes and sha256."""

PARTIAL = ".partial"
"""In the models folder: downloads that are not whole yet. Nothing is ever looked for in it."""


@dataclass(frozen=True)
class Installed:
    """Weights found on this machine.

    Args:
        root: the folder (diffusers and plain layout) or the file (sgm layout) they are in.
        weights: component -> `.safetensors` file, or the `.safetensors.index.json` of a sharded one; the
            component's ``config.json`` lies beside it, but for the plain layout, where it needs none and may be an
            `.onnx` file. In sgm layout one file under ``checkpoint``.
        dtype: of the tensors in the files.

    In every layout a component may have a single file of its own among the weights, wherever that lies.
    """

    variant: str
    layout: Literal["diffusers", "sgm", "plain", "bundled"]
    root: Path
    weights: dict[str, Path]
    dtype: Literal["fp16", "fp32"]

    def has(self, component: str) -> bool:
        """Whether it is here: a variant may lack what it has besides the components that it needs."""
        inside = read_checkpoint(self.root).components if self.layout == "sgm" else ()
        return component in self.weights or component in inside

    def sampling_with(self, unet: str) -> Installed:
        """The same weights without the UNet that does not sample where `unet` does, of the two that there may be."""
        spare = DISTILLED if unet == "unet" else "unet"
        used = {component: path for component, path in self.weights.items() if component != spare}
        return replace(self, weights=used) if DISTILLED in self.weights else self

    def files(self, component: str) -> tuple[Path, ...]:
        """The files that hold the component.

        Raises:
            NotInstalled: it is one of those that a variant may lack, and is not here.
        """
        if component == DISTILLED and component not in self.weights:
            says = f"sampler: lcm is for a UNet that {self.variant} has not here."
            raise NotInstalled(says, "Choose another sampler.", field="sampler")
        path = self.weights.get(component, self.root) if self.layout == "sgm" else self.weights[component]
        return tuple(shards(path)) if path.name.endswith(".index.json") else (path,)

    def component_bytes(self, component: str) -> int:
        """Bytes of the component's weights on disk; of a single file, of the tensors that the component takes."""
        if component == DISTILLED:
            return unet_bytes(self.files(component)[0])
        if self.layout == "sgm":
            return read_checkpoint(self.files(component)[0]).component_bytes(component)
        return sum(p.stat().st_size for p in self.files(component))

    def stored_in(self, component: str) -> Literal["fp16", "fp32"]:
        """The precision of the component's tensors in the files: one from another publisher may have its own."""
        return stored_dtype(self.files(component)[0]) or self.dtype

    @property
    def total_bytes(self) -> int:
        """Bytes of the weights on disk."""
        return sum(p.stat().st_size for c in self.weights for p in self.files(c))


@dataclass(frozen=True)
class Finding:
    """What a search gave: weights, or one sentence on what was found instead ("" where nothing was)."""

    installed: Installed | None
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """One weights file after a check; `ok` is None where the publisher's hash is not known."""

    file: Path
    ok: bool | None
    says: str


def find(
    spec: VariantSpec,
    *,
    models_dir: Path,
    comfyui_dir: Path | None = None,
    hub_cache: Path | None = None,
    precision: str = "auto",
) -> Installed | None:
    """The variant's weights, or None where there are none that are whole. See `look`."""
    return look(
        spec, models_dir=models_dir, comfyui_dir=comfyui_dir, hub_cache=hub_cache, precision=precision
    ).installed


def look(
    spec: VariantSpec,
    *,
    models_dir: Path,
    comfyui_dir: Path | None = None,
    hub_cache: Path | None = None,
    precision: str = "auto",
    package: Path | None = None,
) -> Finding:
    """The file that was added for the variant; else, where it comes from a package, what was made of that; else
    searches `models_dir/<id>`, the hub cache's snapshot of the pinned revision, then ComfyUI's ``diffusers/``; last,
    single files by name, in `models_dir` and in ComfyUI's ``checkpoints/``. What the studio trains itself is looked for
    in the models folder, then in the package.

    Only whole files count: all components' weights and configs must be there, of the length that their headers say.
    A single file must hold the networks that the variant runs on, whatever its name.

    Args:
        comfyui_dir: ComfyUI's models folder, or the folder that holds it.
        hub_cache: None for the place that ``HF_HUB_CACHE``, ``HF_HOME`` or ``XDG_CACHE_HOME`` names.
        precision: which files to take where both are there: "fp32", or else fp16.
        package: the weights that come with the studio; None for its own.
    """
    if spec.shipped is not None:
        return _shipped(spec, spec.shipped, trained.folders(spec.shipped, models_dir, package))
    found = _look(spec, models_dir, comfyui_dir, hub_cache or default_hub_cache(), precision)
    if found.installed is None:
        return found
    extras = find_extras(spec, models_dir=models_dir, comfyui_dir=comfyui_dir, precision=precision)
    own = {**found.installed.weights, **extras}
    folders = [models_dir] + ([] if comfyui_dir is None else [comfyui_dir, comfyui_dir / "models"])
    for component, names in spec.own_files.items():
        places = (folder / "vae" / name for name in names for folder in folders)
        path = next(filter(_is_vae, places), None)
        if path is not None:
            own[component] = path
    return Finding(replace(found.installed, weights=own))


def _is_vae(path: Path) -> bool:
    try:
        return path.is_file() and read_checkpoint(path).kind == "vae"
    except BadInput:
        return False


def _look(spec: VariantSpec, models_dir: Path, comfyui_dir: Path | None, hub_cache: Path, precision: str) -> Finding:
    if spec.bundled:
        return Finding(Installed(spec.id, "bundled", Path(), {}, "fp32"))
    for source in spec.sources:
        if isinstance(source, WheelSource):
            return _plain(spec, models_dir / spec.id, source)
    own = added(spec.id, models_dir)
    if own is not None:
        return _checkpoint(spec, own)
    sources = sorted(
        (s for s in spec.sources if isinstance(s, HubSource)),
        key=lambda s: s.dtype != ("fp32" if precision == "fp32" else "fp16"),
    )
    spoilt: Path | None = None
    for source in sources:
        for folder in _folders(spec, source, models_dir, comfyui_dir, hub_cache):
            found = _whole(spec, source, folder)
            if found is not None:
                return Finding(found)
            if _weights_in(folder, source) is not None:
                spoilt = folder
    single = Finding(None)
    for path in _named_files(spec, models_dir, comfyui_dir, precision):
        single = _checkpoint(spec, path)
        if single.installed is not None:
            return single
    if spoilt is not None:
        return Finding(None, f"Found {spoilt}, but a weights file in it is damaged or cut short.")
    return single


def default_hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """Where huggingface_hub keeps its downloads, by the variables that it reads itself."""
    environ = os.environ if environ is None else environ
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"]).expanduser()
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser() / "hub"
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def verify(
    installed: Installed,
    report: Callable[[int, int], None] = lambda done, total: None,
    *,
    published: Mapping[int, str] | None = None,
    extras: Mapping[str, Extra] | None = None,
    remedy: str = "",
) -> list[Checked]:
    """Reads every weights file whole and holds it to the publisher's sha256, where that is known.

    It is known for what `pull` fetched and what the studio's training wrote, for files in the hub's cache, which are
    named by it, and for files whose length is that of a published one.

    Args:
        report: (done_bytes, total_bytes); what it raises ends the check.
        published: bytes of a file -> its sha256, as in the variant's spec.
        extras: of the variant's spec: what they have published counts for them alone.
        remedy: what helps where a file is wrong; "" for what helps with pulled and added ones.

    Raises:
        StudioError: a file is not what was published, or is cut short; names all of those.
    """
    total, done = installed.total_bytes, 0
    known = {**trained.hashes(installed.root / MANIFEST), **trained.stage_hashes(installed.root)}
    checked = []

    def published_of(component: str) -> Mapping[int, str | tuple[str, ...]]:
        return extras[component].published if extras and component in extras else published or {}

    def heard(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    for component in installed.weights:
        for file in installed.files(component):
            inside = _inside(file, installed.root)
            wanted = known.get(inside) or _hash_in_cache(file) or published_of(component).get(file.stat().st_size)
            if file.suffix == ".safetensors" and stored_dtype(file) is None:
                checked.append(Checked(file, False, "damaged or cut short"))
            elif wanted is None:
                checked.append(Checked(file, None, "whole; its publisher's sha256 is not known"))
            else:
                same = sha256_of(file, heard) in ((wanted,) if isinstance(wanted, str) else wanted)
                checked.append(Checked(file, same, "as published" if same else "differs from what was published"))
    wrong = [f"{_inside(c.file, installed.root.parent)} ({c.says})" for c in checked if c.ok is False]
    if wrong:
        raise StudioError(
            f"{installed.variant}: {', '.join(wrong)}.",
            remedy
            or (
                "Get the file from its publisher again."
                if installed.layout == "sgm"
                else f"Run: python -m studio models remove {installed.variant}, then pull it again."
            ),
        )
    return checked


def _inside(file: Path, folder: Path) -> str:
    """The file as seen from the folder; by its name where it lies elsewhere."""
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def remove(spec: VariantSpec, models_dir: Path) -> int:
    """`models_dir/<id>` and what was half downloaded for it are gone; returns the bytes freed.

    Only the models folder is touched, never the hub's cache or ComfyUI's folder; of a link only the link goes, and a
    file that was added is forgotten, not removed.

    Raises:
        NotInstalled: there is nothing of it in the models folder.
    """
    root = models_dir.resolve()
    freed, found = 0, forget(spec.id, models_dir)
    for target in (root / spec.id, root / PARTIAL / spec.id):
        if target.is_symlink():
            target.unlink()
            found = True
        elif target.is_dir():
            if target.resolve().parent not in (root, root / PARTIAL):
                raise BadInput(f"{target} leads outside the models folder.", "Remove it by hand.")
            freed += sum(p.lstat().st_size for p in target.rglob("*") if not p.is_dir())
            shutil.rmtree(target)
            found = True
    if not found:
        raise NotInstalled(f"{spec.id} is not in {models_dir}.", "What lies elsewhere is not the studio's to remove.")
    return freed


def component_hashes(installed: Installed, cache_file: Path | None = None) -> dict[str, str]:
    """Component -> sha256 of its weights in hex; of a sharded one, of its shards' hashes in order of name."""
    found = {}
    for component in sorted(installed.weights):
        each = [file_sha256(f, cache_file) for f in installed.files(component)]
        found[component] = each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
    return found


def _folders(
    spec: VariantSpec, source: HubSource, models_dir: Path, comfyui_dir: Path | None, hub_cache: Path
) -> Iterator[Path]:
    yield models_dir / spec.id
    yield hub_cache / f"models--{source.repo.replace('/', '--')}" / "snapshots" / source.revision
    if comfyui_dir is not None:
        for base in (comfyui_dir, comfyui_dir / "models"):
            for name in (spec.id, source.repo.rpartition("/")[2]):
                yield base / "diffusers" / name


def _shipped(spec: VariantSpec, source: ShippedSource, where: tuple[Path, ...]) -> Finding:
    """The weights from the first folder that has all of them: a decoder goes with the latents it was trained on."""
    note = ""
    for folder in where:
        found = _whole(spec, source, folder)
        if found is not None:
            return Finding(found)
        if _weights_in(folder, source) is not None:
            note = note or f"Found {folder}, but a weights file in it is damaged or cut short."
    return Finding(None, note)


def _whole(spec: VariantSpec, source: HubSource | ShippedSource, folder: Path) -> Installed | None:
    """The variant's weights in that folder, None where they are not all there and whole."""
    weights = _weights_in(folder, source)
    if weights is None:
        return None
    dtypes = {stored_dtype(f) for w in weights.values() for f in _files(w)}
    if None in dtypes:
        return None
    return Installed(spec.id, "diffusers", folder, weights, "fp32" if "fp32" in dtypes else "fp16")


def _weights_in(folder: Path, source: HubSource | ShippedSource) -> dict[str, Path] | None:
    found = {component: trained.file_of(folder / name) for component, name in source.weights.items()}
    return None if None in found.values() else {c: path for c, path in found.items() if path is not None}


def _files(weights: Path) -> list[Path]:
    # A broken index stands for itself: it is no whole safetensors file, which is what the caller asks.
    return (shards(weights) or [weights]) if weights.name.endswith(".index.json") else [weights]


def _named_files(spec: VariantSpec, models_dir: Path, comfyui_dir: Path | None, precision: str) -> Iterator[Path]:
    """Single files that lie where they are looked for, under the published name or as an fp16 copy of it."""
    folders = [models_dir]
    if comfyui_dir is not None:
        folders += [comfyui_dir / "checkpoints", comfyui_dir / "models" / "checkpoints"]
    for source in file_sources(spec):
        for name in source.names:
            stem = name.removesuffix(".safetensors")
            copies = [f"{stem}{middle}fp16.safetensors" for middle in "_-."]
            for each in [name, *copies] if precision == "fp32" else [*copies, name]:
                yield from (folder / each for folder in folders if (folder / each).is_file())


def _plain(spec: VariantSpec, folder: Path, source: WheelSource) -> Finding:
    file = folder / source.kept
    if not file.is_file():
        return Finding(None)
    if source.format == "onnx":  # its length is known, and nothing in it tells more
        dtype = "fp32" if file.stat().st_size == source.file_bytes else None
    else:
        dtype = stored_dtype(file)
    if dtype is None:
        return Finding(None, f"Found {file}, but it is damaged or cut short.")
    return Finding(Installed(spec.id, "plain", folder, {source.component: file}, dtype))


def _checkpoint(spec: VariantSpec, path: Path) -> Finding:
    """The single file as the variant's weights, or why it is not that."""
    try:
        kind = read_checkpoint(path).kind
    except BadInput as e:
        return Finding(None, f"Found {path}, but: {e.message}")
    if all(source.holds != kind for source in file_sources(spec)):
        return Finding(None, f"Found {path}, but it holds {kind} networks.")
    dtype = stored_dtype(path)
    assert dtype is not None, path
    return Finding(Installed(spec.id, "sgm", path, {"checkpoint": path}, dtype))


def _hash_in_cache(file: Path) -> str | None:
    """The hub's cache keeps large files under their sha256 and links to them."""
    name = file.resolve().name
    return name if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", name) else None
