"""Clips longer than one run: in ComfyUI-LTXVideo's looping sampler, in ComfyUI's context windows, and chunk by chunk."""

import os

import pytest

from duet_av.tests.comfyui.ltxvideo import LOOPING, link
from duet_av.tests.comfyui.scenes import Scene, check, second
from duet_av.tests.comfyui.server import NATIVE_PACK, is_named, named_by_environment
from duet_av.tests.comfyui.test_native import SETTINGS

SEPARATING = ("joint_cfg", "joint_cfg_star", "dual_cfg", "modality_cfg")


NODES = """
from .ltxvideo import looping_sampler
from .ltxvideo.nodes_registry import NODE_CLASS_MAPPINGS
"""


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A ComfyUI with the small models and LTXVideo's samplers of long clips."""
    if not os.environ.get("LTXVIDEO_PATH") or not is_named():
        pytest.skip("LTXVIDEO_PATH or COMFYUI_PATH is not set; give the folders of ComfyUI-LTXVideo and ComfyUI")
    pack = tmp_path_factory.mktemp("packs") / "looping"
    link(LOOPING, pack / "ltxvideo")
    (pack / "__init__.py").write_text(NODES)
    with named_by_environment(tmp_path_factory.mktemp("long"), packs=[NATIVE_PACK, pack]) as server:
        yield server


class Looping(Scene):
    """A video without audio, as LTXVideo's looping sampler demands it, in chunks of 4 latent frames that share 2."""

    def __init__(self) -> None:
        super().__init__("ltx2", frames=8)
        self.vae = self.add("TinyEncoder", kind="ltx2")

    def video(self, seed: int) -> list:
        """Anew for each run, because the sampler writes into what it is given."""
        return second(self.add("AVLatent", **self.graph[self.latent[0]]["inputs"] | {"video_seed": seed, "copy": len(self.graph)}))

    def looped(self, guider: list, **changes) -> list:
        noise = self.add("RandomNoise", noise_seed=4)
        sizes = {"temporal_tile_size": 32, "temporal_overlap": 16, "horizontal_tiles": 1, "vertical_tiles": 1, "spatial_overlap": 1}
        strengths = {"guiding_strength": 1.0, "temporal_overlap_cond_strength": 0.5, "cond_image_strength": 1.0}
        given = {"model": self.model, "vae": self.vae, "noise": noise, "sampler": self.sampler, "sigmas": self.sigmas}
        parts = given | {"guider": guider, "latents": self.video(-1), "adain_factor": 0.0} | sizes | strengths
        return self.add("LTXVLoopingSampler", **parts | changes)

    def theirs(self) -> list:
        guider = self.add("CFGGuider", model=self.model, **self.prompts, cfg=3.0)
        return self.add("KeepsPrompts", guider=guider, **self.prompts, copy=len(self.graph))

    def told(self, server) -> dict:
        """How far apart two videos without audio are, and their spread."""
        run = server.run(self.graph)
        assert run.succeeded, run.error
        return {name: [float(each) for each in text] for name, text in run.texts.items() if len(text) == 2}


def test_the_looping_sampler_with_cfg_is_that_of_the_host(long):
    scene = Looping()
    image = scene.add("EmptyImage", width=64, height=64, batch_size=2, color=0x3366FF)
    prompts = scene.add("MultiPromptProvider", prompts="rain|a dog|thunder", clip=scene.add("TinyTextEncoder", kind="ltx2"))
    ways = {
        "plain": {}, "tiles": {"horizontal_tiles": 2, "vertical_tiles": 1}, "prompts": {"optional_positive_conditionings": prompts},
        "images": {"optional_cond_images": image, "optional_cond_image_indices": "0,40"},
        "guides": {"guiding_start_step": 1, "guiding_end_step": 3},
        "same contrast": {"adain_factor": 0.5},
    }  # fmt: skip
    for name, changes in ways.items():
        ours, theirs = (
            scene.looped(guider, **changes | ({"optional_guiding_latents": scene.video(5)} if name == "guides" else {}))
            for guider in (scene.ours("cfg"), scene.theirs())
        )
        scene.compare(name, ours, theirs)
        scene.compare(f"{name} matters", theirs, scene.looped(scene.theirs()))
    found = scene.told(long)
    assert len(found) == 2 * len(ways)
    for name in ways:
        assert found[name][0] < 1e-4 and 0.1 < found[name][1] < 100, (name, found[name])
        assert (found[f"{name} matters"][0] > 1e-3) == (name != "plain"), (name, found)


def test_the_looping_sampler_runs_every_guidance_of_video_alone(long):
    scene, names = Looping(), [name for name in SETTINGS if name not in SEPARATING]
    worse = scene.add("TinyModel", kind="ltx2", seed=2)
    plain = scene.looped(scene.ours("none"))
    for name in names:
        changes = {"bad_model": worse} if name == "autoguidance" else {}
        scene.compare(name, scene.looped(scene.ours(name, **changes)), plain)
    for name, (apart, spread) in scene.told(long).items():
        assert 0.1 < spread < 100 and (apart > 1e-3) == (name != "none"), (name, apart, spread)


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_the_looping_sampler_draws_each_chunk_from_the_seed_of_the_video(long, sampler):
    """It gives the noise another seed for each chunk."""
    scene = Looping()
    scene.sampler = scene.add("KSamplerSelect", sampler_name=sampler)
    one, other, heard = (scene.add("DuetJointNoise", video_seed=v, audio_seed=a) for v, a in ((1, 2), (3, 2), (1, 4)))
    guider = scene.ours("cfg")
    looped = {name: scene.looped(guider, noise=noise) for name, noise in (("same", heard), ("other", other), ("again", one))}
    first = scene.looped(guider, noise=one)
    for name, each in looped.items():
        scene.compare(name, first, each)
    found = scene.told(long)
    assert found["same"][0] == found["again"][0] == 0 and found["other"][0] > 1e-3, found


def test_the_looping_sampler_has_no_audio(long):
    """LTXVideo's own limit, and what our guidance says of a video without audio."""
    scene = Looping()
    scene.compare("a", *2 * [scene.looped(scene.ours("cfg"), latents=scene.latent)])
    assert "currently does not support Audio Visual latents" in long.run(scene.graph).error
    scene = Looping()
    scene.compare("a", *2 * [scene.looped(scene.ours("joint_cfg"))])
    assert "separates video and audio, and the latent holds only video" in long.run(scene.graph).error


@pytest.mark.parametrize("name", ["cfg", "joint_cfg", "modality_cfg", "dual_cfg"])
def test_a_run_in_parts_that_are_normalized_between(long, name):
    """LTXVideo's normalizing sampler runs a few steps at a time, and makes the audio quieter between them."""
    scene = Scene("ltx", steps=5)
    guider = scene.ours(name)
    theirs = scene.add("CFGGuider", model=scene.model, **scene.prompts, cfg=3.0) if name == "cfg" else scene.naive(guider)

    def normalized(guider: list) -> list:
        factors = {"video_normalization_factors": "1,1,1,1", "audio_normalization_factors": "1,0.25,1,0.5"}
        noise = scene.add("DuetJointNoise", video_seed=1, audio_seed=2)
        parts = {"noise": noise, "guider": guider, "sampler": scene.sampler, "sigmas": scene.sigmas, "latent_image": scene.latent}
        return scene.add("LTXVNormalizingSampler", **parts, **factors)

    scene.compare(f"naive {name}", normalized(guider), normalized(theirs))
    check(scene.run(long))


class Extended(Scene):
    """A clip of 17 frames and a next one of 25, whose first 9 frames are the last ones of the clip, with their audio."""

    overlap, frames = 9, {"length": 25, "width": 96, "height": 64, "batch_size": 1}  # at 25 a second, as LTX-2's audio latents

    def __init__(self) -> None:
        super().__init__("ltx2", frames=3, audio_frames=17)
        self.latent = self.add("EmptyLTXVLatentVideo", **self.frames | {"length": 17})
        self.vae, self.audio_vae = self.add("TinyVAE", kind="ltx", seed=3), self.add("TinyAudioVAE", kind="ltx", seed=4)
        self.latent = self.add("LTXVConcatAVLatent", video_latent=self.latent, audio_latent=self.silence(17))

    def silence(self, frames: int) -> list:
        sizes = {"frames_number": frames, "frame_rate": 25, "batch_size": 1}
        return self.add("LTXVEmptyLatentAudio", audio_vae=self.audio_vae, **sizes)

    def cut(self, audio: list, index: int, amount: int) -> list:
        return self.add("LatentCut", samples=audio, dim="y", index=index, amount=amount)

    def begun(self, clip: list) -> tuple[list, list, list]:
        """The latent of the next clip, with its beginning given and kept; the clip's frames; the audio that is kept."""
        parts = self.add("LTXVSeparateAVLatent", av_latent=clip)
        images = self.add("VAEDecode", samples=parts, vae=self.vae)
        last = self.add("ImageFromBatch", image=images, batch_index=17 - self.overlap, length=self.overlap)
        empty = self.add("EmptyLTXVLatentVideo", **self.frames)
        video = self.add("LTXVImgToVideoInplace", vae=self.vae, image=last, latent=empty, strength=1.0, bypass=False)
        tail = self.cut(second(parts), -self.overlap, self.overlap)
        kept = self.add("SetLatentNoiseMask", samples=tail, mask=self.add("SolidMask", value=0.0, width=16, height=self.overlap))
        both = self.add("LTXVConcatAVLatent", video_latent=video, audio_latent=self.silence(25))
        return self.add("LTXVConcatAVLatent", video_latent=both, audio_latent=kept), images, tail

    def joined(self, clip: list, images: list, following: list) -> tuple[list, list]:
        """Both clips as frames, and their audio, decoded at once: no seam."""
        first, parts = (self.add("LTXVSeparateAVLatent", av_latent=each) for each in (clip, following))
        more = self.add("VAEDecode", samples=parts, vae=self.vae)
        new = self.add("ImageFromBatch", image=more, batch_index=self.overlap, length=25 - self.overlap)
        audio = self.add("LatentConcat", samples1=second(first), samples2=self.cut(second(parts), self.overlap, 99), dim="y")
        decoded = self.add("LTXVAudioVAEDecode", samples=audio, audio_vae=self.audio_vae)
        return self.add("ImageBatch", image1=images, image2=new), decoded


def test_the_audio_of_the_overlap_is_kept_in_the_next_clip(long):
    scene = Extended()
    clips = [scene.sampled(scene.ours("joint_cfg"), audio_seed=seed) for seed in (2, 5)]
    begun, images, tail = scene.begun(clips[0])
    other, *_ = scene.begun(clips[1])
    for name in ("cfg", "joint_cfg", "modality_cfg", "dual_cfg", "none"):
        guider = scene.ours(name)
        following, differently = (scene.sampled(guider, latent_image=each, video_seed=3, audio_seed=4) for each in (begun, other))
        audio, heard = (second(scene.add("LTXVSeparateAVLatent", av_latent=each)) for each in (following, differently))
        scene.compare(f"{name} kept", scene.cut(audio, 0, scene.overlap), tail)
        scene.compare(f"{name} new", scene.cut(audio, scene.overlap, 99), scene.cut(heard, scene.overlap, 99))
    frames, sound = scene.joined(clips[0], images, following)
    scene.graph["length"] = {"class_type": "ClipLength", "inputs": {"images": frames, "audio": sound}}
    run = long.run(scene.graph)
    assert run.succeeded, run.error
    for name, text in run.texts.items():
        if name.endswith(("kept", "new")):
            apart, spread = map(float, text)
            assert (apart < 1e-5) == name.endswith("kept") and 0.01 < spread < 100, (name, apart, spread)
    frames, seconds = map(float, run.texts["length"])
    assert frames == 33 and abs(seconds - 33 / 25) < 0.1
