"""The training loop. Callbacks do everything else, such as logs, early stopping and pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import define, field
from attrs.validators import ge, gt, in_
from torch import Tensor, nn

from forestgaps_core.components import Batch, Data, Loss, Metric, Scheduler
from forestgaps_core.contracts import Name, NamedErrors, describe_component
from forestgaps_core.errors import NumbersError
from forestgaps_core.files.checkpoint import load_part, save_checkpoint
from forestgaps_core.runtime.distributed import ALONE, Processes
from forestgaps_core.runtime.environment import Environment, reseed
from forestgaps_core.runtime.rng import seed_of_step
from forestgaps_core.training.batch_iteration import find_batch_weights, group_batches, move_to_device, read_again, skip_to
from forestgaps_core.training.callbacks import Events, label_callbacks
from forestgaps_core.training.checkpoint_requests import CheckpointRequests
from forestgaps_core.training.evaluation_loop import Evaluation
from forestgaps_core.training.forward_pass import ForwardPass
from forestgaps_core.training.logged_values import ValueLog, read_values
from forestgaps_core.training.nonfinite_action import NonfiniteAction, describe_place
from forestgaps_core.training.nonfinite_detection import NonfiniteDetector
from forestgaps_core.training.nonfinite_report import NonfiniteReport, StepPosition, inspect_step
from forestgaps_core.training.optimizer_step import OptimizerStep
from forestgaps_core.training.state import (
    check_resumable,
    evaluated_weights,
    list_further,
    load_network,
    load_state,
    read_plain_state,
    read_state,
)

MakeBatch = Callable[[Any], Batch]
EVALUATION = 1  # another stream of random numbers than the step's own
log = logging.getLogger("forestgaps")


def return_batch(batch: Any) -> Any:
    return batch


def constant_rate(step: int) -> float:
    return 1.0


class InterruptedPassError(Exception):
    """A pass over a split was left because the run is to be saved and ended."""


@define(eq=False, kw_only=True)
class Trainer:
    """Fits a network, step by step; resumes bit for bit from what `state_dict` holds.

    Callbacks may read every attribute, and call `stop` and `checkpoint`.

    Attributes:
        model: Called as (dsm, valid, thresholds); returns logits (B, K, H, W).
        loss: Needed to train, not to evaluate.
        scheduler: Factor on the optimizer's learning rates by completed step.
        metrics: For each label a function that makes a new metric for one pass.
        callbacks: By label, or a list (labeled by class name); in the order in which they receive events.
        further: Components of the kinds that plugins declare, by kind; where there may be several, by label. They are not trained.
            Those with a `state_dict` keep it in checkpoints.
        make_train_batch: Makes a training `Batch`, on the device, of what the training loader yields.
        make_evaluation_batch: The same for validation, test and prediction.
        accumulate: Batches to an optimizer step.
        max_gradient_norm: Gradients are scaled down to this norm; inf leaves them.
        max_gradient_value: Each gradient value is clipped to this size; inf leaves them.
        nonfinite: What to do at a step whose loss or gradient is not finite: "stop" the run, its weights as they were before the
            step, or "skip" the step and go on.
        check_every: Steps from one look at that to the next; also looked at before each checkpoint and at the end of each epoch.
        callback_errors: What to do when a callback fails: "stop" the run, or "continue" and report it once. A disk that fails
            a callback never stops the run.
        check_changes: Whether to fail if a callback changes something that it does not declare; slow, for `config check`.
        processes: Those of the run; a training batch is this one's share of the whole batch.
        faults: Folder for what bad steps were made of; None keeps nothing.
        about: Plain values that go into every checkpoint (the resolved config, versions).
        data: What the loaders read from, for callbacks that look at it.
        last: Where `fit` leaves a checkpoint when it ends without an error, just before `fit_end`.
        epoch: Completed epochs.
        batch: Batches of the current epoch that are done.
        step: Completed optimizer steps.
        gradient_norm: Of the last step before clipping to it, on the device; None before the first step.
        stopped: Why training stopped before its end, or None.
        scores: Of the last epoch completed by this object.
        unwritten: Checkpoints asked for that the disk did not take; reported once, and removed when a later write succeeds.
    """

    model: nn.Module
    loss: Loss | None = None
    optimizer: torch.optim.Optimizer | None = None
    scheduler: Scheduler = constant_rate
    metrics: Mapping[str, Callable[[], Metric]] = field(factory=dict)
    callbacks: Mapping[str, object] | Sequence[object] = ()
    further: Mapping[str, Any] = field(factory=dict)
    make_train_batch: MakeBatch = return_batch
    make_evaluation_batch: MakeBatch = return_batch
    environment: Environment = field(factory=Environment)
    accumulate: int = field(default=1, validator=ge(1))
    max_gradient_norm: float = field(default=1.0, validator=gt(0))
    max_gradient_value: float = field(default=inf, validator=gt(0))
    nonfinite: Literal["stop", "skip"] = field(default="stop", validator=in_(("stop", "skip")))
    check_every: int = field(default=50, validator=ge(1))
    callback_errors: Literal["stop", "continue"] = field(default="stop", validator=in_(("stop", "continue")))
    processes: Processes = ALONE
    check_changes: bool = False
    faults: Path | None = None
    about: Mapping[str, Any] = field(factory=dict)
    last: Path | None = None
    data: Data | None = None

    device: torch.device = field(init=False)
    events: Events = field(init=False)
    _evaluated_weights: Mapping[str, str] | None = field(init=False)
    epochs: int = field(default=0, init=False)
    steps_per_epoch: int | None = field(default=None, init=False)
    epoch: int = field(default=0, init=False)
    batch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    gradient_norm: Tensor | None = field(default=None, init=False)
    stopped: str | None = field(default=None, init=False)
    scores: dict[str, float] = field(factory=dict, init=False)
    _stopped_for_good: bool = field(default=False, init=False)
    _values: ValueLog = field(init=False)
    _forward: ForwardPass = field(init=False)
    _optimizer_step: OptimizerStep = field(init=False)
    _nonfinite_action: NonfiniteAction = field(init=False)
    _loss_sum: Tensor = field(init=False)
    _checkpoints: CheckpointRequests = field(factory=CheckpointRequests, init=False)
    _train: Iterable[Any] = field(default=(), init=False)
    _fitting: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device)
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        if isinstance(self.loss, nn.Module):
            self.loss.to(self.device)
        self._values = ValueLog(self.device)
        self._forward = ForwardPass(self.model, self.loss, self.environment, self.device, self._values, self._named)
        watch = NonfiniteDetector(self.device, skip=self.nonfinite == "skip")
        self._optimizer_step = OptimizerStep(
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            scheduler_errors=NamedErrors(self._named("scheduler", self.scheduler)),
            optimizer_errors=NamedErrors(self._named("optimizer", self.optimizer)),
            watch=watch,
            scaler=torch.amp.GradScaler(self.device.type, enabled=self.environment.precision == "16"),
        )
        self._nonfinite_action = NonfiniteAction(watch=watch, folder=self.faults, processes=self.processes)
        self._loss_sum = self._zero()
        self.callbacks = label_callbacks(self.callbacks)
        self.events = Events(
            self.callbacks,
            on_error=self.callback_errors,
            owner=self._named,
            changing_only=not self.processes.first,
            check=self.check_changes,
        )
        self._evaluated_weights = evaluated_weights(self.callbacks)

    def _named(self, place: str, thing: object) -> Name:
        return describe_component(self.about.get("components"), place, thing)

    # --- what callbacks may ask -------------------------------------------------------------------------------------

    def stop(self, reason: str, *, final: bool = True) -> None:
        """Leave the loop after the current step. `final=False`: a resumed run continues from here."""
        self.stopped, self._stopped_for_good = reason, final

    def checkpoint(self, path: Path) -> None:
        """Ask for a checkpoint. It is written after every callback has received the current event, so that it holds the
        state of all of them.
        """
        self._checkpoints.add(path)

    def log(self, name: str, value: float | Tensor) -> None:
        """Log a number, or a detached tensor of shape () on the device; see `TrainerView.log`."""
        self._values.log(name, value, self.events.describe_receiver())

    def forget_nonfinite(self) -> None:
        """Weights of an earlier step were put back: what was not finite since then is no fault any more."""
        self._nonfinite_action.forget(self._now())

    def _now(self) -> StepPosition:
        return StepPosition(step=self.step, epoch=self.epoch, batch=self.batch)

    @property
    def logged(self) -> Mapping[str, float | Tensor]:
        return self._values.step.means()

    @property
    def unwritten(self) -> set[Path]:
        return self._checkpoints.unwritten

    @property
    def total_steps(self) -> int | None:
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs

    @property
    def rate(self) -> float:
        """The learning rate of the optimizer's first group at the current step."""
        return self._optimizer_step.rate(self.step)

    # --- training ---------------------------------------------------------------------------------------------------

    def fit(self, train: Iterable[Any], validation: Iterable[Any] | None = None, *, epochs: int) -> None:
        """Train until `epochs` epochs are complete, counting those before a resume.

        Args:
            train: Batches on the CPU. With a method `seek(epoch, batch)` a resume in the middle of an epoch is exact and reads
                nothing twice; without it, the batches already done are read and left.
            validation: Batches to evaluate after each epoch.
        """
        if self.loss is None or self.optimizer is None:
            raise ValueError("Trainer.fit needs a loss and an optimizer")
        self.epochs = epochs
        self.steps_per_epoch = -(-len(train) // self.accumulate) if isinstance(train, Sized) else None
        self._train, self._fitting = train, True
        self.forget_nonfinite()
        try:
            self.events.fit_start(trainer=self)
            while self.epoch < epochs and self.stopped is None:
                if self._train_epoch(train):
                    self._finish_epoch(validation)
            self._check_numbers()
            if self.last is not None and self.processes.first:
                save_checkpoint(self.last, self.state_dict())
        except BaseException as error:
            self._fitting = False
            try:
                self.events.fit_end(trainer=self)
            except Exception as another:  # must not hide the first
                error.add_note(f"then, at fit_end: {another}")
            raise
        self._fitting = False
        self.events.fit_end(trainer=self)

    def _train_epoch(self, train: Iterable[Any]) -> bool:
        """Train to the end of the epoch, or until asked to stop; says whether the epoch is complete."""
        self.model.train()
        self.events.epoch_start(trainer=self)
        batches = move_to_device(skip_to(train, self.epoch, self.batch), self.device)
        with self._values.collect("train", self._values.step):
            for group in group_batches(batches, self.accumulate):
                loss = self.train_step(group)
                self._loss_sum += loss if self.nonfinite == "stop" else loss.nan_to_num(0.0, 0.0, 0.0)
                self.batch += len(group)
                self.step += 1
                self.events.step_end(trainer=self, loss=loss)
                self._values.end_step()
                self._agree()
                if self.step % self.check_every == 0:
                    self._check_numbers()
                self._write_checkpoints()
                if self.stopped is not None:
                    return False
        return True

    def _finish_epoch(self, validation: Iterable[Any] | None) -> None:
        self._check_numbers()
        steps = -(-self.batch // self.accumulate)
        # With the watch, the only waits for the device in an epoch of training.
        scores = {"train/loss": (self._loss_sum / steps).item() if steps else nan, "train/rate": self.rate}
        scores |= read_values({f"train/{name}": value for name, value in self._values.epoch.means().items()})
        if validation is not None:
            try:
                scores |= self.evaluate(validation)
            except InterruptedPassError:
                return  # the epoch is not complete: resumed, the run begins its validation again
        scores = self.processes.of_first(scores)
        if validation is not None and hasattr(self.scheduler, "observe"):
            self.scheduler.observe(scores)
        self.epoch, self.batch, self._loss_sum, self.scores = self.epoch + 1, 0, self._zero(), scores
        self._values.epoch.clear()
        self._nonfinite_action.since = self._now()
        with self._values.collect("train", scores):
            self.events.epoch_end(trainer=self, scores=scores)
        self._write_checkpoints()

    def _agree(self) -> None:
        """What one process was asked to stop for, all do."""
        if self.processes.count > 1:
            before, self.stopped = self.stopped, self.processes.any_of(self.stopped)
            if before is None and self.stopped is not None:
                self._stopped_for_good = False
            self._stopped_for_good = self.processes.of_first(self._stopped_for_good) if self.stopped else False

    def train_step(self, group: Sequence[Any]) -> Tensor:
        """One optimizer step on these batches; their mean loss, a scalar on the device."""
        self._optimizer_step.set_rates(self.step)
        self.events.step_start(trainer=self)
        reseed(self.device, seed_of_step(self.environment.seed, self.step))
        self._optimizer_step.forget_gradients()
        statistics = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if self.nonfinite == "skip" else ()
        losses: list[Tensor] = []
        weights = find_batch_weights(self._train, self.batch, len(group), self.processes)
        for batch, weight in zip(map(self.make_train_batch, group), weights, strict=True):
            loss = self._compute_loss(self._forward.compute_logits(batch), batch, "train")
            if weight != 1:
                loss = loss * weight
            self._optimizer_step.backward(loss)
            losses.append(loss.detach())
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if self.processes.count > 1:
            self.processes.sum([total, *self._optimizer_step.gradients()])
        self._optimizer_step.unscale()
        self.events.backward_end(trainer=self)
        bad, self.gradient_norm = self._optimizer_step.apply(
            total, max_norm=self.max_gradient_norm, max_value=self.max_gradient_value
        )
        for buffer, before in statistics:
            buffer.copy_(torch.where(bad > 0, before, buffer))
        return total

    def _compute_loss(self, logits: Tensor, batch: Batch, split: str) -> Tensor:
        return self._forward.compute_loss(logits, batch, split=split, position=self._position)

    def _position(self) -> dict[str, int | None]:
        return {"step": self.step, "epoch": self.epoch, "total_steps": self.total_steps}

    def _check_numbers(self) -> None:
        self._nonfinite_action.check(self._now(), self.accumulate, self._looked_at)

    def _looked_at(self, moment: StepPosition) -> NonfiniteReport:
        """The step's batches made again, if the loader can, and taken apart."""
        tiles = read_again(self._train, moment, self.accumulate)
        if not tiles:
            return NonfiniteReport(moment=moment)
        place = describe_place(self._train, tiles)
        self.model.train()
        reseed(self.device, seed_of_step(self.environment.seed, moment.step))
        batches = [self.make_train_batch(part.to(self.device)) for part in tiles]
        position = {"step": moment.step, "epoch": moment.epoch, "total_steps": self.total_steps}
        loss = partial(self._forward.compute_loss, split="train", position=lambda: position)
        with self._values.collect("", None):
            return inspect_step(batches, moment, self.model, self._forward.compute_logits, loss, place)

    # --- evaluation and prediction ----------------------------------------------------------------------------------

    def evaluate(self, batches: Iterable[Any], split: str = "validation") -> dict[str, float]:
        """Scores named `split/label/value`, and `split/loss`, the mean over batches."""
        seen = Evaluation(split, self.metrics, self._named)
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
                    if self.processes.count == 1 and self._fitting and self.stopped is not None and not self._stopped_for_good:
                        self.events.evaluation_end(trainer=self, split=split, scores={}, metrics={})
                        raise InterruptedPassError
                scores = seen.scores(self.processes)
        if sentence := seen.describe_nonfinite(getattr(batches, "source", None)):
            if not self._fitting:
                raise NumbersError(f"{sentence}; look at these tiles, or use a checkpoint of before")
            log.warning("%s", sentence)
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

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-identical continuation needs, at the border of a step. Plain values and tensors only.

        No state of a generator: torch's own restarts in each step, from (seed, step).
        """
        return {
            "about": dict(self.about),
            "position": {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "stopped": self.stopped if self._stopped_for_good else None,
            },
            "model": self.model.state_dict(),
            "evaluated_weights": self._evaluated_weights,
            "loss": read_state(self.loss),
            "loss_sum": self._loss_sum,
            "logged": self._values.epoch.state_dict(),
            **self._optimizer_step.state_dict(),
            "callbacks": {
                label: read_plain_state(callback, self._named(f"callbacks.{label}", callback))
                for label, callback in self.events.callbacks.items()
            },
            **({"further": self._read_further()} if self.further else {}),
        }

    def _read_further(self) -> dict[str, Any]:
        return {place: read_plain_state(part, self._named(place, part)) for place, part in list_further(self.further).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with the model, loss, optimizer, schedule and callbacks it was made with.

        Raises:
            CheckpointError: The state belongs to something else.
        """
        load_network(self.model, state["model"])
        check_resumable(state, self.events.callbacks, self.further)
        load_part("loss", partial(load_state, self.loss), state["loss"])
        self._optimizer_step.load_state_dict(state)
        for label, callback in self.events.callbacks.items():
            load_part(f"callback {label!r}", partial(load_state, callback), state["callbacks"][label])
        for place, part in list_further(self.further).items():
            load_part(place, partial(load_state, part), state["further"][place])
        load_part("sum of losses", self._loss_sum.copy_, state["loss_sum"])
        load_part("logged values", self._values.epoch.load_state_dict, state.get("logged") or {"sums": {}, "counts": {}})
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self.stopped, self._stopped_for_good = position["stopped"], position["stopped"] is not None
        self.forget_nonfinite()

    def _write_checkpoints(self) -> None:
        if not self.processes.first:
            self._checkpoints.paths.clear()
        if self._checkpoints.paths and self.processes.count == 1:  # several look at intervals, all of them at once
            self._check_numbers()
        self._checkpoints.write(self.state_dict)

    def _zero(self) -> Tensor:
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        return torch.zeros((), dtype=wide, device=self.device)
