"""Stable Diffusion XL under the real manager, with real networks at tiny size."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from studio.engines import family_module
from studio.models.catalog import Catalog
from studio.models.installed import find
from studio.models.limits import Limits
from studio.models.manager import ModelManager
from studio.models.memory import Device
from tests.engines import test_sdxl as one
from tests.engines.test_sdxl import PROMPT, Watch
from tests.tiny_sdxl import tiny_sdxl_yaml, write_tiny_sdxl


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_tiny_sdxl(home / "models" / "tiny-sdxl")
    tiny_sdxl_yaml("tiny-sdxl", home / "specs")
    return home


@pytest.fixture
def manager(home):
    def make(policy="auto"):
        return ModelManager(
            Catalog(home / "specs"),
            lambda: Device("cpu", "CPU", "fp32"),
            find=lambda spec: find(spec, models_dir=home / "models", hub_cache=home),
            family=family_module,
            limits=Limits(policy),
        )

    return make


def paint(manager, ctx=None, prompt=PROMPT, **given):
    with manager.lease("tiny-sdxl", lambda component, done, total: None) as engine:
        return one.paint(engine, ctx, prompt, width=64, steps=2, **given)


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


@pytest.mark.parametrize("policy", ["none", "low", "normal"])
def test_streamed_and_swapped_networks_paint_the_same_picture(manager, policy):
    whole, lean = paint(manager()), paint(manager(policy))
    assert np.abs(whole.astype(int) - lean).max() <= 1


def test_a_prompt_is_encoded_once_and_another_negative_one_anew(manager):
    held = manager()
    with counted("TextEncoder") as calls:
        first = paint(held)
        assert len(calls) == 2
        again = paint(held)
        assert len(calls) == 2
        paint(held, negative_prompt="fog")
        assert len(calls) == 4
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize(
    ("network", "fail_at", "most"),
    [("TextEncoder", (1,), 3), ("TextEncoder", (2,), 3), ("UNet2DConditionModel", (1,), 3),
     ("UNet2DConditionModel", (2,), 3), ("Decoder", (1,), 2)],
)  # fmt: skip
def test_memory_that_runs_out_anywhere_changes_neither_the_picture_nor_what_was_done(manager, network, fail_at, most):
    expected, ctx = paint(manager()), Watch()
    with counted(network, fail_at) as calls:
        found = paint(manager(), ctx)
    assert len(calls) == most
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert any("Memory ran out" in sentence for sentence in ctx.notices)
