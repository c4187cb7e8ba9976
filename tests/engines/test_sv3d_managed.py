"""SV3D under the real manager: from a checkpoint that was added, with real networks at tiny size."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from studio.engines import family_module
from studio.models.added import add
from studio.models.catalog import Catalog
from studio.models.installed import find
from studio.models.limits import Limits
from studio.models.manager import ModelManager
from studio.models.memory import Device
from studio.scene.orbit import sine, static
from studio.settings import shipped
from tests.engines.test_sv3d import FRAMES, SIZE, wish
from tests.engines.test_svd import Watch
from tests.engines.test_svd import wish as svd_wish
from tests.sgm import write_tiny_sgm

CATALOG = Catalog(shipped("configs") / "models")
FILES = {"sv3d-u": ("sv3d_u", "sv3d-u"), "sv3d-p": ("sv3d_p", "sv3d-p"), "svd-xt": ("svd_xt", "svd")}
"""Variant -> the file's stem, and what is in it. All weights are drawn from the same seed."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    for stem, kind in FILES.values():
        write_tiny_sgm(home / f"{stem}.safetensors", kind)
        add(home / f"{stem}.safetensors", CATALOG, home / "models")
    return home


@pytest.fixture
def manager(home):
    def make(policy="auto"):
        return ModelManager(
            CATALOG,
            lambda: Device("cpu", "CPU", "fp32"),
            find=lambda spec: find(spec, models_dir=home / "models", hub_cache=home),
            family=family_module,
            limits=Limits(policy),
        )

    return make


@pytest.fixture(scope="module")
def picture():
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    pixels[16:48, 20:44] = (np.random.default_rng(0).random((32, 24, 3)) * 200).astype(np.uint8)
    return pixels


def go_round(manager, picture, variant="sv3d-p", ctx=None):
    orbit = sine(5.0, 20.0, FRAMES) if variant == "sv3d-p" else static(5.0, FRAMES)
    with manager.lease(variant, lambda component, done, total: None) as engine:
        return engine.orbit(picture, picture[..., 0], orbit, wish(steps=2), ctx or Watch()).frames


@contextmanager
def counted(network, fail_at=()):
    """How often networks of that class ran; those calls, counted from 1, run out of memory instead."""
    calls = []

    def before(module, args):
        if type(module).__name__ == network:
            calls.append(1)
            if len(calls) in fail_at:
                raise torch.OutOfMemoryError("CUDA out of memory")

    hook = register_module_forward_pre_hook(before)
    try:
        yield calls
    finally:
        hook.remove()


@pytest.mark.parametrize("variant", ["sv3d-u", "sv3d-p"])
def test_streamed_networks_make_the_same_views_of_an_added_file(manager, picture, variant):
    whole, lean = (go_round(manager(policy), picture, variant) for policy in ("auto", "none"))
    assert whole.shape == (FRAMES, SIZE, SIZE, 3)
    assert whole[:-1].std() > 5
    assert np.abs(whole.astype(int) - lean).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fail_at", "most"),
    [("CLIPVisionModelWithProjection", (1,), 2), ("_SavingPerFrameUNet", (2,), 3), ("Decoder", (2,), 2 + FRAMES)],
)
def test_memory_that_runs_out_anywhere_changes_no_view_and_repeats_no_step(manager, picture, network, fail_at, most):
    expected, ctx = go_round(manager(), picture), Watch()
    with counted(network, fail_at) as calls:
        views = go_round(manager(), picture, ctx=ctx)
    assert len(calls) == most
    assert np.abs(views.astype(int) - expected).max() <= 1
    assert any("Memory ran out" in sentence for sentence in ctx.notices)


def test_what_both_of_its_models_and_svd_have_in_common_is_held_once(manager, picture):
    held = manager()
    go_round(held, picture, "sv3d-u")
    go_round(held, 255 - picture, "sv3d-p")  # of the same picture nothing would have to be encoded
    with held.lease("svd-xt", lambda component, done, total: None) as engine:
        small = {"width": SIZE, "height": SIZE, "steps": 1}
        engine.animate(picture // 2, svd_wish(**small), Watch())
    owners = {(row["component"], frozenset(row["variants"])) for row in held.ledger()["components"]}
    assert owners == {
        ("image_encoder", frozenset(FILES)),
        ("vae", frozenset({"sv3d-u", "sv3d-p"})),  # SVD's decodes through time
        ("vae", frozenset({"svd-xt"})),
        *(("unet", frozenset({variant})) for variant in FILES),
    }
