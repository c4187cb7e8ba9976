import math
from pathlib import Path

import pytest
import torch

from studio.engines.convert import clip, unet, vae
from studio.engines.convert.parts import read_part
from studio.engines.convert.table import Target, source, targets, third, to
from studio.engines.networks import build_empty
from studio.engines.sv3d_unet import PerFrameUNet
from studio.errors import BadInput
from studio.models.checkpoint import COMPONENTS, read_checkpoint, sort_tensors
from studio.models.header import Stored
from tests.engines.convert.oracles import KINDS, SHIPPED, Case, full_size_keys

SVD = Case(SHIPPED / "a" / "svd")


def checkpoint(shapes, name="full.safetensors"):
    tensors = {key: Stored("F16", shape, 2 * math.prod(shape)) for key, shape in shapes.items()}
    return sort_tensors(Path(name), tensors)


PUBLISHED = {
    "unet": {"block_out_channels": [320, 640, 1280, 1280], "num_attention_heads": [5, 10, 20, 20],
             "cross_attention_dim": 1024, "layers_per_block": 2, "transformer_layers_per_block": 1,
             "in_channels": 8, "out_channels": 4},
    "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4},
    "image_encoder": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "image_size": 224,
                      "num_attention_heads": 16, "projection_dim": 1024, "patch_size": 14},
}  # fmt: skip
CLASSES = {
    "svd": ("UNetSpatioTemporalConditionModel", "AutoencoderKLTemporalDecoder", 768),
    "svd_image_decoder": ("UNetSpatioTemporalConditionModel", "AutoencoderKL", 768),
    "sv3d_u": ("UNetSpatioTemporalConditionModel", "AutoencoderKL", 256),
    "sv3d_p": ("PerFrameUNet", "AutoencoderKL", 1280),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_name_and_shape_of_the_full_size_file_has_one_place_and_every_place_is_filled(name):
    found = checkpoint(full_size_keys(name))
    assert found.kind == KINDS[name]
    assert found.unknown == ()
    for component in COMPONENTS:
        part = read_part(found, component)
        module, steps = part.plan()
        filled = {t.name: tuple(t.transform(torch.empty(step.stored.shape, device="meta")).shape)
                  for step in steps for t in step.targets}  # fmt: skip
        assert filled == {n: tuple(t.shape) for n, t in module.state_dict().items()}
        assert {step.name for step in steps} == set(found.components[component])
        assert {key: part.config[key] for key in PUBLISHED[component]} == PUBLISHED[component]
    unet_class, vae_class, width = CLASSES[name]
    assert type(read_part(found, "unet").plan()[0]).__name__ == unet_class
    assert type(read_part(found, "vae").plan()[0]).__name__ == vae_class
    assert read_part(found, "unet").config["projection_class_embeddings_input_dim"] == width


@pytest.mark.parametrize("name", KINDS)
def test_a_table_read_backwards_gives_the_files_own_names(name):
    found = checkpoint(full_size_keys(name))
    for component in COMPONENTS:
        part = read_part(found, component)
        for key in found.components[component]:
            assert {source(part.table, t.name) for t in targets(part.table, key)} == {key}


def test_only_the_image_decoder_variant_has_a_convolution_before_its_decoder():
    configs = {name: read_part(checkpoint(full_size_keys(name)), "vae").config for name in KINDS}
    assert {n: c.get("use_post_quant_conv") for n, c in configs.items()} == {
        "svd": None, "svd_image_decoder": True, "sv3d_u": False, "sv3d_p": False
    }  # fmt: skip


def test_the_three_parts_of_attention_are_thirds_in_the_order_query_key_value():
    stored = torch.arange(12.0).view(6, 2)
    assert torch.equal(torch.cat([third(i)(stored) for i in range(3)]), stored)
    names = [t.name for t in targets(clip.table(1), "transformer.resblocks.0.attn.in_proj_bias")]
    assert [n.split(".")[-2] for n in names] == ["q_proj", "k_proj", "v_proj"]


def swapped(table, first, second):
    return {**table, first: table[second], second: table[first]}


def exchanged(found):
    query, key, value = found
    return Target(key.name, query.transform), Target(query.name, key.transform), value


MISTAKES = {
    "clip-query-and-key": ("image_encoder", clip, "LAYER", lambda t: {
        path: exchanged(found) if "in_proj" in path else found for path, found in t.items()}),
    "vae-query-and-key": ("vae", vae, "ATTENTION", lambda t: swapped(t, "q", "k")),
    "unet-projections": ("unet", unet, "ATTENTION", lambda t: swapped(t, "proj_in", "proj_out")),
    "unet-spatial-and-temporal-norm": ("unet", unet, "VIDEO_RES_BLOCK", lambda t: swapped(
        t, "out_layers.0", "time_stack.out_layers.0")),
    "unet-first-and-last-norm": ("unet", unet, "ATTENTION", lambda t: {
        **t,
        "transformer_blocks.0.norm1": to("transformer_blocks.0.norm3"),
        "transformer_blocks.0.norm3": to("transformer_blocks.0.norm1")}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_table_with_two_entries_of_equal_shape_swapped_would_be_caught_by_the_oracle(mistake, monkeypatch):
    component, family, name, spoil = MISTAKES[mistake]
    assert distance(Case(SVD.folder), component) < 1e-5
    monkeypatch.setattr(family, name, spoil(getattr(family, name)))
    assert distance(Case(SVD.folder), component) > 1e-3


@torch.no_grad()
def distance(case, component):
    """How far the component's output is from the reference's."""
    module = case.module(component)
    if component == "image_encoder":
        io = case.tensors("conditioner_io")
        given, wanted = module(pixel_values=io["clip_pixels"]).image_embeds, io["clip_embed"]
    elif component == "vae":
        io = case.tensors("vae_io")
        image = io["image_u8_hwc"].permute(2, 0, 1)[None].float() / 127.5 - 1
        given, wanted = module.encode(image).latent_dist.mode(), io["conditioner_encode_mode"]
    else:
        io = case.tensors("unet_io")
        x, c_noise, context, y = (io[n].unflatten(0, (2, -1)) for n in ("x", "timesteps", "context", "y"))
        given = PerFrameUNet.forward(module, x, c_noise[:, 0], context[:, 0], y)[0].flatten(0, 1)
        wanted = io["out"]
    return (given - wanted).abs().max().item()


def lose(*names):
    return lambda shapes: [shapes.pop(name) for name in names]


UNET, VISION = "model.diffusion_model.", "conditioner.embedders.0.open_clip.model.visual."
FIRST, LAST = f"{UNET}input_blocks.0.0.weight", f"{UNET}out.2.bias"


@pytest.mark.parametrize(
    ("component", "change", "says"),
    [
        ("unet", lose(LAST), rf"lacks {LAST}\. Get"),
        ("unet", lose(LAST, f"{UNET}out.2.weight"), rf"lacks {UNET}out\.2\.weight"),
        ("unet", lose(f"{UNET}time_embed.0.bias", f"{UNET}time_embed.2.bias"), r"time_embed\.0\.bias and 1 more"),
        ("unet", lose(FIRST), rf"lacks {FIRST}"),
        ("image_encoder", lose(f"{VISION}transformer.resblocks.3.attn.in_proj_bias"), "lacks .*in_proj_bias"),
        ("vae", lose("first_stage_model.decoder.conv_in.bias"), r"lacks first_stage_model\.decoder\.conv_in\.bias"),
        ("vae", lose("conditioner.embedders.3.encoder.quant_conv.bias"), r"lacks conditioner\..*quant_conv\.bias"),
        ("unet", lambda s: s.update({f"{UNET}out.3.weight": (1,)}), r"unknown .*out\.3\.weight"),
        ("unet", lambda s: s.update({f"{UNET}__class__.weight": (1,)}), r"unknown .*__class__"),
        ("unet", lambda s: s.update({f"{UNET}out.2.__dict__": (1,)}), r"unknown .*__dict__"),
        ("unet", lambda s: s.update({f"{UNET}output_blocks.2.2.conv.bias": (1280,)}), r"unknown .*2\.2\.conv\.bias"),
        ("vae", lambda s: s.update({"first_stage_model.decoder.x\n\x1b[31m": (1,)}), r"unknown .*x\\n\\x1b"),
        ("unet", lambda s: s.update({LAST: (5,)}), r"out\.2\.bias is \[5\]"),
        ("unet", lambda s: s.update({FIRST: ()}), "describe no such network"),
        ("vae", lambda s: s.update({"first_stage_model.decoder.mid.attn_1.q.weight": (512, 512, 3, 3)}), "attn_1"),
        ("image_encoder", lambda s: s.update({f"{VISION}proj": (1280,)}), "describe no such network"),
    ],
)
def test_what_does_not_fit_is_told_in_the_files_own_names(component, change, says):
    shapes = full_size_keys("svd")
    change(shapes)
    with pytest.raises(BadInput, match=says) as caught:
        read_part(checkpoint(shapes), component).plan()
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_head_widths_that_do_not_divide_are_told_with_the_option_that_gives_them():
    shapes = {n: tuple(s.shape) for n, s in read_checkpoint(SVD.checkpoint).components["unet"].items()}
    assert min(shapes[f"{UNET}time_embed.0.weight"]) == 32
    with pytest.raises(BadInput, match=r"heads of 64 don't divide its 32, 64 channels\. .*--head-dim"):
        read_part(read_checkpoint(SVD.checkpoint), "unet")
    with pytest.raises(BadInput, match=r"heads of 80 .*--clip-head-dim"):
        read_part(read_checkpoint(SVD.checkpoint), "image_encoder")


def test_the_number_of_heads_follows_the_given_width():
    found = checkpoint(full_size_keys("svd"))
    assert read_part(found, "unet", head_dim=32).config["num_attention_heads"] == [10, 20, 40, 40]
    heads = build_empty("image_encoder", read_part(found, "image_encoder", clip_head_dim=160).config)
    assert heads.config.num_attention_heads == 8
