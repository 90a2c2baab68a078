"""`duet eval bounce`: generate clips with a joint model and measure them."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..av_models.binders.base import Binder
    from ..av_models.joint_model import JointModel
    from . import Subparsers

SAMPLING = ("scale", "steps", "shift", "eta")  # options that default to the settings of the model

RANGES = {"n": (1, 1_000_000), "steps": (1, 10_000), "seed": (0, 10**12)}  # seed: a million of them for each set of clips


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("eval", help="evaluate a model on generated clips", description=__doc__)
    parser.add_argument("world", choices=["bounce"], help="the benchmark; only bounce, with synthetic clips of bouncing balls")
    parser.add_argument("--model", default="Bounce", metavar="NAME", help="Bounce, or the path of a .safetensors file")
    parser.add_argument(
        "--task",
        choices=["t2av", "i2av", "v2a", "a2v", "extend"],
        default="t2av",
        help="text or image to both, video to audio, audio to video, or extend a clip; default: t2av",
    )
    parser.add_argument(
        "--way",
        choices=["clean", "renoised"],
        help="noise of the conditioning clip at each step: none (clean) or the current level (renoised); default: as trained",
    )
    parser.add_argument(
        "--guidance", metavar="NAME", help="guidance strategy, such as joint_cfg; default: the one selected on validation clips"
    )
    parser.add_argument(
        "--scale", type=float, metavar="S", help="guidance scale of both modalities; default: the one selected on validation clips"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another guidance setting, such as video_cross_scale=4; repeat for more",
    )
    parser.add_argument(
        "--bad-model",
        metavar="FILE",
        help="weaker model for autoguidance; default: the experts without trained joint layers",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps; default: as selected on validation clips")
    parser.add_argument(
        "--shift", type=float, metavar="S", help="timestep shift of the noise schedule, like the sampler node's input"
    )
    parser.add_argument(
        "--eta", type=float, metavar="H", help="amount of new noise in each step (0: deterministic), like the sampler node's input"
    )
    parser.add_argument("--balls", type=int, choices=[1, 2], help="number of balls per clip; default: both")
    parser.add_argument("--split", choices=["val", "test"], default="val", help="split of the prompts; default: val")
    parser.add_argument("--n", type=int, default=200, help="number of clips; default: 200")
    parser.add_argument("--seed", type=int, default=0, help="random seed; default: 0")
    parser.add_argument("--cut", action="store_true", help="disable the cross-modal attention")
    parser.add_argument("--codecs", action="store_true", help="evaluate only the codecs, on rendered clips")
    parser.add_argument("--nearest", action="store_true", help="add the distance to the nearest training clip; needs --balls 1")
    parser.add_argument("--likeness", action="store_true", help="add similarity and Fréchet distance of Bounce-Bind embeddings")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="save the frames and spectrograms of the first eight clips as an image"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(command=evaluate)


def evaluate(args: argparse.Namespace) -> int:
    """Run `duet eval`."""
    for name, (low, high) in RANGES.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name} is {value}; use {'at least 1' if value < low == 1 else f'a number from {low} to {high}'}")
    if args.sheet and args.sheet.suffix.lower() != ".png":
        raise ValueError(f"--sheet is {args.sheet}; give a file name that ends with .png")
    from ..bounce.shipped import load_joint_model

    model = load_joint_model(args.model)
    if args.nearest and args.balls != 1:
        raise ValueError(f"--balls is {args.balls}, but --nearest compares the paths of one ball; add --balls 1")
    figures = _evaluate_codecs(model, args) if args.codecs else _evaluate_clips(model, args)
    print(json.dumps(figures) if args.json else json.dumps(figures, indent=2))
    return 0


def _evaluate_codecs(model: JointModel, args: argparse.Namespace) -> dict[str, Any]:
    from ..bounce.measure.codec_eval import codec_figures

    return codec_figures(model, args.n, args.split, args.seed)


def _evaluate_clips(model: JointModel, args: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from ..bounce.measure.run_eval import default_settings, run_eval

    extra = dict(_parse_setting(each) for each in args.set)
    defaults = default_settings(model)
    guidance = args.guidance or defaults.guidance
    if args.bad_model and guidance != "autoguidance":
        raise ValueError(f"--bad-model is given, but --guidance is {guidance}; use --guidance autoguidance")
    given = {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}
    settings = replace(
        defaults,
        guidance=guidance,
        **given,
        extra=extra,
        **{name: getattr(args, name) for name in ("split", "n", "seed", "balls", "task", "cut")},
        known_mode=args.way,
    )
    bad_model = _load_bad_model(model, args.bad_model) if guidance == "autoguidance" else None
    with tqdm(total=args.n, desc="clips", delay=2) as bar:
        return run_eval(
            model,
            settings,
            bad_model=bad_model,
            binder=_load_binder() if args.likeness else None,
            sheet=args.sheet,
            nearest=args.nearest,
            on_clip=lambda done, _: bar.update(done - bar.n),
        )


def _load_binder() -> Binder:
    from ..bounce.binder import load_bounce_bind

    return load_bounce_bind()


def _parse_setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        if not name or name == "name":  # of the strategy itself
            raise ValueError
        return name, float(value)
    except ValueError:
        raise ValueError(f"--set is {text!r}; give NAME=VALUE with a number, such as video_cross_scale=4") from None


def _load_bad_model(model: JointModel, file: str | None) -> JointModel:
    from ..bounce.shipped import load_joint_model, load_untrained_bounce

    if not file and model.takes_image:
        raise ValueError(f"autoguidance needs a weaker version of {model.name}; give its file with --bad-model")
    return load_joint_model(file) if file else load_untrained_bounce()
