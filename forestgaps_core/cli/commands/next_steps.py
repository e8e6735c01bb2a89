"""The lines under `Next:` after a command. A line is printed only if its command is installed."""

from __future__ import annotations

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.plugins.command_lines import PROGRAM

OWN = ("train", "test", "publish", "config", "plugins")


def find_command(line: str) -> str:
    """Return the command that a line calls, after its `-p FILE` options."""
    import shlex

    words = shlex.split(line)[1:]
    while words[0] == "-p":
        words = words[2:]
    return words[0]


def print_next(*lines: str) -> None:
    """Print lines under "Next:", without those that call a command that no installed package has."""
    installed = {*OWN, *plugins().commands()}
    fitting = [line for line in lines if not line.startswith(f"{PROGRAM} ") or find_command(line) in installed]
    if fitting:
        typer.echo("\n".join(["\nNext:", *(f"  {line}" for line in fitting)]))
