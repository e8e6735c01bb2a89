"""Predictions as pictures, after each validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor

from forestgaps_callbacks.drawing import require_matplotlib, write_figure
from forestgaps_core import hookimpl
from forestgaps_core.output.palette import CANOPY, CONFUSION, GAP, SHORT_AGREEMENT
from forestgaps_tracking.validation_plots import is_validation_due

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer

REFERENCE = (CANOPY, GAP)  # by gap in the reference


@frozen(kw_only=True)
class PicturesConfig:
    """Draws the first tiles of the validation to `LABEL/epoch-0003-tile-1.png` in the run folder.

    Left the surface as a hillshade and the canopy height; then for each threshold, from top to bottom, the reference, the
    probability of gap, and the agreement of the two. White is where the survey has no data. Needs matplotlib.
    """

    tiles: int = field(default=2, validator=and_(ge(1), le(1000)), metadata={"help": "Tiles of the validation to draw."})
    every: int = field(default=1, validator=ge(1), metadata={"help": "Epochs from one set of pictures to the next."})

    def build(self, run_folder: Path, label: str) -> Pictures:
        require_matplotlib(label)
        return Pictures(folder=run_folder / label, tiles=self.tiles, every=self.every)


@define(eq=False)
class Pictures:
    folder: Path
    tiles: int = 2
    every: int = 1
    wanted: int = field(default=0, init=False)  # tiles still to come in this validation
    kept: list[dict[str, Tensor]] = field(factory=list, init=False)  # of one tile each, on the device

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        self.wanted = self.tiles if is_validation_due(trainer, split, self.every) else 0

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        for sample in range(min(self.wanted, len(batch))):
            parts = {"dsm": batch.dsm, "target": batch.target, "valid": batch.valid, "thresholds": batch.thresholds}
            parts |= {"logits": logits} if batch.height is None else {"logits": logits, "height": batch.height}
            self.kept.append({name: part[sample].clone() for name, part in parts.items()})  # the batch itself may go
            self.wanted -= 1

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        for place, tile in enumerate(self.kept, start=1):
            figure = prediction_figure({name: part.cpu() for name, part in tile.items()})
            write_figure(figure, self.folder / f"epoch-{trainer.epoch + 1:04d}-tile-{place}.png")
        self.kept.clear()


def prediction_figure(tile: dict[str, Tensor]) -> Figure:
    """One tile, on the CPU.

    Args:
        tile: `dsm`, `valid` and perhaps `height` (1, H, W); `target` and `logits` (K, H, W); `thresholds` (K,).
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    thresholds = tile["thresholds"].tolist()
    # Leaves room for the titles, which axes without a frame are not given.
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 0.985))
    figure = Figure(figsize=(2.2 * (1 + len(thresholds)), 6.9), layout=layout)
    axes = figure.subplots(3, 1 + len(thresholds), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    draw_terrain(tile, axes[0, 0], axes[1, 0])
    draw_key(axes[2, 0])
    valid, probability = tile["valid"][0], tile["logits"].float().sigmoid()
    surveyed, predicted = tile["target"] > 0.5, tile["logits"] > 0
    for place, threshold in enumerate(thresholds):
        reference, chance, errors = axes[:, 1 + place]
        reference.set_title(f"gaps below {threshold:g} m", fontsize=9)
        show_classes(reference, surveyed[place].int(), valid, REFERENCE)
        show(chance, probability[place], valid, cmap="viridis", vmin=0, vmax=1)
        show_classes(errors, 2 * surveyed[place].int() + predicted[place].int(), valid, CONFUSION)
    return figure


def draw_terrain(tile: dict[str, Tensor], surface: Axes, canopy: Axes) -> None:
    from matplotlib.colors import LightSource

    valid = tile["valid"][0]
    shade = LightSource(azdeg=315, altdeg=45).hillshade(tile["dsm"][0].numpy())
    surface.set_title("surface", fontsize=9)
    show(surface, torch.from_numpy(shade), valid, cmap="gray", vmin=0, vmax=1)
    if "height" in tile:
        height = tile["height"][0]
        highest = height[valid].max().item() if valid.any() else 1.0
        canopy.set_title(f"canopy height, to {highest:.0f} m", fontsize=9)
        show(canopy, height, valid, cmap="Greens", vmin=0, vmax=max(highest, 1.0))


def draw_key(ax: Axes) -> None:
    from matplotlib.patches import Patch

    names = {"gap": GAP, **SHORT_AGREEMENT}
    patches: list[Any] = [Patch(facecolor=colour, edgecolor="black", label=name) for name, colour in names.items()]
    rows = "top: reference\nmiddle: probability, 0 dark to 1 yellow\nbottom: agreement"
    ax.legend(handles=patches, loc="center", fontsize=8, frameon=False, title=rows, title_fontsize=7)


def show(ax: Axes, values: Tensor, valid: Tensor, **settings: Any) -> None:
    ax.imshow(torch.where(valid, values.float(), torch.nan).numpy(), interpolation="nearest", **settings)


def show_classes(ax: Axes, codes: Tensor, valid: Tensor, colours: Sequence[str]) -> None:
    from matplotlib.colors import ListedColormap

    show(ax, codes, valid, cmap=ListedColormap(list(colours)), vmin=0, vmax=len(colours) - 1)
