"""Pictures of the outputs of layers, after validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le, min_len
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from forestgaps_callbacks.drawing import require_matplotlib, write_figure
from forestgaps_core import ConfigError, hookimpl
from forestgaps_core.errors import nearest
from forestgaps_tracking.validation_plots import is_validation_due

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class ActivationsConfig:
    """Draws the output of some layers for the first tile of the validation, to `LABEL/epoch-0003-LAYER.png`.

    It shows the channels of each layer that vary most over the tile. It does not work with `environment.compile`, because a
    compiled network does not call its layers one by one. Requires matplotlib.
    """

    layers: tuple[str, ...] = field(
        validator=min_len(1), metadata={"help": "Names of layers as in the network's named_modules(), such as encoder.0."}
    )
    channels: int = field(default=8, validator=and_(ge(1), le(1000)), metadata={"help": "Channels to draw of each layer."})
    every: int = field(default=5, validator=ge(1), metadata={"help": "Epochs from one set of pictures to the next."})

    def build(self, run_folder: Path, label: str) -> Activations:
        require_matplotlib(label)
        return Activations(folder=run_folder / label, label=label, layers=self.layers, channels=self.channels, every=self.every)


@define(eq=False)
class Activations:
    folder: Path
    layers: tuple[str, ...]
    label: str = "activations"
    channels: int = 8
    every: int = 5
    hooks: list[RemovableHandle] = field(factory=list, init=False)
    seen: dict[str, Tensor] = field(factory=dict, init=False)  # (C, H, W) by layer

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        known = dict(trainer.model.named_modules())
        del known[""]
        problems = [
            f"callbacks.{self.label}.layers: the network has no layer {name!r}{nearest(name, known)}; there is: {', '.join(known)}"
            for name in self.layers
            if name not in known
        ]
        if trainer.environment.compile:
            problems.append(f"callbacks.{self.label}: needs environment.compile = false")
        if problems:
            raise ConfigError(problems)

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        self.seen.clear()
        if is_validation_due(trainer, split, self.every):
            for name in self.layers:
                self.hooks.append(trainer.model.get_submodule(name).register_forward_hook(self.make_hook(name)))

    @hookimpl
    def evaluation_batch(self) -> None:
        self.remove_hooks()  # the first batch is enough

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        self.remove_hooks()
        for name, channels in self.seen.items():
            figure = draw_activation_figure(channels.cpu(), name, self.channels)
            write_figure(figure, self.folder / f"epoch-{trainer.epoch + 1:04d}-{name}.png")
        self.seen.clear()

    @hookimpl
    def fit_end(self) -> None:
        self.remove_hooks()

    def make_hook(self, name: str) -> KeepFirst:
        return KeepFirst(name, self.seen)

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()


@frozen(eq=False)
class KeepFirst:
    """A forward hook that keeps the output for the first sample, if it is channels (B, C, H, W)."""

    name: str
    seen: dict[str, Tensor]

    def __call__(self, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and len(output):
            self.seen[self.name] = output[0].detach().float().clone()


def draw_activation_figure(channels: Tensor, name: str, count: int) -> Figure:
    """Return a figure of the `count` channels of (C, H, W) that vary most, scaled between its smallest and largest value."""
    from matplotlib.figure import Figure

    chosen = select_most_varied(channels, count)
    columns = min(len(chosen), 4)
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.3 * rows + 0.4), layout="constrained")
    figure.suptitle(f"{name}: {len(chosen)} of {len(channels)} channels", fontsize=9)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, channel in zip(axes.flat, chosen, strict=False):
        ax.imshow(channels[channel].numpy(), cmap="viridis", interpolation="nearest")
        ax.set_title(str(channel), fontsize=8)
    return figure


def select_most_varied(channels: Tensor, count: int) -> Sequence[int]:
    """Return the numbers of the channels of (C, H, W) with the largest variance, in their order."""
    spread = channels.flatten(1).var(dim=1, correction=0)
    chosen: list[int] = torch.topk(spread, min(count, len(channels))).indices.sort().values.tolist()
    return chosen
