"""A run on TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from forestgaps_core import hookimpl
from forestgaps_core.errors import printable
from forestgaps_core.tracking import LEGEND, Interval, Showing, weights_and_gradients
from forestgaps_tensorboard.event_file import BoardWriter
from forestgaps_tensorboard.hyperparameters import add_hyperparameters

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.training.trainer import Trainer

CUTS = 127  # of precision-recall curves; the largest number TensorBoard keeps


@frozen(kw_only=True)
class TensorBoardConfig:
    """Logs a run for TensorBoard, in the folder `tensorboard` of the run.

    Scalars: loss, learning rate and gradient norm at intervals, every score at the end of an epoch, a score of one
    height threshold such as `gap_iou@5m` as `gap_iou/5m`. Of the validation: pictures of its first tiles, confusion matrices
    and precision-recall curves for each threshold. At the end, the settings beside the last scores. The axis is completed
    optimizer steps. There is one event file. A resumed run
    continues it from where it was when the checkpoint was written; restart a TensorBoard that was open meanwhile.
    """

    every: int = field(default=50, validator=ge(1), metadata={"help": "Optimizer steps from one point of the loss to the next."})
    images: int = field(default=4, validator=ge(0), metadata={"help": "Tiles of the validation to show; 0: none."})
    confusion: bool = field(default=True, metadata={"help": "Show a confusion matrix for each threshold."})
    curves: bool = field(default=True, metadata={"help": "Show a precision-recall curve for each threshold."})
    images_every: int = field(
        default=1, validator=ge(1), metadata={"help": "Epochs from one set of images, matrices and curves to the next."}
    )
    histograms_every: int = field(
        default=0,
        validator=ge(0),
        metadata={"help": "Epochs from one set of histograms of weights and gradients to the next; 0: none."},
    )
    graph: bool = field(default=False, metadata={"help": "Show the network's graph; takes some seconds at the first validation."})

    def build(self, run_folder: Path) -> TensorBoard:
        return TensorBoard(folder=run_folder / "tensorboard", config=self)


@define(eq=False)
class TensorBoard:
    folder: Path
    config: TensorBoardConfig = field(factory=TensorBoardConfig)
    interval: Interval = field(factory=Interval, init=False)
    showing: Showing | None = field(default=None, init=False)  # of the validation that goes on, if it is to be shown
    inputs: tuple[Tensor, Tensor, Tensor] | None = field(default=None, init=False)  # for the graph
    graph_is_due: bool = field(default=False, init=False)
    writer: BoardWriter | None = field(default=None, init=False)
    file: Mapping[str, Any] | None = field(default=None, init=False)  # of the checkpoint that the run resumes from

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.writer = BoardWriter(str(self.folder), trainer.step + 1 if trainer.step else None, self.file if trainer.step else None)
        self.file = None
        self.graph_is_due = self.config.graph and not trainer.epoch
        if self.config.images and not trainer.step:
            self.writer.add_text("images", LEGEND, 0)

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        self.interval.add(loss)
        if self.writer and trainer.step % self.config.every == 0:
            for name, value in self.interval.read(trainer, "steps").items():
                self.writer.add_scalar(name, value, trainer.step)

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        due = self.writer is not None and split == "validation" and (trainer.epoch + 1) % self.config.images_every == 0
        config = self.config
        wanted = Showing(images=config.images, confusion=config.confusion, curves=config.curves, cuts=CUTS)
        self.showing = wanted if due else None

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        if self.showing is not None:
            self.showing.add(batch, logits)
        if self.graph_is_due and self.inputs is None:
            with torch.inference_mode(False):  # tensors made for inference cannot be traced
                self.inputs = (torch.zeros_like(batch.dsm[:1]), torch.ones_like(batch.valid[:1]), batch.thresholds[:1].clone())

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        showing, self.showing = self.showing, None
        if self.writer:
            if showing is not None:
                self.show(showing, self.writer, trainer.step)
            if self.inputs is not None and self.graph_is_due:
                self.add_graph(trainer, self.writer, self.inputs)

    def show(self, showing: Showing, writer: SummaryWriter, step: int) -> None:
        for name, picture in (*showing.tiles.pictures(), *showing.matrices.pictures()):
            writer.add_image(name, picture, step)
        for metres, cells in showing.lines.confusions():
            tp, fp, tn, fn = (part.double() for part in cells)
            # TensorBoard wants numbers: where nothing is called a gap, or there is none, it is told 0.
            precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
            writer.add_pr_curve_raw(f"gaps_below/{metres:g}m", tp, fp, tn, fn, precision, recall, step, CUTS)

    def add_graph(self, trainer: Trainer, writer: SummaryWriter, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        from forestgaps_tensorboard.graph import graph_event

        self.graph_is_due, self.inputs = False, None
        try:
            file_writer: Any = writer.file_writer  # torch types it as None
            file_writer.add_event(graph_event(trainer.model, inputs))
        except Exception as error:  # torch.export names what it cannot follow by many kinds of errors; none is worth a run
            writer.add_text("graph", f"This network cannot be drawn:\n\n{as_code(str(error))}", trainer.step)

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        if self.writer:
            for name, value in scores.items():
                self.writer.add_scalar(tag(name), value, trainer.step)
            if self.config.histograms_every and trainer.epoch % self.config.histograms_every == 0:
                self.add_histograms(trainer, self.writer)
            self.writer.flush()

    def add_histograms(self, trainer: Trainer, writer: SummaryWriter) -> None:
        for name, finite in weights_and_gradients(trainer.model):
            writer.add_histogram(name, finite, trainer.step)

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        if self.writer:
            config = trainer.about.get("config")
            if config and trainer.scores:
                add_hyperparameters(self.writer, config, {tag(name): value for name, value in trainer.scores.items()})
            writer, self.writer = self.writer, None
            writer.close()

    def state_dict(self) -> dict[str, Any]:
        return {**self.interval.state_dict(), "file": self.writer.state() if self.writer else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.interval.load_state_dict({key: value for key, value in state.items() if key != "file"})
        file = state.get("file")
        self.file = file if isinstance(file, Mapping) else None


def as_code(text: str) -> str:
    """Lines that TensorBoard, which reads texts as Markdown, shows as they are."""
    return "\n".join(f"    {line}" for line in printable(text).splitlines())


def tag(name: str) -> str:
    """A score's name as TensorBoard groups it: `validation/gaps/gap_iou@5m` under `validation/gaps/gap_iou`."""
    return name.replace("@", "/")
