"""Estimates of memory, and the plan where there is less."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from duet_av.av_models.guidance import Cost
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.memory import estimate_decoding, fits, free_memory, weight_bytes
from duet_av.av_models.memory_plan import MemoryPlan, estimate_sampling, plan_sampling
from duet_av.av_models.offload import is_offloaded
from duet_av.nodes import host, placement, run_sampler
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.tests.kandinsky6 import clip

CPU = torch.device("cpu")


@pytest.fixture
def model(small_kandinsky6):
    return load_joint_model(small_kandinsky6)


def latents(model, frames=9):
    return model.latent_shape(clip(model, frames))


def test_sampling_grows_with_rows_and_tokens(model):
    one, two, long = estimate_sampling(model, latents(model), 1), estimate_sampling(model, latents(model), 2), latents(model, 33)
    assert two == 2 * one and estimate_sampling(model, long, 1) > 2 * one


def test_the_width_is_that_of_most_weights(model):
    model.denoiser.transformer = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 40), nn.Linear(40, 40), nn.Linear(100, 10))
    _, _, length, height, width = latents(model).video
    tokens = length * height * width // 4 + latents(model).audio[2]
    assert estimate_sampling(model, latents(model), 1) == tokens * 40 * 24 * 4


def test_decoding_counts_all_frames_and_the_maps_of_those_decoded_at_a_time(model):
    short, long = (estimate_decoding(model.video_codec, latents(model, frames).video) for frames in (17, 33))
    pixels = 32 * 48
    assert long - short == 16 * pixels * 3 * 4
    assert model.video_codec.frames_at_once == 17 and short == 17 * pixels * (3 * 4 + 4 * 12 * 4)


def test_weights_that_fit_stay_on_the_device(model):
    weights = weight_bytes(model.denoiser)
    assert weights == sum(parameter.nbytes for parameter in (*model.denoiser.parameters(), *model.denoiser.buffers()))
    assert plan_sampling(model, latents(model), 2, free=10**12, can_offload=True).offloaded == 0
    short = plan_sampling(model, latents(model), 2, free=weights, can_offload=True)
    assert short.offloaded == weights and short.activations == estimate_sampling(model, latents(model), 2)
    assert plan_sampling(model, latents(model), 2, free=0, can_offload=False).offloaded == 0


def test_the_line():
    assert MemoryPlan(6 * 10**9, 2 * 10**9, 4 * 10**9, 6 * 10**9).line == (
        "needs about 8.0 GB, 4.0 GB are free, 6.0 GB stay offloaded"
    )
    assert MemoryPlan(6 * 10**9, 0, 9 * 10**9).line == "needs about 6.0 GB, 9.0 GB are free"
    assert MemoryPlan(10**8, 10**8, 9 * 10**9).line == ""


def test_free_memory_is_that_of_the_computer_on_a_cpu():
    assert 10**7 < free_memory(CPU) and fits(nn.Linear(1, 1), CPU)


def sampled(model, frames=9):
    size = {"size": "custom", "width": 48, "height": 32}
    latent = DuetEmptyLatent.execute(model, frames / 24, 1, size).args[0]
    settings = {"video_seed": 1, "audio_seed": 2, "steps": 2, "shift": 0.0, "batch_branches": True}
    return DuetJointSampler.clone_for_run({"unique_id": "1"}).execute(model, latent=latent, **settings).args[0]


def streams(latent):
    return latent["samples"].unbind()


@pytest.fixture
def gpu(monkeypatch):
    """A CPU that passes for a GPU with this much free memory, and what is moved to it."""
    moved: list = []

    def with_memory(free: int) -> list:
        monkeypatch.setattr(host, "on_gpu", lambda: True)
        monkeypatch.setattr(placement, "on_gpu", lambda: True)
        monkeypatch.setattr(host, "free_memory", lambda device: free)
        monkeypatch.setattr(placement, "free_device_memory", lambda: free)
        return moved

    return with_memory


def test_a_denoiser_that_does_not_fit_is_offloaded_and_makes_the_same_clip(model, gpu, monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr(run_sampler, "report_text", lambda text, node_id: shown.append(text))
    expected = streams(sampled(model))
    gpu(10**5)
    clips = [streams(sampled(model)) for _ in range(2)]
    assert is_offloaded(model.denoiser) and all(torch.equal(*pair) for clip in clips for pair in zip(clip, expected))
    assert "GB" not in shown[0] and all(text.endswith("GB stay offloaded") for text in shown[1:])


@pytest.mark.parametrize("family", ["small_kandinsky6", "small_ltx2", "small_ovi"])
def test_room_is_made_for_text_encoders(family, request, gpu, monkeypatch):
    model, asked = load_joint_model(request.getfixturevalue(family)), []
    monkeypatch.setattr(placement, "on_device", lambda *models, parts, memory: asked.append((parts, memory)))
    placement.load_encoders(model)
    assert asked == [(("conditioner",), model.conditioner.encoder_bytes)] and asked[0][1] > 10**4


@pytest.mark.parametrize("free, loaded", [(10**12, 3), (10**5, 0)])
def test_codecs_are_loaded_for_previews_where_there_is_room(model, gpu, monkeypatch, free, loaded):
    gpu(free)
    asked: list = []
    monkeypatch.setattr(placement, "on_device", lambda *models, parts, memory: asked.extend(model.movable(parts)))
    placement.load_denoiser(model, latents(model), Cost(1, 1, 1), previews=True)
    assert len(asked) == loaded


def test_parts_leave_the_device_when_others_need_the_room(model, gpu, monkeypatch):
    left: list = []
    monkeypatch.setattr(host, "_take_off", lambda network: left.append(next(iter(network))))
    host.on_device(model, parts=["denoiser"])
    gpu(10**9)
    host.on_device(model, parts=["video_codec"])
    assert not left
    gpu(10)
    host.on_device(model, parts=["audio_codec"])
    assert {"denoiser", "video_codec"} <= set(left)


def test_a_second_run_leaves_no_more_behind_than_the_first(model):
    def run() -> int:
        DuetDecode.execute(model, sampled(model))
        gc.collect()
        real = torch.Tensor, torch.nn.Parameter  # not what torch.compile keeps in other tests
        return sum(each.nbytes for each in gc.get_objects() if type(each) in real)

    first = run()
    assert run() <= first and run() <= first
