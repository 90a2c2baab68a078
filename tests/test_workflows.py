"""Every workflow in the folder loads, its two forms agree, and its template is laid out, named and illustrated as promised."""

import json
import re
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from duet_av.bounce.measure.moving_sheet import CARD, LABEL
from duet_av.nodes.headless import catalogue, load_workflow, run_workflow, validate
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests.fake_family import save_folder
from duet_av.tests.page import FOLDER, JOINED, NATIVE, NOTE, SMALL_JOINED, named_to_api, template, templates, to_api

CATALOGUE = catalogue()
TITLES = {"Model", "Prompts", "Latent", "Mux"}
SAMPLED = {"Guidance", "Sampler", "Decode"}
APIS = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))
IN_COMFYUI = (*NATIVE, *JOINED, SMALL_JOINED)
HEADLESS = [name for name in APIS if name not in IN_COMFYUI]
NATIVE_TITLES = {"Model", "Prompt", "Noise", "Mux"}
NATIVE_SAMPLED = {"Guidance", "Guider", "Sampler"}
JOINED_TITLES = {"Model", "Prompt", "Negative", "Latent", "Sampler", "Mux"}
VERSION = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
OVI = "Ovi/model_960x960.safetensors"
PIPELINES = {"Kandinsky-6.0-Lite-5s-Diffusers": "Kandinsky6TI2VAPipeline", "LTX-2.3-Diffusers": "LTX2Pipeline"}
TITLE_BAR = 30  # pixels, above a node's position
MOST = 300_000  # bytes of a picture
EXTERNAL = {
    "DuetLoadVideoExpert": ("checkpoints", "diffusion_models", "text_encoders", "vae"),
    "DuetLoadAudioExpert": ("diffusers", "duet"), "DuetLoadJointModel": ("diffusers", "duet"),
}  # fmt: skip
WAN, TANGOFLUX = "wan2.2_ti2v_5B_fp16.safetensors", "TangoFlux"
CORE_FILES = {  # the widgets of ComfyUI's loaders, and the folders of their files
    "ckpt_name": "checkpoints", "unet_name": "diffusion_models", "text_encoder": "text_encoders", "clip_name": "text_encoders",
    "clip_name1": "text_encoders", "clip_name2": "text_encoders", "vae_name": "vae", "model_name": "latent_upscale_models",
}  # fmt: skip


@pytest.fixture(autouse=True)
def published(tmp_path):
    """The user's files that workflows name: published checkpoints, and the picture that comes with ComfyUI."""
    pair = (f"diffusion_models/{WAN}", *(f"duet/{TANGOFLUX}/{name}" for name in ("config.json", "tangoflux.safetensors")))
    for file in ("checkpoints/svd_xt.safetensors", "diffusers/audioldm2/model_index.json", "example.png", f"duet/{OVI}", *pair):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name, pipeline in PIPELINES.items():
        save_folder(tmp_path / "diffusers" / name, pipeline)
    token = session.set(Session(Folders(models=tmp_path, input=tmp_path)))
    yield
    session.reset(token)


def api_file(name: str) -> Path:
    return FOLDER / "api" / f"{name}.json"


def boxes(graph: dict) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each node, by title."""
    return {node["title"]: _box(*node["pos"], *node["size"], bar=TITLE_BAR) for node in graph["nodes"]}


def _box(x, y, width, height, bar=0):
    return x, y - bar, x + width, y + height


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a, b) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def test_every_workflow_has_both_forms():
    assert sorted(templates()) == APIS != []


def test_templates_are_named_for_people_and_in_order():
    names = [path.stem for path in templates().values()]
    assert [name[:10] for name in names] == [f"Duet {i + 1:02} - " for i in range(len(names))]
    assert all(re.fullmatch(r"[\w ,.-]+", name, re.ASCII) for name in names)  # safe in addresses, archives and every file system


@pytest.mark.parametrize("path", templates().values(), ids=templates())
def test_a_template_has_a_picture_that_moves_beside_the_browsers_label(path):
    file = path.with_suffix(".jpg")  # the only name that the page asks for; an animated WebP all the same
    assert file.stat().st_size < MOST
    with Image.open(file) as picture:
        assert picture.format == "WEBP" and picture.size == (CARD, CARD) and picture.n_frames >= 8
        frames = [(picture.seek(i), picture.convert("RGB"))[1] for i in (0, picture.n_frames // 2)]
    assert ImageChops.difference(*frames).getbbox()
    dark = frames[0].crop((0, 0, CARD // 2, LABEL - 4)).getextrema()
    assert max(high for _, high in dark) < 48


def test_every_picture_belongs_to_a_template():
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == sorted(path.stem for path in templates().values())


@pytest.mark.parametrize("name", HEADLESS)
def test_workflow_fits_the_nodes(name):
    workflow = load_workflow(api_file(name))
    validate(workflow, CATALOGUE)
    titles = {node.title for node in workflow.nodes.values()}
    assert TITLES <= titles and ("Compare" in titles or "Takes" in titles or SAMPLED <= titles)


@pytest.mark.parametrize("name", IN_COMFYUI)
def test_a_workflow_for_comfyui_alone_says_so_here(name):
    """tests/comfyui/test_native_templates.py and test_joined_templates.py run them there."""
    workflow = load_workflow(api_file(name))
    titles = {node.title for node in workflow.nodes.values()}
    if name in NATIVE:
        assert NATIVE_TITLES <= titles and ("Compare" in titles or NATIVE_SAMPLED <= titles)
    else:
        assert JOINED_TITLES <= titles
    with pytest.raises(ValueError, match="unknown class_type .*run a workflow with ComfyUI's own nodes in ComfyUI"):
        validate(workflow, CATALOGUE)


@pytest.mark.parametrize("name", HEADLESS)
def test_workflows_from_before_eta_still_fit(name, tmp_path):
    graph = json.loads(api_file(name).read_text())
    for node in graph.values():
        node["inputs"].pop("eta", None)
    (tmp_path / "old.json").write_text(json.dumps(graph))
    validate(load_workflow(tmp_path / "old.json"), CATALOGUE)


@pytest.mark.parametrize("name", ["bounce_v2a", "bounce_align_v2a", "bounce_best_take"])
def test_audio_for_a_video_is_saved_with_that_video(name):
    graph = json.loads(api_file(name).read_text())
    (given,) = [key for key, node in graph.items() if node["class_type"] == "DuetBounceClip"]
    titled = {node["_meta"]["title"]: node for node in graph.values()}
    assert titled["Mux"]["class_type"] == "DuetReplaceSound"
    assert titled["Mux"]["inputs"]["video"] == titled["Latent"]["inputs"]["video"] == [given, 6]
    assert titled["Latent"]["inputs"]["keep"] == "the video"


@pytest.mark.parametrize("name", HEADLESS)
def test_both_forms_say_the_same(name):
    assert to_api(template(name), CATALOGUE) == json.loads(api_file(name).read_text())


@pytest.mark.parametrize("name", IN_COMFYUI)
def test_both_forms_say_the_same_of_nodes_of_comfyui(name):
    assert named_to_api(template(name)) == json.loads(api_file(name).read_text())


@pytest.mark.parametrize("name", APIS)
def test_seeds_stay_as_they_are_after_a_run(name):
    for node in template(name)["nodes"]:
        assert not {"randomize", "increment", "decrement"} & {value for value in node["widgets_values"] if isinstance(value, str)}


@pytest.mark.parametrize("name", APIS)
def test_the_page_form_hangs_together(name):
    page = template(name)
    nodes = {node["id"]: node for node in page["nodes"]}
    for link, source, slot, target, place, kind in page["links"]:
        assert link in nodes[source]["outputs"][slot]["links"] and nodes[source]["outputs"][slot]["type"] == kind
        assert nodes[target]["inputs"][place]["link"] == link
    ids = {link[0] for link in page["links"]}
    assert page["last_link_id"] == max(ids) and page["last_node_id"] == max(nodes)
    bends = {bend["id"]: bend for bend in page["extra"].get("reroutes", [])}
    for extension in page["extra"].get("linkExtensions", []):
        assert extension["id"] in bends[extension["parentId"]]["linkIds"]
    assert all(set(bend["linkIds"]) <= ids and bend.get("parentId", bend["id"]) in bends for bend in bends.values())


@pytest.mark.parametrize("name", APIS)
def test_no_node_and_no_group_covers_another(name):
    page = template(name)
    for items in (boxes(page).values(), [_box(*group["bounding"]) for group in page["groups"]]):
        assert not any(overlap(a, b) for a, b in combinations(items, 2))


@pytest.mark.parametrize("name", APIS)
def test_each_node_is_in_a_group_and_the_note_in_none(name):
    page = template(name)
    groups = [_box(*group["bounding"]) for group in page["groups"]]
    around = {title: [group for group in groups if overlap(box, group)] for title, box in boxes(page).items()}
    assert around.pop("Note") == []
    assert all(len(found) == 1 and inside(boxes(page)[title], found[0]) for title, found in around.items())
    assert {"Save"} <= {group["title"] for group in page["groups"]}


@pytest.mark.parametrize("name", APIS)
def test_notes_have_no_inline_code_which_vue_nodes_show_blue_on_blue(name):
    assert not any("`" in node["widgets_values"][0] for node in template(name)["nodes"] if node["type"] == NOTE)


@pytest.mark.parametrize("name", APIS)
def test_each_node_says_which_pack_it_is_of(name):
    for node in template(name)["nodes"]:
        given = {key: node["properties"].get(key) for key in ("cnr_id", "ver")}
        if node["type"].startswith("Duet"):
            assert given == {"cnr_id": "duet-av", "ver": VERSION}
        elif node["type"] != NOTE:
            assert given["cnr_id"] == "comfy-core" and given["ver"]


@pytest.mark.parametrize("name", (*NATIVE, *JOINED))
def test_files_for_the_nodes_of_comfyui_are_listed_with_their_addresses(name):
    for node in template(name)["nodes"]:
        values = node.get("widgets_values_named", {}).items()
        mine = {(CORE_FILES[key], value) for key, value in values if str(value).endswith(".safetensors")}
        models = node["properties"].get("models", [])
        if node["type"] == "DuetAligner":  # its binder is a folder
            mine = {(f"duet/{node['widgets_values_named']['binder']}", model["name"]) for model in models}
        assert mine == {(model["directory"], model["name"]) for model in models}
        assert all(re.fullmatch(r"https://huggingface\.co/\S+/resolve/main/\S+", model["url"]) for model in models)
        assert all(model["url"].endswith("/" + model["name"]) for model in models)
    note = next(node for node in template(name)["nodes"] if node["type"] == NOTE)["widgets_values"][0]
    assert "ComfyUI offers the downloads" in note and "Not tried with published weights" in note
    assert "CFG 1" in note or name not in NATIVE


@pytest.mark.parametrize("name", HEADLESS)
def test_files_that_a_template_needs_are_listed_with_their_addresses(name):
    for node in template(name)["nodes"]:
        needed = node["type"] in EXTERNAL and node["widgets_values"][0]
        listed = node["properties"].get("models", [])
        assert bool(listed) == bool(needed and ("." in needed or needed.islower() or needed == TANGOFLUX))
        assert not listed or any(needed in (model["name"], *model["directory"].split("/")) for model in listed)
        for model in listed:
            assert model["directory"].split("/")[0] in EXTERNAL[node["type"]]
            file = model["name"].rpartition("/")[2]
            assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith("/" + file)


def test_the_compared_clips_rank_as_in_the_study(tmp_path):
    workflow = load_workflow(api_file("bounce_compare"))
    rows = run_workflow(workflow, CATALOGUE, Folders(output=tmp_path)).reports["Compare"]["table"]["rows"]
    sync = {name: float(f1) for name, f1, *_ in rows}
    assert sync["none"] < sync["cfg"] < sync["joint_cfg"] == sync["joint_cfg_star"]
