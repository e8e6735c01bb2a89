"""The rules for exporters: they return an `Export`, leave the network unchanged, and their engine computes what torch does."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from forestgaps_core.inference.exporting import Export, ExportSource, describe_program
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.example_run import SmallNetwork
from forestgaps_core.testing.examples import THRESHOLDS, example_batch

TOLERANCE = 1e-3  # of probabilities


def check_function(config: Any, **arguments: Any) -> None:
    """The exporter is a function of a network and its source. `check_export` calls it, which may take minutes."""
    exporter = build_component("exporter", config, **arguments)
    assert callable(exporter), f"build made a {type(exporter).__name__}, expected a function of (network, source)"
    try:
        inspect.signature(exporter).bind(None, None)
    except TypeError as error:
        raise AssertionError(f"the exporter is called with (network, source): {error}") from error


RULES = (check_function,)


def check_export(config: Any, *, plugins: Plugins | None = None) -> Export:
    """Export a small network, and compare its engine with torch if it has one; returns what the exporter made.

    Args:
        plugins: Where the engine is; by default, all that is installed.
    """
    check_function(config)
    torch.manual_seed(0)
    network = SmallNetwork().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plan = {
        "resolution_m": 1.0,
        "config": {"thresholds": {"values": list(THRESHOLDS)}, "environment": {"precision": "32", "channels_last": False}},
        "components": {},
    }
    source = ExportSource(Path("example"), {"model": before, "about": plan, "callbacks": {}}, plan, None)
    export = build_component("exporter", config)(network, source)
    assert isinstance(export, Export), f"the exporter returned a {type(export).__name__}, expected an Export"
    assert export.data, "the file is empty"
    assert not network.training, "the network was left in training mode; copy it before you change it"
    after = network.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before), (
        "the exporter changed the network; copy it before you change it"
    )
    if export.engine:
        program = describe_program(
            *(network, export.data), engine=export.engine, file=export.file, made_with=export.made_with, multiple=export.multiple
        )
        opened = (plugins or Plugins.discover()).engine(export.engine).open(export.data, program)
        batch = example_batch(size=-(-32 // export.multiple) * export.multiple)
        with torch.inference_mode():
            found, expected = (one(batch.dsm, batch.valid, batch.thresholds).sigmoid() for one in (opened, network))
        difference = ((found - expected).abs() * batch.valid).max().item()
        assert difference <= TOLERANCE, f"a probability of the engine {export.engine} differs from torch by {difference:.2g}"
    return export
