"""pocket-clip: an image encoder that knows its pictures again, and what is said of them.

It learns to tell which two pictures are of one clip, and which sentence is whose, in English and in Chinese. What reads
the sentences is thrown away: pocket-svd is only ever shown pictures.

Shapes: B clips, C channels, L tokens, S x S pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from studio.engines.networks import build
from studio.train import networks
from studio.train.encoding import as_pixels, clip_pixels
from studio.train.pool import Pool, Rows
from studio.train.sheets import as_frames, sheet
from studio.train.shipped import Shipped
from studio.train.stages import Bound, Clock, Measured, Setup

_WORDS = 4096
"""Numbers that pieces of a sentence are hashed to."""

_TOKENS = 160
"""Most pieces of a sentence."""


class Clip:
    name = "clip"
    needs = ()
    begins_from = None
    minutes = 2.5
    evaluation_s = 10.0
    bounds: Mapping[str, Bound] = {}

    def begin(self, setup: Setup) -> _Training:
        return _Training(setup)

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """How many clips are told from all others by their first and last frames' embeddings."""
        count = max(2, count)
        source = setup.held_out()
        clips = [source.clips(1, setup.size.frames).frames[0] for _ in range(count)]
        first_BC, last_BC = (
            functional.normalize(shipped.embeddings(np.stack([as_frames(c[at, None])[0] for c in clips])), dim=-1)
            for at in (0, -1)
        )
        found_B = (first_BC @ last_BC.T).argmax(1)
        share = float((found_B == torch.arange(count, device=found_B.device)).float().mean())
        rows = [as_frames(torch.stack([clips[i][0], clips[int(found_B[i])][-1]])) for i in range(min(count, 8))]
        return Measured({"clips_known_again": share, "samples": float(count)}, sheet(rows, columns=2))


class _Training:
    learning_rate = 5e-4

    def __init__(self, setup: Setup) -> None:
        size = setup.size
        torch.manual_seed(setup.seed)
        self._config = networks.clip_config(size)
        encoder = build("image_encoder", self._config)
        state = setup.resumed("clip", "image_encoder")
        if state is not None:
            encoder.load_state_dict(state)
        self._encoder = encoder.to(setup.device)
        self._reader = _Reader(size.embedding).to(setup.device)
        self.exported, self.helpers = {"image_encoder": self._encoder}, (self._reader,)
        self._source, self._dice = setup.source("clip"), setup.generator("clip")
        self._rows, self._made, capacity, first = (8, 8, 32, 16) if setup.toy else (128, 16, 12_000, 512)
        self._frames = size.frames
        self._pool = Pool(self._make, capacity, share=setup.making_share)
        self._pool.fill(first)

    def step(self, progress: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self._pool.keep_fresh()
        rows = self._pool.draw(self._rows, self._dice)
        frames_NCHW = rows["frames"].flatten(0, 1)
        seen_NC = self._encoder(pixel_values=clip_pixels(as_pixels(frames_NCHW))).image_embeds.float()
        one_BC, other_BC = functional.normalize(seen_NC, dim=-1).unflatten(0, (-1, 2)).unbind(1)
        read_BC, read_zh_BC = (self._reader(rows[name]) for name in ("tokens", "tokens_zh"))
        pairs = ((one_BC, other_BC), (one_BC, read_BC), (other_BC, read_zh_BC))
        views, english, chinese = (matched(a, b, self._reader.sharpness()) for a, b in pairs)
        # Far from unit length, an embedding would reach the UNet's attention too large or too small.
        length = (seen_NC.norm(dim=-1) / seen_NC.shape[-1] ** 0.5 - 1).square().mean()
        told = {"views": views, "english": english, "chinese": chinese}
        return views + english + chinese + 0.1 * length, told

    def configs(self) -> Mapping[str, dict]:
        return {"image_encoder": self._config}

    def other_files(self) -> Mapping[str, str]:
        return {}

    def _make(self) -> Rows:
        """The first frame of each clip, and one of the others."""
        batch = self._source.clips(self._made, self._frames)
        at = 1 + torch.randint(self._frames - 1, (self._made,), generator=self._dice, device=self._dice.device)
        rows = torch.arange(self._made, device=at.device)
        pairs = torch.stack([batch.frames[:, 0], batch.frames[rows, at]], dim=1)
        said = {"tokens": tokens(batch.captions), "tokens_zh": tokens(batch.captions_zh)}
        return {"frames": pairs, **{name: found.to(pairs.device) for name, found in said.items()}}


class _Reader(nn.Module):
    """What a sentence says, from the pieces that it is made of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pieces = nn.Embedding(_WORDS, 128, padding_idx=0)
        self.mix = nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, width))
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))

    def forward(self, tokens_BL: torch.Tensor) -> torch.Tensor:
        there_BL1 = (tokens_BL > 0).float()[..., None]
        mean_BC = (self.pieces(tokens_BL) * there_BL1).sum(1) / there_BL1.sum(1).clamp_min(1)
        return functional.normalize(self.mix(mean_BC).float(), dim=-1)

    def sharpness(self) -> torch.Tensor:
        """What similarities are multiplied by; a hundred at most, as in CLIP."""
        return self.log_sharpness.clamp(max=4.6).exp()


def matched(a_BC: torch.Tensor, b_BC: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
    """Scalar: the cross-entropy of finding each row's partner among all, both ways.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.3.
    """
    similarity_BB = sharpness * a_BC @ b_BC.T
    right_B = torch.arange(len(a_BC), device=a_BC.device)
    return (functional.cross_entropy(similarity_BB, right_B) + functional.cross_entropy(similarity_BB.T, right_B)) / 2


def tokens(sentences: tuple[str, ...]) -> torch.Tensor:
    """int64 (B, L), 0 where there is no more: hashes of all runs of one to three letters or signs, and of all words."""
    found = torch.zeros(len(sentences), _TOKENS, dtype=torch.int64)
    for i, sentence in enumerate(sentences):
        pieces = dict.fromkeys(sentence.lower().split())
        pieces |= dict.fromkeys(sentence[j : j + n].lower() for n in (3, 2, 1) for j in range(len(sentence) - n + 1))
        hashed = [1 + zlib.crc32(piece.encode()) % (_WORDS - 1) for piece in pieces][:_TOKENS]
        found[i, : len(hashed)] = torch.tensor(hashed)
    return found


STAGE = Clip()
