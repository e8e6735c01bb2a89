"""Protocols of components, and the data types that packages exchange.

One word per thing, everywhere:

| word         | shape, type              | meaning                                                              |
|--------------|--------------------------|----------------------------------------------------------------------|
| `dsm`        | (B, 1, H, W) float32     | surface elevation, meters; invalid pixels hold the tile's median     |
| `height`     | (B, 1, H, W) float32     | canopy height above ground, meters                                   |
| `valid`      | (B, 1, H, W) bool        | False where the survey has no data; such pixels influence nothing    |
| `thresholds` | (B, K) float32           | meters, ascending; may differ from sample to sample                  |
| `target`     | (B, K, H, W) float32     | 1 gap (`height < threshold`), 0 canopy                               |
| `logits`     | (B, K, H, W) float       | what a network returns for (dsm, valid, thresholds); gap where > 0   |
| `layers[..]` | (B, C, H, W) float32     | further input by name, as in its source; 0 where it has no data      |

A component is chosen in a run file by `name`; the other keys of its table are its settings: the keyword-only parameters of a
function or class, or the fields of a frozen dataclass or attrs class with a method `build`. Its other parameters, or those of
`build`, are **by name, the arguments it uses** out of those listed for its kind in `kinds.KINDS`, so that a new argument never
breaks an old plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from attrs import field, fields, frozen
from attrs.validators import and_, ge, gt, le, matches_re, max_len, min_len, optional

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Item = TypeVar("Item")
Result = TypeVar("Result")

# --- what travels through a step ------------------------------------------------------------------------------------


@frozen(eq=False)
class Tile:
    """One sample as a data source reads it, on the CPU, before thresholds and augmentation.

    `dsm` and `height` are (H, W) float32 in meters; anything may stand where `valid` (H, W) is False. `layers` are further
    co-registered rasters by name, such as colors, (C, H, W) float32, 0 where they have no data: such pixels stay valid.
    """

    dsm: Tensor
    height: Tensor
    valid: Tensor
    layers: Mapping[str, Tensor] = field(factory=dict)


@frozen(kw_only=True)
class InputLayer:
    """Statistics of a further input layer: mean and standard deviation of each of its channels in the data."""

    mean: tuple[float, ...] = field(validator=min_len(1))
    std: tuple[float, ...] = field()

    @std.validator
    def _validate_std(self, attribute: object, value: tuple[float, ...]) -> None:
        if len(value) != len(self.mean) or not all(isfinite(number) for number in (*self.mean, *value)) or min(value) < 0:
            raise ValueError("must be a finite number, 0 or more, for each channel, as many as mean has")

    @property
    def channels(self) -> int:
        return len(self.mean)


@frozen(eq=False)
class Tiles:
    """Tiles stacked to (B, 1, H, W), with what each sample is drawn from.

    `index` (B,) int64 is the sample's place in its source. `draw` (B,) int64 is a random number fixed by
    (seed, epoch, index): everything random about the sample is a function of it (see `forestgaps_core.runtime.rng`).
    """

    dsm: Tensor
    height: Tensor
    valid: Tensor
    index: Tensor
    draw: Tensor
    layers: Mapping[str, Tensor] = field(factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Tiles:
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Tiles:
        return map_tensors(self, lambda tensor: tensor.pin_memory())


@frozen(eq=False)
class Batch:
    """What a network, a loss and a metric see. Shapes are in the module's table."""

    dsm: Tensor
    thresholds: Tensor
    target: Tensor
    valid: Tensor
    height: Tensor | None = None
    index: Tensor | None = None
    layers: Mapping[str, Tensor] = field(factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def __len__(self) -> int:
        return len(self.dsm)


Traveling = TypeVar("Traveling", Tiles, Batch)


def map_tensors(batch: Traveling, change: Callable[[Tensor], Tensor]) -> Traveling:
    """The same with every tensor changed."""
    values: dict[str, Any] = {attribute.name: getattr(batch, attribute.name) for attribute in fields(type(batch))}
    layers = {name: change(layer) for name, layer in values.pop("layers").items()}
    changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
    return type(batch)(**changed, layers=layers)


# --- what a plugin offers -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class LossContext:
    """What a loss may see beside logits and batch; given to a loss that has a parameter `context`.

    Attributes:
        split: "train", or the split that is evaluated.
        step: Completed optimizer steps.
        epoch: Completed epochs.
        total_steps: Optimizer steps of the whole run; None where the training data has no length.
        outputs: What the modules of the network returned for this batch, by name: those that the attribute `outputs` of the loss
            lists, such as `("encoder.stage2",)`. Gradients flow through them.
        log: Called with a name and a number or detached tensor of shape (); as `trainer.log` of a callback.
    """

    split: str
    step: int
    epoch: int
    total_steps: int | None
    outputs: Mapping[str, Any]
    log: Callable[[str, float | Tensor], None]


class Loss(Protocol):
    """A scalar to minimize, computed in float32.

    A loss with a further parameter `context` is called as `loss(logits, batch, context=LossContext(...))`.
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


class Augmentation(Protocol):
    """A random change of training tiles that keeps what their gaps are, on the device of the tiles.

    Returns new `Tiles` of the same shapes and types, and leaves those given as they are. Everything random is a function of
    `tiles.draw` (`forestgaps_core.runtime.rng.uniform`), so that batch size, labels and other augmentations change nothing.
    DSM and height agree: where the canopy changes, both change by the same. Invalid pixels stay invalid and influence nothing.
    Where pixels move, those of all `tiles.layers` move with them.

    Its config may declare as class attributes what it does: `changes`, some of "place" (pixels move), "ground", "canopy" (by
    default these two) and "layers" (values of further layers), and `mixes_samples = True` where the result of a sample depends
    on other samples of the batch.
    """

    def __call__(self, tiles: Tiles) -> Tiles: ...


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
        resolution_m: Pixel size in meters, the same in all splits.
        train: Samples to learn from (random crops, say).
        validation: A fixed set of tiles, for choosing.
        test: A fixed set of tiles that nothing was chosen on.

    May also have `layers`, an `InputLayer` by name for each of the further layers that all its tiles have.
    """

    resolution_m: float
    train: Source
    validation: Source
    test: Source


class Postprocessor(Protocol):
    """Changes a part of a map after prediction, for all height thresholds at once.

    Attributes:
        changes: "probabilities" or "gaps".
        halo: How many pixels around a pixel its result depends on.
    """

    @property
    def changes(self) -> str: ...

    @property
    def halo(self) -> int: ...

    def __call__(self, values: Any, valid: Any) -> Any:
        """Return an array of the same shape and type; the outer `halo` pixels and those without data have no effect.

        Args:
            values: (K, h, w), thresholds ascending: float32 probabilities, or bool, True in a gap; 0 where there is no data.
            valid: (h, w) bool, False where there is no data and beyond the raster.
        """


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


@frozen(kw_only=True)
class Program:
    """What a network's folder says of its program.

    Attributes:
        multiple: Rows and columns of what it is given are multiples of this.
        monotone: Whether its logits increase with the threshold for any input.
        context_m: How far a pixel's answer depends on its surroundings, meters; None where the network does not say.
        made_with: What its engine wants to know of where it was made, such as versions.
    """

    engine: str = field(validator=matches_re(r"[a-z][a-z0-9_]{0,63}"))
    file: str = field(validator=matches_re(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"))  # in the folder itself
    sha256: str = field(validator=matches_re(r"[0-9a-f]{64}"))
    bytes: int = field(validator=gt(0))
    multiple: int = field(default=1, validator=and_(ge(1), le(4096)))
    monotone: bool = False
    context_m: float | None = field(default=None, validator=optional(and_(ge(0), le(1e6))))
    made_with: Mapping[str, str] = field(factory=dict, validator=max_len(64))


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
    """Settings with a `build` as described in `KINDS`: a frozen attrs class or dataclass, or what a function is read as."""

    build: Callable[..., Any]
