"""The kinds of components, the arguments of their `build`, and the other records that a plugin can offer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from forestgaps_core.errors import PluginError, format_class, nearest
from forestgaps_core.settings import offer_build_inner

GENERIC_HOOK = "forestgaps_components"


@frozen
class Kind:
    """One kind of component.

    Attributes:
        makes: What `build` returns.
        arguments: What `build` may ask for, by name, each with its meaning. The core gives the components of a kind with a table
            what `RUN_ARGUMENTS` lists; another kind may have any arguments, given by the component that builds it.
        several: Whether a run file names several, each under a label of its own (`[metrics.gaps]`).
        default: The table of a run file that has none of its own. Names are full, so that no other package can take its place.
        table: Whether a run file may have a table of this kind. Without one, components of other kinds use these.
        check: `module:NAME` of a function that gets a config and raises an `AssertionError` for what breaks the contract of the
            kind, or of a list of such functions, one for each rule; '' checks the settings only. Used by `forestgaps plugins check`
            and `forestgaps_core.testing`.
        hook: The hook that lists the components of this kind.
        how: How a name is written where one is chosen; an option of a command, such as `--to {}`, for a kind without a table.
        calls: Parameters with which a component is called, if a plain function may be one; a function of another kind builds it.
        call_options: Further parameters of the call, given by name to the components that have them.
    """

    makes: str
    arguments: Mapping[str, str] = field(factory=dict)
    several: bool = False
    default: Mapping[str, Any] | None = None
    table: bool = True
    check: str = ""
    hook: str = GENERIC_HOOK
    how: str = 'name = "{}"'
    calls: tuple[str, ...] = ()
    call_options: tuple[str, ...] = ()

    @property
    def is_option(self) -> bool:
        """Whether its components are chosen by an option of a command."""
        return self.how.startswith("--")


KINDS: Mapping[str, Kind] = {
    "data": Kind(
        "a `Data`",
        {"seed": "the run's seed"},
        check="forestgaps_core.testing.rules.data:RULES",
        hook="forestgaps_data",
    ),
    "augmentations": Kind(
        "an `Augmentation`, called with `Tiles`, that returns `Tiles`",
        {"resolution_m": "pixel size of the training data, meters"},
        several=True,
        default={"flips": {"name": "forestgaps-augmentations:flip_rotate"}, "tilt": {"name": "forestgaps-augmentations:tilt"}},
        check="forestgaps_core.testing.rules.augmentations:RULES",
        hook="forestgaps_augmentations",
        calls=("tiles",),
    ),
    "model": Kind(
        "an `nn.Module` called as (dsm, valid, thresholds), and with further layers as `layers`, that returns logits",
        {
            "layers": "the further input layers of the data, a mapping of names to `InputLayer`; a model without this parameter "
            "uses none",
            "normalization": "`NormFactory` chosen in the run file",
            "resolution_m": "pixel size of the training data, meters",
            "thresholds": "the run's thresholds, meters, ascending",
        },
        check="forestgaps_core.testing.rules.model:RULES",
        hook="forestgaps_models",
    ),
    "normalization": Kind(
        "a `NormFactory`",
        {"batch_per_device": "samples a device sees at once in training"},
        check="forestgaps_core.testing.rules.normalization:RULES",
        hook="forestgaps_normalizations",
        calls=("channels",),
    ),
    "loss": Kind(
        "a `Loss`",
        {
            "thresholds": "the run's thresholds, meters, ascending",
            "gap_fraction": "function that returns the gap fraction at each of those thresholds in the training split, a tuple",
        },
        check="forestgaps_core.testing.rules.loss:RULES",
        hook="forestgaps_losses",
        calls=("logits", "batch"),
        call_options=("context",),
    ),
    "optimizer": Kind(
        "a `torch.optim.Optimizer`",
        {"modules": "list of `nn.Module`: the network first, then the loss if it is a module"},
        default={"name": "forestgaps-optimizers:adamw"},
        check="forestgaps_core.testing.rules.optimizer:RULES",
        hook="forestgaps_optimizers",
    ),
    "scheduler": Kind(
        "a `Scheduler`",
        {"total_steps": "optimizer steps of the whole run", "steps_per_epoch": "optimizer steps of one epoch"},
        check="forestgaps_core.testing.rules.scheduler:RULES",
        hook="forestgaps_schedulers",
        calls=("step",),
    ),
    "metrics": Kind(
        "a `Metric`, one for each pass over a split",
        {"resolution_m": "pixel size of the data, meters"},
        several=True,
        check="forestgaps_core.testing.rules.metrics:RULES",
        hook="forestgaps_metrics",
    ),
    "callbacks": Kind(
        "an object with training events (see `forestgaps_core.hookspecs.TrainingEvents`)",
        {"run_folder": "`Path` of the run, where the callback may write", "label": "the callback's label in the run file"},
        several=True,
        check="forestgaps_core.testing.rules.callbacks:RULES",
        hook="forestgaps_callbacks",
    ),
}

COMMAND_KINDS: Mapping[str, Kind] = {
    "exporter": Kind(
        "an `Exporter`, called with (network, plan), that returns an `Export`",
        table=False,
        check="forestgaps_core.testing.rules.exporter:RULES",
        hook="forestgaps_exporters",
        how="--to {}",
        calls=("network", "plan"),
    ),
    "postprocessor": Kind(
        "a `Postprocessor`, called with (values, valid), that returns new values",
        {"resolution_m": "pixel size of the map, meters", "thresholds": "height thresholds of the map, meters, ascending"},
        table=False,
        check="forestgaps_core.testing.rules.postprocessor:RULES",
        hook="forestgaps_postprocessors",
        how="--postprocess {}",
    ),
    "reader": Kind(
        "a `forestgaps_geo.files.readers.Reader`, which returns the pixels of files that GDAL does not open",
        {"layer": "what the raster is: dsm, dtm or chm"},
        table=False,
        check="forestgaps_core.testing.rules.reader:RULES",
        hook="forestgaps_readers",
        how="--reader {}",
    ),
    "report_section": Kind(
        "a `ReportSection`, called with `ReportData`, that returns texts, tables and pictures",
        table=False,
        check="forestgaps_core.testing.rules.report_section:RULES",
        hook="forestgaps_report_sections",
        how="--set {}.KEY=VALUE",
    ),
}
"""Kinds whose components a command uses, and no run file: the user chooses them by an option."""

RUN_ARGUMENTS: Mapping[str, str] = {
    "data": "the run's `Data`",
    "seed": "the run's seed",
    "resolution_m": "pixel size of the training data, meters",
    "thresholds": "the run's thresholds, meters, ascending",
    "batch_per_device": "samples a device sees at once in training",
    "total_steps": "optimizer steps of the whole run",
    "steps_per_epoch": "optimizer steps of one epoch",
    "run_folder": "`Path` of the run, where the component may write",
    "label": "the component's label in the run file; the name of its kind if it has none",
}
"""What the core gives the components of a plugin's kind that has a table."""

USES_FURTHER_KINDS = ("loss", "callbacks")  # their `build` may also ask for a plugin's kind, by its name


@define(eq=False)
class BuildContext:
    """What a component is built with, and by whom.

    Attributes:
        place: In the run file, such as `metrics.gaps`.
        arguments: For each argument that `build` may ask for a function that makes it.
        names: Full names of the components by place, as far as they are known.
        build_part: Builds a component inside this one, from its kind, config and context; by default `Plugins.build` does.
        altered_by: Distributions whose `forestgaps_build` made another object than the core's, each with its version.
    """

    place: str
    arguments: Mapping[str, Callable[[], Any]]
    names: Mapping[str, str] = field(factory=dict)
    build_part: Callable[[str, Any, BuildContext], Any] | None = None
    altered_by: dict[str, str] = field(factory=dict, init=False)

    def __str__(self) -> str:
        owners = " and ".join(f"{name} {version}" for name, version in self.altered_by.items())
        return f" (altered by {owners})" if owners else ""


def build(kind: str, config: Any, available: Mapping[str, Callable[[], Any]], context: BuildContext | None = None) -> Any:
    """Call `config.build` with the arguments it names; `build_inner` builds a component inside this one.

    Args:
        available: For each argument a function that makes it, called only if `build` asks for it.
        context: Of the build; without it, components inside are built without the hook.

    Raises:
        PluginError: `build` asks for an argument its kind does not have.
    """
    wanted = inspect.signature(config.build).parameters.values()
    arguments = {}
    for parameter in wanted:
        if parameter.name in available:
            arguments[parameter.name] = available[parameter.name]()
        elif parameter.name == "build_inner":
            context = context or BuildContext(kind, available)
            without_hook = lambda kind, part, inside: build(kind, part, inside.arguments)  # noqa: E731
            arguments[parameter.name] = offer_build_inner(config, context, context.build_part or without_hook)
        elif parameter.default is parameter.empty:
            known = ", ".join(available) or "none"
            raise PluginError(
                f"build of {format_class(type(config))} asks for {parameter.name!r}, which a {kind} is not "
                f"given{nearest(parameter.name, available)}; there is: {known}"
            )
    return config.build(**arguments)


def list_required(config: Any) -> list[str]:
    """Return the arguments of `config.build` that have no default."""
    parameters = inspect.signature(config.build).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


@frozen
class Renamed:
    """Stands in a table of names for the old name of a component.

    Attributes:
        name: The new name, in the same table.
        since: Version of the distribution in which the name changed.
    """

    name: str
    since: str = ""


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
