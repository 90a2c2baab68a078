"""Runs in ComfyUI's Python: ComfyUI's connector of LTX-2 with the weights and tokens of a file; saves what it returns."""

import sys

import torch

sys.path.insert(0, sys.argv.pop(1))
source, result = sys.argv[1:3]
sys.argv[1:] = ["--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.ops  # noqa: E402
from comfy.ldm.lightricks.embeddings_connector import Embeddings1DConnector  # noqa: E402

given = torch.load(source)
connector = Embeddings1DConnector(
    in_channels=32, cross_attention_dim=32, attention_head_dim=16, num_attention_heads=2, num_layers=2, num_learnable_registers=8,
    split_rope=True, double_precision_rope=True, apply_gated_attention=given["gated"], operations=comfy.ops.disable_weight_init,
    positional_embedding_max_pos=[4096],
)  # fmt: skip
connector.load_state_dict(given["weights"])
with torch.no_grad():
    torch.save(connector(given["tokens"])[0], result)
