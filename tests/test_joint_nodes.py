"""Published joint models in the nodes and in `duet info`: listed, loaded, described, prompted."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.published import joint
from duet_av.commands import main
from duet_av.nodes.conditioning_prompts import DuetPromptsFromConditioning
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.load_joint_model import DuetLoadJointModel
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests import fake_family
from duet_av.tests.fake_family import save_folder
from duet_av.tests.tiny import tiny_model
from duet_av.tests.toy import TEXT_WIDTH

SHIPPED = ["Bounce", "Bounce JointDiT", "Hearing study T2AV"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The models folder of a user, with one folder of the family and one of another pipeline."""
    fake_family.register(monkeypatch)
    save_folder(tmp_path / "diffusers" / "fake")
    save_folder(tmp_path / "duet" / "some" / "fake2", name="Fake 2")
    save_folder(tmp_path / "diffusers" / "audioldm2", "AudioLDM2Pipeline")
    save_folder(tmp_path / "diffusers" / "flux", "FluxPipeline")
    token = session.set(Session(Folders(models=tmp_path)))
    yield tmp_path
    session.reset(token)


def choices(name: str = "model", kind: str = "required") -> list[str]:
    return DuetLoadJointModel.GET_NODE_INFO_V1()["input"][kind][name][1]["options"]


def load(name: str = "fake", *options: str):
    return DuetLoadJointModel.execute(name, *options)


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_folders_of_joint_models_are_offered_and_others_are_not(models):
    assert sorted(choices()) == sorted([*SHIPPED, "fake", "some/fake2"])
    assert DuetLoadJointModel.validate_inputs("fake") is True


def test_of_a_model_of_several_files_only_the_network_is_offered(models):
    for name, tensors in {
        "Ovi/model_960x960": ("video_model.a", "audio_model.a"), "Ovi/wan2.2_vae": ("encoder.a",), "Ovi/text_encoder/model": ("a",),
        "own": ("a",), "ovi_too": ("video_model.a", "audio_model.a"),
    }.items():  # fmt: skip
        (models / "duet" / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({tensor: torch.zeros(1) for tensor in tensors}, models / "duet" / f"{name}.safetensors")
    assert set(choices()) - {*SHIPPED, "fake", "some/fake2"} == {
        "Ovi/model_960x960.safetensors", "own.safetensors", "ovi_too.safetensors"
    }  # fmt: skip


def test_a_damaged_folder_does_not_hide_the_others(models):
    (models / "diffusers" / "broken").mkdir()
    (models / "diffusers" / "broken" / "model_index.json").write_text("{")
    assert "fake" in choices() and "broken" not in choices()


def test_the_report_says_what_the_model_is(models):
    output = load()
    assert output.shown["text"] == [
        "Fake 1 Lite: 3.1 billion parameters, 26.1 GB on disk, licence MIT",
        "can: text to video with audio, a first frame",
        "Not tried with published weights yet.",
    ]
    facts = output.shown["duet"][0]
    assert (facts["model"], facts["licence"], facts["needs"]) == ("Fake 1 Lite", "MIT", [])
    assert load().args[0] is output.args[0]


def test_progress_is_shown_while_parts_load(tmp_path, monkeypatch):
    fake_family.register(monkeypatch)
    monkeypatch.setattr("duet_av.nodes.model_cache.MEGABYTE", 1)
    file = save_folder(tmp_path / "diffusers" / "slow") / "model_index.json"
    shown = []
    token = session.set(Session(Folders(models=tmp_path), on_progress=lambda *values: shown.append(values)))
    try:
        load("slow")
    finally:
        session.reset(token)
    assert shown == [(file.stat().st_size,) * 2]


def test_the_bars_of_the_libraries_are_off_only_while_a_part_loads(small_kandinsky6, capfd, monkeypatch):
    from diffusers.utils import logging

    monkeypatch.setattr(logging, "_tqdm_active", True)
    load_joint_model(small_kandinsky6)
    assert "Loading" not in capfd.readouterr().err and logging.is_progress_bar_enabled()


def test_what_is_missing_is_a_warning_and_the_model_is_loaded(models):
    save_folder(models / "diffusers" / "bare", needs=["text_encoder", "vae", "tokenizer"])
    output = load("bare")
    assert output.shown["duet"][0]["warnings"] == [
        "missing: vae; download it",
        "missing: text_encoder, tokenizer; download them, or connect clip of Prompts for Video and Audio",
    ]
    assert output.args[0].name == "Fake 1 Lite"


def test_info_shows_the_same(models, capsys):
    assert main(["info", str(models / "diffusers" / "fake")]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == load().shown["text"]
    assert main(["info", str(models / "diffusers" / "fake"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["capabilities"] == fake_family.CARD["capabilities"]
    assert main(["info", str(models / "diffusers" / "flux")]) == 2
    assert "FluxPipeline" in capsys.readouterr().err


@pytest.mark.parametrize("name, words", [
    ("audioldm2", ["AudioLDM2Pipeline", "a model for audio alone", "use Load Audio Expert and Join Experts"]),
    ("flux", ["FluxPipeline", "not a joint model", "Kandinsky6TI2VAPipeline"]),
])  # fmt: skip
def test_a_folder_of_another_pipeline_says_what_fits(models, name, words):
    with pytest.raises(ValueError) as error:
        load(name)
    one_line(error, *words)
    answer = DuetLoadJointModel.validate_inputs(name)
    assert answer is not True and all(word in answer for word in words)


def test_a_model_that_is_not_there_is_named_with_its_size_and_command(models):
    answer = DuetLoadJointModel.validate_inputs("Kandinsky-6.0-Lite-5s-Diffusers")
    command = (
        "hf download kandinskylab/Kandinsky-6.0-Lite-5s-Diffusers --local-dir models/diffusers/Kandinsky-6.0-Lite-5s-Diffusers"
    )
    assert answer.endswith(command) and " GB" in answer and "models/diffusers" in answer and "\n" not in answer
    assert "'gone.safetensors' was not found" in DuetLoadJointModel.validate_inputs("gone.safetensors")


@pytest.mark.parametrize("precision, dtype, quantize", [
    ("as stored", None, None), ("bf16", "bfloat16", None), ("fp16", "float16", None), ("fp8", None, "fp8"),
])  # fmt: skip
def test_a_precision_reaches_the_loader_and_the_cache(models, precision, dtype, quantize):
    options = load("fake", precision).args[0].card["options"]
    assert (options.dtype, options.quantize, options.gguf) == (dtype, quantize, None)
    stored = DuetLoadJointModel.fingerprint_inputs("fake")
    assert (DuetLoadJointModel.fingerprint_inputs("fake", precision) == stored) == (precision == "as stored")


def test_another_precision_is_another_model(models):
    kept = load().args[0]
    assert load("fake", "bf16").args[0] is not kept and load().args[0] is kept


def test_a_gguf_file_is_offered_and_loaded(models):
    file = models / "diffusion_models" / "big" / "fake-Q4.gguf"
    file.parent.mkdir(parents=True)
    file.touch()
    assert choices("gguf", "optional") == ["none", "big/fake-Q4.gguf"]
    assert load("fake", "as stored", "big/fake-Q4.gguf").args[0].card["options"].gguf == file
    before = DuetLoadJointModel.fingerprint_inputs("fake", "as stored", "big/fake-Q4.gguf")
    file.write_bytes(b"changed")
    assert DuetLoadJointModel.fingerprint_inputs("fake", "as stored", "big/fake-Q4.gguf") != before
    with pytest.raises(ValueError) as error:
        load("fake", "fp8", "big/fake-Q4.gguf")
    one_line(error, "precision is fp8", "use only one")
    with pytest.raises(FileNotFoundError, match="'gone.gguf' was not found; put it in models/diffusion_models"):
        load("fake", "as stored", "gone.gguf")


@pytest.mark.parametrize("error, words", [
    (ValueError("the precision is odd; use another"), "the precision is odd; use another"),
    (KeyError("blocks"), "fake cannot be loaded as FakeJointPipeline ('blocks'); download it again"),
    (RuntimeError("shapes differ\nhere"), "fake cannot be loaded as FakeJointPipeline (shapes differ here); download it again"),
])  # fmt: skip
def test_what_goes_wrong_while_loading_is_one_line(models, monkeypatch, error, words):
    def fail(path, options):
        raise error

    monkeypatch.setattr(sys.modules[f"{joint.__name__}.fake"], "load", fail)
    with pytest.raises(ValueError) as caught:
        load()
    assert str(caught.value).endswith(words) and "\n" not in str(caught.value)


def test_no_memory_while_loading_stays_that(models, monkeypatch):
    def fail(path, options):
        raise MemoryError

    monkeypatch.setattr(sys.modules[f"{joint.__name__}.fake"], "load", fail)
    with pytest.raises(MemoryError):
        load()


@pytest.mark.parametrize("options, words", [
    (("bf16",), "precision is bf16, which Bounce does not have; set precision to as stored"),
    (("as stored", "x.gguf"), "gguf is x.gguf, which Bounce does not have; set gguf to none"),
])  # fmt: skip
def test_duets_own_models_are_loaded_as_they_are_stored(models, options, words):
    (models / "duet" / "x.gguf").touch()
    with pytest.raises(ValueError) as error:
        load("Bounce", *options)
    one_line(error, words)


def test_a_changed_folder_is_noticed(models):
    before = DuetLoadJointModel.fingerprint_inputs("fake")
    (models / "diffusers" / "fake" / "model_index.json").write_text(
        '{"_class_name": "FakeJointPipeline", "changes": {"name": "F"}}'
    )
    assert DuetLoadJointModel.fingerprint_inputs("fake") != before and load().args[0].name == "F"


def prompts_report(model, *words: str) -> list[str]:
    return DuetEncodePrompts.execute(model, *words).shown["text"]


def test_the_report_of_prompts_says_what_is_taken_for_empty_ones(models):
    model, tags = load().args[0], "Fake 1 has the tags <S> and <E> for speech"
    video, audio = (f"{part}_negative: the model's own, as left empty: low quality {part}" for part in ("video", "audio"))
    assert prompts_report(model, "a ball", "", "", "") == ["audio_prompt is empty: it follows video_prompt", video, audio, tags]
    assert prompts_report(model, "", "a thud", "blurry", "hiss") == ["video_prompt is empty: it follows audio_prompt", tags]
    assert prompts_report(model, "a ball", "a thud", "blurry", " ") == [audio, tags]
    anything = [f"{part}_prompt is empty: the {part} can be anything" for part in ("video", "audio")]
    assert prompts_report(model, "", " ", "blurry", "hiss") == [*anything, tags]


def test_one_negative_for_both_is_shown_once_and_shortened(models):
    model = load().args[0]
    model.conditioner.default_negatives = ("bad, " * 100, "bad, " * 100)
    (line,) = prompts_report(model, "a ball", "a thud", "", "")[:-1]
    assert line.startswith("video_negative and audio_negative: the model's own, as left empty: bad, bad") and len(line) < 200


def conditioning(seed: int, width: int = TEXT_WIDTH, **extras):
    return [[torch.randn(1, 3, width, generator=torch.Generator().manual_seed(seed)), {"pooled_output": None, **extras}]]


def test_conditioning_of_comfyui_replaces_the_text_encoders(models):
    model = load().args[0]
    mask = torch.tensor([[1, 1, 0]])
    prompts = DuetPromptsFromConditioning.execute(model, conditioning(1, attention_mask=mask), conditioning(2)).args[0]
    positive, negative = prompts.conditions(model, model.shape())
    assert torch.equal(positive.video.tokens, conditioning(1)[0][0]) and torch.equal(positive.audio.tokens, positive.video.tokens)
    assert positive.video.mask.tolist() == [[True, True, False]] and negative.video.mask.all()


def test_the_audio_can_have_conditioning_of_its_own(models):
    model = load().args[0]
    given = conditioning(1), conditioning(2), conditioning(3), conditioning(4)
    prompts = DuetPromptsFromConditioning.execute(model, *given).args[0]
    other = load("some/fake2").args[0]  # as the bad model of autoguidance
    for each in (model, other):
        positive, negative = prompts.conditions(each, each.shape())
        made = positive.video, negative.video, positive.audio, negative.audio
        assert all(torch.equal(part.tokens, [*made_from][0][0]) for part, made_from in zip(made, given))


@pytest.mark.parametrize("given, words", [
    (conditioning(1, 7), ["positive: ", "7 wide", f"needs {TEXT_WIDTH}", "use Load CLIP with type fake"]),
    ([*conditioning(1), *conditioning(2)], ["positive holds 2 prompts"]),
    ([], ["positive holds 0 prompts"]),
])  # fmt: skip
def test_conditioning_that_does_not_fit_is_one_line(models, given, words):
    with pytest.raises(ValueError) as error:
        DuetPromptsFromConditioning.execute(load().args[0], given, conditioning(1))
    one_line(error, *words)


def test_a_model_with_its_own_words_takes_no_conditioning():
    with pytest.raises(ValueError) as error:
        DuetPromptsFromConditioning.execute(tiny_model(), conditioning(1), conditioning(2))
    one_line(error, "Tiny takes no CONDITIONING", "Prompts for Video and Audio")
