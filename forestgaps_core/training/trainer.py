"""The training loop. Callbacks do everything else, such as logs, early stopping and pictures."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import define, field
from attrs.validators import ge, gt, in_
from torch import Tensor

from forestgaps_core.components import Scheduler
from forestgaps_core.contracts import NamedErrors
from forestgaps_core.files.checkpoint import load_part, save_checkpoint
from forestgaps_core.runtime.environment import reseed
from forestgaps_core.runtime.rng import seed_of_step
from forestgaps_core.training.batch_iteration import find_batch_weights, group_batches, move_to_device, read_again, skip_to
from forestgaps_core.training.checkpoint_requests import CheckpointRequests
from forestgaps_core.training.evaluator import Evaluator, InterruptedPassError, MakeBatch, return_batch
from forestgaps_core.training.logged_values import read_values
from forestgaps_core.training.nonfinite_action import NonfiniteAction, describe_place, inspect_again
from forestgaps_core.training.nonfinite_detection import NonfiniteDetector
from forestgaps_core.training.nonfinite_report import NonfiniteReport, StepPosition
from forestgaps_core.training.optimizer_step import OptimizerStep, constant_rate
from forestgaps_core.training.state import evaluated_weights, load_components, load_network, load_state, read_components, read_state

log = logging.getLogger("forestgaps")


@define(eq=False, kw_only=True)
class Trainer(Evaluator):
    """Fits a network, step by step; resumes bit for bit from what `state_dict` holds.

    Callbacks may read every attribute, and call `stop` and `checkpoint`.

    Attributes:
        optimizer: Needed to train, as is `loss`.
        scheduler: Factor on the optimizer's learning rates by completed step.
        further: Components of the kinds that plugins declare, by kind; where there may be several, by label. They are not trained.
            Those with a `state_dict` keep it in checkpoints.
        make_train_batch: Makes a training `Batch`, on the device, of what the training loader yields.
        accumulate: Batches to an optimizer step.
        max_gradient_norm: Gradients are scaled down to this norm; inf leaves them.
        max_gradient_value: Each gradient value is clipped to this size; inf leaves them.
        nonfinite: What to do at a step whose loss or gradient is not finite: "stop" the run, its weights as they were before the
            step, or "skip" the step and go on.
        check_every: Steps from one look at that to the next; also looked at before each checkpoint and at the end of each epoch.
        faults: Folder for what bad steps were made of; None keeps nothing.
        last: Where `fit` leaves a checkpoint when it ends without an error, just before `fit_end`.
        batch: Batches of the current epoch that are done.
        gradient_norm: Of the last step before clipping to it, on the device; None before the first step.
        stopped: Why training stopped before its end, or None.
        scores: Of the last epoch completed by this object.
        unwritten: Checkpoints asked for that the disk did not take; reported once, and removed when a later write succeeds.
    """

    optimizer: torch.optim.Optimizer | None = None
    scheduler: Scheduler = constant_rate
    further: Mapping[str, Any] = field(factory=dict)
    make_train_batch: MakeBatch = return_batch
    accumulate: int = field(default=1, validator=ge(1))
    max_gradient_norm: float = field(default=1.0, validator=gt(0))
    max_gradient_value: float = field(default=inf, validator=gt(0))
    nonfinite: Literal["stop", "skip"] = field(default="stop", validator=in_(("stop", "skip")))
    check_every: int = field(default=50, validator=ge(1))
    faults: Path | None = None
    last: Path | None = None

    _evaluated_weights: Mapping[str, str] | None = field(init=False)
    batch: int = field(default=0, init=False)
    gradient_norm: Tensor | None = field(default=None, init=False)
    stopped: str | None = field(default=None, init=False)
    scores: dict[str, float] = field(factory=dict, init=False)
    _final: bool = field(default=False, init=False)
    _optimizer_step: OptimizerStep = field(init=False)
    _nonfinite_action: NonfiniteAction = field(init=False)
    _loss_sum: Tensor = field(init=False)
    _checkpoints: CheckpointRequests = field(factory=CheckpointRequests, init=False)
    _train: Iterable[Any] = field(default=(), init=False)
    _fitting: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        watch = NonfiniteDetector(self.device, skip=self.nonfinite == "skip")
        self._optimizer_step = OptimizerStep(
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            scheduler_errors=NamedErrors(self._describe("scheduler", self.scheduler)),
            optimizer_errors=NamedErrors(self._describe("optimizer", self.optimizer)),
            watch=watch,
            scaler=torch.amp.GradScaler(self.device.type, enabled=self.environment.precision == "16"),
        )
        self._nonfinite_action = NonfiniteAction(watch=watch, folder=self.faults, processes=self.processes)
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        self._loss_sum = torch.zeros((), dtype=wide, device=self.device)
        self._evaluated_weights = evaluated_weights(self.events.callbacks)

    # --- what callbacks may ask -------------------------------------------------------------------------------------

    def stop(self, reason: str, *, final: bool = True) -> None:
        """Leave the loop after the current step. `final=False`: a resumed run continues from here."""
        self.stopped, self._final = reason, final

    def checkpoint(self, path: Path) -> None:
        """Ask for a checkpoint, written after all callbacks have received the current event: it holds the state of all of them."""
        self._checkpoints.add(path)

    def forget_nonfinite(self) -> None:
        """Weights of an earlier step were put back: what was not finite since then is no fault any more."""
        self._nonfinite_action.forget(self._now())

    def _now(self) -> StepPosition:
        return StepPosition(step=self.step, epoch=self.epoch, batch=self.batch)

    @property
    def unwritten(self) -> set[Path]:
        return self._checkpoints.unwritten

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
        self.epoch, self.batch, self._loss_sum, self.scores = self.epoch + 1, 0, torch.zeros_like(self._loss_sum), scores
        self._values.epoch.clear()
        self._nonfinite_action.since = self._now()
        with self._values.collect("train", scores):
            self.events.epoch_end(trainer=self, scores=scores)
        self._write_checkpoints()

    def _agree(self) -> None:
        """Stop in every process if one of them was asked to."""
        if self.processes.count > 1:
            before, self.stopped = self.stopped, self.processes.any_of(self.stopped)
            final = self._final and not (before is None and self.stopped is not None)
            self._final = self.stopped is not None and self.processes.of_first(final)

    def train_step(self, group: Sequence[Any]) -> Tensor:
        """Do one optimizer step on these batches; return their mean loss, a scalar on the device."""
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

    def _check_numbers(self) -> None:
        self._nonfinite_action.check(self._now(), self.accumulate, self._inspect)

    def _inspect(self, moment: StepPosition) -> NonfiniteReport:
        tiles = read_again(self._train, moment, self.accumulate)
        place = describe_place(self._train, tiles)
        return inspect_again(self._forward, moment, tiles, self.make_train_batch, self.total_steps, place)

    def _is_interrupted(self) -> bool:
        return self.processes.count == 1 and self._fitting and self.stopped is not None and not self._final

    def _report_nonfinite(self, sentence: str) -> None:
        if not self._fitting:
            super()._report_nonfinite(sentence)
        log.warning("%s", sentence)

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
                "stopped": self.stopped if self._final else None,
            },
            "model": self.model.state_dict(),
            "evaluated_weights": self._evaluated_weights,
            "loss": read_state(self.loss),
            "loss_sum": self._loss_sum,
            "logged": self._values.epoch.state_dict(),
            **self._optimizer_step.state_dict(),
            **read_components(self.events.callbacks, self.further, self._describe),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, added: Collection[str] = ()) -> None:
        """Resume from a state, with the parts it was made with; a callback whose label is in `added` may lack a state.

        Raises:
            CheckpointError: The state belongs to something else.
        """
        load_network(self.model, state["model"])
        load_components(state, self.events.callbacks, self.further, added)
        load_part("loss", partial(load_state, self.loss), state["loss"])
        self._optimizer_step.load_state_dict(state)
        load_part("sum of losses", self._loss_sum.copy_, state["loss_sum"])
        load_part("logged values", self._values.epoch.load_state_dict, state.get("logged") or {"sums": {}, "counts": {}})
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self.stopped, self._final = position["stopped"], position["stopped"] is not None
        self.forget_nonfinite()

    def _write_checkpoints(self) -> None:
        if self._checkpoints.paths and self.processes.count == 1:  # several look at intervals, all of them at once
            self._check_numbers()
        self._checkpoints.write(self.state_dict, here=self.processes.first)
