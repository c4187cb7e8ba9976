import inspect
import itertools
import math

import pytest
import torch

from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import SAMPLERS, STOCHASTIC, euler, seeded_noise
from studio.diffusion.sigmas import every_so_many, initial_noise, karras
from tests.tiny import DIFFUSERS_WARNS, SCHEDULER

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def ignore(done, x, denoised):
    pass


def gaussian(mean, deviation):
    """The exact denoiser of normally distributed data."""

    def denoise(x, sigma):
        return (deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2)

    return denoise


def consistent(mean, deviation):
    """The consistency function of normally distributed data: where the ODE's solution through x ends."""

    def denoise(x, sigma):
        return mean + (x - mean) * deviation / torch.sqrt(deviation**2 + sigma**2)

    return denoise


@every_sampler
def test_it_brings_noise_to_the_distribution_of_the_data(sampler):
    noise = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    schedule = karras(200, sigma_min=0.002, sigma_max=80.0)
    x = initial_noise(noise, schedule[0])
    denoise = consistent(2.0, 0.5) if sampler is SAMPLERS["lcm"] else gaussian(2.0, 0.5)
    out = sampler(denoise, x, schedule, ignore, noise=seeded_noise(1, x))
    assert out.mean().item() == pytest.approx(2.0, abs=0.05)
    assert out.std().item() == pytest.approx(0.5, rel=0.05)


def final_error(sampler, steps):
    """How far the sampler ends from where the exact solution of the ODE ends, short of sigma 0."""
    schedule, mean, deviation = karras(steps, sigma_min=0.05, sigma_max=20.0)[:-1], 0.7, 0.9
    x = torch.linspace(-40, 40, 9)
    out = sampler(gaussian(mean, deviation), x, schedule, ignore)
    # dx/ds = s (x - mean) / (deviation^2 + s^2) keeps (x - mean) / sqrt(deviation^2 + s^2) constant.
    shrunk = math.sqrt((deviation**2 + schedule[-1].item() ** 2) / (deviation**2 + schedule[0].item() ** 2))
    return (out - (mean + (x - mean) * shrunk)).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp-2m", 2)])
def test_twice_the_steps_leave_a_half_of_the_error_or_a_quarter_as_its_order_says(name, order):
    errors = [final_error(SAMPLERS[name], steps) for steps in (17, 33, 65)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35)


def test_second_order_is_nearer_the_exact_solution_at_the_same_number_of_steps():
    errors = {name: final_error(SAMPLERS[name], 25) for name in ("euler", "heun", "dpmpp-2m")}
    assert errors["heun"] < errors["euler"] / 7
    assert errors["dpmpp-2m"] < errors["euler"] / 7


@every_sampler
def test_the_last_step_lands_on_the_estimate(sampler):
    seen = []
    schedule, x = karras(3, sigma_min=0.1, sigma_max=10.0), torch.full((4,), 10.0)
    out = sampler(
        gaussian(1.0, 1.0), x, schedule, lambda done, x, d: seen.append((done, x, d)), noise=seeded_noise(0, x)
    )
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert torch.allclose(out, seen[-1][2])


@every_sampler
@pytest.mark.parametrize("start", [1, 3, 4])
def test_resuming_from_any_step_gives_the_unbroken_result_bit_for_bit(sampler, start):
    states = {}
    schedule = karras(5, sigma_min=0.002, sigma_max=700.0)
    x = initial_noise(torch.randn(64, generator=torch.Generator().manual_seed(1)), schedule[0])
    whole = sampler(
        gaussian(0.3, 0.9), x, schedule, lambda done, x, d: states.update({done: (x, d)}), noise=seeded_noise(5, x)
    )
    x, denoised = states[start]
    again = sampler(gaussian(0.3, 0.9), x, schedule, ignore, start=start, previous=denoised, noise=seeded_noise(5, x))
    assert torch.equal(again, whole)


def test_a_sampler_that_looks_back_refuses_to_resume_without_what_it_looks_at():
    with pytest.raises(AssertionError, match="estimate before"):
        SAMPLERS["dpmpp-2m"](gaussian(0, 1), torch.ones(2), karras(3, sigma_min=0.1, sigma_max=1.0), ignore, start=1)


@every_sampler
def test_only_those_that_are_said_to_draw_noise_do(sampler):
    asked = []

    def noise(step):
        asked.append(step)
        return torch.zeros(4)

    sampler(gaussian(0.0, 1.0), torch.ones(4), karras(4, sigma_min=0.1, sigma_max=5.0), ignore, noise=noise)
    assert asked == ([0, 1, 2] if sampler in [SAMPLERS[name] for name in STOCHASTIC] else [])


def test_seeded_noise_is_another_for_every_step_and_seed_and_the_same_when_asked_again():
    like = torch.empty(1, 3, 4, 5)
    draws = {(seed, step): seeded_noise(seed, like)(step) for seed in (0, 1, 2**31 - 1) for step in range(4)}
    assert {d.shape for d in draws.values()} == {like.shape}
    assert len({d.numpy().tobytes() for d in draws.values()}) == len(draws)
    assert torch.equal(seeded_noise(1, like)(2), draws[1, 2])
    far = torch.cat([d.flatten() for d in (seeded_noise(3, torch.empty(5000))(i) for i in range(4))])
    assert far.mean().item() == pytest.approx(0, abs=0.03)
    assert far.std().item() == pytest.approx(1, abs=0.03)


def trace(scheduler, steps, model_output, evaluations=1):
    """Sigmas of a diffusers scheduler and where it takes a start that is given, with the denoiser of `gaussian`."""
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    levels = scheduler.sigmas.unique().flip(0).float()
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * levels[0]
    return levels, x, lambda: _run(scheduler, x, model_output)


def _run(scheduler, x, model_output):
    for t in scheduler.timesteps:
        sigma = scheduler.sigmas[scheduler.step_index or 0]
        x = scheduler.step(model_output(x, sigma), t, x, **_drawing(scheduler)).prev_sample
    return x


def _drawing(scheduler):
    if "generator" not in inspect.signature(scheduler.step).parameters or "Ancestral" not in type(scheduler).__name__:
        return {}
    scheduler.generator = getattr(scheduler, "generator", None) or torch.Generator().manual_seed(9)
    return {"generator": scheduler.generator}


DENOISE = gaussian(0.4, 0.8)
CONFIG = {**SCHEDULER, "prediction_type": "epsilon", "timestep_type": "discrete"}


def noise_seen(x, sigma):
    return (x - DENOISE(x, sigma)) / sigma


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_heun_agrees_with_diffusers():
    from diffusers import HeunDiscreteScheduler

    levels, x, theirs = trace(HeunDiscreteScheduler.from_config(CONFIG), 8, noise_seen)
    assert torch.allclose(SAMPLERS["heun"](DENOISE, x, levels, ignore), theirs(), atol=1e-5)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_ancestral_euler_agrees_with_diffusers_drawing_the_same_noise():
    from diffusers import EulerAncestralDiscreteScheduler

    levels, x, theirs = trace(EulerAncestralDiscreteScheduler.from_config(CONFIG), 8, noise_seen)
    generator = torch.Generator().manual_seed(9)
    ours = SAMPLERS["euler-ancestral"](
        DENOISE, x, levels, ignore, noise=lambda step: torch.randn(x.shape, generator=generator)
    )
    assert torch.allclose(ours, theirs(), atol=1e-5)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_dpm_solver_agrees_with_diffusers():
    from diffusers import EDMDPMSolverMultistepScheduler

    # This scheduler scales what the network gives by itself; its v is turned into the estimate that is wanted.
    scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=1.0, solver_order=2)
    scheduler.convert_model_output = lambda model_output, sample: model_output
    levels, x, theirs = trace(scheduler, 8, DENOISE)
    assert torch.allclose(SAMPLERS["dpmpp-2m"](DENOISE, x, levels, ignore), theirs(), atol=1e-5)


def published_lcm(network, x, steps, noise):
    """AnimateLCM's scheduler for SVD, written down from its formulas in float64: levels, scalings, noise."""
    high, low = 700.0 ** (1 / 7), 0.002 ** (1 / 7)
    levels = [(high + i * (40 // steps) / 39 * (low - high)) ** 7 for i in range(steps)] + [0.0]
    x = x.double() * math.sqrt(700.0**2 + 1)
    for i, (now, following) in enumerate(itertools.pairwise(levels)):
        seen = network(x / math.sqrt(now**2 + 1), 0.25 * math.log(now))
        denoised = -now / math.sqrt(now**2 + 1) * seen + x / (now**2 + 1)
        x = denoised + noise(i).double() * following
    return x


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_consistency_steps_are_those_of_the_published_scheduler(steps):
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)) / 2

    def network(scaled, c_noise):
        return torch.tanh(scaled @ weight.to(scaled.dtype)) * math.cos(float(c_noise))

    unit = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    levels = every_so_many(steps, trained=40, sigma_min=0.002, sigma_max=700.0)
    x, noise = initial_noise(unit, levels[0]), seeded_noise(7, unit)
    ours = SAMPLERS["lcm"](lambda x, sigma: denoise_v(network, x, sigma), x, levels, ignore, noise=noise)
    assert torch.allclose(ours.double(), published_lcm(network, unit, steps, noise), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings(DIFFUSERS_WARNS)
def test_consistency_steps_agree_with_diffusers_but_for_the_least_level():
    from diffusers import CMStochasticIterativeScheduler

    # Its network is -v. It puts sqrt(t^2 - sigma_min^2) of noise where AnimateLCM puts t, and shifts its scalings.
    scheduler = CMStochasticIterativeScheduler(
        num_train_timesteps=40, sigma_min=0.002, sigma_max=700.0, sigma_data=1.0, s_noise=1.0, clip_denoised=False
    )
    scheduler.set_timesteps(4)
    levels = every_so_many(4, trained=40, sigma_min=0.002, sigma_max=700.0)
    assert torch.allclose(scheduler.sigmas[:-1], levels[:-1], rtol=1e-5)
    x = initial_noise(torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)), levels[0])
    theirs, generator = x, torch.Generator().manual_seed(9)
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(theirs, t)
        theirs = scheduler.step(-torch.tanh(scaled) * (i + 1), t, theirs, generator=generator).prev_sample
    calls = itertools.count(1)
    generator = torch.Generator().manual_seed(9)
    ours = SAMPLERS["lcm"](
        lambda x, sigma: denoise_v(lambda scaled, _: torch.tanh(scaled) * next(calls), x, sigma),
        x,
        levels,
        ignore,
        noise=lambda step: torch.randn(x.shape, generator=generator),
    )
    assert torch.allclose(ours, theirs, atol=0.03)


def test_what_the_callback_raises_ends_the_sampling_there():
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return x * 0

    def stop(done, x, denoised):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        euler(denoise, torch.ones(2), karras(9, sigma_min=0.1, sigma_max=1.0), stop)
    assert len(calls) == 2


def test_half_precision_state_is_refused():
    with pytest.raises(AssertionError):
        euler(gaussian(0, 1), torch.ones(2, dtype=torch.float16), karras(2, sigma_min=0.1, sigma_max=1.0), ignore)
