"""`forestgaps config`: make, check and explain run files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import Json, Set
from forestgaps_core.cli.commands.recipes import DEFAULT_RECIPE, recipe_path
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.isolation import redirect_to_stderr

config_app = typer.Typer(help="Make, check and explain run files.", no_args_is_help=True)


@config_app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run file to write.")] = Path("run.toml"),
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Which complete run file to start from; by default {DEFAULT_RECIPE}; --recipe list names them."),
    ] = None,
) -> None:
    """Write a complete run file to start from."""
    if recipe == "list":
        for name, (plugin, entry) in plugins().recipes().items():
            typer.echo(f"{name}  {entry.help}  ({plugin})")
        return
    from forestgaps_core.files.drafts import new_path

    with new_path(path) as draft:
        draft.write_bytes(recipe_path(recipe).read_bytes())
    typer.echo(f"Written: {path}")
    print_next(format_command("config", "check", path), format_command("train", path))


@config_app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run file, or a run folder to resume.")],
    changes: Set = None,
    out: Annotated[Path | None, typer.Option(help="Also check that this run folder can be made.")] = None,
    as_json: Json = False,
) -> None:
    """Check a run file: build every component and train on one batch, in memory."""
    import json

    from forestgaps_core.config.reading import load_config
    from forestgaps_core.config.writing import make_table
    from forestgaps_core.runs.rehearsal import try_resuming, try_run
    from forestgaps_core.runs.run_folder import read_run_config, refuse_folder
    from forestgaps_core.runtime.memory import limit_memory

    resuming = path.is_dir()
    if resuming and (changes or out):
        raise ConfigError("a run folder is checked as it is: give no --set or --out with it", "config check")
    config = read_run_config(path, plugins()) if resuming else load_config(path, overrides=changes or [], plugins=plugins())
    if out is not None:
        refuse_folder(out)
    with redirect_to_stderr(), limit_memory():
        facts = try_resuming(path, plugins()) if resuming else try_run(config, plugins())
    if as_json:
        typer.echo(json.dumps({"config": make_table(config, plugins()), **facts}, indent=2, default=str))
        return
    typer.echo(f"{path} {'can be resumed' if resuming else 'is right'}.")
    for name, value in facts.items():
        words = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        typer.echo(f"  {name}: {words}")


@config_app.command()
def schema(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write; by default the schema is printed.")] = None,
) -> None:
    """Write the JSON schema of run files, with which editors complete and check them."""
    import json

    from forestgaps_core.config.schema import make_schema
    from forestgaps_core.files.atomic import write_text

    text = json.dumps(make_schema(plugins()), indent=2)
    if out is None:
        typer.echo(text)
        return
    try:
        write_text(out, text + "\n")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}", "config schema") from error
    typer.echo(f"Written: {out}")


@config_app.command()
def explain(
    topic: Annotated[
        str, typer.Argument(help="A table (loss), a component (loss.focal), or nothing for all tables; a run file for --resolved.")
    ] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the schedules: scheduler, or scheduler.NAME.")] = False,
    resolved: Annotated[
        bool,
        typer.Option("--resolved", help="Print all values of a run file, each with its origin: file and line, or default."),
    ] = False,
    changes: Set = None,
) -> None:
    """Explain the settings of a table of a run file, or the values of a run file."""
    from forestgaps_core.config.explain import explain_topic, plot_schedules

    if resolved:
        from forestgaps_core.config.resolved import explain_resolved

        typer.echo(explain_resolved(Path(topic or "run.toml"), changes or [], plugins()))
        return
    if changes:
        raise ConfigError("--set changes a run file; give it with --resolved", "config explain")
    typer.echo(plot_schedules(topic, plugins()) if plot else explain_topic(topic, plugins()))
