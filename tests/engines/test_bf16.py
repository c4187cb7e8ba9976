"""SVD at tiny size in bf16 beside fp32: the same clip within what seven bits of mantissa leave of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engines import svd, svd_weights
from studio.engines.place import DTYPES
from studio.models.installed import Installed
from studio.models.memory import VALUE_BYTES
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.engines.test_svd import Watch, wish
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

FRAMES = 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Frames by precision, from weights that are stored in fp16."""
    root = tmp_path_factory.mktemp("bf16")
    folder = write_tiny_svd(root / "tiny", frames=FRAMES, dtype="fp16")
    installed = Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights("fp16").items()}, "fp16")
    spec = read_spec(tiny_spec_yaml("tiny", root, frames=FRAMES))
    blocks = (np.random.default_rng(0).random((8, 8, 3)) * 255).astype(np.uint8)
    picture = np.asarray(Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC))
    made = {}
    for dtype in ("fp32", "bf16"):
        modules = {c: svd_weights.load(c, installed, "cpu", dtype, lambda done, total: None) for c in svd.COMPONENTS}
        assert {p.dtype for module in modules.values() for p in module.parameters()} == {DTYPES[dtype]}
        engine = svd.Engine(spec, Held(spec, modules, dtype=dtype))
        made[dtype] = engine.animate(picture, wish(width=64, height=64), Watch()).frames
    return made


def test_a_clip_in_bf16_is_the_one_in_fp32_within_40_db(clips):
    error = clips["bf16"].astype(float) - clips["fp32"]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 40
    assert error.any(), "it was not computed in bf16"


def test_every_precision_takes_as_many_bytes_as_it_says():
    assert {name: torch.empty((), dtype=dtype).element_size() for name, dtype in DTYPES.items()} == VALUE_BYTES
