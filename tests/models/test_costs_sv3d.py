"""The formulas of `studio.models.costs.sv3d` against counts of the real modules at full size."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL

from studio.engines import exact
from studio.engines.sv3d_unet import PerFrameUNet
from studio.models.catalog import Catalog
from studio.models.costs import phases_of, svd
from studio.models.learned import Learned, unknown_facts
from studio.models.limits import Limits
from studio.models.plan import make_plans
from studio.settings import shipped
from tests.counting import counting
from tests.engines.test_exact import FULL as UNET
from tests.engines.test_whole_decode import FULL as VAE
from tests.models.test_costs_svd import latent, meta, readable

FRAMES, SIZE = 21, 576


def costs(variant="sv3d-p", value_bytes=2, **given):
    wish = SimpleNamespace(**{**WISH, "steps": 1, "size": SIZE, **given})
    found = phases_of(SPECS[variant], wish, value_bytes=value_bytes, exact_savings=True)
    return {cost.phase: cost for cost in found}


WISH = {
    "frames": FRAMES, "sampler": "euler", "guidance_max": 2.5, "decode": "auto", "decode_chunk": 4,
}  # fmt: skip
SPECS = {id: Catalog(shipped("configs") / "models").get(id) for id in ("sv3d-u", "sv3d-p")}


@torch.no_grad()
def test_a_step_that_hears_of_every_frame_takes_what_the_formulas_say():
    config = {**UNET, "projection_class_embeddings_input_dim": 1280}
    unet = exact.rewrite(readable(meta(lambda: PerFrameUNet.from_config(config))))
    context = torch.zeros(2, 1, 1024, dtype=torch.half, device="meta")
    vectors = torch.arange(2 * FRAMES * 1280.0).view(2, FRAMES, 1280)  # each frame its own
    prepared = exact.prepare(unet, context, vectors, FRAMES)
    assert len(prepared.added_RC) == 2 * FRAMES
    with counting() as count:
        unet(latent(FRAMES, SIZE, SIZE, branches=2, channels=8), torch.empty((), device="meta"), prepared)
    way = costs()["sample"].ways[0]
    expected = svd.unet_bytes(FRAMES, SIZE * SIZE // 64, 2, 2, True, None)
    assert expected == pytest.approx(count.peak_bytes, rel=0.02)
    assert 0 < way.working_bytes - expected < 0.05 * expected
    assert way.flop == pytest.approx(count.flop, rel=0.01)
    assert way.moved_bytes == pytest.approx(count.moved_bytes, rel=0.03)


@torch.no_grad()
def test_decoding_takes_what_the_formulas_say_a_copy_of_the_decoder_in_fp32_included():
    config = {**VAE, "up_block_types": ["UpDecoderBlock2D"] * 4, "use_post_quant_conv": False}
    vae = meta(lambda: AutoencoderKL.from_config(config)).float()
    with counting() as count:
        vae.decoder(latent(4, SIZE, SIZE).float())
    copied = 4 * sum(p.numel() for p in vae.decoder.parameters())
    half, full = (costs(value_bytes=n, decode_chunk=4)["decode"].ways for n in (2, 4))
    assert full[0].working_bytes == pytest.approx(count.peak_bytes, rel=0.02)
    assert [h.working_bytes - f.working_bytes for h, f in zip(half, full, strict=True)] == [copied] * len(full)
    assert full[0].flop == pytest.approx(count.flop * FRAMES / 4, rel=0.01)
    assert [way.choice.chunk for way in full] == [4, 2, 1]
    assert all(way.exact and not way.notice for way in half)


@pytest.mark.parametrize("variant", SPECS)
def test_an_orbit_costs_what_a_square_clip_of_its_size_costs(variant):
    orbit, larger = costs(variant), costs(variant, size=1024)
    clip = SimpleNamespace(
        frames=FRAMES,
        width=SIZE,
        height=SIZE,
        steps=1,
        sampler="euler",
        guidance_max=2.5,
        decode="auto",
        decode_chunk=4,
    )
    spec = Catalog(shipped("configs") / "models").get("svd-xt-image-decoder")
    of_svd = {c.phase: c for c in phases_of(spec, clip, value_bytes=2, exact_savings=True)}
    assert orbit["encode"].ways == of_svd["encode"].ways
    assert orbit["sample"].ways == of_svd["sample"].ways
    assert orbit["sample"].streamed == "unet"
    for phase in orbit:
        assert larger[phase].ways[0].working_bytes > 1.5 * orbit[phase].ways[0].working_bytes


@pytest.mark.parametrize("variant", SPECS)
def test_its_components_are_as_large_as_the_spec_says(variant):
    from studio.engines.convert.parts import read_part
    from tests.engines.convert.oracles import full_size_keys
    from tests.engines.convert.test_parts import checkpoint

    found = checkpoint(full_size_keys(variant.replace("-", "_")))
    for component, wanted in SPECS[variant].component_bytes.items():
        module, _ = read_part(found, component).plan()
        assert 2 * sum(p.numel() for p in module.parameters()) == wanted


def test_where_an_orbit_does_not_fit_a_smaller_size_is_named_that_does():
    spec, wish = SPECS["sv3d-p"], SimpleNamespace(steps=50, size=576, **WISH)
    given = {"facts": unknown_facts("fp16"), "learned": Learned(None), "component_bytes": spec.component_bytes}
    plans = make_plans(spec, wish, limits=Limits("auto", 2_500_000_000), **given)
    assert "21 frames of 576x576 with sv3d-p need 2.6 GB" in plans.message
    assert plans.remedy.startswith("Lower size to 512, or allow")
    wish.size = 512
    assert make_plans(spec, wish, limits=Limits("auto", 2_500_000_000), **given).chosen is not None
