"""Words of a prompt that weigh more or less than the others: ``a (red)1.3 boat``, ``(red boat)++``, ``fog--``.

compel reads the marks and applies the weights; ``(red:1.3)``, which other programs write, is read as well. What makes
its parser slow or means something else there (many brackets inside each other, quotes, blends) is not given to it:
compel 2.5.1 takes minutes for thirty brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from studio.engines.sdxl_networks import TextEncoder

MOST_CHARACTERS = 1500
"""Of a text with weights; its parser takes two seconds for the worst of these."""

_DEEPEST = 2
"""Brackets inside each other."""

_HEAVIEST = 2.0
"""Words that weigh more break the picture rather than show in it."""

_MARKED = re.compile(r"\)(\+|-|\d|\.\d)|[^\s()+\-](\+\+|--)(?=[\s,.;]|$)")
_ELSEWHERE = re.compile(r"\(([^():]+):\s*(\d*\.?\d+)\s*\)")
_FOREIGN = re.compile(r"[\"\\]|\.(and|blend|swap)\(")


@dataclass(frozen=True)
class Emphasis:
    """A text in pieces, each with its weight.

    Args:
        texts: in order.
        weights: one for each, from 0 to 2; 1 leaves the words as they are.
    """

    texts: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def plain(self) -> str:
        """The text without its marks."""
        return " ".join(self.texts)


def read_emphasis(text: str) -> tuple[Emphasis | None, str]:
    """The text in weighted pieces, None where it has no weights; a sentence where it has some that can't be read."""
    text = _ELSEWHERE.sub(r"(\1)\2", text)
    if not _MARKED.search(text):
        return None, ""
    if len(text) > MOST_CHARACTERS:
        return None, f"Weights are read in prompts of up to {MOST_CHARACTERS} characters; this one is taken as it is."
    if not _is_simple(text):
        return (
            None,
            "The prompt's weights can't be read, and it is taken as it is; brackets close, two deep at most.",
        )
    # Not before it is needed: it brings half of diffusers' pipelines.
    from compel.prompt_parser import FlattenedPrompt, Fragment, PromptParser

    read = PromptParser().parse_conjunction(text).prompts
    if len(read) != 1 or type(read[0]) is not FlattenedPrompt or any(type(c) is not Fragment for c in read[0].children):
        return None, "The prompt's weights can't be read, and it is taken as it is."
    pieces = [piece for piece in read[0].children if piece.text]
    weights = tuple(min(max(float(piece.weight), 0.0), _HEAVIEST) for piece in pieces)
    if all(weight == 1 for weight in weights):
        return None, ""
    return Emphasis(tuple(piece.text for piece in pieces), weights), ""


def encode_weighted(encoder: TextEncoder, emphasis: Emphasis, device: str) -> torch.Tensor:
    """(T, C): the text encoder's states of the pieces in their weights, a part of 77 tokens after another."""
    from compel.embeddings_provider import EmbeddingsProvider, ReturnedEmbeddingsType, SplitLongTextMode

    dtype = next(encoder.parameters()).dtype
    provider = EmbeddingsProvider(
        tokenizer=encoder.tokenizer,
        text_encoder=encoder.text_model,
        dtype_for_device_getter=lambda device: dtype,
        truncate=False,
        returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
        device=device,
        split_long_text_mode=SplitLongTextMode.BRUTAL,
    )
    return provider.get_embeddings_for_weighted_prompt_fragments(
        [list(emphasis.texts)], [list(emphasis.weights)], device=device
    )[0]


def _is_simple(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if not 0 <= depth <= _DEEPEST:
            return False
    return depth == 0 and not _FOREIGN.search(text)
