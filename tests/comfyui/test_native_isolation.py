"""Our guidance on ComfyUI's own joint models among the nodes that users have: equal to its references, and isolated where cut."""

import pytest

from duet_av.tests.comfyui.scenes import (
    Scene,
    check,
    compare_cut,
    compare_effect,
    compare_guided_model,
    compare_with_core,
    compare_with_cores_modality,
    compare_with_naive,
    second,
    third,
)
from duet_av.tests.comfyui.test_native import KINDS


def check_all(native, scene: Scene, effect: bool = True, **limits) -> None:
    """effect: whether what the scene does to the model and the prompts changes the result."""
    if effect and (scene.model, scene.yes, scene.no) != scene.before:
        compare_effect(scene)
    compare_guided_model(scene)
    compare_with_core(scene)
    if scene.kind != "h3":
        compare_with_cores_modality(scene)
    compare_with_naive(scene)
    compare_cut(scene)
    check(scene.run(native), **limits)


@KINDS
def test_as_it_is(native, kind):
    check_all(native, Scene(kind))


def test_a_long_clip(native):
    """Its cut rows run apart."""
    check_all(native, Scene("ltx", frames=257, steps=2))


@KINDS
@pytest.mark.parametrize("video_mask, audio_mask", [("space", ""), ("time", ""), ("", "time"), ("space", "time"), ("time", "time")])
def test_masks(native, kind, video_mask, audio_mask):
    check_all(native, Scene(kind, video_seed=31, audio_seed=32, video_mask=video_mask, audio_mask=audio_mask))


@KINDS
@pytest.mark.parametrize("kept", ["video", "audio"])
def test_a_stream_that_is_kept_whole(native, kind, kept):
    check_all(native, Scene(kind, video_seed=31, audio_seed=32, **{f"{kept}_mask": "all"}), kept=kept)


@KINDS
def test_a_latent_that_is_not_empty_and_steps_that_begin_late(native, kind):
    scene = Scene(kind, video_seed=31, audio_seed=32)
    scene.sigmas = scene.add("BasicScheduler", model=scene.plain, scheduler="simple", steps=3, denoise=0.6)
    check_all(native, scene)


@pytest.mark.parametrize("batch", [2, 3])
def test_batches(native, batch):
    check_all(native, Scene("ltx", batch=batch, video_seed=31, audio_seed=32, video_mask="time"))


@KINDS
def test_prompts_of_different_lengths(native, kind):
    scene = Scene(kind, words=(6, 4))
    if kind == "ltx":  # core gives a call two rows for prompts of one length alone; ours may pad
        compare_with_naive(scene)
        compare_cut(scene)
        check(scene.run(native))
    else:
        check_all(native, scene)


@pytest.mark.parametrize("frame, strength", [(0, 1.0), (8, 0.7), (-1, 1.0)])
def test_guides_of_ltx(native, frame, strength):
    """Guide frames beside the video's, cropped afterwards. Below strength 1 they have an attention mask."""
    scene = Scene("ltx2")
    vae = scene.add("TinyEncoder", kind="ltx2")
    image = scene.add("EmptyImage", width=64, height=64, batch_size=1, color=0x3366FF)
    guided = scene.add(
        "LTXVAddGuide", **scene.prompts, vae=vae, latent=second(scene.latent), image=image, frame_idx=frame, strength=strength
    )
    scene.yes, scene.no = guided, second(guided)
    scene.latent = scene.add("LTXVConcatAVLatent", video_latent=third(guided), audio_latent=third(scene.latent))

    def crop(latent):
        parts = scene.add("LTXVSeparateAVLatent", av_latent=latent)
        cropped = scene.add("LTXVCropGuides", **scene.prompts, latent=parts)
        return scene.add("LTXVConcatAVLatent", video_latent=third(cropped), audio_latent=second(parts))

    scene.finish = crop
    check_all(native, scene)


def test_a_first_frame_of_ltx(native):
    scene = Scene("ltx2")
    vae = scene.add("TinyEncoder", kind="ltx2")
    image = scene.add("EmptyImage", width=64, height=64, batch_size=1, color=0x3366FF)
    given = scene.add("LTXVImgToVideoInplace", vae=vae, image=image, latent=second(scene.latent), strength=0.8, bypass=False)
    scene.latent = scene.add("LTXVConcatAVLatent", video_latent=given, audio_latent=third(scene.latent))
    check_all(native, scene)


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_reference_audio_of_ltx(native, scale):
    """At a scale other than 0 the node predicts once more, without the reference, after guidance."""
    scene = Scene("ltx")
    vae = scene.add("TinyEncoder", kind="ltx")
    sound = scene.add("EmptyAudio", duration=0.5, sample_rate=16000, channels=2)
    ranges = {"start_percent": 0.0, "end_percent": 1.0}
    given = scene.add(
        "LTXVReferenceAudio", model=scene.model, **scene.prompts, reference_audio=sound, audio_vae=vae,
        identity_guidance_scale=scale, **ranges,
    )  # fmt: skip
    scene.model, scene.yes, scene.no = given, second(given), third(given)
    compare_with_core(scene)
    compare_effect(scene)
    compare_with_naive(scene, weaker=scale == 0)  # whose node would predict with full coupling here
    if scale == 0:  # the node guides by the coupled prompt, which all strategies but a cut one have
        compare_cut(scene)
    else:
        cut = scene.ours("none", coupling=0.0)
        first = scene.sampled(cut)
        scene.compare("cut, other audio", first, scene.sampled(cut, audio_seed=5))
        scene.compare("cut, other video", first, scene.sampled(cut, video_seed=5))
    check(scene.run(native))


@pytest.mark.parametrize("what", ["image", "clip", "sound", "both"])
def test_guides_of_h3(native, what):
    scene = Scene("h3", frames=7, audio_frames=37)  # 22 frames of 24 a second
    parts = {"vae": scene.add("TinyEncoder", kind="h3"), "audio_vae": scene.add("TinyEncoder", kind="h3")}
    if what != "sound":
        frames = 5 if what == "clip" else 1
        parts["image"] = scene.add("EmptyImage", width=64, height=64, batch_size=frames, color=0x3366FF)
    if what in ("sound", "both"):
        parts["audio"] = scene.add("EmptyAudio", duration=0.5, sample_rate=16000, channels=2)
    scene.yes = scene.add("MiniMaxH3AddGuide", positive=scene.yes, latent=scene.latent, frame_idx=3, **parts)
    check_all(native, scene)


def test_first_and_last_frames_of_h3(native):
    scene = Scene("h3")
    parts = {"clip": scene.add("TinyTextEncoder", kind="h3"), "vae": scene.add("TinyEncoder", kind="h3"), "prompt": "a bell"}
    image = scene.add("EmptyImage", width=64, height=64, batch_size=1, color=0x3366FF)
    size = {"width": 64, "height": 64, "length": 22}
    scene.yes = scene.add("MiniMaxH3ImageToVideo", **parts, **size, first_frame=image, last_frame=image)
    scene.latent = second(scene.yes)
    check_all(native, scene)


def test_references_of_h3(native):
    scene = Scene("h3")
    vae = scene.add("TinyEncoder", kind="h3")
    parts = {"clip": scene.add("TinyTextEncoder", kind="h3"), "vae": vae, "audio_vae": vae, "prompt": "a bell"}
    image, clip = (scene.add("EmptyImage", width=64, height=64, batch_size=n, color=0x3366FF) for n in (1, 5))
    sound = scene.add("EmptyAudio", duration=0.5, sample_rate=16000, channels=2)
    references = {
        "ref_images.ref_image_0": image, "ref_videos.ref_video_0": clip, "ref_video_audios.ref_video_audio_0": sound,
        "ref_audios.ref_audio_0": sound,
    }  # fmt: skip
    size = {"width": 64, "height": 64, "length": 5, "ref_image_size": "match"}
    scene.yes = scene.add("MiniMaxH3ReferenceToVideo", **parts, **size, **references)
    scene.latent = second(scene.yes)
    check_all(native, scene)


@KINDS
def test_a_lora_on_both_towers(native, kind):
    scene = Scene(kind)
    scene.model = scene.add("Patched", model=scene.model)
    check_all(native, scene)


@KINDS
@pytest.mark.parametrize("hooked", ["yes", "no", "both"])
def test_hooks_on_prompts(native, kind, hooked):
    """A LoRA that belongs to a prompt, and whose strength changes over the steps."""
    scene = Scene(kind)
    early = scene.add("CreateHookKeyframe", strength_mult=1.0, start_percent=0.0)
    late = scene.add("CreateHookKeyframe", strength_mult=0.3, start_percent=0.5, prev_hook_kf=early)
    hooks = scene.add("SetHookKeyframes", hooks=scene.add("TinyHook", model=scene.plain, strength=1.0), hook_kf=late)
    for name in ("yes", "no") if hooked == "both" else (hooked,):
        changed = scene.add("ConditioningSetProperties", cond_NEW=getattr(scene, name), strength=1.0,
                            set_cond_area="default", hooks=hooks)  # fmt: skip
        setattr(scene, name, changed)
    check_all(native, scene)


@pytest.mark.parametrize("kind", ["ltx"])
def test_negatives_by_attention(native, kind):
    scene = Scene(kind)
    scene.model = scene.add("NegativeByAttention", model=scene.model)
    check_all(native, scene)


@KINDS
def test_cores_node_of_negatives_by_attention(native, kind):
    """It changes nothing in these models, and asks for the negative always."""
    scene = Scene(kind)
    plain = scene.sampled(scene.ours("cfg"))
    scene.model = scene.add("NAGuidance", model=scene.model, nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
    scene.compare("unpatched", plain, scene.sampled(scene.ours("cfg")))
    check_all(native, scene, effect=False)


@pytest.mark.long
@KINDS
def test_compiled(native, kind):
    """The plain passes by the uncompiled model; the cut ones only by isolation, because ours alone compiles them apart."""
    scene = Scene(kind)
    scene.model = scene.add("Compiled", model=scene.model)
    compare_with_core(scene)
    compare_cut(scene)
    check(scene.run(native), tolerance=1e-4)


@KINDS
def test_bfloat16(native, kind):
    """Equal but for the rounding of 8 bits, and isolated to the last one."""
    check_all(native, Scene(kind, dtype="bfloat16"), tolerance=0.1, naive=0.2)


@KINDS
@pytest.mark.parametrize("cache", ["EasyCache", "LazyCache"])
def test_steps_from_a_cache(native, kind, cache):
    """The cache decides by the video whether a step runs, so another video can change the audio, also where streams are cut."""
    scene = Scene(kind, steps=8)
    settings = {"reuse_threshold": 3.0, "start_percent": 0.1, "end_percent": 0.9, "verbose": False}
    scene.model = scene.add(cache, model=scene.model, **settings)
    compare_with_core(scene)
    cut, negative = scene.ours("none", coupling=0.0), scene.ours("joint_cfg", video_scale=0.0, audio_scale=3.0)
    for name, guider in (("cut", cut), ("negative", negative)):
        scene.compare(f"{name}, other audio", scene.sampled(guider), scene.sampled(guider, audio_seed=5))
    kept = scene.sampled(scene.ours("joint_cfg"))
    scene.model = scene.plain
    scene.compare("uncached", kept, scene.sampled(scene.ours("joint_cfg")))
    found = scene.run(native)
    assert found.pop("uncached").largest > 1e-3
    check(found)


@KINDS
def test_prompts_in_time(native, kind):
    """Prompts for parts of the steps."""
    scene = Scene(kind)
    other = scene.add("TinyPrompt", kind=kind, seed=17, words=6)
    early = scene.add("ConditioningSetTimestepRange", conditioning=scene.yes, start=0.0, end=0.5)
    late = scene.add("ConditioningSetTimestepRange", conditioning=other, start=0.5, end=1.0)
    scene.yes = scene.add("ConditioningCombine", conditioning_1=early, conditioning_2=late)
    check_all(native, scene)


@KINDS
def test_prompts_together(native, kind):
    scene = Scene(kind)
    other = scene.add("TinyPrompt", kind=kind, seed=17, words=6)
    weak = scene.add("ConditioningSetAreaStrength", conditioning=other, strength=0.4)
    scene.yes = scene.add("ConditioningCombine", conditioning_1=scene.yes, conditioning_2=weak)
    check_all(native, scene)


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_context_windows(native, schedule):
    """Core's windows do not take MiniMax-H3."""
    scene = Scene("ltx", frames=9, audio_frames=12)
    settings = {
        "context_length": 4, "context_overlap": 1, "context_schedule": schedule, "context_stride": 1, "closed_loop": False,
        "fuse_method": "pyramid", "dim": 2, "freenoise": False, "cond_retain_index_list": "", "split_conds_to_windows": False,
        "latent_retain_index_list": "", "causal_window_fix": True,
    }  # fmt: skip
    scene.model = scene.add("ContextWindowsManual", model=scene.model, **settings)
    check_all(native, scene)


def test_two_stages_with_the_audio_of_the_first(native):
    """The second stage doubles the size of the video, and keeps the audio."""
    scene = Scene("ltx")
    vae, upsampler = scene.add("TinyEncoder", kind="ltx"), scene.add("TinyUpsampler")
    first = scene.add("LTXVSeparateAVLatent", av_latent=scene.sampled(scene.ours("joint_cfg")))
    large = scene.add("LTXVLatentUpsampler", samples=first, upscale_model=upsampler, vae=vae)
    silence = scene.add("SolidMask", value=0.0, width=16, height=5)
    audio = scene.add("SetLatentNoiseMask", samples=second(first), mask=silence)
    joined = scene.add("LTXVConcatAVLatent", video_latent=large, audio_latent=audio)
    scene.latent = joined
    scene.sigmas = scene.add("BasicScheduler", model=scene.plain, scheduler="simple", steps=3, denoise=0.6)
    whole = scene.sampled(scene.ours("joint_cfg"))
    scene.compare("kept", whole, joined)
    compare_with_core(scene)
    compare_with_naive(scene)
    compare_cut(scene)
    found = scene.run(native)
    kept = found.pop("kept")
    assert kept.audio < 1e-5 and kept.video > 0.1
    check(found, kept="audio")


@KINDS
@pytest.mark.parametrize("what", ["call", "block", "attention"])
def test_patches_of_other_packs(native, kind, what):
    scene = Scene(kind)
    scene.model = scene.add("Around", model=scene.model, what=what)
    check_all(native, scene)


@pytest.mark.parametrize("rows, batch", [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_memory_for_some_rows(native, rows, batch):
    scene = Scene("ltx", batch=batch)
    scene.model = scene.add("Cramped", model=scene.model, rows=rows)
    check_all(native, scene, effect=False)


def test_prompts_that_cannot_share_a_call(native):
    """The frame rate of one prompt alone."""
    scene = Scene("ltx")
    scene.yes = scene.add("LTXVConditioning", **scene.prompts, frame_rate=40.0)
    check_all(native, scene)


@pytest.mark.long
@KINDS
@pytest.mark.parametrize("then", ["Patched", "PredictsAgain", "EasyCache", "NegativeByAttention", "Compiled", "LTXVContextWindows"])
def test_guidance_on_a_model_that_is_changed_afterwards(native, kind, then):
    """As with the guidance added last."""
    scene = Scene(kind, steps=6) if then != "LTXVContextWindows" else Scene(kind, frames=9, audio_frames=12)
    if kind == "h3" and then in ("NegativeByAttention", "LTXVContextWindows"):
        pytest.skip("not for MiniMax-H3")
    settings = {
        "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.1, "end_percent": 0.9, "verbose": False},
        "LTXVContextWindows": {
            "context_length": 25, "context_overlap": 8, "context_schedule": "standard_static", "fuse_method": "pyramid",
            "freenoise": False, "context_stride": 1, "closed_loop": False, "retain_first_frame": False,
            "split_conds_to_windows": False,
        },
    }.get(then, {})  # fmt: skip
    for name in ("joint_cfg", "modality_cfg"):
        guided = scene.add("DuetModelGuidance", model=scene.plain, guidance=scene.guidance(name))
        guided = scene.add(then, model=guided, **settings)
        guider = scene.add("CFGGuider", model=guided, **scene.prompts, cfg=7.0)
        scene.model = scene.add(then, model=scene.plain, **settings)
        scene.compare(name, scene.sampled(guider), scene.sampled(scene.ours(name)))
    check(scene.run(native), tolerance=1e-6)
