"""pocket-sdxl's vocabulary, its conditioning, and its training at toy size."""

import json
import math

import pytest
import torch

from studio.engines.clip_tokens import read_tokenizer
from studio.engines.networks import build
from studio.engines.sdxl_networks import build as build_sdxl
from studio.train import export, networks
from studio.train.loop import Order, train
from studio.train.stage_sdxl import STAGE, framed, text_config, unet_config
from studio.train.stages import Clock, Setup, names
from studio.train.tokens import as_tokenizer, tokenizer_files, train_vocabulary

PAIRS = [("A red sphere.", "一个红色球体。"), ("A big blue cube, on grass.", "草地上有一个大的蓝色方块。")]


@pytest.fixture(scope="module")
def vocabulary():
    return train_vocabulary(PAIRS * 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of the family with a toy autoencoder in it."""
    root = tmp_path_factory.mktemp("pocket")
    torch.manual_seed(0)
    config = networks.vae_config(networks.TOY, 1.0)
    export.write_stage(root, "vae", {"vae": (build("vae", config).state_dict(), config)}, {"stage": "vae"})
    return root


def setup(root, **given):
    return Setup(torch.device("cpu"), 1, (root,), toy=True, **given)


def run(root, steps, **given):
    said = []
    order = Order(root, steps=steps, held_out=2, glances=(), log_s=0.0, say=said.append)
    told = train(STAGE, setup(root, **given), Clock(10), order)
    return told, [json.loads(line) for line in said if line.startswith("{")]


def test_the_vocabulary_is_the_same_whatever_the_order_of_the_sentences(vocabulary):
    assert train_vocabulary(PAIRS[::-1] * 4) == vocabulary
    words, merges = vocabulary
    assert sorted(words.values()) == list(range(len(words)))
    assert len(words) == 512 + len(merges) + 2 < 2500


def test_english_is_read_by_words_and_chinese_by_characters(vocabulary):
    tokenizer = as_tokenizer(*vocabulary)
    assert tokenizer.tokenize("A RED sphere.") == ["a</w>", "red</w>", "sphere</w>", ".</w>"]
    assert len(tokenizer.tokenize("红球")) == 2
    assert len(tokenizer.tokenize("一个红色球体。")) == 7
    assert tokenizer.decode(tokenizer("红球").input_ids, skip_special_tokens=True).strip() == "红球"
    unknown = tokenizer.tokenize("wombat 钛")
    assert len(unknown) > 5, "what it does not know is read by bytes"
    assert tokenizer.unk_token not in unknown


def test_the_engine_reads_the_same_tokenizer_from_the_files(vocabulary, tmp_path):
    for name, text in tokenizer_files(*vocabulary).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    read, own = read_tokenizer(tmp_path, pad="!", tokens=len(vocabulary[0])), as_tokenizer(*vocabulary)
    for text in ("a red cube", "大的蓝色方块, 草地", "wombat 钛 :-)"):
        assert read(text).input_ids == own(text).input_ids
    assert (read.pad_token_id, read.eos_token_id) == (own.eos_token_id, len(vocabulary[0]) - 1)


def test_the_published_size_is_within_its_share_of_the_family():
    with torch.device("meta"):
        unet = build_sdxl("unet", unet_config(toy=False))
        texts = [build_sdxl(name, text_config(False, 1800)) for name in ("text_encoder", "text_encoder_2")]
    stored = 2 * sum(p.numel() for module in (unet, *texts) for p in module.parameters())
    assert stored < 18.5e6
    assert unet.config.cross_attention_dim == sum(t.text_model.config.hidden_size for t in texts)


def test_sizes_and_crops_are_told_as_they_were_made():
    pixels = torch.linspace(-1, 1, 64).expand(60, 3, 64, 64)
    pictures, told = framed(pixels, torch.Generator().manual_seed(0))
    assert pictures.shape == pixels.shape
    assert (told[:, 4:] == 64).all()
    same = (pictures == pixels).flatten(1).all(1)
    assert 15 < int(same.sum()) < 45
    assert (told[same] == torch.tensor([64, 64, 0, 0, 64, 64])).all()
    cut = (told[:, 2:4] > 0).any(1)
    smaller = told[:, 0] < 64
    assert cut.any()
    assert smaller.any()
    assert not (cut & smaller).any()
    wide = told[:, 3] > 4  # of a ramp to the right, a cut further right is brighter
    assert wide.any()
    assert (pictures[wide][:, 0, 0, 0] > pixels[0, 0, 0, 0] + 0.02).all()


def test_it_is_a_stage_after_the_autoencoder():
    assert names().index("sdxl") > names().index("vae")
    assert STAGE.bounds["colour_and_shape_recognised"].value == 0.8


def test_a_run_writes_what_the_engine_paints_with_and_another_goes_on_from_it(weights):
    told, lines = run(weights, 30)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5]), losses
    assert set(told["figures"]) >= {"colour_and_shape_recognised", "recognised_in_chinese", "prompts"}
    assert all(math.isfinite(figure["value"]) for figure in told["figures"].values())
    folder = weights / "sdxl"
    assert {p.parent.name for p in folder.glob("*/config.json")} == {"unet", "text_encoder", "text_encoder_2"}
    assert {p.parent.name for p in folder.glob("*/merges.txt")} == {"tokenizer", "tokenizer_2"}
    assert "tokenizer/vocab.json" in told["files"] if "files" in told else True
    before = export.read_state(folder / "unet")
    again, lines = run(weights, 2, resume=True, run=1)
    assert len(again["runs"]) == 2
    after = export.read_state(folder / "unet")
    apart = max(float((before[n].float() - after[n].float()).abs().max()) for n in before)
    assert 0 < apart < 0.05, "it goes on from what was there"
    assert lines[0]["loss"] < losses[0]
