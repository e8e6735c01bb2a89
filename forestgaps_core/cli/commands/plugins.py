"""`forestgaps plugins`: what is installed, whether it works, and a package of one's own to begin with."""

from __future__ import annotations

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

    offered = [component for kind in plugins().kinds for offers in plugins().components(kind).values() for component in offers]
    if as_json:
        rows = [
            {**describe_plugin(plugin), "components": [f"{c.kind}.{c.name}" for c in offered if c.plugin is plugin]}
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
        width = max((len(f"{c.kind}.{c.name}") for c in offered), default=0)
        for component in offered:
            typer.echo(f"{component.kind}.{component.name:{width - len(component.kind)}}  {component.plugin}")
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
    for name in [name for name, owner in plugins().further_kinds.items() if owner is plugin]:
        typer.echo(f"  kind {name}  {plugins().kinds[name].makes}")
    if plugin in plugins().list_altering():
        typer.echo(f"  {BUILD_HOOK}  is called around the building of every component")
    for kind in plugins().kinds:
        for offers in plugins().components(kind).values():
            for component in offers:
                if component.plugin is plugin:
                    typer.echo(f"  {kind}.{component.name}  {component.place}")
        for name, aliases in plugins().aliases(kind).items():
            for alias in aliases:
                if alias.plugin is plugin:
                    typer.echo(f"  {kind}.{name}  old name of {alias.component.name}")
    for table in TABLES:
        for rows in plugins().offers(table).values():
            for offer in rows:
                if offer.plugin is plugin:
                    typer.echo(f"  {table} {offer.name}  {getattr(offer.record, 'help', offer.record)}")


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
        str, typer.Option(help="augmentation, callback, data, loss, metric, model, normalization, optimizer or scheduler.")
    ],
    component: Annotated[
        str | None, typer.Option(help="Its component's name in run files; by default NAME without forestgaps-.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder to make; by default NAME.")] = None,
) -> None:
    """Write a plugin package of your own to begin with; its tests pass."""
    from forestgaps_core.cli.scaffold import format_next_steps, write_plugin

    written = write_plugin(name, kind, component=component, folder=folder)
    typer.echo("\n".join(["Written:", *(f"  {path}" for path in written), "", "Next:", *format_next_steps(written, name)]))
