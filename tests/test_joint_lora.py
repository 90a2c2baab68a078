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
from duet_av.av_models.published.folder import DiffusersFolder
from duet_av.av_models.published.joint import LoadOptions, load_family
from duet_av.av_models.published.load_network import load_network
from duet_av.av_models.published.lora import apply_loras
from duet_av.av_models.training.config import StageSetup
from duet_av.av_models.training.joint_lora_stage import make_joint_lora_stage
from duet_av.av_models.training.loop import CURVE, Intervals, Schedule, train
from duet_av.tests.sounding import write_clip

CLIP = {"frames": 9, "height": 32, "width": 32, "fps": 16.0}
FULL = [CouplingKind.FULL] * 2
TARGETS = {
    "kandinsky6": ["self_attention.to_query", "va_cross_attention.to_value", "av_cross_attention.to_value", "feed_forward.net.2"],
    "ltx2": ["attn1.to_out.0", "audio_to_video_attn.to_v", "video_to_audio_attn.to_out.0", "ff.net.2"],
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
        torch.manual_seed(step)
        with torch.no_grad():
            total += stage.loss(1000 + step)[0].item()
    return total


@pytest.fixture(scope="module", params=["kandinsky6", "ltx2"])
def trained(request, root):
    """A LoRA that was trained without a pause, and its stage, whose network has the LoRA's final values."""
    name = request.param
    stage = make(root, name, f"{name}.safetensors")
    before = loss_of(stage)
    curve = run(stage, root / f"run_{name}")
    return SimpleNamespace(name=name, stage=stage, before=before, curve=curve, file=root / f"{name}.safetensors")


@torch.no_grad()
def predict(stage, denoiser=None):
    torch.manual_seed(0)
    batch = stage.draw_batch(0)
    return (denoiser or stage.denoiser).predict(batch.clean, AVTime(batch.t, batch.t), batch.cond, FULL)


def difference(a: AVLatent, b: AVLatent) -> float:
    return max((a.video - b.video).abs().max().item(), (a.audio - b.audio).abs().max().item())


def test_the_loss_falls(trained):
    assert loss_of(trained.stage) < 0.9 * trained.before
    assert [row[0] for row in trained.curve] == [str(step + 1) for step in range(STEPS)]


def test_a_resumed_run_has_the_same_curve_and_result(trained, root, tmp_path):
    run(make(root, trained.name), tmp_path / "run", stop=3)
    curve = run(make(root, trained.name, f"again_{trained.name}.safetensors"), tmp_path / "run", resume=True)
    assert curve == trained.curve
    again, first = load_file(root / f"again_{trained.name}.safetensors"), load_file(trained.file)
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_the_file_changes_the_model_as_in_training(trained, root):
    path, stage = root / trained.name, trained.stage
    model = load_family(path)
    denoiser = model.denoiser_for(model.shape(**CLIP))
    before = predict(stage, denoiser)
    apply_loras(denoiser.transformer, [(trained.file, 0.0)])
    assert difference(predict(stage, denoiser), before) == 0
    apply_loras(denoiser.transformer, [(trained.file, 1.0)])
    after = predict(stage, denoiser)
    assert difference(after, predict(stage)) < 1e-4 < 1e-1 < difference(after, before)
    denoiser.transformer = load_network(
        DiffusersFolder(path), "transformer", type(denoiser.transformer), LoadOptions(loras=((trained.file, 1.0),))
    )
    if trained.name == "kandinsky6":  # the blocks of LTX-2 are changed when the model is made
        assert difference(predict(stage, denoiser), after) == 0


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
    own = dict(trained.stage.denoiser.transformer.named_parameters())
    found = {name: x for name, x in network.named_parameters() if ".lora_" in name}
    assert len(found) == len(load_file(trained.file))
    assert all(torch.equal(x, own[name.replace(".x.", ".default.")]) for name, x in found.items())


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
    found, stage = [], make(root, trained.name, gradient_checkpointing=False, first_frame=1.0)
    for tensor in stage.model.parameters():
        torch.nn.init.normal_(tensor, 0, 0.1)
    for checkpointed in (False, True):
        if checkpointed:
            stage.denoiser.checkpoint_blocks()
            stage.model.zero_grad()
        torch.manual_seed(0)
        stage.loss(0)[0].backward()
        found.append({name: tensor.grad for name, tensor in stage.model.named_parameters()})
    for name, gradient in found[0].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, found[1][name])


def test_a_given_first_frame_is_shown_and_is_no_part_of_the_loss(trained):
    """Kandinsky 6 gets it as another frame, LTX-2 in place of its own first frame, at time 0."""
    stage, seen = trained.stage, []
    torch.manual_seed(0)
    batch = stage.draw_batch(0)._replace(first_frame=True)
    denoiser = stage.denoiser
    fake = SimpleNamespace(predict=lambda *given: seen.append(given) or denoiser.predict(*given), to=lambda device: None)
    other = batch.noise.video.clone()
    other[:, :, 0] += 10
    stage.denoiser = fake
    try:
        with torch.no_grad():
            losses = [
                stage.compute_losses(batch._replace(noise=replace(batch.noise, video=noise)))[0].item()
                for noise in (batch.noise.video, other)
            ]
    finally:
        stage.denoiser = denoiser
    latent, time, cond, _ = seen[1]
    first = batch.clean.video[:, :, :1]
    if trained.name == "ltx2":
        assert torch.equal(latent.video[:, :, :1], first) and losses[0] == losses[1]
        assert not time.video[:, 0].any() and torch.equal(time.video[:, 1], batch.t) and torch.equal(time.audio, batch.t)
    else:
        assert torch.equal(cond.video.image, first) and losses[0] != losses[1]


def test_times_follow_the_model(trained):
    tokens = {"kandinsky6": math.log(5.0), "ltx2": 0.95 + (2.05 - 0.95) * (2 - 1024) / (4096 - 1024)}
    assert trained.stage.time == (pytest.approx(tokens[trained.name]), 1.0)


def test_prompts_are_dropped_as_often_as_asked(trained):
    stage = trained.stage
    null, config = stage.data.null.video.tokens, stage.config
    try:
        stage.config = config | {"condition_dropout": 1.0}
        assert torch.equal(stage.draw_batch(0).cond.video.tokens, null.expand(2, *null.shape[1:]))
        stage.config = config | {"condition_dropout": 0.0}
        assert not torch.equal(stage.draw_batch(0).cond.video.tokens[:, : null.shape[1]], null.expand(2, *null.shape[1:]))
    finally:
        stage.config = config


def test_an_alpha_is_part_of_the_file(trained, tmp_path):
    stage = copy(trained.stage)
    stage.config, stage.out = stage.config | {"lora": {"rank": 2, "alpha": 8.0}}, tmp_path / "x.safetensors"
    stage.finish(stage.model, {"steps": 1})
    plain = load_file(trained.file)
    for name, tensor in load_file(stage.out).items():
        torch.testing.assert_close(tensor, plain[name] * (4 if ".lora_B." in name else 1))


def test_the_frozen_network_can_be_bfloat16_and_times_of_the_config(root):
    stage = make(root, "ltx2", "half.safetensors", schedule={"bf16": True}, time={"loc": -1.0, "scale": 0.0})
    torch.testing.assert_close(stage.draw_batch(0).t, torch.full((2,), 1 / (1 + math.e)))
    network = stage.denoiser.transformer
    assert network.transformer_blocks[0].attn1.to_k.weight.dtype == torch.bfloat16
    assert {tensor.dtype for tensor in stage.model.parameters()} == {torch.float32}
    stage.loss(0)[0].backward()
    assert all(tensor.grad is not None for tensor in stage.model.parameters())
    stage.finish(stage.model, {"steps": 1})
    assert {x.dtype for x in load_file(root / "half.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("changes, message", [
    ({"lora": {"targets": ["to_x"]}}, "stage_config.lora.targets has to_x, which no layer of Kandinsky6Tra.* ends with; use "),
])  # fmt: skip
def test_wrong_settings_are_one_line(changes, message, root):
    with pytest.raises(ValueError, match=message) as error:
        make(root, **changes)
    assert "\n" not in str(error.value)


def test_models_that_take_no_lora_are_refused(root, small_ovi, small_kandinsky6_distilled):
    for name, path, message in (
        ("ovi", small_ovi, "holds Ovi.*, for which no LoRA can be trained; use Kandinsky 6 or LTX-2"),
        ("distilled", small_kandinsky6_distilled, "these weights are distilled .*; use the weights before distillation"),
    ):
        (root / name).symlink_to(path)
        with pytest.raises(ValueError, match=message):
            make_joint_lora_stage(StageSetup(config("ltx2") | {"model": name}, root, 1, root / "x.safetensors"))
