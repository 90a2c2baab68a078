"""Separate prompts for video and audio, on small LTX-2 models: each stream is as with its own prompt alone."""

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import SETTINGS, guidance

STEPS = 4
KINDS = pytest.mark.parametrize("kind", ["ltx", "ltx23"])
FORMS = pytest.mark.parametrize("form", ["RawPrompt", "TinyPrompt"])
HOSTS = ("CFGGuider", "LTXVDualCFGGuider", "KSampler")


def prompts(kind: str, form: str = "RawPrompt", words: tuple[int, ...] = (6, 9), **others) -> dict:
    """A model, and four prompts: for the video and the audio, positive and negative."""
    graph = {"model": node("TinyModel", kind=kind, seed=1), "bad": node("TinyModel", kind=kind, seed=2)}
    for seed, name in enumerate(("video", "no_video", "audio", "no_audio"), 11):
        graph[name] = node(form, kind=kind, seed=seed, words=words["audio" in name], **others)
    graph |= {"noise": node("DuetJointNoise", video_seed=1, audio_seed=2), "euler": node("KSamplerSelect", sampler_name="euler")}
    graph["sigmas"] = node("BasicScheduler", model=["model", 0], scheduler="simple", steps=STEPS, denoise=1.0)
    return graph


def join(video: str, audio: str) -> dict:
    return node("DuetJoinConditioning", model=["model", 0], video=[video, 0], audio=[audio, 0])


def add_run(graph: dict, name: str, guider: str, positive: str, negative: str, latent: tuple = ("model", 1), coupling=1.0) -> None:
    """Samples as `name`. guider: a strategy of ours, or a node of the host."""
    prompted = {"model": ["model", 0], "positive": [positive, 0], "negative": [negative, 0]}
    if guider == "KSampler":
        settings = {"seed": 1, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
        graph[name] = node("KSampler", **prompted, **settings, latent_image=list(latent))
        return
    scales = {"CFGGuider": {"cfg": 3.0}, "LTXVDualCFGGuider": {"video_cfg": 3.0, "audio_cfg": 2.0}}
    if guider in scales:
        graph[f"{name}_guider"] = node(guider, **prompted, **scales[guider])
    else:
        graph[f"{name}_guidance"] = guidance(guider, coupling)
        graph[f"{name}_guider"] = node("DuetJointGuider", **prompted, guidance=[f"{name}_guidance", 0])
    graph[name] = node(
        "SamplerCustomAdvanced", noise=["noise", 0], guider=[f"{name}_guider", 0], sampler=["euler", 0],
        sigmas=["sigmas", 0], latent_image=list(latent),
    )  # fmt: skip


def differences(server, graph: dict, *pairs: tuple[str, str]) -> list[list[float]]:
    """How far the videos and the audios of two runs are apart, for each pair."""
    told = {f"{a} {b}": node("HowFarApart", a=[a, 0], b=[b, 0]) for a, b in pairs}
    run = server.run(graph | told)
    assert run.succeeded, run.error
    found = [[float(number) for number in run.texts[name]] for name in told]
    assert all(0.1 < spread < 10 for each in found for spread in each[2:])
    return [each[:2] for each in found]


def cut_runs(graph: dict, video: str, audio: str, strategy: str = "none") -> dict:
    """Three runs without coupling: `both` with the joined prompts, and `seen` and `heard` with one of them alone."""
    graph |= {"both_yes": join(video, audio), "both_no": join("no_video", "no_audio")}
    for name, yes, no in (("both", "both_yes", "both_no"), ("seen", video, "no_video"), ("heard", audio, "no_audio")):
        add_run(graph, name, strategy, yes, no, coupling=0.0)
    return graph


@KINDS
@FORMS
@pytest.mark.parametrize("guider", [*HOSTS, *SETTINGS])
def test_a_prompt_joined_with_itself_is_the_plain_prompt(native, kind, form, guider):
    graph = prompts(kind, form) | {"yes": join("video", "video"), "no": join("no_video", "no_video")}
    if form == "RawPrompt":
        graph["bad"]["inputs"] |= {"seed": 1, "copy": 1}  # a bad model reads a plain prompt by connectors of its own
    add_run(graph, "joined", guider, "yes", "no")
    add_run(graph, "plain", guider, "video", "no_video")
    assert differences(native, graph, ("joined", "plain")) == [[0.0, 0.0]]


@KINDS
@FORMS
@pytest.mark.parametrize("strategy", ["none", "cfg", "apg"])
def test_each_stream_has_its_own_prompt(native, kind, form, strategy):
    graph = cut_runs(prompts(kind, form, words=(6, 9) if form == "RawPrompt" else (6, 6)), "video", "audio", strategy)
    (video, other_audio), (other_video, audio) = differences(native, graph, ("both", "seen"), ("both", "heard"))
    assert video == audio == 0 and min(other_video, other_audio) > 1e-4


@KINDS
@pytest.mark.parametrize("form, words", [("TinyPrompt", (6, 9)), ("TinyPrompt", (9, 6)), ("RawPrompt", (1100, 6))])
def test_prompts_of_other_lengths_keep_their_weight(native, kind, form, words):
    graph = cut_runs(prompts(kind, form, words=words), "video", "audio", "cfg")
    (video, _), (_, audio) = differences(native, graph, ("both", "seen"), ("both", "heard"))
    assert max(video, audio) < 2e-5


@KINDS
@pytest.mark.parametrize("guider", [*HOSTS, *SETTINGS])
def test_another_prompt_for_the_audio_reaches_it_in_every_guider(native, kind, guider):
    graph = prompts(kind) | {"yes": join("video", "audio"), "no": join("no_video", "no_audio")}
    add_run(graph, "joined", guider, "yes", "no")
    add_run(graph, "plain", guider, "video", "no_video")
    ((_, audio),) = differences(native, graph, ("joined", "plain"))
    assert audio > 1e-4


def test_a_prompt_for_each_clip_of_a_batch(native):
    """Two prompts for the video and one for the audio."""
    graph = prompts("ltx") | {"latent": node("Repeated", latent=["model", 1], batch=2)}
    graph["video"]["inputs"]["batch"] = 2
    graph |= {"yes": join("video", "audio"), "no": join("no_video", "no_audio")}
    for name, yes, no in (("both", "yes", "no"), ("seen", "video", "no_video"), ("heard", "audio", "no_audio")):
        add_run(graph, name, "cfg", yes, no, ("latent", 0), coupling=0.0)
    (video, _), (_, audio) = differences(native, graph, ("both", "seen"), ("both", "heard"))
    assert video == audio == 0


def timed(prompt: str, start: float, end: float) -> dict:
    return node("ConditioningSetTimestepRange", conditioning=[prompt, 0], start=start, end=end)


def combined(first: str, second: str) -> dict:
    return node("ConditioningCombine", conditioning_1=[first, 0], conditioning_2=[second, 0])


def timed_video(graph: dict) -> dict:
    """The video's prompt changes halfway."""
    graph |= {"early": timed("video", 0.0, 0.5), "late": timed("no_video", 0.5, 1.0), "two": combined("early", "late")}
    return graph


def test_the_prompts_change_at_times_of_their_own(native):
    graph = timed_video(prompts("ltx"))
    graph |= {"first": timed("audio", 0.0, 0.3), "rest": timed("no_audio", 0.3, 1.0), "three": combined("first", "rest")}
    graph = cut_runs(graph, "two", "three", "cfg")
    add_run(graph, "untimed", "cfg", "video", "no_video", coupling=0.0)
    add_run(graph, "silent", "cfg", "audio", "no_audio", coupling=0.0)
    compared = ("both", "seen"), ("both", "heard"), ("both", "untimed"), ("both", "silent")
    (video, _), (_, audio), (seen, _), (_, heard) = differences(native, graph, *compared)
    assert video == audio == 0 and min(seen, heard) > 1e-4


@pytest.mark.parametrize("guider", ["CFGGuider", "cfg"])
def test_timed_and_combined_prompts_joined_with_themselves_are_the_plain_ones(native, guider):
    graph = timed_video(prompts("ltx")) | {"half": node("WithValues", prompt=["audio", 0], values='{"strength": 0.5}')}
    graph |= {"all": combined("two", "half"), "yes": join("all", "all"), "no": join("no_video", "no_video")}
    add_run(graph, "joined", guider, "yes", "no")
    add_run(graph, "plain", guider, "all", "no_video")
    assert differences(native, graph, ("joined", "plain")) == [[0.0, 0.0]]


def test_combined_prompts_keep_their_strengths(native):
    """Two prompts for the video, one of them weak, and two for the audio."""
    graph = prompts("ltx23") | {"weak": node("WithValues", prompt=["no_video", 0], values='{"strength": 0.25}')}
    graph |= {"two": combined("video", "weak"), "sounds": combined("audio", "no_audio"), "even": combined("video", "no_video")}
    graph = cut_runs(graph, "two", "sounds")
    add_run(graph, "unweighted", "none", "even", "no_video", coupling=0.0)
    (video, _), (_, audio), (even, _) = differences(native, graph, ("both", "seen"), ("both", "heard"), ("both", "unweighted"))
    assert max(video, audio) < 1e-5 and even > 1e-4


def test_a_prompt_hook_on_either_prompt_acts_on_both_streams(native):
    graph = prompts("ltx") | {"hook": node("TinyHook", model=["model", 0], strength=1.0)}
    for name in ("video", "audio"):
        graph[f"hooked_{name}"] = node("ConditioningSetProperties", cond_NEW=[name, 0], strength=1.0, set_cond_area="default")
        graph[f"hooked_{name}"]["inputs"]["hooks"] = ["hook", 0]
    pairs = {"neither": ("video", "audio"), "by_video": ("hooked_video", "audio"), "by_audio": ("video", "hooked_audio")}
    for name, (video, audio) in (pairs | {"by_both": ("hooked_video", "hooked_audio")}).items():
        graph[f"{name}_yes"] = join(video, audio)
        add_run(graph, name, "cfg", f"{name}_yes", "no_video")
    plain, by_audio, by_both = differences(
        native, graph, ("by_video", "neither"), ("by_video", "by_audio"), ("by_video", "by_both")
    )
    assert min(plain) > 1e-4 and by_audio == by_both == [0.0, 0.0]


def test_hooks_of_both_prompts_act_together(native):
    graph = prompts("ltx") | {"one": join("hooked_video", "hooked_audio")}
    graph["hook"] = node("TinyHook", model=["model", 0], strength=1.0)
    graph |= {"other": node("TinyHook", model=["model", 0], strength=-0.5)}
    graph["all"] = node("CombineHooks2", hooks_A=["hook", 0], hooks_B=["other", 0])
    for name, prompt, hook in (("hooked_video", "video", "hook"), ("hooked_audio", "audio", "other"), ("twice", "video", "all")):
        graph[name] = node("ConditioningSetProperties", cond_NEW=[prompt, 0], strength=1.0, set_cond_area="default")
        graph[name]["inputs"]["hooks"] = [hook, 0]
    graph["wanted"] = join("twice", "audio")
    add_run(graph, "each", "none", "one", "no_video")
    add_run(graph, "together", "none", "wanted", "no_video")
    assert differences(native, graph, ("each", "together")) == [[0.0, 0.0]]


@KINDS
def test_reference_audio_is_that_of_the_audios_prompt(native, kind):
    graph = prompts(kind) | {"spoken": node("ReferenceAudio", prompt=["audio", 0], seed=3)}
    graph["seen_spoken"] = node("ReferenceAudio", prompt=["video", 0], seed=4)
    graph = cut_runs(graph, "seen_spoken", "spoken")
    graph |= {"kept": join("seen_spoken", "audio"), "given": node("ReferenceAudio", prompt=["audio", 0], seed=4)}
    add_run(graph, "fallback", "none", "kept", "no_video", coupling=0.0)
    add_run(graph, "alone", "none", "given", "no_video", coupling=0.0)
    (video, _), (_, audio), (_, kept), (_, other) = differences(
        native, graph, ("both", "seen"), ("both", "heard"), ("fallback", "alone"), ("fallback", "heard")
    )
    assert video == audio == kept == 0 and other > 1e-4


def test_the_frame_rate_is_that_of_the_videos_prompt(native):
    graph = prompts("ltx")
    graph["fast"] = node("LTXVConditioning", positive=["video", 0], negative=["no_video", 0], frame_rate=50.0)
    graph = cut_runs(graph, "fast", "audio")
    add_run(graph, "slow", "none", "video", "no_video", coupling=0.0)
    (video, _), (_, audio), (slow, _) = differences(native, graph, ("both", "seen"), ("both", "heard"), ("both", "slow"))
    assert video == audio == 0 and slow > 1e-4


def test_a_lora_on_the_connectors_is_kept(native):
    """The prompts are read by the model as it is patched, also when another patched model was loaded before."""
    graph = prompts("ltx") | {"patched": node("Patched", model=["model", 0]), "before": join("video", "video")}
    graph |= {"yes": join("video", "video"), "no": join("no_video", "no_video")}
    add_run(graph, "unpatched", "cfg", "before", "no_video")
    add_run(graph, "joined", "cfg", "yes", "no")
    add_run(graph, "plain", "cfg", "video", "no_video")
    for name in ("yes", "no", "joined_guider", "plain_guider"):
        graph[name]["inputs"]["model"] = ["patched", 0]
    same, other = differences(native, graph, ("joined", "plain"), ("joined", "unpatched"))
    assert same == [0.0, 0.0] and min(other) > 1e-4


def refused(server, graph: dict, video: str = "video", audio: str = "audio") -> str:
    graph = graph | {"yes": join(video, audio)}
    add_run(graph, "out", "none", "yes", "no_video")
    run = server.run(graph | {"told": node("HowFarApart", a=["out", 0], b=["out", 0])})
    assert not run.succeeded and "\n" not in run.error
    return run.error


def test_models_that_read_one_prompt_are_refused(native):
    reason = "model is MiniMax-H3, whose video and audio both read every word of one prompt"
    assert reason in refused(native, prompts("h3", "TinyPrompt"))
    assert "model is a LTXV, which has no separate prompts for video and audio; connect LTX-2" in refused(
        native, prompts("silent", "TinyPrompt")
    )


@KINDS
@pytest.mark.parametrize("name", ["video", "audio"])
def test_a_prompt_of_another_model_is_refused(native, kind, name):
    graph = prompts(kind)
    graph[name] = node("TinyPrompt", kind="wide", seed=1, words=6)
    wanted = "24 or 48" if kind == "ltx" else "48"
    told = f"{name} has tokens of width 72, and this LTX-2 model reads {wanted}; encode the prompt with the text encoder"
    assert told in refused(native, graph)


def test_times_that_only_one_prompt_covers_are_refused(native):
    graph = prompts("ltx") | {"early": timed("audio", 0.0, 0.5)}
    told = "audio has no prompt from 0.5 to 1 of the run, and video has one; give both the same start and end"
    assert told in refused(native, graph, audio="early")


def test_masks_that_differ_are_refused(native):
    graph = prompts("ltx")
    graph["audio"]["inputs"]["masked"] = True
    assert "video and audio have different attention masks" in refused(native, graph)


@KINDS
@FORMS
def test_a_guidance_can_prompt_the_streams_apart(native, kind, form):
    """As with prompts that were joined before, bit for bit."""
    graph = prompts(kind, form) | {"mixed": join("video", "no_audio")}
    add_run(graph, "split", "none", "video", "no_audio")
    add_run(graph, "joined", "none", "mixed", "no_audio")
    add_run(graph, "plain", "none", "video", "no_audio")
    graph["apart"] = node("SplitPrompts", guidance=["split_guidance", 0])
    graph["split_guider"]["inputs"]["guidance"] = ["apart", 0]
    same, (_, other) = differences(native, graph, ("split", "joined"), ("split", "plain"))
    assert same == [0.0, 0.0] and other > 1e-4


@KINDS
def test_a_guidance_can_prompt_the_streams_apart_in_every_branch(native, kind):
    """Timed prompts too, and beside core's CFG."""
    graph = timed_video(prompts(kind)) | {"yes": join("two", "no_audio"), "no": join("no_audio", "two")}
    add_run(graph, "split", "cfg", "two", "no_audio")
    add_run(graph, "joined", "CFGGuider", "yes", "no")
    graph["apart"] = node("SplitPrompts", guidance=["split_guidance", 0])
    graph["split_guider"]["inputs"]["guidance"] = ["apart", 0]
    (same,) = differences(native, graph, ("split", "joined"))
    assert max(same) < 1e-5


def test_minimax_h3_refuses_a_guidance_that_prompts_the_streams_apart(native):
    graph = prompts("h3", "TinyPrompt")
    add_run(graph, "split", "none", "video", "no_video")
    graph["apart"] = node("SplitPrompts", guidance=["split_guidance", 0])
    graph["split_guider"]["inputs"]["guidance"] = ["apart", 0]
    run = native.run(graph | {"told": node("HowFarApart", a=["split", 0], b=["split", 0])})
    assert not run.succeeded and "different prompts for video and audio, and MiniMax-H3 only takes one" in run.error


def counted(server, graph: dict, guider: str, positive: str, negative: str) -> tuple[int, int]:
    """The calls of a step that the guider says, and the most of one that a hook counts."""
    graph = graph | {"watched": node("Watched", model=["model", 0])}
    add_run(graph, "out", guider, positive, negative)
    graph["out_guider"]["inputs"]["model"] = ["watched", 0]
    run = server.run(graph | {"calls": node("TellCalls", model=["watched", 0], after=["out", 0])})
    assert run.succeeded, run.error
    (said,) = run.outputs["out_guider"]["duet"]
    return said["forwards_per_step"] * STEPS, int(run.texts["calls"][4])


@KINDS
@pytest.mark.parametrize("words", [(6, 9), (6, 1100), (1100, 1100)])
def test_the_guider_says_the_calls_that_prompts_of_an_encoder_take(native, kind, words):
    said, found = counted(native, prompts(kind, words=words), "cfg", "video", "no_audio")
    assert said == found == (2 if words == (6, 1100) else 1) * STEPS


@pytest.mark.parametrize("kind", ["ltx", "h3"])
def test_the_guider_says_the_calls_that_timed_prompts_take(native, kind):
    """Two prompts of other lengths, at other times."""
    graph = prompts(kind, "TinyPrompt") | {"early": timed("video", 0.0, 0.6), "late": timed("audio", 0.6, 1.0)}
    said, found = counted(native, graph | {"two": combined("early", "late")}, "none", "two", "no_video")
    assert said == found == STEPS


def test_the_guider_says_the_calls_that_prompts_with_other_values_take(native):
    graph = prompts("ltx") | {"spoken": node("ReferenceAudio", prompt=["video", 0], seed=3)}
    said, found = counted(native, graph, "cfg", "spoken", "no_video")
    assert said == found == 2 * STEPS


def test_the_prompts_of_a_joined_model_are_refused_by_another(native):
    graph = prompts("ltx")
    for name in ("wan21", "stable_audio_3"):
        graph |= {name: node("TinyHalf", kind=name, seed=1), f"{name}_text": node("TinyHalfPrompt", kind=name, seed=1)}
    graph["pair"] = node("DuetJoinModels", video=["wan21", 0], audio=["stable_audio_3", 0])
    given = {"video": ["wan21_text", 0], "audio": ["stable_audio_3_text", 0]}
    graph["yes"] = node("DuetJoinConditioning", model=["pair", 0], **given)
    add_run(graph, "run", "cfg", "yes", "no_video")
    run = native.run(graph | {"told": node("HowFarApart", a=["run", 0], b=["run", 0])})
    assert "positive is for a model from Join Models, and this is LTX-2" in run.error
