"""PE-AV in the aligner's dropdowns, and in a run."""

from __future__ import annotations

import shutil

import pytest
import torch

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.metrics.agreement import AgreementSettings
from duet_av.nodes import model_cache
from duet_av.nodes.aligner import DuetAligner
from duet_av.nodes.binder_files import binder_names
from duet_av.nodes.host import model_files
from duet_av.nodes.stand_in import Folders, session
from duet_av.nodes.stand_in.session import Session
from duet_av.nodes.sync_report import DuetSyncReport
from duet_av.tests.test_aligner_node import aligner, frames, given, sampled
from duet_av.tests.tiny import tiny_model

NAME = "pe-av-small"


@pytest.fixture(scope="module")
def model():
    return tiny_model(trained=False)


@pytest.fixture
def folder(small_pe_av, tmp_path):
    """The folder of a tiny PE-AV in models/duet, beside shards of something else."""
    found = tmp_path / "duet" / NAME
    shutil.copytree(small_pe_av, found)
    (tmp_path / "duet" / "other").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "duet" / "other" / name).write_text("{}")
    token = session.set(Session(Folders(models=tmp_path)))
    yield found
    session.reset(token)


def test_its_folder_is_offered_last_and_others_are_not(folder):
    assert binder_names() == [NAME] and model_files() == []
    inputs = DuetAligner.GET_NODE_INFO_V1()["input"]
    assert inputs["required"]["binder"][1]["options"] == ["Bounce-Bind", "Bounce-Bind Robust", "Bounce-Bind Times", NAME]
    assert inputs["optional"]["second_binder"][1]["options"][-1] == NAME


def test_its_licence_and_what_it_uses_are_shown(folder):
    shown = aligner("v2a", binder=NAME, images=torch.rand(3, 36, 64, 3)).ui["text"]
    assert shown == [
        "PE-AV: the audio is adjusted to match a video", "video for PE-AV: 3 of 3 frames, 64×36 resized to 32×32",
        "PE-AV's weights: Apache-2.0",
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"timing": 1.0}, {"timing": 1.0, "half_precision": True, "save_memory": True}])
def test_the_sound_of_a_video_moves(model, folder, settings):
    latent = given(model, images=frames())
    plain, moved = sampled(model, latent), sampled(model, latent, aligner("v2a", binder=NAME, words=1.0, **settings))
    assert not torch.equal(plain[1], moved[1]) and torch.equal(plain[0], moved[0]) and moved[1].isfinite().all()


def test_timing_changes_what_is_moved_and_a_second_binder_does_not_take_it_away(model, folder):
    latent = given(model, images=frames())
    apart = [sampled(model, latent, aligner("v2a", binder=NAME, **settings))[1]
             for settings in ({}, {"timing": 0.0}, {"timing": 3.0}, {"timing": 3.0, "second_binder": "Bounce-Bind"})]  # fmt: skip
    assert torch.equal(apart[0], apart[1]) and not torch.equal(apart[1], apart[2]) and not torch.equal(apart[2], apart[3])


def test_frames_with_nan_move_nothing_and_are_counted(model, folder, monkeypatch):
    aligned = aligner("joint", binder=NAME).args[0].aligner
    alignment = aligned.begin(model, model.shape(), ("", ""))
    latent = model.latent_shape(model.shape())
    before = AVLatent(torch.full(latent.video, torch.nan), torch.zeros(latent.audio))
    after = alignment.move_latents(before, lambda x: x)
    assert alignment.skipped == 1 and torch.equal(after.audio, before.audio)


def test_a_changed_file_is_loaded_again_and_an_unchanged_one_is_not(folder):
    first = model_cache.load_binder(NAME)
    assert model_cache.load_binder(NAME) is first
    before = model_cache.fingerprint(NAME)
    (folder / "tokenizer.json").unlink()
    assert model_cache.fingerprint(NAME) != before and "text" not in model_cache.load_binder(NAME).modalities


def test_what_is_missing_or_broken_is_one_line(folder):
    assert DuetAligner.validate_inputs(binder=NAME, second_binder="pe-av-large-16-frame") == (
        "binder 'pe-av-large-16-frame' was not found in models/duet; download it: hf download facebook/pe-av-large-16-frame "
        "--local-dir models/duet/pe-av-large-16-frame"
    )
    assert DuetAligner.validate_inputs(binder=NAME) is True
    with pytest.raises(ValueError, match="^timing is 1, but Bounce-Bind does not see when things happen; set timing to 0, or "):
        aligner("v2a", timing=1.0)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="^binder 'pe-av-small' was not found in models/duet; download it: hf download"):
        model_cache.load_binder(NAME)


def test_the_sync_report_compares_each_prompt_with_what_it_is_for(folder):
    assert DuetSyncReport.GET_NODE_INFO_V1()["input"]["optional"]["binder"][1]["options"][-1] == NAME
    assert DuetSyncReport.validate_inputs(binder=NAME) is True
    binder = model_cache.load_binder(NAME)
    prompts = AgreementSettings(binder, "a ball", "a ball").prompts
    for modality in ("video", "audio"):
        assert torch.equal(prompts[f"{modality}_prompt"], binder.embed_text_for(["a ball"], modality)[0])
    assert not torch.equal(*prompts.values())
