"""The ComfyUI that the environment names."""

import pytest

from duet_av.tests.comfyui.server import NATIVE_PACK, UNNAMED, is_named, named_by_environment


def pytest_runtest_setup():
    if not is_named():
        pytest.skip(UNNAMED)


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    with named_by_environment(tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """A ComfyUI with the small models beside our pack."""
    with named_by_environment(tmp_path_factory.mktemp("native"), packs=[NATIVE_PACK]) as server:
        yield server
