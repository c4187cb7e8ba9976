"""Writes a single-file checkpoint as a diffusers folder, tensor by tensor."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from studio.engines.convert.load import read_steps
from studio.engines.convert.parts import CLIP_HEAD_DIM, HEAD_DIM, Part, Step, read_part, refuse
from studio.errors import BadInput, WriteFailed
from studio.models.checkpoint import COMPONENTS, Checkpoint, Component, read_checkpoint
from studio.models.weights_file import stored_dtype

_WEIGHTS = {
    "image_encoder": "model{}.safetensors",
    "unet": "diffusion_pytorch_model{}.safetensors",
    "vae": "diffusion_pytorch_model{}.safetensors",
}
"""Component -> file in its folder, as on the hub; ``{}`` is ``.fp16`` or nothing."""

_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}

_FEATURE_EXTRACTOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}


class _Entry(NamedTuple):
    """One tensor of the file to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int


def write_folder(
    path: Path,
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
    *,
    head_dim: int = HEAD_DIM,
    clip_head_dim: int = CLIP_HEAD_DIM,
    frames: int | None = None,
) -> Checkpoint:
    """`folder` holds what the checkpoint holds, in diffusers' layout and in the precision that it is stored in.

    SVD's are whole pipelines; of SV3D, for which diffusers has no pipeline, it is the three networks. Nothing is
    left behind unless all of it is there: it is written under a temporary name beside `folder`.

    Args:
        report: (done_bytes, total_bytes) after each tensor; what it raises ends the work.
        frames: what the variant makes, for the UNet's config; by default SVD's 14 or SV3D's 21.

    Raises:
        BadInput: the checkpoint won't do, or the folder is there already.
        WriteFailed: no room, or no permission.
    """
    checkpoint = read_checkpoint(path)
    refuse(path, "has the unknown", list(checkpoint.unknown))
    if checkpoint.kind in ("sdxl", "vae"):
        raise BadInput(f"{path.name} is Stable Diffusion XL's; only SVD and SV3D are written as folders.")
    parts = {c: read_part(checkpoint, c, head_dim=head_dim, clip_head_dim=clip_head_dim) for c in COMPONENTS}
    if frames is not None:
        parts["unet"].config["num_frames"] = frames
    plans = {c: part.plan()[1] for c, part in parts.items()}
    total = sum(step.stored.stored_bytes for steps in plans.values() for step in steps)
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is there already.", "Name a folder that is not.")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_room(folder.parent, total)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        middle = ".fp16" if stored_dtype(path) == "fp16" else ""
        done = 0
        report(done, total)
        for component, part in parts.items():
            for count in _write_component(part, plans[component], temporary / component, middle):
                done += count
                report(done, total)
        _write_rest(checkpoint, parts, temporary)
        temporary.chmod(0o755)
        if folder.exists():
            folder.rmdir()  # it is empty; Windows replaces no folder, empty or not
        os.replace(temporary, folder)
    except OSError as e:
        raise WriteFailed(f"{folder} can't be written: {e.strerror or e}.", "Make room, or name another place.") from e
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return checkpoint


def _check_room(parent: Path, wanted_bytes: int) -> None:
    free = shutil.disk_usage(parent).free
    if wanted_bytes > free:
        raise WriteFailed(
            f"{wanted_bytes / 1e9:.1f} GB are to be written and {free / 1e9:.1f} GB are free in {parent}.", "Make room."
        )


def _write_component(part: Part, steps: Sequence[Step], folder: Path, middle: str) -> Any:
    """Writes weights and config; yields the bytes that each tensor took in the checkpoint."""
    folder.mkdir()
    _write_json(folder / "config.json", part.config)
    with (folder / _WEIGHTS[part.component].format(middle)).open("wb") as file:
        file.write(_header([entry for step in steps for entry in _entries(step)]))
        for step, tensor in read_steps(part.path, steps):
            for target in step.targets:
                file.write(target.transform(tensor).contiguous().view(-1).view(torch.uint8).numpy())
            yield step.stored.stored_bytes


def _entries(step: Step) -> list[_Entry]:
    empty = torch.empty(step.stored.shape, device="meta")
    shapes = [tuple(target.transform(empty).shape) for target in step.targets]
    width = step.stored.stored_bytes // max(1, math.prod(step.stored.shape))
    pairs = zip(step.targets, shapes, strict=True)
    return [_Entry(t.name, step.stored.dtype, shape, math.prod(shape) * width) for t, shape in pairs]


def _header(entries: Sequence[_Entry]) -> bytes:
    """The start of a safetensors file whose tensors follow in this order."""
    places: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        begin, end = end, end + entry.stored_bytes
        places[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [begin, end]}
    text = json.dumps(places, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write_rest(checkpoint: Checkpoint, parts: dict[Component, Part], folder: Path) -> None:
    """The small files that make a pipeline of the three networks."""
    if checkpoint.kind.startswith("sv3d"):
        return
    _write_json(folder / "scheduler" / "scheduler_config.json", _SCHEDULER)
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", _FEATURE_EXTRACTOR)
    index = {
        "_class_name": "StableVideoDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "unet": ["diffusers", parts["unet"].config["_class_name"]],
        "vae": ["diffusers", parts["vae"].config["_class_name"]],
    }
    _write_json(folder / "model_index.json", index)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
