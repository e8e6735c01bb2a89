"""What the words of `forestgaps predict` mean: which of them is the network, and who writes the report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TypeAlias

from forestgaps_core.errors import ConfigError, nearest
from forestgaps_core.inference.model_lookup import is_trained_network
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.names import full_name
from forestgaps_core.plugins.registry import Plugins, load_target

PRETRAINED = "pretrained"  # the network that maps where none is named
PRETRAINED_FROM = "forestgaps-pretrained"  # another package with a network of that name changes nothing
REPORT_FROM = "forestgaps-evaluation"

WriteReport: TypeAlias = Callable[[Path, Sequence[Path], Path, Sequence[str]], list[str]]
"""From the folder of the maps, the DSM's files, the name that the folder will get, and the options by which the DSM is read, to the
files written."""


def split_arguments(places: Sequence[Path], network: str | None, plugins: Plugins | None = None) -> tuple[Path | str, list[Path]]:
    """The network to load, and the places of the DSM.

    Raises:
        ConfigError: There are two networks, no DSM, or a network after the DSM.
    """
    plugins = plugins or Plugins.discover()
    first, *rest = places
    late = [place for place in rest if is_trained_network(place, plugins)]
    if late and not is_trained_network(first, plugins):
        others = [place for place in places if place not in late]
        raise ConfigError(
            f"{late[0]} is a network, which comes first. Type: {format_command('predict', late[0], *others)}", "predict"
        )
    if late:
        raise ConfigError(f"{first} and {late[0]} are both networks; give one network, then the DSM", "predict")
    if not is_trained_network(first, plugins):
        if not first.exists() and len(first.parts) == 1 and not first.suffix and rest:
            if missing := plugins.missing_package("network", first.name):
                raise ConfigError(f"the network {first} {missing}", "predict")
            near = nearest(first.name, plugins.networks())
            raise ConfigError(f"{first} is not a file, a run folder or an installed network{near}; give [RUN] DSM...", "predict")
        return network or get_default_network(plugins), list(places)
    if network is not None:
        raise ConfigError(f"{first} is a network and so is --network {network}; give one of the two", "predict")
    if not rest:
        raise ConfigError(
            f"{first} is a network, and no DSM follows it. Type: {format_command('predict', first, 'DSM.tif')}", "predict"
        )
    return (first if first.exists() else str(first)), rest


def get_default_network(plugins: Plugins | None = None) -> str:
    """Return the name of the network that maps where none is named."""
    offers = (plugins or Plugins.discover()).offers("network").get(PRETRAINED, ())
    if len(offers) < 2:
        return PRETRAINED
    return next((full_name(offer) for offer in offers if offer.plugin.distribution == PRETRAINED_FROM), PRETRAINED)


def find_report_command(plugins: Plugins | None = None) -> WriteReport:
    """The command `report` of whichever package has one.

    Raises:
        ConfigError: None has.
    """
    plugins = plugins or Plugins.discover()
    offers = plugins.offers("command").get("report", ())
    if not offers:
        missing = plugins.missing_package("command", "report")
        which = f"; the command report {missing}" if missing else ""
        raise ConfigError(f"--report: no installed package writes reports{which}", "predict")
    offer = next((offer for offer in offers if offer.plugin.distribution == REPORT_FROM), None) or plugins.offer(
        "command", "report"
    )
    function = load_target(offer.record.target, f"the command report of {offer.plugin}")

    def write(maps: Path, dsm: Sequence[Path], out: Path, options: Sequence[str] = ()) -> list[str]:
        import typer

        from forestgaps_rasters.sources.mosaics import list_rasters

        app = typer.Typer(add_completion=False)
        app.command()(function)
        said = io.StringIO()  # it speaks JSON to us, and we tell the rest
        with redirect_stdout(said):
            surfaces = [word for path in list_rasters(dsm) for word in ("--dsm", str(path))]
            app([str(maps), *surfaces, *options, "--shown-as", str(out), "--json"], standalone_mode=False)
        return [str(out / Path(file).relative_to(maps)) for file in json.loads(said.getvalue())["files"]]

    return write
