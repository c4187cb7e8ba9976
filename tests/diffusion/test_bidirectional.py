import pytest
import torch

from studio.diffusion.bidirectional import Ends, Estimates, distil, vibid
from studio.diffusion.samplers import seeded_noise
from studio.diffusion.sigmas import karras

FRAMES, STEPS = 5, 6
SIGMAS = karras(STEPS, sigma_min=0.002, sigma_max=700.0)


def latents(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


ENDS = Ends(latents(1, 1, 4, 2, 3), latents(2, 1, 4, 2, 3))
START = latents(0, 1, FRAMES, 4, 2, 3) * 700


def moving_from(first, motion, seen=None):
    """A network that sees `first` move by `motion` a frame; untold, it sees half of it."""

    def estimate(x, sigma):
        if seen is not None:
            seen.append((x, float(sigma)))
        clip = torch.stack([first + i * motion for i in range(x.shape[1])], dim=1)
        return Estimates(clip / 2, clip)

    return estimate


def sample(forwards, backwards, on_step=lambda done, x, denoised: None, x=START, start=0, **given):
    return vibid(forwards, backwards, ENDS, x, SIGMAS, on_step, start, noise=seeded_noise(7, START), **given)


def test_the_last_half_step_goes_backwards_in_time_from_the_last_picture():
    motion = latents(3, 1, 4, 2, 3)
    made = sample(moving_from(ENDS.first, motion), moving_from(ENDS.last, -2 * motion))
    told = [ENDS.last - 2 * motion * i for i in reversed(range(FRAMES))]
    assert torch.equal(made[:, 0], ENDS.first)
    for frame in range(1, FRAMES):
        assert torch.allclose(made[:, frame], told[frame], atol=1e-5)


def test_both_halves_of_a_step_see_the_same_noise_level_and_time_runs_the_other_way():
    seen_forwards, seen_backwards = [], []
    still = torch.zeros_like(ENDS.first)
    sample(moving_from(ENDS.first, still, seen_forwards), moving_from(ENDS.last, still, seen_backwards))
    assert [s for _, s in seen_forwards] == [s for _, s in seen_backwards] == [float(s) for s in SIGMAS[:-1]]
    for i, ((ahead, now), (back, _)) in enumerate(zip(seen_forwards, seen_backwards, strict=True)):
        # One frame of it by hand: CFG++ from the forward half with the last frame set, noise, then turned round.
        following = float(SIGMAS[i + 1])
        last = ENDS.last + (ahead[:, -1] - ENDS.first / 2) * following / now
        noise = seeded_noise(7, START)(i)[:, -1] * (now**2 - following**2) ** 0.5
        assert torch.allclose(back[:, 0], last + noise, rtol=1e-5, atol=1e-5)


def test_what_the_halves_leave_to_the_next_step_has_the_next_noise_level():
    spread = []
    zeros = Ends(torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32))
    x = latents(0, 1, FRAMES, 4, 32, 32) * 700

    def nothing(x, sigma):
        return Estimates(torch.zeros_like(x), torch.zeros_like(x))

    def on_step(done, x, denoised):
        spread.append(float(x.std()))

    vibid(nothing, nothing, zeros, x, SIGMAS, on_step, noise=seeded_noise(7, x), distilled=2)
    assert spread == pytest.approx([float(s) for s in SIGMAS[1:]], rel=0.05)


@pytest.mark.parametrize("distilled", [0, 3, STEPS])
def test_it_resumes_from_any_step_with_the_very_same_numbers(distilled):
    ways = (moving_from(ENDS.first, ENDS.last), moving_from(ENDS.last, ENDS.first))
    kept = {}
    whole = sample(*ways, on_step=lambda done, x, denoised: kept.update({done: x}), distilled=distilled)
    assert sorted(kept) == list(range(1, STEPS + 1))
    for done in (1, 3, STEPS):
        assert torch.equal(sample(*ways, x=kept[done], start=done, distilled=distilled), whole)


def test_while_the_motion_is_distilled_the_network_is_never_told_the_last_picture():
    forwards, backwards = [], []
    still = torch.zeros_like(ENDS.first)
    sample(moving_from(ENDS.first, still, forwards), moving_from(ENDS.last, still, backwards), distilled=2)
    assert [s for _, s in forwards] == [float(SIGMAS[i]) for i in (0, 0, 1, 1, 2, 3, 4, 5)]
    assert [s for _, s in backwards] == [float(SIGMAS[i]) for i in (2, 3, 4, 5)]


def test_the_distilled_estimate_is_the_sum_of_backward_differences_blended_in_evenly():
    forward, x, sigma = latents(4, 1, FRAMES, 4, 2, 3), latents(5, 1, FRAMES, 4, 2, 3), 3.0
    noise = (x - forward) / sigma
    backward = [(x[:, -1] - ENDS.last) / sigma]
    for i in range(FRAMES - 1, 0, -1):
        backward.insert(0, backward[0] - (noise[:, i] - noise[:, i - 1]))
    clean = x - sigma * torch.stack(backward, dim=1)
    share = torch.tensor([0, 0.25, 0.5, 0.75, 1]).view(-1, 1, 1, 1)
    blended = distil(forward, ENDS.last)
    assert torch.allclose(blended, (1 - share) * forward + share * clean, atol=1e-5)
    assert torch.equal(blended[:, 0], forward[:, 0])
    assert torch.allclose(blended[:, -1], ENDS.last, atol=1e-6)
