import json
import os

import pytest
import torch

from studio.engines import svd_weights
from studio.engines.convert.folder import write_folder
from studio.errors import BadInput, Cancelled, WriteFailed
from studio.models.checkpoint import COMPONENTS
from studio.models.installed import Installed
from tests.engines.convert.oracles import SHIPPED
from tests.sgm import write_tiny_sgm

FILES = {
    "image_encoder": "image_encoder/model.fp16.safetensors",
    "unet": "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae": "vae/diffusion_pytorch_model.fp16.safetensors",
}
SV3D = SHIPPED / "a" / "sv3d_p" / "checkpoint.safetensors"


@pytest.fixture(params=["svd", "svd-image-decoder"])
def converted(request, tmp_path):
    modules = write_tiny_sgm(tmp_path / "x.safetensors", request.param)
    heard = []
    write_folder(tmp_path / "x.safetensors", tmp_path / "out" / "folder", lambda *n: heard.append(n), frames=25)
    return tmp_path / "out" / "folder", modules, heard


def test_the_folder_holds_the_same_weights_and_the_studio_reads_it(converted):
    folder, modules, heard = converted
    place = Installed("x", "diffusers", folder, {c: folder / f for c, f in FILES.items()}, "fp16")
    for component in COMPONENTS:
        state = svd_weights.load(component, place, "cpu", "fp32", lambda done, total: None).state_dict()
        wanted = modules[component].state_dict()
        assert set(state) == set(wanted)
        assert all(torch.equal(state[n], wanted[n]) for n in wanted)
    assert heard[0][0] == 0
    assert heard[-1][0] == heard[-1][1]
    assert os.listdir(folder.parent) == ["folder"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_diffusers_own_pipeline_reads_it(converted):
    from diffusers import StableVideoDiffusionPipeline

    folder, modules, _ = converted
    pipe = StableVideoDiffusionPipeline.from_pretrained(folder, variant="fp16")
    for component, module in modules.items():
        theirs = getattr(pipe, component)
        assert type(theirs) is type(module)
        assert all(torch.equal(a.float(), b) for a, b in zip(theirs.parameters(), module.parameters(), strict=True))
    assert pipe.unet.config.num_frames == 25
    assert pipe.scheduler.config.prediction_type == "v_prediction"


def test_sv3d_becomes_its_three_networks_and_no_pipeline(tmp_path):
    found = write_folder(SV3D, tmp_path / "sv3d", head_dim=16, clip_head_dim=16)
    assert found.kind == "sv3d-p"
    assert sorted(p.name for p in (tmp_path / "sv3d").iterdir()) == ["image_encoder", "unet", "vae"]
    config = json.loads((tmp_path / "sv3d" / "unet" / "config.json").read_text())
    assert (config["_class_name"], config["num_frames"]) == ("PerFrameUNet", 21)


def test_what_is_cancelled_leaves_nothing(tmp_path):
    def report(done, total):
        if done > total / 2:
            raise Cancelled()

    with pytest.raises(Cancelled):
        write_folder(SV3D, tmp_path / "out" / "x", report, head_dim=16, clip_head_dim=16)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(BadInput, match="is there already"):
        write_folder(SV3D, tmp_path / "x", head_dim=16, clip_head_dim=16)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["mine"]
    (tmp_path / "x" / "mine").unlink()
    write_folder(SV3D, tmp_path / "x", head_dim=16, clip_head_dim=16)


def test_a_place_that_can_not_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match="can't be written"):
        write_folder(SV3D, tmp_path / "file" / "x", head_dim=16, clip_head_dim=16)


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(WriteFailed, match=r"0\.0 GB are free"):
        write_folder(SV3D, tmp_path / "x", head_dim=16, clip_head_dim=16)
    assert list(tmp_path.iterdir()) == []
