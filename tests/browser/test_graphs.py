"""File names, colours of sockets, and graphs of earlier versions, in either renderer."""

import json
from itertools import combinations

import pytest

from duet_av.tests.browser.canvas import Canvas, shipped

SAMPLER, MUX, ALIGNER, COMPARE = "DuetJointSampler", "DuetMux", "DuetAligner", "DuetCompare"
_NAMES = """async patterns => {
  const [ours, core] = ['DuetMux', 'SaveVideo'].map(type => app.graph.nodes.find(node => node.type === type))
  const widgets = [ours, core].map(node => node.widgets.find(widget => widget.name === 'filename_prefix'))
  const made = []
  for (const pattern of patterns) {
    for (const widget of widgets) widget.value = pattern
    made.push(await Promise.all(widgets.map((widget, i) => widget.serializeValue([ours, core][i], 0))))
  }
  return made
}"""
PATTERNS = (
    "duet/clip", "%date:yyyy-MM-dd%/clip", "%date:yy%_%date:y%_%date:yyy%_%date:d.M%", "%date:dd MM yyyy%", "%date:%", "%date:hh%",
    "%date:dMyy%", "a%date:ddd%b", "%Sampler.steps%", "%DuetJointSampler.steps%_%Sampler.eta%", "%Sampler.gone%", "%Gone.steps%",
    "%width%x%height%", "%year%-%month%", "100%", "%%", "50% of 100%", "%Prompts.video_prompt%", "%Mux.container%",
    "%DuetEncodePrompts.video_negative%", "%DuetGuidance.guidance%", "%Inside.seconds%", "%Note.text%",
    "%Sampler.steps%%Sampler.shift%",
)  # fmt: skip
OLD_SAMPLER = [1, "fixed", 2, "fixed", 20, 3.0, True]
_STATE = "app.extensionManager.workflow.activeWorkflow.activeState"
_COLORS = """type => [
  LGraphCanvas.link_type_colors[type], app.canvas.default_connection_color_byType[type],
  getComputedStyle(document.body).getPropertyValue('--color-datatype-' + type).trim()
]"""
SOCKETS = [f"DUET_{name}" for name in "MODEL PROMPTS GUIDANCE ALIGNER VIDEO_EXPERT AUDIO_EXPERT COMPARISON".split()]
CORE = "CLIP CLIP_VISION CONDITIONING CONTROL_NET IMAGE LATENT MASK MODEL VAE NOISE GUIDER SAMPLER SIGMAS".split()


@pytest.fixture
def opened(canvas: Canvas) -> Canvas:
    canvas.errors.clear()
    canvas.open(shipped())
    canvas.set(SAMPLER, "steps", 20)
    canvas.set("DuetGuidance", "guidance.video_scale", 2.5)
    return canvas


def test_file_names_are_made_as_by_comfyuis_own_node(opened):
    opened.page.evaluate("app.graph.add(LiteGraph.createNode('SaveVideo'))")
    opened.page.evaluate(
        """() => {
          const latent = app.graph.nodes.find(node => node.type === 'DuetEmptyLatent')
          latent.title = 'Inside'
          app.graph.convertToSubgraph(new Set([latent]))
        }"""
    )
    opened.set("DuetEncodePrompts", "video_prompt", 'a "red" ball: 1/2?\n*')
    made = dict(zip(PATTERNS, opened.page.evaluate(_NAMES, PATTERNS)))
    assert {pattern: ours for pattern, (ours, _) in made.items()} == {pattern: core for pattern, (_, core) in made.items()}
    assert made["%Sampler.steps%"][0] == "20" and made["%Inside.seconds%"][0] == "2"
    assert made["%Prompts.video_prompt%"][0] == "a _red_ ball_ 1_2___"
    assert "%" not in made["%date:yyyy-MM-dd%/clip"][0]


def test_a_name_may_hold_an_input_that_a_choice_brought(opened):
    opened.set(MUX, "filename_prefix", "cfg%Guidance.guidance.video_scale%")
    prompt = opened.page.evaluate("app.graphToPrompt().then(({ output }) => output)")
    (mux,) = (node for node in prompt.values() if node["class_type"] == MUX)
    assert mux["inputs"]["filename_prefix"] == "cfg2.5"
    assert opened.graph()["nodes"][-1] and opened.node(
        MUX, "node.widgets.find(w => w.name === 'filename_prefix').value"
    ).startswith("cfg%")


def test_names_are_made_in_both_save_nodes_and_in_subgraphs(opened):
    opened.set(MUX, "filename_prefix", "s%Sampler.steps%")
    opened.page.evaluate(
        """() => {
          const sound = LiteGraph.createNode('DuetReplaceSound')
          app.graph.add(sound)
          sound.widgets.find(widget => widget.name === 'filename_prefix').value = 't%Sampler.steps%'
          app.graph.convertToSubgraph(new Set(app.graph.nodes.filter(node => ['DuetMux', 'DuetReplaceSound'].includes(node.type))))
        }"""
    )
    prompt = opened.page.evaluate("app.graphToPrompt().then(({ output }) => output)")
    assert {node["inputs"].get("filename_prefix") for node in prompt.values()} >= {"s20", "t20"}


@pytest.mark.parametrize("palette", ["dark", "light", "github", "dark"])
def test_sockets_keep_their_colours_under_every_palette(opened, palette):
    opened.page.evaluate("palette => app.extensionManager.setting.set('Comfy.ColorPalette', palette)", palette)
    opened.page.wait_for_timeout(300)
    for socket in SOCKETS:
        link, slot, vue = opened.page.evaluate(_COLORS, socket)
        assert link == slot == vue != ""
    assert opened.errors == []


def test_colours_can_be_told_apart_and_seen_on_dark_and_on_light(opened):
    ours = [rgb(opened.page.evaluate(_COLORS, socket)[0]) for socket in SOCKETS]
    core = [rgb(found) for each in CORE if (found := opened.page.evaluate(_COLORS, each)[0])]
    assert len(core) > 8
    assert min(distance(a, b) for a, b in combinations(ours, 2)) > 30
    assert min(distance(a, b) for a in ours for b in core) > 20
    assert all(contrast(color, ground) > 2.8 for color in ours for ground in (rgb("#353535"), rgb("#ffffff")))


def test_a_graph_without_eta_gets_0(canvas):
    for name, node_type in (("bounce_t2av", SAMPLER), ("bounce_compare", COMPARE)):
        graph = shipped(name)
        for node in graph["nodes"]:
            node.pop("widgets_values_named", None)
            if node["type"] == node_type:
                node["widgets_values"] = [*OLD_SAMPLER]
        canvas.open(graph)
        assert canvas.node(node_type, "node.widgets.find(widget => widget.name === 'eta').value") == 0
        canvas.page.evaluate(
            "app.graph.nodes.forEach(node => node.widgets?.forEach(widget => widget.name === 'eta' && (widget.value = 3)))"
        )
        canvas.open(canvas.graph())
        assert canvas.node(node_type, "node.widgets.find(widget => widget.name === 'eta').value") == 3


@pytest.mark.parametrize("eta, opens_with", [(None, 0), (-1, -1), (0.5, 0.5)])
def test_an_api_graph_without_eta_gets_0_too(opened, eta, opens_with):
    prompt = opened.page.evaluate("app.graphToPrompt().then(({ output }) => output)")
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == SAMPLER)
    del inputs["eta"]
    if eta is not None:
        inputs["eta"] = eta
    opened.page.evaluate("prompt => app.loadApiJson(prompt, 'old')", prompt)
    assert opened.node(SAMPLER, "node.widgets.find(widget => widget.name === 'eta').value") == opens_with
    assert opened.node(SAMPLER, "node.widgets.find(widget => widget.name === 'steps').value") == 20
    assert opened.page.evaluate(f"{_STATE}.nodes.find(node => node.type === '{SAMPLER}').widgets_values")[7] == opens_with
    assert opened.errors == []


def test_a_new_node_keeps_the_models_own_eta(opened):
    opened.clear()
    opened.page.evaluate(f"app.graph.add(LiteGraph.createNode('{SAMPLER}'))")
    opened.node(SAMPLER, "node.widgets.find(widget => widget.name === 'shift').callback?.(3)")
    assert opened.node(SAMPLER, "node.widgets.find(widget => widget.name === 'eta').value") == -1


def test_inside_a_subgraph_too(opened):
    opened.page.evaluate("app.graph.convertToSubgraph(new Set([app.graph.nodes.find(node => node.type === 'DuetJointSampler')]))")
    graph = opened.graph()
    (inner,) = graph["definitions"]["subgraphs"][0]["nodes"]
    inner["widgets_values"] = [*OLD_SAMPLER]
    inner.pop("widgets_values_named", None)
    opened.open(json.loads(json.dumps(graph)))
    found = "app.graph.nodes.find(node => node.subgraph).subgraph.nodes[0].widgets.find(widget => widget.name === 'eta').value"
    assert opened.page.evaluate(found) == 0


@pytest.mark.parametrize("kept, now", [(True, "rms"), (False, "nothing"), ("spectrum", "spectrum")])
def test_an_aligner_with_a_switch_for_the_rms_opens(canvas, kept, now):
    graph = shipped("bounce_align_v2a")
    (aligner,) = (node for node in graph["nodes"] if node["type"] == ALIGNER)
    aligner.pop("widgets_values_named")
    aligner["widgets_values"] = [
        "Bounce-Bind",
        "v2a",
        0.03,
        0.06,
        "adam",
        kept,
        2,
        0.0,
        1.0,
        0.0,
        1.0,
        0.0,
        True,
        3,
        3,
        False,
        False,
        16.0,
    ]
    canvas.open(graph)
    assert canvas.node(ALIGNER, "node.widgets.find(widget => widget.name === 'keep').value") == now
    assert canvas.node(ALIGNER, "node.widgets.find(widget => widget.name === 'inner_steps').value") == 2


def rgb(color: str) -> tuple[float, ...]:
    digits = color.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def luminance(color: tuple[float, ...]) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), color))


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Between two colours in CIELAB."""
    return sum((x - y) ** 2 for x, y in zip(lab(a), lab(b))) ** 0.5


def lab(color: tuple[float, ...]) -> tuple[float, ...]:
    rows = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))
    x, y, z = (sum(weight * part for weight, part in zip(row, color)) ** (1 / 3) for row in rows)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_the_first_guidance_of_compare_is_named_like_the_others(canvas):
    graph = shipped("bounce_compare")
    (node,) = (node for node in graph["nodes"] if node["type"] == COMPARE)
    for each in node["inputs"]:
        each.pop("label", None)  # as saved by earlier versions
    canvas.open(graph)
    labels = "node.inputs.map(input => input.label).filter(label => label?.startsWith('guidance'))"
    assert canvas.node(COMPARE, labels)[:2] == ["guidance0", "guidance1"]
    assert canvas.errors == []
