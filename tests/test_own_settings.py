"""The settings that a model recommends: its card, the file beside it, and the inputs of nodes that leave them to the model."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duet_av.av_models.checkpoint import read_card, save_checkpoint
from duet_av.av_models.contract import AVLatent
from duet_av.av_models.generation import generate
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.recommended import Recommended, parse_sampling
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.bounce.measure.run_eval import DEFAULTS
from duet_av.bounce.shipped import BOUNCE, load_joint_model, load_untrained_bounce, shipped
from duet_av.nodes import joint_sampler, model_cache
from duet_av.nodes.compare import DuetCompare
from duet_av.nodes.empty_latent import DuetEmptyLatent
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.nodes.extension import NODES
from duet_av.nodes.guidance import CHOICES, DuetGuidance
from duet_av.nodes.guidance_modifiers import DuetGuidanceModifiers
from duet_av.nodes.headless import catalogue, load_workflow, run_workflow
from duet_av.nodes.headless.inputs import expand
from duet_av.nodes.join_experts import DuetJoinExperts
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.load_expert import DuetLoadAudioExpert, DuetLoadVideoExpert
from duet_av.nodes.own_settings import SCALE_AS_RECOMMENDED, resolve_settings
from duet_av.nodes.run_sampler import AS_RECOMMENDED, Settings
from duet_av.nodes.stand_in import Folders
from duet_av.tests.conftest import WORKFLOW
from duet_av.tests.schemas import every_input
from duet_av.tests.test_nodes import latent_of, picture_model, prompts_of  # noqa: F401 (a fixture)
from duet_av.tests.tiny import tiny_model

CARDS = sorted(shipped("x").parent.glob("*.card.json"))
SAMPLING = {
    "steps": 2, "shift": 3.0, "eta": 1.0, "guidance": "dual_cfg",
    "scales": {"dual_cfg": {"scale": [2.0, 3.0], "cross_scale": 4}, "cfg": 1.5},
}  # fmt: skip
FRESH = {"video_seed": 1, "audio_seed": 2, "steps": 0, "shift": 0.0, "batch_branches": True, "eta": -1.0, "audio_shift": 0.0}
OPEN = {"video_scale": -1.0, "audio_scale": -1.0}


def advising(sampling=None, trained=True):
    model = tiny_model(trained)
    return replace(model, card=model.card | {"sampling": SAMPLING if sampling is None else sampling})


@pytest.fixture
def model():
    return advising()


def sampled(model, guidance=None, prompts=None, latent=None, **changes):
    sampler = DuetJointSampler.clone_for_run({"unique_id": "5"})
    inputs = {"model": model, "latent": latent or latent_of(model), **FRESH, **changes}
    return sampler.execute(**inputs, **{k: v for k, v in {"guidance": guidance, "prompts": prompts}.items() if v})


def streams(output):
    return output.args[0]["samples"].unbind()


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(streams(one), streams(other)))


def guided(name, **settings):
    return DuetGuidance.execute({"guidance": name, **settings}, 1.0, 1.0).args[0]


# The card


def test_a_card_gives_what_it_has_and_the_library_the_rest():
    found = parse_sampling(SAMPLING, "m")
    assert found.schedule == SamplingSchedule(2, 3.0, eta=1.0) and found.given == set(SAMPLING)
    scales = {"video_scale": 2.0, "audio_scale": 3.0, "video_cross_scale": 4.0, "audio_cross_scale": 4.0}
    assert found.make_guidance() == make_guidance("dual_cfg", **scales)
    assert found.make_guidance("cfg") == make_guidance("cfg", scale=1.5) and found.make_guidance("apg") == make_guidance("apg")
    assert found.make_guidance("cfg", audio_scale=7.0) == make_guidance("cfg", video_scale=1.5, audio_scale=7.0)
    assert parse_sampling(None, "m") == Recommended() and Recommended().schedule == SamplingSchedule()
    assert parse_sampling(None, "m").make_guidance() == make_guidance("joint_cfg")
    assert parse_sampling({"eta": 1}, "m", trained=False).make_guidance() == make_guidance("cfg")


def test_a_card_gives_the_block_that_the_negative_prompt_skips():
    found = parse_sampling({"guidance": "cfg", "negative_skip_block": 11}, "m")
    assert found.make_guidance() == make_guidance("cfg", negative_skip_block=11)
    plain = make_guidance("cfg")
    assert found.fill_scales(plain, frozenset({"video_scale"})) == plain
    assert found.fill_scales(plain, frozenset({"negative_skip_block"})) == make_guidance("cfg", negative_skip_block=11)


def test_a_card_gives_the_rescale_of_a_strategy():
    found = parse_sampling({"scales": {"cfg": {"scale": 2.0, "rescale": [0.9, 0.7]}, "apg": {"rescale": 0.5}}}, "m")
    assert found.make_guidance("cfg") == make_guidance("cfg", scale=2.0, rescale=0.9, audio_rescale=0.7)
    assert found.make_guidance("apg") == make_guidance("apg", rescale=0.5, audio_rescale=0.5)
    plain = make_guidance("cfg")
    assert found.fill_scales(plain, frozenset({"rescale", "audio_rescale"})) == replace(plain, rescale=0.9, audio_rescale=0.7)


@pytest.mark.parametrize("sampling, line", [
    (5, "m: sampling is 5; give a table with steps, shift, eta, negative_skip_block, guidance, scales"),
    ({"step": 5}, "m: sampling has no step; use steps, shift, eta, negative_skip_block, guidance, scales"),
    ({"steps": 2.5}, "m: sampling.steps is 2.5; use a whole number from 1 to 1000"),
    ({"steps": 0}, "m: sampling.steps is 0; use a whole number from 1 to 1000"),
    ({"shift": "5"}, "m: sampling.shift is '5'; use a number from 0.01 to 100"),
    ({"negative_skip_block": 1.5}, "m: sampling.negative_skip_block is 1.5; use a whole number from 0 to 1000"),
    ({"eta": float("nan")}, "m: sampling.eta is nan; use a number from 0 to 10"),
    ({"eta": True}, "m: sampling.eta is True; use a number from 0 to 10"),
    ({"scales": {"cgf": 2}}, f"m: sampling.scales has no cgf; use {', '.join(GUIDANCE)}"),
    ({"scales": {"cfg": [1, 2, 3]}}, "m: sampling.scales.cfg is [1, 2, 3]; give a number, or two for video and audio"),
    ({"scales": {"cfg": {"cross_scale": 2}}}, "m: sampling.scales.cfg has no cross_scale; use scale, rescale"),
    ({"scales": {"cfg": {"rescale": 2}}}, "m: sampling.scales.cfg is 2; use a number from 0 to 1"),
    ({"scales": {"cfg": 31}}, "m: sampling.scales.cfg is 31; use a number from 0 to 30"),
    ({"scales": {"none": 2}}, "m: sampling.scales.none has no scale; use nothing"),
])  # fmt: skip
def test_a_wrong_recommendation_is_one_line(sampling, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        parse_sampling(sampling, "m")


def test_a_guidance_that_needs_another_model_cannot_be_recommended():
    with pytest.raises(ValueError, match="^m: sampling.guidance is 'autoguidance'; use one of none, cfg, "):
        parse_sampling({"guidance": "autoguidance"}, "m")


# The file beside the weights


@pytest.fixture
def file(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", {"x": torch.zeros(1)}, {"name": "M", "sampling": {"steps": 5}})
    return tmp_path / "m.safetensors"


def beside(file: Path, text) -> Path:
    path = file.with_name("m.card.json")
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def test_a_file_beside_the_weights_extends_the_card(file):
    assert read_card(file) == {"name": "M", "sampling": {"steps": 5}}
    beside(file, {"sampling": {"steps": 9}, "licence": "MIT"})
    assert read_card(file) == {"name": "M", "sampling": {"steps": 9}, "licence": "MIT"}


def test_editors_may_mark_it_as_utf8(file):
    beside(file, "\ufeff" + json.dumps({"name": "N"}))
    assert read_card(file)["name"] == "N"


@pytest.mark.parametrize("text, line", [
    ("{", "is not valid JSON"),
    ("[1]", "is [1]; correct it, or delete the file"),
    ({"config": {}}, "has config; give a table with name, licence, sampling only, or delete the file"),
    ({"name": 5}, ": field name is 5; use one line of text"),
    ({"name": ""}, ": field name is ''; use one line of text"),
    ({"licence": "a\nb"}, ": field licence is 'a\\nb'; use one line of text"),
    ({"sampling": {"eta": -1}}, ": sampling.eta is -1; use a number from 0 to 10"),
])  # fmt: skip
def test_a_wrong_file_beside_the_weights_is_one_line(file, text, line):
    path = beside(file, text)
    with pytest.raises(ValueError) as error:
        read_card(file)
    assert str(error.value).startswith(str(path)) and line in str(error.value) and "\n" not in str(error.value)


def test_a_change_of_it_is_noticed(file):
    before = model_cache.stamp(file)
    path = beside(file, {"sampling": {"steps": 9}})
    added = model_cache.stamp(file)
    path.write_text(json.dumps({"sampling": {"steps": 10}}))
    assert len({before, added, model_cache.stamp(file)}) == 3


# What ships


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name)
def test_recommended_values_lie_within_the_inputs(path):
    info = {cls.__name__: cls.GET_NODE_INFO_V1()["input"] for cls in NODES}
    advice = parse_sampling(json.loads(path.read_text())["sampling"], path)
    limits = {name: options for name, _, options in every_input(info["DuetJointSampler"])}
    for name in ("steps", "shift", "eta"):
        assert limits[name]["min"] < getattr(advice, name) <= limits[name]["max"]
    for strategy, scales in advice.scales.items():
        shown = expand(info["DuetGuidance"], {"guidance": strategy})
        for name, value in scales.items():
            assert 0 <= value <= shown[f"guidance.{name}"].options["max"]
    assert advice.guidance in CHOICES


def test_there_are_cards_and_each_lies_beside_its_weights():
    assert {"bounce", "jointdit", "hearing_t2av", "hearing_t2v", "video_expert"} == {path.name.split(".")[0] for path in CARDS}
    assert all(path.with_name(path.name.replace(".card.json", ".safetensors")).is_file() for path in CARDS)


@pytest.mark.parametrize("name, architecture", [("bounce", "AVFullDiT"), ("jointdit", "JointDiT")])
def test_bounces_models_recommend_what_was_measured(name, architecture):
    advice, measured = parse_sampling(read_card(shipped(name))["sampling"], name), DEFAULTS[architecture]
    assert (advice.steps, advice.shift, advice.eta) == (measured.steps, measured.shift, measured.eta)
    assert advice.make_guidance() == make_guidance(measured.guidance, scale=measured.scale)


@pytest.mark.parametrize("template, card, steps, shift, eta, guidance", [
    ("bounce_t2av", "bounce", 20, 5.0, 2.0, make_guidance("joint_cfg", scale=2.5)),
    ("bounce_jointdit", "jointdit", 20, 1.0, 2.0, make_guidance("joint_cfg", scale=1.5)),
    ("bounce_hearing", "hearing_t2av", 12, 5.0, 0.0, make_guidance("cfg", scale=2.5)),
    ("bounce_hearing", "hearing_t2v", 12, 5.0, 0.0, make_guidance("cfg", scale=2.5)),
    ("bounce_align_v2a", "video_expert", 40, 8.0, 0.5, make_guidance("none")),
])  # fmt: skip
def test_templates_use_what_the_model_recommends_which_is_what_they_had(template, card, steps, shift, eta, guidance):
    """The values are those of the templates of version 0.2.0."""
    advice = parse_sampling(read_card(shipped(card))["sampling"], card)
    assert (advice.steps, advice.shift, advice.eta, advice.make_guidance()) == (steps, shift, eta, guidance)
    nodes = json.loads(WORKFLOW.with_name(f"{template}.json").read_text()).values()
    chosen = next(node["inputs"] for node in nodes if node["class_type"] == "DuetGuidance")
    sampler = next(node["inputs"] for node in nodes if node["class_type"] == "DuetJointSampler")
    assert {name: sampler[name] for name in AS_RECOMMENDED} == AS_RECOMMENDED
    assert chosen["guidance"] == guidance.name
    assert {value for name, value in chosen.items() if name.startswith("guidance.")} <= {SCALE_AS_RECOMMENDED}


@pytest.mark.parametrize("video, expected", [
    ("Bounce", (SamplingSchedule(40, 8.0, eta=0.5), make_guidance("none"))),
    ("Hearing study T2V", (SamplingSchedule(12, 5.0), make_guidance("cfg", scale=2.5))),
])  # fmt: skip
def test_a_joined_pair_takes_the_settings_of_its_video_expert(video, expected):
    experts = DuetLoadVideoExpert.execute(video).args[0], DuetLoadAudioExpert.execute("Bounce").args[0]
    advice = DuetJoinExperts.execute(*experts, 4, "Bounce", "Bounce").args[0].recommended
    assert (advice.schedule, advice.make_guidance()) == expected
    assert load_untrained_bounce().recommended.steps == 40


def test_a_fresh_sampler_on_bounce_gives_the_clip_of_the_template():
    model = load_joint_model(BOUNCE)
    latent = DuetEmptyLatent.execute(model, 0.5, 1, {"size": "as trained"}).args[0]
    prompts = prompts_of(model, "a big red rubber ball", "a big rubber ball")
    shown = DuetJointSampler.GET_NODE_INFO_V1()["input"]
    settings = {name: options["default"] for name, _, options in every_input(shown) if "default" in options}
    info = DuetGuidance.GET_NODE_INFO_V1()["input"]
    scales = {
        key.split(".")[1]: spec.options["default"] for key, spec in expand(info, {"guidance": "joint_cfg"}).items() if "." in key
    }
    fresh = guided("joint_cfg", **scales)
    template = guided("joint_cfg", video_scale=2.5, audio_scale=2.5)
    explicit = sampled(model, template, prompts, latent, **settings | {"steps": 20, "shift": 5.0, "eta": 2.0})
    now = sampled(model, fresh, prompts, latent, **settings)
    assert same(now, explicit) and same(sampled(model, None, prompts, latent, **settings), explicit)
    assert now.args[1].split("\n")[1] == "as Bounce recommends: 20 steps, shift 5, eta 2, joint_cfg 2.5"
    assert "recommends" not in explicit.args[1]
    facts, before = now.shown["duet"][0], explicit.shown["duet"][0]
    assert facts == before and (facts["steps"], facts["shift"], facts["eta"]) == (20, 5.0, 2.0)
    assert facts["scales"] == {"video_scale": 2.5, "audio_scale": 2.5}


# Nodes


def test_the_report_tells_the_models_values_from_duets(model):
    assert sampled(model).args[1].split("\n")[1:] == [
        "as Tiny recommends: 2 steps, shift 3, eta 1, dual_cfg video_scale 2 and audio_scale 3 and cross_scale 4"
    ]
    lines = sampled(model, guided("stg", **OPEN, video_skip_scale=-1.0, audio_skip_scale=-1.0, skip_block=0), eta=0.0).args[1]
    assert lines.split("\n")[1:] == ["as Tiny recommends: 2 steps, shift 3", "Duet's defaults: stg 1 and skip_scale 2"]
    assert sampled(tiny_model(), steps=2).args[1].split("\n")[1:] == ["Duet's defaults: shift 1, eta 0, joint_cfg 2.5"]
    apart = sampled(advising({"guidance": "none"}, trained=False), steps=2, shift=1.0, eta=0.0).args[1].split("\n")
    assert apart[1] == "as Tiny recommends: guidance none" and "untrained as a pair" in apart[2]
    assert (
        len(sampled(model, guided("cfg", video_scale=2.0, audio_scale=2.0), steps=2, shift=1.0, eta=0.0).args[1].split("\n")) == 1
    )


def test_one_scale_may_be_left_to_the_model(model):
    half = sampled(model, guided("cfg", video_scale=-1.0, audio_scale=4.0))
    assert half.shown["duet"][0]["scales"] == {"video_scale": 1.5, "audio_scale": 4.0}
    assert "cfg video_scale 1.5" in half.args[1]
    assert same(half, sampled(model, guided("cfg", video_scale=1.5, audio_scale=4.0)))


def test_the_cost_is_that_of_the_recommended_scales():
    model = advising(SAMPLING | {"scales": {"cfg": 1.0}})
    assert sampled(model, guided("cfg", **OPEN)).shown["duet"][0]["branches_per_step"] == 1


def test_modifiers_keep_what_is_left_to_the_model(model):
    flat = {"points": [[0.0, 1.0], [1.0, 1.0]]}
    changed = DuetGuidanceModifiers.execute(guided("cfg", **OPEN), flat, 0.0, 1.0, 0.5, flat, flat)
    assert changed.args[0].open_scales == set(OPEN) and "scales as the model recommends" in changed.shown["text"][0]
    assert sampled(model, changed.args[0]).shown["duet"][0]["scales"] == {"video_scale": 1.5, "audio_scale": 1.5}


def modified(guidance, **settings):
    flat = {"points": [[0.0, 1.0], [1.0, 1.0]]}
    return DuetGuidanceModifiers.execute(guidance, flat, 0.0, 1.0, 0.0, flat, flat, **settings).args[0]


def test_the_block_that_the_negative_prompt_skips_is_the_models_choice():
    advice = advising(SAMPLING | {"negative_skip_block": 3})

    def taken(given):
        _, (guidance,), lines = resolve_settings(advice, Settings(0, 0, 1, 1.0, True), [given])
        return guidance.strategy.negative_skip_block, any("negative_skip_block 3" in line for line in lines)

    assert taken(None) == taken(guided("cfg", **OPEN)) == taken(modified(guided("cfg", **OPEN))) == (3, True)
    assert taken(modified(guided("cfg", **OPEN), negative_skip_block=5)) == (5, False)
    assert taken(modified(modified(guided("cfg", **OPEN), negative_skip_block=-2))) == (-2, False)
    assert resolve_settings(advising(SAMPLING), Settings(0, 0, 1, 1.0, True), [None])[1][0].strategy.negative_skip_block == -2


def test_without_a_model_of_ours_scales_are_the_methods_own():
    for name in ("joint_cfg", "cfg", "apg"):
        assert guided(name, **OPEN).strategy == make_guidance(name)


@pytest.mark.parametrize("run, line", [
    (lambda: guided("cfg", video_scale=-0.5, audio_scale=1.0),
     "video_scale is -0.5; use -1 (as the model recommends) or a number from 0 to 30"),
    (lambda: sampled(advising(), eta=-0.1), "eta is -0.1; use -1 (as the model recommends) or a number from 0 to 10"),
])  # fmt: skip
def test_other_negative_values_are_refused_in_one_line(run, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        run()


def test_prompts_and_guidance_need_not_be_connected(model):
    assert same(sampled(model), sampled(model, prompts=DuetEncodePrompts.execute(model, "", "", "", "").args[0]))
    assert not same(sampled(model), sampled(model, prompts=prompts_of(model)))
    required = DuetJointSampler.GET_NODE_INFO_V1()["input"]["required"]
    assert not {"prompts", "guidance"} & set(required)
    assert {"prompts", "guidances"} <= set(DuetCompare.GET_NODE_INFO_V1()["input"]["required"])


def test_a_model_that_takes_an_image_asks_for_prompts(picture_model):  # noqa: F811
    line = "prompts is not connected, but Seeing takes an image; connect Prompts for Video and Audio"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        sampled(picture_model)


def test_compare_samples_and_names_the_recommended_values(model):
    cells = {"guidance0": guided("cfg", **OPEN), "guidance1": guided("cfg", video_scale=3.0, audio_scale=1.5)}
    compared = DuetCompare.clone_for_run({"unique_id": "1"}).execute(
        model=model, prompts=prompts_of(model), latent=latent_of(model), guidances=cells, **FRESH
    )
    facts = compared.shown["duet"][0]
    assert [cell["label"] for cell in facts["cells"]] == ["cfg video_scale 1.5", "cfg video_scale 3"]
    assert (facts["steps"], facts["shift"], facts["eta"]) == (2, 3.0, 1.0)
    assert compared.args[1].split("\n")[3:] == ["video_scale: 1.5, 3", "as Tiny recommends: 2 steps, shift 3, eta 1, cfg 1.5"]
    latent = sampled(model, cells["guidance0"], prompts_of(model))
    frames, _ = model.decode(AVLatent(*streams(latent)), latent_of(model)["duet_shape"])
    torch.testing.assert_close(compared.args[0].variants[0].frames, frames[0])


# Saved graphs


@pytest.mark.parametrize("changes", [{}, {"eta": None}, {"eta": None, "audio_shift": None}])
def test_a_saved_graph_gives_what_it_gave(changes, graph, loads, monkeypatch, tmp_path):
    """With Bounce's advice on its model; a graph from before `eta` and `audio_shift` has neither."""
    monkeypatch.setattr("duet_av.bounce.shipped.load_joint_model", lambda source: advising())
    made = []
    original = joint_sampler.sample_latent
    monkeypatch.setattr(joint_sampler, "sample_latent", lambda *args: made.append(original(*args)) or made[-1])
    inputs = graph["5"]["inputs"]
    inputs |= {"steps": 2, "shift": 5.0, "eta": 2.0}
    graph["4"]["inputs"] |= {"guidance.video_scale": 2.5, "guidance.audio_scale": 2.5}
    for name in changes:
        del inputs[name]
    (tmp_path / "old.json").write_text(json.dumps(graph))
    run_workflow(load_workflow(tmp_path / "old.json"), catalogue(), Folders(output=tmp_path))
    model = advising()
    settings = Settings(inputs["video_seed"], inputs["audio_seed"], 2, 5.0, True, inputs.get("eta", 0.0))
    prompts = prompts_of(model, "a red ball", "metal ball")
    guidance = guided("joint_cfg", video_scale=2.5, audio_scale=2.5)
    expected = original(model, prompts, latent_of(model), guidance, settings, "5", None)
    assert torch.equal(made[0].latent.video, expected.latent.video) and torch.equal(made[0].latent.audio, expected.latent.audio)


# The library


def test_generate_uses_what_the_model_recommends_unless_told(model):
    advised = generate(model, "a red ball", "metal ball")
    scales = {"video_scale": 2.0, "audio_scale": 3.0, "video_cross_scale": 4.0, "audio_cross_scale": 4.0}
    explicit = {"guidance": make_guidance("dual_cfg", **scales), "schedule": SamplingSchedule(2, 3.0, eta=1.0)}
    assert torch.equal(advised.frames, generate(model, "a red ball", "metal ball", **explicit).frames)
    plain = generate(tiny_model(), "a red ball", "metal ball")
    explicit = {"guidance": make_guidance("joint_cfg"), "schedule": SamplingSchedule()}
    assert torch.equal(plain.frames, generate(model, "a red ball", "metal ball", **explicit).frames)
