"""Templates in the page: their layout before and after a run, the template browser, and a video of the user's."""

import json

import pytest
from PIL import Image

from duet_av.tests.browser.canvas import SHOW, Canvas, close, shipped
from duet_av.tests.browser.layout import fit, problems
from duet_av.tests.comfyui.server import NAME
from duet_av.tests.comfyui.test_new_audio import packets, write
from duet_av.tests.page import FOLDER, JOINED, JOINT, NATIVE, PAIRS, SMALL_JOINED, templates

QUICK = ["bounce_t2av", "bounce_v2a", "bounce_compare"]
SEARCHES = {
    "foley": "bounce_v2a", "v2a": "bounce_v2a", "t2v": "bounce_t2av", "i2v": "bounce_i2av", "extend": "bounce_extend",
    "guidance": "bounce_compare", "jointdit": "bounce_jointdit", "audioldm2": "svd_audioldm2",
    "ltx": "ltx23_t2av", "ltx-2.5": "ltx25_t2av", "minimax": "minimax_h3_t2av", "other audio": "ltx23_reroll_audio",
    "separate prompts": "ltx23_separate_words", "compare guidances": "ltx23_compare",
    "kandinsky": "kandinsky6_t2av", "diffusers": "ltx2_diffusers", "ovi": "ovi_t2av", "speech": "ovi_t2av",
    "wan": "wan_tangoflux_t2av", "tangoflux": "wan_tangoflux_t2av", "stable audio": "wan_stable_audio",
    "music": "hunyuan_ace_step", "silent": "stable_audio_v2a", "small models": "small_joined_pair",
}  # fmt: skip
DOWNLOADS = {
    "svd_audioldm2": "svd_xt.safetensors", "ltx23_t2av": "ltx-2.3-22b-dev-fp8.safetensors",
    "minimax_h3_t2av": "minimax_h3_audio_vae_fp32.safetensors", "ovi_t2av": "model_960x960.safetensors",
    "wan_tangoflux_t2av": "wan2.2_ti2v_5B_fp16.safetensors", "wan_stable_audio": "stable_audio_3_medium_base.safetensors",
}  # fmt: skip
_REPLACE = """() => {
  const old = app.graph.nodes.find(node => node.type === 'DuetBounceClip')
  const video = LiteGraph.createNode('LoadVideo')
  app.graph.add(video)
  video.widgets.find(widget => widget.name === 'file').value = 'mine.mp4'
  for (const id of [...old.outputs.find(output => output.name === 'video').links]) {
    const link = app.graph.links.get(id)
    video.connect(0, app.graph.getNodeById(link.target_id), link.target_slot)
  }
  app.graph.remove(old)
}"""


@pytest.fixture
def browser(canvas):
    """The template browser, showing this pack's."""
    canvas.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = canvas.page.get_by_role("dialog")
    dialog.get_by_text(NAME, exact=True).click()
    yield dialog
    close(dialog)


@pytest.mark.parametrize("name", templates())
def test_nothing_covers_anything_and_notes_fit(canvas, comfyui, name):
    Image.new("RGB", (64, 48)).save(comfyui.base / "input" / "example.png")  # it comes with ComfyUI
    write(comfyui.base / "input" / "video.mp4")
    canvas.open(shipped(name))
    fit(canvas)
    assert problems(canvas) == [] == canvas.errors


@pytest.mark.parametrize("name", (*NATIVE, *JOINT, *PAIRS, *JOINED, SMALL_JOINED))
def test_the_page_runs_what_the_other_form_says(canvas, name):
    canvas.open(shipped(name))
    graph = canvas.page.evaluate("async () => (await app.graphToPrompt()).output")
    for node in graph.values():
        node["inputs"].pop("video-preview", None)  # the page's own
    assert graph == json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert canvas.unknown_nodes() == []


def test_what_is_wrong_with_a_layout_would_be_seen(canvas, renderer):
    graph = shipped("bounce_t2av")
    moved = {node["title"]: node for node in graph["nodes"]}
    moved["Decode"]["pos"] = moved["Mux"]["pos"]
    moved["Latent"]["pos"][0] += 200
    moved["Note"]["widgets_values"] = ["a line\n\n" * 60]
    canvas.open(graph)
    fit(canvas)
    wrong = {"Decode covers Mux", "Latent is partly in What", "the wire to Sampler is behind Latent"}
    if not renderer:  # Vue makes the note larger
        wrong.add("the note does not fit")
    assert wrong <= set(problems(canvas))


@pytest.mark.parametrize("name", QUICK)
def test_reports_and_players_have_room(canvas, name):
    canvas.open(shipped(name))
    fit(canvas)
    assert canvas.queue()[-1][0] == "execution_success"
    canvas.page.wait_for_timeout(1500)  # players grow to their clip
    assert problems(canvas) == [] == canvas.errors


def test_a_card_moves(canvas, browser):
    card = browser.get_by_test_id(f"template-workflow-{templates()['bounce_t2av'].stem}")
    card.wait_for(timeout=SHOW)
    card.scroll_into_view_if_needed()
    image = card.locator("img").first
    image.evaluate("image => image.decode()")
    shots = set()
    for _ in range(6):
        shots.add(image.screenshot())
        canvas.page.wait_for_timeout(170)
    assert len(shots) > 1


@pytest.mark.parametrize("words, name", SEARCHES.items())
def test_a_template_is_found_by_what_it_does(canvas, browser, words, name):
    browser.get_by_placeholder("Search").fill(words)
    browser.get_by_test_id(f"template-workflow-{templates()[name].stem}").wait_for(timeout=SHOW)
    browser.get_by_placeholder("Search").fill("")


def test_load_video_in_place_of_the_clip_keeps_its_packets(canvas, comfyui):
    source = write(comfyui.base / "input" / "mine.mp4")
    canvas.open(shipped("bounce_v2a"))
    canvas.page.evaluate(_REPLACE)
    events = canvas.queue()
    assert events[-1][0] == "execution_success"
    (shown,) = [detail["output"]["images"][0] for name, detail in events if name == "executed" and "images" in detail["output"]]
    saved = comfyui.base / shown["type"] / shown["subfolder"] / shown["filename"]
    assert packets(saved) == packets(source) and canvas.errors == []


@pytest.mark.parametrize("name, file", DOWNLOADS.items())
def test_a_model_that_is_missing_can_be_downloaded(comfyui, chromium, name, file):
    page = chromium.new_page(viewport={"width": 1800, "height": 1150})  # of its own: the model's address cannot be reached here
    try:
        Canvas(page, comfyui.url).open(shipped(name))
        page.get_by_text("View details").first.click(timeout=SHOW)
        page.get_by_text(file).first.wait_for(timeout=SHOW)
        page.get_by_text("Download", exact=True).first.wait_for(timeout=SHOW)
    finally:
        page.close()
        comfyui.post("/settings", {"Comfy.RightSidePanel.IsOpen": False})  # it opened to show that
