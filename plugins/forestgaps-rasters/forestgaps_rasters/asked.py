"""What the words of `forestgaps predict` mean: which of them is the network, and who writes the report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TypeAlias

from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins import Plugins, load_target

PRETRAINED = "pretrained"

WriteReport: TypeAlias = Callable[[Path, Sequence[Path]], list[str]]
"""From the folder of the maps and the DSM's files to the files written."""


def is_run(place: Path) -> bool:
    """Whether this names a network: a run folder, or a checkpoint file."""
    return (place / "run.toml").is_file() or (place.suffix == ".pt" and place.is_file())


def network_and_dsm(places: Sequence[Path], network: str | None) -> tuple[Path | str, list[Path]]:
    """The network to load, and the places of the DSM.

    Raises:
        ConfigError: There are two networks, or no DSM.
    """
    first, *rest = places
    if not is_run(first):
        return network or PRETRAINED, list(places)
    if network is not None:
        raise ConfigError(f"{first} is a network and so is --network {network}; give one of the two", "predict")
    if not rest:
        raise ConfigError(f"{first} is a network, and no DSM follows it: forestgaps predict {first} DSM.tif", "predict")
    return first, rest


def report_command(plugins: Plugins | None = None) -> WriteReport:
    """The command `report` of whichever package has one.

    Raises:
        ConfigError: None has.
    """
    commands = (plugins or Plugins.discover()).commands()
    if "report" not in commands:
        raise ConfigError("--report: no installed package writes reports; pip install forestgaps-evaluation", "predict")
    plugin, command = commands["report"]
    function = load_target(command.target, f"the command report of {plugin}")

    def write(maps: Path, dsm: Sequence[Path]) -> list[str]:
        import typer

        from forestgaps_rasters.mosaics import listed

        app = typer.Typer(add_completion=False)
        app.command()(function)
        said = io.StringIO()  # it speaks JSON to us, and we tell the rest
        with redirect_stdout(said):
            surfaces = [word for path in listed(dsm) for word in ("--dsm", str(path))]
            app([str(maps), *surfaces, "--json"], standalone_mode=False)
        files: list[str] = json.loads(said.getvalue())["files"]
        return files

    return write
