"""ComfyUI's page in a headless Chromium, drawn by either of its renderers."""

import os
import shutil
from importlib.util import find_spec

import pytest

from duet_av.tests.browser.canvas import Canvas, shipped
from duet_av.tests.comfyui.server import UNNAMED, is_named, named_by_environment

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


def pytest_runtest_setup():
    if not is_named():
        pytest.skip(UNNAMED)
    if find_spec("playwright") is None:
        pytest.skip("there is no playwright; run: make test-browser")
    if not CHROMIUM or shutil.which(CHROMIUM) is None:
        pytest.skip(f"CHROMIUM is {CHROMIUM}, which cannot be run; install chromium, or name one")


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    with named_by_environment(tmp_path_factory.mktemp("comfyui")) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        yield server


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=[False, True], ids=["canvas", "vue"])
def renderer(request) -> bool:
    """Whether nodes are drawn by Vue."""
    return request.param


@pytest.fixture(scope="session")
def canvas(comfyui, chromium, renderer):
    comfyui.post("/settings", {"Comfy.VueNodes.Enabled": renderer})
    page = chromium.new_page(viewport={"width": 1800, "height": 1150})
    yield Canvas(page, comfyui.url)
    page.close()


@pytest.fixture
def opened(canvas: Canvas) -> Canvas:
    """A page in which a template is open."""
    canvas.errors.clear()
    canvas.open(shipped())
    return canvas
