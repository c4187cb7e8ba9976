import json

import pytest

from studio.errors import BadInput, NotInstalled
from studio.models import installed
from studio.models.added import ADDED, add, choose
from studio.models.catalog import Catalog
from studio.settings import Settings
from tests.models.thing import checkpoint_tensors
from tests.sgm import write_zeros

SPECS = [s for s in Catalog(Settings().configs / "models") if not s.bundled]


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def write(tmp_path):
    def write(name, kind="svd"):
        path = tmp_path / "elsewhere" / name
        path.parent.mkdir(exist_ok=True)
        return write_zeros(path, checkpoint_tensors(kind))

    return write


def find(variant, models, **more):
    spec = next(s for s in SPECS if s.id == variant)
    return installed.look(spec, models_dir=models, hub_cache=models / "none", **more)


@pytest.mark.parametrize(
    ("name", "kind", "variant"),
    [
        ("svd.safetensors", "svd", "svd"),
        ("svd_xt.safetensors", "svd", "svd-xt"),
        ("SVD-XT-fp16.safetensors", "svd", "svd-xt"),
        ("svd_xt_1_1.safetensors", "svd", "svd-xt-1.1"),
        ("svd-xt-1.1.fp16.safetensors", "svd", "svd-xt-1.1"),
        ("svd_image_decoder.safetensors", "svd-image-decoder", "svd-image-decoder"),
        ("svd_xt_image_decoder-fp16.safetensors", "svd-image-decoder", "svd-xt-image-decoder"),
        ("sv3d_u.safetensors", "sv3d-u", "sv3d-u"),
        ("renamed.safetensors", "sv3d-p", "sv3d-p"),
    ],
)
def test_the_name_tells_what_the_content_can_not(write, models, name, kind, variant):
    path = write(name, kind)
    assert add(path, SPECS, models).id == variant
    found = find(variant, models).installed
    assert (found.root, found.layout, found.dtype) == (path, "sgm", "fp16")
    assert path.is_file()


def test_a_name_that_says_nothing_needs_the_variant(write, models):
    path = write("mine.safetensors")
    with pytest.raises(BadInput, match=r"mine\.safetensors may be svd.* or svd.*: .*Say which: --as svd"):
        add(path, SPECS, models)
    assert not (models / ADDED).exists()
    add(path, SPECS, models, "svd-xt")
    assert find("svd-xt", models).installed.root == path
    assert find("svd", models).installed is None


def test_a_variant_that_the_content_is_not_is_refused(write, models):
    path = write("svd_xt.safetensors", "svd-image-decoder")
    with pytest.raises(BadInput, match=r"holds svd-image-decoder networks, so it can't be svd-xt"):
        add(path, SPECS, models, "svd-xt")
    with pytest.raises(BadInput, match="its name does not say"):
        choose(path, SPECS)


def test_a_checkpoint_that_nothing_here_runs_on_is_refused(write, models):
    with pytest.raises(BadInput, match="holds sv3d-p networks; no variant"):
        add(write("sv3d_p.safetensors", "sv3d-p"), [s for s in SPECS if s.family == "svd"], models)


def test_an_added_file_comes_before_what_is_found_by_name(write, models):
    models.mkdir()
    write_zeros(models / "svd.safetensors", checkpoint_tensors("svd"))
    path = write("other.safetensors")
    add(path, SPECS, models, "svd")
    assert find("svd", models).installed.root == path


def test_an_added_file_that_is_gone_or_damaged_is_told(write, models):
    path = write("svd.safetensors")
    add(path, SPECS, models)
    path.write_bytes(path.read_bytes()[:-10])
    assert "cut short" in find("svd", models).note
    path.unlink()
    assert "is not there" in find("svd", models).note
    assert find("svd", models).installed is None


def test_removing_the_variant_forgets_the_file_and_keeps_it(write, models):
    path = write("svd.safetensors")
    add(path, SPECS, models)
    add(write("svd_xt.safetensors"), SPECS, models)
    spec = next(s for s in SPECS if s.id == "svd")
    assert installed.remove(spec, models) == 0
    assert path.is_file()
    assert set(json.loads((models / ADDED).read_text())) == {"svd-xt"}
    with pytest.raises(NotInstalled):
        installed.remove(spec, models)


def test_a_spoilt_list_counts_as_empty(write, models):
    models.mkdir()
    for text in ("not json", "[]", '{"svd": 3}'):
        (models / ADDED).write_text(text)
        assert find("svd", models).installed is None
    add(write("svd.safetensors"), SPECS, models)
    assert find("svd", models).installed


def test_a_single_file_in_comfyuis_folder_must_hold_what_its_name_says(tmp_path, models):
    folder = tmp_path / "comfy" / "checkpoints"
    folder.mkdir(parents=True)
    write_zeros(folder / "svd_xt.safetensors", checkpoint_tensors("svd-image-decoder"))
    found = find("svd-xt", models, comfyui_dir=tmp_path / "comfy")
    assert found.installed is None
    assert "it holds svd-image-decoder networks" in found.note
    write_zeros(folder / "svd_xt.safetensors", {"cond_stage_model.model.x": (1,)})
    assert "Stable Diffusion 2" in find("svd-xt", models, comfyui_dir=tmp_path / "comfy").note


def test_a_copy_in_the_wanted_precision_is_preferred(models):
    models.mkdir()
    write_zeros(models / "svd.safetensors", checkpoint_tensors("svd"), "F32")
    half = write_zeros(models / "svd-fp16.safetensors", checkpoint_tensors("svd"))
    assert find("svd", models).installed.root == half
    assert find("svd", models, precision="fp32").installed.dtype == "fp32"


def test_a_single_files_components_are_counted_apart_and_its_hash_once(write, models):
    path = write("svd.safetensors")
    add(path, SPECS, models)
    found = find("svd", models).installed
    sizes = {c: found.component_bytes(c) for c in ("image_encoder", "unet", "vae")}
    assert sum(sizes.values()) < found.total_bytes == path.stat().st_size
    assert len(set(sizes.values())) == 3
    assert set(installed.component_hashes(found)) == {"checkpoint"}
