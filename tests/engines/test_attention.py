import pytest
import torch
from torch.nn import functional

from studio.engines import attention
from studio.engines.attention import Attention, candidates, in_slices, measure, question_of
from studio.models.tuned import Tuned
from tests.counting import counting

SHAPES = {"space": (2, 4, 128, 16), "time": (64, 4, 5, 16), "one wide head": (2, 1, 96, 160)}


def qkv(shape, dtype=torch.float32):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_all_candidates_give_the_same_but_for_rounding(shape):
    q, k, v = qkv(shape)
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    found = candidates(q)
    assert len(found) >= 2
    for name, attend in found.items():
        out = attend(q, k, v)
        assert out.shape == shape, name
        assert (out - expected).abs().max() < 2e-6, name


def test_candidates_suit_the_shape():
    assert set(candidates(torch.empty(SHAPES["space"]))) == {"torch", "flash"}
    assert set(candidates(torch.empty(SHAPES["time"]))) == {"torch", "flash", "math"}
    assert set(candidates(torch.empty(SHAPES["one wide head"]))) == {"torch", "flash", "math", "slices"}


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200])
def test_products_in_slices_give_every_row(tokens):
    q, k, v = qkv((3, 1, tokens, 64))
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    assert (in_slices(q, k, v) - expected).abs().max() < 2e-6


def test_products_in_slices_take_heads_and_any_memory_order():
    q, k, v = (t.transpose(1, 2) for t in qkv((2, 50, 4, 16)))
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    assert (in_slices(q, k, v) - expected).abs().max() < 2e-6


@pytest.mark.filterwarnings("ignore:Flash attention kernel")
def test_products_in_slices_are_no_further_from_full_precision_than_torchs_math():
    q, k, v = qkv((2, 1, 300, 512)) * 2
    exact = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    math = candidates(torch.empty(1, 1, 8, 512))["math"]
    ours, torchs = ((f(q, k, v) - exact).norm() for f in (in_slices, math))
    assert ours <= 1.1 * torchs


def test_at_full_size_the_vaes_attention_does_the_work_of_its_formula_in_the_memory_of_few_inputs():
    q, k, v = torch.empty(3, 25, 1, 9216, 512, dtype=torch.half, device="meta")
    with counting() as count:
        in_slices(q, k, v)
    assert count.flop == 4 * 25 * 9216**2 * 512
    # Beside the result: scores of 256 rows and their softmax, in fp32 as large as an input each, and that in half.
    assert count.peak_bytes <= 3.6 * q.numel() * 2
    assert count.attention_calls == 0


def test_the_quickest_is_chosen_once_and_from_then_on(monkeypatch):
    seconds, trials = {"torch": 3.0, "flash": 1.0, "math": 2.0, "slices": 4.0}, []

    def timed(work, device):
        trials.append(work)
        return list(seconds.values())[len(trials) - 1]

    monkeypatch.setattr(attention, "seconds_of", timed)
    tuned = Tuned(None)
    q, k, v = qkv(SHAPES["one wide head"])
    attend = Attention(tuned, measures=True)
    out = attend(q, k, v)
    assert tuned.choice(question_of(q)) == "flash"
    assert tuned.seconds(question_of(q)) == seconds
    assert len(trials) == 4
    assert torch.equal(attend(q, k, v), out)
    assert torch.equal(Attention(tuned, measures=True)(q, k, v), out)
    assert len(trials) == 4, "another job asks what is known"


def test_what_is_not_clearly_quicker_leaves_the_choice_to_torch(monkeypatch):
    monkeypatch.setattr(attention, "seconds_of", lambda work, device: 1.0)
    assert measure(torch.empty(SHAPES["time"]), Tuned(None)) == "torch"


def test_where_nothing_was_measured_torch_chooses():
    q, k, v = qkv(SHAPES["space"])
    tuned = Tuned(None)
    out = Attention(tuned, measures=False)(q, k, v)
    assert torch.equal(out, functional.scaled_dot_product_attention(q, k, v))
    assert tuned.questions() == ()


def test_what_fails_in_its_trial_or_gives_something_else_is_no_candidate(monkeypatch):
    def refuses(q, k, v):
        raise RuntimeError("head dimension not supported")

    found = {**candidates(torch.empty(SHAPES["space"])), "refuses": refuses, "wrong": lambda q, k, v: v}
    monkeypatch.setattr(attention, "candidates", lambda q: found)
    monkeypatch.setattr(attention, "seconds_of", lambda work, device: 1.0)
    tuned = Tuned(None)
    measure(torch.empty(SHAPES["space"]), tuned)
    assert set(tuned.seconds(question_of(torch.empty(SHAPES["space"])))) == {"torch", "flash"}


def test_a_choice_that_fails_on_the_job_gives_way_to_torchs_for_good(monkeypatch):
    def refuses(q, k, v):
        raise RuntimeError("invalid configuration argument")

    monkeypatch.setattr(attention, "candidates", lambda q: {"refuses": refuses})
    q, k, v = qkv(SHAPES["space"])
    tuned = Tuned(None)
    tuned.keep(question_of(q), "refuses", {})
    attend = Attention(tuned, measures=False)
    assert torch.equal(attend(q, k, v), functional.scaled_dot_product_attention(q, k, v))
    assert tuned.choice(question_of(q)) == "torch"


def test_running_out_of_memory_is_not_hidden(monkeypatch):
    def full(q, k, v):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(attention, "candidates", lambda q: {"full": full})
    q, k, v = qkv(SHAPES["space"])
    tuned = Tuned(None)
    tuned.keep(question_of(q), "full", {})
    with pytest.raises(torch.OutOfMemoryError):
        Attention(tuned, measures=False)(q, k, v)


def test_a_question_is_of_heads_channels_and_about_how_many_tokens_whatever_the_batch():
    same = {question_of(torch.empty(n, 5, t, 64, device="meta")) for n in (1, 50) for t in (8193, 9216, 16384)}
    assert same == {"attention, 5 x 64, 16384 tokens"}


def test_a_library_that_is_not_there_is_no_candidate():
    assert attention._function("studio_has_no_such_library", "f") is None
    assert attention._function("torch.nn.functional", "no_such_function") is None
    q, k, v = qkv((2, 3, 4, 16))
    there = attention._function("torch.nn.functional", "scaled_dot_product_attention")
    expected = functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)
    assert torch.equal(there(q, k, v), expected)
