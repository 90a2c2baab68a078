"""What Compare Guidances takes from its last run, and what it samples again."""

import gc
import time
from dataclasses import replace
from fractions import Fraction
from weakref import ref

import pytest
import torch

from duet_av.av_models.guidance import Curve, make_guidance
from duet_av.nodes.compare import DuetCompare
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.kept_clips import MAX_NODES, clip_keys
from duet_av.nodes.latents import unpack_latent
from duet_av.nodes.run_sampler import Settings
from duet_av.nodes.sockets import GuidanceInput
from duet_av.nodes.stand_in import Session, session
from duet_av.nodes.stand_in.nested import NestedTensor
from duet_av.tests.test_compare import SETTINGS, THREE
from duet_av.tests.test_nodes import latent_of, prompts_of
from duet_av.tests.tiny import tiny_model

STEPS = SETTINGS["steps"]
SLOW = {"size": "custom", "width": 16, "height": 16, "fps": 8.0}


class Interrupted(BaseException):
    pass


class Comparing:
    """A Compare node that can be run again with changes."""

    def __init__(self, node: str = "1") -> None:
        self.node = node
        self.model = tiny_model()
        self.inputs = SETTINGS | {
            "model": self.model, "prompts": prompts_of(self.model), "latent": latent_of(self.model), "guidances": THREE,
        }  # fmt: skip

    def run(self, interrupt_after: int | None = None, **changes):
        """Runs the node; `self.made` is the number of clips that it sampled."""
        self.inputs |= changes
        steps = []

        def on_progress(value: float, total: float) -> None:
            steps.append(total)
            if len(steps) == interrupt_after:
                raise Interrupted

        token = session.set(Session(on_progress=on_progress))
        try:
            named = {f"guidance{i}": each for i, each in enumerate(self.inputs["guidances"])}
            output = DuetCompare.clone_for_run({"unique_id": self.node}).execute(**self.inputs | {"guidances": named})
        finally:
            session.reset(token)
            self.made = len(steps) // self.inputs["steps"]
        assert all(total == len(steps) for total in steps)
        return output

    def fresh(self):
        """Returns the variants of a node that never ran."""
        return torch_copy(self.run_as(f"fresh {self.node}").args[0].variants)

    def run_as(self, node: str):
        other = Comparing(node)
        other.inputs = self.inputs
        return other.run()


def torch_copy(variants):
    return [(each.label, each.frames.clone(), each.waveform.clone()) for each in variants]


def assert_same(found, wanted):
    assert [each.label for each in found] == [label for label, _, _ in wanted]
    for each, (_, frames, waveform) in zip(found, wanted):
        assert torch.equal(each.frames, frames) and torch.equal(each.waveform, waveform)


def with_mask(latent, video=1.0):
    streams = unpack_latent(latent)
    masks = torch.full_like(streams.video[:, :1], video), torch.ones_like(streams.audio[:, :1])
    return latent | {"noise_mask": NestedTensor(masks)}


def test_nothing_is_made_again_when_upstream_made_equal_values_anew():
    node = Comparing()
    first = node.run()
    assert node.made == 3 and "last run" not in first.args[1]
    again = node.run(prompts=prompts_of(node.model), latent=latent_of(node.model), guidances=list(THREE))
    assert node.made == 0
    assert_same(again.args[0].variants, torch_copy(first.args[0].variants))
    labels = "none, cfg audio_scale 3, cfg audio_scale 6"
    assert again.shown["text"][-1] == f"3 of 3 cells are from the last run, with the seconds measured then: {labels}"
    seconds = [[cell["seconds"] for cell in output.shown["duet"][0]["cells"]] for output in (first, again)]
    assert seconds[0] == seconds[1]


@pytest.mark.parametrize(
    "guidances, made",
    [
        ([*THREE, GuidanceInput(make_guidance("joint_cfg"))], 1),
        (THREE[:2], 0),
        (THREE[::-1], 0),
        ([THREE[0], THREE[1], GuidanceInput(replace(THREE[2].strategy, rescale=0.5))], 1),
        ([THREE[0], THREE[1], GuidanceInput(replace(THREE[2].strategy, interval_low=0.6))], 1),
        ([THREE[0], THREE[1], GuidanceInput(replace(THREE[2].strategy, a_to_v=0.5))], 1),
        ([THREE[0], THREE[1], GuidanceInput(replace(THREE[2].strategy, scale_curve=Curve(((0, 1), (1, 0)))))], 1),
        ([THREE[0], THREE[0], THREE[0]], 0),
    ],
    ids=["added", "removed", "reordered", "rescale", "interval", "strength", "curve", "repeated"],
)
def test_only_the_cells_of_changed_guidances_are_made(guidances, made):
    node = Comparing()
    node.run()
    output = node.run(guidances=guidances)
    assert node.made == made
    assert_same(output.args[0].variants, node.fresh())
    kept = f"{len(guidances) - made} of {len(guidances)} cells are from the last run"
    assert output.shown["text"][-1].startswith(kept)


@pytest.mark.parametrize(
    "changes",
    [{"video_seed": 9}, {"audio_seed": 9}, {"steps": 3}, {"shift": 2.0}, {"eta": 1.0}, {"audio_shift": 0.5},
     {"batch_branches": False}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_every_setting_makes_all_cells_anew(changes):
    node = Comparing()
    node.run()
    output = node.run(**changes)
    assert node.made == 3 and "last run" not in output.args[1]
    assert_same(output.args[0].variants, node.fresh())


def change_weights(node, part):
    with torch.no_grad():
        next(getattr(node.model, part).parameters()).add_(0.5)
    return {}


def change_mask_in_place(node):
    node.inputs["latent"]["noise_mask"].unbind()[0].zero_()
    return {}


def change_latent_in_place(node):
    unpack_latent(node.inputs["latent"]).video.add_(1)
    return {}


def change_attribute(node):
    node.model.denoiser.cross = False
    return {}


def other_frame_rate(node):
    """The same latent, said to be of another frame rate."""
    latent = latent_of(node.model)
    shape = latent["duet_shape"]
    return {"latent": with_mask(latent, 0.0) | {"duet_shape": replace(shape, video=replace(shape.video, fps=Fraction(17)))}}


CHANGES = {
    "words": lambda node: {"prompts": prompts_of(node.model, "a red metal ball")},
    "negative": lambda node: {"prompts": replace(node.inputs["prompts"], words=(node.inputs["prompts"].words[0], ("red", "")))},
    "encoded": lambda node: {"prompts": replace(node.inputs["prompts"], encoded=node.inputs["prompts"].encoded[::-1])},
    "encoder": lambda node: {"prompts": replace(node.inputs["prompts"], encoder=None)},
    "picture": lambda node: {"prompts": replace(node.inputs["prompts"], picture=torch.rand(4, 4, 3))},
    "longer": lambda node: {"latent": latent_of(node.model, 1.0)},
    "frame rate": lambda node: {"latent": latent_of(node.model, 0.5, size=SLOW)},
    "shape": other_frame_rate,
    "latent in place": change_latent_in_place,
    "other mask": lambda node: {"latent": with_mask(latent_of(node.model))},
    "mask in place": change_mask_in_place,
    "denoiser": lambda node: change_weights(node, "denoiser"),
    "conditioner": lambda node: change_weights(node, "conditioner"),
    "attribute": change_attribute,
    "card": lambda node: node.model.card.update(trained=False) or {},
    "another model": lambda node: {"model": (other := tiny_model()), "prompts": prompts_of(other)},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_everything_else_that_a_clip_depends_on_makes_all_cells_anew(change):
    node = Comparing()
    node.run(latent=with_mask(latent_of(node.model), 0.0))
    if change is change_mask_in_place:
        node.run(latent=with_mask(latent_of(node.model), 1.0))
    changes = change(node)
    output = node.run(**changes)
    assert node.made == 3 and "last run" not in output.args[1]
    assert_same(output.args[0].variants, node.fresh())


def test_the_bad_model_counts_for_its_own_cell_only():
    node, bad = Comparing(), tiny_model()
    guidances = [THREE[0], GuidanceInput(make_guidance("autoguidance"), bad)]
    node.run(guidances=guidances)
    node.run()
    assert node.made == 0
    with torch.no_grad():
        next(bad.denoiser.parameters()).add_(0.5)
    node.run()
    assert node.made == 1
    node.run(guidances=[THREE[0], GuidanceInput(make_guidance("autoguidance"), tiny_model())])
    assert node.made == 1


def test_keys_tell_devices_apart():
    node = Comparing()
    arguments = [node.inputs[name] for name in ("prompts", "latent", "guidances")]
    keys = [clip_keys(model, *arguments, [Settings(1, 2, 2, 1.0, True)]) for model in (node.model, node.model)]
    assert keys[0] == keys[1] and all("cpu" in key[0][0] for own in keys[0] for key in own)


def test_only_the_last_run_is_kept():
    node = Comparing()
    node.run()
    node.run(video_seed=9)
    node.run(video_seed=1)
    assert node.made == 3


def test_two_nodes_of_one_model_do_not_take_from_each_other():
    node, other = Comparing("1"), Comparing("2")
    other.inputs = node.inputs
    node.run()
    other.run()
    assert other.made == 3
    node.run()
    assert node.made == 0


def test_the_nodes_that_are_kept_are_few():
    node = Comparing()
    node.run()
    for number in range(MAX_NODES):
        node.run_as(f"other {number}")
    node.run()
    assert node.made == 3


def test_clips_are_freed_with_the_model_and_keep_no_model_alive():
    node, bad = Comparing(), tiny_model()
    frames = ref(node.run(guidances=[THREE[0], GuidanceInput(make_guidance("autoguidance"), bad)]).args[0].variants[0].frames)
    networks, bad_networks = ref(node.model.networks), ref(bad.networks)
    node.inputs = {}
    del bad
    gc.collect()
    assert bad_networks() is None and frames() is not None
    del node
    gc.collect()
    assert networks() is None and frames() is None


def test_the_finished_cells_of_an_interrupted_run_are_kept():
    node = Comparing()
    with pytest.raises(Interrupted):
        node.run(interrupt_after=2 * STEPS + 1)
    output = node.run()
    assert node.made == 1 and output.shown["text"][-1].startswith("2 of 3 cells are from the last run")
    assert_same(output.args[0].variants, node.fresh())


def test_an_interrupted_run_keeps_what_it_would_have_taken():
    node = Comparing()
    node.run()
    changed = [THREE[0], GuidanceInput(make_guidance("joint_cfg")), THREE[2]]
    with pytest.raises(Interrupted):
        node.run(interrupt_after=1, guidances=changed)
    node.run()
    assert node.made == 1


# Warm-up


def counted(node):
    """Returns the rows of each network call, and the output."""
    node.model.denoiser.calls.clear()
    output = node.run()
    return node.model.denoiser.calls, output


def test_one_step_comes_before_the_first_cell():
    node = Comparing()
    node.inputs["guidances"] = THREE[1:]
    assert counted(node)[0] == [2] + 2 * STEPS * [2]
    assert counted(node)[0] == []  # nothing to sample: nothing to warm up


def test_the_warm_up_calls_the_network_even_if_the_guidance_skips_steps():
    node = Comparing()
    node.inputs |= {"guidances": [GuidanceInput(make_guidance("cfg_zero_star", zero_steps=1)), THREE[0]], "steps": 4}
    assert counted(node)[0] == [2] + 3 * [2] + 4 * [1]


def test_what_the_first_call_costs_is_not_in_the_seconds():
    node = Comparing()
    count = node.model.denoiser.count

    def slow_at_first(latent) -> None:
        if not node.model.denoiser.calls:
            time.sleep(1)
        count(latent)

    node.model.denoiser.count = slow_at_first
    assert all(cell["seconds"] < 0.9 for cell in counted(node)[1].shown["duet"][0]["cells"])


# Several seeds


def sampled(node, guidance, seed: int):
    settings = SETTINGS | {"video_seed": 1 + seed, "audio_seed": 2 + seed}
    sampler = DuetJointSampler.clone_for_run({"unique_id": "9"})
    latent = sampler.execute(node.model, node.inputs["prompts"], node.inputs["latent"], guidance, **settings).args[0]
    return node.model.decode(unpack_latent(latent), latent["duet_shape"])


def test_a_cell_of_several_seeds_shows_its_first_clip_and_the_means():
    from duet_av.av_models.metrics.score import score_clip

    node = Comparing()
    output = node.run(seeds=3)
    assert node.made == 9
    for variant, guidance in zip(output.args[0].variants, THREE):
        clips = [sampled(node, guidance, seed) for seed in range(3)]
        assert torch.equal(variant.frames, clips[0][0][0]) and torch.equal(variant.waveform, clips[0][1][0])
        assert [clip.frames is None and clip.waveform is None for clip in variant.clips] == [False, True, True]
        motion = [score_clip(frames[0], 16.0, waveform[0], 8000).motion.mean for frames, waveform in clips]
        assert variant.facts()["motion"] == pytest.approx(100 * sum(motion) / 3) and variant.facts()["clips"] == 3
    assert "means of 3 clips each; in brackets: 95 % intervals" in output.shown["text"]


def test_more_seeds_make_only_the_new_clips():
    node = Comparing()
    first = node.run(seeds=2)
    more = node.run(seeds=4)
    assert node.made == 6
    assert more.shown["text"][-1] == "6 of 12 clips are from the last run, with the seconds measured then"
    assert_same(more.args[0].variants, torch_copy(first.args[0].variants))
    node.run(seeds=1)
    assert node.made == 0


def test_seeds_that_move_by_one_make_the_new_clips_and_those_that_are_shown():
    node = Comparing()
    node.run(seeds=3)
    output = node.run(video_seed=2, audio_seed=3)
    assert node.made == 6
    assert_same(output.args[0].variants, node.fresh())


def test_the_largest_seed_is_followed_by_zero():
    node = Comparing()
    node.run(video_seed=2**64 - 1, seeds=2)
    assert node.made == 6
