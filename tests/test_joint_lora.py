"""A LoRA of Kandinsky 6 or LTX-2 is trained on a folder of sounding videos."""

from __future__ import annotations

import csv
import math
from copy import copy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import Kandinsky6Transformer3DModel, LTX2Pipeline, LTX2VideoTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file

from duet_av.av_models.checkpoint import read_card
from duet_av.av_models.contract import AVLatent, AVTime, CouplingKind
from duet_av.av_models.published.joint import LoadOptions, load_family
from duet_av.av_models.published.lora import apply_loras
from duet_av.av_models.training import joint_lora_stage
from duet_av.av_models.training.config import StageSetup
from duet_av.av_models.training.joint_lora_stage import find_layers, make_joint_lora_stage
from duet_av.av_models.training.loop import CURVE, Intervals, Schedule, train
from duet_av.av_models.training.pair_objective import pair_loss
from duet_av.benchmarks.small_models import kandinsky6
from duet_av.bounce.training.stages import read_config
from duet_av.commands import main
from duet_av.tests.sounding import write_clip
from duet_av.tests.test_training import toml

CLIP = {"frames": 9, "height": 32, "width": 32, "fps": 16.0}
FULL = [CouplingKind.FULL] * 2
TARGETS = {
    "kandinsky6": ["self_attention.to_query", "va_cross_attention.to_value", "av_cross_attention.to_value", "feed_forward.net.2"],
    "ltx2": ["attn1.to_out.0", "audio_to_video_attn.to_v", "video_to_audio_attn.to_out.0", "ff.net.2"],
}
BLOCKS = {
    "kandinsky6": lambda network: network.visual_transformer_blocks,
    "ltx2": lambda network: network.transformer_blocks,
}
STEPS, RATE = 6, 0.05


@pytest.fixture(scope="module")
def root(tmp_path_factory, small_kandinsky6, small_ltx2) -> Path:
    """A folder with both models, two videos, and the cache of their clips."""
    folder = tmp_path_factory.mktemp("lora")
    (folder / "clips").mkdir()
    for number, caption in enumerate(("a red ball", "rain\na bell")):
        write_clip(folder / "clips" / f"{number}.mp4", 0.6, seed=number, caption=caption)
    for name, path in {"kandinsky6": small_kandinsky6, "ltx2": small_ltx2}.items():
        (folder / name).symlink_to(path)
    return folder


def config(name: str, schedule: dict | None = None, **changes) -> dict:
    lora = {"rank": 2, "targets": TARGETS[name]} | changes.pop("lora", {})
    stage = {"batch": 2, "clip": CLIP, "lora": lora, "condition_dropout": 0.1, "lambda_a": 1.0} | changes
    return {
        "stage": "joint_lora", "model": name, "run": "run", "out": "out.safetensors", "seed": 1,
        "schedule": {"steps": STEPS, "lr": RATE} | (schedule or {}), "data": {"folder": "clips", "cache": f"cache_{name}"},
        "stage_config": stage,
    }  # fmt: skip


def make(root, name="kandinsky6", out="out.safetensors", **changes):
    return make_joint_lora_stage(StageSetup(config(name, **changes), root, STEPS, root / out))


def run(stage, folder, stop=None, resume=False):
    schedule = Schedule(STEPS, RATE, warmup=1, ema=0.3)
    train(stage, schedule, 1, folder, stop=stop, resume=resume, intervals=Intervals(log_steps=1))
    with (folder / CURVE).open() as file:
        return [[row[name] for name in ("step", "loss", "video", "audio")] for row in csv.DictReader(file)]


def loss_of(stage) -> float:
    """The loss of a few fixed batches."""
    total = 0.0
    for step in range(3):
        with torch.no_grad():
            total += stage.loss(1000 + step)[0].item()
    return total


@pytest.fixture(scope="module", params=["kandinsky6", "ltx2"])
def trained(request, root):
    """A LoRA that was trained without a pause, and its stage, whose network has the LoRA's final values."""
    name = request.param
    stage = make(root, name, f"{name}.safetensors")
    before, averages, finish = loss_of(stage), {}, stage.finish_trained
    stage.finish_trained = lambda tensors, run: (averages.update(tensors), finish(tensors, run))
    curve = run(stage, root / f"run_{name}")
    file = root / f"{name}.safetensors"
    return SimpleNamespace(name=name, stage=stage, before=before, curve=curve, averages=averages, file=file)


@torch.no_grad()
def predict(stage, denoiser=None):
    batch = stage.draw_batch(0)
    return (denoiser or stage.denoiser).predict(batch.clean, AVTime(batch.t, batch.t), batch.cond, FULL)


def difference(a: AVLatent, b: AVLatent) -> float:
    return max((a.video - b.video).abs().max().item(), (a.audio - b.audio).abs().max().item())


def test_the_loss_falls(trained):
    assert loss_of(trained.stage) < 0.9 * trained.before
    assert [row[0] for row in trained.curve] == [str(step + 1) for step in range(STEPS)]


def test_a_resumed_run_has_the_same_curve_and_result(trained, root, tmp_path):
    if trained.name == "ltx2":
        return  # the loop is the same
    run(make(root, trained.name), tmp_path / "run", stop=3)
    curve = run(make(root, trained.name, f"again_{trained.name}.safetensors"), tmp_path / "run", resume=True)
    assert curve == trained.curve
    again, first = load_file(root / f"again_{trained.name}.safetensors"), load_file(trained.file)
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_the_file_changes_the_model(trained, root):
    path, stage = root / trained.name, trained.stage
    model = load_family(path)
    denoiser = model.denoiser_for(model.shape(**CLIP))
    before = predict(stage, denoiser)
    apply_loras(denoiser.transformer, [(trained.file, 0.0)])
    assert difference(predict(stage, denoiser), before) == 0
    with_lora = load_family(path, LoadOptions(loras=((trained.file, 1.0),)))
    after = predict(stage, with_lora.denoiser_for(with_lora.shape(**CLIP)))
    assert difference(after, before) > 0.1
    with torch.no_grad():
        for name, tensor in trained.averages.items():
            stage.model.get_parameter(name).copy_(tensor)
    assert difference(after, predict(stage)) < 1e-4


def test_diffusers_loads_the_file(trained, root):
    """LTX-2's pipeline has a loader of LoRAs; Kandinsky's has its transformer's."""
    if trained.name == "ltx2":
        network = LTX2VideoTransformer3DModel.from_pretrained(root / "ltx2" / "transformer")
        others = dict.fromkeys(signature(LTX2Pipeline.__init__).parameters.keys() - {"self", "transformer"})
        pipeline = LTX2Pipeline(transformer=network, **others)
        pipeline.load_lora_weights(str(trained.file.parent), weight_name=trained.file.name, adapter_name="x")
    else:
        network = Kandinsky6Transformer3DModel.from_pretrained(root / "kandinsky6" / "transformer")
        network.load_lora_adapter(str(trained.file), adapter_name="x", local_files_only=True)
    found = {name: x for name, x in network.named_parameters() if ".lora_" in name}
    assert len(found) == len(trained.averages)
    assert all(torch.equal(x, trained.averages[f"transformer.{name.replace('.x.', '.default.')}"]) for name, x in found.items())


def test_the_file_says_what_it_is(trained):
    card = read_card(trained.file)
    assert {card[name] for name in ("kind", "rank", "trained")} == {"lora", 2, True} and card["run"]["steps"] == STEPS
    with safe_open(trained.file, "pt") as file:
        names = set(file.keys())
    prefix = {"kandinsky6": "transformer.", "ltx2": "diffusion_model."}[trained.name]
    assert all(name.startswith(prefix) and name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)
    towers = {
        "kandinsky6": ("video_dec_block", "audio_dec_block", "va_cross"),
        "ltx2": (".attn1", ".audio_attn1", "audio_to_video"),
    }
    assert all(any(tower in name for name in names) for tower in towers[trained.name])


def test_checkpointed_blocks_have_the_same_gradients(trained, root):
    stage = make(root, trained.name, gradient_checkpointing=False, first_frame=1.0)
    adapters = {name: tensor for name, tensor in stage.model.named_parameters() if tensor.requires_grad}
    assert adapters and all(".lora_" in name for name in adapters)
    found = []
    for tensor in adapters.values():
        torch.nn.init.normal_(tensor, 0, 0.1)
    for checkpointed in (False, True):
        if checkpointed:
            stage.model.training_units(BLOCKS[trained.name](stage.model.transformer), True)
            stage.model.zero_grad()
        stage.loss(0)[0].backward()
        found.append({name: tensor.grad for name, tensor in adapters.items()})
    for name, gradient in found[0].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, found[1][name])


def test_a_given_first_frame_is_shown(trained, monkeypatch):
    """Kandinsky 6 gets it as another frame, LTX-2 in place of its own first frame, at time 0 and without a loss."""
    stage, seen = copy(trained.stage), []
    stage.config = stage.config | {"first_frame": 1.0}
    batch = stage.draw_batch(0)
    denoiser = stage.denoiser
    fake = SimpleNamespace(predict=lambda *given: seen.append(given) or denoiser.predict(*given))
    other = batch.noise.video.clone()
    other[:, :, 0] += 10
    with torch.no_grad():
        losses = [
            pair_loss(fake, replace(batch, noise=replace(batch.noise, video=noise)), 1.0)[0].item()
            for noise in (batch.noise.video, other)
        ]
    latent, time, cond, _ = seen[1]
    first = batch.clean.video[:, :, :1]
    if trained.name == "ltx2":
        assert torch.equal(latent.video[:, :, :1], first) and losses[0] == losses[1]
        assert not time.video[:, 0].any() and torch.equal(time.video[:, 1], batch.t)
    else:
        assert torch.equal(cond.video.image, first) and losses[0] != losses[1]
    stage.config = stage.config | {"first_frame": 0.0}
    plain = stage.draw_batch(0)
    assert plain.cond.video.image is None and not plain.first.any()


def test_times_follow_the_model(trained):
    tokens = {"kandinsky6": math.log(5.0), "ltx2": 0.95 + (2.05 - 0.95) * (2 - 1024) / (4096 - 1024)}
    assert (trained.stage.batch.loc, trained.stage.batch.scale) == (pytest.approx(tokens[trained.name]), 1.0)


def test_prompts_are_dropped_as_often_as_asked(trained):
    stage = copy(trained.stage)
    assert stage.batch.dropout == 0.1
    stage.batch = replace(stage.batch, dropout=1.0)
    null = stage.data.null.video.tokens
    assert torch.equal(stage.draw_batch(0).cond.video.tokens, null.expand(2, *null.shape[1:]))


def test_an_alpha_is_part_of_the_file(trained, tmp_path):
    stage = copy(trained.stage)
    stage.config, stage.out = stage.config | {"lora": {"rank": 2, "alpha": 8.0}}, tmp_path / "x.safetensors"
    type(stage).finish_trained(stage, trained.averages, {"steps": 1})
    plain = load_file(trained.file)
    for name, tensor in load_file(stage.out).items():
        torch.testing.assert_close(tensor, plain[name] * (4 if ".lora_B." in name else 1))


def test_the_frozen_network_can_be_bfloat16_and_times_of_the_config(root, monkeypatch):
    monkeypatch.setattr(joint_lora_stage, "has_bf16", lambda device: True)
    stage = make(root, "ltx2", "half.safetensors", schedule={"bf16": True}, time={"loc": -1.0, "scale": 0.0})
    torch.testing.assert_close(stage.draw_batch(0).t, torch.full((2,), 1 / (1 + math.e)))
    assert stage.model.transformer.transformer_blocks[0].attn1.to_k.weight.dtype == torch.bfloat16
    adapters = {name: tensor for name, tensor in stage.model.named_parameters() if tensor.requires_grad}
    assert {tensor.dtype for tensor in adapters.values()} == {torch.float32}
    stage.loss(0)[0].backward()
    assert all(tensor.grad is not None for tensor in adapters.values())
    stage.finish_trained(adapters, {"steps": 1})
    assert {x.dtype for x in load_file(root / "half.safetensors").values()} == {torch.bfloat16}


def test_layers_that_there_are_not_are_named():
    with torch.device("meta"):
        network = Kandinsky6Transformer3DModel(**kandinsky6.TRANSFORMER)
    with pytest.raises(
        ValueError, match="stage_config.lora.targets has to_x, which no layer of Kandinsky6Tra.* ends with; use "
    ) as error:
        find_layers(network, ["to_query", "to_x"])
    assert "\n" not in str(error.value)


def test_models_that_take_no_lora_are_refused(root, small_ovi, small_kandinsky6_distilled):
    for name, path, message in (
        ("ovi", small_ovi, "holds Ovi, for which no LoRA can be trained; use Kandinsky 6 or LTX-2"),
        ("distilled", small_kandinsky6_distilled, "these weights are distilled .*; use the weights before distillation"),
    ):
        (root / name).symlink_to(path)
        with pytest.raises(ValueError, match=message):
            make_joint_lora_stage(StageSetup(config("ltx2") | {"model": name}, root, 1, root / "x.safetensors"))


@pytest.mark.parametrize("name", ["kandinsky6", "ltx2"])
def test_the_shipped_configs_are_valid(name):
    path = Path(joint_lora_stage.__file__).parents[2] / "configs" / f"{name}_lora.toml"
    assert read_config(path)["stage"] == "joint_lora"


def test_the_command_trains_a_lora(root, capsys):
    """With a video that cannot be used beside the others."""
    write_clip(root / "clips" / "mute.mp4", 0.6, sound=False, caption="nothing")
    settings = config("kandinsky6", {"steps": 2})
    lines = [f"{key} = {toml(value)}" for key, value in settings.items()]
    (root / "x.toml").write_text("\n".join(lines))
    assert main(["train", str(root / "x.toml")]) == 0
    assert read_card(root / "out.safetensors")["data"] == {"clips": 2}
    assert "mute.mp4: has no audio" in (root / "run" / "skipped.txt").read_text()
    (root / "y.toml").write_text("\n".join(line for line in lines if not line.startswith("model =")))
    assert main(["train", str(root / "y.toml")]) != 0 and "model is missing" in capsys.readouterr().err
