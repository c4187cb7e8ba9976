"""The pocket networks: their size, and that they are of the classes that the engines take."""

import pytest

from studio.engines.networks import build_empty
from studio.train import networks

PARAMETERS = {"vae": 6_506_815, "image_encoder": 3_425_792, "svd": 13_877_529, "sv3d": 14_008_601}


@pytest.fixture(scope="module")
def full():
    size = networks.FULL
    return {
        "vae": build_empty("vae", networks.vae_config(size)),
        "image_encoder": build_empty("image_encoder", networks.clip_config(size)),
        "svd": build_empty("unet", networks.svd_config(size)),
        "sv3d": build_empty("unet", networks.sv3d_config(size)),
    }


def test_the_parameters_are_those_that_were_counted(full):
    assert {name: sum(p.numel() for p in m.parameters()) for name, m in full.items()} == PARAMETERS


def test_all_but_pocket_sdxl_leave_it_eighteen_megabytes_of_the_96():
    assert 2 * sum(PARAMETERS.values()) < 78e6


def test_the_classes_are_those_of_the_published_models(full):
    assert [type(full[name]).__name__ for name in PARAMETERS] == [
        "AutoencoderKLTemporalDecoder",
        "CLIPVisionModelWithProjection",
        "UNetSpatioTemporalConditionModel",
        "PerFrameUNet",
    ]


def test_an_embedding_is_as_wide_as_the_unets_take_it(full):
    width = full["image_encoder"].config.projection_dim
    assert width == full["svd"].config.cross_attention_dim == full["sv3d"].config.cross_attention_dim


def test_no_level_of_the_decoder_loses_the_brightness(full):
    assert min(full["vae"].config.block_out_channels) >= 64


def test_pocket_sv3d_takes_all_of_pocket_svd_but_what_it_is_told(full):
    shapes, others = ({n: t.shape for n, t in full[name].state_dict().items()} for name in ("svd", "sv3d"))
    assert shapes.keys() == others.keys()
    assert [n for n in shapes if shapes[n] != others[n]] == ["add_embedding.linear_1.weight"]
