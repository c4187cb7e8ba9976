"""What comes out is what Stability's own code gives: mini checkpoints with random weights, fp32, max abs difference."""

import math

import numpy as np
import pytest
import torch

from studio.diffusion import conditioning, guidance, sigmas
from studio.diffusion.precondition import denoise_v
from studio.diffusion.samplers import euler
from studio.engines import svd_encode, svd_network
from studio.engines.sv3d_unet import PerFrameUNet
from studio.engines.svd_decode import decode_chunk, decoder_of
from studio.scene.orbit import Orbit
from tests.engines.convert.oracles import Case, cases


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


def off(given, wanted):
    assert given.shape == wanted.shape
    return (given - wanted).abs().max().item()


def per_video(rows, frames):
    return rows.unflatten(0, (-1, frames))


@pytest.mark.parametrize("case", cases("unet_io"))
def test_the_unet_gives_the_references_numbers(case):
    io, frames = case.tensors("unet_io"), case.frames
    # The reference was given random vectors here, so the class that takes vectors stands in for the stock one.
    out = PerFrameUNet.forward(
        case.module("unet"),
        per_video(io["x"], frames),
        per_video(io["timesteps"], frames)[:, 0],
        per_video(io["context"], frames)[:, 0],
        per_video(io["y"], frames),
    )[0]
    assert off(out.flatten(0, 1), io["out"]) < 1e-5


@pytest.mark.parametrize("case", cases("vae_io"))
def test_the_vae_encodes_to_the_references_latent(case):
    io = case.tensors("vae_io")
    image = torch.tensor(np.asarray(io["image_u8_hwc"])).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert off(svd_encode.encode_mean(case.module("vae"), image), io["conditioner_encode_mode"]) < 1e-5


@pytest.mark.parametrize("case", cases("vae_io"))
def test_the_vae_decodes_to_the_references_pixels(case):
    io = case.tensors("vae_io")
    decoder = decoder_of(case.module("vae"))
    assert off(decode_chunk(decoder, io["z"]), io["decoded_all_frames"]) < 5e-5


@pytest.mark.parametrize("case", cases("vae_io", only="svd"))
def test_decoding_in_chunks_gives_the_references_borders(case):
    io = case.tensors("vae_io")
    decoder = decoder_of(case.module("vae"))
    latent = io["latents_for_decode_first_stage"] / case.module("vae").config.scaling_factor
    chunks = torch.cat([decode_chunk(decoder, part) for part in latent.split(4)])
    assert off(chunks, io["decode_first_stage_latents_chunk4"]) < 5e-5
    assert off(decode_chunk(decoder, latent), io["decode_first_stage_latents_chunk4"]) > 0.1


@pytest.mark.parametrize("case", cases("conditioner_io"))
def test_clip_sees_the_references_pixels_and_gives_its_embedding(case):
    io = case.tensors("conditioner_io")
    image = torch.tensor(np.asarray(io["image_u8_hwc"])).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = svd_encode.clip_pixels(image)
    assert off(pixels, io["clip_pixels"]) < 1e-5
    assert off(case.module("image_encoder")(pixel_values=pixels).image_embeds, io["clip_embed"]) < 1e-5


def guidance_weights(case):
    sampler = case.meta["sampler"]
    low, high = sampler["min_scale"], sampler["max_scale"]
    return guidance.GUIDERS[sampler["guider"]](low, high, case.frames)


def network(case, trace):
    """The engine's own, told plain numbers and cameras."""
    sampler, cond = case.meta["sampler"], case.meta["cond"]
    context, latent = trace["c_crossattn"][:1], trace["c_concat"][:1]
    if case.kind == "sv3d-p":
        orbit = Orbit(tuple(cond["azimuths_deg"]), tuple(cond["elevations_deg"]))
        ids = conditioning.view_vectors(cond["cond_aug"], *orbit.radians())
    elif case.kind == "sv3d-u":
        ids = torch.tensor([[cond["cond_aug"]]])
    else:
        ids = conditioning.added_ids(cond["fps_id"] + 1, cond["motion_bucket_id"], cond["cond_aug"])
    told = svd_network.Conditioning(context, latent, ids)
    # Of its own: the network may rewrite the UNet that it is given.
    unet = Case(case.folder).module("unet")
    low, high = sampler["min_scale"], sampler["max_scale"]
    return svd_network.Network(unet, told, case.frames, low, high, guider=sampler["guider"])


@pytest.mark.parametrize("case", cases("sampler_trace"))
def test_a_whole_sampling_run_follows_the_references_step_by_step(case):
    trace, sampler = case.tensors("sampler_trace"), case.meta["sampler"]
    schedule = sigmas.karras(
        sampler["num_steps"], sigma_min=sampler["sigma_min"], sigma_max=sampler["sigma_max"], rho=sampler["rho"]
    )
    assert torch.equal(schedule, trace["sigmas"])
    assert off(guidance_weights(case), trace["guidance_scale"][0]) < 1e-6
    run, heard = network(case, trace), []

    def on_step(done, x, denoised):
        heard.append(off(denoised[0], trace[f"step{done - 1}_denoised_guided"]))
        wanted = trace[f"step{done - 1}_x_out"]
        # After the first step x reaches 540, where a millionth is what fp32 keeps over a network's sums.
        assert off(x[0], wanted) < max(2e-4, 1e-6 * wanted.abs().max().item()), done

    start = sigmas.initial_noise(trace["noise"][None], schedule[0])
    final = euler(lambda x, sigma: denoise_v(run, x, sigma), start, schedule, on_step)
    assert len(heard) == sampler["num_steps"]
    assert max(heard) < 2e-4
    assert off(final[0], trace["final_latents"]) < 2e-4


@pytest.mark.parametrize("case", cases("sampler_trace"))
def test_the_references_conditioning_vector_is_made_of_the_plain_numbers(case):
    trace, cond = case.tensors("sampler_trace"), case.meta["cond"]
    numbers = [cond[name] for name in ("fps_id", "motion_bucket_id", "cond_aug") if name in cond]
    rows = case.module("unet").add_time_proj(torch.tensor(numbers)).flatten()
    assert off(trace["c_vector"][:, : len(rows)], rows.expand(case.frames, -1)) < 1e-5  # the sine of 127 in fp32
    assert math.isclose(len(rows), 256 * len(numbers))
