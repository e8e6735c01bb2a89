"""Further input layers of a network: which models use them, what a checkpoint records of them, how the network is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from forestgaps_core.components import Batch, InputLayer
from forestgaps_core.config.converter import structure_config, unstructure
from forestgaps_core.contracts import list_layers
from forestgaps_core.errors import CheckpointError, ConfigError, DataError
from forestgaps_core.plugins.registry import Plugins

MAX_NAME = 64  # characters


def uses_layers(config: Any) -> bool:
    """Return whether `build` of a model has the parameter `layers`."""
    return "layers" in inspect.signature(config.build).parameters


def require_layer_model(config: Any, layers: Mapping[str, InputLayer], plugins: Plugins) -> None:
    """Require a model that uses further input layers, if the data have any.

    Raises:
        ConfigError: The model uses none; names installed models that do.
    """
    if not layers or uses_layers(config):
        return
    others = [
        name
        for name, components in plugins.components("model").items()
        if any(uses_layers(component.load()) for component in components)
    ]
    raise ConfigError(
        f"model: {type(config).__qualname__} uses no further input layers, and the data have {list_layers(layers)}; choose a model "
        f"that uses them ({', '.join(sorted(others)) or 'none is installed'}), or remove the layers from [data]"
    )


def record_layers(layers: Mapping[str, InputLayer]) -> dict[str, Any]:
    """Return what a checkpoint or a model folder records, to be merged into its `about`."""
    return {"layers": {name: unstructure(layer) for name, layer in layers.items()}} if layers else {}


def read_layers(about: Mapping[str, Any], path: Path | str) -> dict[str, InputLayer]:
    """Return the further input layers of a recorded network.

    Raises:
        CheckpointError: They are damaged.
    """
    recorded = about.get("layers", {})
    if not isinstance(recorded, Mapping):
        raise CheckpointError(f"{path} is damaged: layers are no table")
    found: dict[str, InputLayer] = {}
    problems: list[str] = []
    for name, table in recorded.items():
        found[name], wrong = structure_config(table, InputLayer, ("layers", str(name)[:MAX_NAME]))
        problems += wrong
    if problems:
        raise CheckpointError(f"{path} is damaged: {'; '.join(problems)}")
    return found


def call_network(network: Any, batch: Batch) -> Any:
    """Return the logits of a batch; the network is called with further layers only if the batch has some."""
    if batch.layers:
        return network(batch.dsm, batch.valid, batch.thresholds, layers=batch.layers)
    return network(batch.dsm, batch.valid, batch.thresholds)


def check_given_layers(given: Mapping[str, Tensor], expected: Mapping[str, InputLayer], dsm: Tensor) -> None:
    """Require exactly the layers of a network, each with its channels and of the size of the DSM.

    Raises:
        DataError: Says which are missing, too many or of another shape.
    """
    if given.keys() != expected.keys():
        raise DataError(f"the network needs the further layers {list_layers(expected)}, found {list_layers(given)}")
    for name, layer in given.items():
        shape = (len(dsm), expected[name].channels, *dsm.shape[-2:])
        if tuple(layer.shape) != shape:
            raise DataError(f"layer {name!r}: found shape {tuple(layer.shape)}, the network needs {shape}")


def require_no_layers(about: Mapping[str, Any], path: Path | str) -> None:
    """Refuse to export a network with further input layers.

    Raises:
        CheckpointError: It has some.
    """
    if layers := read_layers(about, path):
        raise CheckpointError(
            f"{path} needs the further layers {list_layers(layers)}, and exported networks take the DSM alone; map with the "
            "network itself (forestgaps predict --layer), or train one without further layers"
        )


def count_channels(layers: Mapping[str, InputLayer]) -> dict[str, int]:
    return {name: layer.channels for name, layer in layers.items()}
