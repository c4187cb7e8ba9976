"""What the pocket variants say they cost, against counts of their networks at their own size."""

from types import SimpleNamespace

import pytest
import torch

from studio.engines import exact, networks, sdxl_networks
from studio.engines.whole_decode import decode_whole
from studio.models.catalog import Catalog
from studio.models.costs import phases_of
from studio.settings import shipped
from studio.train import networks as pocket
from studio.train.stage_sdxl import text_config, unet_config
from studio.train.tokens import captions, train_vocabulary
from tests.counting import counting

CATALOG = Catalog(shipped("configs") / "models")
SIDE, CELLS = 256, 32
WISHES = {
    "pocket-svd": {"frames": 14, "width": SIDE, "height": SIDE, "guidance_max": 2.0, "decode_chunk": 14},
    "pocket-sv3d": {"frames": 21, "size": SIDE, "guidance_max": 2.0, "decode_chunk": 21},
    "pocket-sdxl": {"width": SIDE, "height": SIDE, "guidance_scale": 4.0, "loras": (), "candidates": 1,
                    "refine_from": None},
}  # fmt: skip
COMMON = {"steps": 1, "sampler": "euler", "decode": "auto", "speed": "exact"}


def meta(make):
    """The module in fp32 on the meta device."""
    with torch.device("meta"):
        return make().eval().to("meta").requires_grad_(False)


def readable(module):
    """The module with the shares of time on the CPU, where their numbers can be read."""
    for part in module.modules():
        if getattr(part, "mix_factor", None) is not None:
            part.mix_factor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return module


@pytest.fixture(scope="module")
def modules():
    full = pocket.FULL
    text = text_config(False, len(train_vocabulary(captions(400))[0]))
    return {
        "vae": readable(meta(lambda: networks.build("vae", pocket.vae_config(full)))),
        "image_encoder": meta(lambda: networks.build("image_encoder", pocket.clip_config(full))),
        "pocket-svd": readable(meta(lambda: networks.build("unet", pocket.svd_config(full)))),
        "pocket-sv3d": readable(meta(lambda: networks.build("unet", pocket.sv3d_config(full)))),
        "pocket-sdxl": meta(lambda: sdxl_networks.build("unet", unet_config(False))),
        "text_encoder": meta(lambda: sdxl_networks.build("text_encoder", text)),
        "text_encoder_2": meta(lambda: sdxl_networks.build("text_encoder_2", text)),
    }


def empty(*shape):
    return torch.empty(shape, device="meta")


@torch.no_grad()
def counted(modules, variant):
    """Phase -> count of what the engine runs in it."""
    found = {}
    if variant == "pocket-sdxl":
        with counting() as found["prompt"]:
            for name in ("text_encoder", "text_encoder_2"):
                modules[name](torch.empty(2, 77, dtype=torch.long, device="meta"))
        with counting() as found["sample"]:
            added = {"text_embeds": empty(2, 128), "time_ids": empty(2, 6)}
            modules[variant](empty(2, 4, CELLS, CELLS), empty(), empty(2, 77, 256), added_cond_kwargs=added)
        frames = 1
    else:
        frames = WISHES[variant]["frames"]
        with counting() as found["encode"]:
            modules["image_encoder"](pixel_values=empty(1, 3, 224, 224))
            modules["vae"].quant_conv(modules["vae"].encoder(empty(1, 3, SIDE, SIDE)))
        unet = exact.rewrite(modules[variant])
        told = torch.zeros(2, 3) if variant == "pocket-svd" else torch.zeros(2, frames, 1280)
        with counting() as found["sample"]:
            prepared = exact.prepare(unet, empty(2, 1, pocket.FULL.embedding), told, frames)
            unet(empty(2, frames, 8, CELLS, CELLS), empty(), prepared, return_dict=False)
    latents = empty(frames, 4, CELLS, CELLS)
    with counting() as found["decode"]:
        decode_whole(modules["vae"].decoder, latents, lambda done, total: None)
    return found


@pytest.mark.parametrize("variant", WISHES)
def test_each_phase_is_told_within_a_fifth(modules, variant):
    costs = told(variant)
    counts = counted(modules, variant)
    assert [cost.phase for cost in costs] == list(counts)
    for cost in costs:
        count, way = counts[cost.phase], cost.ways[0]
        says = (way.working_bytes, way.flop, way.moved_bytes)
        assert says == pytest.approx((count.peak_bytes, count.flop, count.moved_bytes), rel=0.2), cost.phase


def told(variant, **more):
    wish = SimpleNamespace(**{**COMMON, **WISHES[variant], **more})
    return phases_of(CATALOG.get(variant), wish, value_bytes=4, exact_savings=True)


def test_a_keyframe_is_planned_at_the_size_that_is_painted_whatever_was_wished_for():
    usual, large = (told("pocket-sdxl", **more) for more in ({}, {"width": 1344, "height": 768}))
    assert [c.ways[0].working_bytes for c in usual] == [c.ways[0].working_bytes for c in large]


@pytest.mark.parametrize("variant", WISHES)
def test_the_bytes_of_the_components_are_those_of_the_networks(modules, variant):
    spec = CATALOG.get(variant)
    for component, says in spec.component_bytes.items():
        module = modules[variant if component == "unet" else component]
        assert says == pytest.approx(2 * sum(p.numel() for p in module.parameters()), rel=0.02), component
    assert spec.shipped.total_bytes == pytest.approx(sum(spec.component_bytes.values()), rel=0.02)


def test_the_whole_family_is_at_most_96_mb():
    once = {
        file: CATALOG.get(v).component_bytes[c] for v in WISHES for c, file in CATALOG.get(v).shipped.weights.items()
    }
    assert sum(once.values()) < 96e6
