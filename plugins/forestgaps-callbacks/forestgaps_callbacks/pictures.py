"""Pictures of predictions, after each validation."""

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
from forestgaps_tracking.first_tiles import FirstTiles
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

    On the left are the surface as a hillshade and the canopy height. Then each threshold has, from top to bottom, the
    reference, the probability of gap, and the agreement of both. Pixels without data are white. Requires matplotlib.
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
    first: FirstTiles = field(factory=lambda: FirstTiles(0), init=False)  # of the current validation

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        self.first = FirstTiles(self.tiles if is_validation_due(trainer, split, self.every) else 0)

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        self.first.add(batch, logits)

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        for number, (batch, logits) in enumerate(self.first.iterate_tiles(), start=1):
            figure = draw_prediction_figure(batch, logits)
            write_figure(figure, self.folder / f"epoch-{trainer.epoch + 1:04d}-tile-{number}.png")
        self.first = FirstTiles(0)


def draw_prediction_figure(tile: Batch, logits: Tensor) -> Figure:
    """Return a figure of one tile.

    Args:
        tile: A batch of one, on the CPU.
        logits: (1, K, H, W), on the CPU.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    thresholds, valid = tile.thresholds[0].tolist(), tile.valid[0, 0]
    # Leaves room for the titles; axes without a frame have none.
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 0.985))
    figure = Figure(figsize=(2.2 * (1 + len(thresholds)), 6.9), layout=layout)
    axes = figure.subplots(3, 1 + len(thresholds), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    draw_terrain(tile, axes[0, 0], axes[1, 0])
    draw_key(axes[2, 0])
    probability, reference, predicted = logits[0].float().sigmoid(), tile.target[0] > 0.5, logits[0] > 0
    for channel, threshold in enumerate(thresholds):
        top, middle, bottom = axes[:, 1 + channel]
        top.set_title(f"gaps below {threshold:g} m", fontsize=9)
        show_classes(top, reference[channel].int(), valid, REFERENCE)
        show(middle, probability[channel], valid, cmap="viridis", vmin=0, vmax=1)
        show_classes(bottom, 2 * reference[channel].int() + predicted[channel].int(), valid, CONFUSION)
    return figure


def draw_terrain(tile: Batch, surface: Axes, canopy: Axes) -> None:
    from matplotlib.colors import LightSource

    valid = tile.valid[0, 0]
    shade = LightSource(azdeg=315, altdeg=45).hillshade(tile.dsm[0, 0].numpy())
    surface.set_title("surface", fontsize=9)
    show(surface, torch.from_numpy(shade), valid, cmap="gray", vmin=0, vmax=1)
    if tile.height is not None:
        height = tile.height[0, 0]
        highest = height[valid].max().item() if valid.any() else 1.0
        canopy.set_title(f"canopy height, to {highest:.0f} m", fontsize=9)
        show(canopy, height, valid, cmap="Greens", vmin=0, vmax=max(highest, 1.0))


def draw_key(ax: Axes) -> None:
    from matplotlib.patches import Patch

    names = {"gap": GAP, **SHORT_AGREEMENT}
    patches: list[Any] = [Patch(facecolor=color, edgecolor="black", label=name) for name, color in names.items()]
    rows = "top: reference\nmiddle: probability, 0 dark to 1 yellow\nbottom: agreement"
    ax.legend(handles=patches, loc="center", fontsize=8, frameon=False, title=rows, title_fontsize=7)


def show(ax: Axes, values: Tensor, valid: Tensor, **settings: Any) -> None:
    ax.imshow(torch.where(valid, values.float(), torch.nan).numpy(), interpolation="nearest", **settings)


def show_classes(ax: Axes, codes: Tensor, valid: Tensor, colors: Sequence[str]) -> None:
    from matplotlib.colors import ListedColormap

    show(ax, codes, valid, cmap=ListedColormap(list(colors)), vmin=0, vmax=len(colors) - 1)
