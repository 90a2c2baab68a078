"""Runs in ComfyUI's Python: VAEs that ComfyUI has loaded as codecs, beside our own loading of the same small files.

run_vae_codecs.py COMFYUI_FOLDER FOLDER RESULT writes the largest differences of encoding and decoding by VAE.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

pack = Path(__file__).resolve().parents[2]
root, folder, result = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
sys.path.insert(0, root)
os.chdir(root)
sys.argv[1:] = ["--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.ldm.wan.vae2_2 as vae2_2  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import torch  # noqa: E402

spec = importlib.util.spec_from_file_location("duet_av", pack / "__init__.py", submodule_search_locations=[str(pack)])
sys.modules["duet_av"] = importlib.util.module_from_spec(spec)  # its nodes are not needed

from diffusers import AutoencoderOobleck  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from duet_av.av_models.codecs.oobleck import OobleckCodec  # noqa: E402
from duet_av.av_models.codecs.wan_vae import WanCodec  # noqa: E402
from duet_av.av_models.published.oobleck_file import load_oobleck, original_name  # noqa: E402
from duet_av.av_models.published.wan_vae_file import load_wan_vae  # noqa: E402
from duet_av.benchmarks.small_models import wan  # noqa: E402
from duet_av.benchmarks.small_models.ovi import random_tensors  # noqa: E402
from duet_av.nodes.native.vae_codec import wrap_vae  # noqa: E402

SMALL_22 = {"dim": 4, "dec_dim": 4}  # ComfyUI has the widths of Wan 2.2's VAE in its code
SMALL_OOBLECK = {"channels": 4, "latent_dim": 2}


def hosted(path, network, small):
    """The VAE as ComfyUI loads it, with the widths of the small file."""
    owner, name = network
    real = getattr(owner, name)
    with patch.object(owner, name, lambda **config: real(**config | small)):
        return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)), dtype=torch.float32)


def wan_codecs(size):
    path = folder / wan.VAES[size]
    wan.write_vae(path, size)
    host = hosted(path, (vae2_2, "WanVAE"), SMALL_22 if size == "ti2v" else {})
    return wrap_vae(host, "video_vae"), WanCodec.of(load_wan_vae(path, torch.float32)).eval()


def oobleck_codecs():
    path = folder / "vae" / "oobleck.safetensors"
    with torch.device("meta"):
        empty = AutoencoderOobleck(encoder_hidden_size=4, channel_multiples=[1, 2, 4, 8, 16], downsampling_ratios=[2, 4, 4, 8, 8],
                                   decoder_channels=4, decoder_input_channels=2)  # fmt: skip
    shapes = {name: tuple(x.shape) for name, x in empty.state_dict().items()}
    tensors = {original_name(name, 5): x for name, x in random_tensors(shapes, 0).items()}
    save_file({n: x.flatten() if n.endswith(("alpha", "beta")) else x for n, x in tensors.items()}, path)
    host = hosted(path, (comfy.sd, "AudioOobleckVAE"), SMALL_OOBLECK)
    host.latent_channels = SMALL_OOBLECK["latent_dim"]
    return wrap_vae(host, "audio_vae"), OobleckCodec.of(load_oobleck(path, torch.float32)).eval()


def difference(pair, given, latent):
    """The largest difference, in parts of the largest value."""
    found = {}
    for name, x in (("encode", given), ("decode", latent)):
        with torch.no_grad():
            host, own = (getattr(codec, name)(x) for codec in pair)
        found[name] = float((host - own).abs().max() / own.abs().max())
    return found | {"stride": pair[0].stride == pair[1].stride, "equal": pair[0] == wrap_vae(pair[0].host_vae, pair[0].name)}


def refused():
    try:
        wrap_vae(oobleck_codecs()[0].host_vae, "video_vae")
    except ValueError as error:
        return str(error)


torch.manual_seed(0)
made = {}
for size, channels in (("ti2v", 48), ("t2v", 16)):
    made[size] = difference(wan_codecs(size), torch.rand(1, 5, 32, 32, 3), torch.randn(1, channels, 2, 2, 2))
made["oobleck"] = difference(oobleck_codecs(), torch.rand(1, 2, 5000) - 0.5, torch.randn(1, 2, 3))
made["refused"] = refused()
result.write_text(json.dumps(made))
