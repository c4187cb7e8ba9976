"""pocket-sdxl: a picture from a sentence, English or Chinese, told size and crop of what it learns from, as SDXL is.

It predicts the noise at SDXL's levels, for SDXL's engine, whose sampler and text encoders are used as they are.

Shapes: B pictures, T tokens, C channels, S x S pixels, h x w latent cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from studio.diffusion import sigmas
from studio.engines.clip_tokens import POSITIONS
from studio.engines.sdxl_networks import build
from studio.engines.sdxl_prompt import read_words
from studio.models.decoding import Decode
from studio.models.sampling import Sample
from studio.train import export
from studio.train.encoding import as_pixels, encode, frozen
from studio.train.pool import Pool, Rows
from studio.train.recogniser import Recogniser, check_prompts
from studio.train.sheets import sheet
from studio.train.shipped import Shipped, Unwatched
from studio.train.stages import Bound, Clock, Measured, Setup
from studio.train.tokens import CAPTIONS, as_tokenizer, captions, tokenizer_files, train_vocabulary

TIMESTEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012
"""SDXL's noise levels (Podell et al. 2023, "SDXL", table 1 and the published scheduler)."""

GUIDANCE = 4.0
"""That pictures are measured with; the variant's default."""

_STEPS, _TOY_STEPS = 20, 4

_WITHHELD = 0.1
"""Share of captions that are withheld: states of zeros, as SDXL's engine gives without a negative prompt."""

_FRAMED = 0.5
"""Share of pictures that are made smaller and larger again, or cut, and said to be."""

_LOWEST = 0.5
"""Of the width that a picture is brought down to at least."""

_WIDEST = 1.5
"""Times the width that a picture is enlarged to at most before it is cut."""

_PROMPTS = 100
"""That names of colour and shape are looked for in, where the time lasts."""


def unet_config(toy: bool) -> dict[str, Any]:
    """SDXL's layout, small: attention on all levels but the first, which sees no text; 7.1 million parameters."""
    channels, heads, states = ([32, 64], [1, 2], 64) if toy else ([64, 128, 128], [2, 4, 4], 256)
    lower = len(channels) - 1
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 4 if toy else 32,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": channels,
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * lower],
        "up_block_types": [*["CrossAttnUpBlock2D"] * lower, "UpBlock2D"],
        "layers_per_block": 1,
        "transformer_layers_per_block": 1,
        "cross_attention_dim": states,
        "attention_head_dim": heads,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": states // 2 + 6 * 32,
    }


def text_config(toy: bool, tokens: int) -> dict[str, Any]:
    """Of either text encoder; three layers, of which the UNet sees what comes out of the second.

    Args:
        tokens: in the vocabulary, the last two of which mark start and end.
    """
    width = 32 if toy else 128
    return {
        "model_type": "clip_text_model",
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "projection_dim": width,
        "num_hidden_layers": 3,
        "num_attention_heads": width // 32,
        "max_position_embeddings": POSITIONS,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": tokens - 2,
        "eos_token_id": tokens - 1,
        "pad_token_id": tokens - 1,
    }


class Sdxl:
    name = "sdxl"
    needs = ("vae",)
    begins_from = None
    minutes = 5.0
    evaluation_s = 35.0
    bounds: Mapping[str, Bound] = {"colour_and_shape_recognised": Bound("at least", 0.8)}

    def begin(self, setup: Setup) -> _Training:
        return _Training(setup)

    def measure(self, shipped: Shipped, setup: Setup, count: int, clock: Clock) -> Measured:
        """How often the colour and the shape that a prompt names are seen in its picture; every other one is Chinese.

        A hundred prompts where `count` is as many as for a whole report, else as many as that.
        """
        count = min(count, 2) if setup.toy else _PROMPTS if count >= 16 else count
        recogniser = Recogniser(setup.device, each=2 if setup.toy else 30)
        painter = _Painter(setup)
        colours, shapes, both, pictures = [], [], [], []
        for i, prompt in enumerate(check_prompts(count)):
            picture = painter.paint(prompt.caption_zh if i % 2 else prompt.caption, seed=i)
            colour, shape = recogniser.read(picture)
            colours.append(colour == prompt.colour)
            shapes.append(shape == prompt.shape)
            both.append(colours[-1] and shapes[-1])
            pictures.append(picture)
            if clock.left_s < 5:
                break
        english, chinese = both[::2], both[1::2]
        figures = {
            "colour_and_shape_recognised": _share(both),
            "colour_recognised": _share(colours),
            "shape_recognised": _share(shapes),
            "recognised_in_english": _share(english),
            **({"recognised_in_chinese": _share(chinese)} if chinese else {}),
            "prompts": float(len(both)),
        }
        return Measured(
            figures, sheet([np.stack(pictures[i : i + 8]) for i in range(0, len(pictures[:64]), 8)], columns=8)
        )


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


class _Training:
    helpers = ()
    learning_rate = 5e-4

    def __init__(self, setup: Setup) -> None:
        sentences = captions(50 if setup.toy else CAPTIONS)
        self._words, self._merges = _read_vocabulary(setup) if setup.resume else train_vocabulary(sentences)
        self._tokenizer = as_tokenizer(self._words, self._merges)
        text = text_config(setup.toy, len(self._words))
        self._configs = {"unet": unet_config(setup.toy), "text_encoder": text, "text_encoder_2": text}
        torch.manual_seed(setup.seed)
        modules = {name: build(name, config) for name, config in self._configs.items()}
        for name, module in modules.items():
            state = setup.resumed("sdxl", name)
            if state is not None:
                module.load_state_dict(state)
        self.exported: Mapping[str, nn.Module] = {name: m.to(setup.device) for name, m in modules.items()}
        self._vae = frozen(setup, "vae", "vae")
        levels = sigmas.trained_levels(TIMESTEPS, beta_start=BETA_START, beta_end=BETA_END)
        self._levels = levels.to(setup.device)
        self._source, self._dice = setup.source("sdxl"), setup.generator("sdxl")
        self._rows, self._made, capacity, first = (8, 8, 32, 16) if setup.toy else (128, 32, 40_000, 1024)
        self._pool = Pool(self._make, capacity, share=setup.making_share)
        self._pool.fill(first)

    def step(self, progress: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean squared error of the noise over a batch.

        Source: Ho et al. 2020, eq. 14; timesteps are drawn one from each of B equal parts of the range.
        """
        self._pool.keep_fresh()
        rows = self._pool.draw(self._rows, self._dice)
        clean_BCHW, device = rows["latents"].float(), self._levels.device
        count = len(clean_BCHW)
        part = torch.arange(count, device=device)
        inside = torch.rand(count, generator=self._dice, device=device)
        timestep_B = ((part + inside) / count * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        sigma_B111 = self._levels[timestep_B][:, None, None, None]
        noise_BCHW = torch.randn(clean_BCHW.shape, generator=self._dice, device=device)
        x_BCHW = (clean_BCHW + sigma_B111 * noise_BCHW) / torch.sqrt(1 + sigma_B111**2)
        hidden_BTC, pooled_BC = self._told(rows["tokens"])
        said_BCHW = self.exported["unet"](
            x_BCHW,
            timestep_B,
            encoder_hidden_states=hidden_BTC,
            added_cond_kwargs={"text_embeds": pooled_BC, "time_ids": rows["sizes"]},
            return_dict=False,
        )[0]
        error_B = functional.mse_loss(said_BCHW.float(), noise_BCHW, reduction="none").mean(dim=(1, 2, 3))
        third = max(1, count // 3)
        by_noise_B = error_B.detach()  # the levels rise along the batch
        return error_B.mean(), {"low_noise": by_noise_B[:third].mean(), "high_noise": by_noise_B[-third:].mean()}

    def configs(self) -> Mapping[str, dict]:
        return self._configs

    def other_files(self) -> Mapping[str, str]:
        files = tokenizer_files(self._words, self._merges)
        return {f"{folder}/{name}": text for folder in ("tokenizer", "tokenizer_2") for name, text in files.items()}

    def _told(self, tokens_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What both text encoders make of the captions; zeros of those that are withheld."""
        first, second = (self.exported[name](tokens_BT) for name in ("text_encoder", "text_encoder_2"))
        there_B = (torch.rand(len(tokens_BT), generator=self._dice, device=tokens_BT.device) >= _WITHHELD).float()
        hidden_BTC = torch.cat([first.hidden_BTC, second.hidden_BTC], dim=-1)
        return hidden_BTC * there_B[:, None, None], second.pooled_BC * there_B[:, None]

    def _make(self) -> Rows:
        """Scaled latents in fp16, the tokens of a caption in one of two languages, and what SDXL is told of size."""
        batch = self._source.pictures(self._made)
        chinese = torch.rand(self._made, generator=self._dice, device=self._dice.device).tolist()
        pairs = zip(batch.captions, batch.captions_zh, chinese, strict=True)
        tokens_BT = self._tokens([zh if drawn < 0.5 else en for en, zh, drawn in pairs]).to(self._levels.device)
        pixels_BCHW, sizes_B6 = framed(as_pixels(batch.frames), self._dice)
        latents_BCHW = encode(self._vae, pixels_BCHW) * self._vae.config.scaling_factor
        return {"latents": latents_BCHW.half(), "tokens": tokens_BT, "sizes": sizes_B6}

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 (B, 77), as SDXL's engine gives them to a text encoder; of a long caption the first part."""
        marks = self._tokenizer
        rows = []
        for text in texts:
            row = [marks.bos_token_id, *read_words(marks, text).parts[0], marks.eos_token_id]
            rows.append(row + [marks.pad_token_id] * (POSITIONS - len(row)))
        return torch.tensor(rows)


def framed(pixels_BCHW: torch.Tensor, dice: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures, half of them changed in one of two ways, and fp32 (B, 6): what SDXL is told of each.

    Made smaller and larger again, which its original height and width say; or enlarged and cut, which the cut's top
    left corner says. Then comes the height and width that is wanted, always that of the picture.

    Source: Podell et al. 2023, "SDXL", section 2.2.
    """
    side = pixels_BCHW.shape[-1]
    drawn_B4 = torch.rand(len(pixels_BCHW), 4, generator=dice, device=dice.device).tolist()
    pictures, told = [], []
    for picture_CHW, (changes, how, y, x) in zip(pixels_BCHW, drawn_B4, strict=True):
        original, top, left = side, 0, 0
        if changes < _FRAMED / 2:
            original = round(side * (_LOWEST + (1 - _LOWEST) * how))
            picture_CHW = _resized(_resized(picture_CHW, original), side)
        elif changes < _FRAMED:
            wide = round(side * (1 + (_WIDEST - 1) * how))
            top, left = round(y * (wide - side)), round(x * (wide - side))
            picture_CHW = _resized(picture_CHW, wide)[:, top : top + side, left : left + side]
        pictures.append(picture_CHW)
        told.append([original, original, top, left, side, side])
    return torch.stack(pictures), torch.tensor(told, dtype=torch.float32, device=pixels_BCHW.device)


def _resized(picture_CHW: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(
        picture_CHW[None], (side, side), mode="bilinear", antialias=True, align_corners=False
    )[0]


def _read_vocabulary(setup: Setup) -> tuple[dict[str, int], list[tuple[str, str]]]:
    folder = export.find(setup.weights, "sdxl") / "tokenizer"
    words = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return words, [(a, b) for a, _, b in (line.partition(" ") for line in lines)]


class _Painter:
    """pocket-sdxl as it lies in files, leased to the studio's own engine, as `Shipped` leases the others."""

    exact_savings = True

    def __init__(self, setup: Setup) -> None:
        from studio.engines.sdxl import Engine

        self.device = str(setup.device)
        self._roots, self._modules = setup.weights, {}
        self._side = setup.size.side
        self._steps = _TOY_STEPS if setup.toy else _STEPS
        self._engine = Engine(_SPEC, self)

    def paint(self, prompt: str, *, seed: int) -> np.ndarray:
        """uint8 (S, S, 3)."""
        wish = SimpleNamespace(
            negative_prompt="",
            seed=seed,
            width=self._side,
            height=self._side,
            steps=self._steps,
            sampler="euler",
            guidance_scale=GUIDANCE,
            loras=(),
            candidates=1,
            refine_from=None,
        )
        return next(iter(self._engine.paint_all(prompt, [wish], Unwatched())))

    # What the engine asks of the model manager's components, and of the run of a plan.

    def start(self, wish: Any, ctx: Any) -> _Painter:
        return self

    def phase(self, name: str, work: Any, *, whole: bool = True) -> Any:
        choices = {"sample": Sample(), "decode": Decode("whole", 1)}
        return work(SimpleNamespace(choice=choices.get(name)))

    def recall(self, component: str, about: Any, make: Any) -> Any:
        return make()

    @contextmanager
    def use(self, *names: str, phase: str) -> Iterator[tuple[nn.Module, ...]]:
        yield tuple(self._module(name) for name in names)

    def _module(self, component: str) -> nn.Module:
        """Read once; a text encoder has the tokenizer with it that lies beside it."""
        from studio.engines.sdxl_weights import load

        if component not in self._modules:
            file = export.weights_file(export.find(self._roots, "vae" if component == "vae" else "sdxl") / component)
            place = SimpleNamespace(weights={component: file}, root=file.parent.parent)
            dtype = "fp32" if self.device == "cpu" else "fp16"
            self._modules[component] = load(component, place, self.device, dtype, lambda done, total: None)
        return self._modules[component]


_SPEC = SimpleNamespace(
    id="pocket-sdxl",
    capabilities={"text-to-image": None},
    component_bytes=dict.fromkeys(("text_encoder", "text_encoder_2", "unet", "vae"), 0),
    facts={
        "timesteps": TIMESTEPS,
        "beta_start": BETA_START,
        "beta_end": BETA_END,
        "empty_negative": "zeros",
    },
)
"""What the engine reads of a variant."""

STAGE = Sdxl()
