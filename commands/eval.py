"""`duet eval bounce`: generate clips with a joint model and measure them."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

SAMPLING = ("scale", "steps", "shift", "eta")  # options that default to the settings of the model


def register(commands) -> None:
    parser = commands.add_parser("eval", help="measure a model on generated clips", description=__doc__)
    parser.add_argument("world", choices=["bounce"])
    parser.add_argument("--model", default="Bounce", metavar="NAME", help="Bounce, or a .safetensors file")
    parser.add_argument(
        "--task", choices=["t2av", "i2av", "v2a", "a2v", "extend"], default="t2av", help="what of a true clip is given"
    )
    parser.add_argument("--way", choices=["clean", "renoised"], help="how; default: as the model was trained")
    parser.add_argument("--guidance", metavar="NAME", help="default: the one chosen on validation clips")
    parser.add_argument("--scale", type=float, metavar="S", help="for both modalities; default: as chosen likewise")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of the guidance, as video_cross_scale=4"
    )
    parser.add_argument("--bad-model", metavar="FILE", help="of autoguidance; default: the experts, never joined")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--shift", type=float, metavar="S", help="bends the time grid, as the sampler node's input does")
    parser.add_argument("--eta", type=float, metavar="H", help="how much noise each step draws anew, as the sampler node's input")
    parser.add_argument("--balls", type=int, choices=[1, 2], help="default: both kinds of clip")
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cut", action="store_true", help="drop the coupling between picture and sound")
    parser.add_argument("--codecs", action="store_true", help="measure the codecs alone, on true clips")
    parser.add_argument("--nearest", action="store_true", help="one-ball clips' distance to the nearest training clip")
    parser.add_argument("--likeness", action="store_true", help="add what Bounce-Bind finds: likeness, Fréchet distance")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw the first eight clips with their spectrograms")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(command=evaluate)


def evaluate(args: argparse.Namespace) -> int:
    if args.n < 1:
        raise ValueError(f"--n is {args.n}; give at least 1")
    from ..bounce.shipped import load_joint_model

    model = load_joint_model(args.model)
    if args.nearest and args.balls != 1:
        raise ValueError("--nearest compares paths of one ball; add --balls 1")
    figures = _codecs(model, args) if args.codecs else _clips(model, args)
    print(json.dumps(figures) if args.json else json.dumps(figures, indent=2))
    return 0


def _codecs(model, args: argparse.Namespace) -> dict:
    from ..bounce.measure.codec_eval import codec_figures

    return codec_figures(model, args.n, args.split, args.seed)


def _clips(model, args: argparse.Namespace) -> dict:
    from tqdm import tqdm

    from ..bounce.measure.run_eval import default_settings, run_eval

    defaults = default_settings(model)
    guidance = args.guidance or defaults.guidance
    if args.bad_model and guidance != "autoguidance":
        raise ValueError(f"--bad-model is for autoguidance; --guidance is {guidance}")
    given = {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}
    settings = replace(
        defaults,
        guidance=guidance,
        **given,
        extra=dict(_setting(each) for each in args.set),
        **{name: getattr(args, name) for name in ("split", "n", "seed", "balls", "task", "cut")},
        known_mode=args.way,
    )
    bad_model = _bad_model(model, args.bad_model) if guidance == "autoguidance" else None
    with tqdm(total=args.n, desc="clips", delay=2) as bar:
        return run_eval(
            model,
            settings,
            bad_model=bad_model,
            binder=_binder() if args.likeness else None,
            sheet=args.sheet,
            nearest=args.nearest,
            on_clip=lambda done, _: bar.update(done - bar.n),
        )


def _binder():
    from ..bounce.binder import load_bounce_bind

    return load_bounce_bind()


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--set is {text!r}; give NAME=VALUE, as video_cross_scale=4") from None


def _bad_model(model, file: str | None):
    from ..bounce.shipped import load_joint_model, load_untrained_bounce

    if not file and model.takes_image:
        raise ValueError(f"autoguidance compares {model.name} with a worse version of it; name one with --bad-model")
    return load_joint_model(file) if file else load_untrained_bounce()
