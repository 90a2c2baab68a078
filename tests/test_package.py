"""The wheel holds every file that the installed package needs, and no tests, docs or caches."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

setuptools = pytest.importorskip("setuptools", minversion="77")

ROOT = Path(__file__).parent.parent
LEFT_OUT = ("build", "dist", "docs", "input", "models", "output", "tests")
"""Folders of the repository that are not part of the package."""
UNTRACKED = (
    "bounce/.cache/*", "bounce/runs/*/*.safetensors", "bounce/models/bounce_first.safetensors",
    "bounce/models/bounce_second.safetensors",
)  # fmt: skip
DOCUMENTS = ("bounce/runs/README.md", "bounce/runs/*/curve.png")
"""Files for people who read the repository."""


@pytest.fixture(scope="module")
def wheel() -> set[str]:
    """Paths of the files that setuptools puts into the wheel, relative to the package."""
    from distutils.core import run_setup  # setuptools provides it

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build = run_setup("setup.py", stop_after="config").get_command_obj("build_py")
        build.ensure_finalized()
        modules = [Path(path) for _, _, path in build.find_all_modules()]
        data = [Path(folder, name) for _, folder, _, names in build.data_files for name in names]
    return {path.as_posix() for path in modules + data}


def of_the_package() -> list[str]:
    """Paths of all files in the repository's folders that belong to the package."""
    folders = [each for each in ROOT.iterdir() if each.is_dir() and each.name not in LEFT_OUT and not each.name.startswith(".")]
    folders = [each for each in folders if each.suffix != ".egg-info"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path.relative_to(ROOT).as_posix() for path in files]


def test_it_holds_every_file_of_the_package(wheel):
    absent = {path for path in of_the_package() if not any(fnmatch(path, each) for each in UNTRACKED + DOCUMENTS)} - wheel
    assert not absent
    assert {"__init__.py", "__main__.py", "py.typed", "bounce/detect/listener.json", "workflows/api/bounce_t2av.json"} <= wheel
    assert {"locales/zh/nodeDefs.json", "web/docs/DuetMux.md", "web/docs/DuetMux/zh.md"} <= wheel
    assert {path.split("/")[0] for path in wheel} >= {"locales", "subgraphs", "web", "workflows"}


def test_it_holds_nothing_else(wheel):
    assert {path for path in wheel if "/" not in path} == {"__init__.py", "__main__.py", "py.typed"}
    assert not {path.split("/")[0] for path in wheel} & {*LEFT_OUT, ".venv", ".ci"}
    assert not [path for path in wheel if "__pycache__" in path or any(fnmatch(path, each) for each in DOCUMENTS)]


def test_the_registrys_archive_holds_what_the_page_asks_for():
    """It is made of the tracked files that .comfyignore does not name; git quotes names beyond ASCII, which are then lost."""
    ignored = [line.rstrip("/") for line in (ROOT / ".comfyignore").read_text().splitlines() if line and not line.startswith("#")]
    for folder in ("subgraphs", "workflows", "web"):
        names = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*")]
        assert names and all(name.isascii() for name in names)
        assert not any(fnmatch(name, each) or name.startswith(f"{each}/") for name in names for each in ignored)


def test_both_lists_of_requirements_agree():
    lines = (ROOT / "requirements.txt").read_text().split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) == {line for line in lines if not line.startswith("comfyui-")}


def test_the_tested_versions_are_above_the_floors():
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
    for line in (ROOT / "requirements.txt").read_text().split():
        name, _, floor = line.partition(">=")
        if floor and name in tested:
            assert [int(part) for part in tested[name].split(".")] >= [int(part) for part in floor.split(".")], line
