"""Prompts that ComfyUI's text encoder for LTX-2 has encoded, in the LTX-2 of a diffusers folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from duet_av.av_models.published.joint.ltx2_prompts import _connect

NAMES = (("transformer_blocks", "transformer_1d_blocks"), ("norm_q", "q_norm"), ("norm_k", "k_norm"))


@pytest.mark.parametrize("gated, length", [(False, 37), (True, 1100)])
def test_the_connectors_of_a_folder_equal_comfyuis(tmp_path, gated, length):
    torch.manual_seed(0)
    connector = LTX2ConnectorTransformer1d(2, 16, 2, 8, rope_type="split", gated_attention=gated)
    tokens, weights = torch.randn(1, length, 32), {}
    for name, value in connector.state_dict().items():
        value.normal_(0, 0.2)
        for own, theirs in NAMES:
            name = name.replace(own, theirs)
        weights[name] = value
    torch.save({"gated": gated, "weights": weights, "tokens": tokens}, tmp_path / "given.pt")
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name("run_connector.py")
    files = [str(tmp_path / name) for name in ("given.pt", "result.pt")]
    done = subprocess.run([python, str(script), os.environ["COMFYUI_PATH"], *files], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with torch.no_grad():
        ours = _connect(connector, tokens)
    theirs = torch.load(tmp_path / "result.pt")
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
