"""Runs tiny random models of every published family on the GPU: `python -m duet_av.benchmarks.gpu_check [--cpu]`.

For each, one line of JSON with the largest differences of latents of 3 steps (values about 1): on the GPU from the CPU in float32
(`gpu`), with weights that stay in main memory from the GPU (`offloaded`, 0 = the same bits), and in bfloat16 and with 8-bit weights
from float32 (`bf16`, `fp8`), which only have to be finite: random networks and their guidance enlarge the rounding of every step.
`decoded`: whether frames and waveform are finite.
--cpu: try the script without a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..av_models.branch_runner import PromptedModel
from ..av_models.contract import AVLatent
from ..av_models.joining import join_experts
from ..av_models.joint_model import JointModel
from ..av_models.load_joint import load_joint_model
from ..av_models.noise import NoiseSource
from ..av_models.offload import offload
from ..av_models.published.build_pair import Rope
from ..av_models.published.expert_options import ExpertOptions
from ..av_models.published.joint import LoadOptions
from ..av_models.sampling import sample
from ..av_models.shapes import AVShape

JOINT = ("kandinsky6", "ltx2", "ovi")
PAIR = ("wan", "tangoflux")
STEPS = 3


class Check:
    """A family in a folder. load: loads it with options. shape: of the clip, from a loaded model."""

    def __init__(self, load: Callable[[LoadOptions], JointModel], device: torch.device) -> None:
        self.load, self.device = load, device
        self.cpu = self.load(LoadOptions())
        self.shape = self.cpu.shape(frames=9, height=64, width=64)

    def report(self) -> dict[str, Any]:
        """Returns the differences."""
        expected = latents(self.cpu, self.shape)
        plain = self._on_device(LoadOptions())
        found = latents(plain, self.shape)
        made: dict[str, Any] = {"gpu": difference(found, expected), "decoded": self._decodes(plain, found)}
        for part in plain.parts.values():
            part.to("cpu")
        offload(plain.parts["denoiser"], self.device)
        made["offloaded"] = difference(latents(plain, self.shape), found)
        for name, options in (("bf16", LoadOptions(dtype="bfloat16")), ("fp8", LoadOptions(dtype="bfloat16", quantize="fp8"))):
            made[name] = difference(latents(self._on_device(options), self.shape), expected)
        return made

    def _on_device(self, options: LoadOptions) -> JointModel:
        model = self.load(options)
        for part in model.parts.values():
            part.to(self.device)
        return model

    def _decodes(self, model: JointModel, latent: AVLatent) -> bool:
        return all(bool(each.isfinite().all()) for each in model.decode(latent.to(self.device), self.shape))


def load_pair(video: Path, audio: Path, trained: bool, options: LoadOptions) -> JointModel:
    """Returns a pair with untrained joint layers. trained: sample it with them, as if they were trained."""
    each = ExpertOptions(**vars(options))
    rope: Rope = "avsync" if trained else "vanilla"
    pair = join_experts(video, audio, "", "", name="pair", rope=rope, video_options=each, audio_options=each)
    return replace(pair, card=pair.card | {"trained": True}, own_schedulers=None) if trained else pair


def latents(model: JointModel, shape: AVShape) -> AVLatent:
    """Returns the latents of a clip with the recommended guidance, on the CPU."""
    sizes = model.latent_shape(shape)
    prompts = model.encode("rain", "rain", None, shape), model.encode(*model.negative_words("", ""), None, shape)
    prompted = PromptedModel(model.denoiser_for(shape), *(each.to(model.device) for each in prompts))
    guidance = model.adapt_guidance(model.recommended.make_guidance())
    return sample(prompted, NoiseSource(sizes, 1, 2), guidance, model.make_schedule(sizes, STEPS)).latent.to(torch.device("cpu"))


def difference(a: AVLatent, b: AVLatent) -> float:
    """Returns the largest difference of two latents."""
    return round(max(float((x.float() - y.float()).abs().max()) for x, y in ((a.video, b.video), (a.audio, b.audio))), 8)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="try the script without a GPU")
    args = parser.parse_args()
    if not args.cpu and not torch.cuda.is_available():
        parser.error("there is no GPU; use --cpu to try the script without one")
    device = torch.device("cpu" if args.cpu else "cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with TemporaryDirectory() as root:
        folders = {family: Path(root) / family for family in (*JOINT, *PAIR)}
        for family, folder in folders.items():
            import_module(f".small_models.{family}", __package__).build(folder)
        for family in JOINT:
            _say(family, lambda: Check(lambda options: load_joint_model(folders[family], options), device).report())
        for trained in (False, True):
            pair = partial(load_pair, folders["wan"], folders["tangoflux"], trained)
            _say(f"{' and '.join(PAIR)}, {'woven' if trained else 'apart'}", lambda: Check(pair, device).report())


def _say(name: str, task: Callable[[], dict[str, Any]]) -> None:
    try:
        made = task()
    except (RuntimeError, ValueError, TypeError) as error:
        made = {"error": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(json.dumps({name: made}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
