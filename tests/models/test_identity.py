import json
from pathlib import Path

import pytest

from studio.models.identity import Identities
from studio.models.installed import Installed


@pytest.fixture
def weights(tmp_path) -> Installed:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    return Installed("x", "diffusers", tmp_path, {"unet": file, "vae": file}, "fp32")


def never() -> str:
    raise AssertionError("read again")


def test_content_is_read_once_for_a_component_and_a_dtype(weights):
    known = Identities()
    assert known.known(weights, "unet", "fp32") is None
    first = known.of(weights, "unet", "fp32", lambda: "a" * 64)
    assert known.of(weights, "unet", "fp32", never) == first == known.known(weights, "unet", "fp32")
    assert known.known(weights, "unet", "fp16") is None
    assert known.known(weights, "vae", "fp32") is None


def test_equal_content_is_one_identity_only_in_the_same_dtype(weights):
    known = Identities()
    assert known.of(weights, "unet", "fp32", lambda: "a" * 64) == known.of(weights, "vae", "fp32", lambda: "a" * 64)
    assert known.of(weights, "unet", "fp16", lambda: "a" * 64) != known.of(weights, "vae", "fp32", never)


def test_a_file_that_changed_is_read_again(weights):
    known = Identities()
    known.of(weights, "unet", "fp32", lambda: "a" * 64)
    weights.weights["unet"].write_bytes(b"other")
    assert known.known(weights, "unet", "fp32") is None
    assert known.of(weights, "unet", "fp32", lambda: "b" * 64).startswith("bbbb")


def test_what_was_read_is_known_to_the_next_process(weights, tmp_path):
    path = tmp_path / "identities.json"
    found = Identities(path).of(weights, "unet", "fp32", lambda: "a" * 64)
    assert Identities(path).of(weights, "unet", "fp32", never) == found


@pytest.mark.parametrize("text", ["", "{", "[1]", json.dumps({"x": 3})])
def test_a_damaged_file_is_started_anew(weights, tmp_path, text):
    path = Path(tmp_path / "identities.json")
    path.write_text(text)
    Identities(path).of(weights, "unet", "fp32", lambda: "a" * 64)
    assert list(json.loads(path.read_text()).values()) == ["a" * 16 + "-fp32"]


def test_a_digest_that_fails_leaves_nothing(weights, tmp_path):
    known = Identities(tmp_path / "identities.json")
    with pytest.raises(RuntimeError):
        known.of(weights, "unet", "fp32", lambda: (_ for _ in ()).throw(RuntimeError("cancelled")))
    assert known.known(weights, "unet", "fp32") is None
