"""Graphs in which several guiders sample one small joint model in the same surroundings, and how far apart their results are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import guidance

Link = list[Any]
SCALES = {"video": 3.0, "audio": 3.0}


class Apart(NamedTuple):
    """The largest difference of two latents' videos and audios, and the spread of the first."""

    video: float
    audio: float
    spread: tuple[float, ...]

    @property
    def largest(self) -> float:
        return max(self.video, self.audio)


def second(link: Link) -> Link:
    return [link[0], 1]


def third(link: Link) -> Link:
    return [link[0], 2]


class Scene:
    """A graph around a model of `kind`. Change `model`, `yes`, `no`, `latent` and `finish` before sampling."""

    def __init__(self, kind: str = "ltx", steps: int = 4, words: tuple[int, int] = (6, 6), dtype: str = "float32", **latent: Any):
        self.kind, self.graph = kind, {}
        self.model = self.plain = self.add("TinyModel", kind=kind, seed=1, dtype=dtype)
        self.yes, self.no = (self.add("TinyPrompt", kind=kind, seed=11 + i, words=words[i]) for i in range(2))
        empty = {"video_seed": -1, "audio_seed": -1, "video_mask": "", "audio_mask": "", "batch": 1, "frames": 0, "audio_frames": 0}
        self.latent = self.add("AVLatent", kind=kind, **empty | latent)
        self.sampler = self.add("KSamplerSelect", sampler_name="euler")
        self.sigmas = self.add("BasicScheduler", model=self.plain, scheduler="simple", steps=steps, denoise=1.0)
        self.before = self.model, self.yes, self.no
        self.finish: Callable[[Link], Link] = lambda latent: latent

    def add(self, class_type: str, **inputs: Any) -> Link:
        key = f"{len(self.graph)}_{class_type}"
        self.graph[key] = node(class_type, **inputs)
        return [key, 0]

    @property
    def prompts(self) -> dict[str, Link]:
        return {"positive": self.yes, "negative": self.no}

    def guidance(self, name: str, coupling: float = 1.0, **changes: Any) -> Link:
        """changes: inputs of Guidance, such as video_scale."""
        used = guidance(name, coupling)
        used["inputs"] |= {key if key in ("a_to_v", "v_to_a") else f"guidance.{key}": value for key, value in changes.items()}
        return self.add("DuetGuidance", **used["inputs"])

    def ours(self, name: str, coupling: float = 1.0, **changes: Any) -> Link:
        used = self.guidance(name, coupling, **changes)
        return self.add("DuetJointGuider", model=self.model, **self.prompts, guidance=used)

    def naive(self, guider: Link) -> Link:
        return self.add("NaiveGuider", guider=guider, model=self.model)

    def sampled(self, guider: Link, video_seed: int = 1, audio_seed: int = 2, **changes: Link) -> Link:
        noise = self.add("DuetJointNoise", video_seed=video_seed, audio_seed=audio_seed)
        given = {"sampler": self.sampler, "sigmas": self.sigmas, "latent_image": self.latent} | changes
        return self.finish(self.add("SamplerCustomAdvanced", guider=guider, **{"noise": noise} | given))

    def compare(self, name: str, a: Link, b: Link) -> None:
        assert name not in self.graph
        self.graph[name] = node("HowFarApart", a=a, b=b)

    def run(self, server: Any) -> dict[str, Apart]:
        run = server.run(self.graph)
        assert run.succeeded, run.error
        told = {name: [float(each) for each in text] for name, text in run.texts.items() if name in self.graph and len(text) == 4}
        return {name: Apart(each[0], each[1], tuple(each[2:])) for name, each in told.items()}


def compare_with_core(scene: Scene) -> None:
    """CFG with one scale for both streams, with ComfyUI's guider; with two scales, with its guider for LTX."""
    theirs = scene.sampled(scene.add("CFGGuider", model=scene.model, **scene.prompts, cfg=3.0))
    scene.compare("cfg", scene.sampled(scene.ours("cfg")), theirs)
    if scene.kind == "h3":
        return
    theirs = scene.add("LTXVDualCFGGuider", model=scene.model, **scene.prompts, video_cfg=3.0, audio_cfg=5.0)
    scene.compare("dual", scene.sampled(scene.ours("cfg", audio_scale=5.0)), scene.sampled(theirs))


def compare_with_cores_modality(scene: Scene) -> None:
    """Only where no node around the model changes the prediction after guidance."""
    ranges = {"start_percent": 0.0, "end_percent": 1.0}
    skipping = scene.add("LTXVSpatioTemporalGuidance", model=scene.model, scale=1.0, blocks="1", **ranges)
    matched = scene.add("LTXVModalityGuidance", model=skipping, modality_scale=3.0, **ranges)
    theirs = scene.add("LTXVDualCFGGuider", model=matched, **scene.prompts, video_cfg=3.0, audio_cfg=3.0)
    scene.compare("modality", scene.sampled(scene.ours("modality_cfg")), scene.sampled(theirs))


def compare_with_naive(scene: Scene, weaker: bool = True) -> None:
    """Each branch alone, combined by the equations. weaker: with fractional coupling too."""
    guiders = {name: scene.ours(name) for name in ("joint_cfg", "dual_cfg", "modality_cfg", "stg")}
    if weaker:
        guiders |= {"half": scene.ours("none", a_to_v=0.5, v_to_a=0.3), "more": scene.ours("modality_cfg", a_to_v=1.2, v_to_a=0.4)}
    for name, guider in guiders.items():
        scene.compare(f"naive {name}", scene.sampled(guider), scene.sampled(scene.naive(guider)))


def compare_cut(scene: Scene) -> None:
    """Cut streams under other seeds of the other stream; and JointCFG, where a stream has weight only on its cut negative."""
    cut = scene.ours("none", coupling=0.0)
    first, audio, video = scene.sampled(cut), scene.sampled(cut, audio_seed=5), scene.sampled(cut, video_seed=7)
    scene.compare("cut, other audio", first, audio)
    scene.compare("cut, other video", first, video)
    guider = scene.ours("joint_cfg", video_scale=0.0, audio_scale=3.0)
    scene.compare("negative, other audio", scene.sampled(guider), scene.sampled(guider, audio_seed=5))
    guider = scene.ours("joint_cfg", video_scale=3.0, audio_scale=0.0)
    scene.compare("negative, other video", scene.sampled(guider), scene.sampled(guider, video_seed=7))
    guider = scene.ours("modality_cfg", video_scale=1.0, video_cross_scale=0.0, video_skip_scale=1.0)
    scene.compare("cut row among four, other audio", scene.sampled(guider), scene.sampled(guider, audio_seed=5))
    guider = scene.ours("joint_cfg", a_to_v=0.0)
    scene.compare("one way, other audio", scene.sampled(guider), scene.sampled(guider, audio_seed=5))
    guider = scene.ours("joint_cfg", v_to_a=0.0)
    scene.compare("other way, other video", scene.sampled(guider), scene.sampled(guider, video_seed=7))


def compare_guided_model(scene: Scene) -> None:
    """Guidance on the MODEL, before and after what the scene does to it, sampled with core's guider."""
    first = scene.sampled(scene.ours("joint_cfg"))
    guided = scene.add("DuetModelGuidance", model=scene.model, guidance=scene.guidance("joint_cfg"))
    scene.compare("guided model", first, scene.sampled(scene.add("CFGGuider", model=guided, **scene.prompts, cfg=7.0)))


def compare_effect(scene: Scene) -> None:
    """That what the scene does to the model and the prompts is of consequence."""
    now, guider = (scene.model, scene.yes, scene.no), scene.ours("cfg")
    scene.model, scene.yes, scene.no = scene.before
    plain = scene.ours("cfg")
    scene.model, scene.yes, scene.no = now
    scene.compare("effect", scene.sampled(guider), scene.sampled(plain))


def check(found: dict[str, Apart], tolerance: float = 1e-5, naive: float = 1e-4, moves: float = 1e-3, kept: str = "") -> None:
    """tolerance, naive: of equality. moves: what another seed changes at least. kept: the stream that no seed changes."""
    wrong = []
    for name, apart in found.items():
        *_, other = name.split(", other ")
        if ", other " in name:
            same, changed = (apart.video, apart.audio) if other == "audio" else (apart.audio, apart.video)
            wrong += [f"{name}: {same} in the stream that stays"] * (same != 0)
            wrong += [f"{name}: nothing changes"] * (changed < moves and other != kept)
        elif name == "effect":
            wrong += [f"{name}: {apart.largest}"] * (apart.largest < 1e-3)
        elif not apart.largest < (naive if name.startswith("naive") else tolerance):
            wrong.append(f"{name}: video {apart.video}, audio {apart.audio}")
        spreads = apart.spread
        wrong += [f"{name}: spread {spreads}"] * (not all(1e-3 < each < 100 for each in spreads))
    assert not wrong, "\n".join(wrong)
