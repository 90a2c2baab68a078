"""Runs in ComfyUI's Python: prompts encoded with ComfyUI's own text encoders, beside the encoders of the published models.

Both have the same random weights and tokenizers. run_text_encoders.py COMFYUI_FOLDER FAMILY FOLDER RESULT
"""

import importlib.util
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

pack = Path(__file__).resolve().parents[2]
root, family, folder, result = sys.argv[1:]
folder, result = Path(folder).resolve(), Path(result).resolve()
sys.path.insert(0, root)
os.chdir(root)
sys.argv[1:] = ["--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.sd  # noqa: E402
import comfy.text_encoders.gemma4 as gemma4  # noqa: E402
import comfy.text_encoders.kandinsky5 as kandinsky5  # noqa: E402
import comfy.text_encoders.llama as llama  # noqa: E402
import comfy.text_encoders.lt as lt  # noqa: E402
import comfy.text_encoders.wan as wan  # noqa: E402
import torch  # noqa: E402

spec = importlib.util.spec_from_file_location("duet_av", pack / "__init__.py", submodule_search_locations=[str(pack)])
sys.modules["duet_av"] = importlib.util.module_from_spec(spec)  # its nodes are not needed

import sentencepiece  # noqa: E402
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5TokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from duet_av.av_models.contract import AVCondition  # noqa: E402
from duet_av.av_models.published.experts.prompts import PromptConditioner  # noqa: E402
from duet_av.av_models.published.folder import DiffusersFolder  # noqa: E402
from duet_av.av_models.published.joint import kandinsky6, ltx2_prompts, ovi  # noqa: E402
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding, read_embedding  # noqa: E402
from duet_av.av_models.published.umt5_text import UMT5Text, clip_text  # noqa: E402
from duet_av.benchmarks.small_models import ltx2 as small_ltx2  # noqa: E402

FLOAT32 = {"dtype": torch.float32}
PROMPTS = [
    "A blacksmith hammers a (very hot:1.4) blade \\(twice\\). <S>Stand back!<E> <AUDCAP>ringing steel<ENDAUDCAP>",
    "",
    "A long walk through a {quiet} town &amp; its  market. " * 80,
]
WIDTH, LAYERS = 24, 6  # of Gemma: five layers with a window, and one without


@contextmanager
def without_eyes():
    """What reads images is large, and unused here."""
    eyes = torch.nn.Module
    with (
        patch.object(llama.qwen_vl, "Qwen2VLVisionTransformer", lambda **_: eyes()),
        patch.object(llama.comfy.clip_model, "CLIPVision", lambda *_: eyes()),
    ):
        yield


def load(te, tokenizer, tensors, data=None, **configs):
    """ComfyUI's CLIP of tiny networks: its own classes, with other sizes."""
    target = SimpleNamespace(params={}, clip=te, tokenizer=tokenizer)
    with without_eyes():
        return comfy.sd.CLIP(
            target, state_dict=tensors, model_options=FLOAT32 | configs, tokenizer_data=data or {}, disable_dynamic=True
        )


def randomized(network):
    """Also gains and biases are random: ones and zeros hide mistakes."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.1)
    return network.eval()


def renamed(network, old, new):
    return {name.replace(old, new, 1): x for name, x in network.state_dict().items() if "visual" not in name}


def pieces(name, **options):
    """A SentencePiece model, as bytes, and its pieces with their scores."""
    text = folder / "words.txt"
    text.write_text("\n".join(" ".join(PROMPTS).split(". ")) + "\nabcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / name), pad_id=0, eos_id=1, hard_vocab_limit=False, minloglevel=2, **options
    )
    model = (folder / f"{name}.model").read_bytes()
    read = sentencepiece.SentencePieceProcessor(model_proto=model)
    data = {"spiece_model": torch.frombuffer(bytearray(model), dtype=torch.uint8)}
    return data, [(read.id_to_piece(i), read.get_score(i)) for i in range(read.get_piece_size())]


def of_kandinsky6():
    own = Path(root) / "comfy"
    tokenizer = Qwen2Tokenizer.from_pretrained(own / "text_encoders" / "qwen25_tokenizer")
    tokenizer.padding_side, tokenizer.pad_token = "right", "<|endoftext|>"
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTokenizer.from_pretrained(own / "sd1_tokenizer").save_pretrained(folder / "tokenizer_2")
    qwen_size = {"hidden_size": 128, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1,
                 "num_key_value_heads": 1}  # fmt: skip
    clip_size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 128}
    config = Qwen2_5_VLConfig(
        text_config=qwen_size | {"vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_parameters": rope}, vision_config=eyes
    )
    qwen = randomized(Qwen2_5_VLForConditionalGeneration(config))
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    text = randomized(CLIPTextModel(CLIPTextConfig(vocab_size=49408, **clip_size, **ends)))
    qwen.save_pretrained(folder / "text_encoder")
    text.save_pretrained(folder / "text_encoder_2")
    tensors = [renamed(qwen, "model.language_model.", "model."),
               {f"text_model.{name.removeprefix('text_model.')}": x for name, x in text.state_dict().items()}]  # fmt: skip
    sizes = {"qwen25_7b_model_config": qwen_size, "clip_l_model_config": clip_size}
    clip = load(kandinsky5.te(), kandinsky5.Kandinsky5Tokenizer, tensors, **sizes)
    config = SimpleNamespace(in_text_dim=128, in_text_dim2=16)
    return kandinsky6._make_conditioner(DiffusersFolder(folder), config, None), clip


def of_ovi():
    data, vocabulary = pieces("umt5", vocab_size=90, bos_id=-1, unk_id=2)
    T5TokenizerFast(vocab=vocabulary, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", extra_ids=0).save_pretrained(
        folder / "tokenizer"
    )
    size = {"vocab_size": len(vocabulary), "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    text = randomized(UMT5EncoderModel(UMT5Config(**size, dropout_rate=0.0)))
    text.save_pretrained(folder / "text_encoder")
    clip = load(wan.te(), wan.WanT5Tokenizer, [text.state_dict()], data, umt5xxl_model_config=size)
    parts = SimpleNamespace(model="Ovi", missing=[], text_encoder=folder, tokenizer=folder)
    return ovi.OviConditioner(ovi.OviText(parts, False, 32), ovi.OVI_960), clip


def of_wan():
    """The tokenizer is that in the text encoder's file: a SentencePiece model."""
    data, vocabulary = pieces("umt5", vocab_size=90, bos_id=-1, unk_id=2)
    size = {"vocab_size": len(vocabulary), "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    text = randomized(UMT5EncoderModel(UMT5Config(**size, dropout_rate=0.0)))
    file = folder / "umt5_xxl_fp16.safetensors"
    save_file(dict(text.named_parameters()) | data, file)
    clip = load(wan.te(), wan.WanT5Tokenizer, [text.state_dict()], data, umt5xxl_model_config=size)
    own = UMT5Text("Wan", file, 32, file, file, torch.float32)
    return OneStream(PromptConditioner(own.encode, own.from_embedding, comfyui_text=clip_text("Wan"))), clip


class OneStream:
    """The conditioner of one modality with the methods of one for both."""

    def __init__(self, conditioner):
        self.own = conditioner

    def encode_prompt(self, prompt):
        return AVCondition(*[self.own.encode_prompt(prompt)] * 2)

    def embed(self, clip, prompt, _):
        return [self.own.embed_prompt(clip, prompt)] * 2

    def from_embeddings(self, *parts):
        return AVCondition(*[self.own.from_embedding(TextEmbedding(*parts))] * 2)


def of_ltx2(version):
    char = {"model_type": "char", "normalization_rule_name": "identity", "add_dummy_prefix": False, "bos_id": 2, "unk_id": 3,
            **{f"{name}_piece": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}}  # fmt: skip
    data, vocabulary = pieces("gemma", vocab_size=200, remove_extra_whitespaces=False, **char)
    GemmaTokenizer(
        {piece: i for i, (piece, _) in enumerate(vocabulary)}, model_max_length=1024, add_bos_token=True
    ).save_pretrained(folder / "tokenizer")
    size = {"vocab_size": len(vocabulary), "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": LAYERS,
            "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    text = gemma_4(size) if version == "2.5" else gemma_3(size)
    for value in text.state_dict().values():
        value.normal_(0.0, 0.2)
    text.eval().save_pretrained(folder / "text_encoder")
    sizes = small_ltx2._connectors(version != "2.0") | {"text_proj_in_factor": LAYERS + 1}
    connectors = small_ltx2._random(LTX2TextConnectors(**sizes), 0.2)
    connectors.save_pretrained(folder / "connectors")
    tensors = [renamed(text, "model.language_model.", "model."), projections(connectors)]
    found = lt.sd_detect(tensors)
    if version == "2.5":
        network = gemma4.Gemma4_12B
        found |= {"text_encoder_model": gemma4.gemma4_text_encoder_model(network), "text_encoder_key": "gemma4"}
        tokenizer = lt.ltxav_gemma4_tokenizer(network.tokenizer)
        data = {"tokenizer_json": (folder / "tokenizer" / "tokenizer.json").read_bytes()}
    else:
        tokenizer = lt.LTXAVGemmaTokenizer
    clip = load(lt.ltxav_te(**found), tokenizer, tensors, data, _model_config=size)
    (folder / "model_index.json").write_text('{"_class_name": "LTX2Pipeline"}')
    return ltx2_prompts.make_conditioner(DiffusersFolder(folder), text.config.model_type, None), clip


def gemma_3(size):
    rope = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}}  # fmt: skip
    own = {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 1024, "rope_parameters": rope,
           "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}  # fmt: skip
    eyes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 28}
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=size | own, vision_config=eyes, mm_tokens_per_image=4))


def gemma_4(size):
    own = {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
    return Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(text_config=size | own))


def projections(connectors):
    """The first networks of the connectors, which ComfyUI runs with the text encoder."""
    names = {"text_proj_in": "", "video_text_proj_in": ".video_aggregate_embed", "audio_text_proj_in": ".audio_aggregate_embed"}
    parts = {name.rpartition("."): x for name, x in connectors.state_dict().items()}
    return {
        f"text_embedding_projection{names[old]}.{end}": x for (old, _, end), x in parts.items() if old in names
    }  # fmt: skip


def compare(conditioner, clip, prompt):
    """How far the condition of `clip` is from the model's own, relative to the largest value; and that of CLIP Text Encode."""
    mine = conditioner.encode_prompt(prompt)
    (embedding, _) = conditioner.embed(clip, prompt, prompt)
    theirs = conditioner.from_embeddings(embedding.tokens, embedding.mask, embedding.pooled)
    plain = read_embedding(*clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0])
    plain = conditioner.from_embeddings(plain.tokens, plain.mask, plain.pooled)
    return {"clip": distance(mine, theirs), "plain": distance(mine, plain), "tokens": int(mine.video.mask.sum())}


def distance(a, b):
    pairs = []
    for x, y in ((a.video, b.video), (a.audio, b.audio)):
        x_tokens, y_tokens = x.tokens[x.mask], y.tokens[y.mask]
        if x_tokens.shape != y_tokens.shape:
            return float("inf")
        pairs += [(x_tokens, y_tokens), *([(x.vector, y.vector)] if x.vector is not None else [])]
    return max(((p - q).abs().max() / p.abs().max()).item() for p, q in pairs)


torch.manual_seed(0)
make = {"kandinsky6": of_kandinsky6, "ovi": of_ovi, "wan": of_wan}.get(family) or (lambda: of_ltx2(family.removeprefix("ltx2-")))
with torch.no_grad():
    made, clip = make()
    result.write_text(json.dumps([compare(made, clip, prompt) for prompt in PROMPTS]))
