"""CLIP's tokenizer: from a folder's own files, else from the vocabulary that comes with the studio.

A single-file checkpoint has no tokenizer in it. All of Stable Diffusion XL's text encoders have the same one, but for
the token that fills up what is short.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

from transformers import CLIPTokenizer

from studio.errors import BadInput

POSITIONS = 77
"""Tokens that a text encoder takes at a time, with the two that mark start and end."""

_START, _END = "<|startoftext|>", "<|endoftext|>"


def read_tokenizer(folder: Path | None, *, pad: str, tokens: int) -> CLIPTokenizer:
    """The tokenizer of a text encoder that knows that many tokens.

    Args:
        folder: ``tokenizer`` or ``tokenizer_2`` of a diffusers folder; read where there are its files.
        pad: the token that fills up, where the folder does not say.

    Raises:
        BadInput: the files are damaged, or they and the text encoder do not go together.
    """
    own = folder is not None and all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    try:
        found = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True) if own else _own(pad)
    except Exception as e:  # tokenizers (0.23) raises no other for files that make no sense
        raise BadInput(f"{folder} is damaged.", "Remove the variant and pull it again.") from e
    if len(found) > tokens:
        where = f"{folder} has" if own else "There is no tokenizer beside it, and the studio's own has"
        raise BadInput(f"{where} {len(found):,} tokens; the text encoder knows {tokens:,}.", "Pull the variant again.")
    return found


def _own(pad: str) -> CLIPTokenizer:
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), pad_token=pad, model_max_length=POSITIONS)


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> number, and the merges: bytes, bytes that end a word, each merge, then start and end.

    Source: openai/CLIP, `simple_tokenizer.py`.
    """
    path = Path(__file__).parent / "clip_vocabulary" / "merges.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    # The other bytes have no visible character of their own; they are called by those from 256 on.
    letters = [*(chr(n) for n in plain), *(chr(256 + n) for n in range(256 - len(plain)))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges), _START, _END]
    return {word: number for number, word in enumerate(words)}, merges
