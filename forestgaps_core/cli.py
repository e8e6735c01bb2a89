"""The command line. Nothing heavy is imported until a command runs; plugins add commands of their own."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forestgaps_core import __version__
from forestgaps_core.components import KINDS
from forestgaps_core.errors import ConfigError, ForestgapsError, PluginError, nearest, printable
from forestgaps_core.importing import to_stderr
from forestgaps_core.plugins import Plugin, Plugins, load_target, normalized

if TYPE_CHECKING:
    from forestgaps_core.components import Command
    from forestgaps_core.config import Config

DEFAULT_RECIPE = "quick"
INTERRUPTED, TERMINATED = 130, 143  # as shells report a program ended by SIGINT and by SIGTERM
# What a terminal obeys: all but tabs and ends of lines, and marks that turn the direction of a text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PATIENCE = 5.0  # seconds for what a plugin left running

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change a setting, such as loss.focus=1.5; may be repeated."),
]

app = typer.Typer(
    help="Maps of forest canopy gaps from a digital surface model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Make, check and explain run files.", no_args_is_help=True)
plugins_app = typer.Typer(help="What is installed, from which package, and whether it works.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(plugins_app, name="plugins")

_found: list[Plugins] = []  # what `main` discovered, for the commands of this process


def plugins() -> Plugins:
    if not _found:
        _found.append(Plugins.discover())
    return _found[0]


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


# --- train and test -------------------------------------------------------------------------------------------------


@app.command()
def train(
    run_file: Annotated[
        Path | None, typer.Argument(metavar="[RUN.toml]", help="The run file; without it, a first run on a simulated landscape.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make; by default runs/NAME.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with this run folder where it stopped.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NETWORK",
            help="Begin with its weights: a run or network folder, a checkpoint, or the name of an installed network.",
        ),
    ] = None,
    changes: Set = None,
) -> None:
    """Train a network."""
    from forestgaps_core.display import written
    from forestgaps_core.processes import processes_here
    from forestgaps_core.run import resume_training, train_model

    if resume is not None:
        if run_file or out or changes or start:
            raise ConfigError("--resume takes the run as it is: give no run file, --out, --from or --set with it", "train")
        result = resume_training(resume, plugins=plugins())
    else:
        if start is not None:
            place = str(Path(start).absolute()) if Path(start).exists() else start
            changes = [*(changes or []), f"training.start={json.dumps(place)}"]
        config, name = chosen_config(run_file, changes or [])
        result = train_model(config, out or free_folder(Path("runs"), name), plugins=plugins())
    if processes_here().rank:
        raise typer.Exit(0)  # the first process tells
    if result.stopped and result.stopped.startswith("interrupted"):
        typer.echo(f"\nStopped ({result.stopped}) in epoch {result.epoch + 1}. Go on: forestgaps train --resume {result.folder}")
        raise typer.Exit(TERMINATED if result.stopped.endswith("SIGTERM") else INTERRUPTED)
    ended = f"stopped: {result.stopped}" if result.stopped else "complete"
    typer.echo(f"\nTrained {result.epoch} epochs ({ended}). Written to {result.folder}:")
    for line in written(result.folder):
        typer.echo(f"  {line}")
    say_next(result.folder)


def chosen_config(run_file: Path | None, changes: list[str]) -> tuple[Config, str]:
    """The config to train and a name for its run folder."""
    from forestgaps_core.config import load_config

    if run_file is not None:
        return load_config(run_file, overrides=changes, plugins=plugins()), run_file.stem
    return load_config(recipe_path(DEFAULT_RECIPE), overrides=changes, plugins=plugins()), DEFAULT_RECIPE


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or the first of `name-2`, `name-3` ... that is free."""
    folder, count = parent / name, 1
    while folder.exists():
        count += 1
        folder = parent / f"{name}-{count}"
    return folder


def say_next(folder: Path) -> None:
    suggestions = {
        "test": f"forestgaps test {folder}",
        "simulate": "forestgaps simulate landscape",
        "predict": f"forestgaps predict {folder} landscape/dsm.tif --out maps",
    }
    there = {"test", *plugins().commands()}
    typer.echo("\nNext:")
    for name, line in suggestions.items():
        if name in there:
            typer.echo(f"  {line}")


@app.command()
def test(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    checkpoint: Annotated[str | None, typer.Option(help="best, last, ...; by default best, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Score a trained network on the split held back."""
    from forestgaps_core.display import show_scores
    from forestgaps_core.run import evaluate_model
    from forestgaps_core.writing import write_text

    with to_stderr():  # what components print must not get into the JSON
        scores = evaluate_model(run, split=split, checkpoint=checkpoint, plugins=plugins())
    path = run / f"{split}.json"
    text = json.dumps({name: value if isfinite(value) else None for name, value in scores.items()}, indent=2)
    write_text(path, text + "\n")
    if as_json:
        typer.echo(text)
        return
    show_scores(scores)
    typer.echo(f"Written: {path}")


@app.command()
def share(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, a checkpoint, or a network to write again.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Network folder to write; must not exist.")],
    half: Annotated[bool, typer.Option("--half", help="Store weights in float16: half the size.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit slope and offset of the logits on the run's validation split.")
    ] = False,
    checkpoint: Annotated[str | None, typer.Option(help="best, last, ...; by default best, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Write a trained network as a folder to hand on: safetensors weights, how to build it, and a card."""
    from attrs import asdict

    from forestgaps_core.networks import save_network

    summary: dict[str, Any] = {"folder": str(folder)}
    scale = None
    if folder.exists():
        raise ConfigError(f"{folder} exists; give another name", "share")
    if calibrate:
        from forestgaps_core.run import calibrated

        with to_stderr():
            found, before, after = calibrated(run, checkpoint=checkpoint, plugins=plugins())
        scale = asdict(found)
        summary["calibration"] = {**scale, "log_loss_before": before, "log_loss_after": after}
    save_network(run, folder, half=half, checkpoint=checkpoint, calibration=scale, plugins=plugins())
    files = {str(path): path.stat().st_size for path in sorted(folder.iterdir())}
    if as_json:
        typer.echo(json.dumps({**summary, "files": files}, indent=2))
        return
    if scale is not None:
        typer.echo(f"Calibrated: logits times {scale['slope']:.3f} plus {scale['offset']:.3f}")
        typer.echo(f"  log loss on the validation split: {before:.4f} before, {after:.4f} after")
    typer.echo("Written:")
    for path, size in files.items():
        typer.echo(f"  {path}  {size / 1e6:.2f} MB")
    typer.echo(f"\nNext:\n  complete {folder / 'README.md'}: data, scores, licence")
    if "predict" in plugins().commands():
        typer.echo(f"  forestgaps predict dsm.tif --network {folder} --out maps")


# --- config ---------------------------------------------------------------------------------------------------------


@config_app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run file to write.")] = Path("run.toml"),
    recipe: Annotated[str, typer.Option(help="Which complete run file to start from; --recipe list names them.")] = DEFAULT_RECIPE,
) -> None:
    """Write a complete run file to start from."""
    if recipe == "list":
        for name, (plugin, entry) in plugins().recipes().items():
            typer.echo(f"{name}  {entry.help}  ({plugin})")
        return
    if path.exists():
        raise ConfigError(f"{path} exists; give another name", "config init")
    from forestgaps_core.writing import write_text

    write_text(path, recipe_path(recipe).read_text(encoding="utf-8"))
    typer.echo(f"Written: {path}\n\nNext:\n  forestgaps config check {path}\n  forestgaps train {path}")


def recipe_path(name: str) -> Path:
    from importlib.resources import files

    recipes = plugins().recipes()
    if name not in recipes:
        there = ", ".join(recipes) or 'none; pip install "forestgaps-core[standard]" brings some'
        raise ConfigError(f"no recipe {name!r}{nearest(name, recipes)}; there is: {there}", "recipe")
    plugin, recipe = recipes[name]
    package, _, file = recipe.target.partition(":")
    path = Path(str(files(package))) / file
    if not path.is_file():
        raise PluginError(f"the recipe {name!r} of {plugin}: {path} is missing; reinstall the package")
    return path


@config_app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run file.")],
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Read a run file, build all of it, and put one batch through."""
    from forestgaps_core.config import load_config, table_of
    from forestgaps_core.memory import within_memory
    from forestgaps_core.run import try_one_batch

    config = load_config(path, overrides=changes or [], plugins=plugins())
    with to_stderr(), within_memory():
        facts = try_one_batch(config, plugins())
    if as_json:
        typer.echo(json.dumps({"config": table_of(config, plugins()), **facts}, indent=2, default=str))
        return
    typer.echo(f"{path} is right.")
    for name, value in facts.items():
        typer.echo(f"  {name}: {value}")


@config_app.command()
def explain(
    topic: Annotated[str, typer.Argument(help="A table (loss), a component (loss.focal), or nothing for all tables.")] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the schedules: scheduler, or scheduler.NAME.")] = False,
) -> None:
    """Say what a table of a run file may hold."""
    from forestgaps_core.explain import explanation, plotted

    typer.echo(plotted(topic, plugins()) if plot else explanation(topic, plugins()))


# --- plugins --------------------------------------------------------------------------------------------------------


@plugins_app.command("list")
def list_plugins(
    components: Annotated[bool, typer.Option("--components", help="Also what each offers.")] = False, as_json: Json = False
) -> None:
    """Installed plugins, with what is wrong with those that do not work."""
    offered = [component for kind in KINDS for offers in plugins().components(kind).values() for component in offers]
    if as_json:
        rows = [
            {**facts(plugin), "components": [f"{c.kind}.{c.name}" for c in offered if c.plugin is plugin]}
            for plugin in plugins().records
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for plugin in plugins().records:
        typer.echo(f"{plugin}" + (f"  BROKEN ({plugin.failed}): {plugin.reason}" if plugin.failed else ""))
    if not plugins().records:
        typer.echo('No plugin is installed: pip install "forestgaps-core[standard]"')
    if components:
        typer.echo()
        width = max((len(f"{c.kind}.{c.name}") for c in offered), default=0)
        for component in offered:
            typer.echo(f"{component.kind}.{component.name:{width - len(component.kind)}}  {component.plugin}")
    for kind in KINDS:
        for name, offers in plugins().components(kind).items():
            if len(offers) > 1:
                owners = " and ".join(str(c.plugin) for c in offers)
                typer.echo(
                    f'CLASH: {kind}.{name} is offered by {owners}; choose with name = "{offers[0].plugin.distribution}:{name}"'
                )


def facts(plugin: Plugin) -> dict[str, Any]:
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "works": plugin.failed is None,
        "failed": plugin.failed,
        "reason": plugin.reason,
    }


@plugins_app.command("show")
def show_plugin(name: Annotated[str, typer.Argument(help="Name of a distribution.")]) -> None:
    """One plugin: version, state, components, commands, recipes, networks."""
    plugin = plugin_named(name)
    typer.echo(f"{plugin}")
    typer.echo(f"  {'works' if not plugin.failed else f'BROKEN ({plugin.failed}): {plugin.reason}'}")
    for kind in KINDS:
        for offers in plugins().components(kind).values():
            for component in offers:
                if component.plugin is plugin:
                    typer.echo(f"  {kind}.{component.name}  {component.place}")
    for what, table in (
        ("command", plugins().commands()),
        ("recipe", plugins().recipes()),
        ("network", plugins().networks()),
    ):
        for entry, (owner, record) in table.items():
            if owner is plugin:
                typer.echo(f"  {what} {entry}  {record.help}")


@plugins_app.command("check")
def check_plugins(
    name: Annotated[str | None, typer.Argument(help="Name of a distribution, or folder of one; all, without it.")] = None,
) -> None:
    """Import everything a plugin offers and hold it against the contract of its kind."""
    from forestgaps_core.testing import check_plugin

    wrong = 0
    if name and Path(name, "pyproject.toml").is_file():
        chosen = [plugins().add_folder(Path(name))]
    else:
        chosen = [plugin_named(name)] if name is not None else plugins().records
    for plugin in chosen:
        if plugin.failed:
            typer.echo(f"{plugin}: BROKEN ({plugin.failed}): {plugin.reason}")
            wrong += 1
            continue
        for what, problem in check_plugin(plugins(), plugin):
            typer.echo(f"{plugin}: {what}: {problem or 'right'}")
            wrong += bool(problem)
    if wrong:
        raise typer.Exit(1)


def plugin_named(name: str) -> Plugin:
    for plugin in plugins().records:
        if normalized(plugin.distribution) == normalized(name):
            return plugin
    there = [plugin.distribution for plugin in plugins().records]
    raise PluginError(f"no plugin {name!r}{nearest(name, there)}; there is: {', '.join(there) or 'none'}")


@plugins_app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the distribution to make, such as forestgaps-squared.")],
    kind: Annotated[str, typer.Option(help="loss, metric, scheduler, normalization, callback, model or data.")],
    component: Annotated[
        str | None, typer.Option(help="Its component's name in run files; by default NAME without forestgaps-.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder to make; by default NAME.")] = None,
) -> None:
    """Write a plugin package of your own to begin with; its tests pass."""
    from forestgaps_core.scaffold import next_steps, write_plugin

    written = write_plugin(name, kind, component=component, folder=folder)
    typer.echo("\n".join(["Written:", *(f"  {path}" for path in written), "", "Next:", *next_steps(written, name)]))


# --- commands of plugins --------------------------------------------------------------------------------------------


def plugin_command(name: str, plugin: Plugin, command: Command) -> Callable[[typer.Context], None]:
    """A stand-in that shows in `--help` and imports the command when it is called."""

    def call(context: typer.Context) -> None:
        function = load_target(command.target, f"the command {name!r} of {plugin}")
        inner = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        inner.command(name, help=function.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(function)
        inner(args=context.args, prog_name=f"forestgaps {name}")

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


class Terminated(KeyboardInterrupt):  # treated as an interruption everywhere, told apart by its status
    """SIGTERM came."""


_signals: list[int] = []  # SIGTERMs that came, for the status


def terminated(number: int, frame: object) -> None:
    _signals.append(number)
    raise Terminated


def main() -> None:
    """Run the command line.

    Status: 0; 2 for a mistake that the user can mend; 130 when interrupted and 143 when terminated. Bugs of the program keep
    their traceback; so does everything with FORESTGAPS_TRACEBACK=1 in the environment.
    """
    signal.signal(signal.SIGTERM, terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor terminals know every sign
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
    if _signals and status == INTERRUPTED:
        status = TERMINATED
    leave(status)


def refuse_control_characters(arguments: list[str]) -> None:
    """They would reach the terminal with the first message that repeats them."""
    for argument in arguments:
        if CONTROL.search(argument):
            raise ConfigError(f"found {argument!r}, which has control characters", "command line")


def mendable(error: Exception) -> str | None:
    """What to say of an error of Python or torch that the user can mend: memory, and paths that were given; None for others."""
    from forestgaps_core.memory import ADVICE, is_of_memory
    from forestgaps_core.writing import is_of_the_disk

    if is_of_memory(error):
        return f"not enough memory: {ADVICE}"
    if isinstance(error, OSError) and (error.filename is not None or is_of_the_disk(error)):
        return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
    return None


def say_error(sentence: str) -> None:
    print(f"Error: {printable(sentence)}", file=sys.stderr)


def leave(status: object) -> None:
    """End this process with a status, whatever threads and processes a plugin left running."""
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    processes = sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else []
    processes = [process for process in processes if not process.daemon]
    for thing in [*left, *processes]:
        thing.join(PATIENCE / (len(left) + len(processes)))
    running = [thing for thing in [*left, *processes] if thing.is_alive()]
    if not running:
        raise SystemExit(status)
    names = ", ".join(f"{thing.name} ({kind_of(thing)})" for thing in running)
    print(f"Left running by a plugin, and ended: {names}", file=sys.stderr)
    for thing in processes:
        thing.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def kind_of(thing: Any) -> str:
    """What a thread or process runs, as far as it says."""
    target = getattr(thing, "_target", None)
    place = f" of {target.__module__}.{getattr(target, '__qualname__', '')}" if hasattr(target, "__module__") else ""
    return f"{'thread' if isinstance(thing, threading.Thread) else 'process'}{place}"


if __name__ == "__main__":
    main()
