"""The kinds of components, the arguments of their `build`, and the other records that a plugin can offer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from forestgaps_core.errors import PluginError, nearest


@frozen
class Kind:
    """One kind of component.

    Attributes:
        hook: The hook that lists the components of this kind.
        makes: What `build` returns.
        arguments: What `build` may ask for, by name, each with its meaning.
        several: Whether a run file names several, each under a label of its own (`[metrics.gaps]`).
        default: The table of a run file that has none of its own. Names are full, so that no other package can take its place.
    """

    hook: str
    makes: str
    arguments: Mapping[str, str] = field(factory=dict)
    several: bool = False
    default: Mapping[str, Any] | None = None


KINDS: Mapping[str, Kind] = {
    "data": Kind(
        "forestgaps_data",
        "a `Data`",
        {"seed": "the run's seed"},
    ),
    "augmentations": Kind(
        "forestgaps_augmentations",
        "an `Augmentation`, called with `Tiles`, that returns `Tiles`",
        {"resolution_m": "pixel size of the training data, meters"},
        several=True,
        default={"flips": {"name": "forestgaps-augmentations:flip_rotate"}, "tilt": {"name": "forestgaps-augmentations:tilt"}},
    ),
    "model": Kind(
        "forestgaps_models",
        "an `nn.Module` called as (dsm, valid, thresholds) that returns logits",
        {
            "normalization": "`NormFactory` chosen in the run file",
            "resolution_m": "pixel size of the training data, meters",
            "thresholds": "the run's thresholds, meters, ascending",
        },
    ),
    "normalization": Kind(
        "forestgaps_normalizations", "a `NormFactory`", {"batch_per_device": "samples a device sees at once in training"}
    ),
    "loss": Kind(
        "forestgaps_losses",
        "a `Loss`",
        {
            "thresholds": "the run's thresholds, meters, ascending",
            "gap_fraction": "function that returns the gap fraction at each of those thresholds in the training split, a tuple",
        },
    ),
    "optimizer": Kind(
        "forestgaps_optimizers",
        "a `torch.optim.Optimizer`",
        {"modules": "list of `nn.Module`: the network first, then the loss if it is a module"},
        default={"name": "forestgaps-optimizers:adamw"},
    ),
    "scheduler": Kind(
        "forestgaps_schedulers",
        "a `Scheduler`",
        {"total_steps": "optimizer steps of the whole run", "steps_per_epoch": "optimizer steps of one epoch"},
    ),
    "metrics": Kind(
        "forestgaps_metrics",
        "a `Metric`, one for each pass over a split",
        {"resolution_m": "pixel size of the data, meters"},
        several=True,
    ),
    "callbacks": Kind(
        "forestgaps_callbacks",
        "an object with training events (see `forestgaps_core.hookspecs.TrainingEvents`)",
        {"run_folder": "`Path` of the run, where the callback may write", "label": "the callback's label in the run file"},
        several=True,
    ),
}


def build(kind: str, config: Any, available: Mapping[str, Callable[[], Any]]) -> Any:
    """Call `config.build` with the arguments it names.

    Args:
        available: For each argument a function that makes it, called only if `build` asks for it.

    Raises:
        PluginError: `build` asks for an argument its kind does not have.
    """
    wanted = inspect.signature(config.build).parameters.values()
    arguments = {}
    for parameter in wanted:
        if parameter.name in available:
            arguments[parameter.name] = available[parameter.name]()
        elif parameter.default is parameter.empty:
            known = ", ".join(available) or "none"
            raise PluginError(
                f"{type(config).__module__}.{type(config).__qualname__}.build asks for {parameter.name!r}, which a {kind} is not "
                f"given{nearest(parameter.name, available)}; there is: {known}"
            )
    return config.build(**arguments)


@define(eq=False)
class Recipe:
    """A complete run file that a plugin contains.

    Attributes:
        target: `package:file.toml`, a file inside the plugin's package.
        help: One line on what it is for and how long it takes.
    """

    target: str
    help: str


@define(eq=False)
class Pretrained:
    """A trained network that a plugin contains.

    Attributes:
        target: `package:folder`, a model folder inside the plugin's package (see `forestgaps_core.inference.model_folder`).
        help: One line on what it was trained on.
    """

    target: str
    help: str


@define(eq=False)
class Command:
    """A command a plugin adds to the command line.

    Attributes:
        target: `module:function`, a Typer command; imported when the command is called.
        help: One line for `forestgaps --help`.
    """

    target: str
    help: str


NAME = re.compile(r"[a-z][a-z0-9_]*")
COMMAND_NAME = re.compile(r"[a-z][a-z0-9-]*")


@frozen
class Table:
    """A table of records, in the hook of the same name.

    Attributes:
        record: Type of its values.
        spelling: Of its names.
        how: How a full name is written where such names are used.
    """

    hook: str
    record: type
    spelling: re.Pattern[str]
    how: str


TABLES: Mapping[str, Table] = {
    "command": Table("forestgaps_commands", Command, COMMAND_NAME, "forestgaps {}"),
    "recipe": Table("forestgaps_recipes", Recipe, NAME, "--recipe {}"),
    "network": Table("forestgaps_networks", Pretrained, NAME, "{}"),
    "executor": Table("forestgaps_executors", str, NAME, "{}://"),
    "engine": Table("forestgaps_engines", str, NAME, "--engine {}"),
}
