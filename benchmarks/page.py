"""Measures how much the pack's script adds to ComfyUI's page, compared to the same page without the script.

COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.page [--runs N]

Pages with and without the script are opened in turn, in Chromium (CHROMIUM, or the one on the path).
start_ms: from navigation until the page is ready; noisy. busy_ms: CPU time of the page's main thread until then.
script_ms: the part of it in the script, by Chromium's profiler. fetch_ms: from the first request for a file of the script
until the last answer, while ComfyUI loads other extensions too.
open_ms: opening a template. queue_ms: making the prompt of that template. event_ms: reports of all its nodes arriving.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parent.parent / "workflows" / "Duet 06 - Compare guidances.json"
SCRIPT = "/extensions/duet-av/"
REPEATS = 10
_MEDIAN = """async (repeats, act) => {
  const taken = []
  for (let i = 0; i < repeats; i++) {
    const start = performance.now()
    await act()
    taken.push(performance.now() - start)
  }
  return taken.sort((a, b) => a - b)[repeats >> 1]
}"""
_MEASURE = f"""async ([graph, repeats]) => {{
  const median = {_MEDIAN}
  const open_ms = await median(repeats, () => app.loadGraphData(structuredClone(graph)))
  const queue_ms = await median(repeats, () => app.graphToPrompt())
  const ids = app.graph.nodes.filter(node => /^Duet/.test(node.type)).map(node => String(node.id))
  const table = {{ head: ['a', 'b', 'c'], rows: Array(8).fill(['1', '2', '3']), lines: 9 }}
  const output = {{ text: Array(12).fill('a line of a report'), duet: [{{ warnings: ['a line of a report'], table }}] }}
  const event_ms = await median(repeats, () => {{
    for (const node of ids) app.api.dispatchCustomEvent('executed', {{ node, display_node: node, output, prompt_id: 'none' }})
  }})
  return {{ open_ms, queue_ms, event_ms }}
}}"""
_FETCH = """script => {
  const files = performance.getEntriesByType('resource').filter(({ name }) => name.includes(script))
  const [starts, ends] = ['startTime', 'responseEnd'].map(key => files.map(file => file[key]))
  return files.length ? Math.max(...ends) - Math.min(...starts) : 0
}"""


def without_script(page: Any) -> None:
    """Takes the script from the list of extensions that the page loads."""

    def answer(route: Any) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=[each for each in response.json() if SCRIPT not in each])

    page.route("**/api/extensions", answer)


def script_ms(profile: dict[str, Any]) -> float:
    """Returns the CPU time of a profile in functions of the script."""
    urls = {node["id"]: node["callFrame"]["url"] for node in profile["nodes"]}
    return sum(delta for node, delta in zip(profile["samples"], profile["timeDeltas"]) if SCRIPT in urls[node]) / 1000


def measure(browser: Any, url: str, with_script: bool) -> dict[str, float]:
    """Opens the page once."""
    page = browser.new_page()
    if not with_script:
        without_script(page)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    session.send("Profiler.enable")
    session.send("Profiler.setSamplingInterval", {"interval": 100})
    session.send("Profiler.start")
    page.goto(url, timeout=180_000)
    page.wait_for_function("window.app?.vueAppReady", timeout=180_000, polling=10)
    found = {"start_ms": page.evaluate("performance.now()"), "fetch_ms": page.evaluate(_FETCH, SCRIPT)}
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    found |= {"busy_ms": 1000 * metrics["TaskDuration"], "script_ms": script_ms(session.send("Profiler.stop")["profile"])}
    found |= page.evaluate(_MEASURE, [json.loads(TEMPLATE.read_text(encoding="utf-8")), REPEATS])
    page.close()
    return found


def compare(browser: Any, url: str, runs: int) -> dict[str, dict[str, float]]:
    """Returns medians of `runs` pages each, after one of each that fills the caches."""
    found = {True: [], False: []}
    for _ in range(runs + 1):
        for with_script, kept in found.items():
            kept.append(measure(browser, url, with_script))
    ours, plain = ({name: statistics.median(each[name] for each in kept[1:]) for name in kept[0]} for kept in found.values())
    return {"script": ours, "without": plain, "added": {name: value - plain[name] for name, value in ours.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from ..tests.comfyui.server import named_by_environment

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, named_by_environment(Path(folder)) as server, sync_playwright() as playwright:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        found = compare(browser, server.url, args.runs)
        browser.close()
    rounded = {name: {each: round(value, 2) for each, value in values.items()} for name, values in found.items()}
    sys.stdout.write(json.dumps({"runs": args.runs} | rounded) + "\n")


if __name__ == "__main__":
    main()
