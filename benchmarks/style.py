"""How the code of a folder is written: sizes of functions, parameters, docstrings, annotations.

`python -m duet_av.benchmarks.style [FOLDER …]` prints one line of JSON for each folder (default: the library).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

CONTENTS = {
    "shapes": re.compile(r"\[[A-Z1][\w ,.+·|…−-]*\]|\bshape", re.I),
    "units": re.compile(r"second|\bHz\b|\bms\b|pixel|\bdB\b|LUFS|\bfps\b|0\.\.1|−1\.\.1|frames", re.I),
    "errors": re.compile(r"Raises|Error\b"),
    "source": re.compile(r"arXiv|section \d|\beqs?\. ?\(?\d|et al\.|CVPR|ITU-R", re.I),
}
"""Contents of a docstring, and the words that indicate each."""


def functions(folder: Path) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Every function and method below `folder`, and whether it is public."""
    for path in sorted(folder.rglob("*.py")):
        if not {"tests", ".venv"} & set(path.parts):
            yield from _functions(ast.parse(path.read_text("utf-8")), True)


def _functions(node: ast.AST, public: bool) -> Iterator[tuple[ast.FunctionDef, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, public and not child.name.startswith("_"))
        elif isinstance(child, ast.FunctionDef):
            yield child, public and not child.name.startswith("_")
            yield from _functions(child, False)


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    """All parameters but `self` and `cls`."""
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    return [arg for arg in every if arg.arg not in ("self", "cls")]


def figures(folder: Path) -> dict[str, object]:
    """The figures of one folder."""
    found = list(functions(folder))
    lines = [function.end_lineno - function.lineno + 1 for function, _ in found]
    counts = [len(parameters(function)) for function, _ in found]
    arguments = [argument for function, _ in found for argument in parameters(function)]
    texts = [ast.get_docstring(function) or "" for function, public in found if public]
    written = [text for text in texts if text]
    return {
        "folder": folder.name,
        "functions": len(found),
        "lines": {"median": median(lines), "p90": round(quantiles(lines, n=10)[-1]), "max": max(lines)},
        "over_60_lines": sum(line > 60 for line in lines),
        "parameters": {"p90": round(quantiles(counts, n=10)[-1]), "max": max(counts)},
        "over_8_parameters": sum(count > 8 for count in counts),
        "annotated_percent": _percent(sum(argument.annotation is not None for argument in arguments), len(arguments)),
        "public_with_docstring_percent": _percent(len(written), len(texts)),
        "docstrings_that_say_percent": {
            name: _percent(sum(bool(words.search(text)) for text in written), len(written)) for name, words in CONTENTS.items()
        },
    }


def _percent(part: int, whole: int) -> int:
    return round(100 * part / max(1, whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    library = Path(__file__).parent.parent / "av_models"
    parser.add_argument("folders", nargs="*", type=Path, default=[library], help="default: av_models")
    for folder in parser.parse_args().folders:
        print(json.dumps(figures(folder)))


if __name__ == "__main__":
    main()
