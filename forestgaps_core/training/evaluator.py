"""Evaluate a network on a split, and predict with it. `Trainer` adds training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Literal

import torch
from attrs import define, field
from attrs.validators import in_
from torch import Tensor, nn

from forestgaps_core.components import Batch, Data, Loss, Metric
from forestgaps_core.contracts import Name, describe_component
from forestgaps_core.errors import NumbersError
from forestgaps_core.runtime.distributed import ALONE, Processes
from forestgaps_core.runtime.environment import Environment, reseed
from forestgaps_core.runtime.rng import seed_of_step
from forestgaps_core.training.batch_iteration import move_to_device
from forestgaps_core.training.callbacks import Events, label_callbacks
from forestgaps_core.training.evaluation_loop import Evaluation
from forestgaps_core.training.forward_pass import ForwardPass
from forestgaps_core.training.logged_values import ValueLog

MakeBatch = Callable[[Any], Batch]
EVALUATION = 1  # another stream of random numbers than that of the training step
log = logging.getLogger("forestgaps")


def return_batch(batch: Any) -> Any:
    return batch


class InterruptedPassError(Exception):
    """A pass over a split was left because the run is to be saved and ended."""


@define(eq=False, kw_only=True)
class Evaluator:
    """Evaluates a network and predicts with it.

    Attributes:
        model: Called as (dsm, valid, thresholds); returns logits (B, K, H, W).
        loss: Optional here; a pass then has a score `SPLIT/loss`.
        metrics: For each label a function that makes a new metric for one pass.
        callbacks: By label, or a list (labeled by class name); in the order in which they receive events.
        make_evaluation_batch: Makes a `Batch`, on the device, of what the loader of validation, test or prediction yields.
        callback_errors: What to do when a callback fails: "stop" the run, or "continue" and report it once. A disk that fails
            a callback never stops the run.
        check_changes: Whether to fail if a callback changes something that it does not declare; slow, for `config check`.
        processes: Those of the run; in training, a batch is the share of this process.
        about: Plain values that go into every checkpoint (the resolved config, versions).
        data: What the loaders read from, for callbacks that look at it.
        epochs: Epochs of the whole run.
        epoch: Completed epochs.
        step: Completed optimizer steps.
    """

    model: nn.Module
    loss: Loss | None = None
    metrics: Mapping[str, Callable[[], Metric]] = field(factory=dict)
    callbacks: Mapping[str, object] | Sequence[object] = ()
    make_evaluation_batch: MakeBatch = return_batch
    environment: Environment = field(factory=Environment)
    callback_errors: Literal["stop", "continue"] = field(default="stop", validator=in_(("stop", "continue")))
    check_changes: bool = False
    processes: Processes = ALONE
    about: Mapping[str, Any] = field(factory=dict)
    data: Data | None = None

    device: torch.device = field(init=False)
    events: Events = field(init=False)
    epochs: int = field(default=0, init=False)
    steps_per_epoch: int | None = field(default=None, init=False)
    epoch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    _values: ValueLog = field(init=False)
    _forward: ForwardPass = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device)
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        if isinstance(self.loss, nn.Module):
            self.loss.to(self.device)
        self._values = ValueLog(self.device)
        self._forward = ForwardPass(self.model, self.loss, self.environment, self.device, self._values, self._describe)
        self.callbacks = label_callbacks(self.callbacks)
        self.events = Events(
            self.callbacks,
            on_error=self.callback_errors,
            owner=self._describe,
            changing_only=not self.processes.first,
            check=self.check_changes,
        )

    def _describe(self, place: str, thing: object) -> Name:
        return describe_component(self.about.get("components"), place, thing)

    # --- what callbacks may ask -------------------------------------------------------------------------------------

    def log(self, name: str, value: float | Tensor) -> None:
        """Log a number, or a detached tensor of shape () on the device; see `TrainerView.log`."""
        self._values.log(name, value, self.events.describe_receiver())

    @property
    def logged(self) -> Mapping[str, float | Tensor]:
        return self._values.step.means()

    @property
    def total_steps(self) -> int | None:
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs

    # --- passes over a split ----------------------------------------------------------------------------------------

    def evaluate(self, batches: Iterable[Any], split: str = "validation") -> dict[str, float]:
        """Scores named `split/label/value`, and `split/loss`, the mean over batches."""
        seen = Evaluation(split, self.metrics, self._describe)
        self.model.eval()
        self.processes.follow_first(self.model)
        reseed(self.device, seed_of_step(self.environment.seed, self.step, EVALUATION))
        count = len(batches) if isinstance(batches, Sized) else None
        with self._values.collect(split, seen.values):
            self.events.evaluation_start(trainer=self, split=split, batches=count)
            with torch.inference_mode():
                for batch in map(self.make_evaluation_batch, move_to_device(batches, self.device)):
                    logits = self._forward.compute_logits(batch)
                    seen.update(logits, batch, self._compute_loss(logits, batch, split) if self.loss is not None else None)
                    self.events.evaluation_batch(trainer=self, split=split, batch=batch, logits=logits)
                    if self._is_interrupted():
                        self.events.evaluation_end(trainer=self, split=split, scores={}, metrics={})
                        raise InterruptedPassError
                scores = seen.scores(self.processes)
        if sentence := seen.describe_nonfinite(getattr(batches, "source", None)):
            self._report_nonfinite(sentence)
        with self._values.collect(split, scores):
            self.events.evaluation_end(trainer=self, split=split, scores=scores, metrics=seen.metrics)
        return scores

    def validate(self, batches: Iterable[Any]) -> dict[str, float]:
        return self.evaluate(batches, "validation")

    def test(self, batches: Iterable[Any]) -> dict[str, float]:
        return self.evaluate(batches, "test")

    def predict(self, batches: Iterable[Any]) -> Iterator[Tensor]:
        """Gap probabilities (B, K, H, W) in float32, on the device, batch by batch."""
        self.model.eval()
        with torch.inference_mode():
            for batch in map(self.make_evaluation_batch, move_to_device(batches, self.device)):
                yield self._forward.compute_logits(batch).sigmoid()

    def _is_interrupted(self) -> bool:
        """Return whether to leave the pass after this batch."""
        return False

    def _report_nonfinite(self, sentence: str) -> None:
        raise NumbersError(f"{sentence}; look at these tiles, or use a checkpoint of before")

    def _compute_loss(self, logits: Tensor, batch: Batch, split: str) -> Tensor:
        return self._forward.compute_loss(logits, batch, split=split, position=self._position)

    def _position(self) -> dict[str, int | None]:
        return {"step": self.step, "epoch": self.epoch, "total_steps": self.total_steps}
