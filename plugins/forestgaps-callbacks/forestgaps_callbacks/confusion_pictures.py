"""Confusion of gap and canopy as pictures, after each validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor

from forestgaps_callbacks.drawing import require_matplotlib, write_figure
from forestgaps_core import hookimpl
from forestgaps_core.tracking import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class ConfusionPicturesConfig:
    """Draws the confusion matrix of each threshold to `LABEL/epoch-0003.png` in the run folder.

    Rows are what the survey says, columns what the network says (gap where the logit is above 0). Each cell has its
    pixels, and as lightness and percentage their share of the row; a row without any pixel is empty. Needs matplotlib.
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
    matrices: Confusion = field(factory=Confusion, init=False)  # of the validation that goes on

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        self.due = split == "validation" and (trainer.epoch + 1) % self.every == 0
        self.matrices = Confusion()

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        if self.due:
            self.matrices.add(batch, logits)

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        counts, thresholds = self.matrices.counts, self.matrices.thresholds
        if counts is not None and thresholds is not None:
            figure = confusion_figure(counts.cpu(), thresholds.tolist())
            write_figure(figure, self.folder / f"epoch-{trainer.epoch + 1:04d}.png")


def confusion_figure(counts: Tensor, thresholds: Sequence[float]) -> Figure:
    """A matrix for each threshold. Counts (K, 2, 2) [threshold, surveyed gap, predicted gap], on the CPU."""
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
            text = f"{counts[place, row, column].item():,}" + (f"\n{100 * share:.1f} %" if share == share else "")
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "black")
    return figure
