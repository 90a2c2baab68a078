"""Makes the table of odd files × operations, without and with ComfyUI.

python -m duet_av.benchmarks.files [NAME …] [--output docs/files.md]
COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.files --comfyui [NAME …] [--output docs/files.md]

Ends with 1 if a cell fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .file_cells import FAIL, OPERATIONS, Cell
from .forked import run_in_child
from .odd_files import IDEAS, ODD_FILES, Right, make_odd_file

Row = list[Cell]
HEAD = """# Files that Duet was tried with

Small files of the kinds that cameras, editors and recorders write, and damaged ones. The command

    COMFYUI_PATH=… COMFYUI_PYTHON=… python -m duet_av.benchmarks.files --comfyui --output docs/files.md

makes them, runs four operations on each, and writes this page. What is right is known from how a file was made: the number, size,
order and mean rate of the frames shown, which way is up, the number of audio channels, and when a click is heard after the first
frame.

| operation | without ComfyUI | in ComfyUI |
|---|---|---|
| score | `duet score` | *Load Video* → *Sync Report* |
| load | `read_video` | *Load Video* → *Get Video Components* → *Sync Report* |
| encode → mux | `read_video` → `write_video` | *Load Video* → *Get Video Components* → *Save Video + Audio* |
| new audio | *Load Video*, *Load Audio* → *Save Video with New Audio*; copied frames are the same to the bit | the same |

- ok: everything is right.
- line: the file is refused, as it should be, in one line with a remedy.
- core: ComfyUI's own nodes read the file otherwise, or refuse it. Without ComfyUI, *Load Video* gives the same as ComfyUI's.
- FAIL: anything else.

The lines are below each table.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="files; default: all")
    parser.add_argument("--comfyui", action="store_true", help="also in the ComfyUI of COMFYUI_PATH")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print the page")
    args = parser.parse_args()
    names = args.names or list(ODD_FILES)
    with tempfile.TemporaryDirectory() as folder:
        rows = make_table(names, Path(folder), args.comfyui)
    page = HEAD + "\n".join(page_lines(rows, args.comfyui)) + "\n"
    if args.output:
        args.output.write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
    failed = sum(cell.state == FAIL for row in rows.values() for cell in row)
    sys.stderr.write(f"{len(rows)} files, {sum(map(len, rows.values()))} cells, {failed} fail\n")
    return min(failed, 1)


def make_table(names: list[str], folder: Path, comfyui: bool) -> dict[str, Row]:
    """Returns the cells of each file: those without ComfyUI, then those in it."""
    import torch

    from .files_headless import headless_cell, prepare

    torch.set_num_threads(1)  # no threads before a fork
    made = run_in_child(lambda: [str(make_odd_file(name, folder)) for name in names], seconds=300)
    assert not made.error, made.error
    prepare(folder)
    rows = {name: [headless_cell(each, folder / name, ODD_FILES[name].right) for each in OPERATIONS] for name in names}
    if comfyui:
        from .files_comfyui import comfyui_rows

        for name, cells in comfyui_rows(names, folder):
            rows[name] += cells
    return rows


def page_lines(rows: dict[str, Row], comfyui: bool) -> Iterator[str]:
    """Yields the lines of the page below its head: one table for each idea."""
    heads = [*OPERATIONS, *(f"ComfyUI: {each}" for each in OPERATIONS)] if comfyui else list(OPERATIONS)
    for idea, files in IDEAS.items():
        chosen = [name for name in files if name in rows]
        if not chosen:
            continue
        yield from ("", f"## {idea[0].upper()}{idea[1:]}", "")
        yield f"| file | shows | {' | '.join(heads)} |"
        yield f"|---|---|{'---|' * len(heads)}"
        for name in chosen:
            yield f"| {name} | {shows(ODD_FILES[name].right)} | {' | '.join(cell.state for cell in rows[name])} |"
        yield from _notes(chosen, rows, heads)


def shows(right: Right) -> str:
    """Describes what is right for a file."""
    if right.line:
        return "a clip or a line" if right.either else "no clip"
    size = f"{right.frames} of {right.size[0]}×{right.size[1]} at {right.fps:g} fps"
    sound = "no audio" if right.click is None else f"{right.channels} ch, click at {right.click:.2f} s"
    return f"{size}; {sound}"


def _notes(names: list[str], rows: dict[str, Row], heads: list[str]) -> Iterator[str]:
    """Yields a list of the lines that the cells of a table stand for; equal ones once."""
    said: dict[str, dict[str, list[str]]] = {}
    for name in names:
        for head, cell in zip(heads, rows[name]):
            if cell.text:
                said.setdefault(f"{cell.state}: {_short(cell.text)}", {}).setdefault(name, []).append(head)
    if said:
        yield ""
    for text, where in said.items():
        places = "; ".join(f"{name}: {', '.join(each)}" for name, each in where.items())
        yield f"- {text} ({places})"


def _short(text: str) -> str:
    """Returns a line without the title of its node and the place of the file, safe in Markdown."""
    words = re.sub(r"^(Duet|Get|Load)\w+: ", "", text).split()
    named = ["FILE" if Path(word.strip("':,;")).name in ODD_FILES else word for word in words]
    return " ".join(named).replace("|", "\\|")[:300]


if __name__ == "__main__":
    sys.exit(main())
