"""A single-file checkpoint in the studio, from the file to the clip."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from studio.engines.convert.folder import write_folder
from studio.errors import BadInput, NotInstalled
from studio.media.decode import read_clip
from studio.service import Studio
from tests.sgm import write_tiny_sgm
from tests.tiny import tiny_spec_yaml


@pytest.fixture
def variant(settings):
    """Makes a variant that may be read from a file or from a folder, with neither."""

    def make(id, kind):
        path = tiny_spec_yaml(id, settings.home / "configs" / "models", dtype="fp16")
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec["sources"].append({"kind": "file", "names": [f"{id}.safetensors"], "holds": kind, "total_bytes": 1})
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        return id

    return make


def animate(studio, photo, id):
    """The clip's frames, and the component hashes in its recipe."""
    job = studio.submit({"mode": "image-to-video", "image": str(photo), "variant": id, "seed": 3, "format": "zip"})
    job = studio.wait(job.id)
    assert job.state == "done", job.error
    return read_clip(Path(job.files[0])).frames, studio.recipe(Path(job.files[0]))["components"]


@pytest.mark.parametrize("kind", ["svd", "svd-image-decoder"])
def test_a_file_and_the_folder_it_converts_to_make_the_same_clip(settings, variant, photo, tmp_path, kind):
    id, path = variant("mine", kind), tmp_path / "elsewhere.safetensors"
    write_tiny_sgm(path, kind)
    with Studio(settings) as studio:
        assert not studio.variant(id).usable
        status = studio.add(path, id)
        assert (status.usable, status.where, status.disk_bytes) == (True, str(path), path.stat().st_size)
        assert studio.verify(id).usable
        of_file, hashes = animate(studio, photo, id)
    assert list(hashes) == ["checkpoint"]
    with Studio(settings) as studio:
        studio.remove(id)
        write_folder(path, settings.models / id)
        assert studio.variant(id).where == str(settings.models / id)
        of_folder, hashes = animate(studio, photo, id)
    assert len(hashes) == 3
    assert of_file.shape == (4, 64, 64, 3)
    assert of_file.std() > 5
    assert np.array_equal(of_file, of_folder)


def test_a_file_in_the_models_folder_is_found_by_its_name(settings, variant, photo):
    id = variant("mine", "svd")
    settings.models.mkdir(parents=True)
    write_tiny_sgm(settings.models / "mine.safetensors")
    with Studio(settings) as studio:
        assert studio.variant(id).usable
        frames, _ = animate(studio, photo, id)
    assert len(frames) == 4


def test_a_file_that_lacks_a_tensor_fails_its_check_and_the_job_with_the_same_sentence(
    settings, variant, photo, tmp_path
):
    from safetensors.torch import load_file, save_file

    id, path = variant("mine", "svd"), tmp_path / "mine.safetensors"
    write_tiny_sgm(path)
    tensors = load_file(path)
    del tensors["first_stage_model.decoder.conv_out.bias"]
    save_file(tensors, path)
    with Studio(settings) as studio:
        studio.add(path, id)
        with pytest.raises(BadInput, match=r"lacks first_stage_model\.decoder\.conv_out\.bias") as caught:
            studio.verify(id)
        job = studio.wait(studio.submit({"mode": "image-to-video", "image": str(photo), "variant": id, "seed": 3}).id)
    assert job.error.message == caught.value.message
    assert job.error.error == "bad-input"


def test_an_added_file_that_is_gone_is_said_before_a_job_is_made(settings, variant, photo, tmp_path):
    id, path = variant("mine", "svd"), tmp_path / "mine.safetensors"
    write_tiny_sgm(path)
    with Studio(settings) as studio:
        studio.add(path, id)
        path.unlink()
        with pytest.raises(NotInstalled, match=r"mine\.safetensors is not there"):
            studio.submit({"mode": "image-to-video", "image": str(photo), "variant": id, "seed": 3})
