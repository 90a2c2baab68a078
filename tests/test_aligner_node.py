"""The aligner in a graph: what it moves, what it takes as given, and a sound for any video file."""

import json

import pytest
import torch

from duet_av.av_models.guidance import make_guidance
from duet_av.nodes.aligner import DuetAligner
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode import DuetEncode
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.headless import catalogue, load_workflow, run_workflow
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.latents import unpack_latent
from duet_av.nodes.sockets import GuidanceInput
from duet_av.nodes.stand_in import Folders
from duet_av.tests.foley import assert_only_the_sound_is_new, foley, write_noise
from duet_av.tests.tiny import tiny_model

KEEP = {"keep": "what is connected"}
ALONE = GuidanceInput(make_guidance("none"))
SOUND = {"waveform": torch.linspace(-0.9, 0.9, 4000)[None, None], "sample_rate": 8000}


@pytest.fixture(scope="module")
def model():
    return tiny_model(trained=False)


def aligner(task, **changes):
    settings = {
        "binder": "Bounce-Bind", "video_rate": 0.5, "audio_rate": 0.5, "update": "sign", "keep": "nothing", "inner_steps": 1,
        "first": 0.0, "last": 1.0, "words": 0.0, "agreement": 1.0, "prompt_rate": 0.0, "through_denoiser": False,
        "steps_ahead": 0, "latent_frames": 0, "save_memory": False, "half_precision": False,
    }  # fmt: skip
    return DuetAligner.execute(task=task, **settings | changes)


def sampled(model, latent, aligned=None, prompt="a red ball"):
    prompts = DuetEncodePrompts.execute(model, prompt, prompt, "", "").args[0]
    options = {"video_seed": 1, "audio_seed": 2, "steps": 3, "shift": 1.0, "batch_branches": True}
    node = DuetJointSampler.clone_for_run({"unique_id": "5"})
    out = node.execute(model, prompts, latent, ALONE, aligner=aligned and aligned.args[0], **options)
    return out.args[0]["samples"].unbind()


def given(model, **parts):
    return DuetEncode.execute(model, 16.0, 0.0, KEEP, **parts).args[0]


def frames(count=8):
    return torch.rand(count, 16, 16, 3, generator=torch.Generator().manual_seed(3))


def test_what_is_made_moves_and_what_is_given_stays(model):
    for part, task, moves in (({"images": frames()}, "v2a", 1), ({"audio": SOUND}, "a2v", 0)):
        plain, moved = sampled(model, given(model, **part)), sampled(model, given(model, **part), aligner(task))
        assert not torch.equal(plain[moves], moved[moves]) and torch.equal(plain[1 - moves], moved[1 - moves])


def test_at_rate_zero_it_is_as_if_it_were_not_there(model):
    latent = given(model, images=frames())
    idle = sampled(model, latent, aligner("v2a", audio_rate=0.0))
    assert all(torch.equal(a, b) for a, b in zip(sampled(model, latent), idle))


def test_what_the_latent_keeps_is_agreed_with_where_nothing_is_connected(model):
    latent = given(model, images=frames())
    kept = sampled(model, latent, aligner("v2a"))[1]
    shown = model.decode(unpack_latent(latent), model.shape(frames=8))[0][0]
    assert torch.equal(kept, sampled(model, latent, aligner("v2a", images=shown, fps=16.0))[1])
    assert not torch.equal(kept, sampled(model, latent, aligner("v2a", images=1 - shown, fps=16.0))[1])


def test_the_licence_is_shown_where_there_is_one(monkeypatch):
    class Bound:
        name, licence, modalities = "Bound", "not for sale", frozenset({"video", "image", "audio", "text"})

    monkeypatch.setattr("duet_av.nodes.model_cache.load_binder", lambda name: Bound())
    assert "not for sale" in aligner("joint").ui["text"]
    monkeypatch.undo()
    assert aligner("joint").ui["text"] == ["Bounce-Bind: video and audio are both adjusted to match"]


def test_how_the_reference_is_changed_for_the_binder_is_said_in_numbers():
    wide, low = torch.rand(30, 36, 64, 3), {"waveform": torch.rand(1, 2, 4000), "sample_rate": 8000}

    def used(task, **references):
        return aligner(task, **references).ui["duet"][0]["reference"]

    assert used("v2a", images=wide) == ["video for Bounce-Bind: 8 of 30 frames, 64×36 resized to 64×64"]
    assert used("i2a", images=wide) == ["image for Bounce-Bind: 64×36 resized to 64×64"]
    assert used("a2v", audio=low) == ["audio for Bounce-Bind: 8000 Hz to 16000 Hz, 2 channels mixed to mono"]
    assert used("joint", images=wide, audio=low) == [] == used("v2a")
    assert "video for Bounce-Bind Robust: 8" in used("v2a", images=wide, second_binder="Bounce-Bind Robust")[1]
    assert used("v2a", images=wide)[0] in aligner("v2a", images=wide).ui["text"]


@pytest.mark.parametrize("settings, said", [
    ({"task": "a2v"}, "^a2v needs a sound as its reference; connect one to the aligner, or encode one into the latent$"),
    ({"task": "v2a"}, "^v2a needs a video as its reference; connect one to the aligner, or encode one into the latent$"),
    ({"task": "i2a"}, "^i2a needs an image as its reference; connect one to the aligner, or encode one into the latent$"),
    ({"task": "a2v", "audio": SOUND | {"waveform": torch.zeros(1, 1, 900)}}, "^the reference audio is silent; .*$"),
    ({"task": "a2v", "audio": SOUND | {"waveform": torch.full((1, 1, 9), torch.nan)}}, "is empty or has NaN; use"),
    ({"task": "v2a", "images": torch.zeros(0, 16, 16, 3)}, "^the reference video is empty or has NaN; use another one$"),
    ({"task": "joint", "agreement": 0.0, "words": 1.0}, "^there is nothing to align to; give prompts, or set a weight .*$"),
])  # fmt: skip
def test_what_cannot_be_agreed_with_is_one_line(model, settings, said):
    latent = DuetEmptyLatent.execute(model, 0.5, 1, {"size": "as trained"}).args[0]
    with pytest.raises(ValueError, match=said):
        sampled(model, latent, aligner(**settings), prompt="")


def test_a_second_binder_has_as_much_to_say(model):
    latent = given(model, images=frames())
    alone, second = "Bounce-Bind Robust", {"second_binder": "Bounce-Bind Robust"}
    both = aligner("v2a", **second)
    assert both.ui["text"] == ["Bounce-Bind + Bounce-Bind Robust: the audio is adjusted to match a video"]
    kept = [sampled(model, latent, of)[1] for of in (both, aligner("v2a"), aligner("v2a", binder=alone))]
    assert not any(torch.equal(kept[0], kept[i]) for i in (1, 2))
    twice = aligner("v2a", binder=alone, **second).args[0].aligner.binder
    one, shown = aligner("v2a", binder=alone).args[0].aligner.binder, frames()[None]
    heard = [binder.embed_audio(SOUND["waveform"], 8000) for binder in (one, twice)]
    seen = [binder.embed_video(shown, 16.0) for binder in (one, twice)]
    torch.testing.assert_close((seen[0] * heard[0]).sum(-1), (seen[1] * heard[1]).sum(-1))


def test_the_sounds_words_have_the_weight_of_words_unless_told():
    weights = [aligner("joint", words=0.5, **told).args[0].aligner.prompt_weight("audio") for told in ({}, {"audio_words": 2.0})]
    assert weights == [0.5, 2.0]


def test_a_binder_that_is_gone_is_named():
    second = DuetAligner.validate_inputs(binder="Bounce-Bind", second_binder="gone.safetensors")
    assert "file 'gone.safetensors' was not found" in second
    assert "file 'gone.safetensors' was not found" in DuetAligner.validate_inputs(binder="gone.safetensors")


def test_any_video_file_gets_a_sound_of_its_own_length(tmp_path):
    """LoadVideo → aligned sound → the same packets with the new sound, headless."""
    torch.manual_seed(0)
    source = tmp_path / "input" / "mine.mp4"
    write_noise(source)
    (tmp_path / "graph.json").write_text(json.dumps(foley("mine.mp4", steps=2)))
    folders = Folders(tmp_path / "output", tmp_path / "input", tmp_path / "models")
    [made] = run_workflow(load_workflow(tmp_path / "graph.json"), catalogue(), folders).files
    assert_only_the_sound_is_new(source, made)
