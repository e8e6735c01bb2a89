"""Build the command lines that messages print. Tests execute each kind of line."""

from __future__ import annotations

import os
from pathlib import Path

from forestgaps_core.plugins.choice import list_disable_options
from forestgaps_core.plugins.local_files import list_given_files

PROGRAM = "forestgaps"


def format_command(*words: str | Path, program: str = PROGRAM, portable: bool = False) -> str:
    """Return a command line that can be pasted into a POSIX shell, with the `-p` options that this command was given.

    Args:
        words: Options, names, and paths as the user gave them. A path is never taken for an option. Words that begin with `-p`
            stand for the files of this command.
        portable: For a text that goes to other machines, such as a model card: without files of this one.
    """
    import shlex

    local = [] if portable or program != PROGRAM or words[:1] == ("-p",) else list_file_options()
    arguments = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in (*local, *words)]
    return shlex.join([program, *arguments])


def list_file_options() -> list[str | Path]:
    """Return `-p FILE` for each local file of this command, relative to the working folder, and each `-p no:NAME`."""
    files = [word for file in list_given_files() if file.is_file() for word in ("-p", shorten_path(file))]
    return [*files, *list_disable_options()]


def shorten_path(path: Path) -> Path:
    try:
        return path.relative_to(os.getcwd())
    except (OSError, ValueError):  # elsewhere, or the working folder was removed
        return path
