"""Every workflow in the folder loads, and its two forms agree."""

import json
from pathlib import Path

import pytest

from duet_av.nodes.headless import catalogue, load_workflow, validate
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests.page import to_api

FOLDER = Path(__file__).parent.parent / "workflows"
CATALOGUE = catalogue()
TITLES = {"Model", "Prompts", "Latent", "Mux"}
SAMPLED = {"Guidance", "Sampler", "Decode"}


@pytest.fixture(autouse=True)
def published(tmp_path):
    """The user's files that workflows name: published checkpoints, and the picture that comes with ComfyUI."""
    for file in ("checkpoints/svd_xt.safetensors", "diffusers/audioldm2/model_index.json", "example.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    token = session.set(Session(Folders(models=tmp_path, input=tmp_path)))
    yield
    session.reset(token)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.json"))


def test_every_workflow_has_both_forms():
    assert names(FOLDER) == names(FOLDER / "api") != []


def test_every_workflow_has_a_picture_in_the_template_browser():
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", names(FOLDER / "api"))
def test_workflow_fits_the_nodes(name):
    workflow = load_workflow(FOLDER / "api" / name)
    validate(workflow, CATALOGUE)
    titles = {node.title for node in workflow.nodes.values()}
    assert TITLES <= titles and ("Compare" in titles or SAMPLED <= titles)


@pytest.mark.parametrize("name", names(FOLDER / "api"))
def test_workflows_from_before_eta_still_fit(name, tmp_path):
    graph = json.loads((FOLDER / "api" / name).read_text())
    for node in graph.values():
        node["inputs"].pop("eta", None)
    (tmp_path / name).write_text(json.dumps(graph))
    validate(load_workflow(tmp_path / name), CATALOGUE)


@pytest.mark.parametrize("name", names(FOLDER))
def test_both_forms_say_the_same(name):
    page = json.loads((FOLDER / name).read_text())
    assert to_api(page, CATALOGUE) == json.loads((FOLDER / "api" / name).read_text())


@pytest.mark.parametrize("name", names(FOLDER))
def test_the_page_form_hangs_together(name):
    page = json.loads((FOLDER / name).read_text())
    nodes = {node["id"]: node for node in page["nodes"]}
    for link, source, slot, target, place, kind in page["links"]:
        assert link in nodes[source]["outputs"][slot]["links"] and nodes[source]["outputs"][slot]["type"] == kind
        assert nodes[target]["inputs"][place]["link"] == link
    assert page["last_link_id"] == max(link[0] for link in page["links"]) and page["last_node_id"] == max(nodes)


@pytest.mark.parametrize("name", names(FOLDER))
def test_no_node_covers_another(name):
    nodes = json.loads((FOLDER / name).read_text())["nodes"]
    boxes = [(*n["pos"], n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]) for n in nodes]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert all(r <= left or right <= x or b <= top - 30 or bottom <= y - 30 for x, y, r, b in boxes[i + 1 :])
