"""A run on TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from attrs import define, field, frozen
from attrs.validators import ge
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from forestgaps_core import hookimpl
from forestgaps_tensorboard.confusion import Confusion
from forestgaps_tensorboard.curves import Curves
from forestgaps_tensorboard.hyperparameters import add_hyperparameters
from forestgaps_tensorboard.pictures import LEGEND, Pictures

if TYPE_CHECKING:
    from forestgaps_core import Batch
    from forestgaps_core.trainer import Trainer


@frozen(kw_only=True)
class TensorBoardConfig:
    """Logs a run for TensorBoard, in the folder `tensorboard` of the run.

    Scalars: loss, learning rate and gradient norm at intervals, every score at the end of an epoch, a score of one
    height threshold such as `gap_iou@5m` as `gap_iou/5m`. Of the validation: pictures of its first tiles, confusion matrices
    and precision-recall curves for each threshold. At the end, the settings beside the last scores. The axis is completed
    optimizer steps. Resuming hides what was logged after the step it resumes from.
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


class Gatherer(Protocol):
    """Gathers on the device what is shown of a validation."""

    def add(self, batch: Batch, logits: Tensor) -> None: ...

    def write(self, writer: SummaryWriter, step: int) -> None: ...


@define(eq=False)
class TensorBoard:
    folder: Path
    config: TensorBoardConfig = field(factory=TensorBoardConfig)
    total: Tensor | None = field(default=None, init=False)  # of the losses since the last point
    steps: int = field(default=0, init=False)
    gatherers: list[Gatherer] = field(factory=list, init=False)
    inputs: tuple[Tensor, Tensor, Tensor] | None = field(default=None, init=False)  # for the graph
    graph_is_due: bool = field(default=False, init=False)
    writer: SummaryWriter | None = field(default=None, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)
        self.graph_is_due = self.config.graph and not trainer.epoch
        if self.config.images and not trainer.step:
            self.writer.add_text("images", LEGEND, 0)

    @hookimpl
    def step_end(self, trainer: Trainer, loss: Tensor) -> None:
        # After a resume the sum so far comes from the checkpoint, on the CPU.
        self.total = loss if self.total is None else self.total.to(loss.device) + loss
        self.steps += 1
        if self.writer and trainer.step % self.config.every == 0:
            norm = trainer.gradient_norm
            on_device = [self.total / self.steps] if norm is None else [self.total / self.steps, norm.to(self.total)]
            names = ("steps/loss", "steps/gradient_norm")
            for name, value in zip(names, torch.stack(on_device).tolist(), strict=False):  # waits for the device once
                self.writer.add_scalar(name, value, trainer.step)
            self.writer.add_scalar("steps/rate", trainer.rate, trainer.step)
            self.total, self.steps = None, 0

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        due = self.writer is not None and split == "validation" and (trainer.epoch + 1) % self.config.images_every == 0
        self.gatherers = list(self.wanted()) if due else []

    def wanted(self) -> Iterator[Gatherer]:
        if self.config.images:
            yield Pictures(self.config.images)
        if self.config.confusion:
            yield Confusion()
        if self.config.curves:
            yield Curves()

    @hookimpl
    def evaluation_batch(self, batch: Batch, logits: Tensor) -> None:
        for gatherer in self.gatherers:
            gatherer.add(batch, logits)
        if self.graph_is_due and self.inputs is None:
            with torch.inference_mode(False):  # tensors made for inference cannot be traced
                self.inputs = (torch.zeros_like(batch.dsm[:1]), torch.ones_like(batch.valid[:1]), batch.thresholds[:1].clone())

    @hookimpl
    def evaluation_end(self, trainer: Trainer) -> None:
        if self.writer:
            for gatherer in self.gatherers:
                gatherer.write(self.writer, trainer.step)
            self.gatherers.clear()
            if self.inputs is not None and self.graph_is_due:
                self.add_graph(trainer, self.writer, self.inputs)

    def add_graph(self, trainer: Trainer, writer: SummaryWriter, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        from forestgaps_tensorboard.graph import graph_event

        self.graph_is_due, self.inputs = False, None
        try:
            file_writer: Any = writer.file_writer  # torch types it as None
            file_writer.add_event(graph_event(trainer.model, inputs))
        except Exception as error:  # torch.export names what it cannot follow by many kinds of errors; none is worth a run
            writer.add_text("graph", f"This network cannot be drawn: {error}", trainer.step)

    @hookimpl
    def epoch_end(self, trainer: Trainer, scores: Mapping[str, float]) -> None:
        if self.writer:
            for name, value in scores.items():
                self.writer.add_scalar(tag(name), value, trainer.step)
            if self.config.histograms_every and trainer.epoch % self.config.histograms_every == 0:
                self.add_histograms(trainer, self.writer)
            self.writer.flush()

    def add_histograms(self, trainer: Trainer, writer: SummaryWriter) -> None:
        for name, parameter in trainer.model.named_parameters():
            for what, values in (("weights", parameter), ("gradients", parameter.grad)):
                finite = None if values is None else values.detach()[values.isfinite()]
                if finite is not None and finite.numel():
                    writer.add_histogram(f"{what}/{name}", finite, trainer.step)

    @hookimpl
    def fit_end(self, trainer: Trainer) -> None:
        if self.writer:
            config = trainer.about.get("config")
            if config and trainer.scores:
                add_hyperparameters(self.writer, config, {tag(name): value for name, value in trainer.scores.items()})
            self.writer.close()
            self.writer = None

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total, self.steps = state["total"], state["steps"]


def tag(name: str) -> str:
    """A score's name as TensorBoard groups it: `validation/gaps/gap_iou@5m` under `validation/gaps/gap_iou`."""
    return name.replace("@", "/")
