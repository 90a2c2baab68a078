"""The library as an outsider uses it."""

import inspect
import json
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from duet_av import av_models
from duet_av.av_models import generation
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.media import read_video
from duet_av.av_models.recommended import Recommended
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.nodes.own_settings import AS_RECOMMENDED
from duet_av.tests.schemas import every_input

ROOT = Path(av_models.__file__).parent.parent


def test_every_name_is_there_and_no_submodule_hides_it():
    for name in av_models.__all__:
        assert callable(getattr(av_models, name)) and callable(getattr(av_models, name)), name
    assert set(av_models.__all__) == set(av_models._MODULES) == set(dir(av_models))
    with pytest.raises(AttributeError, match="no attribute 'sampl'"):
        av_models.sampl


def test_importing_it_loads_nothing():
    code = "import sys, duet_av.av_models as duet; assert not {'torch', 'diffusers', 'av'} & set(sys.modules); duet.VideoShape"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_imports_nothing_from_above():
    above = re.compile(r"^\s*(from|import) \.\.+(bounce|nodes|commands|benchmarks)\b", re.M)
    for path in (ROOT / "av_models").rglob("*.py"):
        assert not above.search(path.read_text()), path
    for path in (ROOT / "bounce").rglob("*.py"):
        assert not re.search(r"^\s*from \.+(nodes|commands|benchmarks)\b", path.read_text(), re.M), path


def test_its_defaults_are_those_of_the_nodes():
    nodes = json.loads((ROOT / "tests" / "object_info.json").read_text(encoding="utf-8"))
    for node, settings in (("DuetAligner", Aligner), ("DuetJointSampler", SamplingSchedule)):
        shown = {name: options.get("default") for name, _, options in every_input(nodes[node]["input"])}
        for field in fields(settings):
            if field.name in shown and field.default is not None and shown[field.name] is not None:
                assert shown[field.name] in (field.default, AS_RECOMMENDED.get(field.name)), field.name
    assert Recommended().schedule == SamplingSchedule()
    for name in AS_RECOMMENDED:
        assert shown[name] == AS_RECOMMENDED[name]
    assert all(inspect.signature(generation.generate).parameters[name].default is None for name in ("guidance", "schedule"))


def test_the_example_of_readme_writes_a_clip(tmp_path, monkeypatch):
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    few = SamplingSchedule(2)
    monkeypatch.setattr(generation, "sample", lambda *args, **options: _sample(*args[:3], few, **options))
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "example.py"
    script.write_text(example.replace('"bounce/models', f'"{ROOT}/bounce/models'))
    runpy.run_path(str(script))
    clip = read_video(tmp_path / "ball.mp4")
    assert len(clip.frames) == 32 and clip.fps == 16 and clip.audio.shape[1] == 2 * clip.sample_rate


_sample = generation.sample
