"""The command line: commands of the core and of plugins, and error messages. A command imports heavy libraries when it runs."""

from __future__ import annotations

import inspect
import io
import os
import re
import signal
import sys
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from forestgaps_core.cli.commands.config import config_app
from forestgaps_core.cli.commands.installed import forget_plugins
from forestgaps_core.cli.commands.installed import plugins as plugins  # which commands of packages import from here
from forestgaps_core.cli.commands.plugins import find_plugin, plugins_app
from forestgaps_core.cli.commands.runs import publish, test, train
from forestgaps_core.cli.exit import INTERRUPTED, describe_fixable, exit_process, name_signal, print_error, terminated
from forestgaps_core.errors import ConfigError, ForestgapsError, PluginError
from forestgaps_core.plugins.choice import OPTION, disable
from forestgaps_core.plugins.local_files import give_files
from forestgaps_core.plugins.names import format_error
from forestgaps_core.plugins.registry import CORE, Plugin, load_target
from forestgaps_core.runtime.memory import reuse_memory
from forestgaps_core.version import __version__

if TYPE_CHECKING:
    from forestgaps_core.kinds import Command

# What a terminal obeys: all but tabs and ends of lines, and marks that turn the direction of a text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


# --- commands of plugins --------------------------------------------------------------------------------------------


class Commands(TyperGroup):
    """The core's commands and those that plugins offer, found when one is called, so that a file given by `-p` may bring some."""

    def list_commands(self, context: Any) -> list[str]:
        return [*super().list_commands(context), *plugins().commands()]

    def get_command(self, context: Any, name: str) -> Any:
        own = super().get_command(context, name.removeprefix(f"{CORE}:"))
        if own is not None:
            return own
        if not plugins().offers("command").get(name.rpartition(":")[2]):
            return None
        offer = plugins().offer("command", name)
        return make_stand_in(name, offer.plugin, offer.record)

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        if args and not context.resilient_parsing and self.get_command(context, args[0]) is None:
            if missing := plugins().missing_package("command", args[0]):
                raise PluginError(f"forestgaps {args[0]}: this command {missing}")
            near = get_close_matches(args[0], self.list_commands(context), n=1)
            context.fail(f"No such command {args[0]!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
        return super().resolve_command(context, args)


def make_stand_in(name: str, plugin: Plugin, command: Command) -> Any:
    """What shows in `--help`, and imports the command when it is called."""

    def call(context: typer.Context) -> None:
        what = f"the command {name!r} of {plugin}"
        function = load_target(command.target, what)
        if not inspect.isroutine(function):
            raise PluginError(f"{what} is not a function: {command.target}; update the package")
        from forestgaps_core.cli.commands.thresholds import spread_thresholds

        inner = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        inner.command(name, help=function.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(function)
        try:
            built = typer.main.get_command(inner)
        except Exception as error:  # of a signature that Typer does not take
            raise PluginError(f"{what} cannot be called: {format_error(error)}; update the package") from error
        built(args=spread_thresholds(built, context.args), prog_name=f"forestgaps {name}")

    outer = typer.Typer(add_completion=False)
    outer.command(
        name,
        help=escape(" ".join(command.help.split())),  # it is no markup, and one line
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )(call)
    return typer.main.get_command(outer)


# --- the core's own -------------------------------------------------------------------------------------------------

app = typer.Typer(
    cls=Commands,
    help="Maps of forest canopy gaps from a digital surface model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(test)
app.command()(publish)
app.add_typer(config_app, name="config")
app.add_typer(plugins_app, name="plugins")


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def use_files(context: typer.Context, paths: list[Path] | None) -> list[Path] | None:
    """Load the files here, and name them to all that this command calls or starts; leave out the plugins of `no:NAME`."""
    given = paths or []
    names = [str(path).removeprefix(OPTION) for path in given if str(path).startswith(OPTION)]
    files = [path for path in given if not str(path).startswith(OPTION)]
    if names:
        disable_plugins(context, names)
    if files:
        context.call_on_close(give_files(files))
        for path in files:
            plugins().add_file(path)
    return paths


def disable_plugins(context: typer.Context, names: list[str]) -> None:
    """Leave out these plugins in this command and the processes that it starts.

    Raises:
        PluginError: There is no such plugin.
    """
    undo = disable(names)  # before plugins are imported
    forget_plugins()

    def restore() -> None:
        undo()
        forget_plugins()

    context.call_on_close(restore)
    try:
        for name in names:
            find_plugin(name)
    except PluginError:
        restore()
        raise


@app.callback()
def options(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "-p",
            "--plugin",
            help="A Python file of your own with components, or no:NAME to disable an installed plugin; may be repeated.",
            callback=use_files,
            is_eager=True,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    pass


# --- the program ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the command line.

    Status: 0; 2 for a mistake that the user can fix; 130 when interrupted and 143 when terminated. Bugs of the program keep
    their traceback; so does everything with FORESTGAPS_TRACEBACK=1 in the environment.
    """
    signal.signal(signal.SIGTERM, terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor terminals know every sign
    warnings.filterwarnings("ignore", "Failed to initialize NumPy", UserWarning)  # the core needs none; torch warns without it
    reuse_memory()
    status: object = 0
    try:
        refuse_control_characters(sys.argv[1:])
        app(prog_name="forestgaps")
    except SystemExit as error:
        status = error.code or 0
    except ForestgapsError as error:
        if os.environ.get("FORESTGAPS_TRACEBACK"):
            raise
        print_error(str(error))
        status = 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        status = INTERRUPTED
    except (MemoryError, RuntimeError, OSError) as error:
        sentence = describe_fixable(error)
        if sentence is None or os.environ.get("FORESTGAPS_TRACEBACK"):
            raise
        print_error(sentence)
        status = 2
    exit_process(name_signal(status))


def refuse_control_characters(arguments: list[str]) -> None:
    """They would reach the terminal with the first message that repeats them."""
    for argument in arguments:
        if CONTROL.search(argument):
            raise ConfigError(f"found {argument!r}, which has control characters", "command line")


if __name__ == "__main__":
    main()
