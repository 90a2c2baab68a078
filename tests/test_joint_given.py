"""Published joint models in the nodes: a given first frame, video, audio or beginning; comparisons, cancelling, previews."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.media.fit import fit_frames
from duet_av.nodes.compare import DuetCompare
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode import DuetEncode
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.guidance import DuetGuidance
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.latents import known_parts, unpack_latent
from duet_av.nodes.stand_in import Session, session
from duet_av.nodes.sync_report import DuetSyncReport
from duet_av.tests.test_aligner_node import aligner

FAMILIES = ("kandinsky6", "ltx2", "ovi")
SETTINGS = {"video_seed": 1, "audio_seed": 2, "steps": 2, "shift": 0.0, "batch_branches": True, "eta": -1.0}
SECONDS = 0.5
KEPT = {"the first frame": (True, False), "the video": (True, False), "the audio": (False, True), "a beginning": (True, True)}


@cache
def loaded(folder: Path):
    model = load_joint_model(folder)
    return replace(model, clip=replace(model.clip, height=64, width=64))


@pytest.fixture(params=FAMILIES)
def model(request):
    return loaded(request.getfixturevalue(f"small_{request.param}"))


def frames(count: int) -> torch.Tensor:
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(1))


def sound(model, seconds: float) -> dict:
    rate = model.audio_codec.sample_rate
    noise = torch.randn(1, 1, round(seconds * rate), generator=torch.Generator().manual_seed(2)) / 10
    return {"waveform": noise, "sample_rate": rate}


def encode(model, keep: str):
    choice = {"keep": keep} | ({"until": 0.3} if keep == "a beginning" else {})
    count = 1 if keep == "the first frame" else round(SECONDS * 24)
    given = {"images": frames(count)} | ({} if keep == "the first frame" else {"audio": sound(model, SECONDS)})
    return encoding(model, choice, **given).args[0]


def encoding(model, choice: dict, **given):
    return DuetEncode.execute(model, 24.0, SECONDS, choice, **given)


def prompts(model):
    return DuetEncodePrompts.execute(model, "a ball bounces", "", "", "").args[0]


def sample(model, latent, node=DuetJointSampler, **inputs):
    return node.clone_for_run({"unique_id": "5"}).execute(model, prompts(model), latent, **inputs, **SETTINGS)


@pytest.mark.parametrize("keep", KEPT)
def test_given_parts_are_kept_and_the_rest_is_made(model, keep):
    latent = encode(model, keep)
    made = sample(model, latent).args[0]
    given, result, known = unpack_latent(latent), unpack_latent(made), known_parts(latent, model=model)
    generates_first = keep == "the first frame" and getattr(model.denoiser, "takes_first_frame", False)
    for x, y, mask, kept in zip(
        (given.video, given.audio), (result.video, result.audio), (known.video, known.audio), KEPT[keep], strict=True
    ):
        mask = mask.expand_as(x)
        assert mask.any() == kept and y.isfinite().all()
        assert generates_first or torch.equal(y[mask], x[mask])
        assert mask.all() or not torch.equal(y[~mask], x[~mask])
    images, audio, fps = DuetDecode.execute(model, made).args
    assert len(images) == round(SECONDS * 24) and fps == 24 and audio["waveform"].isfinite().all()


def test_the_image_changes_the_clip(model):
    clips = [unpack_latent(sample(model, latent).args[0]).video for latent in (encode(model, "the first frame"), empty(model))]
    assert not torch.allclose(clips[0][:, :, -1], clips[1][:, :, -1])


def test_an_image_is_encoded_alone(model):
    """As in the models' own pipelines: HunyuanVideo's VAE has norms over all frames, and a whole clip takes minutes."""
    latent = unpack_latent(encode(model, "the first frame")).video
    image = fit_frames(frames(1), 24, replace(model.clip, frames=1))[None]
    assert torch.equal(latent[:, :, :1], model.video_codec.encode(image)) and not latent[:, :, 1:].any()


def test_a_first_frame_that_is_generated_anew_is_not_said_to_stay(model):
    text = encoding(model, {"keep": "the first frame"}, images=frames(1)).ui["text"]
    assert any("generates the first frame anew" in line for line in text) == model.denoiser.takes_first_frame


def empty(model):
    size = {"size": "custom", "width": 64, "height": 64, "fps": 24.0}
    return DuetEmptyLatent.execute(model, SECONDS, 1, size).args[0]


def test_guidances_are_compared_and_measured(model):
    guidances = {
        name: DuetGuidance.execute({"guidance": each, "video_scale": -1.0, "audio_scale": -1.0}).args[0]
        for name, each in (("guidance0", "cfg"), ("guidance1", "joint_cfg"))
    }
    table = sample(model, empty(model), DuetCompare, guidances=guidances).args[1]
    assert "joint_cfg" in table and "own scheduler" in table
    images, audio, fps = DuetDecode.execute(model, sample(model, empty(model)).args[0]).args
    assert "sync" in DuetSyncReport.execute(fps, images, audio).args[0].lower()


def test_the_aligner_and_new_noise_change_the_clip(model):
    made = {
        "plain": sample(model, empty(model)), "aligned": sample(model, empty(model), aligner=aligner("joint").args[0]),
        "again": sample(model, empty(model), aligner=aligner("joint").args[0]), "ancestral": ancestral(model),
    }  # fmt: skip
    latents = {name: unpack_latent(each.args[0]) for name, each in made.items()}
    assert torch.equal(latents["aligned"].video, latents["again"].video)
    for name in ("aligned", "ancestral"):
        for stream in ("video", "audio"):
            x, plain = getattr(latents[name], stream), getattr(latents["plain"], stream)
            assert x.isfinite().all() and not torch.equal(x, plain)


def ancestral(model):
    settings = SETTINGS | {"eta": 1.0}
    return DuetJointSampler.clone_for_run({"unique_id": "5"}).execute(model, prompts(model), empty(model), **settings)


class CancelledError(Exception):
    pass


def test_a_run_is_cancelled_within_a_step(model):
    steps = []

    def check():
        if len(steps) == 2:
            raise CancelledError

    token = session.set(Session(on_progress=lambda value, total: steps.append(value), check_interrupt=check))
    try:
        with pytest.raises(CancelledError):
            DuetJointSampler.clone_for_run({"unique_id": "5"}).execute(
                model, prompts(model), empty(model), **SETTINGS | {"steps": 50}
            )
    finally:
        session.reset(token)
    assert steps == [1, 2]


def test_previews_are_sent_and_change_nothing(model, monkeypatch):
    monkeypatch.setattr("duet_av.av_models.preview.TIME_SHARE", 100.0)
    settings, shown = SETTINGS | {"steps": 4}, []
    plain = DuetJointSampler.clone_for_run({"unique_id": "5"}).execute(model, prompts(model), empty(model), **settings).args[0]
    token = session.set(Session(on_preview=shown.append))
    try:
        made = DuetJointSampler.clone_for_run({"unique_id": "5"}).execute(model, prompts(model), empty(model), **settings).args[0]
    finally:
        session.reset(token)
    assert shown and shown[-1]["count"] == round(SECONDS * 24)
    assert all(torch.equal(*pair) for pair in zip(plain["samples"].unbind(), made["samples"].unbind()))


@pytest.mark.parametrize("guidance", ["cfg", "joint_cfg", "modality_cfg"])
def test_distilled_weights_refuse_guidance_with_the_reason_and_run_without(small_kandinsky6_distilled, guidance):
    model = loaded(small_kandinsky6_distilled)
    made = DuetGuidance.execute({"guidance": guidance, "video_scale": 3.0, "audio_scale": 3.0}).args[0]
    with pytest.raises(ValueError) as error:
        sample(model, empty(model), guidance=made)
    assert "distilled" in str(error.value) and "none" in str(error.value) and "\n" not in str(error.value)
    assert sample(model, empty(model)).shown["duet"][0]["guidance"] == "none"


def test_a_picture_for_a_model_that_takes_text_names_the_node_for_it(model):
    with pytest.raises(ValueError, match="picture is connected, but .* takes text prompts; .* use Encode Video \\+ Audio"):
        DuetEncodePrompts.execute(model, "a ball", "", "", "", picture=frames(1))
