"""Joint checkpoints: what they hold, how they name their experts, and the pairs that come back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from duet_av.av_models import joint_checkpoint
from duet_av.av_models.checkpoint import load_checkpoint, read_card, save_checkpoint
from duet_av.av_models.content_hash import content_hash
from duet_av.av_models.generation import generate
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint_checkpoint import (
    ExpertSource,
    expert_entry,
    is_joint_checkpoint,
    joint_tensors,
    load_joint_layers,
    save_joint_layers,
)
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.load_streams import load_streams
from duet_av.av_models.published.build_pair import weave
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.av_models.shapes import VideoShape
from duet_av.benchmarks.small_models import wan
from duet_av.tests import pairs, small

CODECS = {"video": "video.safetensors", "audio": "audio.safetensors"}
SOURCES = {"video": "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "audio": "declare-lab/TangoFlux"}
CLIP = {"frames": 9, "height": 32, "width": 32, "fps": 16}
LORA = LoraConfig(r=2, lora_alpha=6, target_modules=["to_q", "to_v"], init_lora_weights=False)


@pytest.fixture(scope="module")
def experts(tmp_path_factory) -> Path:
    """A folder with two experts and their codecs."""
    folder = tmp_path_factory.mktemp("experts")
    for kind in ("video_expert", "audio_expert"):
        small.save_expert(folder, kind)
    small.save_codec(folder / CODECS["video"], small.video_codec())
    small.save_codec(folder / CODECS["audio"], small.audio_codec())
    return folder


def files(folder: Path) -> list[Path]:
    return [folder / name for name in ("video_expert.safetensors", "audio_expert.safetensors", *CODECS.values())]


def trained(experts: Path, kind: str = "joint", rope: str = "avsync", blocks: int = 3) -> JointModel:
    """A pair with weights that training could have left."""
    video, audio = load_streams(tuple(files(experts)), (ExpertOptions(),) * 2)
    denoiser = weave(video, audio, blocks, rope, VideoShape(**CLIP)).eval().requires_grad_(False)
    small.randomised(denoiser.new_heads, 3)
    if kind == "full":
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.mul_(1.1)
    if kind == "lora":
        for tower in (denoiser.video, denoiser.audio):
            pairs.seeded(9, lambda tower=tower: tower.transformer.add_adapter(LORA))
    untrained = join_experts(*files(experts), joint_blocks=blocks, name="Pair", clip=CLIP)
    return JointModel(untrained.card | {"trained": True}, denoiser, *(untrained.parts[n] for n in ("video_codec", "audio_codec",
                      "conditioner")), untrained.clip)  # fmt: skip


def save(path: Path, experts: Path, kind: str = "joint", rope: str = "avsync", **card) -> tuple[Path, JointModel]:
    model = trained(experts, kind, rope)
    entries = [expert_entry(file, SOURCES[stream]) for file, stream in zip(files(experts), SOURCES)]
    save_joint_layers(path, model.denoiser, *entries, kind=kind, card={"clip": CLIP, "name": "Ours", "codecs": CODECS} | card)
    return path, model


@pytest.fixture(scope="module")
def ours(experts, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("ours") / "ours.safetensors", experts)[0]


def clip_of(model: JointModel) -> tuple[torch.Tensor, torch.Tensor]:
    clip = generate(model, "a red ball", "metal", guidance=make_guidance("joint_cfg"), schedule=SamplingSchedule(2))
    return clip.frames, clip.waveform


# What a file holds, and what comes back.


@pytest.mark.parametrize("rope", ["avsync", "vanilla"])
@pytest.mark.parametrize("kind", ["joint", "lora", "full"])
def test_a_saved_pair_makes_the_same_frames_from_the_same_prompt(experts, tmp_path, kind, rope):
    path, model = save(tmp_path / "ours.safetensors", experts, kind, rope)
    again = join_experts(*files(experts), name="Again", layers=path)
    assert again.trained and again.name == "Again" and again.denoiser.joint_blocks == 3 and again.card["notes"] == []
    for ours, theirs in zip(clip_of(again), clip_of(model)):
        torch.testing.assert_close(ours, theirs, atol=1e-3 if kind == "lora" else 0, rtol=0)
    untuned = trained(experts, "joint", rope)
    assert torch.equal(clip_of(untuned)[0], clip_of(model)[0]) == (kind == "joint")


@pytest.mark.parametrize("kind", ["joint", "lora", "full"])
def test_a_file_holds_what_the_experts_lack_and_says_what_it_is(experts, tmp_path, kind):
    path, model = save(tmp_path / "ours.safetensors", experts, kind, sampling={"steps": 7})
    tensors, card = load_checkpoint(path)
    starts = {name.split(".")[0] for name in tensors}
    assert starts == ({"new_heads"} if kind == "joint" else {"new_heads", "video", "audio"})
    assert all(".lora_" in name or name.endswith(".alpha") for name in tensors if not name.startswith("new_heads")) == (
        kind != "full"
    )
    if kind == "lora":
        assert "video.transformer.blocks.0.attn1.to_q.lora_A.weight" in tensors
        assert float(tensors["audio.transformer.single_transformer_blocks.0.attn.to_q.alpha"]) == 6
    assert tensors.keys() >= joint_tensors(model.denoiser, kind).keys()
    assert (card["kind"], card["architecture"], card["contains"], card["trained"]) == ("joint_layers", "AVFullDiT", kind, True)
    assert (card["joint_blocks"], card["rope"], card["clip"], card["sampling"]) == (3, "avsync", CLIP, {"steps": 7})
    assert card["experts"]["video"] == {
        "model": "video_expert",
        "hash": content_hash(files(experts)[0]),
        "source": SOURCES["video"],
    }
    assert is_joint_checkpoint(path) and not is_joint_checkpoint(files(experts)[0]) and not is_joint_checkpoint(experts)


def test_tensors_of_a_training_are_saved_in_place_of_the_denoiser_s(experts, tmp_path):
    model = trained(experts)
    averaged = {name: value * 2 for name, value in joint_tensors(model.denoiser).items()}
    save_joint_layers(tmp_path / "a.safetensors", model.denoiser, *files(experts)[:2], card={"clip": CLIP}, tensors=averaged)
    assert torch.equal(load_checkpoint(tmp_path / "a.safetensors")[0]["new_heads.0.to_q.weight"],
                       model.denoiser.new_heads[0].to_q.weight * 2)  # fmt: skip


@pytest.mark.parametrize("name", ["as in the denoiser", "as in a file"])
def test_the_lora_of_a_training_is_saved_with_its_alphas(experts, tmp_path, name):
    model = trained(experts, "lora")
    own = {key: value for key, value in model.denoiser.state_dict().items() if ".lora_" in key or key.startswith("new_heads")}
    if name == "as in a file":
        own = {key.replace(".default", ""): value for key, value in own.items()}
    save_joint_layers(
        tmp_path / "a.safetensors", model.denoiser, *files(experts)[:2], kind="lora", card={"clip": CLIP}, tensors=own
    )
    saved, expected = load_checkpoint(tmp_path / "a.safetensors")[0], joint_tensors(model.denoiser, "lora")
    assert saved.keys() == expected.keys() and all(torch.equal(saved[key], expected[key]) for key in saved)


def test_a_trained_pair_recommends_what_its_experts_do_with_one_time_for_both(tmp_path):
    model = pairs.with_heads(pairs.pair(rope="avsync"))
    none = {"model": "x", "hash": "y", "source": ""}
    card = {"clip": CLIP, "sampling": {"steps": 9}}
    save_joint_layers(tmp_path / "a.safetensors", model.denoiser, none, none, card=card)
    file = tmp_path / "a.safetensors"
    again = joint_checkpoint.join_with_layers(file, read_card(file), (pairs.video(), pairs.audio()), "Again", (file, file))
    advice = again.recommended
    assert (advice.steps, advice.shift, advice.guidance) == (9, 5.0, "cfg") and not again.has_own_times()
    assert again.card["capabilities"][0] == "text to video with audio" and again.card["parameters"] > 10
    assert advice.scales["cfg"] == {"video_scale": 5.0, "audio_scale": 4.5}
    assert generate(again, "red", "wood").frames.shape == (9, 32, 32, 3)


# The experts are found.


def test_experts_are_found_by_their_contents_in_the_folder_of_the_file(experts, tmp_path):
    folder = tmp_path / "duet"
    folder.mkdir()
    for name, file in zip(("first.safetensors", "second.safetensors", *CODECS.values()), files(experts)):
        (folder / name).write_bytes(file.read_bytes())
    (folder / "damaged.safetensors").write_bytes(b"1")
    (folder / "notes.txt").write_text("")
    path, model = save(folder / "ours.safetensors", experts)
    again = load_joint_model(path)
    assert again.name == "Ours" and torch.equal(clip_of(again)[0], clip_of(model)[0])


def test_the_node_s_search_gets_the_card_s_words_and_says_how_to_load(experts, tmp_path):
    path, _ = save(tmp_path / "ours.safetensors", experts)
    asked = []

    def find(entry):
        asked.append(entry)
        file = files(experts)[len(asked) - 1]
        return file if entry["stream"] == "video" else ExpertSource(file, ExpertOptions(keep_dtype=True))

    for name in CODECS.values():
        (tmp_path / name).write_bytes((experts / name).read_bytes())
    assert load_joint_layers(path, find).trained
    assert [(entry["stream"], entry["model"], entry["source"]) for entry in asked] == [
        ("video", "video_expert", SOURCES["video"]), ("audio", "audio_expert", SOURCES["audio"]),
    ]  # fmt: skip


def test_missing_experts_are_named_in_one_line_with_where_they_come_from(experts, ours):
    with pytest.raises(FileNotFoundError) as error:
        load_joint_model(ours)
    assert str(error.value) == (
        f"{ours} needs the video expert video_expert (Wan-AI/Wan2.2-TI2V-5B-Diffusers) and the audio expert audio_expert "
        "(declare-lab/TangoFlux); download them, or choose the experts with Join Experts"
    )
    with pytest.raises(FileNotFoundError, match="needs the audio expert"):
        load_joint_layers(ours, lambda entry: files(experts)[0] if entry["stream"] == "video" else None)


def test_another_precision_by_hand_is_accepted_with_a_line(experts, ours, tmp_path):
    tensors, card = load_checkpoint(files(experts)[0])
    other = tmp_path / "half.safetensors"
    save_checkpoint(other, {name: value.bfloat16() for name, value in tensors.items()}, card)
    model = join_experts(other, *files(experts)[1:], name="By hand", layers=ours)
    assert model.card["notes"] == [
        "the video expert half.safetensors is not the file that the joint layers were trained with, video_expert: results may "
        "differ"
    ]


# What does not fit.


def refused(run, *words: str) -> None:
    with pytest.raises(ValueError) as error:
        run()
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def test_layers_of_other_sizes_are_refused_with_the_numbers(experts, ours, tmp_path):
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    wide = small.video_config(num_attention_heads=4)
    expert = small.video_expert(num_attention_heads=4)
    tensors, card = load_checkpoint(files(experts)[0])
    tensors |= {f"expert.{name}": value for name, value in expert.state_dict().items()}
    save_checkpoint(narrow / "video_expert.safetensors", tensors, card | {"config": wide})
    refused(lambda: join_experts(narrow / "video_expert.safetensors", *files(experts)[1:], name="P", layers=ours),
            str(ours), "new_heads.0.to_q.weight has shape (16, 32)", "needs (32, 32)")  # fmt: skip


@pytest.mark.parametrize("changes, words", [
    ({"joint_blocks": 9}, ["does not fit these experts", "joint_blocks is 9", "1 to 4"]),
    ({"joint_blocks": 2}, ["unexpected keys new_heads.2."]),
    ({"joint_blocks": "many"}, ["joint_blocks"]),
    ({"rope": "none"}, ["rope 'none'; use a file with rope avsync or vanilla"]),
    ({"contains": "half"}, ["contains 'half'"]),
    ({"contains": "full"}, ["missing keys"]),
    ({"clip": {"frames": 8}}, ["clip.height"]),
    ({"experts": {"video": {}}}, ["experts.video.model"]),
    ({"experts": 3}, ["experts"]),
    ({"attention": "sum"}, ["attention is 'sum'"]),
    ({"architecture": "Nothing"}, ["Nothing"]),
    ({"audio_steps": -1}, ["audio_steps"]),
    ({"sampling": {"steps": 0}}, ["sampling.steps is 0"]),
])  # fmt: skip
def test_a_damaged_card_is_one_line(experts, ours, tmp_path, changes, words):
    path, (tensors, card) = tmp_path / "ours.safetensors", load_checkpoint(ours)
    save_checkpoint(path, tensors, card | changes)
    refused(lambda: join_experts(*files(experts), name="P", layers=path), *words)


def test_tensors_that_are_no_joint_layers_are_named(experts, ours, tmp_path):
    path, (tensors, card) = tmp_path / "ours.safetensors", load_checkpoint(ours)
    save_checkpoint(path, tensors | {"video.transformer.x": torch.ones(1)}, card)
    refused(lambda: join_experts(*files(experts), name="P", layers=path), "unexpected keys video.transformer.x")
    save_checkpoint(path, {name: value for name, value in tensors.items() if "to_out" not in name}, card)
    refused(lambda: join_experts(*files(experts), name="P", layers=path), "missing keys new_heads.0.to_out.weight")


# Hashes.


@pytest.fixture
def network(tmp_path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {f"blocks.{i}.attn1.to_q.weight": torch.randn(40, 30, generator=generator).bfloat16() for i in range(3)}


def test_names_order_shards_and_folders_do_not_matter(network, tmp_path):
    save_file(network, tmp_path / "one.safetensors")
    renamed = {f"model.diffusion_model.{name.replace('attn1.to_q', 'self_attn.q')}": value for name, value in network.items()}
    save_file(dict(reversed(renamed.items())), tmp_path / "comfyui.safetensors")
    (tmp_path / "pipeline" / "transformer").mkdir(parents=True)
    (tmp_path / "pipeline" / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    for name, value in network.items():
        save_file({name: value}, tmp_path / "pipeline" / "transformer" / f"{name}.safetensors")
    save_file(network | {"text_encoder.x": torch.ones(3), "vae.y": torch.ones(3)}, tmp_path / "with_parts.safetensors")
    hashes = {content_hash(tmp_path / name) for name in ("one.safetensors", "comfyui.safetensors", "pipeline",
              "pipeline/transformer", "with_parts.safetensors")}  # fmt: skip
    assert len(hashes) == 1


def test_other_weights_shapes_precisions_and_files_have_other_hashes(network, tmp_path):
    name = next(iter(network))
    variants = {
        "a": network, "b": network | {name: network[name] + 1}, "c": network | {name: network[name].T.contiguous()},
        "d": {key: value.float() * 1.001 for key, value in network.items()}, "e": network | {"more": torch.ones(1)},
    }  # fmt: skip
    for file, tensors in variants.items():
        save_file(tensors, tmp_path / f"{file}.safetensors")
    (tmp_path / "f.gguf").write_bytes(bytes(3000))
    (tmp_path / "g.gguf").write_bytes(bytes(2999) + b"1")
    assert len({content_hash(tmp_path / file) for file in (*(f"{each}.safetensors" for each in variants), "f.gguf", "g.gguf")}) == 7


def test_a_changed_file_is_read_again_and_a_bad_one_is_named(network, tmp_path):
    file = tmp_path / "a.safetensors"
    save_file(network, file)
    before = content_hash(file)
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    os.utime(file, (0, 0))  # as if some time had passed
    assert content_hash(file) != before
    file.write_bytes(b"1")
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        content_hash(file)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty has no safetensors files"):
        content_hash(tmp_path / "empty")


# Published experts.


def published(video: Path, audio: Path, **options) -> JointModel:
    return join_experts(video, audio, "none", "none", **{"name": "Pair"} | options)


def test_published_experts_have_one_hash_in_every_layout(small_wan, small_tangoflux, tmp_path):
    network = wan.transformer()
    for names in wan.NAMES:
        wan.write_network(tmp_path / f"{names}.safetensors", network, names, "fp32")
    wan.write_shards(tmp_path / "shards", network)
    wan.write_vae(tmp_path / "shards" / "wan2.2_vae.safetensors")
    layouts = [small_wan, small_wan / "transformer", tmp_path / "shards", *(tmp_path / f"{n}.safetensors" for n in wan.NAMES)]
    assert len({content_hash(path) for path in layouts}) == 1
    assert content_hash(small_tangoflux) == content_hash(small_tangoflux / "tangoflux.safetensors")
    wan.write_network(tmp_path / "half.safetensors", network, precision="fp16")
    wan.write_network(tmp_path / "other.safetensors", wan.transformer(seed=1), precision="fp32")
    assert len({content_hash(path) for path in (small_wan, tmp_path / "half.safetensors", tmp_path / "other.safetensors")}) == 3
    assert expert_entry(small_wan)["model"] == expert_entry(layouts[-1])["model"]


def test_a_trained_pair_of_published_experts_comes_back_from_files_in_other_names(small_wan, small_tangoflux, tmp_path):
    model = published(small_wan, small_tangoflux, rope="avsync")
    small.randomised(model.denoiser.new_heads, 4)
    clip = {"frames": 5, "height": 32, "width": 32, "fps": 24}
    path = tmp_path / "duet" / "ours.safetensors"
    entries = [expert_entry(small_wan, SOURCES["video"]), expert_entry(small_tangoflux, SOURCES["audio"])]
    save_joint_layers(path, model.denoiser, *entries, card={"clip": clip, "name": "Ours"})
    first = published(small_wan, small_tangoflux, layers=path)
    wan.write_network(tmp_path / "diffusion_models" / "wan2.2_ti2v_5B_fp32.safetensors", wan.transformer(), precision="fp32")

    def find(entry):
        if entry["stream"] == "audio":
            return small_tangoflux
        file = joint_checkpoint.match_hash(entry, [small_tangoflux, *(tmp_path / "diffusion_models").iterdir()])
        parts = {name: small_wan / name for name in ("text_encoder", "tokenizer", "vae")}
        return None if file is None else ExpertSource(file, ExpertOptions(**parts))

    second = load_joint_model(path, find=find)
    assert first.card["notes"] == second.card["notes"] and first.clip.frames == 5 and "licence" in first.card
    shape = first.shape()
    assert first.latent_shape(shape).audio[2] == 5  # of a clip, not of 30 s
    one, two = (generate(each, "a red ball", "metal", schedule=SamplingSchedule(2)) for each in (first, second))
    assert torch.equal(one.frames, two.frames) and torch.equal(one.waveform, two.waveform) and not one.warnings
    (tmp_path / "diffusion_models" / "wan2.2_ti2v_5B_fp32.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"needs the video expert Wan TI2V .* \(Wan-AI/Wan2.2-TI2V-5B-Diffusers\); download it"
    ):
        load_joint_model(path, find=find)
