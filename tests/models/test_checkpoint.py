import subprocess
import sys

import pytest

from studio.errors import BadInput
from studio.models.checkpoint import COMPONENTS, read_checkpoint
from studio.models.header import read_tensors, shown
from tests.models.thing import checkpoint_tensors
from tests.sgm import write_zeros

UNET = "model.diffusion_model."


@pytest.fixture
def write(tmp_path):
    def write(shapes, dtype="F16"):
        return write_zeros(tmp_path / "x.safetensors", shapes, dtype)

    return write


@pytest.mark.parametrize("kind", ["svd", "svd-image-decoder", "sv3d-u", "sv3d-p"])
def test_a_checkpoint_is_recognised_by_what_is_in_it(write, kind):
    found = read_checkpoint(write(checkpoint_tensors(kind)))
    assert found.kind == kind
    assert found.unknown == ()
    assert all(found.component_bytes(c) > 0 for c in COMPONENTS)


def test_what_is_known_to_be_unused_is_dropped_and_anything_else_is_told(write):
    clip = "conditioner.embedders.0.open_clip.model"
    unused = {f"{clip}.logit_scale": (), f"{clip}.ln_final.bias": (4,), "first_stage_model.encoder.conv_in.bias": (4,),
              "conditioner.embedders.3.encoder.decoder.x": (4,)}  # fmt: skip
    odd = {f"{clip}.transformer.resblocks.0.ln_1.bias": (4,), "conditioner.embedders.7.x": (1,), "model_ema.decay": ()}
    found = read_checkpoint(write({**checkpoint_tensors("svd"), **unused, **odd}))
    assert set(found.unknown) == set(odd)
    held = {name for tensors in found.components.values() for name in tensors}
    assert held == set(checkpoint_tensors("svd"))


def test_the_unused_autoencoder_is_the_one_of_its_kind(write):
    assert read_checkpoint(write({**checkpoint_tensors("svd"), "conditioner.embedders.1.encoder.x": (1,)})).unknown
    assert read_checkpoint(write({**checkpoint_tensors("sv3d-u"), "conditioner.embedders.3.encoder.x": (1,)})).unknown


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["conditioner.embedders.1.model.ln_final.weight", f"{UNET}label_emb.0.0.weight"],
            "it lacks the first text encoder and the VAE's encoder and the VAE's decoder",
        ),
        (["cond_stage_model.model.transformer.x"], "is Stable Diffusion 2, not"),
        (["cond_stage_model.transformer.text_model.x"], "is Stable Diffusion 1, not"),
        ([f"{UNET}joint_blocks.0.x"], "is Stable Diffusion 3, not"),
        (["double_blocks.0.x"], "is Flux, not"),
        (["lora_unet_down_blocks_0.lora_up.weight"], "is a LoRA, not"),
        (["down_blocks.0.motion_modules.0.x"], "is an AnimateDiff motion module, not"),
        (["down_blocks.0.resnets.0.norm1.weight"], "is one component of a diffusers folder, not"),
        (["decoder.up.0.block.0.x"], "is an autoencoder alone, not"),
        (["what\never"], r"is something else \(its first tensor is what\\never\), not"),
        ([], "is empty, not"),
    ],
)
def test_another_family_is_named(write, names, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_checkpoint(write(dict.fromkeys(names, (1,))))
    assert "\n" not in caught.value.message


def test_sv4d_and_unheard_of_video_models_are_named(write):
    sv4d = {**checkpoint_tensors("sv3d-p"), "conditioner.embedders.4.encoder.encoder.x": (1,)}
    with pytest.raises(BadInput, match="an SV4D checkpoint"):
        read_checkpoint(write(sv4d))
    odd = {**checkpoint_tensors("svd"), f"{UNET}label_emb.0.0.weight": (4, 512)}
    with pytest.raises(BadInput, match=r"does not know: 512 conditioning numbers, with a temporal decoder"):
        read_checkpoint(write(odd))


def test_a_unet_alone_is_told_what_it_lacks(write):
    unet = {n: s for n, s in checkpoint_tensors("svd").items() if n.startswith(UNET)}
    with pytest.raises(BadInput, match="lacks the image encoder and the VAE's encoder and the VAE's decoder"):
        read_checkpoint(write(unet))


def test_fp8_weights_are_refused_but_may_lie_where_nothing_is_read(write, tmp_path):
    with pytest.raises(BadInput, match="stored in fp8"):
        read_checkpoint(write(checkpoint_tensors("svd"), "F8_E4M3"))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadInput, match="is not there"):
        read_tensors(tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="can't be read"):
        read_tensors(tmp_path)


def test_a_file_is_read_again_once_it_has_changed(write):
    assert read_checkpoint(write(checkpoint_tensors("svd"))).kind == "svd"
    assert read_checkpoint(write(checkpoint_tensors("sv3d-u"))).kind == "sv3d-u"


def test_names_are_shown_on_one_line_and_not_too_long():
    assert shown("a\n\x1b[31mb") == "a\\n\\x1b[31mb"
    assert len(shown("x" * 5000)) == 100


def test_recognition_loads_no_torch():
    code = "import sys, studio.models.added; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
