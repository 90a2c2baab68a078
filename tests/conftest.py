"""Fixtures of the tests that run nodes: a tiny model in place of Bounce, and the shipped workflow made short."""

import json
from pathlib import Path

import pytest
import torch

WORKFLOW = Path(__file__).parent.parent / "workflows" / "api" / "bounce_t2av.json"


@pytest.fixture
def loads(monkeypatch) -> list:
    """Puts a tiny model in place of every joint model; the list of what was loaded."""
    from duet_av.nodes import model_cache
    from duet_av.tests.tiny import tiny_model

    loaded = []

    def load(source):
        loaded.append(source)
        return tiny_model()

    monkeypatch.setattr("duet_av.bounce.shipped.load_joint_model", load)
    monkeypatch.setattr(model_cache, "_loaded", type(model_cache._loaded)())
    return loaded


@pytest.fixture
def folders(tmp_path):
    """A session of the nodes that writes to the folder `out`."""
    from duet_av.nodes.stand_in import Folders, Session, session

    own = Session(folders=Folders(output=tmp_path / "out"))
    token = session.set(own)
    yield own
    session.reset(token)
    own.delete_temp_folder()


@pytest.fixture
def graph() -> dict:
    """The shipped text-to-sounding-video workflow, of half a second in two steps."""
    prompt = json.loads(WORKFLOW.read_text())
    prompt["3"]["inputs"]["seconds"] = 0.5
    prompt["5"]["inputs"]["steps"] = 2
    prompt["2"]["inputs"] |= {"video_prompt": "a red ball", "audio_prompt": "metal ball"}
    return prompt


@pytest.fixture(scope="session")
def small_kandinsky6(tmp_path_factory) -> Path:
    """The folder of a tiny random Kandinsky 6."""
    from duet_av.benchmarks.small_models import kandinsky6

    folder = tmp_path_factory.mktemp("published") / "kandinsky6"
    kandinsky6.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_kandinsky6_distilled(tmp_path_factory) -> Path:
    """The folder of a tiny random Kandinsky 6 with the layout of the distilled weights."""
    from duet_av.benchmarks.small_models import kandinsky6

    folder = tmp_path_factory.mktemp("published") / "kandinsky6_distilled"
    kandinsky6.build(folder, distilled=True)
    return folder


@pytest.fixture(scope="session")
def small_ltx2(tmp_path_factory) -> Path:
    """The folder of a tiny random LTX-2.3."""
    from duet_av.benchmarks.small_models import ltx2

    folder = tmp_path_factory.mktemp("published") / "ltx2"
    ltx2.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_ltx2_versions(tmp_path_factory, small_ltx2) -> dict[str, Path]:
    """The folders of tiny random models of each version of LTX-2."""
    from duet_av.benchmarks.small_models import ltx2

    root = tmp_path_factory.mktemp("published")
    folders = {version: root / f"ltx-{version}" for version in ltx2.VERSIONS if version != "2.3"}
    for version, folder in folders.items():
        ltx2.build(folder, version=version)
    return folders | {"2.3": small_ltx2}


@pytest.fixture(scope="session")
def small_ovi(tmp_path_factory) -> Path:
    """The folder of a tiny random Ovi."""
    from duet_av.benchmarks.small_models import ovi

    folder = tmp_path_factory.mktemp("published") / "Ovi"
    ovi.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_wan(tmp_path_factory) -> Path:
    """The folder of a tiny random Wan 2.2 TI2V."""
    from duet_av.benchmarks.small_models import wan

    folder = tmp_path_factory.mktemp("published") / "wan"
    wan.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_stable_audio(tmp_path_factory) -> Path:
    """The folder of a tiny random Stable Audio Open."""
    from duet_av.benchmarks.small_models import stable_audio

    folder = tmp_path_factory.mktemp("published") / "stable_audio"
    stable_audio.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_stable_audio_files(tmp_path_factory) -> Path:
    """A folder of models with the same Stable Audio Open as a checkpoint, and its text encoder."""
    from duet_av.benchmarks.small_models import stable_audio

    folder = tmp_path_factory.mktemp("models")
    stable_audio.build_files(folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="session")
def small_tangoflux(tmp_path_factory) -> Path:
    """The folder of a tiny random TangoFlux."""
    from duet_av.benchmarks.small_models import tangoflux

    folder = tmp_path_factory.mktemp("published") / "TangoFlux"
    tangoflux.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_stable_audio_3(tmp_path_factory) -> Path:
    """The folder of a tiny random Stable Audio 3 that is distilled."""
    from duet_av.benchmarks.small_models import stable_audio_3

    folder = tmp_path_factory.mktemp("published") / "stable_audio_3"
    stable_audio_3.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_wan_tangoflux(tmp_path_factory) -> Path:
    """A folder `models` with a tiny random pair of Wan 2.2 TI2V and TangoFlux, with the names of the real files."""
    from duet_av.benchmarks.small_models import wan_tangoflux

    folder = tmp_path_factory.mktemp("pair") / "models"
    wan_tangoflux.build(folder, steps=32)
    return folder


@pytest.fixture(scope="session")
def small_ace_step(tmp_path_factory) -> Path:
    """The folder of a tiny random ACE-Step 1.5."""
    from duet_av.benchmarks.small_models import ace_step

    folder = tmp_path_factory.mktemp("published") / "ace_step"
    ace_step.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_pe_av(tmp_path_factory) -> Path:
    """The folder of a tiny random PE-AV that sees all frames."""
    from duet_av.benchmarks.small_models import pe_av

    folder = tmp_path_factory.mktemp("published") / "pe-av-small"
    pe_av.build(folder)
    return folder
