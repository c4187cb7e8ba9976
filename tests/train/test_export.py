"""Weights of a stage: written whole or not at all, in pieces that a repository takes, and read again."""

import hashlib
import json

import pytest
import torch

from studio.errors import BadInput
from studio.train import export


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{i}.weight": torch.randn(50, 40, generator=generator) for i in range(7)}


def write(root, state, **told):
    return export.write_stage(root, "vae", {"vae": (state, {"a": 1})}, told, sheet_png=b"picture")


def test_what_was_written_is_read_again_in_half_precision(tmp_path, state):
    folder = write(tmp_path, state)
    back = export.read_state(folder / "vae")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], t.half()) for name, t in state.items())
    assert [f.name for f in (folder / "vae").glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]


def test_too_much_for_one_file_is_spread_evenly_over_as_few_as_can_be(tmp_path, state, monkeypatch):
    monkeypatch.setattr(export, "MAX_SHARD_BYTES", 13_000)
    folder = write(tmp_path, state) / "vae"
    sizes = [f.stat().st_size for f in folder.glob("*.safetensors")]
    assert len(sizes) == 3
    assert max(sizes) < 13_500  # with its header
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 7 * 50 * 40 * 2
    assert set(index["weight_map"]) == set(state)
    assert all(torch.equal(t, state[name].half()) for name, t in export.read_state(folder).items())


def test_a_part_too_large_for_its_even_share_takes_one_more_file(monkeypatch):
    monkeypatch.setattr(export, "MAX_SHARD_BYTES", 100)
    state = {"a": torch.zeros(30), "b": torch.zeros(40), "c": torch.zeros(20)}  # 60, 80 and 40 bytes: no two of 90
    shards = export._shards({name: t.half() for name, t in state.items()})
    assert [list(shard) for shard in shards] == [["a"], ["b"], ["c"]]


def test_transformers_components_have_its_name_for_their_file(tmp_path, state):
    folder = export.write_stage(tmp_path, "clip", {"image_encoder": (state, {})}, {})
    assert (folder / "image_encoder" / "model.safetensors").is_file()


def test_every_file_is_told_with_its_hash(tmp_path, state):
    folder = write(tmp_path, state, steps=3)
    told = export.read_metrics(folder)
    assert told["steps"] == 3
    assert set(told["files"]) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    for name, says in told["files"].items():
        content = (folder / name).read_bytes()
        assert says == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_second_write_replaces_all_and_keeps_the_sheet(tmp_path, state):
    write(tmp_path, state, other=1)
    folder = export.write_stage(tmp_path, "vae", {"vae": ({"x": torch.ones(2)}, {})}, {"steps": 2})
    assert set(export.read_state(folder / "vae")) == {"x"}
    assert (folder / export.SHEET).read_bytes() == b"picture"
    assert "other" not in export.read_metrics(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["vae"]


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path, state, monkeypatch):
    write(tmp_path, state)
    monkeypatch.setattr(export, "save_file", lambda *a, **k: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path, {"x": torch.ones(2)})
    assert set(export.read_state(export.find([tmp_path], "vae") / "vae")) == set(state)
    monkeypatch.undo()
    write(tmp_path, {"x": torch.ones(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["vae"]


def test_what_was_killed_between_two_renames_is_found_and_put_back(tmp_path, state, monkeypatch):
    write(tmp_path, state).rename(tmp_path / ".vae.old")
    assert set(export.read_state(export.find([tmp_path], "vae") / "vae")) == set(state)
    monkeypatch.setattr(export, "save_file", lambda *a, **k: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path, {"x": torch.ones(2)})
    assert set(export.read_state(export.find([tmp_path], "vae") / "vae")) == set(state)
    monkeypatch.undo()
    write(tmp_path, {"x": torch.ones(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["vae"]


def test_figures_are_told_later_without_touching_the_weights(tmp_path, state):
    folder = write(tmp_path, state)
    before = export.read_metrics(folder)["files"]
    export.rewrite_told(tmp_path, "vae", {"figures": {"x": 1}}, b"other picture")
    assert export.read_metrics(folder) == {"figures": {"x": 1}, "files": before}
    assert (folder / export.SHEET).read_bytes() == b"other picture"


def test_a_stage_that_was_not_trained_is_named_with_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="svd: it has not been trained") as e:
        export.find([tmp_path], "svd")
    assert "studio train svd" in e.value.remedy


@pytest.mark.parametrize("content", [b"", b"short", b"{}"])
def test_a_damaged_file_is_told(tmp_path, state, content):
    folder = write(tmp_path, state) / "vae"
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match="damaged"):
        export.read_state(folder)


def test_the_first_folder_that_has_a_stage_is_read(tmp_path, state):
    for name in ("a", "b"):
        write(tmp_path / name, state)
    assert export.find([tmp_path / "a", tmp_path / "b"], "vae") == tmp_path / "a" / "vae"
    assert export.find([tmp_path / "none", tmp_path / "b"], "vae") == tmp_path / "b" / "vae"
