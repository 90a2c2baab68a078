"""Training of a woven pair of experts on a folder of sounding videos."""

import csv
import sys
from functools import partial
from pathlib import Path
from subprocess import run

import pytest
import torch

from duet_av.av_models.checkpoint import load_checkpoint, read_card
from duet_av.av_models.contract import CouplingKind
from duet_av.av_models.generation import generate
from duet_av.av_models.joint_checkpoint import ExpertSource, load_joint_layers
from duet_av.av_models.load_parts import load_expert
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.shapes import AVShape
from duet_av.av_models.training import config as training_config
from duet_av.av_models.training import pair_stage
from duet_av.av_models.training.clip_folder import list_clips, read_clips
from duet_av.av_models.training.coupled_rows import coupled_rows, null_rows
from duet_av.av_models.training.loop import CURVE, STATE, Intervals, Schedule, patches, precision
from duet_av.av_models.training.pair_batch import BatchSettings, draw_batch
from duet_av.av_models.training.pair_objective import pair_loss
from duet_av.benchmarks.small_models import wan_tangoflux
from duet_av.bounce.export_clips import export_clips
from duet_av.bounce.measure.pair_use import measure_use
from duet_av.bounce.training.stages import make_stage, read_config, train_config
from duet_av.bounce.world.world import simulate
from duet_av.commands import main
from duet_av.tests.pair_files import CONFIG, STAGE, write_pair
from duet_av.tests.sounding import write_clip
from duet_av.tests.test_training import Killed, same, toml, until

LORA = (".lora_A.weight", ".lora_B.weight", ".alpha")
SHIPPED = Path(__file__).parent.parent / "configs"
PARTS = ("joint", "lora", "full")


@pytest.fixture(scope="module", autouse=True)
def eager():
    """The loop logs every second step and saves after each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_config, "train", partial(training_config.train, intervals=Intervals(2, -1)))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


def write(folder: Path, name: str, stage=None, **changes) -> Path:
    config = CONFIG | {"run": f"runs/{name}", "out": f"{name}.safetensors"} | changes
    config["stage_config"] = STAGE | (stage or {})
    path = folder / f"{name}.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in config.items() if value is not None))
    return path


def stage_of(folder: Path, name: str = "x", **stage):
    path = write(folder, name, stage)
    return make_stage(read_config(path), folder, 4, folder / "unused.safetensors")


@pytest.fixture(scope="module")
def trained(folder) -> dict[str, Path]:
    """The pair trained in each way: the checkpoints."""
    for parts in PARTS:
        train_config(write(folder, parts, {"parts": parts, "lora": {"rank": 2}}))
    return {parts: folder / f"{parts}.safetensors" for parts in PARTS}


def experts_of(folder: Path):
    return [load_expert(folder / f"{stream}_expert.safetensors")[0] for stream in ("video", "audio")]


@pytest.mark.parametrize("parts", PARTS)
def test_a_checkpoint_holds_what_was_trained_and_generates(folder, trained, parts):
    tensors, card = load_checkpoint(trained[parts])
    assert card["contains"] == parts and card["trained"] and card["data"] == {"clips": 6} and card["run"]["steps"] == 4
    assert card["experts"]["video"]["model"] == "video_expert" and card["clip"] == STAGE["clip"]
    kinds = {"new_heads" if name.startswith("new_heads.") else "lora" if name.endswith(LORA) else "expert" for name in tensors}
    assert kinds == {"joint": {"new_heads"}, "lora": {"new_heads", "lora"}, "full": {"new_heads", "expert"}}[parts]
    model = load_joint_layers(trained[parts])
    assert any(bool(heads.to_out.weight.any()) for heads in model.denoiser.new_heads)
    clip = generate(model, "a red ball", "metal", schedule=model.make_schedule(model.latent_shape(model.shape()), steps=1))
    assert clip.frames.shape == (8, 32, 32, 3) and bool(clip.waveform.isfinite().all())


def test_frozen_experts_do_not_change(folder, trained):
    for parts in ("joint", "lora"):
        denoiser = load_joint_layers(trained[parts]).denoiser
        for expert, now in zip(experts_of(folder), (denoiser.video, denoiser.audio)):
            state = {name.replace(".base_layer", ""): value for name, value in now.state_dict().items() if ".lora_" not in name}
            assert same(state, expert.state_dict())
    full = load_joint_layers(trained["full"]).denoiser
    assert not any(same(now.state_dict(), e.state_dict()) for e, now in zip(experts_of(folder), (full.video, full.audio)))


def test_the_loras_of_both_experts_change_their_results(folder, trained):
    model = load_joint_layers(trained["lora"])
    cond, (video, audio) = model.encode("a red ball", "metal"), experts_of(folder)
    latents = [torch.randn(shape) for shape in vars(model.latent_shape(model.shape())).values()]
    for stream, expert, latent in zip(("video", "audio"), (video, audio), latents):
        alone = model.denoiser.predict_stream(latent, torch.tensor([0.5]), getattr(cond, stream), stream)
        assert not torch.equal(alone, expert(latent, torch.tensor([0.5]), getattr(cond, stream)))


@pytest.mark.parametrize("parts", ["lora", "full"])
def test_a_killed_run_resumes_to_the_same_bits(folder, trained, tmp_path, parts):
    path, run_folder, out = folder / f"{parts}.toml", tmp_path / "run", folder / f"{parts}_again.safetensors"
    with pytest.raises(Killed):
        train_config(path, folder=run_folder, out=out, on_step=until(3))
    assert read_card(run_folder / STATE)["step"] == 2 and not out.exists()
    train_config(path, folder=run_folder, out=out, resume=True)
    whole = folder / "runs" / parts
    assert same(load_checkpoint(run_folder / STATE)[0], load_checkpoint(whole / STATE)[0])
    assert same(load_checkpoint(out)[0], load_checkpoint(trained[parts])[0])
    assert losses(run_folder) == losses(whole)
    out.unlink()


def losses(run_folder: Path) -> list[str]:
    with (run_folder / CURVE).open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_states_hold_trained_weights_alone(folder, trained):
    saved, _ = load_checkpoint(folder / "runs" / "joint" / STATE)
    names = {name.split(".")[1] for name in saved if name.startswith(("model.", "average."))}
    assert names == {"new_heads"}


def test_what_was_skipped_is_listed_and_summed_up(folder, tmp_path, capsys):
    path = write(folder, "told")
    assert main(["train", str(path), "--steps", "1"]) == 0
    assert "skipped 1: 1 × has no audio; see " in capsys.readouterr().err
    assert (folder / "runs" / "told" / "skipped.txt").read_text() == "silent.mp4: has no audio\n"


def test_checkpointing_gives_the_same_gradients_with_less_kept(folder):
    grads, kept = [], []
    for checkpointing in (False, True):
        stage, sizes = stage_of(folder, gradient_checkpointing=checkpointing), []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x):
            loss, _ = stage.loss(0)
        loss.backward()
        grads.append({name: p.grad for name, p in stage.model.named_parameters() if p.grad is not None})
        kept.append(sum(sizes))
    assert same(*grads) and kept[1] < kept[0] / 3


def test_a_batch_does_not_depend_on_the_number_of_processes(folder, monkeypatch):
    """A row has its own clip, time and noise, whoever trains on it."""
    data, settings = stage_of(folder).data, BatchSettings(4, cut=2, removed=0)
    whole = draw_batch(data, settings, 7, 3)
    for rank in range(2):
        state = type("State", (), {"num_processes": 2, "process_index": rank})
        monkeypatch.setattr("duet_av.av_models.training.pair_batch.processes", lambda state=state: state)
        part = draw_batch(data, BatchSettings(2, cut=1, removed=0), 7, 3)
        assert part.kinds == whole.kinds[rank::2] and torch.equal(part.t, whole.t[rank::2])
        for name in ("clean", "noise"):
            for stream in ("video", "audio"):
                assert torch.equal(getattr(getattr(part, name), stream), getattr(getattr(whole, name), stream)[rank::2])
        assert torch.equal(part.cond.audio.tokens, whole.cond.audio.tokens[rank::2])


def test_batches_depend_on_seed_and_step_and_negatives_have_no_prompts(folder):
    data, settings = stage_of(folder).data, BatchSettings(8, cut=2, removed=2, dropout=0.0)
    batches = [draw_batch(data, settings, *at) for at in ((7, 3), (7, 3), (7, 4), (8, 3))]
    assert torch.equal(batches[0].noise.video, batches[1].noise.video)
    assert not any(torch.equal(batches[0].noise.video, other.noise.video) for other in batches[2:])
    assert len(batches[0].t.unique()) == 8 == len(batches[0].noise.audio.flatten(1).unique(dim=0))  # each row has its own
    null = null_rows(coupled_rows(8, 2, 2), 3)
    empty = [bool((row == data.null.video.tokens[0]).all()) for row in batches[0].cond.video.tokens]
    assert empty == null.tolist() and sum(empty) == 2


class Exact:
    """Predicts ε − x_0, and keeps what it was asked."""

    def __init__(self, batch):
        self.batch = batch

    def predict(self, latent, t, cond, kinds):
        self.asked = latent, t, kinds
        return type(latent)(*(getattr(self.batch.noise, s) - getattr(self.batch.clean, s) for s in ("video", "audio")))


def test_the_objective_is_that_of_the_paper(folder):
    """x_t = (1 − t) x_0 + t ε with one t; the loss of an exact prediction of ε − x_0 is 0, L = L_v + λ_a L_a."""
    stage = stage_of(folder)
    batch = draw_batch(stage.data, BatchSettings(4, cut=1, removed=1), 1, 0)
    exact = Exact(batch)
    assert pair_loss(exact, batch, 0.5)[0] == 0
    latent, t, kinds = exact.asked
    assert torch.equal(t.video, batch.t) and torch.equal(t.audio, batch.t) and kinds == batch.kinds
    x0, e = batch.clean.audio, batch.noise.audio
    torch.testing.assert_close(latent.audio, (1 - batch.t.view(-1, 1, 1)) * x0 + batch.t.view(-1, 1, 1) * e)
    exact.batch = draw_batch(stage.data, BatchSettings(4, cut=1, removed=1), 1, 1)
    loss, parts = pair_loss(exact, batch, 0.5)
    rows = {name: 2 for name in ("video", "audio")}
    assert parts.keys() == {"loss", *rows, "video_cut", "audio_cut"}
    mean = {name: (parts[name] + parts[f"{name}_cut"]) / 2 for name in rows}
    assert loss.item() == pytest.approx(float(mean["video"] + 0.5 * mean["audio"]), rel=1e-5)


def test_a_given_first_frame_is_clean_at_time_0_and_has_no_weight(folder):
    stage = stage_of(folder)
    settings = BatchSettings(3, cut=1, removed=0, first_frame=1, modes=("frames", "renoised"))
    batch = draw_batch(stage.data, settings, 1, 0)
    exact = Exact(batch)
    assert pair_loss(exact, batch, 1.0)[0] == 0
    latent, t, _ = exact.asked
    assert torch.equal(latent.video[0, :, 0], batch.clean.video[0, :, 0]) and not torch.equal(latent.video[1], batch.clean.video[1])
    assert t.video[0, 0] == 0 and bool((t.video[0, 1:] == batch.t[0]).all()) and bool((t.video[1] == batch.t[1]).all())
    broken = draw_batch(stage.data, settings, 1, 0)
    broken.noise.video[0, :, 0] += 9
    exact.batch = broken
    assert pair_loss(exact, batch, 1.0)[0] == 0


def test_the_use_of_the_other_modality_is_0_without_attention_between_them(trained):
    model, worlds = load_joint_layers(trained["full"]), simulate(3, "val", 0)
    together = measure_use(model, worlds)
    assert all(abs(each["use"]) > 0 and each["interval"][0] <= each["use"] <= each["interval"][1] for each in together.values())
    predict = model.denoiser.predict
    model.denoiser.predict = lambda latent, t, cond, kinds: predict(latent, t, cond, [CouplingKind.CUT] * len(kinds))
    assert measure_use(model, worlds) == {stream: {"use": 0.0, "interval": [0.0, 0.0]} for stream in ("video", "audio")}


def test_exported_clips_are_a_folder_to_train_on(tmp_path):
    export_clips(tmp_path / "own", 3, seed=2)
    export_clips(tmp_path / "other", 3, seed=2, shuffled=True)
    own, other = (list_clips(tmp_path / name).files for name in ("own", "other"))
    assert [each.video_caption for each in own] == [each.video_caption for each in other]
    assert sorted(each.audio_caption for each in own) == sorted(each.audio_caption for each in other)
    assert all(a.audio_caption != b.audio_caption for a, b in zip(own, other))
    frames, wave = next(read_clips(own[0].path, AVShape.of_frames(32, 64, 64, 16, 16_000)))
    assert frames.shape == (32, 64, 64, 3) and bool(wave.any())


@pytest.mark.parametrize("stage, said", [
    ({"first_frame_rows": 1}, "first_frame_rows is 1, and this video expert takes no first frame; use 0"),
    ({"cut_rows": 5}, "cut_rows 5 and removed_rows 1 do not fit a batch of 4; use fewer"),
    ({"cut_rows": 0, "removed_rows": 4}, "removed_rows is 4, all rows of the batch, which train no joint layers; use fewer"),
    ({"joint_blocks": 9}, "joint_blocks is 9; use 1 to 4"),
    ({"parts": "most"}, "stage_config.parts is 'most'; give one of joint, lora, full"),
    ({"rope": "expand"}, "stage_config.rope is 'expand'; give one of avsync, vanilla"),
    ({"lora": {"rank": 0}}, "stage_config.lora.rank is 0; give a whole number from 1"),
])  # fmt: skip
def test_wrong_settings_are_one_line(folder, capsys, stage, said):
    assert main(["train", str(write(folder, "wrong", stage))]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line and line.startswith("duet: ")


@pytest.mark.parametrize("changes, said", [
    ({"data": {"cache": "cache"}}, "data.folder is missing; add it"),
    ({"audio_expert": None}, "audio_expert is missing; add it"),
    ({"video_expert": "nowhere.safetensors"}, "there is no model file"),
    ({"data": CONFIG["data"] | {"captions": "x.csv"}}, "there is no list of captions"),
    ({"data": {key: value for key, value in CONFIG["data"].items() if key != "audio_codec"}}, "data.audio_codec is missing"),
    ({"data": CONFIG["data"] | {"folder": "cache"}}, "has no video to train on"),
    ({"video_options": {"clip": "x"}}, "video_options has no clip; it has text_encoder, tokenizer, vae, low_noise"),
])  # fmt: skip
def test_missing_files_are_one_line(folder, capsys, changes, said):
    (folder / "cache").mkdir(exist_ok=True)
    assert main(["train", str(write(folder, "wrong", **changes))]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """ComfyUI's folder with a tiny Wan 2.2 TI2V-5B and TangoFlux, sounding videos, and the shipped config with small sizes."""
    folder = tmp_path_factory.mktemp("comfyui")
    wan_tangoflux.build(folder / "models", steps=8)
    (folder / "input" / "training").mkdir(parents=True)
    for number in range(3):
        write_clip(folder / "input" / "training" / f"{number}.mp4", 0.4, seed=number, caption="a red ball")
    config = (SHIPPED / "avfulldit_wan_tangoflux.toml").read_text()
    for old, new in {"steps = 7500": "steps = 2", "joint_blocks = 18": "joint_blocks = 2", "batch = 8": "batch = 4",
                     "frames = 49, height = 192, width = 320, fps = 24": "frames = 5, height = 32, width = 32, fps = 16",
                     "warmup = 200": "warmup = 1"}.items():  # fmt: skip
        assert old in config
        config = config.replace(old, new)
    (folder / "custom_nodes" / "duet-av" / "configs").mkdir(parents=True)
    path = folder / "custom_nodes" / "duet-av" / "configs" / "avfulldit_wan_tangoflux.toml"
    path.write_text(config)
    return path


@pytest.mark.parametrize("parts", ["lora", "full"])
def test_the_shipped_config_trains_tiny_wan_and_tangoflux(published, tmp_path, parts):
    path = published.with_name(f"{parts}.toml")
    path.write_text(published.read_text().replace('parts = "full"', f'parts = "{parts}"'))
    out = tmp_path / "out.safetensors"
    train_config(path, folder=tmp_path / "run", out=out)
    card = read_card(out)
    assert card["rope"] == "avsync" and card["experts"]["audio"]["source"] == "declare-lab/TangoFlux"
    models = published.parents[3] / "models"
    sources = {"video": ExpertSource(models / "diffusion_models" / "wan2.2_ti2v_5B_fp16.safetensors", ExpertOptions(
        text_encoder=models / "text_encoders" / "umt5_xxl_fp16.safetensors", vae=models / "vae" / "wan2.2_vae.safetensors")),
        "audio": ExpertSource(models / "duet" / "TangoFlux")}  # fmt: skip
    model = load_joint_layers(out, lambda entry: sources[entry["stream"]])
    clip = generate(model, "a ball", "metal", schedule=model.make_schedule(model.latent_shape(model.shape()), steps=1))
    assert clip.frames.shape == (5, 32, 32, 3) and bool(clip.waveform.isfinite().all())


def test_bfloat16_freezes_experts_in_it_and_trains_in_float32(published, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    path = published.with_name("half.toml")
    path.write_text(published.read_text().replace('parts = "full"', 'parts = "lora"'))
    stage = make_stage(read_config(path), path.parent, 2, tmp_path / "x.safetensors")
    dtypes = {p.requires_grad: {q.dtype for q in stage.model.parameters() if q.requires_grad == p.requires_grad}
              for p in stage.model.parameters()}  # fmt: skip
    assert dtypes[True] == {torch.float32} and torch.bfloat16 in dtypes[False]
    with precision(Schedule(1, 1.0, bf16=True), torch.device("cpu")):
        loss, _ = stage.loss(0)
    with patches(Schedule(1, 1.0, bf16=True), torch.device("cpu")):
        loss.backward()
    assert bool(loss.isfinite()) and all(p.grad is not None for n, p in stage.model.named_parameters() if n.startswith("new_heads"))


def test_two_processes_equal_one_with_ddp_and_with_fsdp(folder, tmp_path):
    """The same batch on two processes: the same weights, curve and optimizer up to rounding; a run resumes on two from one."""
    stage = {"batch": 4, "cut_rows": 2, "removed_rows": 0, "gradient_checkpointing": True}
    one = train_config(write(folder, "one", stage), folder=tmp_path / "one", out=tmp_path / "one.safetensors")
    path = write(folder, "two", stage | {"batch": 2, "cut_rows": 1})
    train_config(write(folder, "half", stage), folder=tmp_path / "fsdp", out=tmp_path / "x", steps=2)
    command = [sys.executable, "-m", "duet_av.tests.two_processes", str(path), str(tmp_path)]
    done = run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("ddp", "fsdp"):
        tensors, wanted = (load_checkpoint(each / STATE)[0] for each in (tmp_path / name, one))
        assert tensors.keys() == wanted.keys()
        for key in wanted:
            torch.testing.assert_close(tensors[key].float(), wanted[key].float(), rtol=1e-4, atol=2e-5, msg=f"{name} {key}")
        assert [float(x) for x in losses(tmp_path / name)] == pytest.approx([float(x) for x in losses(one)], rel=1e-4)
        out, whole = (load_checkpoint(tmp_path / f"{each}.safetensors")[0] for each in (name, "one"))
        assert out.keys() == whole.keys()
        for key in whole:
            torch.testing.assert_close(out[key], whole[key], rtol=1e-3, atol=1e-4)


def test_a_nan_loss_ends_the_run_and_keeps_its_state(folder, tmp_path, monkeypatch):
    path, objective = write(folder, "nan", {"parts": "joint"}), pair_stage.pair_loss
    seen = []

    def broken(*args, **kwargs):
        loss, parts = objective(*args, **kwargs)
        seen.append(loss)
        return (loss * float("nan") if len(seen) == 3 else loss), parts

    monkeypatch.setattr(pair_stage, "pair_loss", broken)
    with pytest.raises(ValueError, match="the loss of step 3 is NaN; .* smaller lr"):
        train_config(path)
    assert read_card(folder / "runs" / "nan" / STATE)["step"] == 2 and not (folder / "nan.safetensors").exists()


def test_a_result_that_cannot_be_written_is_refused_before_the_run(folder):
    (folder / "file").write_text("")
    with pytest.raises(OSError, match="cannot write .*file/out.safetensors; choose a folder"):
        train_config(write(folder, "nowhere", out="file/out.safetensors"))
    assert not (folder / "runs" / "nowhere").exists()
