import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file

from studio.engines import sdxl_weights
from studio.engines.convert.parts import read_part
from studio.engines.convert.table import source, targets
from studio.errors import BadInput
from studio.models.added import choose
from studio.models.catalog import Catalog
from studio.models.checkpoint import read_checkpoint, sort_tensors
from studio.models.header import Stored
from studio.models.installed import Installed, find
from studio.models.spec import read_spec
from studio.settings import shipped
from tests.engines.convert.oracles import full_size_keys
from tests.sgm import write_zeros
from tests.tiny_sdxl import (
    tiny_bare_vae,
    tiny_sdxl_yaml,
    write_tiny_refiner_file,
    write_tiny_sdxl,
    write_tiny_sdxl_file,
)

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")
PARAMETERS = {
    "text_encoder": 123_060_480,
    "text_encoder_2": 694_659_840,
    "unet": 2_567_463_684,
    "vae": 83_653_863,
}
PUBLISHED = {
    "text_encoder": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
                     "hidden_act": "quick_gelu", "vocab_size": 49408, "max_position_embeddings": 77},
    "text_encoder_2": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280,
                       "intermediate_size": 5120, "hidden_act": "gelu", "vocab_size": 49408},
    "unet": {"block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
             "transformer_layers_per_block": [1, 2, 10], "projection_class_embeddings_input_dim": 2816,
             "addition_time_embed_dim": 256, "use_linear_projection": True, "layers_per_block": 2,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]},
    "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "scaling_factor": 0.13025},
}  # fmt: skip
REFINER = {
    "text_encoder_2": 694_659_840,
    "unet": 2_259_526_660,
    "vae": 83_653_863,
}
REFINER_UNET = {
    "block_out_channels": [384, 768, 1536, 1536], "attention_head_dim": [6, 12, 24, 24], "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560, "addition_time_embed_dim": 256, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
UNET, G, L = "model.diffusion_model.", "conditioner.embedders.1.model.", "conditioner.embedders.0.transformer."


def checkpoint(shapes, name="full.safetensors"):
    tensors = {key: Stored("F16", shape, 2 * math.prod(shape)) for key, shape in shapes.items()}
    return sort_tensors(Path(name), tensors)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("single") / "tiny-sdxl.safetensors"
    return path, write_tiny_sdxl_file(path)


def at(path):
    return Installed("tiny-sdxl", "sgm", path, {"checkpoint": path}, "fp16")


def open_(component, installed):
    return sdxl_weights.load(component, installed, "cpu", "fp16", lambda done, total: None)


def test_the_key_list_is_the_one_of_the_published_file():
    """Of sd_xl_base_1.0.safetensors, readers have published the number of tensors, the sha256 of its sorted names as
    JSON, how many have which rank, and the bytes of its data, all of it fp16."""
    shapes = full_size_keys("sdxl")
    names = json.dumps(sorted(shapes), separators=(",", ":")).encode()
    assert hashlib.sha256(names).hexdigest() == "96235265e176ec32fa4d9f86da46b83125c917460c49e4512b33021567034d44"
    ranks = [sum(len(shape) == rank for shape in shapes.values()) for rank in (0, 1, 2, 3, 4)]
    assert (len(shapes), ranks) == (2515, [1, 1442, 949, 0, 123])
    assert 2 * sum(math.prod(shape) for shape in shapes.values()) == 6_937_675_890


def test_every_name_and_shape_of_the_full_size_file_has_one_place_and_every_place_is_filled():
    found = checkpoint(full_size_keys("sdxl"))
    assert (found.kind, found.unknown, tuple(found.components)) == ("sdxl", (), COMPONENTS)
    for component in COMPONENTS:
        part = read_part(found, component)
        module, steps = part.plan()
        filled = {t.name: tuple(t.transform(torch.empty(step.stored.shape, device="meta")).shape)
                  for step in steps for t in step.targets}  # fmt: skip
        assert filled == {n: tuple(t.shape) for n, t in module.state_dict().items()}
        assert {step.name for step in steps} == set(found.components[component])
        assert sum(p.numel() for p in module.parameters()) == PARAMETERS[component]
        assert {key: part.config[key] for key in PUBLISHED[component]} == PUBLISHED[component]
        assert all(source(part.table, t.name) == s.name for s in steps for t in targets(part.table, s.name))


def test_every_name_and_shape_of_the_full_size_refiner_has_one_place_and_every_place_is_filled():
    """Of sd_xl_refiner_1.0.safetensors its length is known; its header takes up as much more than names and shapes do
    as the base's (37,652 bytes), whose metadata it shares in kind."""
    shapes = full_size_keys("sdxl_refiner")
    data, plain = 2 * sum(math.prod(s) for s in shapes.values()), 0
    entries = {}
    for name in sorted(shapes):
        end = plain + 2 * math.prod(shapes[name])
        entries[name] = {"dtype": "F16", "shape": shapes[name], "data_offsets": [plain, end]}
        plain = end
    header = len(json.dumps(entries, separators=(",", ":")))
    assert 6_075_981_930 - 8 - data - header == pytest.approx(37_652, abs=500)
    found = checkpoint(shapes)
    assert (found.kind, found.unknown, tuple(found.components)) == ("sdxl-refiner", (), tuple(REFINER))
    for component, parameters in REFINER.items():
        part = read_part(found, component)
        module, steps = part.plan()
        filled = {t.name: tuple(t.transform(torch.empty(step.stored.shape, device="meta")).shape)
                  for step in steps for t in step.targets}  # fmt: skip
        assert filled == {n: tuple(t.shape) for n, t in module.state_dict().items()}
        assert {step.name for step in steps} == set(found.components[component])
        assert sum(p.numel() for p in module.parameters()) == parameters
    config = read_part(found, "unet").config
    assert {key: config[key] for key in REFINER_UNET} == REFINER_UNET
    assert config["transformer_layers_per_block"][1:] == [4, 4, 4], "of the last level the middle takes its own"
    spec = Catalog(shipped("configs") / "models").get("sdxl-refiner")
    assert spec.component_bytes == {c: 2 * n for c, n in REFINER.items()}
    (single,) = [s for s in spec.sources if s.kind == "file"]
    assert (single.holds, single.total_bytes in spec.published) == ("sdxl-refiner", True)


def test_a_refiners_single_file_is_recognised_loaded_as_stored_and_placed_as_diffusers_does(tmp_path):
    path = tmp_path / "sd_xl_refiner_1.0.safetensors"
    networks = write_tiny_refiner_file(path)
    assert (read_checkpoint(path).kind, read_checkpoint(path).unknown) == ("sdxl-refiner", ())
    modules = {c: open_(c, at(path)) for c in networks}
    for component, module in modules.items():
        state = module.state_dict()
        assert set(state) == set(networks[component])
        assert all(torch.equal(state[name], networks[component][name]) for name in state)
    unet, stored = modules["unet"], load_file(path)
    theirs = single_file_utils.convert_ldm_unet_checkpoint(dict(stored), dict(unet.config))
    text = single_file_utils.convert_open_clip_checkpoint(
        modules["text_encoder_2"], dict(stored), prefix="conditioner.embedders.0.model."
    )
    for ours, others in ((unet.state_dict(), theirs), (modules["text_encoder_2"].state_dict(), text)):
        assert set(ours) <= set(others)
        assert all(torch.equal(ours[name], others[name]) for name in ours)
    assert modules["text_encoder_2"].tokenizer.pad_token == "!"
    specs = list(Catalog(shipped("configs") / "models"))
    assert choose(path, specs).id == "sdxl-refiner"
    for lost, says in ((lose("first_stage_model.decoder"), "lacks the VAE's decoder"), (lose(UNET), "lacks the UNet")):
        shapes = {n: tuple(t.shape) for n, t in stored.items()}
        lost(shapes)
        with pytest.raises(BadInput, match=says):
            checkpoint(shapes)


def test_the_shipped_variant_takes_the_published_file_by_its_content():
    spec = Catalog(shipped("configs") / "models").get("sdxl")
    assert spec.component_bytes == {c: 2 * n for c, n in PARAMETERS.items()}
    (single,) = [s for s in spec.sources if s.kind == "file"]
    (hub,) = [s for s in spec.sources if s.kind == "hub"]
    assert single.holds == "sdxl"
    assert single.total_bytes in spec.published
    assert set(hub.weights) == set(COMPONENTS)
    assert set(hub.other) == {f"{c}/config.json" for c in COMPONENTS}
    weights_bytes = sum(size for size in spec.published if size != single.total_bytes)
    assert 0 < hub.total_bytes - weights_bytes < 1_000_000


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_is_loaded_from_a_single_file_is_what_was_stored(whole, component):
    path, networks = whole
    state = open_(component, at(path)).state_dict()
    assert set(state) == set(networks[component])
    assert all(torch.equal(state[name], networks[component][name]) for name in state)


def test_diffusers_own_converters_put_every_tensor_in_the_same_place(whole):
    path, _ = whole
    stored = load_file(path)
    unet, text, vae = (open_(c, at(path)) for c in ("unet", "text_encoder_2", "vae"))
    theirs = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(stored), dict(unet.config)),
        "vae": single_file_utils.convert_ldm_vae_checkpoint(dict(stored), dict(vae.config)),
        "text_encoder_2": single_file_utils.convert_open_clip_checkpoint(text, dict(stored), prefix=G),
    }
    for component, module in {"unet": unet, "vae": vae, "text_encoder_2": text}.items():
        ours = module.state_dict()
        assert set(ours) <= set(theirs[component])
        assert all(torch.equal(ours[name], theirs[component][name].reshape(ours[name].shape)) for name in ours)


def test_the_same_tensors_have_the_same_digest_from_a_folder_and_from_a_single_file(whole, tmp_path):
    path, _ = whole
    folder = write_tiny_sdxl(tmp_path / "folder", dtype="fp16")
    weights = {c: folder / c / "model.fp16.safetensors" for c in ("text_encoder", "text_encoder_2")}
    weights |= {c: folder / c / "diffusion_pytorch_model.fp16.safetensors" for c in ("unet", "vae")}
    inside = Installed("tiny-sdxl", "diffusers", folder, weights, "fp16")
    digest = lambda c, i: sdxl_weights.open_weights(c, i, "cpu", "fp16").digest(lambda done, total: None)  # noqa: E731
    for component in ("unet", "vae"):
        assert digest(component, inside) == digest(component, at(path))
    # Both folders' vocabularies differ, and so do the text encoders.
    assert digest("text_encoder", inside) != digest("text_encoder", at(path))


def test_a_single_files_text_encoders_have_the_studios_tokenizer_with_their_own_filling(whole):
    path, _ = whole
    tokenizers = [open_(c, at(path)).tokenizer for c in ("text_encoder", "text_encoder_2")]
    assert [t.pad_token for t in tokenizers] == ["<|endoftext|>", "!"]
    assert tokenizers[0]("a cat").input_ids == tokenizers[1]("a cat").input_ids == [49406, 320, 2368, 49407]


def test_an_autoencoder_in_a_file_of_its_own_is_recognised_and_taken_before_the_checkpoints(whole, tmp_path):
    path, networks = whole
    changed = {k: v + 1 for k, v in networks["vae"].items()}
    own = tmp_path / "sdxl_vae.safetensors"
    save_file(tiny_bare_vae(changed), own)
    assert (read_checkpoint(own).kind, read_checkpoint(own).unknown) == ("vae", ())
    both = Installed("tiny-sdxl", "sgm", path, {"checkpoint": path, "vae": own}, "fp16")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")  # as its publisher's folder has one
    vae = open_("vae", both)
    assert vae.config.scaling_factor == 0.13025
    assert torch.equal(vae.state_dict()["decoder.conv_in.bias"], changed["decoder.conv_in.bias"])
    assert torch.equal(open_("unet", both).state_dict()["conv_in.bias"], networks["unet"]["conv_in.bias"])
    full = {k.removeprefix("first_stage_model."): s for k, s in full_size_keys("sdxl").items() if "first_stage" in k}
    module, _ = read_part(checkpoint(full), "vae").plan()
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS["vae"]


def test_a_file_and_its_fp16_copy_are_found_by_name_and_chosen_by_content(whole, tmp_path):
    path, _ = whole
    spec = read_spec(tiny_sdxl_yaml("tiny-sdxl", tmp_path))
    models = tmp_path / "models"
    models.mkdir()
    assert find(spec, models_dir=models, hub_cache=tmp_path) is None
    (models / "tiny-sdxl_fp16.safetensors").symlink_to(path)
    found = find(spec, models_dir=models, hub_cache=tmp_path)
    assert (found.layout, found.dtype) == ("sgm", "fp16")
    assert found.component_bytes("vae") == sum(2 * t.numel() for t in whole[1]["vae"].values())
    assert choose(path, [spec]) is spec


def test_schedules_that_some_tools_write_along_are_left_out(whole, tmp_path):
    extra = {"denoiser.sigmas": (1000,), "alphas_cumprod": (1000,), "sqrt_one_minus_alphas_cumprod": (1000,)}
    assert checkpoint({**full_size_keys("sdxl"), **extra}).unknown == ()
    assert checkpoint({**full_size_keys("sdxl"), "v_pred": ()}).unknown == ("v_pred",)


def lose(*starts):
    return lambda shapes: [shapes.pop(n) for n in list(shapes) if n.startswith(starts)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lose(L), "is only a part of a checkpoint: it lacks the first text encoder"),
        (lose("first_stage_model.decoder"), "it lacks the VAE's decoder"),
        (lose(UNET), "it lacks the UNet"),
        (lambda s: s.update({f"{UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}), "fills in or edits pictures"),
    ],
)
def test_a_file_that_is_something_else_is_told_so(tmp_path, change, says):
    shapes = {
        n: s if len(s) < 2 or "input_blocks.0.0" in n else (1,) * len(s) for n, s in full_size_keys("sdxl").items()
    }
    change(shapes)
    with pytest.raises(BadInput, match=says):
        read_checkpoint(write_zeros(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(
    ("component", "change", "says"),
    [
        ("unet", lose(f"{UNET}out.2.bias"), r"lacks model\.diffusion_model\.out\.2\.bias"),
        ("unet", lambda s: s.update({f"{UNET}out.2.bias": (5,)}), r"out\.2\.bias is \[5\]"),
        ("unet", lambda s: s.update({f"{UNET}out.9.bias": (5,)}), r"unknown .*out\.9\.bias"),
        ("text_encoder_2", lose(f"{G}transformer.resblocks.3.attn.in_proj_weight"), "lacks .*in_proj_weight"),
        ("text_encoder", lose(f"{L}text_model.final_layer_norm.bias"), r"lacks .*final_layer_norm\.bias"),
        ("text_encoder_2", lose(f"{G}text_projection"), r"lacks .*text_projection"),
        ("vae", lose("first_stage_model.quant_conv.bias"), r"lacks first_stage_model\.quant_conv\.bias"),
    ],
)
def test_what_does_not_fit_is_told_in_the_files_own_names(component, change, says):
    shapes = full_size_keys("sdxl")
    change(shapes)
    with pytest.raises(BadInput, match=says):
        read_part(checkpoint(shapes), component).plan()
