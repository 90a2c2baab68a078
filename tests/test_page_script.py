"""The page's script and the package agree."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_nodes_are_marked_with_the_name_and_version_of_the_package():
    package = dict(re.findall(r'^(name|version) = "(.+)"', text("pyproject.toml"), re.M))
    script = dict(re.findall(r"^export const (PACK|VERSION) = '(.+)'", text("web/duet/nodes.js"), re.M))
    assert script == {"PACK": package["name"], "VERSION": package["version"]}


def test_only_the_first_script_imports_from_comfyui():
    imports = {path.name: set(re.findall(r"from '(.+)'", path.read_text(encoding="utf-8"))) for path in SCRIPTS}
    foreign = {name: {each for each in found if not re.fullmatch(r"\./(duet/)?\w+\.js", each)} for name, found in imports.items()}
    assert {name: found for name, found in foreign.items() if found} == {"duet.js": {"../../scripts/app.js"}}


def test_every_socket_of_ours_has_a_colour():
    sockets = {
        found for path in (ROOT / "nodes").glob("*.py") for found in re.findall(r'"(DUET_\w+)"', path.read_text(encoding="utf-8"))
    }
    assert sockets and sockets == set(re.findall(r"^  (DUET_\w+): '#[0-9a-f]{6}'", text("web/duet/colors.js"), re.M))
