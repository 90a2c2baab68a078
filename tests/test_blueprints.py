"""Blueprints: one node each, whose inside fits the nodes and whose outside is connected to it."""

import json
from pathlib import Path

import pytest

from duet_av.nodes.headless import catalogue
from duet_av.tests.page import to_api

FOLDER = Path(__file__).parent.parent / "subgraphs"
NAMES = ["Audio for a video, foley (Duet)", "Compare guidances (Duet)", "Text to video with audio (Duet)"]
CATALOGUE = catalogue()
ENTRY, EXIT = -10, -20  # ids of a subgraph's own inputs and outputs


def blueprint(name: str) -> tuple[dict, dict]:
    """The node, and the graph inside."""
    graph = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    (host,), (inside,) = graph["nodes"], graph["definitions"]["subgraphs"]
    assert host["type"] == inside["id"] and graph["links"] == []
    return host, inside


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_wires_hang_together(name):
    host, inside = blueprint(name)
    nodes = {node["id"]: node for node in inside["nodes"]}
    for link in inside["links"]:
        source = inside["inputs"] if link["origin_id"] == ENTRY else nodes[link["origin_id"]]["outputs"]
        target = inside["outputs"] if link["target_id"] == EXIT else nodes[link["target_id"]]["inputs"]
        start, end = source[link["origin_slot"]], target[link["target_slot"]]
        assert link["id"] in (start["linkIds"] if link["origin_id"] == ENTRY else start["links"])
        assert link["id"] in end["linkIds"] if link["target_id"] == EXIT else link["id"] == end["link"]
        assert start["type"] == end["type"] == link["type"]
    for outer, inner in ((host["inputs"], inside["inputs"]), (host["outputs"], inside["outputs"])):
        assert [(each["name"], each["type"]) for each in outer] == [(each["name"], each["type"]) for each in inner]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_inside_fits_the_nodes(name):
    _, inside = blueprint(name)
    links = [
        [each[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")] for each in inside["links"]
    ]
    core = {node["id"] for node in inside["nodes"] if not node["type"].startswith("Duet")}
    graph = to_api({"nodes": [node for node in inside["nodes"] if node["id"] not in core], "links": links}, CATALOGUE)
    for node in graph.values():
        described = CATALOGUE[node["class_type"]].GET_NODE_INFO_V1()["input"]
        needed = [name for name, (kind, *_) in described["required"].items() if kind != "COMFY_AUTOGROW_V3"]
        assert set(needed) <= set(node["inputs"])


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_does_and_where_it_is_from(name):
    host, inside = blueprint(name)
    assert host["title"] == inside["name"] == name and inside["category"] == "Duet" and inside["description"].endswith(".")
    for node in (host, *inside["nodes"]):
        assert node["properties"]["cnr_id"] == ("comfy-core" if node["type"] == "CreateVideo" else "duet-av")
