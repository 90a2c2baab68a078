"""What the authors' code of TangoFlux computes with small random networks, in float32 on a CPU.

`tangoflux_reference.safetensors` holds the results: the inputs and the output of the transformer at the first step, and the
latents and the sound of `TangoFluxInference.generate`. To write it again, with the authors' repository in FOLDER:
`python -m duet_av.tests.tangoflux_reference FOLDER`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import torch
from diffusers import AutoencoderOobleck
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5EncoderModel

from duet_av.benchmarks.small_models import tangoflux as small
from duet_av.benchmarks.small_models.ovi import random_tensors

SIZES = small.Sizes(dual=1, single=1, head_size=128, channels=64, steps=12)
PROMPT, SECONDS, STEPS, SCALE, SEED = "a dog barks", 10, 4, 4.5, 0
RESULTS = Path(__file__).with_suffix(".safetensors")
VAE = {
    "encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "channel_multiples": [1, 1], "decoder_channels": 4,
    "decoder_input_channels": 64, "sampling_rate": 3,
}  # fmt: skip
"""12 latent steps are 96 samples, and 30 s are 90. Its encoder is not used."""
KEPT = ("hidden_states", "timestep", "encoder_hidden_states", "pooled_projections", "txt_ids", "img_ids")


def reference() -> dict[str, Tensor]:
    """Returns the results of the authors' code, by name."""
    return load_file(RESULTS)


def build_vae() -> AutoencoderOobleck:
    vae = AutoencoderOobleck(**VAE).eval().requires_grad_(False)
    tensors = random_tensors({name: tuple(x.shape) for name, x in vae.state_dict().items()}, 5)
    vae.load_state_dict(tensors | {"decoder.conv2.weight_g": 0.02 * tensors["decoder.conv2.weight_g"]})  # a sound in -1..1
    return vae


def main(checkout: Path) -> None:
    """Runs the authors' code on the small model of this module, and keeps what it computes."""
    sys.modules.setdefault("datasets", ModuleType("datasets"))  # for its training alone
    for name in ("load_dataset", "Audio"):
        setattr(sys.modules["datasets"], name, None)
    sys.path.insert(0, str(checkout))
    from tangoflux import TangoFluxInference
    from tangoflux.model import TangoFlux

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small.build(folder, sizes=SIZES)
        tensors = load_file(folder / small.MODEL)
        words = tensors["text_encoder.shared.weight"].shape[0]
        T5EncoderModel(small.text_settings(words)).save_pretrained(folder / small.TOKENIZER)
        model = TangoFlux(json.loads((folder / small.SETTINGS).read_text()), text_encoder_dir=str(folder / small.TOKENIZER))
        assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    seen: dict[str, Tensor] = {}

    def keep(module, args, options, out) -> None:
        if not seen:
            seen.update({key: options[key].clone() for key in KEPT}, prediction=out[0].clone())

    model.eval().requires_grad_(False).transformer.register_forward_hook(keep, with_kwargs=True)
    torch.manual_seed(SEED)
    found = {"noise": torch.randn(1, SIZES.steps, SIZES.channels)}
    found["latents"] = model.inference_flow(PROMPT, num_inference_steps=STEPS, guidance_scale=SCALE, duration=SECONDS, seed=SEED)
    whole = TangoFluxInference.__new__(TangoFluxInference)
    whole.model, whole.vae = model, build_vae()
    found["sound"] = whole.generate(PROMPT, steps=STEPS, duration=SECONDS, guidance_scale=SCALE)
    save_file({name: x.contiguous() for name, x in (found | seen).items()}, RESULTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
