"""Whether components are and return what their kind says, and the name that errors give them.

Shapes and types only: nothing here reads a tensor's values.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from math import inf, isfinite
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.components import Augmentation, Batch, InputLayer, Tile, Tiles
from forestgaps_core.errors import ForestgapsError, PluginError, format_class
from forestgaps_core.kinds import KINDS
from forestgaps_core.runtime.environment import TorchState, read_torch_settings, restore_torch_settings

Name = Callable[[], str]  # of the component, asked for only when something is wrong
PARTS: Mapping[str, tuple[str, ...]] = {
    "metrics": ("update", "merge", "compute"),
    "data": ("resolution_m", "train", "validation", "test"),
    "callbacks": (),  # their events are checked where they are sent
}
TYPES: Mapping[str, type] = {"model": nn.Module, "optimizer": torch.optim.Optimizer}
log = logging.getLogger("forestgaps")


class NamedErrors:
    """Around calls of a component: what it raises becomes a `PluginError` with its name, and torch's settings are put back.

    Costs about a microsecond. Errors that say themselves what to do, and want of memory, come out as they are.
    """

    before: TorchState

    def __init__(self, name: Name) -> None:
        self.name, self.reported = name, False

    def __enter__(self) -> None:
        self.before = read_torch_settings()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if read_torch_settings() != self.before:
            changed = ", ".join(restore_torch_settings(self.before))
            if not self.reported:
                log.warning("%s changed %s", self.name(), changed)
            self.reported = True
        if error is None or isinstance(error, ForestgapsError | MemoryError | torch.OutOfMemoryError):
            return
        if isinstance(error, Exception | SystemExit):
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise PluginError(f"{self.name()} failed: {what} ({place.filename}, line {place.lineno})") from error


def check_built(kind: str, thing: object, name: Name) -> None:
    """Whether `build` of a component of this kind returned what `KINDS` says.

    Raises:
        PluginError: It returned something else.
    """
    if kind not in KINDS:  # a plugin's; its own contract is checked by `forestgaps plugins check`
        if thing is None:
            raise PluginError(f"{name()} made nothing; let build return what its settings describe")
        return
    what = f"{name()} made a {type(thing).__name__}, expected {KINDS[kind].makes}"
    if missing := [part for part in PARTS.get(kind, ()) if not hasattr(thing, part)]:
        raise PluginError(f"{what}; it has no {', '.join(missing)}")
    if kind not in PARTS and not (isinstance(thing, TYPES[kind]) if kind in TYPES else callable(thing)):
        raise PluginError(what)
    if kind == "data":
        check_data(thing, name)


class LayerFactory:
    """A normalization that a network gets: its errors name it, and not the network."""

    def __init__(self, factory: Callable[[int], nn.Module], name: Name) -> None:
        self.factory, self.errors = factory, NamedErrors(name)

    def __call__(self, channels: int) -> nn.Module:
        with self.errors:
            layer = self.factory(channels)
        if not isinstance(layer, nn.Module):
            raise PluginError(f"{self.errors.name()} made a {type(layer).__name__} for {channels} channels, expected an nn.Module")
        return layer

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what copying asks of an object that has nothing yet
            raise AttributeError(attribute)
        return getattr(self.factory, attribute)


class CheckedAugmentation:
    """An augmentation of a run: its errors name it, and so does what it returns if it is something else."""

    def __init__(self, augmentation: Augmentation, name: Name) -> None:
        self.augmentation, self.errors = augmentation, NamedErrors(name)

    def __call__(self, tiles: Tiles) -> Tiles:
        with self.errors:
            changed = self.augmentation(tiles)
        check_tiles(changed, tiles, self.errors.name)
        return changed


def check_tiles(changed: object, tiles: Tiles, name: Name) -> None:
    """Require `Tiles` of the same samples, shapes and types.

    Raises:
        PluginError: With what was found and what was expected.
    """
    if not isinstance(changed, Tiles):
        raise PluginError(f"{name()} returned a {type(changed).__name__}, expected Tiles")
    if changed.layers.keys() != tiles.layers.keys():
        raise PluginError(f"{name()} returned the layers {list_layers(changed.layers)}, expected {list_layers(tiles.layers)}")
    pairs = [(place, getattr(changed, place), getattr(tiles, place)) for place in ("dsm", "height", "valid", "index", "draw")]
    pairs += [(f"layers[{layer!r}]", changed.layers[layer], expected) for layer, expected in tiles.layers.items()]
    for place, found, expected in pairs:
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            words = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(f"{name()} returned {place} as {words}, expected {expected.dtype} {tuple(expected.shape)}")


def list_layers(layers: Mapping[str, object]) -> str:
    return ", ".join(map(repr, layers)) or "none"


def check_data(data: Any, name: Name) -> None:
    size = data.resolution_m
    if not isinstance(size, Real) or not isfinite(size) or size <= 0:
        raise PluginError(f"{name()} has resolution_m {size!r}, expected meters, more than 0")
    layers = getattr(data, "layers", {})
    if not isinstance(layers, Mapping) or not all(isinstance(layer, InputLayer) for layer in layers.values()):
        raise PluginError(f"{name()} has layers {layers!r}, expected an InputLayer under each name")
    for split in ("train", "validation", "test"):
        source = getattr(data, split)
        if not hasattr(source, "read") or not hasattr(source, "__len__"):
            raise PluginError(f"{name()}: {split} is a {type(source).__name__}, expected a source, with a length and `read`")
        with NamedErrors(name):
            len(source)


def check_logits(logits: object, batch: Batch, name: Name) -> None:
    """(B, K, H, W), floating point.

    Raises:
        PluginError: With the shape found and the shape expected.
    """
    expected = (*batch.thresholds.shape, *batch.dsm.shape[-2:])
    if not isinstance(logits, Tensor):
        raise PluginError(f"{name()} returned a {type(logits).__name__}, expected logits, a tensor of shape {expected}")
    if logits.shape != expected:
        raise PluginError(
            f"{name()} returned logits of shape {tuple(logits.shape)}, expected {expected}: samples, thresholds, rows, columns"
        )
    if not logits.is_floating_point():
        raise PluginError(f"{name()} returned logits of {logits.dtype}, expected a floating-point type")


def check_loss(loss: object, name: Name) -> None:
    """A scalar tensor that gradients flow from."""
    if not isinstance(loss, Tensor):
        raise PluginError(f"{name()} returned a {type(loss).__name__}, expected a tensor without dimensions")
    if loss.dim():
        raise PluginError(f"{name()} returned a tensor of shape {tuple(loss.shape)}, expected one without dimensions: a mean, say")
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise PluginError(f"{name()} returned a value that no gradient flows from; compute it from the logits, in torch")


def check_factor(factor: object, step: int, name: Name) -> float:
    """A finite number, 0 or more."""
    if type(factor) is float and 0.0 <= factor < inf:
        return factor
    if not isinstance(factor, Real) or not isfinite(factor) or factor < 0:
        raise PluginError(f"{name()} gave {factor!r} at step {step}, expected a factor on the learning rate, 0 or more")
    return float(factor)


def check_scores(scores: object, name: Name) -> Mapping[str, float]:
    """Numbers by name."""
    if not isinstance(scores, Mapping):
        raise PluginError(f"{name()}: compute returned a {type(scores).__name__}, expected numbers by name")
    for key, value in scores.items():
        if not isinstance(key, str) or not isinstance(value, Real):
            raise PluginError(f"{name()}: compute returned {type(value).__name__} for {key!r}, expected a number under a name")
    return {key: float(value) for key, value in scores.items()}


def check_tile(tile: object, source: object, index: int) -> None:
    """Three planes of one size, float32, float32 and bool.

    Raises:
        PluginError: Names the source and the sample.
    """
    if isinstance(tile, Tile):
        planes = (tile.dsm, tile.height, tile.valid)
        if all(isinstance(plane, Tensor) for plane in planes):
            right = tile.dsm.dtype == tile.height.dtype == torch.float32 and tile.valid.dtype == torch.bool
            if right and tile.dsm.dim() == 2 and tile.dsm.shape == tile.height.shape == tile.valid.shape:
                return
            found = ", ".join(f"{plane.dtype} {tuple(plane.shape)}" for plane in planes)
        else:
            found = ", ".join(type(plane).__name__ for plane in planes)
    else:
        found = type(tile).__name__
    raise PluginError(
        f"{format_class(type(source))} read sample {index} as {found}; expected a Tile with dsm and height of float32 and "
        "valid of bool, all of one shape (rows, columns)"
    )


def check_layers(tile: Tile, source: object, index: int, channels: Mapping[str, int]) -> None:
    """Each of these layers, with so many channels, float32 and of the tile's size; and no other.

    Raises:
        PluginError: Names the source, the sample and the layer.
    """
    if not channels and not tile.layers:
        return
    where = f"{format_class(type(source))} read sample {index}"
    if tile.layers.keys() != channels.keys():
        raise PluginError(f"{where} with the layers {list_layers(tile.layers)}, expected {list_layers(channels)}")
    for name, count in channels.items():
        layer, expected = tile.layers[name], (count, *tile.dsm.shape)
        if not isinstance(layer, Tensor) or layer.shape != expected or layer.dtype != torch.float32:
            found = f"{layer.dtype} {tuple(layer.shape)}" if isinstance(layer, Tensor) else type(layer).__name__
            raise PluginError(
                f"{where} with layers[{name!r}] as {found}, expected torch.float32 {expected}: channels, rows, columns"
            )


def describe_component(components: Any, place: str, thing: object) -> Name:
    """Words for a component: its name and package where the run knows them, its class otherwise."""

    def name() -> str:
        about = components.get(place) if isinstance(components, Mapping) else None
        if isinstance(about, Mapping):
            altered_by = about.get("altered_by")
            owners = " and ".join(f"{key} {value}" for key, value in altered_by.items()) if isinstance(altered_by, Mapping) else ""
            words = f"{place} {about.get('name')!r} of {about.get('distribution')} {about.get('version')}"
            return f"{words} (altered by {owners})" if owners else words
        return f"{place} {format_class(thing if isinstance(thing, type) else type(thing))}"

    return name
