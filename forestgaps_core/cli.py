"""The command line: its own commands and those of plugins, and how mistakes are told. Nothing heavy is imported until a command
runs.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forestgaps_core import __version__
from forestgaps_core.commands.config import config_app
from forestgaps_core.commands.installed import plugins as plugins  # which commands of packages import from here
from forestgaps_core.commands.plugins import plugins_app
from forestgaps_core.commands.runs import share, test, train
from forestgaps_core.commands.thresholds import spread_thresholds
from forestgaps_core.ending import INTERRUPTED, by_signal, leave, mendable, say_error, terminated
from forestgaps_core.errors import ConfigError, ForestgapsError
from forestgaps_core.memory import reuse_memory
from forestgaps_core.plugins import Plugin, load_target

if TYPE_CHECKING:
    from forestgaps_core.components import Command

# What a terminal obeys: all but tabs and ends of lines, and marks that turn the direction of a text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

app = typer.Typer(
    help="Maps of forest canopy gaps from a digital surface model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(test)
app.command()(share)
app.add_typer(config_app, name="config")
app.add_typer(plugins_app, name="plugins")


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    plugin: Annotated[
        list[Path] | None, typer.Option("-p", "--plugin", help="A Python file of your own with components; may be repeated.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    for path in plugin or []:
        plugins().add_file(path)


# --- commands of plugins --------------------------------------------------------------------------------------------


def plugin_command(name: str, plugin: Plugin, command: Command) -> Callable[[typer.Context], None]:
    """A stand-in that shows in `--help` and imports the command when it is called."""

    def call(context: typer.Context) -> None:
        function = load_target(command.target, f"the command {name!r} of {plugin}")
        inner = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        inner.command(name, help=function.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(function)
        built = typer.main.get_command(inner)
        built(args=spread_thresholds(built, context.args), prog_name=f"forestgaps {name}")

    call.__doc__ = command.help
    return call


def add_plugin_commands() -> None:
    own = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    for name, (plugin, command) in plugins().commands().items():
        if name in own | {"config", "plugins"}:
            plugin.fail("table", f"forestgaps_commands offers {name!r}, which is the core's own")
            continue
        app.command(
            name,
            help=command.help,
            add_help_option=False,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
        )(plugin_command(name, plugin, command))


# --- the program ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the command line.

    Status: 0; 2 for a mistake that the user can mend; 130 when interrupted and 143 when terminated. Bugs of the program keep
    their traceback; so does everything with FORESTGAPS_TRACEBACK=1 in the environment.
    """
    signal.signal(signal.SIGTERM, terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor terminals know every sign
    reuse_memory()
    status: object = 0
    try:
        refuse_control_characters(sys.argv[1:])
        add_plugin_commands()
        app(prog_name="forestgaps")
    except SystemExit as error:
        status = error.code or 0
    except ForestgapsError as error:
        if os.environ.get("FORESTGAPS_TRACEBACK"):
            raise
        say_error(str(error))
        status = 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        status = INTERRUPTED
    except (MemoryError, RuntimeError, OSError) as error:
        sentence = mendable(error)
        if sentence is None or os.environ.get("FORESTGAPS_TRACEBACK"):
            raise
        say_error(sentence)
        status = 2
    leave(by_signal(status))


def refuse_control_characters(arguments: list[str]) -> None:
    """They would reach the terminal with the first message that repeats them."""
    for argument in arguments:
        if CONTROL.search(argument):
            raise ConfigError(f"found {argument!r}, which has control characters", "command line")


if __name__ == "__main__":
    main()
