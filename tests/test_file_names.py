"""Values in file names are replaced headless as ComfyUI's page replaces them."""

import re
from datetime import datetime

import pytest

from duet_av.nodes.headless import Node, Workflow, catalogue, load_workflow, run_workflow, set_inputs, validate
from duet_av.nodes.headless.file_names import format_date, replace_in_file_names
from duet_av.nodes.stand_in import Folders
from duet_av.tests.conftest import WORKFLOW


@pytest.mark.parametrize(("text", "said"), [
    ("yyyy-MM-dd", "2031-04-07"), ("d.M.yy", "7.4.31"), ("hhmmss", "090502"), ("h:m:s", "9:5:2"), ("yyy", "yyy"),
    ("yyyyy", "2031y"), ("Kino", "Kino"), ("ddd", "077"),
])  # fmt: skip
def test_dates_are_as_in_the_page(text, said):
    assert format_date(text, datetime(2031, 4, 7, 9, 5, 2)) == said


def named(prefix: str, class_type: str = "DuetMux") -> str:
    sampling = {"steps": 20, "shift": 3.0, "eta": 0.5, "batch_branches": True, "model": ["2", 0]}
    nodes = {
        "1": Node("1", "DuetJointSampler", sampling, "Sampler"),
        "4": Node("4", "DuetGuidance", {"guidance": "cfg", "guidance.video_scale": 2.5}, "Guidance"),
        "2": Node("2", "DuetLoadJointModel", {"model": 'a/b:c*"x".safetensors'}, "Model"),
        "3": Node("3", class_type, {"filename_prefix": prefix}, "Save"),
    }  # fmt: skip
    return replace_in_file_names(Workflow(nodes), catalogue()).nodes["3"].inputs["filename_prefix"]


@pytest.mark.parametrize(("prefix", "said"), [
    ("%Sampler.steps% steps", "20 steps"), ("%DuetJointSampler.steps%", "20"),
    ("%Sampler.shift%-%Sampler.eta%-%Sampler.batch_branches%", "3-0.5-true"), ("%Model.model%", "a_b_c__x_.safetensors"),
    ("%Nobody.steps%", "%Nobody.steps%"), ("%Sampler.other%", "%Sampler.other%"), ("%Sampler.model%", "%Sampler.model%"),
    ("%year%/%width%", "%year%/%width%"), ("100%", "100%"), ("%Guidance.guidance.video_scale%", "2.5"),
    ("%Guidance%", "%Guidance%"), ("%date:hh.mm%", "%date:hh.mm%"),
])  # fmt: skip
@pytest.mark.parametrize("class_type", ["DuetMux", "DuetReplaceSound", "SaveVideo"])
def test_values_of_nodes_are_replaced_by_class_or_title(prefix, said, class_type):
    assert named(prefix, class_type) == said


def test_the_date_is_replaced():
    assert re.fullmatch(r"20\d\d-\d\d/clip", named("%date:yyyy-MM%/clip"))


def test_a_run_names_its_file_and_previews_leave_none(tmp_path):
    quick = ["Sampler.steps=1", "Latent.seconds=0.25", "Save.filename_prefix=%Sampler.steps% at %width%"]
    known = catalogue()
    [title] = [node.title for node in load_workflow(WORKFLOW).nodes.values() if node.class_type == "DuetMux"]
    settings = [each.replace("Save.", f"{title}.") for each in quick]
    titles = {node.class_type: node.title for node in load_workflow(WORKFLOW).nodes.values()}
    settings = [each.replace("Latent.", f"{titles['DuetEmptyLatent']}.") for each in settings]
    workflow = set_inputs(load_workflow(WORKFLOW), settings, known)
    folders = Folders(output=tmp_path)
    result = run_workflow(workflow, known, folders)
    assert [file.name for file in result.files] == ["1 at 64_00001_.mp4"] and result.files[0].is_file()
    preview = run_workflow(set_inputs(workflow, [f"{title}.save_output=false"], known), known, folders)
    assert preview.files == [] and len(list(tmp_path.rglob("*.mp4"))) == 1


@pytest.mark.parametrize("prefix", ["../x", "/x", "a/../../x", ""])
def test_a_file_name_outside_the_folder_is_refused_before_anything_runs(prefix):
    known = catalogue()
    with pytest.raises(ValueError, match=r"^Mux\.filename_prefix: file name .* is not inside the output folder; give a"):
        validate(set_inputs(load_workflow(WORKFLOW), [f"Mux.filename_prefix={prefix}"], known), known)
