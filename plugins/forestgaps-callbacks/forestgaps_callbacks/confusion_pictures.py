"""Pictures of confusion matrices, after each validation."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor

from forestgaps_callbacks.drawing import require_matplotlib, write_figure
from forestgaps_core import hookimpl
from forestgaps_tracking.confusion import ConfusionMatrices, format_cell
from forestgaps_tracking.validation_plots import is_validation_due

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class ConfusionPicturesConfig:
    """Draws the confusion matrix of each threshold to `LABEL/epoch-0003.png` in the run folder.

    Rows are the reference, columns the prediction (gap where the logit is above 0). A cell shows its number of pixels and, as
    darkness and percentage, their share of the row. A row without pixels has no shares. Requires matplotlib.
    """

    every: int = field(default=1, validator=ge(1), metadata={"help": "Epochs from one picture to the next."})

    def build(self, run_folder: Path, label: str) -> ConfusionPictures:
        require_matplotlib(label)
        return ConfusionPictures(folder=run_folder / label, every=self.every)


@define(eq=False)
class ConfusionPictures:
    folder: Path
    every: int = 1
    due: bool = field(default=False, init=False)
    matrices: ConfusionMatrices = field(factory=ConfusionMatrices, init=False)  # of the current validation

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        self.due = is_validation_due(trainer, split, self.every)
        self.matrices = ConfusionMatrices()

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        if self.due:
            self.matrices.add(batch, logits)

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        counts, thresholds = self.matrices.counts, self.matrices.thresholds
        if counts is not None and thresholds is not None:
            figure = draw_confusion_figure(counts.cpu(), thresholds.tolist())
            write_figure(figure, self.folder / f"epoch-{trainer.epoch + 1:04d}.png")


def draw_confusion_figure(counts: Tensor, thresholds: Sequence[float]) -> Figure:
    """Return a figure with a matrix for each height threshold. Counts as of `count_confusion`, (K, 2, 2) on the CPU."""
    from matplotlib.figure import Figure

    shares = counts / counts.sum(-1, keepdim=True)  # NaN in a row without pixels
    figure = Figure(figsize=(2.4 * len(thresholds) + 0.6, 2.9), layout="constrained")
    for place, ax in enumerate(figure.subplots(1, len(thresholds), squeeze=False)[0]):
        ax.imshow(shares[place].numpy(), cmap="Greys", vmin=0, vmax=1)
        ax.set_title(f"gaps below {thresholds[place]:g} m", fontsize=9)
        ax.set_xticks([0, 1], ["canopy", "gap"])
        ax.set_yticks([0, 1], ["canopy", "gap"] if place == 0 else ["", ""])
        ax.set_xlabel("predicted")
        if place == 0:
            ax.set_ylabel("surveyed")
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = shares[place, row, column].item()
            text = format_cell(int(counts[place, row, column]), None if isnan(share) else share)
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "black")
    return figure
