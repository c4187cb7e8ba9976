"""Components that a variant may have besides those it needs: a file that is found by its name, known by its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from studio.errors import BadInput
from studio.models.added import plain_name
from studio.models.spec import Extra, VariantSpec
from studio.models.unet_file import unet_layout
from studio.models.weights_file import stored_dtype

_COMFYUI = ("diffusion_models", "unet", "checkpoints")
"""ComfyUI's folders for a UNet, alone or in a whole checkpoint."""


def find_extras(
    spec: VariantSpec, *, models_dir: Path, comfyui_dir: Path | None = None, precision: str = "auto"
) -> dict[str, Path]:
    """Component -> its file, for those of the variant's extras that are here and whole.

    Looked for, in that order: in what `pull` made, in the variant's own folder, in the models folder, in ComfyUI's. Of
    several copies the one in the wanted precision is taken.

    Args:
        comfyui_dir: ComfyUI's models folder, or the folder that holds it.
        precision: "fp32", or else fp16.
    """
    found = {}
    for component, extra in spec.extras.items():
        folders = [models_dir / spec.id / component, models_dir / spec.id, models_dir]
        for base in () if comfyui_dir is None else (comfyui_dir, comfyui_dir / "models"):
            folders += [base / name for name in _COMFYUI]
        path = next(_named(extra, folders, precision), None)
        if path is not None:
            found[component] = path
    return found


def is_named(path: Path, extra: Extra) -> bool:
    """Whether the file has one of the names that the extra's files have."""
    return any(plain_name(path) == plain_name(Path(name)) for name in extra.names)


def _named(extra: Extra, folders: list[Path], precision: str) -> Iterator[Path]:
    there = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    wanted = "fp32" if precision == "fp32" else "fp16"
    for name in extra.names:
        copies = [path for path in there if plain_name(path) == plain_name(Path(name)) and _is_whole(path)]
        yield from sorted(copies, key=lambda path: stored_dtype(path) != wanted)


def _is_whole(path: Path) -> bool:
    try:
        return bool(unet_layout(path))
    except BadInput:
        return False
