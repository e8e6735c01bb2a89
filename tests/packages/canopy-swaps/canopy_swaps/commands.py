"""The command `canopy-count`."""

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core import load_predictor


def count(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Print the number of weights of a trained network."""
    predictor = load_predictor(run, device="cpu")
    typer.echo(sum(parameter.numel() for parameter in predictor.model.parameters()))
