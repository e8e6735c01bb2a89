"""What fits after a command: lines to type, where the command that they call is installed."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from forestgaps_core.commands.installed import plugins

PROGRAM = "forestgaps"
OWN = ("train", "test", "share", "config", "plugins")


def command_line(*words: str | Path) -> str:
    """Return a command of this program, quoted for a shell. A path is never taken for an option."""
    quoted = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    return f"{PROGRAM} {shlex.join(quoted)}"


def print_next(*lines: str) -> None:
    """Print lines under "Next:", without those that call a command that no installed package has."""
    installed = {*OWN, *plugins().commands()}
    fitting = [line for line in lines if not line.startswith(f"{PROGRAM} ") or line.split()[1] in installed]
    if fitting:
        typer.echo("\n".join(["\nNext:", *(f"  {line}" for line in fitting)]))
