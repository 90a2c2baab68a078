"""A text encoder of ComfyUI's own classes, small and with random weights."""

from types import SimpleNamespace
from unittest.mock import patch

import comfy.sd
import comfy.text_encoders.llama as llama
import torch
from comfy.text_encoders import kandinsky5

QWEN = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 1, "num_key_value_heads": 1}
CLIP = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


class TinyClip:
    """What DualCLIPLoader gives with the type kandinsky5, with the widths of the small Kandinsky 6."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"width": ("INT", {"default": 16})}}

    def make(self, width):
        sizes = {"qwen25_7b_model_config": QWEN | {"hidden_size": width}, "clip_l_model_config": CLIP}
        target = SimpleNamespace(params={}, clip=kandinsky5.te(), tokenizer=kandinsky5.Kandinsky5Tokenizer)
        with patch.object(llama.qwen_vl, "Qwen2VLVisionTransformer", lambda **_: torch.nn.Module()):  # large, and unused
            clip = comfy.sd.CLIP(target, model_options=sizes | {"dtype": torch.float32}, disable_dynamic=True)
        chance = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, weight in clip.cond_stage_model.named_parameters():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=chance) + name.endswith("norm.weight"))
        return (clip,)


NODES = (TinyClip,)
