"""LoRA files of every naming change published networks in the same way, alone and in a joint model."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from diffusers import FluxTransformer2DModel, Kandinsky6Transformer3DModel, LTX2VideoTransformer3DModel, WanTransformer3DModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_musubi_wan_lora_to_diffusers,
    _convert_non_diffusers_ltx2_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from safetensors.torch import load_file, save_file

from duet_av.av_models.contract import AVLatent, AVTime, CouplingKind
from duet_av.av_models.joining import join_experts
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.joint import LoadOptions
from duet_av.av_models.published.joint.ovi import load_denoiser
from duet_av.av_models.published.load_network import store_as_fp8
from duet_av.av_models.published.load_published import load_published
from duet_av.av_models.published.lora import apply_lora_tensors, apply_loras, apply_loras_beside, read_lora
from duet_av.benchmarks.small_models import kandinsky6, ltx2
from duet_av.tests import small

RANK = 3
WAN_BLOCK = {
    "self_attn.q": "attn1.to_q", "self_attn.k": "attn1.to_k", "self_attn.v": "attn1.to_v", "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q", "cross_attn.k": "attn2.to_k", "cross_attn.v": "attn2.to_v", "cross_attn.o": "attn2.to_out.0",
    "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2",
}  # fmt: skip
WAN_ENDS = {
    "time_projection.1": "condition_embedder.time_proj", "head.head": "proj_out",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
}  # fmt: skip
WAN_BLOCKS = {f"blocks.{n}.{theirs}": f"blocks.{n}.{own}" for n in range(2) for theirs, own in WAN_BLOCK.items()}
LTX2_LAYERS = {
    "patchify_proj": "proj_in", "audio_patchify_proj": "audio_proj_in", "adaln_single.linear": "time_embed.linear",
    "audio_adaln_single.linear": "audio_time_embed.linear",
    "av_ca_a2v_gate_adaln_single.linear": "av_cross_attn_video_a2v_gate.linear",
    "transformer_blocks.1.audio_to_video_attn.to_q": "transformer_blocks.1.audio_to_video_attn.to_q",
    "transformer_blocks.0.audio_ff.net.0.proj": "transformer_blocks.0.audio_ff.net.0.proj",
}  # fmt: skip
FLUX_LAYERS = [
    "transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_k_proj", "transformer_blocks.0.attn.to_out.0",
    "single_transformer_blocks.1.attn.to_v", "single_transformer_blocks.0.proj_mlp", "single_transformer_blocks.1.proj_out",
]  # fmt: skip
KANDINSKY_LAYERS = [
    "visual_transformer_blocks.0.video_dec_block.self_attention.to_query", "visual_transformer_blocks.1.va_cross_attention.to_key",
    "visual_transformer_blocks.1.audio_dec_block.feed_forward.net.0.proj",
]  # fmt: skip


def random_network(cls, **config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = cls(**config).eval().requires_grad_(False)
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return network


def wan(**changes):
    return random_network(WanTransformer3DModel, **small.video_config(num_layers=2, **changes))


def flux():
    return random_network(FluxTransformer2DModel, **small.audio_config(), guidance_embeds=False)


def run_wan(network):
    generator = torch.Generator().manual_seed(3)
    latent, text = torch.randn(2, 5, 3, 4, 4, generator=generator), torch.randn(2, 6, 8, generator=generator)
    return network(latent.to(network.dtype), torch.tensor([700.0, 20.0]), text.to(network.dtype), return_dict=False)[0]


def halves(network, layers, seed=0, rank=RANK):
    """Return A and B of each layer."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name in layers:
        rows, columns = network.get_submodule(name).weight.shape
        found[name] = 0.5 * torch.randn(rank, columns, generator=generator), 0.5 * torch.randn(rows, rank, generator=generator)
    return found


def write(path, pairs, prefix="transformer.", ends=("lora_A", "lora_B"), alpha=None, flat=False, **extra):
    """Write a LoRA file. pairs: A and B by the name of the layer in this file."""
    tensors = dict(extra)
    for name, (a, b) in pairs.items():
        stem = prefix + (name.replace(".", "_") if flat else name)
        tensors |= {f"{stem}.{ends[0]}.weight": a, f"{stem}.{ends[1]}.weight": b}
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(float(alpha))
    save_file({name: x.contiguous() for name, x in tensors.items()}, path)
    return path


def named(pairs, layers):
    """Return A and B by the authors' names. layers: own names by those."""
    return {theirs: pairs[own] for theirs, own in layers.items()}


UP_DOWN = "lora_down", "lora_up"
STYLES = {
    "diffusers": {},
    "peft": {"prefix": "base_model.model."},
    "ComfyUI": {"prefix": "diffusion_model."},
    "ComfyUI, up and down": {"prefix": "diffusion_model.", "ends": UP_DOWN, "alpha": RANK},
    "DiffSynth": {"prefix": "pipe.dit.", "ends": ("lora_A.default", "lora_B.default")},
    "kohya": {"prefix": "lora_unet_", "ends": UP_DOWN, "alpha": RANK, "flat": True},
}


@pytest.mark.parametrize("style", STYLES)
def test_every_naming_gives_wan_the_same_result(style, tmp_path):
    layers = WAN_BLOCKS | WAN_ENDS
    pairs = halves(wan(), layers.values())
    theirs = pairs if style in ("diffusers", "peft") else named(pairs, layers)
    changed, expected = wan(), wan()
    apply_loras(changed, [(write(tmp_path / "x.safetensors", theirs, **STYLES[style]), 0.7)])
    for name, (a, b) in pairs.items():
        expected.get_submodule(name).weight += 0.7 * b @ a
    assert (run_wan(wan()) - run_wan(changed)).abs().max() > 0.1
    torch.testing.assert_close(run_wan(changed), run_wan(expected), atol=1e-5, rtol=1e-5)
    same = wan()
    apply_loras(same, [(write(tmp_path / "d.safetensors", pairs), 0.7)])
    assert torch.equal(run_wan(changed), run_wan(same))


def test_wan_files_are_read_as_by_diffusers_converters(tmp_path):
    pairs = named(halves(wan(), WAN_BLOCKS.values()), WAN_BLOCKS)
    bias = {"diffusion_model.blocks.1.ffn.0.diff_b": torch.randn(64)}
    for number, (convert, extra, style) in enumerate((
        (_convert_non_diffusers_wan_lora_to_diffusers, bias, {"prefix": "diffusion_model.", "ends": UP_DOWN}),
        (_convert_non_diffusers_wan_lora_to_diffusers, bias, {"prefix": "diffusion_model."}),
        (_convert_musubi_wan_lora_to_diffusers, {}, {"prefix": "lora_unet_", "ends": UP_DOWN, "alpha": 8, "flat": True}),
    )):  # fmt: skip
        path = write(tmp_path / f"{number}.safetensors", pairs, **style, **extra)
        expected = {name.removeprefix("transformer."): x for name, x in convert(load_file(path)).items()}
        found = read_lora(path, wan())
        assert found.keys() == expected.keys()
        for name in found:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=0)


def test_a_file_of_some_layers_alone_is_read(tmp_path):
    """Diffusers' converters raise KeyError for it."""
    pairs = {"blocks_1_self_attn_q": halves(wan(), ["blocks.1.attn1.to_q"])["blocks.1.attn1.to_q"]}
    path = write(tmp_path / "x.safetensors", pairs, "lora_unet_", UP_DOWN, alpha=1)
    assert sorted(read_lora(path, wan())) == ["blocks.1.attn1.to_q.lora_A.weight", "blocks.1.attn1.to_q.lora_B.weight"]


def test_alphas_of_tensors_and_of_settings(tmp_path):
    pairs = halves(wan(), ["blocks.0.attn1.to_q", "blocks.1.attn1.to_q"])
    plain = read_lora(write(tmp_path / "plain.safetensors", pairs), wan())
    half = read_lora(write(tmp_path / "half.safetensors", pairs, alpha=RANK / 2), wan())
    settings = {
        "transformer.r": RANK,
        "transformer.lora_alpha": 6 * RANK,
        "transformer.alpha_pattern": {"blocks.1.attn1.to_q": RANK},
    }
    tensors = {f"transformer.{name}": x for name, x in plain.items()}
    save_file(tensors, tmp_path / "set.safetensors", metadata={"lora_adapter_metadata": json.dumps(settings)})
    found = read_lora(tmp_path / "set.safetensors", wan())
    (tmp_path / "peft").mkdir()
    save_file({f"base_model.model.{name}": x for name, x in plain.items()}, tmp_path / "peft" / "adapter_model.safetensors")
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": 2 * RANK, "use_rslora": False}))
    from_peft = read_lora(tmp_path / "peft" / "adapter_model.safetensors", wan())
    for number, factor in ((0, 6), (1, 1)):
        key = f"blocks.{number}.attn1.to_q.lora_A.weight"
        torch.testing.assert_close(half[key], plain[key] / 2)
        torch.testing.assert_close(found[key], factor * plain[key])
        torch.testing.assert_close(from_peft[key], 2 * plain[key])


def test_differences_of_whole_tensors(tmp_path):
    """Distilled LoRAs have them for biases, norms and the modulation."""
    differences = {
        "blocks.0.self_attn.norm_q.diff": "blocks.0.attn1.norm_q.weight", "blocks.0.norm3.diff_b": "blocks.0.norm2.bias",
        "blocks.1.modulation.diff": "blocks.1.scale_shift_table", "head.modulation.diff": "scale_shift_table",
        "patch_embedding.diff": "patch_embedding.weight", "head.head.diff_b": "proj_out.bias",
    }  # fmt: skip
    expected = wan()
    parameters = dict(expected.named_parameters())
    extra = {f"diffusion_model.{key}": torch.randn_like(parameters[own]) for key, own in differences.items()}
    extra["diffusion_model.blocks.0.ffn.0.diff_b"] = torch.randn(64)
    pairs = halves(expected, ["blocks.0.ffn.net.0.proj", "blocks.1.ffn.net.2"])
    theirs = {"blocks.0.ffn.0": pairs["blocks.0.ffn.net.0.proj"], "blocks.1.ffn.2": pairs["blocks.1.ffn.net.2"]}
    path = write(tmp_path / "x.safetensors", theirs, "diffusion_model.", UP_DOWN, **extra)
    changed = wan()
    apply_loras(changed, [(path, 0.3)])
    for key, own in differences.items():
        parameters[own] += 0.3 * extra[f"diffusion_model.{key}"]
    parameters["blocks.0.ffn.net.0.proj.bias"] += 0.3 * extra["diffusion_model.blocks.0.ffn.0.diff_b"]
    for name, (a, b) in pairs.items():
        expected.get_submodule(name).weight += 0.3 * b @ a
    torch.testing.assert_close(run_wan(changed), run_wan(expected), atol=1e-5, rtol=1e-5)


def test_ltx2_names(tmp_path):
    network = random_network(LTX2VideoTransformer3DModel, **ltx2.TRANSFORMER | ltx2.OF_VERSION["2.3"])
    pairs = halves(network, LTX2_LAYERS.values())
    comfy = write(tmp_path / "c.safetensors", named(pairs, LTX2_LAYERS), "diffusion_model.")
    plain = write(tmp_path / "d.safetensors", pairs)
    expected = _convert_non_diffusers_ltx2_lora_to_diffusers(load_file(comfy))
    found = read_lora(comfy, network)
    assert {f"transformer.{name}" for name in found} == expected.keys()
    assert all(torch.equal(x, expected[f"transformer.{name}"]) for name, x in found.items())
    assert {name: x.sum() for name, x in read_lora(plain, network).items()} == {name: x.sum() for name, x in found.items()}
    apply_loras(network, [(comfy, 1.0)])


CONNECTORS = {
    "text_embedding_projection.aggregate_embed": "text_proj_in",
    "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q": "video_connector.transformer_blocks.0.attn1.to_q",
}


@pytest.mark.parametrize("prefix", ["connectors.", "diffusion_model.", ""])
def test_a_lora_of_ltx2_can_also_change_its_connectors(prefix, tmp_path):
    """As that of its distillation does."""
    network = random_network(LTX2VideoTransformer3DModel, **ltx2.TRANSFORMER | ltx2.OF_VERSION["2.0"])
    connectors = random_network(LTX2TextConnectors, **ltx2._connectors(False))
    pairs = halves(connectors, CONNECTORS.values())
    extra = {
        f"{prefix}{name}.lora_{half}.weight": x
        for name, both in (pairs if prefix == "connectors." else named(pairs, CONNECTORS)).items()
        for half, x in zip("AB", both)
    }
    path = write(tmp_path / "x.safetensors", halves(network, ["transformer_blocks.0.attn1.to_q"]), **extra)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply_loras(network, [(path, 1.0)])
        apply_loras_beside(connectors, [(path, 0.5)])
    for name, (a, b) in pairs.items():
        layer = connectors.get_submodule(name)
        torch.testing.assert_close(layer.get_delta_weight("lora_0"), 0.5 * b @ a)
    only = write(tmp_path / "y.safetensors", halves(wan(), ["blocks.0.attn1.to_q"]))
    apply_loras_beside(random_network(LTX2TextConnectors, **ltx2._connectors(False)), [(only, 1.0)])


def test_kandinsky_and_flux_names(tmp_path):
    for network, layers in (
        (random_network(Kandinsky6Transformer3DModel, **kandinsky6.TRANSFORMER), KANDINSKY_LAYERS),
        (flux(), FLUX_LAYERS),
    ):
        pairs = halves(network, layers)
        found = [
            read_lora(write(tmp_path / "x.safetensors", pairs, **style), network)
            for style in ({}, {"prefix": "diffusion_model."}, {"prefix": "lora_unet_", "ends": UP_DOWN, "flat": True})
        ]
        for tensors in found:
            assert tensors.keys() == {f"{name}.lora_{half}.weight" for name in layers for half in "AB"}
            assert all(torch.equal(x, found[0][name]) for name, x in tensors.items())


@pytest.mark.parametrize("options", [{}, {"keep_dtype": True, "quantize": "fp8"}])
def test_ovi_takes_loras(options, small_ovi, tmp_path):
    layers = {"video_model.blocks.1.self_attn.q": "blocks.1.video.attn1.to_q",
              "audio_model.blocks.0.cross_attn.k_fusion": "blocks.0.to_audio.to_k"}  # fmt: skip
    path = next(small_ovi.glob("model_*.safetensors"))
    plain = load_denoiser(path, LoadOptions(**options))
    pairs = halves(plain, layers.values())
    for theirs in (pairs, named(pairs, layers)):
        lora = write(tmp_path / "x.safetensors", theirs, "")
        changed = load_denoiser(path, LoadOptions(loras=((lora, 0.5),), **options))
        for name, (a, b) in pairs.items():
            layer = changed.get_submodule(name)
            assert layer.lora_A["lora_0"].weight.dtype == (torch.bfloat16 if options else torch.float32)
            torch.testing.assert_close(layer.get_delta_weight("lora_0").float(), 0.5 * b @ a, atol=0.05, rtol=0.05)


def test_a_convolution_and_its_flat_form(tmp_path):
    a, b = torch.randn(RANK, 5, 1, 2, 2), torch.randn(48, RANK, 1, 1, 1)
    shaped = write(tmp_path / "1.safetensors", {"patch_embedding": (a, b)}, "diffusion_model.", UP_DOWN)
    flat = write(tmp_path / "2.safetensors", {"patch_embedding": (a.flatten(1), b.flatten(1))}, "diffusion_model.", UP_DOWN)
    results = []
    for path in (shaped, flat):
        network = wan()
        apply_loras(network, [(path, 0.5)])
        results.append(run_wan(network))
    expected = wan()
    expected.patch_embedding.weight += 0.5 * (b.flatten(1) @ a.flatten(1)).view_as(expected.patch_embedding.weight)
    assert torch.equal(*results)
    torch.testing.assert_close(results[0], run_wan(expected), atol=1e-5, rtol=1e-5)


def test_one_layer_of_flux_authors_is_several_of_diffusers(tmp_path):
    network = flux()
    a, b = torch.randn(RANK, 32), torch.randn(3 * 32, RANK)
    single = torch.randn(3 * 32 + 128, RANK)
    pairs = {"double_blocks_0_txt_attn_qkv": (a, b), "single_blocks_1_linear1": (a + 1, single)}
    found = read_lora(write(tmp_path / "x.safetensors", pairs, "lora_unet_", UP_DOWN), network)
    for number, name in enumerate(("add_q_proj", "add_k_proj", "add_v_proj")):
        assert torch.equal(found[f"transformer_blocks.0.attn.{name}.lora_B.weight"], b[32 * number : 32 * (number + 1)])
    assert torch.equal(found["single_transformer_blocks.1.attn.to_v.lora_B.weight"], single[64:96])
    assert torch.equal(found["single_transformer_blocks.1.proj_mlp.lora_B.weight"], single[96:])


def test_merged_is_unmerged_and_several_add_up(tmp_path):
    first = write(tmp_path / "1.safetensors", halves(wan(), WAN_BLOCKS.values(), 1))
    second = write(tmp_path / "2.safetensors", halves(wan(), list(WAN_BLOCKS.values())[:5], 2, rank=2))
    both, expected = wan(), wan()
    apply_loras(both, [(first, 0.5), (second, -1.5)])
    for seed, layers, rank, strength in ((1, WAN_BLOCKS.values(), RANK, 0.5), (2, list(WAN_BLOCKS.values())[:5], 2, -1.5)):
        for name, (a, b) in halves(wan(), layers, seed, rank).items():
            expected.get_submodule(name).weight += strength * b @ a
    out = run_wan(both)
    torch.testing.assert_close(out, run_wan(expected), atol=1e-5, rtol=1e-5)
    both.fuse_lora()
    assert (run_wan(both) - out).abs().max() < 1e-6 * out.abs().max()
    later = wan()
    apply_loras(later, [(first, 0.5)])
    apply_lora_tensors(later, {f"transformer.{name}": x for name, x in read_lora(second, wan()).items()}, -1.5)
    assert torch.equal(run_wan(later), out)


def test_strength_0_changes_nothing(tmp_path):
    path = write(tmp_path / "x.safetensors", halves(wan(), WAN_BLOCKS.values()), **{"blocks.0.norm2.diff": torch.ones(48)})
    network = wan()
    apply_loras(network, [(path, 0.0)])
    assert torch.equal(run_wan(network), run_wan(wan()))
    with pytest.raises(ValueError, match="the strength of .*x.safetensors is nan; use a finite number"):
        apply_loras(network, [(path, float("nan"))])


@pytest.mark.parametrize("fp8", [False, True])
def test_bfloat16_and_8_bits(fp8, tmp_path):
    pairs = halves(wan(), WAN_BLOCKS.values())
    path = write(tmp_path / "x.safetensors", pairs)

    def loaded():
        network = wan().bfloat16()
        if fp8:
            store_as_fp8(network)
        return network

    network, before = loaded(), run_wan(loaded()).float()
    apply_loras(network, [(path, 0.5)])
    adapters = [x for name, x in network.named_parameters() if ".lora_" in name]
    assert {x.dtype for x in adapters} == {torch.bfloat16} and not any(x.requires_grad for x in adapters)
    exact = wan()
    exact.load_state_dict({name: x.float() for name, x in loaded().state_dict().items()})
    apply_loras(exact, [(path, 0.5)])
    change = (run_wan(exact) - before).norm()
    assert change > 1 and (run_wan(network).float() - run_wan(exact)).norm() < 0.05 * change
    whole = write(tmp_path / "whole.safetensors", {}, **{"diffusion_model.blocks.0.ffn.0.diff": torch.ones(64, 48)})
    if fp8:
        with pytest.raises(ValueError, match="changes all of blocks.0.ffn.net.0.proj.weight, which is stored in few bits; load"):
            apply_loras(network, [(whole, 1.0)])


def test_a_gguf_file_takes_loras(tmp_path):
    gguf = pytest.importorskip("gguf")
    from diffusers import GGUFQuantizationConfig

    layers = ["blocks.0.attn1.to_q", "blocks.1.ffn.net.0.proj"]
    sizes = {"num_attention_heads": 2, "text_dim": 32}
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "wan")
    for name, x in wan(**sizes).state_dict().items():
        kind = gguf.GGMLQuantizationType.Q8_0
        if name.startswith("blocks") and x.ndim == 2 and name.endswith("weight"):
            writer.add_tensor(name, gguf.quants.quantize(x.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, x.numpy())
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    wan(**sizes).save_config(tmp_path / "config")

    def loaded():
        return WanTransformer3DModel.from_single_file(
            str(tmp_path / "x.gguf"), config=str(tmp_path / "config"), torch_dtype=torch.float32, local_files_only=True,
            quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
        ).requires_grad_(False)  # fmt: skip

    network, exact = loaded(), wan(**sizes)
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, 5, 3, 4, 4, generator=generator), torch.tensor([700.0]), torch.randn(1, 6, 32, generator=generator)
    before = network(*given)[0]
    path = write(tmp_path / "x.safetensors", halves(exact, layers))
    apply_loras(network, [(path, 1.0)])
    apply_loras(exact, [(path, 1.0)])
    after = network(*given)[0]
    assert (after - before).norm() > 1 and (after - exact(*given)[0]).norm() < 0.05 * (after - before).norm()
    whole = write(tmp_path / "whole.safetensors", {}, **{"blocks.0.attn1.to_q.diff": torch.ones(32, 32)})
    with pytest.raises(ValueError, match="changes all of blocks.0.attn1.to_q.weight, which is stored in few bits; load the model"):
        apply_loras(network, [(whole, 1.0)])


@pytest.mark.parametrize("kind", CouplingKind)
def test_a_joint_model_takes_loras_on_both_towers(kind, tmp_path):
    """The split form of a block uses every layer that a LoRA changes."""
    model, expected = small.joint(), small.joint()
    for expert, merged in ((model.video, expected.video), (model.audio, expected.audio)):
        linear = [name for name, module in expert.transformer.named_modules() if isinstance(module, torch.nn.Linear)]
        layers = [name for name in linear if "blocks." in name]
        pairs = halves(expert.transformer, layers)
        path = write(tmp_path / "x.safetensors", pairs)
        for name, (a, b) in pairs.items():
            merged.transformer.get_submodule(name).weight += 0.2 * b @ a
        apply_loras(expert.transformer, [(path, 0.2)])
    given = small.latent(), small.times(), small.condition()
    with torch.no_grad():
        before, after, wanted = (each.predict(*given, (kind, kind)) for each in (small.joint(), model, expected))
    for stream in ("video", "audio"):
        assert (getattr(after, stream) - getattr(before, stream)).abs().max() > 0.05
        torch.testing.assert_close(getattr(after, stream), getattr(wanted, stream), atol=2e-5, rtol=2e-5)


def test_published_experts_of_a_pair_take_loras(small_wan, small_tangoflux, tmp_path):
    """In two namings of Wan's LoRAs; the joint model computes with both."""
    layers = {key: own for key, own in WAN_BLOCKS.items() if "blocks.1" in key}
    expert = load_published(small_wan, "video").expert
    pairs = halves(expert.transformer, layers.values())
    audio_layers = ["transformer_blocks.0.attn.to_out.0", "single_transformer_blocks.0.proj_mlp"]
    audio = halves(load_published(small_tangoflux, "audio").expert.transformer, audio_layers)
    sound = ExpertOptions(loras=((write(tmp_path / "a.safetensors", audio), 1.0),))
    generator, results = torch.Generator().manual_seed(0), []
    given = None
    for style in (None, "ComfyUI, up and down", "kohya"):
        path = style and write(tmp_path / "v.safetensors", named(pairs, layers), **STYLES[style])
        options = [ExpertOptions(loras=((path, 1.0),)), sound] if path else [ExpertOptions()] * 2
        model = join_experts(
            small_wan, small_tangoflux, "none", "none", name="x", video_options=options[0], audio_options=options[1]
        )
        shape = model.shape(frames=5, height=32, width=32)
        if given is None:
            sizes = model.latent_shape(shape)
            latent = AVLatent(*(torch.randn(size, generator=generator) for size in (sizes.video, sizes.audio)))
            given = latent, AVTime(torch.tensor([0.5]), torch.tensor([0.5])), model.encode("a", "b", shape=shape)
        with torch.no_grad():
            results.append(model.denoiser_for(shape).predict(*given, [CouplingKind.FULL]))
    for other in results[2:]:
        assert torch.equal(other.video, results[1].video) and torch.equal(other.audio, results[1].audio)
    for stream in ("video", "audio"):
        assert (getattr(results[0], stream) - getattr(results[1], stream)).abs().max() > 0.01


def test_a_lora_that_fits_no_layer_is_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", {"double_blocks.0.img_attn.qkv": (torch.ones(2, 8), torch.ones(24, 2))})
    with pytest.raises(ValueError, match="fits no layer of WanTransformer3DModel: it has transformer.double_blocks.0.img_attn.*; "
                       "use a LoRA of this model"):  # fmt: skip
        read_lora(path, wan())
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="fits no layer of WanTransformer3DModel: it has weight; use a LoRA"):
        read_lora(path, wan())


def test_keys_that_fit_no_layer_are_named(tmp_path):
    pairs = halves(wan(), ["blocks.0.attn1.to_q"]) | {"blocks.39.attn1.to_q": (torch.ones(2, 48), torch.ones(48, 2))}
    path = write(tmp_path / "x.safetensors", pairs)
    with pytest.warns(UserWarning, match="2 keys fit no layer of WanTransformer3DModel: transformer.blocks.39.attn1.to_q.lora_A"):
        apply_loras(wan(), [(path, 1.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply_loras(wan(), [(write(path, halves(wan(), ["blocks.0.attn1.to_q"])), 1.0)])


Q = "transformer.blocks.0.attn1.to_q."


@pytest.mark.parametrize("tensors, message", [
    ({"lora_A.weight": (2, 40), "lora_B.weight": (48, 2)}, "lora_A.weight has shape 2×40, and blocks.0.attn1.to_q takes 48 col"),
    ({"lora_A.weight": (2, 48), "lora_B.weight": (40, 2)}, "B is 40×2, and blocks.0.attn1.to_q of rank 2 needs 48×2; use"),
    ({"lora_A.weight": (2, 48), "lora_B.weight": (48, 3)}, "B is 48×3, and blocks.0.attn1.to_q of rank 2 needs 48×2; use"),
    ({"lora_A.weight": (0, 48), "lora_B.weight": (48, 0)}, "to_q.lora_A.weight is empty; download it again"),
    ({"lora_A.weight": (2, 48)}, "to_q.lora_A.weight and not the other half of this LoRA layer; download it again"),
    ({"diff": (4, 4)}, "changes blocks.0.attn1.to_q.weight by a tensor of shape 4×4, which does not fit; use a LoRA of this model"),
    ({"lokr_w1": (4, 4)}, r"is a LoKr \(transformer.blocks.0.attn1.to_q.lokr_w1\), which is not supported; use a LoRA"),
    ({"dora_scale": (4, 4)}, "is a DoRA"),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_one_line(tensors, message, tmp_path):
    save_file({Q + name: torch.ones(shape) for name, shape in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=message) as error:
        read_lora(tmp_path / "x.safetensors", wan())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1]", "{", '{"transformer.lora_alpha": "many"}', "[" * 10**5])
def test_damaged_settings_are_one_line(text, tmp_path):
    save_file({f"{Q}lora_A.weight": torch.ones(2, 48), f"{Q}lora_B.weight": torch.ones(48, 2)}, tmp_path / "x.safetensors",
              metadata={"lora_adapter_metadata": text})  # fmt: skip
    with pytest.raises(ValueError, match="x.safetensors") as error:
        read_lora(tmp_path / "x.safetensors", wan())
    assert "; " in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_experts_that_take_no_lora(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        apply_loras(wan(), [(tmp_path / "gone.safetensors", 1.0)])
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioLDM2Pipeline"}')
    with pytest.raises(ValueError, match="x is given for .*, but AudioLDM2Pipeline takes no LoRA; leave it out"):
        load_published(tmp_path, "audio", ExpertOptions(loras=((tmp_path / "x", 1.0),)))
