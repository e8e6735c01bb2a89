"""Command lines that messages print. Every one is built here, and the tests execute each kind of line."""

from __future__ import annotations

import shlex
from pathlib import Path

PROGRAM = "forestgaps"


def command_line(*words: str | Path, program: str = PROGRAM) -> str:
    """Return a command line that can be pasted into a POSIX shell.

    Args:
        words: Options, names, and paths as the user gave them. A path is never taken for an option.
    """
    arguments = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    return shlex.join([program, *arguments])
