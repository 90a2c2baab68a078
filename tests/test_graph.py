"""Headless workflows: what they run, and every bad one found before anything runs."""

import json
import math
import os
import time

import pytest
import torch

from duet_av.nodes.headless import Node, RunError, Workflow, catalogue, load_workflow, run_workflow, set_inputs, validate
from duet_av.nodes.headless.execute import NoProgress
from duet_av.nodes.headless.validate import ignored_inputs
from duet_av.nodes.stand_in import Folders, io
from duet_av.nodes.stand_in.core_nodes import ImageFromBatch, ImageStitch

CATALOGUE = catalogue()


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path / "output", tmp_path / "input", tmp_path / "models")


def read(tmp_path, prompt) -> Workflow:
    file = tmp_path / "workflow.json"
    file.write_text(prompt if isinstance(prompt, str) else json.dumps(prompt))
    return load_workflow(file)


@pytest.fixture
def refused(tmp_path, graph):
    """Checks that a changed graph is refused in one line holding all of `words`."""

    def check(change, *words):
        prompt = change(graph) or graph
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            validate(read(tmp_path, prompt), CATALOGUE)
        for word in words:
            assert word in str(error.value)
        assert "\n" not in str(error.value)

    return check


def settable(graph, *settings):
    nodes = {key: Node(key, n["class_type"], n["inputs"], n["_meta"]["title"]) for key, n in graph.items()}
    return set_inputs(Workflow(nodes), settings, CATALOGUE)


# Running


def test_the_shipped_graph_makes_one_file(tmp_path, graph, folders, loads):
    result = run_workflow(read(tmp_path, graph), CATALOGUE, folders)
    assert result.files == [folders.output / "duet" / "bounce_t2av_00001_.mp4"] and result.files[0].is_file()
    assert result.reports["Sampler"]["forwards_per_step"] == 1 and result.reports["Sampler"]["video_seed"] == 1
    assert result.reports["Mux"]["files"][0]["frames"] == 8 and loads == ["Bounce"]


def test_the_same_seeds_make_the_same_file(tmp_path, graph, folders, loads):
    files = [run_workflow(read(tmp_path, graph), CATALOGUE, folders).files[0] for _ in range(2)]
    assert files[0] != files[1] and files[0].read_bytes() == files[1].read_bytes()


def test_the_file_keeps_the_workflow_as_it_ran(tmp_path, graph, folders, loads):
    from duet_av.av_models.media import read_metadata

    workflow = set_inputs(read(tmp_path, graph), ["Sampler.video_seed=77"], CATALOGUE)
    file = run_workflow(workflow, CATALOGUE, folders).files[0]
    kept = json.loads(read_metadata(file)["prompt"])
    assert kept["5"]["inputs"]["video_seed"] == 77 and kept["5"]["_meta"]["title"] == "Sampler"
    again = run_workflow(read(tmp_path, kept), CATALOGUE, folders).files[0]
    assert again.read_bytes() == file.read_bytes()


def test_only_what_a_saving_node_needs_is_run(tmp_path, graph, folders, loads):
    graph["9"] = {"class_type": "DuetJointSampler", "inputs": graph["5"]["inputs"], "_meta": {"title": "Unused"}}
    assert "Unused" not in run_workflow(read(tmp_path, graph), CATALOGUE, folders).shown


def test_progress_hears_of_every_node(tmp_path, graph, folders, loads):
    heard = []

    class Ear(NoProgress):
        def start(self, title):
            heard.append(title)

        def update(self, value, total):
            heard.append((value, total))

    run_workflow(read(tmp_path, graph), CATALOGUE, folders, Ear())
    assert heard.index("Model") < heard.index("Sampler") < heard.index((1, 2)) < heard.index((2, 2)) < heard.index("Mux")


def test_a_node_that_fails_is_named_and_nothing_is_written(tmp_path, graph, folders, loads):
    graph["5"]["inputs"]["eta"] = -0.5
    with pytest.raises(RunError, match="^Sampler: eta is -0.5; use -1"):
        run_workflow(read(tmp_path, graph), CATALOGUE, folders)
    assert not folders.output.exists()


def test_core_nodes_take_a_video_apart_and_save_it(tmp_path, graph, folders, loads):
    clip = run_workflow(read(tmp_path, graph), CATALOGUE, folders).files[0]
    prompt = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": str(clip)}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {
            "class_type": "DuetMux",
            "inputs": graph["7"]["inputs"] | {"images": ["2", 0], "audio": ["2", 1], "fps": ["2", 2]},
        },
        "4": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["3", 0], "filename_prefix": "copy", "format": "auto", "format.codec": "auto"},
        },
    }
    files = run_workflow(read(tmp_path, prompt), CATALOGUE, folders).files
    assert [file.name for file in files] == ["bounce_t2av_00002_.mp4", "copy_00001_.mp4"]
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize("container", ["gif", "mp3"])
def test_every_kind_of_file_is_listed(tmp_path, graph, folders, loads, container):
    graph["7"]["inputs"] |= {"container": container}
    (file,) = run_workflow(read(tmp_path, graph), CATALOGUE, folders).files
    assert file.suffix == f".{container}" and file.is_file()


def test_core_loaders_read_pictures_and_sound(tmp_path, graph, folders, loads):
    from PIL import Image

    clip = run_workflow(read(tmp_path, graph), CATALOGUE, folders).files[0]
    folders.input.mkdir()
    Image.new("RGBA", (5, 4), (255, 0, 0, 0)).save(folders.input / "red.png")
    from duet_av.nodes.stand_in import Session, session

    token = session.set(Session(folders))
    try:
        picture, mask = CATALOGUE["LoadImage"].execute("red.png").args
        sound = CATALOGUE["LoadAudio"].execute(str(clip)).args[0]
    finally:
        session.reset(token)
    assert picture.shape == (1, 4, 5, 3) and picture[0, 0, 0].tolist() == [1, 0, 0] and mask.min() == 1
    assert sound["waveform"].shape[:2] == (1, 1) and sound["sample_rate"] == 8000


# --set


def test_set_takes_keys_titles_and_dotted_inputs(graph):
    changed = settable(graph, "5.steps=3", "Sampler.audio_seed=9", "Guidance.guidance.video_scale=1.5", "Prompts.video_prompt=a=b")
    inputs = changed.nodes["5"].inputs
    assert (inputs["steps"], inputs["audio_seed"]) == (3, 9)
    assert changed.nodes["4"].inputs["guidance.video_scale"] == 1.5
    assert changed.nodes["2"].inputs["video_prompt"] == "a=b"


def test_a_new_choice_brings_its_inputs_and_takes_the_old_away(graph):
    changed = settable(graph, "Latent.size.width=64", "Latent.size=custom", "Guidance.guidance=none")
    assert changed.nodes["3"].inputs["size.width"] == 64 and changed.nodes["3"].inputs["size.fps"] == 16.0
    assert set(changed.nodes["4"].inputs) == {"guidance", "a_to_v", "v_to_a"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("Samplr.steps=3", ["Samplr", "Sampler"]),
        ("Sampler.step=3", ["'step'", "steps"]),
        ("Sampler.model=3", ["takes a link"]),
        ("Sampler.steps=many", ["'many'", "whole number"]),
        ("Sampler.shift=x", ["'x'", "a number"]),
        ("Sampler.batch_branches=maybe", ["true or false"]),
        ("Sampler=3", ["NODE.INPUT=VALUE"]),
        ("Sampler.steps", ["NODE.INPUT=VALUE"]),
        ("Latent.size.width=3", ["'size.width'"]),
    ],
)
def test_an_unknown_set_is_refused_with_what_there_is(graph, setting, words):
    with pytest.raises(ValueError) as error:
        settable(graph, setting)
    assert all(word in str(error.value) for word in [setting, *words])


def test_two_nodes_of_one_title_are_told_apart_by_key(graph):
    graph["4"]["_meta"]["title"] = "Sampler"
    with pytest.raises(ValueError, match="use a key instead, 4 or 5"):
        settable(graph, "Sampler.steps=2")


# Bad files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["not valid JSON", "Export (API)"]),
        ("", ["not valid JSON"]),
        ("{}", ["empty workflow"]),
        ("[1]", ["list"]),
        ('{"nodes": [], "links": []}', ["saved with Save"]),
        ('{"1": {"inputs": {}}}', ["'1'", "class_type"]),
        ('{"1": {"class_type": "DuetMux", "inputs": []}}', ["'1'", "list"]),
    ],
)
def test_a_file_that_holds_no_workflow_is_refused(tmp_path, text, words):
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert all(word in str(error.value) for word in words)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "workflow.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_workflow(tmp_path / "workflow.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.json"):
        load_workflow(tmp_path / "gone.json")


# Bad graphs


def put(key, name, value):
    def change(graph):
        graph[key]["inputs"][name] = value

    return change


def drop(key, name):
    return lambda graph: graph[key]["inputs"].pop(name) and None


def test_an_unknown_node_is_refused_with_the_nearest(refused):
    refused(lambda graph: graph["5"].update(class_type="DuetJointSample"), "Sampler", "DuetJointSample", "DuetJointSampler")


def test_a_graph_that_saves_nothing_is_refused(refused):
    refused(lambda graph: {"1": graph["1"]}, "saves nothing", "DuetMux")


def test_a_circle_is_refused(refused):
    def circle(graph):
        inputs = {"filename_prefix": "x", "format": "auto", "format.codec": "auto"}
        graph["8"] = {"class_type": "SaveVideo", "inputs": {"video": ["9", 0], **inputs}}
        graph["9"] = {"class_type": "SaveVideo", "inputs": {"video": ["8", 0], **inputs}}

    refused(circle, "cycle", "node 8", "node 9", "remove")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("5", "steps"), ["Sampler.steps", "missing", "value"]),
        (drop("5", "latent"), ["Sampler.latent", "missing", "LATENT"]),
        (drop("4", "guidance.video_scale"), ["Guidance.guidance.video_scale", "missing"]),
        (put("5", "latent", ["99", 0]), ["Sampler.latent", "'99'"]),
        (put("5", "latent", ["3", 1]), ["Sampler.latent", "output 1 of Latent", "0 (latent)"]),
        (put("5", "latent", ["3", -1]), ["output -1"]),
        (put("5", "latent", ["3"]), ["Sampler.latent", "a link is"]),
        (put("5", "latent", [3, 0]), ["a link is"]),
        (put("5", "latent", ["1", 0]), ["Sampler.latent", "DUET_MODEL", "LATENT"]),
        (put("5", "latent", 3), ["Sampler.latent is 3", "LATENT"]),
        (put("5", "steps", ["6", 2]), ["Sampler.steps", "FLOAT", "INT"]),
        (put("5", "steps", "20"), ["Sampler.steps is '20'", "whole number"]),
        (put("5", "steps", 2.5), ["2.5", "whole number"]),
        (put("5", "steps", True), ["True", "whole number"]),
        (put("5", "steps", None), ["None", "whole number"]),
        (put("5", "steps", -1), ["Sampler.steps is -1", "from 0 to 1000"]),
        (put("5", "steps", -4), ["-4"]),
        (put("5", "steps", math.nan), ["nan"]),
        (put("5", "video_seed", -1), ["Sampler.video_seed is -1"]),
        (put("5", "video_seed", 2**64), ["video_seed", "18446744073709551615"]),
        (put("5", "shift", math.nan), ["Sampler.shift is nan", "finite"]),
        (put("5", "shift", math.inf), ["inf", "finite"]),
        (put("5", "shift", -1), ["Sampler.shift is -1"]),
        (put("5", "batch_branches", 1), ["true or false"]),
        (put("3", "seconds", 0), ["Latent.seconds is 0"]),
        (put("3", "seconds", -2.0), ["Latent.seconds is -2.0"]),
        (put("3", "batch", 0), ["Latent.batch is 0"]),
        (put("3", "size", "tall"), ["Latent.size is 'tall'", "as trained, custom"]),
        (put("4", "guidance", "cfgg"), ["Guidance.guidance is 'cfgg'", "joint_cfg"]),
        (put("4", "guidance.video_scale", math.nan), ["Guidance.guidance.video_scale is nan"]),
        (put("4", "guidance.video_scale", -2.0), ["-2.0"]),
        (put("2", "video_prompt", 3), ["Prompts.video_prompt is 3", "text"]),
        (put("7", "container", "avi"), ["Mux.container is 'avi'", "mp4"]),
        (put("7", "container.video_codec", "h263"), ["h263", "h264"]),
        (put("7", "crf", 99.0), ["Mux.crf is 99.0"]),
        (put("1", "model", "gone.safetensors"), ["Model.model", "gone.safetensors"]),
    ],
)
def test_a_bad_input_is_named_with_the_remedy(refused, change, words):
    refused(change, *words)


def test_a_missing_input_file_is_found_before_anything_runs(refused):
    refused(lambda graph: graph.update({"9": {"class_type": "LoadVideo", "inputs": {"file": "gone.mp4"}}}), "gone.mp4")


def test_a_value_that_no_node_takes_is_passed_over_and_told(tmp_path, graph):
    graph["7"]["inputs"]["crff"] = 3
    workflow = read(tmp_path, graph)
    assert "crff" not in validate(workflow, CATALOGUE).nodes["7"].inputs
    assert ignored_inputs(workflow, CATALOGUE)[0].startswith("Mux has no input 'crff'")


def test_whole_numbers_are_taken_for_floats_and_the_other_way_round(tmp_path, graph):
    graph["5"]["inputs"] |= {"shift": 2, "steps": 3.0}
    inputs = validate(read(tmp_path, graph), CATALOGUE).nodes["5"].inputs
    assert isinstance(inputs["shift"], float) and isinstance(inputs["steps"], int)


# Files of strangers


@pytest.mark.parametrize("value", [[["1", 0], 0], [], ["99", 0], ["7", 0], ["1"], {"a": [1]}, 10**400, "\ud800"])
def test_a_value_that_no_node_takes_is_ignored_whatever_it_is(tmp_path, graph, folders, loads, value):
    graph["3"]["inputs"]["extra"] = value
    workflow = read(tmp_path, graph)
    assert run_workflow(workflow, CATALOGUE, folders).files[0].is_file()
    assert ignored_inputs(workflow, CATALOGUE)[0].startswith("Latent has no input 'extra', so it is ignored")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, ["nested more than 100 deep"]),
        ('{"1": {"class_type": "DuetMux", "inputs": {"a": ' + "[" * 150 + "]" * 150 + "}}}", ["nested more than 100 deep"]),
        ('{"1": ' + "9" * 5000 + "}", ["not valid JSON", "digits"]),
        ('{"\\u001b[31m\\n": 3}', ["node '\\x1b[31m\\n' has no class_type"]),
        ("x" * (33 * 2**20), ["larger than 32 MiB"]),
    ],
)
def test_a_file_that_is_made_to_fail_is_one_line(tmp_path, text, words):
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert all(word in str(error.value) for word in [str(tmp_path), *words]) and str(error.value).isprintable()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_file_in_another_encoding_of_unicode_is_read(tmp_path, graph, encoding):
    (tmp_path / "w.json").write_text(json.dumps(graph), encoding=encoding)
    assert len(load_workflow(tmp_path / "w.json").nodes) == len(graph)


def test_a_folder_a_device_and_a_pipe_are_no_workflow(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, "/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ValueError, match=f"^{path} is not a file; give a workflow"):
            load_workflow(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("5", "steps", 10**400), ["Sampler.steps is 1000", "whole number from 0 to 1000"]),
        (put("5", "shift", 10**400), ["Sampler.shift is inf"]),
        (put("5", "shift", -(10**400)), ["Sampler.shift is -inf"]),
        (put("5", "latent", [[["1", 0]], 0]), ["Sampler.latent is [[['1', 0]], 0]; a link is"]),
        (put("5", "latent", ["x" * 10**6, 0]), ["Sampler.latent links to node 'xxx"]),
        (put("1", "model", "a" * 5000), ["Model.model", "name too long"]),
    ],
)
def test_a_huge_value_is_named_in_a_short_line(refused, change, words):
    refused(change, *words)


@pytest.mark.parametrize("points", [None, [1], [[0]], [[0, "x"]], [[0, math.nan]], [[0, 10**400]], [[0, True]]])
def test_a_curve_of_no_points_is_refused(refused, points):
    curves = {name: {"points": [[0, 1]]} for name in ("scale_curve", "a_to_v_curve", "v_to_a_curve")}
    inputs = {"guidance": ["4", 0], "interval_low": 0, "interval_high": 1, "rescale": 0, **curves}
    node = {"class_type": "DuetGuidanceModifiers", "inputs": inputs | {"scale_curve": {"points": points}}}
    refused(lambda graph: graph.update({"9": node}), "node 9.scale_curve is {'points'", "use a curve such as")


def test_a_title_is_printed_as_one_line_and_found_as_it_is_written(tmp_path, graph):
    title = "a\x1b[31m\nb\ud800\u202e"
    graph["5"]["_meta"]["title"] = title
    workflow = set_inputs(read(tmp_path, graph), [f"{title}.steps=3"], CATALOGUE)
    assert workflow.nodes["5"].inputs["steps"] == 3 and workflow.nodes["5"].title == "a b"


def test_nodes_of_one_title_are_named_by_key(refused):
    def change(graph):
        graph["4"]["_meta"]["title"] = "Sampler"
        graph["5"]["inputs"]["steps"] = "x"

    refused(change, "node 5: Sampler.steps is 'x'")


def test_a_long_chain_and_many_nodes_take_seconds(tmp_path, graph, folders, loads):
    source = ["6", 0]
    for number in range(1200):
        graph[f"n{number}"] = {
            "class_type": "ImageFromBatch", "inputs": {"image": source, "batch_index": 0, "length": 4096}, "_meta": {"title": "T"},
        }  # fmt: skip
        source = [f"n{number}", 0]
    graph["7"]["inputs"]["images"] = source
    began = time.perf_counter()
    assert run_workflow(read(tmp_path, graph), CATALOGUE, folders).files[0].is_file()
    assert time.perf_counter() - began < 10
    graph["n0"]["inputs"]["image"] = source
    with pytest.raises(ValueError, match="contains a cycle: .* → … → ") as error:
        validate(read(tmp_path, graph), CATALOGUE)
    assert len(str(error.value)) < 300


def test_a_node_without_memory_is_one_line(tmp_path, graph, folders, loads, monkeypatch):
    for raised in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")):

        def fail(*args, raised=raised, **options):
            raise raised

        monkeypatch.setattr("duet_av.nodes.decode.clip_shape", fail)
        with pytest.raises(RunError, match="^Decode: out of memory; make the clip smaller"):
            run_workflow(read(tmp_path, graph), CATALOGUE, folders)


# The stand-in


def test_a_clone_keeps_nothing_on_its_class():
    class Keeper(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Keeper")

        @classmethod
        def execute(cls):
            cls.kept = True

    Keeper.clone_for_run({}).execute()
    assert not hasattr(Keeper, "kept")


def test_an_input_refuses_an_option_it_does_not_have():
    with pytest.raises(TypeError, match="INT input n does not take multiline"):
        io.Int.Input("n", multiline=True)


def test_pictures_of_one_size_are_stitched_with_space_between():
    first, second = torch.zeros(2, 3, 4, 3), torch.full((2, 3, 4, 3), 0.5)
    (stitched,) = ImageStitch.execute(first, "left", False, 2, "red", second).args
    assert stitched.shape == (2, 3, 10, 3) and (stitched[:, :, :4] == 0.5).all() and (stitched[:, :, 6:] == 0).all()
    assert (stitched[:, :, 4:6] == torch.tensor([1.0, 0, 0])).all()
    with pytest.raises(ValueError, match="use images of the same size"):
        ImageStitch.execute(first, "down", False, 0, "white", second[:, :2])


@pytest.mark.parametrize("index, length, taken", [(0, 1, [0]), (-1, 1, [3]), (2, 5, [2, 3]), (9, 1, [3]), (-9, 2, [0, 1])])
def test_pictures_are_taken_out_of_a_batch(index, length, taken):
    (some,) = ImageFromBatch.execute(torch.arange(4.0).view(4, 1, 1, 1), index, length).args
    assert some.flatten().tolist() == taken
