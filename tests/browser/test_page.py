"""The pack in ComfyUI's page: workflows open and run, choices bring their inputs, saved files restore their graph."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas, close, shipped
from duet_av.tests.comfyui.server import NAME
from duet_av.tests.page import templates

WORKFLOWS = [name for name in templates() if name.startswith("bounce_")]


@dataclass(frozen=True)
class Ended:
    """A graph that was run from the page."""

    graph: dict[str, Any]
    events: list[list]
    file: Path

    def named(self, name: str) -> list:
        return [detail for event, detail in self.events if event == name]


@pytest.fixture(scope="module")
def ended(canvas: Canvas, comfyui, renderer) -> Ended:
    canvas.open(shipped())
    canvas.set("DuetJointSampler", "video_seed", 100 + renderer)  # a cached run shows no previews
    graph, events = canvas.graph(), canvas.queue()
    shown = [detail["output"]["images"][0] for event, detail in events if event == "executed" and "images" in detail["output"]]
    (saved,) = shown
    return Ended(graph, events, comfyui.base / saved["type"] / saved["subfolder"] / saved["filename"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_opens_with_every_node_and_nothing_red(canvas, name):
    canvas.open(shipped(name))
    assert len(canvas.graph()["nodes"]) == len(shipped(name)["nodes"])
    assert canvas.unknown_nodes() == canvas.marked_nodes() == [] and canvas.complaint() == ""
    assert canvas.errors == []


def test_what_is_wrong_with_a_graph_would_be_seen(canvas):
    graph = json.dumps(shipped()).replace('"DuetDecode"', '"DuetGone"').replace('"Bounce"', '"gone.safetensors"')
    canvas.open(json.loads(graph))
    assert canvas.unknown_nodes() == ["DuetGone"] and canvas.marked_nodes() == ["DuetLoadJointModel"]
    assert "2 errors" in canvas.complaint()


def test_a_choice_brings_its_inputs(canvas, comfyui):
    canvas.open(shipped())
    info = json.loads(comfyui.get("/object_info/DuetGuidance"))["DuetGuidance"]["input"]["required"]
    for choice in info["guidance"][1]["options"]:
        canvas.set("DuetGuidance", "guidance", choice["key"])
        brought = {f"guidance.{name}" for kind in ("required", "optional") for name in choice["inputs"].get(kind, {})}
        assert {name for name in canvas.inputs("DuetGuidance") if name.startswith("guidance.")} == brought
    assert canvas.errors == []


def test_a_queued_workflow_shows_previews_and_ends(canvas, ended):
    assert ended.events[-1][0] == "execution_success"
    (sampler,) = {node["id"] for node in ended.graph["nodes"] if node["type"] == "DuetJointSampler"}
    assert set(ended.named("duet.preview")) == {str(sampler)}
    assert "/20" in canvas.panel("DuetJointSampler", "duet_preview").inner_text()
    assert canvas.errors == []


def test_its_video_plays_with_sound(canvas, ended):
    canvas.page.wait_for_function(
        "name => [...document.querySelectorAll('video')].some(video => video.src.includes(name)"
        " && video.duration === 2 && video.videoWidth === 64 && video.webkitAudioDecodedByteCount > 0)",
        arg=ended.file.name,
        timeout=SHOW,
    )


def test_its_file_dropped_on_the_canvas_restores_the_graph(canvas, ended):
    canvas.clear()
    canvas.drop(ended.file, "video/mp4")
    values = {node["id"]: (node["type"], node.get("widgets_values")) for node in ended.graph["nodes"]}
    restored = canvas.graph()
    assert {node["id"]: (node["type"], node.get("widgets_values")) for node in restored["nodes"]} == values
    assert restored["links"] == ended.graph["links"]
    assert canvas.complaint() == "" and canvas.errors == []


def test_what_a_node_refuses_is_said_in_one_line(canvas):
    canvas.open(shipped("bounce_extend"))
    canvas.set("DuetEncode", "keep.until", 9)
    name, error = canvas.queue()[-1]
    assert name == "execution_error" and error["node_type"] == "DuetEncode"
    assert error["exception_message"].strip() == "until is 9; use a time within the clip, which is 2 s long"
    canvas.page.get_by_test_id("error-overlay").wait_for(timeout=SHOW)
    assert "Latent failed" in canvas.complaint()


def test_the_template_browser_lists_the_workflows_with_their_pictures(canvas):
    canvas.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = canvas.page.get_by_role("dialog")
    dialog.get_by_text(NAME, exact=True).click()
    cards = dialog.locator("[data-testid^='template-workflow-']")
    cards.first.wait_for(timeout=SHOW)
    while cards.count() < len(templates()):  # the page adds 24 whenever the last one is seen
        shown = cards.count()
        cards.last.scroll_into_view_if_needed()
        cards.nth(shown).wait_for(timeout=SHOW)
    for path in templates().values():
        card = dialog.get_by_test_id(f"template-workflow-{path.stem}")
        card.wait_for(timeout=SHOW)
        card.scroll_into_view_if_needed()  # pictures are loaded when they are seen
        assert card.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    close(dialog)
    assert canvas.errors == []


def test_compare_plays_its_grid_on_the_node(canvas, renderer):
    canvas.open(shipped("bounce_compare"))
    canvas.set("DuetCompare", "steps", 2)
    canvas.set("DuetCompare", "video_seed", 200 + renderer)
    events = canvas.queue()
    assert [name for name, _ in events if name == "execution_error"] == []
    canvas.page.wait_for_function(
        "() => [...document.querySelectorAll('video')].some(video => video.src.includes('compare_0')"
        " && video.src.includes('type=temp') && video.duration === 8 && video.webkitAudioDecodedByteCount > 0)",
        timeout=SHOW,
    )
