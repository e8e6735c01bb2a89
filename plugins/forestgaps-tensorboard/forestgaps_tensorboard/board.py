"""A run on TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from forestgaps_core import hookimpl
from forestgaps_core.errors import printable
from forestgaps_tensorboard.event_file import BoardWriter
from forestgaps_tensorboard.hyperparameters import add_hyperparameters
from forestgaps_tracking.pictures import LEGEND
from forestgaps_tracking.tracker import Tracker, TrackerSettings
from forestgaps_tracking.validation_plots import ValidationPlots
from forestgaps_tracking.weights import iterate_weights

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer

MAX_LEVELS = 127  # of precision-recall curves; the largest number TensorBoard keeps


@frozen(kw_only=True)
class TensorBoardConfig(TrackerSettings):
    """Logs a run for TensorBoard, in the folder `tensorboard` of the run.

    Scalars: loss, learning rate and gradient norm at intervals, every score at the end of an epoch, a score of one
    height threshold such as `gap_iou@5m` as `gap_iou/5m`. Of the validation: pictures of its first tiles, confusion matrices
    and precision-recall curves for each threshold. At the end, the settings beside the last scores. The axis is completed
    optimizer steps. There is one event file. A resumed run
    continues it from where it was when the checkpoint was written; restart a TensorBoard that was open meanwhile.
    """

    histograms_every: int = field(
        default=0,
        validator=ge(0),
        metadata={"help": "Epochs from one set of histograms of weights and gradients to the next; 0: none."},
    )
    graph: bool = field(default=False, metadata={"help": "Show the network's graph; takes some seconds at the first validation."})

    def build(self, run_folder: Path) -> TensorBoard:
        return TensorBoard(folder=run_folder / "tensorboard", config=self)


@define(eq=False)
class TensorBoard(Tracker):
    levels: ClassVar[int] = MAX_LEVELS

    folder: Path
    config: TensorBoardConfig = field(factory=TensorBoardConfig)
    inputs: tuple[Tensor, Tensor, Tensor] | None = field(default=None, init=False)  # for the graph
    layers: dict[str, Tensor] = field(factory=dict, init=False)  # likewise
    graph_is_due: bool = field(default=False, init=False)
    writer: BoardWriter | None = field(default=None, init=False)
    file: Mapping[str, Any] | None = field(default=None, init=False)  # of the checkpoint that the run resumes from

    def open(self, trainer: Trainer) -> None:
        self.writer = BoardWriter(str(self.folder), trainer.step + 1 if trainer.step else None, self.file if trainer.step else None)
        self.file = None
        self.graph_is_due = self.config.graph and not trainer.epoch
        if self.config.images and not trainer.step:
            self.writer.add_text("images", LEGEND, 0)

    def log_scalars(self, values: Mapping[str, float], step: int, *, end_of_epoch: bool) -> None:
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(format_tag(name), value, step)

    @hookimpl(trylast=True)
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        super().epoch_end(trainer, scores)
        if self.writer:
            if self.config.histograms_every and trainer.epoch % self.config.histograms_every == 0:
                for name, values in iterate_weights(trainer.model):
                    self.writer.add_histogram(name, values, trainer.step)
            self.writer.flush()

    def log_plots(self, plots: ValidationPlots, step: int) -> None:
        if self.writer:
            for name, picture in plots.draw():
                self.writer.add_image(name, picture, step)
            for meters, cells in plots.precision_recall.iterate_counts():
                tp, fp, tn, fn = (part.double() for part in cells)
                # TensorBoard needs finite numbers: 0 where no pixel is called a gap, or no pixel is one.
                precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
                self.writer.add_pr_curve_raw(f"gaps_below/{meters:g}m", tp, fp, tn, fn, precision, recall, step, self.levels)

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        super().evaluation_batch(batch, logits)
        if self.graph_is_due and self.inputs is None:
            with torch.inference_mode(False):  # tensors made for inference cannot be traced
                self.inputs = (torch.zeros_like(batch.dsm[:1]), torch.ones_like(batch.valid[:1]), batch.thresholds[:1].clone())
                self.layers = {name: torch.zeros_like(layer[:1]) for name, layer in batch.layers.items()}

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        super().evaluation_end(trainer)
        if self.writer and self.inputs is not None and self.graph_is_due:
            self.add_graph(trainer, self.writer, self.inputs)

    def add_graph(self, trainer: Trainer, writer: SummaryWriter, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        from forestgaps_tensorboard.graph import make_graph_event

        self.graph_is_due, self.inputs = False, None
        try:
            file_writer: Any = writer.file_writer  # torch types it as None
            file_writer.add_event(make_graph_event(trainer.model, inputs, self.layers))
        except Exception as error:  # torch.export raises many kinds of errors for what it cannot follow; none stops a run
            writer.add_text("graph", f"This network cannot be drawn:\n\n{format_as_code(str(error))}", trainer.step)

    def close(self, trainer: Trainer, *, failed: bool) -> None:
        if self.writer:
            config = trainer.about.get("config")
            if config and trainer.scores:
                add_hyperparameters(self.writer, config, {format_tag(name): value for name, value in trainer.scores.items()})
            writer, self.writer = self.writer, None
            writer.close()

    def state_dict(self) -> dict[str, Any]:
        return {**self.interval.state_dict(), "file": self.writer.state() if self.writer else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.interval.load_state_dict(state)
        file = state.get("file")
        self.file = file if isinstance(file, Mapping) else None


def format_as_code(text: str) -> str:
    """Return text that TensorBoard shows unchanged. It reads texts as Markdown."""
    return "\n".join(f"    {line}" for line in printable(text).splitlines())


def format_tag(name: str) -> str:
    """Return the name under which TensorBoard groups a score: `validation/gaps/gap_iou/5m` for `validation/gaps/gap_iou@5m`."""
    return name.replace("@", "/")
