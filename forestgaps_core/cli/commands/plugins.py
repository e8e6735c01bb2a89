"""`forestgaps plugins`: what is installed, whether it works, and a package of one's own to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.cli.commands.options import Json
from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.kinds import TABLES
from forestgaps_core.plugins.builds import BUILD_HOOK
from forestgaps_core.plugins.registry import Plugin, normalize_name

plugins_app = typer.Typer(help="What is installed, from which package, and whether it works.", no_args_is_help=True)


@plugins_app.command("list")
def list_plugins(
    components: Annotated[bool, typer.Option("--components", help="Also what each offers.")] = False, as_json: Json = False
) -> None:
    """Installed plugins, with what is wrong with those that do not work."""
    import json

    from forestgaps_core.plugins.installations import find_damaged_installations

    if as_json:
        rows = [
            {**describe_plugin(plugin), "offers": [place for owner, place, _ in list_offers() if owner is plugin]}
            for plugin in plugins().records
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for plugin in plugins().records:
        typer.echo(f"{plugin}" + (f"  {describe_state(plugin)}" if plugin.failed else ""))
    if not plugins().records:
        typer.echo('No plugin is installed: pip install "forestgaps-core[standard]"')
    if components:
        typer.echo()
        offered = sorted((place, str(plugin)) for plugin, place, _ in list_offers())
        width = max((len(place) for place, _ in offered), default=0)
        for place, plugin_name in offered:
            typer.echo(f"{place:{width}}  {plugin_name}")
    for sentence in plugins().clashes():
        typer.echo(f"CLASH: {sentence}")
    for sentence in [*plugins().list_unknown_disabled(), *find_damaged_installations()]:
        typer.echo(f"NOTE: {sentence}")


def describe_state(plugin: Plugin) -> str:
    if plugin.failed == "disabled":
        return f"DISABLED {plugin.reason}"
    return f"BROKEN ({plugin.failed}): {plugin.reason}" if plugin.failed else "works"


def describe_plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "works": plugin.failed is None,
        "failed": plugin.failed,
        "reason": plugin.reason,
    }


@plugins_app.command("show")
def show_plugin(name: Annotated[str, typer.Argument(help="Name of a distribution.")]) -> None:
    """One plugin: version, state, and what it offers of every kind."""
    plugin = find_plugin(name)
    typer.echo(f"{plugin}")
    typer.echo(f"  {describe_state(plugin)}")
    for owner, place, description in list_offers():
        if owner is plugin:
            typer.echo(f"  {place}  {description}")


def list_offers() -> Iterator[tuple[Plugin, str, str]]:
    """Yield what is offered through each hook: by which plugin, at which place, and what it is."""
    found = plugins()
    for name, owner in found.further_kinds.items():
        yield owner, f"kind {name}", found.kinds[name].makes
    for plugin in found.list_altering():
        yield plugin, BUILD_HOOK, "is called around the building of every component"
    for kind in found.kinds:
        for component in chain.from_iterable(found.components(kind).values()):
            yield component.plugin, f"{kind}.{component.name}", component.place
        for alias in chain.from_iterable(found.aliases(kind).values()):
            yield alias.plugin, f"{kind}.{alias.name}", f"old name of {alias.component.name}"
    for table in TABLES:
        for offer in chain.from_iterable(found.offers(table).values()):
            yield offer.plugin, f"{table} {offer.name}", getattr(offer.record, "help", offer.record)


@plugins_app.command("check")
def check_plugins(
    name: Annotated[str | None, typer.Argument(help="Name of a distribution, or folder of one; all, without it.")] = None,
) -> None:
    """Import everything a plugin offers and hold it against the contract of its kind."""
    from forestgaps_core.plugins.installations import find_damaged_installations
    from forestgaps_core.testing.plugin_checks import check_plugin

    wrong = 0
    if name and Path(name, "pyproject.toml").is_file():
        chosen = [plugins().add_folder(Path(name))]
    else:
        chosen = [find_plugin(name)] if name is not None else plugins().records
    for plugin in chosen:
        if not plugin.usable:
            typer.echo(f"{plugin}: {describe_state(plugin)}")
            wrong += plugin.failed != "disabled"
            continue
        for found in check_plugin(plugins(), plugin):
            typer.echo(f"{plugin}: {found}")
            wrong += found.wrong
    for sentence in find_damaged_installations() if name is None else []:
        typer.echo(f"NOTE: {sentence}")
    if wrong:
        raise typer.Exit(1)


def find_plugin(name: str) -> Plugin:
    for plugin in plugins().records:
        if normalize_name(plugin.distribution) == normalize_name(name):
            return plugin
    there = [plugin.distribution for plugin in plugins().records]
    raise PluginError(f"no plugin {name!r}{nearest(name, there)}; there is: {', '.join(there) or 'none'}")


@plugins_app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the distribution to make, such as forestgaps-squared.")],
    kind: Annotated[
        str,
        typer.Option(
            help="augmentation, callback, data, exporter, loss, metric, model, normalization, optimizer, postprocessor, reader, "
            "report_section, scheduler; or what else a package can offer: build, command, engine, executor, kind, network, recipe."
        ),
    ],
    component: Annotated[
        str | None, typer.Option(help="Name of its component, in run files or options; by default NAME without forestgaps-.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder to make; by default NAME.")] = None,
) -> None:
    """Write a plugin package of your own to begin with; its tests pass."""
    from forestgaps_core.cli.scaffold import format_next_steps, write_plugin

    written = write_plugin(name, kind, component=component, folder=folder)
    typer.echo("\n".join(["Written:", *(f"  {path}" for path in written), "", "Next:", *format_next_steps(written, name)]))


@plugins_app.command("install")
def install_plugins(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Packages, such as forestgaps-losses, or folders of packages.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Run the command, and end with its status.")] = False,
) -> None:
    """Print the command that installs packages where forestgaps runs: with pip, pipx or uv. --yes runs it."""
    import shlex
    import sys

    from forestgaps_core.cli.installing import compose_install_command, read_packages, run_install_command

    words = compose_install_command(read_packages(names), Path(sys.prefix))
    typer.echo(shlex.join(words))
    if yes:
        sys.stdout.flush()
        raise typer.Exit(run_install_command(words))
