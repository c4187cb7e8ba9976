"""From words to what Stable Diffusion XL's UNet is told of them, one text encoder at a time.

A text encoder takes 75 tokens; a longer prompt is read in parts of that many, whose states are put one after another,
and the text as a whole is what the first part says it is. Words can be given weights: see
`studio.engines.sdxl_emphasis`.

Shapes: N parts over all texts, B texts (the negative first, where there is one), T tokens, C channels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import CLIPTokenizer

from studio.engines.clip_tokens import POSITIONS
from studio.engines.sdxl_emphasis import Emphasis, encode_weighted, read_emphasis
from studio.engines.sdxl_networks import TextEncoder

PART_TOKENS = POSITIONS - 2
"""Tokens of a part, without the two that mark its start and end."""

MOST_PARTS = 5
"""What comes after as many parts is not read."""

_SHOWN = 40
"""Characters of what was cut off that are named."""


@dataclass(frozen=True)
class Words:
    """A text as tokens.

    Args:
        parts: tokens of each part; at least one part, which may be empty.
        count: tokens of the whole text.
        rest: how what was not read begins, "" where all was.
    """

    parts: tuple[tuple[int, ...], ...]
    count: int
    rest: str = ""

    def notices(self, what: str) -> list[str]:
        """What the user should know of how it is read; `what` names the text ("The prompt")."""
        if self.rest:
            most = MOST_PARTS * PART_TOKENS
            return [f"{what} has {self.count:,} tokens, and at most {most} are read: it ends before “{self.rest}”."]
        if len(self.parts) > 1:
            return [f"{what} has {self.count} tokens and is read in {len(self.parts)} parts of {PART_TOKENS} at most."]
        return []


@dataclass(frozen=True)
class Told:
    """What one text encoder makes of the texts: fp32, on the host.

    Args:
        hidden_BTC: for the UNet's attention.
        pooled_BC: of each text as a whole; only the second text encoder gives it.
        notices: what the user should know of how they were read.
    """

    hidden_BTC: torch.Tensor
    pooled_BC: torch.Tensor | None
    notices: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Host memory that it takes."""
        return self.hidden_BTC.nbytes + (0 if self.pooled_BC is None else self.pooled_BC.nbytes)


def read_words(tokenizer: CLIPTokenizer, text: str) -> Words:
    """The text as tokens, in parts that end where a word does, unless the word alone is longer than a part."""
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    found = tokenizer(readable(text), add_special_tokens=False, verbose=False).input_ids
    ids = [i for i in found if i not in marks]
    ends = [token.endswith("</w>") for token in tokenizer.convert_ids_to_tokens(ids[: MOST_PARTS * PART_TOKENS])]
    parts: list[tuple[int, ...]] = []
    begin = 0
    while begin < len(ids) and len(parts) < MOST_PARTS:
        end = min(begin + PART_TOKENS, len(ids))
        if end < len(ids):
            end = max((i + 1 for i in range(begin, end) if ends[i]), default=end)
        parts.append(tuple(ids[begin:end]))
        begin = end
    return Words(tuple(parts) or ((),), len(ids), _shown(tokenizer, ids[begin:]) if begin < len(ids) else "")


def _shown(tokenizer: CLIPTokenizer, ids: Sequence[int]) -> str:
    """How these tokens begin, on one line and without what would turn the line around; never empty."""
    text = tokenizer.decode(ids[:_SHOWN])
    return "".join(c for c in text if c.isprintable()).strip()[:_SHOWN] or "…"


def readable(text: str) -> str:
    """The text without what nobody can read: control characters are spaces, half characters are left out."""
    kinds = ((c, unicodedata.category(c)) for c in text)
    return "".join(" " if kind == "Cc" else c for c, kind in kinds if kind != "Cs")


def encode(encoder: TextEncoder, texts: Sequence[str], device: str) -> Told:
    """What the text encoder makes of the texts, each filled up with empty parts to the length of the longest.

    Args:
        texts: the negative one first, where there is one, then the prompt.
    """
    notices: list[str] = []
    weighted: list[Emphasis | None] = []
    words = []
    for text, name in zip(texts, ("The negative prompt", "The prompt")[-len(texts) :], strict=True):
        emphasis, problem = read_emphasis(readable(text))
        words.append(read_words(encoder.tokenizer, emphasis.plain if emphasis else text))
        if emphasis and words[-1].rest:
            emphasis, problem = None, f"{name} is too long for weights; what is read of it is taken as it is."
        weighted.append(emphasis)
        notices += [problem] * bool(problem) + words[-1].notices(name)
    told = encoder(_rows(encoder.tokenizer, [part for w in words for part in w.parts] + [()]).to(device))
    *hidden, empty_TC = told.hidden_BTC.split([*(len(w.parts) for w in words), 1])
    states = [
        encode_weighted(encoder, emphasis, device) if emphasis else plain.flatten(0, 1)
        for emphasis, plain in zip(weighted, hidden, strict=True)
    ]
    longest = max(len(state_TC) for state_TC in states) // POSITIONS
    filled = [torch.cat([s_TC, *[empty_TC[0]] * (longest - len(s_TC) // POSITIONS)]) for s_TC in states]
    firsts = [sum(len(w.parts) for w in words[:i]) for i in range(len(words))]
    return Told(
        torch.stack(filled).float().cpu(),
        None if told.pooled_BC is None else told.pooled_BC[firsts].float().cpu(),
        tuple(notices),
    )


def _rows(tokenizer: CLIPTokenizer, parts: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64 (N, 77): the tokens that the encoder takes for these parts."""
    rows = [[tokenizer.bos_token_id, *part, tokenizer.eos_token_id] for part in parts]
    return torch.tensor([row + [tokenizer.pad_token_id] * (POSITIONS - len(row)) for row in rows])
