"""Runs in ComfyUI's Python: compares joined models with their two models alone.

run_joined_models.py COMFYUI_FOLDER RESULT [TABLE …] writes, as JSON, by table and case, how far the video and the audio are apart.
"""

import json
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

root, result, wanted = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]
spec = spec_from_file_location("joined_start", Path(__file__).with_name("joined_runs.py"))
start = module_from_spec(spec)
sys.modules["joined_start"] = start
spec.loader.exec_module(start)
start.start(root)

from duet_av.nodes.native.noise import SeedPair  # noqa: E402
from duet_av.tests.comfyui import joined_cases as cases  # noqa: E402
from duet_av.tests.comfyui.joined_runs import (  # noqa: E402
    STREAMS,
    Case,
    apart,
    compare,
    joined_model,
    run_alone,
    run_joined,
    sigmas_of,
)
from duet_av.tests.comfyui.native_pack.joined_models import prompt  # noqa: E402


def pairs():
    """By pair and check. Every video with Stable Audio 3, and every audio with Wan 2.1 and Stable Video Diffusion."""
    found = [(video, "stable_audio_3") for video in cases.VIDEOS]
    found += [(video, audio) for audio in cases.AUDIOS for video in ("wan21", "svd") if audio != "stable_audio_3"]
    return {
        f"{video} + {audio}": {name: compare(case) for name, case in cases.of_pair(video, audio).items()} for video, audio in found
    }


def effects(of):
    """How far both streams are from those of the models alone, and how far the models alone are from those without the change."""
    found = {}
    for name, case in of.items():
        plain = Case(case.video, case.audio, steps=case.steps, ahead=case.ahead, latents=case.latents)
        changes = []
        for stream in STREAMS:
            changed, unchanged = run_alone(case, stream), run_alone(plain, stream)
            changes.append(apart(changed, unchanged))
        found[name] = [*compare(case), max(changes)]
    return found


def samplers():
    """By sampler that draws no noise: both streams at one shift; at another the video, and the audio to both of its runs."""
    found = {}
    for name in cases.NOISELESS:
        case = Case(sampler=name, steps=5)
        joined = joined_model(case)
        video, audio = run_joined(case, joined)
        carried = replace(case, sampler=cases.Carried(name, joined, sigmas_of(case, joined)))
        own = [run_alone(each, "audio", joined) for each in (case, carried)]
        equal = compare(replace(case, change=cases.EQUAL_SHIFTS))
        found[name] = [*equal, apart(video, run_alone(case, "video", joined)), *(apart(audio, each) for each in own)]
    return found


def other_words(stream):
    def prompts(kind, seed):
        changed = (kind in cases.VIDEOS) == (stream == "video")
        return {"positive": prompt(kind, seed + 50 * changed), "negative": prompt(kind, seed + 2)}

    return prompts


def independence():
    """Whether the other stream stays equal to the last bit, and how far this one is changed, by its seed, its words or a LoRA."""
    found = {}
    for name in (*cases.DRAWING, "euler"):
        case = Case(sampler=name, seed=SeedPair(5, 6))
        base = run_joined(case)
        for index, stream in enumerate(STREAMS):
            seeds = [(9, 6), (5, 9)][index]
            noise = [(17, 8), (7, 18)][index]
            changes = {"seed": replace(case, seed=SeedPair(*seeds), noise=noise)}
            if name in ("euler", "euler_ancestral", "dpmpp_2m_sde"):
                changes["words"] = replace(case, prompts=other_words(stream))
                changes["LoRA"] = replace(case, change={stream: cases.lora})
            for what, changed in changes.items():
                made = run_joined(changed)
                kept = bool((made[1 - index] == base[1 - index]).all())
                found[f"{name}: {what} of {stream}"] = [kept, apart(made[index], base[index])]
    return found


tables = {
    "pairs": pairs, "patched": lambda: effects(cases.patched()), "prompted": lambda: effects(cases.prompted()),
    "partly given": lambda: effects(cases.partly_given()),
    "unchanged": lambda: {name: compare(case) for name, case in cases.unchanged().items()},
    "samplers": samplers, "independence": independence,
}  # fmt: skip
result.write_text(json.dumps({name: tables[name]() for name in wanted or tables}))
