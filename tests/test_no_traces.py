"""A run leaves nothing behind in its process: ComfyUI and other node packs go on in it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, locale, logging, os, random, signal, socket, sys, threading, warnings
import accelerate, av, diffusers, matplotlib, numpy as np, torch, torchaudio, tqdm, transformers
from diffusers import AudioLDM2UNet2DConditionModel, FluxTransformer2DModel, UNetSpatioTemporalConditionModel, WanTransformer3DModel
from diffusers import AutoencoderKLWan, AutoencoderOobleck, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

def digest(value):
    return str(value.tolist() if hasattr(value, "tolist") else value)

def state():
    return {
        "warnings": [digest(each) for each in warnings.filters], "environment": dict(os.environ), "folder": os.getcwd(),
        "torch random": digest(torch.get_rng_state()), "numpy random": digest(np.random.get_state()[1]),
        "random": digest(random.getstate()), "threads": torch.get_num_threads(), "dtype": digest(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(), "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(), "numpy errors": np.geterr(), "locale": locale.setlocale(locale.LC_ALL),
        "signals": [digest(signal.getsignal(each)) for each in signal.valid_signals()], "log level": logging.getLogger().level,
        "log handlers": len(logging.getLogger().handlers), "collector": [gc.isenabled(), gc.get_threshold()],
        "path": sys.path, "recursion": sys.getrecursionlimit(), "excepthook": digest(sys.excepthook),
        "timeout": digest(socket.getdefaulttimeout()), "scheduler": getattr(os, "sched_getscheduler", digest)(0),
        "module hooks": len(torch.nn.modules.module._global_parameter_registration_hooks),
        "live threads": sorted(each.name for each in threading.enumerate() if each.name != "tqdm_monitor"),  # of bars of commands
    }

before = state()
from duet_av.commands import main
clip = ["--set", "Sampler.steps=1", "--set", "Latent.seconds=0.25"]
for arguments in (["run", "bounce_t2av", *clip], ["run", "bounce_jointdit", *clip], ["info", sys.argv[1]], ["run", "none"]):
    main([*arguments])
    after = state()
    for name in before:
        if after[name] != before[name]:
            print("TRACE", arguments[:2], name, str(before[name])[:300], str(after[name])[:300])
print("DONE")
"""


def test_a_run_leaves_no_trace(tmp_path):
    from duet_av.bounce.shipped import shipped

    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(shipped("bounce"))], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0 and "DONE" in result.stdout, result.stderr[-2000:]
    assert not [line for line in result.stdout.splitlines() if line.startswith("TRACE")]
