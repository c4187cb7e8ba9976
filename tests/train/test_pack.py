"""A stage's folder in parts of bounded size, and out of them."""

import tarfile

import pytest

from studio.errors import BadInput
from studio.train import pack
from studio.train.__main__ import main


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A folder of five files of which no three fit into one part."""
    monkeypatch.setattr(pack, "MOST_BYTES", 60_000)
    folder = tmp_path / "sdxl"
    for i, name in enumerate(("unet/a.safetensors", "unet/b.safetensors", "te/c.safetensors", "te/config.json")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([i]) * (24_000 - 4000 * i))
    (folder / "metrics.json").write_text("{}")
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_packed_comes_out_as_it_was_and_nothing_else(stage, tmp_path, capsys):
    assert main(["pack", str(stage), str(tmp_path / "parts")]) == 0
    parts = sorted((tmp_path / "parts").iterdir())
    assert capsys.readouterr().out.split() == [str(p) for p in parts]
    assert [p.name for p in parts] == ["sdxl.1-of-3.tar", "sdxl.2-of-3.tar", "sdxl.3-of-3.tar"]
    assert all(p.stat().st_size <= pack.MOST_BYTES for p in parts)
    old = tmp_path / "home" / "sdxl" / "old.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of another run")
    assert main(["unpack", str(tmp_path / "home"), *map(str, parts)]) == 0
    assert contents(tmp_path / "home" / "sdxl") == contents(stage)


def test_the_same_files_make_the_same_parts(stage, tmp_path):
    first, again = (pack.pack(stage, tmp_path / name) for name in ("first", "again"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_what_can_not_be_is_told_and_the_folder_stays(stage, tmp_path, monkeypatch, capsys):
    parts = pack.pack(stage, tmp_path / "parts")
    before = contents(stage)
    with pytest.raises(BadInput, match="not all of its 3 parts are there"):
        pack.unpack(parts[1:], tmp_path)
    with pytest.raises(BadInput, match="is no part of a stage"):
        pack.unpack([stage / "metrics.json"], tmp_path)
    parts[0].write_bytes(parts[0].read_bytes()[:9000])
    with pytest.raises(BadInput, match="is damaged"):
        pack.unpack(parts, tmp_path)
    assert contents(stage) == before
    monkeypatch.setattr(pack, "MOST_BYTES", 30_000)
    with pytest.raises(BadInput, match="Write smaller shards"):
        pack.pack(stage, tmp_path / "parts")
    assert main(["pack", str(tmp_path / "none"), str(tmp_path)]) == 2
    assert "holds no files" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "/evil", "vae/x", "sdxl/../../evil"])
def test_a_part_can_not_write_elsewhere(tmp_path, name):
    part = tmp_path / "sdxl.1-of-1.tar"
    with tarfile.open(part, "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(BadInput, match="which is no file of sdxl"):
        pack.unpack([part], tmp_path / "home")
    assert not (tmp_path / "evil").exists()
