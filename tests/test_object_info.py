"""What the page is told about the nodes, as committed. tests/comfyui holds the real ComfyUI to the same file."""

import json
from pathlib import Path

from duet_av import commands
from duet_av.nodes.stand_in import Folders, Session, session

SNAPSHOT = Path(__file__).parent / "object_info.json"


def test_the_nodes_are_as_committed(tmp_path, capsys):
    """After a change that is meant, in a folder with no models/duet: duet nodes --json > …/tests/object_info.json"""
    token = session.set(Session(Folders(models=tmp_path)))
    try:
        commands.main(["nodes", "--json"])
    finally:
        session.reset(token)
    assert json.loads(capsys.readouterr().out) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
