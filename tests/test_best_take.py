"""Best Take: how takes are ranked, what is sampled and decoded, and what is kept for the next run."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.metrics.sheet import FRAMES, TILE, shrink_frames
from duet_av.av_models.takes import FAULT, Ranking
from duet_av.nodes.best_take import AUDIO_SEED, BOTH_SEEDS, DuetBestTake
from duet_av.nodes.compare import DuetCompare
from duet_av.nodes.decode import DuetDecode
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.kept_clips import _runs
from duet_av.nodes.latents import unpack_latent
from duet_av.nodes.sockets import GuidanceInput
from duet_av.nodes.stand_in import Session, session
from duet_av.tests.test_agreement import Levels
from duet_av.tests.test_aligner_node import aligner
from duet_av.tests.test_compare import SETTINGS
from duet_av.tests.test_compare_reuse import Interrupted, with_mask
from duet_av.tests.test_nodes import latent_of, prompts_of
from duet_av.tests.tiny import tiny_model

STEPS = SETTINGS["steps"]
ALONE = GuidanceInput(make_guidance("none"))


class Taking:
    """A Best Take node that can be run again with changes. f1: of the takes, by audio seed."""

    def __init__(self, monkeypatch) -> None:
        self.model = tiny_model()
        self.inputs = SETTINGS | {
            "model": self.model, "prompts": prompts_of(self.model), "latent": latent_of(self.model), "guidance": ALONE, "takes": 3,
            "vary": AUDIO_SEED,
        }  # fmt: skip
        self.decoded: list[str] = []
        for name in ("decode_video", "decode_audio"):
            monkeypatch.setattr(type(self.model), name, self.counted(getattr(type(self.model), name), name))

    def counted(self, decode, name):
        def counting(*args, **kwargs):
            self.decoded.append(name)
            return decode(*args, **kwargs)

        return counting

    def run(self, interrupt_after: int | None = None, node: str = "1", **changes):
        """Runs the node. self.made: how many takes it has sampled. self.decoded: what it has decoded."""
        self.inputs |= changes
        steps, self.decoded[:] = [], []

        def on_progress(value: float, total: float) -> None:
            steps.append(total)
            if len(steps) == interrupt_after:
                raise Interrupted

        token = session.set(Session(on_progress=on_progress))
        try:
            return DuetBestTake.clone_for_run({"unique_id": node}).execute(**self.inputs)
        finally:
            session.reset(token)
            self.made = len(steps) // STEPS


@pytest.fixture
def node(monkeypatch):
    return Taking(monkeypatch)


@pytest.fixture
def f1(monkeypatch):
    """Sync F1 of the takes, in the order in which they are measured; the last one for all that follow."""
    from duet_av.av_models.metrics import score

    wanted, real = [], score.score_clip

    def scored(*args, **kwargs):
        found = real(*args, **kwargs)
        value = wanted.pop(0) if len(wanted) > 1 else wanted[0]
        return replace(found, sync=SimpleNamespace(f1=value, chance=0.5, seen=[], heard=[], matching=found.sync.matching,
                                                   tolerance=0.1, offset_ms=None, lag=None, advice_ms=None))  # fmt: skip

    def facts(self):
        return {"f1": self.sync.f1, "chance": self.sync.chance}

    monkeypatch.setattr(score, "score_clip", scored)
    monkeypatch.setattr(score.Score, "_sync_facts", facts)
    return wanted


def sampled(node, video_seed, audio_seed):
    seeds = {"video_seed": video_seed, "audio_seed": audio_seed}
    inputs = {name: node.inputs[name] for name in ("model", "prompts", "latent", "guidance")}
    return DuetJointSampler.clone_for_run({"unique_id": "9"}).execute(**inputs, **SETTINGS | seeds).args[0]


def takes(output):
    return [row["take"] for row in output.shown["duet"][0]["takes"]]


def score(f1=None, faults=(), silent=False, broken=0, alike=None):
    sound = SimpleNamespace(warnings=lambda: list(faults), silent=silent, broken=broken)
    agreement = None if alike is None else SimpleNamespace(mean=lambda pair: alike if pair == "video_audio" else None)
    return SimpleNamespace(sync=SimpleNamespace(f1=f1), sound=sound, agreement=agreement, motion=SimpleNamespace(broken=0))


class TestRanking:
    def test_points(self):
        assert Ranking().points(score(0.5, alike=0.25)) == 0.75
        assert Ranking(sync=2, agreement=4).points(score(0.5, alike=0.25)) == 2.0
        assert Ranking().points(score(0.5, faults=["a", "b"])) == pytest.approx(0.5 - 2 * FAULT)
        assert Ranking().points(score()) == 0

    def test_order(self):
        assert Ranking().order([score(0.2), score(0.9), score(0.5)]) == [1, 2, 0]
        assert Ranking().order([score(0.2, alike=0.9), score(0.9, alike=0.1)]) == [0, 1]
        assert Ranking(agreement=0).order([score(0.2, alike=0.9), score(0.9, alike=0.1)]) == [1, 0]

    def test_equal_takes_stay_in_order(self):
        assert Ranking().order([score(0.5)] * 4) == [0, 1, 2, 3]

    @pytest.mark.parametrize("fault", [{"silent": True}, {"broken": 3}])
    def test_unusable_takes_are_last(self, fault):
        assert Ranking().order([score(1.0, **fault), score(0.0, faults=["clipped"])]) == [1, 0]
        mute = score(1.0)
        mute.sound = None
        black = score(1.0)
        black.motion.broken = 1
        assert Ranking().order([mute, black, score(0.0)]) == [2, 1, 0]

    def test_the_rule_is_said(self):
        assert Ranking(1, 0.5).describe(True).startswith("score: sync F1 × 1 + agreement × 0.5 − 0.1 per fault of the audio; ")
        assert "agreement" not in Ranking().describe(False)


class TestTakes:
    def test_the_best_take_is_what_the_sampler_makes_with_its_seeds(self, node, f1):
        f1[:] = [0.3, 0.9, 0.6]
        latent, images, audio, fps, table, sheet, seed = (output := node.run()).args
        same = sampled(node, 1, 3)
        for made, wanted in zip(latent["samples"].unbind(), same["samples"].unbind()):
            assert torch.equal(made, wanted)
        shown, heard, rate = DuetDecode.execute(node.model, same).args
        assert torch.equal(images, shown) and torch.equal(audio["waveform"], heard["waveform"]) and fps == rate
        assert seed == 3 and takes(output) == [2, 3, 1] and latent["duet_shape"] == same["duet_shape"]
        assert "take 2 goes on: video seed 1, audio seed 3" in table and table.splitlines()[1].split()[:3] == ["2", "1", "3"]
        assert sheet.shape == (1, 3 * (TILE + 84), FRAMES * TILE, 3) and node.made == 3
        json.dumps(output.shown, allow_nan=False)

    def test_whole_takes_raise_both_seeds_and_the_largest_is_followed_by_zero(self, node, f1):
        f1[:] = [0.1, 0.9]
        output = node.run(takes=2, vary=BOTH_SEEDS, audio_seed=2**64 - 1)
        assert torch.equal(unpack_latent(output.args[0]).video, unpack_latent(sampled(node, 2, 0)).video)
        assert output.args[6] == 0

    def test_without_differences_the_lower_seed_goes_on(self, node, f1):
        f1[:] = [0.5]
        assert takes(node.run()) == [1, 2, 3]

    def test_a_kept_video_is_decoded_once(self, node):
        output = node.run(latent=with_mask(latent_of(node.model), 0.0))
        assert node.decoded.count("decode_video") == 1 and node.decoded.count("decode_audio") == 3 == node.made
        assert torch.equal(output.args[1], DuetDecode.execute(node.model, output.args[0]).args[0])

    @pytest.mark.parametrize("change, decoded", [(1e-7, 1), (1e-3, 3)])
    def test_a_video_that_is_kept_but_for_rounding_is_decoded_once(self, node, monkeypatch, change, decoded):
        from duet_av.nodes import best_take

        sample = best_take.sample_latent
        changes = iter((0.0, change, 2 * change))

        def rounded(*args):
            result = sample(*args)
            latent = AVLatent(result.latent.video * (1 + next(changes)), result.latent.audio)
            return replace(result, latent=latent)

        monkeypatch.setattr(best_take, "sample_latent", rounded)
        latent = with_mask(latent_of(node.model), 0.0)
        unpack_latent(latent).video.add_(1)
        node.run(latent=latent)
        assert node.decoded.count("decode_video") == decoded

    def test_nothing_is_sampled_or_decoded_twice(self, node, f1):
        f1[:] = [0.3, 0.9, 0.6, 0.95, 0.1]
        first = node.run()
        assert node.decoded.count("decode_video") == node.decoded.count("decode_audio") == 3
        again = node.run(prompts=prompts_of(node.model), latent=latent_of(node.model))
        assert node.made == 0 == len(node.decoded) and "3 of 3 takes are from the last run" in again.args[4]
        assert torch.equal(first.args[1], again.args[1]) and takes(again) == [2, 3, 1]
        more = node.run(takes=5)
        assert node.made == 2 and len(node.decoded) == 4 and takes(more) == [4, 2, 3, 1, 5]

    def test_the_frames_of_the_best_take_alone_are_kept(self, node, f1):
        f1[:] = [0.3, 0.9, 0.6]
        node.run()
        (kept,) = [runs["1"] for runs in _runs.values() if "1" in runs]
        frames = [take.measured.frames is not None for take in kept.values()]
        assert frames == [False, True, False] and all(take.measured.shown.shape[1] <= TILE for take in kept.values())

    def test_other_weights_decode_the_new_best_take_only(self, node, f1):
        f1[:] = [0.3, 0.9, 0.6]
        node.run()
        output = node.run(sync_weight=0.0)
        assert takes(output) == [1, 2, 3] and node.made == 0 and node.decoded == ["decode_video"]
        assert torch.equal(output.args[1], DuetDecode.execute(node.model, output.args[0]).args[0])

    def test_what_was_done_is_kept_when_the_run_is_cancelled(self, node, f1):
        f1[:] = [0.3, 0.9, 0.6]
        with pytest.raises(Interrupted):
            node.run(interrupt_after=2 * STEPS + 1)
        assert len(node.decoded) == 4
        output = node.run()
        assert node.made == 1 and len(node.decoded) == 2 and takes(output) == [2, 3, 1]
        assert "2 of 3 takes are from the last run" in output.args[4]

    def test_a_take_that_was_cancelled_while_it_was_measured_is_not_sampled_again(self, node, monkeypatch):
        def cancel():
            raise Interrupted

        with monkeypatch.context() as patched:
            patched.setattr("duet_av.nodes.takes.check_interrupt", cancel)
            with pytest.raises(Interrupted):
                node.run()
        node.run()
        assert node.made == 2

    @pytest.mark.parametrize(
        "changes", [{"steps": 3}, {"video_seed": 7}, {"guidance": GuidanceInput(make_guidance("cfg"))}], ids=str
    )
    def test_what_changes_the_takes_makes_them_anew(self, node, changes):
        node.run(takes=2)
        node.run(**changes)
        assert node.made >= 2 and len(node.decoded) == 4

    def test_another_aligner_makes_them_anew(self, node):
        one = aligner("joint").args[0]
        node.run(takes=1, aligner=one)
        node.run(aligner=aligner("joint").args[0])
        assert node.made == 0
        node.run(aligner=aligner("joint", audio_rate=0.1).args[0])
        assert node.made == 1
        node.run(aligner=None)
        assert node.made == 1

    def test_a_comparison_with_the_same_number_keeps_clips_of_its_own(self, node):
        node.run(takes=1)
        inputs = {name: node.inputs[name] for name in ("model", "prompts", "latent")}
        cells = {"guidance0": ALONE, "guidance1": GuidanceInput(make_guidance("cfg"))}
        DuetCompare.clone_for_run({"unique_id": "1"}).execute(**inputs, guidances=cells, **SETTINGS)
        node.run()
        assert node.made == 1

    def test_a_silent_take_does_not_go_on(self, node, monkeypatch):
        decode, calls = type(node.model).decode_audio, []

        def silent_at_first(*args):
            calls.append(None)
            return decode(*args) * (len(calls) > 1)

        monkeypatch.setattr(type(node.model), "decode_audio", silent_at_first)
        output = node.run(takes=2)
        assert takes(output) == [2, 1] and "take 1: the audio is silent" in output.shown["duet"][0]["warnings"]

    def test_broken_audio_can_be_drawn(self, node, monkeypatch):
        decode = type(node.model).decode_audio
        monkeypatch.setattr(type(node.model), "decode_audio", lambda *args: decode(*args) * math.nan)
        output = node.run(takes=1)
        json.dumps(output.shown, allow_nan=False)

    def test_a_batch_is_one_line(self, node):
        with pytest.raises(ValueError, match="^latent holds 2 clips; use a batch of 1$"):
            node.run(latent=latent_of(node.model, batch=2))


class TestBinder:
    @pytest.fixture
    def binder(self, monkeypatch, f1):
        made, f1[:] = Levels(), [0.5]
        monkeypatch.setattr("duet_av.nodes.model_cache.load_binder", lambda name: made)
        monkeypatch.setattr("duet_av.nodes.model_cache.fingerprint", lambda name: (name,))
        monkeypatch.setattr("duet_av.nodes.takes.on_device", lambda *models: None)
        made.modalities = frozenset({"video", "image", "audio"})
        return made

    def test_takes_are_scored_by_what_they_agree_with(self, node, binder, monkeypatch):
        values = [0.9, 0.1, 0.5]
        monkeypatch.setattr(binder, "embed_audio", lambda wave, rate: torch.tensor([[values.pop(0), 0.0]]), raising=False)
        monkeypatch.setattr(binder, "embed_video", lambda frames, fps: torch.tensor([[1.0, 0.0]]), raising=False)
        output = node.run(binder="Levels")
        assert takes(output) == [1, 3, 2] and output.args[4].splitlines()[1].split()[3:7] == ["1.30", "0.50", "0.50", "0.90"]
        assert "for tests only" in output.args[4] and "agreement × 1" in output.args[4]
        assert takes(node.run(agreement_weight=0.0)) == [1, 2, 3] and node.made == 0 and not values

    def test_another_binder_measures_the_same_takes(self, node, binder):
        node.run(binder="Levels")
        heard = len(binder.heard)
        node.run(binder="Other")
        assert node.made == 0 and "decode_audio" not in node.decoded and len(binder.heard) == 2 * heard
        node.run(binder="none")
        assert node.made == 0

    def test_a_missing_binder_is_one_line_before_the_run(self):
        assert "gone" in DuetBestTake.validate_inputs("gone.safetensors") and DuetBestTake.validate_inputs() is True


class TestSheet:
    def test_frames_are_reduced_as_a_whole(self):
        wide = torch.zeros(40, 90, 160, 3)
        wide[..., :80, :] = 1.0
        small = shrink_frames(wide)
        assert small.shape == (FRAMES, TILE, TILE, 3) and small[0, 40, 39, 0] == 1 and small[0, 40, 40, 0] == 0
        assert not small[:, :17].any() and small[:, 18].any()
        assert shrink_frames(torch.ones(2, 16, 16, 3)).shape == (FRAMES, 16, 16, 3)
