import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from studio.engines import family_module, matting
from studio.errors import BadInput, NotInstalled, StudioError
from studio.models.catalog import Catalog
from studio.models.installed import find
from studio.models.manager import ModelManager
from studio.models.memory import choose_device
from studio.models.spec import read_spec
from studio.settings import Settings
from tests.models.test_wheel import spec_of

SPEC = read_spec(Settings().configs / "models" / "u2netp.yaml")
SIDE = 32
CTX = SimpleNamespace(step=lambda *said: None)


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number, value):
    """One field of a protobuf message: a whole number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, channels):
    sizes = b"".join(field(1, field(1, n)) for n in (1, channels, SIDE, SIDE))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))


def brightness(last=b"Sigmoid"):
    """An ONNX network whose mask is the brightest channel through one more node."""
    most = field(5, field(1, b"axes") + field(20, 7) + field(8, 1))
    nodes = field(1, field(1, b"in") + field(2, b"most") + field(4, b"ReduceMax") + most)
    nodes += field(1, field(1, b"most") + field(2, b"out") + field(4, last))
    graph = nodes + field(2, b"g") + field(11, tensor(b"in", 3)) + field(12, tensor(b"out", 1))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


@pytest.fixture
def spec():
    facts = {"size_px": SIDE, "mean": [0.5, 0.5, 0.5], "deviation": [0.05, 0.05, 0.05]}
    made = spec_of(brightness(), format="onnx", prefix="", drop=[])
    return made.model_copy(update={"family": "matting", "facts": facts, "component_bytes": {"network": 1}})


@pytest.fixture
def models(tmp_path):
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "network.onnx").write_bytes(brightness())
    return tmp_path


def manager_of(spec, models):
    catalog = SimpleNamespace(get=lambda variant: spec)
    device = choose_device("cpu", "auto")
    return ModelManager(
        catalog, lambda: device, find=lambda s: find(s, models_dir=models), family=family_module, home=models
    )


@pytest.fixture
def manager(spec, models):
    return manager_of(spec, models)


def cut_out(manager, pixels):
    with manager.lease("thing", lambda component, done, total: None) as engine:
        return engine.cut_out(pixels, CTX)


def bright_square(height=90, width=140):
    pixels = np.full((height, width, 3), 30, np.uint8)
    pixels[30:60, 40:100] = 240
    return pixels


def test_alpha_has_the_pictures_size_and_is_whole_on_the_object_only(manager):
    alpha = cut_out(manager, bright_square())
    assert (alpha.shape, alpha.dtype) == ((90, 140), np.uint8)
    assert alpha[35:55, 50:90].min() == 255
    assert alpha[:20].max() == alpha[70:].max() == 0


def test_where_the_network_sees_nothing_there_is_no_object_although_some_places_are_likelier(models, spec):
    unlikely = spec.model_copy(update={"facts": {**spec.facts, "mean": [1.15, 1.15, 1.15]}})
    assert cut_out(manager_of(unlikely, models), bright_square()).max() == 0


def test_the_session_stays_from_job_to_job_and_goes_on_unload(manager, monkeypatch):
    opened = []
    session = matting._session
    monkeypatch.setattr(matting, "_session", lambda file: opened.append(file) or session(file))
    first = cut_out(manager, bright_square())
    assert np.array_equal(first, cut_out(manager, bright_square()))
    assert len(opened) == 1
    (row,) = manager.ledger()["components"]
    assert (row["component"], row["device_bytes"]) == ("network", len(brightness()))
    manager.unload()
    assert manager.ledger()["components"] == []
    assert np.array_equal(first, cut_out(manager, bright_square()))
    assert len(opened) == 2


def test_weights_hold_the_session_while_they_are_read_or_placed(models, spec):
    weights = matting.open_weights("network", find(spec, models_dir=models), "cuda", "fp16")
    told = []
    weights.read(lambda *said: told.append(said))
    session = weights.place(lambda *said: None)
    assert (weights.host_bytes, weights.held_bytes) == (weights.device_bytes, weights.device_bytes)
    assert told[-1] == (weights.device_bytes, weights.device_bytes)
    weights.displace()
    assert weights.place(lambda *said: None) is session, "it waited in host memory"
    weights.displace()
    weights.forget()
    assert (weights.host_bytes, weights.held_bytes) == (0, 0)
    assert weights.place(lambda *said: None) is not session


def test_nothing_is_fetched_no_default_model_is_asked_for_and_the_environment_stays(manager, monkeypatch):
    def refuse(*given):
        raise AssertionError(f"a connection was opened: {given}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = dict(os.environ)
    matting._rembg.cache_clear()
    assert cut_out(manager, bright_square()).max() == 255
    assert dict(os.environ) == before
    assert "pymatting" not in sys.modules, "rembg's own front door compiles it for most of a minute"


def test_weights_that_are_not_here_are_never_fetched(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *given: pytest.fail("a connection was opened"))
    with pytest.raises(NotInstalled, match="thing is not installed") as caught:
        cut_out(manager_of(spec, tmp_path), bright_square())
    assert caught.value.remedy == "Run: python -m studio models pull thing"


def test_without_rembg_it_says_what_to_install(models, spec, monkeypatch):
    monkeypatch.setattr(matting.importlib.util, "find_spec", lambda name: None)
    matting._rembg.cache_clear()
    with pytest.raises(NotInstalled, match="needs rembg and onnxruntime") as caught:
        cut_out(manager_of(spec, models), bright_square())
    assert "rembg==2.0.69" in caught.value.remedy
    matting._rembg.cache_clear()


def test_a_file_that_is_no_network_and_a_network_that_gives_no_mask_are_one_sentence(models, spec):
    file = models / "thing" / "network.onnx"
    file.write_bytes(bytes(len(brightness())))
    with pytest.raises(BadInput, match=r"network\.onnx can't be read as a network"):
        cut_out(manager_of(spec, models), bright_square())
    file.write_bytes(brightness(b"Sqrt"))
    source = spec.sources[0].model_copy(update={"file_bytes": file.stat().st_size})
    with pytest.raises(StudioError, match="thing gave no mask"):
        cut_out(manager_of(spec.model_copy(update={"sources": (source,)}), models), bright_square())


@pytest.fixture(scope="module")
def real():
    models = Path(os.environ.get("STUDIO_WHEELS", Settings().models))
    if find(SPEC, models_dir=models) is None:
        if os.environ.get("STUDIO_REQUIRE_WHEELS") == "1":
            pytest.fail("u2netp is not installed; run: python -m studio models pull u2netp")
        pytest.skip("u2netp is not installed")
    device = choose_device("cpu", "auto")
    return ModelManager(
        Catalog(Settings().configs / "models"),
        lambda: device,
        find=lambda s: find(s, models_dir=models),
        family=family_module,
    )


def real_cut_out(manager, pixels):
    with manager.lease("u2netp", lambda component, done, total: None) as engine:
        return engine.cut_out(pixels, CTX)


def test_real_weights_cut_the_bowl_out_of_its_shadow_and_find_nothing_in_a_landscape(real):
    from studio.media.read import read_picture

    bowl = read_picture(Settings().examples / "pictures" / "fig.jpg").pixels
    alpha = real_cut_out(real, bowl)
    red = (bowl[..., 0] > 140) & (bowl[..., 1] < 90) & (bowl[..., 2] < 90)
    assert (alpha[red] >= 128).mean() > 0.98
    assert alpha[400, 230] == 0, "the shadow"
    assert np.array_equal(alpha, real_cut_out(real, bowl))
    path = read_picture(Settings().examples / "pictures" / "mountain-path.jpg").pixels
    assert real_cut_out(real, path).max() == 0


def test_real_weights_give_the_same_whatever_the_number_of_threads(real, monkeypatch):
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    alone = real_cut_out(real, pixels)
    real.unload()
    monkeypatch.setattr(matting, "_THREADS", 3)
    assert np.array_equal(alone, real_cut_out(real, pixels))
