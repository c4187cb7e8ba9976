"""A variant that does not exist, with files of the right form: whole safetensors made by hand, a few KB."""

from __future__ import annotations

import json
import struct

from studio.models.spec import VariantSpec

REVISION = "a" * 40
COMPONENTS = ("image_encoder", "unet", "vae")


def safetensors(count, dtype="F16"):
    """A whole file with one tensor, built by hand: this layer has no torch."""
    width = {"F16": 2, "F32": 4}[dtype]
    header = json.dumps({"w": {"dtype": dtype, "shape": [count], "data_offsets": [0, count * width]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(i * 7 % 251 for i in range(count * width))


def hub_source(dtype):
    middle = ".fp16" if dtype == "fp16" else ""
    return {
        "kind": "hub", "repo": "maker/thing", "revision": REVISION, "dtype": dtype, "total_bytes": 1000,
        "weights": {c: f"{c}/model{middle}.safetensors" for c in COMPONENTS},
        "other": [f"{c}/config.json" for c in COMPONENTS],
    }  # fmt: skip


def make_spec(**given):
    return VariantSpec.model_validate(
        {
            "id": "thing", "title": "Thing", "summary": "", "family": "svd", "capabilities": {},
            "sources": [
                hub_source("fp16"),
                hub_source("fp32"),
                {"kind": "file", "names": ["thing.safetensors"], "total_bytes": 1},
            ],
            "licence": {"name": "Its licence", "gated": True},
            **given,
        }
    )  # fmt: skip


SPEC = make_spec()


def files(dtype="fp16"):
    kind = "F16" if dtype == "fp16" else "F32"
    made = {
        name: safetensors(5000 + i, kind)
        for i, name in enumerate(SPEC.sources[0 if dtype == "fp16" else 1].weights.values())
    }
    return {**made, **{f"{c}/config.json": b"{}" for c in COMPONENTS}}


def put(folder, dtype="fp16"):
    for name, data in files(dtype).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def checkpoint_tensors(kind):
    """The fewest tensors by which a single-file checkpoint is recognised as that kind: name -> shape."""
    width = {"sv3d-u": 256, "sv3d-p": 1280}.get(kind, 768)
    vae = f"conditioner.embedders.{1 if kind.startswith('sv3d') else 3}.encoder."
    found = {
        "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight": (8,),
        "model.diffusion_model.label_emb.0.0.weight": (8, width),
        "conditioner.embedders.0.open_clip.model.visual.class_embedding": (8,),
        f"{vae}encoder.conv_in.weight": (8, 3, 3, 3),
        f"{vae}quant_conv.bias": (8,),
        "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
    }
    if kind == "svd":
        found["first_stage_model.decoder.mid.block_1.time_stack.in_layers.0.weight"] = (8,)
    if kind == "svd-image-decoder":
        found["first_stage_model.post_quant_conv.bias"] = (4,)
    return found
