"""pocket-sdxl's own vocabulary in the format of CLIP's tokenizer: some two thousand tokens instead of 49,408.

English is put together from letters to the words of the training captions, as CLIP's is. Chinese stops at characters:
CLIP's tokenizer knows no words where there are no spaces, and pieces of sentences would be learned by heart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from studio.engines.clip_tokens import POSITIONS
from studio.scene.toybox import vocabulary
from studio.train.dice import PICTURES, dice
from studio.train.scenes import draw_scene

START, END = "<|startoftext|>", "<|endoftext|>"

CAPTIONS = 1000
"""Sentences that the words are taken from."""

_ENGLISH = 900
"""Most merges of letters to words."""

_WORD_END = "</w>"

Merge = tuple[str, str]


def train_vocabulary(captions: Iterable[tuple[str, str]]) -> tuple[dict[str, int], list[Merge]]:
    """Token -> number, and the merges in order: bytes, bytes that end a word, each merge, then start and end.

    The same for the same sentences in any order.

    Args:
        captions: in English and in Chinese.
    """
    pairs = list(captions)
    letters = list(_letters().values())
    merges = [*_english([english for english, _ in pairs]), *_chinese([chinese for _, chinese in pairs])]
    words = [*letters, *(f"{letter}{_WORD_END}" for letter in letters), *(a + b for a, b in merges), START, END]
    return {word: number for number, word in enumerate(words)}, merges


def as_tokenizer(words: Mapping[str, int], merges: Iterable[Merge]) -> CLIPTokenizer:
    """The tokenizer itself; what is short is filled up with the end."""
    return CLIPTokenizer(vocab=dict(words), merges=list(merges), pad_token=END, model_max_length=POSITIONS)


def tokenizer_files(words: Mapping[str, int], merges: Iterable[Merge]) -> dict[str, str]:
    """File -> text of a tokenizer's folder, as transformers reads it."""
    marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": POSITIONS, **marks}
    return {
        "vocab.json": json.dumps(words, ensure_ascii=False) + "\n",
        "merges.txt": "\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges)]) + "\n",
        "special_tokens_map.json": json.dumps(marks, indent=2) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
    }


def captions(count: int = CAPTIONS) -> Iterator[tuple[str, str]]:
    """In English and in Chinese: always the same ones of pictures for training, none of which is rendered."""
    for number in range(count):
        drawn = draw_scene(dice(PICTURES, 0, number, held_out=False))
        yield drawn.scene.caption, drawn.caption_zh


def _letters() -> dict[int, str]:
    """Byte -> the letter that stands for it, in the order of CLIP's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [n for n in range(256) if n not in plain]
    return {n: chr(n) for n in plain} | {n: chr(256 + i) for i, n in enumerate(others)}


def _english(sentences: list[str]) -> list[Merge]:
    usual = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[]).backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.normalizer, learner.pre_tokenizer = usual.normalizer, usual.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=512 + _ENGLISH,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix=_WORD_END,
        special_tokens=[],
        show_progress=False,
    )
    learner.train_from_iterator(sorted(sentences), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(a, b) for a, b in islice(merges, _ENGLISH)]


def _chinese(sentences: list[str]) -> list[Merge]:
    """The three bytes of each character to one token, and to another where it ends what CLIP takes for a word.

    Of the characters of the captions, and of all that the toybox understands.
    """
    tables = (vocabulary.THINGS, vocabulary.COLOURS, vocabulary.MATERIALS, vocabulary.PATTERNS, vocabulary.LIGHTS,
              vocabulary.FLOORS, vocabulary.SIZES, vocabulary.COUNTS, vocabulary.RELATIONS)  # fmt: skip
    known = "".join([*sentences, *(str(text) for table in tables for text in table.values())])
    letter = _letters()
    merges: dict[Merge, None] = {}
    for character in sorted({c for c in known if ord(c) > 127}):
        first, *rest = [letter[byte] for byte in character.encode()]
        for i, last in enumerate(rest):
            merges[(first, last)] = None
            if i == len(rest) - 1:
                merges[(first, last + _WORD_END)] = None
            first += last
    return list(merges)
