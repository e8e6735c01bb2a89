"""What a component is: the shapes that cross package borders and the protocols a plugin fulfils.

One word per thing, everywhere:

| word         | shape, type              | meaning                                                              |
|--------------|--------------------------|----------------------------------------------------------------------|
| `dsm`        | (B, 1, H, W) float32     | surface elevation, metres; invalid pixels hold the tile's median     |
| `height`     | (B, 1, H, W) float32     | canopy height above ground, metres                                   |
| `valid`      | (B, 1, H, W) bool        | False where the survey has no data; such pixels influence nothing    |
| `thresholds` | (B, K) float32           | metres, ascending; may differ from sample to sample                  |
| `target`     | (B, K, H, W) float32     | 1 gap (`height < threshold`), 0 canopy                               |
| `logits`     | (B, K, H, W) float       | what a network returns for (dsm, valid, thresholds); gap where > 0   |

A component is chosen in a run file by `name`; the other keys of its table are the fields of its config, a frozen attrs
class with a method `build`. `build` takes **by name, the arguments it uses** out of those listed for its kind in `KINDS`, so
that a new argument never breaks an old plugin.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from attrs import define, field, fields, frozen

from forestgaps_core.errors import PluginError, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from forestgaps_core.engines import Program

Item = TypeVar("Item")
Result = TypeVar("Result")

# --- what travels through a step ------------------------------------------------------------------------------------


@frozen(eq=False)
class Tile:
    """One sample as a data source reads it, on the CPU, before thresholds and augmentation.

    `dsm` and `height` are (H, W) float32 in metres; anything may stand where `valid` (H, W) is False.
    """

    dsm: Tensor
    height: Tensor
    valid: Tensor


@frozen(eq=False)
class Tiles:
    """Tiles stacked to (B, 1, H, W), with what each sample is drawn from.

    `index` (B,) int64 is the sample's place in its source. `draw` (B,) int64 is a random number fixed by
    (seed, epoch, index): everything random about the sample is a function of it (see `forestgaps_core.randomness`).
    """

    dsm: Tensor
    height: Tensor
    valid: Tensor
    index: Tensor
    draw: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Tiles:
        return mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Tiles:
        return mapped(self, lambda tensor: tensor.pin_memory())


@frozen(eq=False)
class Batch:
    """What a network, a loss and a metric see. Shapes are in the module's table."""

    dsm: Tensor
    thresholds: Tensor
    target: Tensor
    valid: Tensor
    height: Tensor | None = None
    index: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        return mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def __len__(self) -> int:
        return len(self.dsm)


Travelling = TypeVar("Travelling", Tiles, Batch)


def mapped(batch: Travelling, change: Callable[[Tensor], Tensor]) -> Travelling:
    """The same with every tensor changed."""
    values: dict[str, Any] = {attribute.name: getattr(batch, attribute.name) for attribute in fields(type(batch))}
    changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
    return type(batch)(**changed)


# --- what a plugin offers -------------------------------------------------------------------------------------------


class Loss(Protocol):
    """A scalar to minimise, computed in float32.

    May be an `nn.Module`: its parameters are then trained with the network's (without weight decay) and its state is
    saved in checkpoints. Invalid pixels must not change the value or any gradient; with no valid pixel it is 0.
    """

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor: ...


class Metric(Protocol):
    """Counts over one pass through a split; a new one is built for each pass.

    Counts live on the device of the logits and are read in `compute` only. A value that is not defined (0 of 0) is NaN.
    """

    def update(self, logits: Tensor, batch: Batch) -> None: ...

    def merge(self, other: Any) -> None:
        """Add the counts of another metric of the same settings, as if its batches had been seen here."""

    def compute(self) -> Mapping[str, float]:
        """Values by name, such as `gap_iou` or `gap_iou@5m`; without any batch, an empty mapping."""


class Scheduler(Protocol):
    """The factor on every base learning rate after `step` completed optimizer steps.

    A closed form of the step, so resuming cannot shift it.

    May also have `momentum(step) -> float` (an absolute momentum, or the first beta), and, if it follows the scores,
    `observe(scores)`, called after each validation, with `state_dict` and `load_state_dict`.
    """

    def __call__(self, step: int) -> float: ...


class NormFactory(Protocol):
    """Makes the normalization layer for so many channels."""

    def __call__(self, channels: int) -> nn.Module: ...


class Source(Protocol):
    """One split of the data, by sample.

    `read` must depend on nothing but its arguments: `draw` is the randomness of this sample in this epoch. It runs in
    loader processes. All tiles of a source have one size.

    May also have `block(index)`, what names the spatial block of a tile (tiles of one are no independent witnesses, so
    intervals of scores draw blocks), `site(index)`, the name of its site, and `place(index, draw)`, a phrase that tells
    people where a sample was taken, such as "site ridge, rows 512-768, columns 0-256".
    """

    def __len__(self) -> int:
        """Samples in an epoch."""

    def read(self, index: int, draw: int) -> Tile: ...


@runtime_checkable
class Data(Protocol):
    """A data set with its splits.

    Attributes:
        resolution_m: Pixel size in metres, the same in all splits.
        train: Samples to learn from (random crops, say).
        validation: A fixed set of tiles, for choosing.
        test: A fixed set of tiles that nothing was chosen on.
    """

    resolution_m: float
    train: Source
    validation: Source
    test: Source


class Executor(Protocol):
    """Runs the same function on many items, somewhere: in processes, on a cluster."""

    def execute(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, as they are done, in any order.

        The function, the items and the results can be pickled; the function goes to each worker once. What a worker was
        computing when it died is computed again. At most a few results wait to be taken, however slow the taker. The first
        exception of the function ends the work and is raised here. Closing the iterator ends the work too.

        Raises:
            ForestgapsError: The workers cannot be reached, or keep dying.
        """


class Engine(Protocol):
    """Runs exported networks: what `forestgaps_engines` names makes one, without arguments.

    Attributes:
        data_only: Whether opening a file executes nothing of it. Files of other engines are opened only for who names the engine.
    """

    data_only: bool

    def open(self, data: bytes, program: Program) -> nn.Module:
        """A module called as (dsm, valid, thresholds) that returns logits, on the CPU, as its network would.

        It can be pickled, threads may share it, and it computes with as many threads as torch would where it is called.

        Args:
            data: What the file holds; its checksum is that of the program.
            program: What its folder says of it.

        Raises:
            ForestgapsError: It cannot be run here.
        """


class ComponentConfig(Protocol):
    """A frozen attrs class: fields with validators and `metadata={"help": ...}`, and a `build` as described in `KINDS`."""

    build: Callable[..., Any]


# --- the kinds ------------------------------------------------------------------------------------------------------


@frozen
class Kind:
    """One kind of component.

    Attributes:
        hook: The hook that lists the components of this kind.
        makes: What `build` returns.
        arguments: What `build` may ask for, by name, each with its meaning.
        several: Whether a run file names several, each under a label of its own (`[metrics.gaps]`).
    """

    hook: str
    makes: str
    arguments: Mapping[str, str] = field(factory=dict)
    several: bool = False


KINDS: Mapping[str, Kind] = {
    "data": Kind(
        "forestgaps_data",
        "a `Data`",
        {"seed": "the run's seed"},
    ),
    "model": Kind(
        "forestgaps_models",
        "an `nn.Module` called as (dsm, valid, thresholds) that returns logits",
        {
            "normalization": "`NormFactory` chosen in the run file",
            "resolution_m": "pixel size of the training data, metres",
            "thresholds": "the run's thresholds, metres, ascending",
        },
    ),
    "normalization": Kind(
        "forestgaps_normalizations", "a `NormFactory`", {"batch_per_device": "samples a device sees at once in training"}
    ),
    "loss": Kind(
        "forestgaps_losses",
        "a `Loss`",
        {
            "thresholds": "the run's thresholds, metres, ascending",
            "gap_share": "function of no arguments: share of gap pixels at each of those thresholds in the training split, a tuple",
        },
    ),
    "scheduler": Kind(
        "forestgaps_schedulers",
        "a `Scheduler`",
        {"total_steps": "optimizer steps of the whole run", "steps_per_epoch": "optimizer steps of one epoch"},
    ),
    "metrics": Kind(
        "forestgaps_metrics",
        "a `Metric`, one for each pass over a split",
        {"resolution_m": "pixel size of the data, metres"},
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
    """A complete run file a plugin brings along.

    Attributes:
        target: `package:file.toml`, a file inside the plugin's package.
        help: One line on what it is for and how long it takes.
    """

    target: str
    help: str


@define(eq=False)
class Pretrained:
    """A trained network a plugin brings along.

    Attributes:
        target: `package:folder`, a network folder inside the plugin's package (see `forestgaps_core.networks`).
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
