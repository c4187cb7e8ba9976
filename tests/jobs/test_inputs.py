"""Inputs are kept by content."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from studio.errors import BadInput
from studio.jobs.inputs import drop_unused, find_input, find_lora, is_reference, keep_input


def test_equal_bytes_are_kept_once_whatever_their_names(tmp_path):
    (tmp_path / "a.jpeg").write_bytes(b"same")
    (tmp_path / "-b %00 .png").write_bytes(b"same")
    kept = tmp_path / "inputs"
    one = keep_input(tmp_path / "a.jpeg", ".jpg", kept)
    two = keep_input(tmp_path / "-b %00 .png", ".jpg", kept)
    assert one == two
    assert is_reference(one)
    assert [p.name for p in kept.iterdir()] == [one.removeprefix("input:")]
    assert find_input(one, kept).read_bytes() == b"same"


def test_a_large_file_is_kept_in_blocks(tmp_path, monkeypatch):
    large = tmp_path / "film.mp4"
    large.write_bytes(os.urandom(3 * 2**20 + 5))
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read at once"))
    reference = keep_input(large, ".mp4", tmp_path / "inputs")
    monkeypatch.undo()
    assert find_input(reference, tmp_path / "inputs").read_bytes() == large.read_bytes()
    assert reference == f"input:{hashlib.sha256(large.read_bytes()).hexdigest()}.mp4"


def test_a_file_that_grows_while_it_is_kept_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    growing = tmp_path / "film.mp4"
    growing.write_bytes(b"half")
    copyfile = shutil.copyfile

    def copy(source, target):
        source.write_bytes(b"half and more")
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(BadInput, match="changes while it is read"):
        keep_input(growing, ".mp4", tmp_path / "inputs")
    assert list((tmp_path / "inputs").iterdir()) == []


def test_a_kept_input_outlives_the_original(tmp_path):
    original = tmp_path / "photo.png"
    original.write_bytes(b"x")
    reference = keep_input(original, ".png", tmp_path / "inputs")
    original.unlink()
    assert find_input(reference, tmp_path / "inputs").read_bytes() == b"x"


@pytest.mark.parametrize("path", ["nowhere.png", "input:" + "0" * 64 + ".png", "", "../../etc", "input:../../x.png"])
def test_a_missing_file_names_the_field(tmp_path, path):
    with pytest.raises(BadInput) as caught:
        find_input(path, tmp_path, field="image")
    assert caught.value.field == "image"
    assert caught.value.message.startswith("image: ")


def test_only_old_and_unreferenced_inputs_are_dropped(tmp_path):
    kept = tmp_path / "inputs"
    references = []
    for i in range(3):
        path = tmp_path / f"{i}.png"
        path.write_bytes(bytes([i]))
        references.append(keep_input(path, ".png", kept))
    (kept / "something else").write_bytes(b"not ours")
    for reference in references[:2]:
        os.utime(find_input(reference, kept), (0, 0))
    assert drop_unused(kept, {references[0]}, older_than=1000) == 1
    left = {p.name for p in kept.iterdir()}
    assert left == {references[0][6:], references[2][6:], "something else"}


@pytest.fixture
def loras(tmp_path):
    first, second = tmp_path / "ours", tmp_path / "theirs"
    for folder in (first, second):
        folder.mkdir()
        (folder / "both.safetensors").write_bytes(b"x")
    for name in ("film grain (v1.2)+", "[style], 水墨 & ink"):
        (second / f"{name}.safetensors").write_bytes(b"x")
    (tmp_path / "secret.safetensors").write_bytes(b"x")
    return first, second


def test_a_lora_is_found_by_its_name_with_or_without_the_suffix_in_the_first_folder_that_has_it(loras):
    first, second = loras
    assert find_lora("both", loras) == find_lora("both.safetensors", loras) == first / "both.safetensors"
    for name in ("film grain (v1.2)+", "[style], 水墨 & ink"):
        assert find_lora(name, loras).parent == second


@pytest.mark.parametrize(
    "name",
    ["../secret", "../secret.safetensors", "/etc/passwd", "ours/both", "..\\secret", "C:\\both", "", "a\nb", "a\x00b",
     "both.safetensors/", "%2e%2e/secret", "x" * 5000, "树" * 100],
)  # fmt: skip
def test_a_name_that_is_a_path_is_no_lora(loras, name):
    with pytest.raises(BadInput) as caught:
        find_lora(name, loras)
    assert caught.value.field == "loras"


def test_a_lora_that_is_not_there_is_named_with_the_folder_to_put_it_in(loras):
    with pytest.raises(BadInput, match=r"detail\.safetensors is not in .*ours") as caught:
        find_lora("detail", loras)
    assert caught.value.field == "loras"


def test_a_folder_that_does_not_exist_is_passed_over(loras, tmp_path):
    assert find_lora("both", (tmp_path / "nowhere", *loras)).parent == loras[0]
