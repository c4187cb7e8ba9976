from types import SimpleNamespace

import pytest

from studio.models.catalog import Catalog
from studio.models.installed import look
from studio.models.manager import Components, ModelManager
from studio.models.memory import Device
from studio.settings import Settings
from tests.models.thing import checkpoint_tensors
from tests.sgm import write_zeros


@pytest.fixture
def loads(tmp_path):
    """A manager on one single-file checkpoint, and what it loaded."""
    write_zeros(tmp_path / "svd.safetensors", checkpoint_tensors("svd"))
    catalog, heard = Catalog(Settings().configs / "models"), []

    def load(component, installed, device, dtype, report):
        heard.append(component)
        return object()

    def find(spec):
        return look(spec, models_dir=tmp_path, hub_cache=tmp_path).installed

    family = SimpleNamespace(load=load, Engine=lambda spec, components: components)
    manager = ModelManager(catalog, lambda: Device("cpu", "CPU", "fp16"), find=find, family=lambda name: family)
    return manager, heard


def test_components_of_one_file_are_held_apart_and_each_is_loaded_once(loads):
    manager, heard = loads
    for _ in range(2):
        with manager.lease("svd", lambda component, done, total: None) as components:
            assert isinstance(components, Components)
            with components.use("image_encoder", "vae", phase="encode") as (image_encoder, vae):
                assert image_encoder is not vae
            with components.use("unet", "vae", phase="sample") as (unet, same):
                assert same is vae
                assert unet is not vae
    assert heard == ["image_encoder", "vae", "unet"]
    held = {row["component"]: row["bytes"] for row in manager.ledger()}
    assert set(held) == {"image_encoder", "vae", "unet"}
    assert len(set(held.values())) == 3
