import asyncio
import gc
import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import duet_av
from duet_av.av_models.conditioning import ImageEncoder, JointImageConditioner
from duet_av.av_models.guidance import GUIDANCE, Curve, make_guidance
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.media import read_metadata, read_video
from duet_av.nodes import host, model_cache
from duet_av.nodes import run_sampler as sampling
from duet_av.nodes.aligner import DuetAligner
from duet_av.nodes.best_take import Choices, DuetBestTake
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.extension import NODES
from duet_av.nodes.guidance import CHOICES, DuetGuidance
from duet_av.nodes.guidance_modifiers import DuetGuidanceModifiers
from duet_av.nodes.headless.inputs import expand
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.latents import SHAPE_KEY
from duet_av.nodes.load_joint_model import DuetLoadJointModel
from duet_av.nodes.mux import DuetMux
from duet_av.nodes.run_sampler import Settings
from duet_av.nodes.sockets import GuidanceInput, Prompts
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests import small
from duet_av.tests.schemas import every_input
from duet_av.tests.tiny import tiny_model
from duet_av.tests.toy import TEXT_WIDTH, VIDEO_CHANNELS

SETTINGS = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac"}
JOINT = GuidanceInput(make_guidance("joint_cfg", video_scale=3.0, audio_scale=3.0))
FLAT = {"points": [[0.0, 1.0], [1.0, 1.0]], "interpolation": "monotone_cubic"}


CATEGORIES = {f"Duet/{name}" for name in ("load", "make", "guidance", "measure", "save")}


@pytest.fixture
def model():
    return tiny_model()


def latent_of(model, seconds=0.5, batch=1, size=None):
    return DuetEmptyLatent.execute(model, seconds, batch, size or {"size": "as trained"}).args[0]


def prompts_of(model, picture="a red ball", sound="metal ball") -> Prompts:
    return DuetEncodePrompts.execute(model, picture, sound, "", "").args[0]


def sampled(model, latent=None, guidance=JOINT, **changes):
    options = {"video_seed": 1, "audio_seed": 2, "steps": 2, "shift": 1.0, "batch_branches": True} | changes
    sampler = DuetJointSampler.clone_for_run({"unique_id": "5"})
    return sampler.execute(model, prompts_of(model), latent or latent_of(model), guidance, **options)


def streams(output):
    return output.args[0]["samples"].unbind()


def mux(folder: Path, images, audio=None, prefix="clip", prompt=None, **changes):
    options = {"fps": 16.0, "container": SETTINGS, "crf": -1.0, "audio_kbps": 64, "audio_fit": "fade"} | changes
    token = session.set(Session(Folders(output=folder)))
    try:
        return DuetMux.clone_for_run({"prompt": prompt}).execute(images=images, audio=audio, filename_prefix=prefix, **options)
    finally:
        session.reset(token)


def sound(samples=4000, rows=1):
    return {"waveform": 0.1 * torch.randn(rows, 1, samples), "sample_rate": 8000}


# The pack


def test_importing_the_pack_loads_neither_torch_nor_nodes():
    code = "import sys, duet_av, duet_av.commands; assert not {'torch', 'diffusers', 'duet_av.nodes'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nodes_do_not_load_diffusers():
    code = "import sys, duet_av.nodes.extension; assert 'diffusers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_entrypoint_gives_every_node():
    extension = asyncio.run(duet_av.comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == list(NODES)


def described():
    return {cls.GET_SCHEMA().node_id: cls.GET_NODE_INFO_V1() for cls in NODES}


@pytest.mark.parametrize("cls", NODES)
def test_every_input_and_output_has_a_tooltip(cls):
    info = cls.GET_NODE_INFO_V1()
    assert info["description"] and info["category"] in CATEGORIES and info["name"] == cls.__name__
    assert all(info["output_tooltips"])
    assert all(options.get("tooltip") for _, _, options in every_input(info["input"]))


@pytest.mark.parametrize("word", ["audio", "video", "sound", "ltx", "lipsync", "foley", "picture"])
def test_search_finds_the_pack_by_what_it_does(word):
    assert any(word in alias for cls in NODES for alias in cls.GET_NODE_INFO_V1()["search_aliases"])


def test_few_inputs_are_shown_at_first():
    """The others are advanced: the page shows them on request. Those in a dropdown's choice are not counted."""
    for cls in NODES:
        inputs = cls.GET_NODE_INFO_V1()["input"]
        top = [options for kind in ("required", "optional") for _, options in inputs.get(kind, {}).values()]
        assert sum("default" in each and not each.get("advanced") for each in top) <= 6, cls.__name__


@pytest.mark.parametrize("cls", NODES)
def test_execute_takes_the_inputs_of_the_schema(cls):
    info = cls.GET_NODE_INFO_V1()["input"]
    names = [name for kind in ("required", "optional") for name in info.get(kind, {})]
    code = cls.execute.__func__.__code__
    taken = set(code.co_varnames[1 : code.co_argcount])
    if code.co_flags & inspect.CO_VARKEYWORDS:
        taken |= {field.name for field in fields(Aligner if cls is DuetAligner else Settings)} - {"other", "half", "own_times"}
    if cls is DuetBestTake:
        taken |= {field.name for field in fields(Choices)}
    assert set(names) == taken


def test_object_info_is_json_and_hides_what_is_hidden():
    info = json.loads(json.dumps(described()))["DuetMux"]
    assert info["output_node"] and info["input"]["hidden"] == {"prompt": ["PROMPT"], "extra_pnginfo": ["EXTRA_PNGINFO"]}


# Loading


def test_a_model_is_loaded_once_while_it_is_held(loads):
    held = model_cache.load("Bounce")
    assert model_cache.load("Bounce") is held and len(loads) == 1
    del held
    gc.collect()
    model_cache.load("Bounce")
    assert len(loads) == 2


def test_a_changed_file_is_loaded_again(loads, tmp_path):
    file = tmp_path / "duet" / "mine.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"1")
    token = session.set(Session(Folders(models=tmp_path)))
    try:
        assert "mine.safetensors" in DuetLoadJointModel.GET_NODE_INFO_V1()["input"]["required"]["model"][1]["options"]
        before, held = DuetLoadJointModel.fingerprint_inputs("mine.safetensors"), model_cache.load("mine.safetensors")
        file.write_bytes(b"22")
        assert DuetLoadJointModel.fingerprint_inputs("mine.safetensors") != before
        assert model_cache.load("mine.safetensors") is not held and loads == [file, file]
    finally:
        session.reset(token)


def test_a_changed_codec_is_another_model(tmp_path):
    file = small.save_joint(tmp_path / "duet")
    token = session.set(Session(Folders(models=tmp_path)))
    try:
        before, held = DuetLoadJointModel.fingerprint_inputs(file.name), model_cache.load(file.name)
        assert model_cache.load(file.name) is held
        small.save_codec(file.with_name("video.safetensors"), small.video_codec())
        assert DuetLoadJointModel.fingerprint_inputs(file.name) != before and model_cache.load(file.name) is not held
    finally:
        session.reset(token)


def test_a_missing_model_is_named_before_anything_runs():
    assert "gone.safetensors" in DuetLoadJointModel.validate_inputs("gone.safetensors")
    assert DuetLoadJointModel.validate_inputs("Bounce") is True


# Prompts


def test_a_model_reads_the_words_anew_that_another_of_the_same_name_encoded(model):
    prompts, other = prompts_of(model), tiny_model()
    with torch.no_grad():
        other.conditioner.video_text.words.weight.mul_(2)
    assert other.name == model.name
    mine, theirs = (prompts.conditions(each, each.shape())[0].video.tokens for each in (model, other))
    assert torch.equal(mine, model.encode(*prompts.words[0]).video.tokens)
    assert torch.equal(theirs, other.encode(*prompts.words[0]).video.tokens) and not torch.equal(mine, theirs)


def test_unknown_words_are_named_and_generation_goes_on(model):
    output = DuetEncodePrompts.execute(model, "a rod ball", "metal ball", "gren", "")
    unknown = output.shown["duet"][0]["unknown_words"]
    assert "rod" in unknown[0] and "red" in unknown[0] and unknown[1].startswith("video_negative") and "gren" in unknown[1]
    assert torch.equal(output.args[0].encoded[0].video.tokens, prompts_of(model, "a ball").encoded[0].video.tokens)


def test_an_empty_prompt_is_told(model):
    output = DuetEncodePrompts.execute(model, "  ", "metal ball", "", "")
    assert output.shown["text"] == ["video_prompt is empty: the video can be anything"]
    assert not output.args[0].encoded[0].video.tokens.any()


@pytest.fixture
def picture_model(model):
    """A model that goes by a picture, as JointDiT does."""
    encoder = ImageEncoder(VIDEO_CHANNELS, TEXT_WIDTH)
    return replace(model, conditioner=JointImageConditioner(encoder, TEXT_WIDTH, 16), card={"name": "Seeing", "trained": True})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_clip_can_be_asked_for_by_a_picture(picture_model, channels):
    picture = torch.rand(1, 37, 50, channels)
    prompts = DuetEncodePrompts.execute(picture_model, "", "", "", "", picture=picture).args[0]
    made = of_prompts(picture_model, prompts)
    assert not torch.equal(made, of_prompts(picture_model, replace(prompts, picture=1 - prompts.picture)))
    assert torch.equal(made, of_prompts(picture_model, prompts))


def of_prompts(model, prompts):
    """The picture's latent that they lead to."""
    sampler = DuetJointSampler.clone_for_run({"unique_id": "5"})
    settings = {"video_seed": 0, "audio_seed": 0, "steps": 2, "shift": 1.0, "batch_branches": True}
    result = sampler.execute(model, prompts, latent_of(model), JOINT, **settings)
    return result.args[0]["samples"].unbind()[0]


@pytest.mark.parametrize("picture, said", [
    (None, "picture is not connected, but Seeing takes an image; connect Load Image"),
    (torch.rand(2, 8, 8, 3), "picture holds 2 images; choose one with Get Image from Batch"),
    (torch.rand(0, 8, 8, 3), "picture holds 0 images; choose one with Get Image from Batch"),
    (torch.rand(1, 8, 8, 2), "picture has shape [1, 8, 8, 2]; use [1, height, width, channels] with 1, 3 or 4 channels"),
    (torch.full((1, 8, 8, 3), torch.nan), "picture contains NaN or infinity; use another image"),
    (torch.rand(1, 8, 80, 3), "picture is 80×8 pixels, so most of it would be cropped to fit the clip; crop it first"),
])  # fmt: skip
def test_a_picture_that_cannot_be_used_is_one_line(picture_model, picture, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        DuetEncodePrompts.execute(picture_model, "", "", "", "", picture=picture)


def test_words_for_a_model_that_goes_by_a_picture_are_said_to_be_left_out(picture_model):
    output = DuetEncodePrompts.execute(picture_model, "a ball", "", "", "", picture=torch.rand(1, 16, 16, 3))
    assert output.shown["text"] == [
        "video_prompt: this model takes an image and ignores text prompts",
    ]


def test_how_an_image_is_fitted_is_said_in_numbers(picture_model):
    output = DuetEncodePrompts.execute(picture_model, "", "", "", "", picture=torch.rand(1, 24, 48, 3))
    assert output.shown["text"] == ["image: 48×24 resized to 32×16, cropped to 16×16, for a clip of the trained size"]
    assert output.shown["duet"][0]["image_fit"]["resized"] == {"width": 32, "height": 16}
    prompts, shape = output.args[0], picture_model.shape(height=16, width=32)
    assert prompts.image_change(picture_model, shape) == ["image: 48×24 resized to 32×16"]
    assert Prompts((("", ""), ("", ""))).image_change(picture_model, shape) == []


def test_prompts_of_another_kind_of_model_are_named(model, picture_model):
    with pytest.raises(
        ValueError, match="picture is connected, but Tiny takes text prompts; to start from an image, use Encode Video"
    ):
        DuetEncodePrompts.execute(model, "a ball", "", "", "", picture=torch.rand(1, 16, 16, 3))
    pictured = DuetEncodePrompts.execute(picture_model, "", "", "", "", picture=torch.rand(1, 16, 16, 3)).args[0]
    for one, prompts in ((model, pictured), (picture_model, prompts_of(model, "a ball"))):
        with pytest.raises(
            ValueError, match="prompts were encoded for a different model than (Tiny|Seeing); connect the same model to both"
        ):
            of_prompts(one, prompts)


# Latent


def test_the_clip_is_exactly_as_long_as_asked(model):
    latent = latent_of(model, seconds=0.75)
    assert latent[SHAPE_KEY].video.frames == 12 and latent[SHAPE_KEY].audio.samples == 6000
    video, audio = latent["samples"].unbind()
    assert video.shape == (1, 4, 4, 2, 2) and audio.shape == (1, 3, 24)


def test_a_custom_size_is_taken(model):
    shape = latent_of(model, size={"size": "custom", "width": 40, "height": 24, "fps": 8.0})[SHAPE_KEY]
    assert (shape.video.width, shape.video.height, shape.video.fps, shape.video.frames) == (40, 24, 8, 4)


def test_another_frame_rate_than_a_pair_was_trained_at_is_said_to_part_its_times(model):
    def lines(model, fps):
        size = {"size": "custom", "width": 40, "height": 24, "fps": fps}
        return DuetEmptyLatent.execute(model, 0.5, 1, size).shown["text"][1:]

    assert lines(model, 16.0) == lines(tiny_model(trained=False), 8.0) == []
    assert lines(model, 8.0) == ["fps is 8 and the model was trained at 16, so video and audio go out of sync; set fps to 16"]


# Guidance


def test_every_choice_makes_its_strategy():
    assert set(CHOICES) == set(GUIDANCE)
    info = DuetGuidance.GET_NODE_INFO_V1()["input"]
    for name in CHOICES:
        specs = expand(info, {"guidance": name})
        settings = {key.split(".")[1]: spec.options["default"] for key, spec in specs.items() if "." in key and spec.takes_value}
        guided_by = DuetGuidance.execute({"guidance": name, **settings}, 1.0, 0.5).args[0]
        scales = frozenset(name for name in settings if name.endswith("_scale"))
        others = {key: value for key, value in settings.items() if key not in scales}
        assert guided_by == GuidanceInput(make_guidance(name, **others, v_to_a=0.5), open_scales=scales)


def test_a_bad_model_is_guided_away_from_in_its_own_words(model):
    worse = tiny_model(trained=False)
    choice = {"guidance": "autoguidance", "bad_model": worse, "video_scale": 3.0, "audio_scale": 3.0}
    guided_by = DuetGuidance.execute(choice, 1.0, 1.0).args[0]
    assert guided_by.bad_model is worse and model.adapt_guidance(guided_by.strategy, worse).bad_removed
    facts = sampled(model, guidance=guided_by).shown["duet"][0]
    assert facts["branches_per_step"] == 2 and facts["forwards_per_step"] == 2
    assert model.denoiser.calls == worse.denoiser.calls == [1, 1]


def test_modifiers_change_nothing_as_they_come_and_go_with_any_strategy():
    for name in GUIDANCE:
        plain = GuidanceInput(make_guidance(name))
        assert modified(plain).args[0] == plain
    output = modified(JOINT, scale_curve={"points": [[0, 1], [1, 0]]}, interval_low=0.25, rescale=0.5)
    curve = Curve(((0.0, 1.0), (1.0, 0.0)), "monotone_cubic")
    expected = make_guidance("joint_cfg", video_scale=3.0, audio_scale=3.0, scale_curve=curve, interval_low=0.25, rescale=0.5)
    assert output.args[0] == GuidanceInput(expected)
    assert output.shown["text"] == ["joint_cfg: 1 to 2 branches per step"]


def test_the_audio_can_be_rescaled_by_its_own_share():
    strategy = modified(JOINT, rescale=0.9, audio_rescale=0.7).args[0].strategy
    assert (strategy.rescale, strategy.audio_rescale) == (0.9, 0.7)


def test_modifiers_follow_each_other():
    first = modified(JOINT, interval_low=0.25, rescale=0.5).args[0]
    assert modified(first).args[0] == first
    both = modified(first, interval_high=0.75, rescale=0.7).args[0].strategy
    assert (both.interval_low, both.interval_high, both.rescale) == (0.25, 0.75, 0.7)


@pytest.mark.parametrize(
    "drawn, line",
    [
        ({"points": []}, "scale_curve: the curve has no points; add at least one"),
        (
            {"points": [[2, 1]]},
            r"scale_curve: the curve's point \(2.0, 1.0\) is not finite or its x is outside 0 to 1; move the point",
        ),
        (0.5, r"scale_curve is 0.5; use points such as \[\[0, 1\], \[1, 0\]\]"),
    ],
)
def test_a_curve_that_is_none_is_named_by_its_input(drawn, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        modified(JOINT, scale_curve=drawn)


def modified(guidance, **changes):
    settings = {"scale_curve": FLAT, "interval_low": 0.0, "interval_high": 1.0, "rescale": 0.0}
    settings |= {"a_to_v_curve": FLAT, "v_to_a_curve": FLAT} | changes
    return DuetGuidanceModifiers.execute(guidance, **settings)


def test_joint_cfg_is_what_a_new_node_starts_with():
    assert next(iter(CHOICES)) == "joint_cfg"


def test_the_cost_of_a_step_is_known_before_sampling():
    output = DuetGuidance.execute({"guidance": "joint_cfg", "video_scale": 3.0, "audio_scale": 3.0}, 1.0, 1.0)
    assert output.shown["duet"][0]["branches_per_step"] == 2


# Sampler


def test_sampling_reports_its_cost_and_seeds(model):
    output = sampled(model)
    facts = output.shown["duet"][0]
    assert facts["branches_per_step"] == 2 and facts["forwards_per_step"] == 1 and model.denoiser.calls == [2, 2]
    assert (facts["video_seed"], facts["audio_seed"]) == (1, 2) and "video seed 1, audio seed 2" in output.args[1]
    assert sampled(model, batch_branches=False).shown["duet"][0]["forwards_per_step"] == 2


def test_graphs_from_before_eta_give_what_they_gave(model):
    """They do not name it; 0 draws no noise anew, and more does."""
    before, none, some = sampled(model), sampled(model, eta=0.0), sampled(model, eta=1.0)
    assert all(torch.equal(*parts) for parts in zip(streams(before), streams(none)))
    assert not any(torch.equal(*parts) for parts in zip(streams(before), streams(some)))
    assert "eta" not in before.args[1] and "2 steps with joint_cfg, eta 1;" in some.args[1]


def test_a_sound_may_have_a_shift_of_its_own(model):
    both, own = sampled(model, shift=3.0), sampled(model, shift=3.0, audio_shift=0.5)
    assert all(torch.equal(a, b) for a, b in zip(streams(both), streams(sampled(model, shift=3.0, audio_shift=0.0))))
    assert not torch.equal(streams(both)[1], streams(own)[1])
    assert "shift" not in both.args[1] and "joint_cfg, audio shift 0.5;" in own.args[1]


def test_the_exact_cost_is_shown_before_the_first_step(model, monkeypatch):
    shown = []
    monkeypatch.setattr(sampling, "report_text", lambda text, node_id: shown.append((text, node_id, list(model.denoiser.calls))))
    part = modified(JOINT, interval_low=0.6).args[0]
    facts = sampled(model, guidance=part, steps=4).shown["duet"][0]
    assert facts["branches_per_step"] == 1.5
    assert shown == [("1.5 branches per step in 1 network call", "5", [])]


def test_another_audio_seed_without_a_to_v_keeps_the_frames_bit_for_bit(model):
    deaf = GuidanceInput(make_guidance("joint_cfg", video_scale=3.0, audio_scale=3.0, a_to_v=0.0))
    first, second = sampled(model, guidance=deaf, audio_seed=2), sampled(model, guidance=deaf, audio_seed=3)
    assert torch.equal(streams(first)[0], streams(second)[0]) and not torch.equal(streams(first)[1], streams(second)[1])


def test_an_untrained_pair_is_sampled_apart_and_says_so():
    model = tiny_model(trained=False)
    output = sampled(model)
    assert "untrained" in output.shown["text"][1]
    assert torch.equal(streams(output)[0], streams(sampled(tiny_model(), guidance=GuidanceInput(make_guidance(
        "joint_cfg", video_scale=3.0, audio_scale=3.0, removed=True))))[0])  # fmt: skip


def test_progress_is_told_at_every_step_and_an_interrupt_stops_the_next(model):
    class Stop(BaseException):
        pass

    heard = []

    def interrupt():
        if heard:
            raise Stop

    token = session.set(Session(on_progress=lambda value, total: heard.append((value, total)), check_interrupt=interrupt))
    try:
        with pytest.raises(Stop):
            sampled(model, steps=5)
    finally:
        session.reset(token)
    assert heard == [(1, 5)]


def test_a_latent_that_is_no_pair_is_refused(model):
    with pytest.raises(ValueError, match="does not hold both video and audio"):
        sampled(model, {"samples": torch.zeros(1, 4, 2, 2)})


def test_a_latent_of_another_model_is_refused(model):
    latent = latent_of(model)
    latent["samples"] = host.NestedTensor([torch.zeros(1, 7, 3, 2, 2), latent["samples"].unbind()[1]])
    with pytest.raises(ValueError, match="make the latent with the same model"):
        sampled(model, latent)


# Decode


def test_decoding_gives_the_frames_asked_for_and_sound_of_their_length(model):
    images, audio, fps = DuetDecode.execute(model, sampled(model, latent_of(model, 0.75, batch=2)).args[0]).args
    assert images.shape == (24, 16, 16, 3) and audio["waveform"].shape == (2, 1, 6000) and fps == 16.0
    assert audio["sample_rate"] == 8000 and not images.requires_grad


def test_a_latent_that_lost_its_shape_is_decoded_whole(model):
    latent = sampled(model, latent_of(model, 0.75)).args[0]
    del latent[SHAPE_KEY]
    assert DuetDecode.execute(model, latent).args[0].shape[0] == 12


# Mux


def test_a_saved_file_holds_every_frame_and_its_workflow(tmp_path):
    prompt = {"1": {"class_type": "DuetMux", "inputs": {}}}
    output = mux(tmp_path, torch.rand(9, 16, 16, 3), sound(4500), "a/clip", prompt)
    assert output.shown["images"] == [{"filename": "clip_00001_.mp4", "subfolder": "a", "type": "output"}]
    file = tmp_path / "a" / "clip_00001_.mp4"
    assert len(read_video(file).frames) == 9 and json.loads(read_metadata(file)["prompt"]) == prompt
    assert output.shown["duet"][0]["files"][0]["audio_samples"] == 4500
    assert len(output.args[0].get_components().images) == 9


def test_a_preview_is_not_saved_in_the_output_folder(tmp_path):
    own = Session(folders=Folders(output=tmp_path))
    token = session.set(own)
    try:
        node = DuetMux.clone_for_run({})
        container = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac"}
        output = node.execute(torch.rand(3, 16, 16, 3), 16.0, "a/clip", container, -1.0, 192, "fade", save_output=False)
    finally:
        session.reset(token)
    assert output.shown["images"] == [{"filename": "clip_00001_.mp4", "subfolder": "a", "type": "temp"}]
    assert (own.temp_folder / "a" / "clip_00001_.mp4").is_file() and not list(tmp_path.iterdir())
    assert output.shown["text"][-1] == "preview only: not saved in the output folder"
    assert output.shown["duet"][0]["files"][0]["path"] is None  # without a page it is deleted when the run ends
    own.delete_temp_folder()
    assert not own.temp_folder.exists()


@pytest.mark.parametrize(("samples", "fit", "said"), [
    (4500, "fade", []), (4500 + 1000, "fade", ["the audio is 0.12 s longer than the video, so its end was cut"]),
    (3600, "pad", ["the audio is 0.11 s shorter than the video, so silence was added"]),
    (3600, "trim", ["the audio is 0.11 s shorter than the video, so it ends early"]), (4500 + 700, "fade", []),
])  # fmt: skip
def test_a_change_of_the_audio_that_can_be_heard_is_a_warning(tmp_path, samples, fit, said):
    output = mux(tmp_path, torch.rand(9, 16, 16, 3), sound(samples), audio_fit=fit)
    assert output.shown["duet"][0]["warnings"] == [f"clip_00001_.mp4: {line}" for line in said]


def test_size_and_time_are_replaced_in_file_names(tmp_path):
    mux(tmp_path, torch.rand(3, 16, 24, 3), prefix="%year%/%width%x%height% %month%-%day% %hour%%minute%%second% %other%")
    [file] = tmp_path.rglob("*.mp4")
    assert re.fullmatch(r"20\d\d/24x16 \d\d-\d\d \d{6} %other%_00001_.mp4", file.relative_to(tmp_path).as_posix())


def test_silent_frames_can_be_saved(tmp_path):
    mux(tmp_path, torch.rand(3, 16, 16, 3))
    assert read_video(tmp_path / "clip_00001_.mp4").audio is None


def test_each_clip_of_a_batch_becomes_a_file(tmp_path):
    output = mux(tmp_path, torch.rand(8, 16, 16, 3), sound(2000, rows=2))
    assert [each["filename"] for each in output.shown["images"]] == ["clip_00001_.mp4", "clip_00002_.mp4"]
    with pytest.raises(ValueError, match="9 frames cannot be split into 2 clips"):
        mux(tmp_path, torch.rand(9, 16, 16, 3), sound(2000, rows=2))


def test_a_name_outside_the_output_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="output folder"):
        mux(tmp_path, torch.rand(3, 16, 16, 3), prefix="../clip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("container", ["mkv", "webm", "mov"])
def test_every_container_offers_only_codecs_that_it_holds(tmp_path, container):
    choices = {c["key"]: c["inputs"] for c in DuetMux.GET_NODE_INFO_V1()["input"]["required"]["container"][1]["options"]}
    first = {name: options["options"][0] for name, _, options in every_input(choices[container])}
    mux(tmp_path, torch.rand(3, 16, 16, 3), sound(1500), container={"container": container, **first})
    assert read_video(tmp_path / f"clip_00001_.{container}").frames.shape[0] == 3


def test_the_options_of_saved_graphs_stay_and_new_ones_follow():
    choices = {c["key"]: c["inputs"] for c in DuetMux.GET_NODE_INFO_V1()["input"]["required"]["container"][1]["options"]}
    assert list(choices) == ["mp4", "mkv", "webm", "mov", "gif", "webp", "wav", "flac", "mp3", "opus"]
    offered = {
        key: [options["options"] for name, _, options in every_input(inputs) if "codec" in name] for key, inputs in choices.items()
    }
    assert offered["mp4"] == [["h264", "h265", "vp9", "av1", "h265 10-bit", "av1 10-bit"], ["aac", "opus"]]
    assert offered["webm"] == [["vp9", "av1", "av1 10-bit"], ["opus"]]
    assert offered["gif"] == [] and list(choices["wav"]["optional"]) == ["audioUI"]


@pytest.mark.parametrize("container", ["gif", "webp"])
def test_an_animated_image_is_shown_as_one(tmp_path, container):
    """The page takes an animated gif for a video."""
    output = mux(tmp_path, torch.rand(3, 16, 16, 3), sound(1500), container={"container": container})
    assert output.shown["images"] == [{"filename": f"clip_00001_.{container}", "subfolder": "", "type": "output"}]
    assert output.shown.get("animated") == ((True,) if container == "webp" else None)
    assert (tmp_path / f"clip_00001_.{container}").is_file()
    assert f"{container} holds no audio, so it was left out" in output.shown["text"][0]
    json.dumps(output.shown)


@pytest.mark.parametrize("container", ["wav", "flac", "mp3", "opus"])
def test_audio_alone_is_as_long_as_the_frames(tmp_path, container):
    output = mux(tmp_path, torch.rand(8, 16, 16, 3), sound(9000, rows=2), container={"container": container})
    names = [f"clip_0000{number}_.{container}" for number in (1, 2)]
    assert [each["filename"] for each in output.shown["audio"]] == names and "images" not in output.shown
    assert output.shown["duet"][0]["files"][0]["seconds"] == 0.25 and f"{names[0]}: 0.25 s of audio" in output.shown["text"][0]
    json.dumps(output.shown)


def test_an_audio_file_needs_audio(tmp_path):
    with pytest.raises(ValueError, match="container is mp3, but there is no audio; connect audio, or choose mp4"):
        mux(tmp_path, torch.rand(3, 16, 16, 3), container={"container": "mp3"})
    assert not list(tmp_path.iterdir())


def test_headless_models_run_on_a_gpu_where_there_is_one(monkeypatch):
    """ "meta" stands for it; a binder is a network by itself."""
    monkeypatch.setattr(host, "DEVICE", torch.device("meta"))
    assert host.on_gpu()
    alone, part = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    with torch.inference_mode():
        host.on_device(SimpleNamespace(movable=lambda parts: [part]), alone)
    for network in (alone, part):
        assert network.weight.is_meta and not network.weight.is_inference()


def test_a_dropdown_without_a_choice_is_one_line():
    """ComfyUI runs a node without a dropdown whose value it does not offer, and with text if a node is connected to it."""
    for given in (None, "custom"):
        with pytest.raises(ValueError, match="^size has a value that the node does not offer; choose one of as trained, custom$"):
            DuetEmptyLatent.execute(None, 0.5, 1, given)
