"""What nodes report is seen on them, in either renderer."""

import json

import pytest

from duet_av.tests.browser.canvas import Canvas, shipped

MODEL, SAMPLER, PROMPTS, MUX = "DuetLoadJointModel", "DuetJointSampler", "DuetEncodePrompts", "DuetMux"
COMPARE = "DuetCompare"
AMBER = "rgb(242, 179, 61)"
TABLE = {"head": ["guidance", "sync F1"], "rows": [["none", "0.12"], ["joint_cfg", "0.95"]], "lines": 3}


def output(*lines: str, warnings: tuple = (), table=None) -> dict:
    """The UI output of a node that reports."""
    facts = {"warnings": list(warnings)} | ({"table": table} if table else {})
    return {"text": [*lines, *warnings], "duet": [facts]}


@pytest.fixture(scope="module", autouse=True)
def nothing_kept(canvas: Canvas):
    """Takes away the reports made up here, which the page would show again on nodes whose results ComfyUI keeps."""
    yield
    canvas.page.evaluate("sessionStorage.removeItem('duet.reports')")


@pytest.fixture(scope="module")
def ended(canvas: Canvas, renderer) -> list:
    """The events of a short run with a word that the model does not have."""
    canvas.open(shipped())
    canvas.set(SAMPLER, "steps", 2)
    canvas.set(SAMPLER, "video_seed", 300 + renderer)
    canvas.set(PROMPTS, "video_prompt", f"a zorkly red ball bouncing{' ' * renderer}")
    return canvas.queue()


def test_after_a_run_each_node_shows_its_report(canvas, ended):
    assert ended[-1][0] == "execution_success"
    assert "unknown word 'zorkly'" in canvas.report(PROMPTS)
    assert "2 steps with joint_cfg" in canvas.report(SAMPLER) and "audio seed 2" in canvas.report(SAMPLER)
    assert "32 frames of 64×64 at 16 fps" in canvas.report(MUX)
    assert canvas.errors == []


def test_reports_come_back_with_a_graph_from_the_history(canvas, comfyui, ended):
    (prompt,) = {detail["prompt_id"] for name, detail in ended if name == "execution_success"}
    entry = json.loads(comfyui.get(f"/history/{prompt}"))[prompt]
    canvas.open(shipped("bounce_compare"))
    canvas.open(entry["prompt"][3]["extra_pnginfo"]["workflow"])
    assert canvas.report(MUX) == ""
    canvas.page.evaluate("outputs => { app.nodeOutputs = outputs }", entry["outputs"])
    assert "unknown word 'zorkly'" in canvas.report(PROMPTS) and "32 frames" in canvas.report(MUX)
    assert canvas.errors == []


def test_a_warning_is_amber_and_the_rest_is_not(opened):
    opened.executed(SAMPLER, output("seed 1", warnings=("the clip is silent", "untrained as a pair")))
    lines = opened.panel(SAMPLER, "duet_report").query_selector_all("p")
    assert [each.inner_text() for each in lines] == ["the clip is silent", "untrained as a pair", "seed 1"]
    colors = [each.evaluate("line => getComputedStyle(line).color") for each in lines]
    assert colors[:2] == [AMBER, AMBER] and colors[2] != AMBER
    opened.page.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'light')")
    opened.page.wait_for_function("([line, dark]) => getComputedStyle(line).color !== dark", arg=[lines[0], AMBER])
    opened.page.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")


def test_a_comparison_shows_its_table(canvas):
    canvas.open(shipped("bounce_compare"))
    node = f"app.graph.nodes.find(node => node.type === '{COMPARE}')"
    canvas.page.evaluate(f"app.canvas.ds.scale = 1, app.canvas.centerOnNode({node})")  # from afar the canvas leaves texts out
    canvas.executed(COMPARE, output("guidance sync F1", "none 0.12", "joint_cfg 0.95", "they differ", table=TABLE))
    report = canvas.panel(COMPARE, "duet_report")
    cells = report.eval_on_selector_all("tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    assert cells == [TABLE["head"], *TABLE["rows"]]
    assert [each.inner_text() for each in report.query_selector_all("p")] == ["they differ"]


def test_an_earlier_report_is_faded_from_when_its_node_runs_until_it_reports_again(opened):
    def faded() -> bool:
        return opened.panel(SAMPLER, "duet_report").evaluate("panel => panel.classList.contains('duet-old')")

    opened.executed(SAMPLER, output("first"))
    assert not faded()
    opened.hear("executing", opened.node(SAMPLER))
    opened.hear("execution_interrupted", {"node_id": opened.node(SAMPLER), "prompt_id": opened.job})
    assert faded() and opened.report(SAMPLER) == "first"
    opened.executed(SAMPLER, output("second"))
    assert not faded() and opened.report(SAMPLER) == "second"


def test_a_cached_node_keeps_its_report_and_one_that_reports_nothing_loses_it(opened):
    opened.executed(SAMPLER, output("first"))
    opened.executed(SAMPLER, None)
    assert opened.report(SAMPLER) == "first"
    opened.executed(SAMPLER, output())
    assert opened.report(SAMPLER) == ""


def test_a_report_stays_when_a_step_is_undone(opened):
    opened.executed(SAMPLER, output("first"))
    opened.page.evaluate("app.loadGraphData(app.graph.serialize(), false)")
    assert opened.report(SAMPLER) == "first"


def test_reports_change_neither_what_is_saved_nor_what_is_queued(opened):
    def saved() -> tuple:
        prompt = opened.page.evaluate("app.graphToPrompt().then(({ output }) => output)")
        return {node["id"]: node.get("widgets_values") for node in opened.graph()["nodes"]}, prompt

    before = saved()
    for node_type in (SAMPLER, MUX, "DuetGuidance"):
        opened.executed(node_type, output("seen"))
    opened.page.wait_for_timeout(300)
    assert saved() == before
    opened.set("DuetGuidance", "guidance", "cfg")  # brings its inputs before the report
    values = {node["type"]: node.get("widgets_values") for node in opened.graph()["nodes"]}["DuetGuidance"]
    assert values[0] == "cfg" and None not in values


def test_a_long_report_scrolls(opened):
    opened.executed(MODEL, output(*(f"line {i} of a report" for i in range(60))))
    panel = opened.panel(MODEL, "duet_report")
    opened.page.wait_for_function("panel => panel.clientHeight > 80 && panel.scrollHeight > 600", arg=panel)
    assert panel.evaluate("panel => panel.clientHeight") < 120
    opened.page.mouse.click(*centre(panel))
    scale = opened.page.evaluate("app.canvas.ds.scale")
    opened.page.mouse.wheel(0, 200)
    opened.page.wait_for_function("panel => panel.scrollTop > 0", arg=panel)
    assert opened.page.evaluate("app.canvas.ds.scale") == scale


def test_the_wheel_over_a_short_report_moves_the_canvas(opened):
    opened.executed(SAMPLER, output("seed 1"))
    opened.panel(SAMPLER, "duet_report").hover()
    before = opened.page.evaluate("app.canvas.ds.scale")
    opened.page.mouse.wheel(0, 200)
    opened.page.wait_for_function("before => app.canvas.ds.scale !== before", arg=before)


def test_a_report_wraps_and_its_text_can_be_selected(opened):
    opened.executed(SAMPLER, output("seed " * 40 + "x" * 120))
    panel = opened.panel(SAMPLER, "duet_report")
    opened.page.wait_for_function("panel => panel.clientHeight > 40 && panel.scrollWidth <= panel.clientWidth", arg=panel)
    panel.query_selector("p").click(click_count=3)
    assert "seed seed" in opened.page.evaluate("getSelection().toString()")


def test_a_node_grows_around_its_report(opened, renderer):
    opened.executed(MODEL, output(*(f"line {i}" for i in range(6))))
    panel = opened.panel(MODEL, "duet_report")
    opened.page.wait_for_function("panel => panel.clientHeight > 80", arg=panel)
    opened.page.wait_for_timeout(300)
    top, height = panel.bounding_box()["y"], panel.bounding_box()["height"]
    bottom = opened.node(MODEL, "app.canvasPosToClientPos([node.pos[0], node.pos[1] + node.size[1]])[1]")
    if renderer:
        box = opened.page.locator(f'[data-node-id="{opened.node(MODEL)}"]').bounding_box()
        bottom = box["y"] + box["height"]
    assert top + height <= bottom


def test_a_node_in_a_subgraph_shows_its_report(opened):
    outer, inner = opened.page.evaluate(
        """() => {
          const sampler = app.graph.nodes.find(node => node.type === 'DuetJointSampler')
          const { subgraph, node } = app.graph.convertToSubgraph(new Set([sampler]))
          return [node.id, subgraph.nodes[0].id]
        }"""
    )
    shown = f"{outer}:{inner}"
    opened.hear("executed", {"node": shown, "display_node": shown, "output": output("inside"), "prompt_id": opened.job})
    opened.page.evaluate("id => { const node = app.graph.getNodeById(id); app.canvas.openSubgraph(node.subgraph, node) }", outer)
    opened.page.get_by_text("inside", exact=True).wait_for()
    opened.page.evaluate("app.canvas.setGraph(app.rootGraph)")
    assert opened.errors == []


def centre(element) -> tuple[float, float]:
    box = element.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_node_shows_while_it_runs_what_a_step_costs_and_then_its_report(opened):
    node = opened.node(SAMPLER)
    opened.hear("duet.text", {"prompt_id": opened.job, "node": node, "text": "2 branches per step"})
    assert opened.report(SAMPLER) == "2 branches per step"
    opened.executed(SAMPLER, output("seed 1"))
    assert opened.report(SAMPLER) == "seed 1"


def test_reports_of_results_that_are_kept_come_back_after_the_page_is_loaded_again(canvas, ended, comfyui, renderer):
    """ComfyUI sends nothing for them."""
    graph = canvas.graph()
    canvas.executed(PROMPTS, output("two words", warnings=("unknown word 'zorkly'",)))
    canvas.open(shipped("bounce_compare"))
    canvas.open(graph)
    assert canvas.report(PROMPTS) == ""
    canvas.hear("execution_cached", {"nodes": [canvas.node(PROMPTS)], "prompt_id": "none"})
    assert "unknown word 'zorkly'" in canvas.report(PROMPTS)
    assert canvas.errors == []


def test_a_job_opened_as_a_graph_shows_what_its_nodes_reported(canvas, comfyui, ended):
    (job,) = {detail["prompt_id"] for name, detail in ended if name == "execution_success"}
    workflow = json.loads(comfyui.get(f"/history/{job}"))[job]["prompt"][3]["extra_pnginfo"]["workflow"]
    canvas.open(shipped("bounce_compare"))
    canvas.page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [workflow, f"Job {job}"])
    canvas.page.wait_for_function(
        "app.graph.nodes.find(({ type }) => type === 'DuetEncodePrompts')?.widgets.some(({ name }) => name === 'duet_report')"
    )
    assert "unknown word 'zorkly'" in canvas.report(PROMPTS) and "32 frames" in canvas.report(MUX)
    assert canvas.errors == []
