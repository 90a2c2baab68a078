"""The ComfyUI that the environment names."""

import os
from pathlib import Path

import pytest

from duet_av.tests.comfyui.server import started


def pytest_runtest_setup():
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH is not set; give the folder of a ComfyUI checkout")


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    """COMFYUI_PATH: a checkout; COMFYUI_PYTHON: a Python that has its requirements and ours."""
    path = os.environ["COMFYUI_PATH"]
    checkout = Path(path).resolve()
    if not (checkout / "main.py").is_file():
        pytest.fail(f"COMFYUI_PATH is {path}, which has no main.py; give the folder of a ComfyUI checkout", pytrace=False)
    with started(checkout, os.environ.get("COMFYUI_PYTHON", "python3"), tmp_path_factory.mktemp("comfyui")) as server:
        yield server
