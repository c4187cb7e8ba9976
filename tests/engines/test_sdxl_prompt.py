import time

import pytest
import torch

from studio.engines.clip_tokens import read_tokenizer
from studio.engines.sdxl_emphasis import Emphasis, encode_weighted, read_emphasis
from studio.engines.sdxl_prompt import MOST_PARTS, PART_TOKENS, encode, read_words, readable
from studio.engines.sdxl_weights import load
from studio.errors import BadInput
from studio.models.installed import Installed
from tests.tiny_sdxl import tiny_sdxl_weights, write_tiny_sdxl


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = write_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")
    return Installed("tiny-sdxl", "diffusers", folder, {c: folder / f for c, f in tiny_sdxl_weights().items()}, "fp32")


@pytest.fixture(scope="module", params=["text_encoder", "text_encoder_2"])
def encoder(request, installed):
    return load(request.param, installed, "cpu", "fp32", lambda done, total: None)


@pytest.fixture(scope="module")
def clip():
    """The studio's own tokenizer: the whole vocabulary."""
    return read_tokenizer(None, pad="!", tokens=49408)


@torch.no_grad()
def told(encoder, *texts):
    return encode(encoder, texts, "cpu")


def test_the_studios_vocabulary_is_clips(clip):
    assert len(clip) == 49408
    assert clip("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (clip.bos_token_id, clip.eos_token_id, clip.pad_token_id) == (49406, 49407, 0)
    assert clip.model_max_length == 77
    assert (
        clip.decode(clip("It's 2 Words: naïve 🐻!", add_special_tokens=False).input_ids) == "it 's 2 words : naïve 🐻 !"
    )


def test_a_folders_own_tokenizer_is_read_and_must_go_with_its_text_encoder(installed, tmp_path):
    tokenizer = read_tokenizer(installed.root / "tokenizer_2", pad="?", tokens=514)
    assert (len(tokenizer), tokenizer.pad_token_id) == (514, 0)
    with pytest.raises(BadInput, match="514 tokens; the text encoder knows 500"):
        read_tokenizer(installed.root / "tokenizer", pad="!", tokens=500)
    with pytest.raises(BadInput, match="There is no tokenizer beside it"):
        read_tokenizer(tmp_path, pad="!", tokens=500)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="is damaged"):
        read_tokenizer(tmp_path, pad="!", tokens=500)


def test_a_text_of_one_part_is_read_whole_and_nothing_is_said_of_it(clip):
    words = read_words(clip, "a cat " * 37)
    assert (len(words.parts), words.count, words.rest, words.notices("It")) == (1, 74, "", [])


def test_a_longer_text_is_read_in_parts_that_end_with_a_word(clip):
    words = read_words(clip, "photograph " + "naïvetés " * 40)
    assert words.count > PART_TOKENS
    assert sum(words.parts, ()) == tuple(clip("photograph " + "naïvetés " * 40, add_special_tokens=False).input_ids)
    assert all(len(part) <= PART_TOKENS for part in words.parts)
    assert all(clip.convert_ids_to_tokens(part[-1]).endswith("</w>") for part in words.parts)
    assert words.notices("The prompt") == [
        f"The prompt has {words.count} tokens and is read in {len(words.parts)} parts of 75 at most."
    ]


def test_a_word_longer_than_a_part_is_cut_where_the_part_ends(clip):
    words = read_words(clip, "x" * 1000)
    assert [len(part) for part in words.parts[:2]] == [PART_TOKENS] * 2
    assert sum(len(part) for part in words.parts) == words.count


def test_what_is_beyond_the_last_part_is_not_read_and_the_place_is_named(clip):
    text = ", ".join(f"word {i}" for i in range(20_000))
    began = time.monotonic()
    words = read_words(clip, text)
    assert time.monotonic() - began < 10
    assert len(words.parts) == MOST_PARTS
    (notice,) = words.notices("The prompt")
    read = clip.decode([i for part in words.parts for i in part])
    assert f"has {words.count:,} tokens, and at most 375 are read" in notice
    assert words.rest
    assert (read + " " + words.rest).replace(" ", "") in text.replace(" ", "")


ODD = {
    "empty": "",
    "blank": " \n\t ",
    "control": "\x00\x1b[31m\x7f",
    "surrogate": "\ud800 half",
    "emoji": "🐻‍❄️ 🇨🇭 👩‍👩‍👧",
    "arabic": "قارب أحمر عند الغروب",
    "hebrew": "שלום",
    "marks": "a<|endoftext|>b<|startoftext|>",
    "one-word": "x" * 100_000,
    "many": "a, " * 33_333,
    "brackets": "(" * 50_000,
    "weights": "((a)++" * 1000,
    "overrides": "\u202e" * 500,
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_any_text_ends_well(encoder, text):
    found = told(encoder, text)
    assert found.hidden_BTC.shape[0] == 1
    assert found.hidden_BTC.shape[1] in {77 * n for n in range(1, MOST_PARTS + 1)}
    assert bool(torch.isfinite(found.hidden_BTC).all())
    assert all(sentence.isprintable() for sentence in found.notices)
    assert all(len(sentence) < 200 for sentence in found.notices)


def test_control_characters_are_spaces_and_half_characters_are_left_out():
    assert readable("a\x00b\nc\ud800d") == "a b cd"
    assert readable("🐻‍❄️ שלום") == "🐻‍❄️ שלום"


def test_each_part_is_encoded_by_itself_and_the_first_speaks_for_the_whole(encoder):
    first, second = "a red boat, " * 7, "b" * 20
    both = told(encoder, first.strip() + " " + second)
    words = read_words(encoder.tokenizer, first.strip() + " " + second)
    assert len(words.parts) == 2
    texts = [encoder.tokenizer.decode(part) for part in words.parts]
    alone = [told(encoder, text) for text in texts]
    assert torch.allclose(both.hidden_BTC, torch.cat([t.hidden_BTC for t in alone], dim=1), atol=1e-5)
    if both.pooled_BC is not None:
        assert torch.allclose(both.pooled_BC, alone[0].pooled_BC, atol=1e-5)


def test_the_shorter_text_is_filled_up_with_empty_parts(encoder):
    found = told(encoder, "fog", "a red boat, " * 20)
    assert found.hidden_BTC.shape[:2] == (2, 77 * 3)
    assert torch.allclose(found.hidden_BTC[0, :77], told(encoder, "fog").hidden_BTC[0], atol=1e-5)
    assert torch.allclose(found.hidden_BTC[0, 77:154], told(encoder, "").hidden_BTC[0], atol=1e-5)
    assert [n.partition(" has")[0] for n in found.notices] == ["The prompt"]
    assert [n.partition(" has")[0] for n in told(encoder, "a red boat, " * 20, "fog").notices] == [
        "The negative prompt"
    ]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a (red)1.5 boat", [("a", 1.0), ("red", 1.5), ("boat", 1.0)]),
        ("a (red:1.5) boat", [("a", 1.0), ("red", 1.5), ("boat", 1.0)]),
        ("a (red boat)++, fog--", [("a", 1.0), ("red boat", 1.21), (",", 1.0), ("fog", 0.81)]),
        ("((old)1.2 red)1.5 boat", [("old", 1.8), ("red", 1.5), ("boat", 1.0)]),
        ("(red)1000 boat", [("red", 2.0), ("boat", 1.0)]),
    ],
)
def test_weights_are_read(text, pieces):
    emphasis, problem = read_emphasis(text)
    assert problem == ""
    found = [(piece, round(weight, 6)) for piece, weight in zip(emphasis.texts, emphasis.weights, strict=True)]
    assert found == pieces


@pytest.mark.parametrize("text", ["a red boat", "a cat (sitting)", "pre- and post-war", "a ++ b", "(a)1.0 b", "(", ""])
def test_what_has_no_weights_is_taken_as_it_is_and_nothing_is_said(text):
    assert read_emphasis(text) == (None, "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(((a)++)++)++", "two deep at most"),
        ("((((" * 10 + "a++", "two deep at most"),
        ('("a", "b")++', "can't be read"),
        ("a.swap(b)++", "can't be read"),
        ("()++", "can't be read"),
        ("(a)++ " * 400, "up to 1500 characters"),
    ],
)
def test_weights_that_can_not_be_read_are_said(text, says):
    emphasis, problem = read_emphasis(text)
    assert emphasis is None
    assert says in problem


def test_weights_of_one_change_nothing_and_others_do_in_the_order_of_their_size(encoder):
    plain = told(encoder, "a red boat").hidden_BTC[0]
    with torch.no_grad():
        ones = encode_weighted(encoder, Emphasis(("a", "red", "boat"), (1.0, 1.0, 1.0)), "cpu")
    assert torch.allclose(ones, plain, atol=1e-5)
    far = [(told(encoder, f"a (red){w} boat").hidden_BTC[0] - plain).norm() for w in (1.1, 1.5, 2.0)]
    assert 0.01 < far[0] < far[1] < far[2]
    assert (told(encoder, "a (red)0.5 boat").hidden_BTC[0] - plain).norm() > 0.01
    assert told(encoder, "a (red)1.5 boat").notices == ()


def test_a_weighted_text_and_a_longer_plain_one_go_together_and_too_much_text_has_no_weights(encoder):
    found = told(encoder, "a red boat, " * 20, "a (red)1.5 boat")
    assert found.hidden_BTC.shape[:2] == (2, 77 * 3)
    assert torch.allclose(found.hidden_BTC[1, :77], told(encoder, "a (red)1.5 boat").hidden_BTC[0], atol=1e-5)
    assert "too long for weights" in told(encoder, "(a red)1.5 boat, " * 50).notices[0]
