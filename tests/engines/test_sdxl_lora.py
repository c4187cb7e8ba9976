import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.engines import sdxl, sdxl_weights
from studio.engines.convert.sdxl import unet_table
from studio.engines.convert.table import source
from studio.engines.sdxl_lora import applied, read_lora
from studio.errors import BadInput
from studio.models.installed import Installed
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.engines.test_sdxl import Watch, paint
from tests.tiny_sdxl import tiny_sdxl_weights, tiny_sdxl_yaml, write_tiny_sdxl

RANK, ALPHA = 4, 2.0
UNET = [
    "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "mid_block.attentions.0.proj_in",
    "up_blocks.0.resnets.0.conv1",
    "up_blocks.0.resnets.0.conv_shortcut",
]
TEXT = ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.1.mlp.fc1"]
TARGETS = {"unet": UNET, "text_encoder": TEXT, "text_encoder_2": TEXT}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = write_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")
    weights = {c: folder / file for c, file in tiny_sdxl_weights().items()}
    installed = Installed("tiny-sdxl", "diffusers", folder, weights, "fp32")
    return {c: sdxl_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in sdxl.COMPONENTS}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return read_spec(tiny_sdxl_yaml("tiny-sdxl", tmp_path_factory.mktemp("specs")))


@pytest.fixture(scope="module")
def changes(modules):
    """Network -> layer -> (down, up)."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for component, names in TARGETS.items():
        made[component] = {}
        for name in names:
            out, inner, *square = modules[component].get_submodule(name).weight.shape
            down = torch.randn(RANK, inner, *square, generator=generator) * (inner**-0.5)
            up = torch.randn(out, RANK, *[1] * len(square), generator=generator) * 0.3
            made[component][name] = (down, up)
    return made


def kohya(changes, blocks="stability"):
    """As kohya's scripts write it; their own writes Stability's block names."""
    stored = {}
    for component, start in {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}.items():
        for name, (down, up) in changes.get(component, {}).items():
            if component == "unet" and blocks == "stability":
                name = source(unet_table([False, True], 1), name)
            key = f"{start}_{name.replace('.', '_')}"
            stored |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            stored[f"{key}.alpha"] = torch.tensor(ALPHA)
    return stored


def peft(changes):
    """As diffusers writes it, which has no alpha: it is in `up` already."""
    return {
        f"{component}.{name}.{part}.weight": tensor * (ALPHA / RANK if part == "lora_B" else 1)
        for component, layers in changes.items()
        for name, pair in layers.items()
        for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
    }


def save(path, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return str(path)


@pytest.fixture
def file(tmp_path, changes):
    return save(tmp_path / "style.safetensors", kohya(changes))


def merged(modules, changes, weight):
    """Copies of the networks with the changes in their weights."""
    found = {**modules, **{c: copy.deepcopy(modules[c]) for c in changes}}
    with torch.no_grad():
        for component, layers in changes.items():
            for name, (down, up) in layers.items():
                target = found[component].get_submodule(name).weight
                target += (weight * ALPHA / RANK * up.flatten(1) @ down.flatten(1)).view(target.shape)
    return found


def latent(spec, modules, **given):
    ctx = Watch()
    paint(sdxl.Engine(spec, Held(spec, modules)), ctx, **given)
    return torch.from_numpy(ctx.states[-1]["x"])


def hook_count(modules):
    return sum(len(layer._forward_hooks) for module in modules.values() for layer in module.modules())


@pytest.mark.parametrize("weight", [1.0, 0.4, -1.0])
def test_a_lora_paints_what_its_changes_in_the_weights_would(spec, modules, changes, file, weight):
    plain = latent(spec, modules)
    found = latent(spec, modules, loras=((file, weight),))
    assert (found - latent(spec, merged(modules, changes, weight))).abs().max() < 1e-4
    assert (found - plain).abs().max() > 0.1


def test_the_shared_weights_and_layers_are_afterwards_as_they_were(spec, modules, file):
    before = {c: {n: t.clone() for n, t in m.state_dict().items()} for c, m in modules.items()}
    plain = latent(spec, modules)
    hooks = hook_count(modules)  # transformers leaves some of its own
    latent(spec, modules, loras=((file, 1.0),))
    assert all(torch.equal(t, before[c][n]) for c, m in modules.items() for n, t in m.state_dict().items())
    assert torch.equal(latent(spec, modules), plain)
    assert hook_count(modules) == hooks


def test_every_naming_gives_the_same(spec, modules, changes, tmp_path):
    files = [
        save(tmp_path / "a.safetensors", kohya(changes)),
        save(tmp_path / "b.safetensors", kohya(changes, blocks="diffusers")),
        save(tmp_path / "c.safetensors", peft(changes)),
    ]
    first, *others = (latent(spec, modules, loras=((file, 1.0),)) for file in files)
    assert all(torch.allclose(other, first, atol=1e-4) for other in others)


def test_two_loras_add_up_and_each_network_is_changed(spec, modules, changes, tmp_path):
    parts = [save(tmp_path / f"{c}.safetensors", kohya({c: layers})) for c, layers in changes.items()]
    together = latent(spec, modules, loras=tuple((part, 0.5) for part in parts))
    assert torch.allclose(together, latent(spec, merged(modules, changes, 0.5)), atol=1e-4)
    plain = latent(spec, modules)
    assert all((latent(spec, modules, loras=((part, 0.5),)) - plain).abs().max() > 1e-3 for part in parts)


def test_what_was_kept_with_one_lora_is_not_gone_on_with_under_another(spec, modules, file):
    before, engine = Watch(), sdxl.Engine(spec, Held(spec, modules))
    paint(engine, before, loras=((file, 1.0),))
    expected = paint(engine, loras=((file, 0.5),))
    found = paint(engine, Watch(kept=before.states[0]), loras=((file, 0.5),))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lora_unet_nowhere.lora_down.weight": (4, 8), "lora_unet_nowhere.lora_up.weight": (8, 4)}, "does not have"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 9),
          "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": (8, 4)}, "does not have in that size"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 128)}, "only a part of"),
        ({"lora_unet_x.hada_w1_a": (4, 8)}, "kohya's and diffusers' naming"),
        ({"model.diffusion_model.out.2.bias": (4,)}, "kohya's and diffusers' naming"),
        ({"\x1b[31m": (1,)}, r"has \?\?31m"),
    ],
)  # fmt: skip
def test_a_lora_for_something_else_is_told_so_in_one_sentence(spec, modules, tmp_path, tensors, says):
    path = save(tmp_path / "x.safetensors", {name: torch.ones(shape) for name, shape in tensors.items()})
    with pytest.raises(BadInput, match=says) as caught:
        latent(spec, modules, loras=((path, 1.0),))
    assert caught.value.field == "loras"
    assert "\n" not in caught.value.message


def test_a_file_that_is_no_lora_is_told_before_anything_begins(spec, modules, tmp_path):
    ctx = Watch()
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name in ("x.safetensors", "missing.safetensors"):
        with pytest.raises(BadInput, match=name):
            paint(sdxl.Engine(spec, Held(spec, modules)), ctx, loras=((str(tmp_path / name), 1.0),))
    assert ctx.steps == []


def test_a_lora_in_half_precision_runs_in_the_networks_own(modules, file, changes):
    halved = copy.deepcopy(modules["text_encoder"]).half()
    ids = torch.tensor([[512, 5, 6, 513, *[513] * 73]])
    with torch.no_grad(), applied("text_encoder", halved, ((file, 1.0),)):
        assert halved(ids).hidden_BTC.dtype == torch.float16
    assert set(read_lora(Path(file))) == set(changes)
