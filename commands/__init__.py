"""The `duet` command. Each subcommand is a module with a function `register(commands)`; heavy imports are inside functions.

Invalid input ends with exit code 2 and one line on standard error.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .memory import keep_large_blocks

Subparsers = argparse._SubParsersAction
COMMANDS = ("run", "score", "nodes", "info", "eval", "train", "experiment", "convert")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments `argv` (default: those of the process); return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for text of a file that the terminal cannot show
    args = _parser().parse_args(argv)
    keep_large_blocks()
    atexit.register(gc.freeze)  # the process ends: one last collection would only take time
    try:
        return args.command(args) or 0
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        from ..nodes.headless.execute import explain

        print(f"duet: {explain(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        from ..av_models.out_of_memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print("duet: out of memory; use a smaller or shorter clip, or a smaller batch", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("duet: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="duet", description="Generate, measure and train joint audio-video models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f".{name}", __name__).register(commands)
    return parser
