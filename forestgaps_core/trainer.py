"""The training loop. What it does not do (logs, early stopping, pictures), a callback does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from itertools import islice, zip_longest
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import define, field
from attrs.validators import ge, gt, in_
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_

from forestgaps_core.checkpoint import loaded, save_checkpoint
from forestgaps_core.components import Batch, Data, Loss, Metric, Scheduler, Tiles
from forestgaps_core.contracts import Blamed, Name, check_logits, check_loss, checked_factor, checked_scores, named_as
from forestgaps_core.environment import Environment, reseed
from forestgaps_core.errors import CheckpointError, DiskError, NumbersError, PluginError
from forestgaps_core.events import Events
from forestgaps_core.faults import Finding, Moment, listed, looked_at, placed, saved
from forestgaps_core.optimizers import alike, clip, load_optimizer
from forestgaps_core.plain import not_plain
from forestgaps_core.processes import ALONE, Processes
from forestgaps_core.randomness import seed_of_step
from forestgaps_core.watch import Watch, blank, step_unless

MakeBatch = Callable[[Any], Batch]
EVALUATION = 1  # another stream of random numbers than the step's own
log = logging.getLogger("forestgaps")


STATE = ("position", "loss", "loss_sum", "optimizer", "scheduler", "schedule", "scaler")


def unchanged(batch: Any) -> Any:
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
        callbacks: By label, or a list (labelled by class name); told in this order.
        train_batch: Makes a training `Batch`, on the device, of what the training loader yields.
        evaluation_batch: The same for validation, test and prediction.
        accumulate: Batches to an optimizer step.
        max_gradient_norm: Gradients are scaled down to this norm; inf leaves them.
        max_gradient_value: Each gradient value is clipped to this size; inf leaves them.
        bad_numbers: What to do at a step whose loss or gradient is not finite: "stop" the run, its weights as they were before the
            step, or "skip" the step and go on.
        check_every: Steps from one look at that to the next; also looked at before each checkpoint and at the end of each epoch.
        callback_errors: What to do when a callback fails: "stop" the run, or "go_on" and say so once. A disk that fails a callback
            never stops the run.
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
        unwritten: Checkpoints asked for that the disk did not take; told once, and no more here once a later writing succeeds.
    """

    model: nn.Module
    loss: Loss | None = None
    optimizer: torch.optim.Optimizer | None = None
    scheduler: Scheduler = constant_rate
    metrics: Mapping[str, Callable[[], Metric]] = field(factory=dict)
    callbacks: Mapping[str, object] | Sequence[object] = ()
    train_batch: MakeBatch = unchanged
    evaluation_batch: MakeBatch = unchanged
    environment: Environment = field(factory=Environment)
    accumulate: int = field(default=1, validator=ge(1))
    max_gradient_norm: float = field(default=1.0, validator=gt(0))
    max_gradient_value: float = field(default=inf, validator=gt(0))
    bad_numbers: Literal["stop", "skip"] = field(default="stop", validator=in_(("stop", "skip")))
    check_every: int = field(default=50, validator=ge(1))
    callback_errors: Literal["stop", "go_on"] = field(default="stop", validator=in_(("stop", "go_on")))
    processes: Processes = ALONE
    faults: Path | None = None
    about: Mapping[str, Any] = field(factory=dict)
    last: Path | None = None
    data: Data | None = None

    device: torch.device = field(init=False)
    events: Events = field(init=False)
    epochs: int = field(default=0, init=False)
    steps_per_epoch: int | None = field(default=None, init=False)
    epoch: int = field(default=0, init=False)
    batch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    gradient_norm: Tensor | None = field(default=None, init=False)
    stopped: str | None = field(default=None, init=False)
    scores: dict[str, float] = field(factory=dict, init=False)
    unwritten: set[Path] = field(factory=set, init=False)
    _stopped_for_good: bool = field(default=False, init=False)
    _forward: Callable[..., Tensor] = field(init=False)
    _scaler: torch.amp.GradScaler = field(init=False)
    _base_rates: list[float] = field(factory=list, init=False)
    _loss_sum: Tensor = field(init=False)
    _requested: list[Path] = field(factory=list, init=False)
    _parameters: list[Tensor] = field(factory=list, init=False)
    _blamed: dict[str, Blamed] = field(factory=dict, init=False)  # the components that are called at each step
    _watch: Watch = field(init=False)
    _watched_from: Moment = field(init=False)  # the first step since the watch was read
    _train: Iterable[Any] = field(default=(), init=False)
    _fitting: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device)
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        self._forward = torch.compile(self.model) if self.environment.compile else self.model
        if isinstance(self.loss, nn.Module):
            self.loss.to(self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.environment.precision == "16")
        groups = self.optimizer.param_groups if self.optimizer else []
        self._base_rates = [group["lr"] for group in groups]
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        for place, part in (("model", self.model), ("loss", self.loss), ("scheduler", self.scheduler)):
            self._blamed[place] = Blamed(self._named(place, part))
        self._watch = Watch(self.device, skip=self.bad_numbers == "skip")
        self._watched_from = Moment(step=0, epoch=0, batch=0)
        self._loss_sum = self._zero()
        self.callbacks = labelled(self.callbacks)
        self.events = Events(
            self.callbacks, on_error=self.callback_errors, owner=self._named, everywhere_only=not self.processes.first
        )

    def _named(self, place: str, thing: object) -> Name:
        return named_as(self.about.get("components"), place, thing)

    # --- what callbacks may ask -------------------------------------------------------------------------------------

    def stop(self, reason: str, *, final: bool = True) -> None:
        """Leave the loop after the current step. `final=False`: a resumed run goes on from here."""
        self.stopped, self._stopped_for_good = reason, final

    def checkpoint(self, path: Path) -> None:
        """Ask for a checkpoint. It is written once every callback has been told the current event, so that it holds the
        state of all of them.
        """
        if path not in self._requested:
            self._requested.append(path)

    def forget_bad_numbers(self) -> None:
        """Weights of an earlier step were put back: what was not finite since then is no fault any more."""
        self._watch.forget()
        self._watched_from = self._now()

    def _now(self) -> Moment:
        return Moment(step=self.step, epoch=self.epoch, batch=self.batch)

    @property
    def total_steps(self) -> int | None:
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs

    @property
    def rate(self) -> float:
        """The learning rate of the optimizer's first group at the current step."""
        return self._base_rates[0] * self.scheduler(self.step) if self._base_rates else 0.0

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
        self.forget_bad_numbers()
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
        for group in grouped(self._on_device(self._from_here(train)), self.accumulate):
            loss = self.train_step(group)
            self._loss_sum += loss if self.bad_numbers == "stop" else loss.nan_to_num(0.0, 0.0, 0.0)
            self.batch += len(group)
            self.step += 1
            self.events.step_end(trainer=self, loss=loss)
            self._agree()
            if self.step % self.check_every == 0:
                self._check_numbers()
            self._write_checkpoints()
            if self.stopped is not None:
                return False
        return True

    def train_step(self, group: Sequence[Any]) -> Tensor:
        """One optimizer step on these batches; their mean loss, a scalar on the device."""
        assert self.optimizer is not None
        self._set_rates()
        reseed(self.device, seed_of_step(self.environment.seed, self.step))
        for parameter in self._parameters:
            parameter.grad = None
        statistics = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if self.bad_numbers == "skip" else ()
        losses: list[Tensor] = []
        for batch, weight in zip(map(self.train_batch, group), self._weights(len(group)), strict=True):
            loss = self._loss(self._logits(batch), batch)
            if weight != 1:
                loss = loss * weight
            torch.autograd.backward(self._scaler.scale(loss))
            losses.append(loss.detach())
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if self.processes.count > 1:
            self.processes.sum([total, *self._gradients()])
        bad = self._move(total)
        for buffer, before in statistics:
            buffer.copy_(torch.where(bad > 0, before, buffer))
        return total

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def _weights(self, batches: int) -> list[float]:
        """What each batch of a step counts: the mean over them and, where each process has a share, over all samples of each."""
        shares = self.processes.count
        if shares == 1:
            return [1 / batches] * batches
        return [self._train.weight(self.batch + place) / (batches * shares) for place in range(batches)]  # type: ignore[attr-defined]

    def _agree(self) -> None:
        """What one process was asked to stop for, all do."""
        if self.processes.count > 1:
            before, self.stopped = self.stopped, self.processes.any_of(self.stopped)
            if before is None and self.stopped is not None:
                self._stopped_for_good = False
            self._stopped_for_good = self.processes.of_first(self._stopped_for_good) if self.stopped else False

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        assert self.loss is not None
        with self._blamed["loss"]:
            loss = self.loss(logits, batch)
        check_loss(loss, self._blamed["loss"].name)
        return loss

    def _move(self, loss: Tensor) -> Tensor:
        """Clip the gradients and let the optimizer step unless loss or gradients are no numbers: then 1, on the device."""
        assert self.optimizer is not None
        if self._scaler.is_enabled():  # which leaves out steps whose gradients overflow, by itself
            bad = self._watch.see(loss, torch.zeros_like(loss))
            blank(self._gradients(), bad, nan)
            self._scaler.unscale_(self.optimizer)
            self._clip()
            self._scaler.step(self.optimizer)
            self._scaler.update()
        else:
            bad = self._watch.see(loss, self._clip())
            step_unless(bad, self.optimizer, self._parameters)
        return bad

    def _logits(self, batch: Batch) -> Tensor:
        with self._blamed["model"], self.environment.autocast(self.device):
            logits = self._forward(batch.dsm, batch.valid, batch.thresholds)
        check_logits(logits, batch, self._blamed["model"].name)
        return logits.float()  # losses and metrics are computed in float32, whatever the network's precision

    def _set_rates(self) -> None:
        assert self.optimizer is not None
        with self._blamed["scheduler"]:
            factor = self.scheduler(self.step)
        factor = checked_factor(factor, self.step, self._blamed["scheduler"].name)
        momentum = getattr(self.scheduler, "momentum", None)
        for group, base in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor
            if momentum is not None:
                set_momentum(group, momentum(self.step))

    def _clip(self) -> Tensor:
        """Clip the gradients; their norm."""
        if self.max_gradient_value < inf:
            clip_grad_value_(self._parameters, self.max_gradient_value)
        norm = clip(self._gradients(), self.max_gradient_norm)
        self.gradient_norm = norm
        return norm

    def _finish_epoch(self, validation: Iterable[Any] | None) -> None:
        self._check_numbers()
        steps = -(-self.batch // self.accumulate)
        # With the watch, the only waits for the device in an epoch of training.
        scores = {"train/loss": (self._loss_sum / steps).item() if steps else nan, "train/rate": self.rate}
        if validation is not None:
            try:
                scores |= self.evaluate(validation)
            except InterruptedPassError:
                return  # the epoch is not complete: resumed, the run begins its validation again
            if hasattr(self.scheduler, "observe"):
                self.scheduler.observe(scores)
        self.epoch, self.batch, self._loss_sum, self.scores = self.epoch + 1, 0, self._zero(), scores
        self._watched_from = self._now()
        self.events.epoch_end(trainer=self, scores=scores)
        self._write_checkpoints()

    # --- numbers that are none --------------------------------------------------------------------------------------

    def _check_numbers(self) -> None:
        """Ask the watch for the steps since it was last asked.

        Raises:
            NumbersError: A step was not finite, and the run is to stop then.
        """
        since, steps = self._watched_from, self.step - self._watched_from.step
        self._watched_from = self._now()
        good = self._watch.read()
        if good is None:
            return
        moment = Moment(step=since.step + good, epoch=since.epoch, batch=since.batch + good * self.accumulate)
        finding = self._looked_at(moment)
        kept = saved(finding, self.faults, self.processes.rank)
        sentences = self.processes.gathered(finding.sentence() + (f"; kept in {kept}" if kept else ""))
        sentence = "; ".join(dict.fromkeys(sentences))
        skipped = int(self._watch.skipped.item())
        self._watch.skipped.zero_()
        if self.bad_numbers == "skip" and skipped < max(steps, 2):
            log.warning("%s; left out, with %d such steps of the last %d", sentence, skipped, steps)
            return
        advice = "its data, a lower rate, or training.bad_numbers = 'skip' may help" if not skipped else "so were all steps since"
        raise NumbersError(f"{sentence}; {advice}. The weights were not moved; checkpoints of before are whole")

    def _looked_at(self, moment: Moment) -> Finding:
        """The step's batches made again, if the loader can, and taken apart."""
        tiles = self._read_again(moment)
        if not tiles:
            return Finding(moment=moment)
        draws = {
            index: draw
            for t in tiles
            if isinstance(t, Tiles)
            for index, draw in zip(t.index.tolist(), t.draw.tolist(), strict=True)
        }
        source = getattr(self._train, "source", None)
        self.model.train()
        reseed(self.device, seed_of_step(self.environment.seed, moment.step))
        return looked_at(
            [self.train_batch(part.to(self.device)) for part in tiles],
            moment,
            self.model,
            self._logits,
            self._loss,
            lambda index: placed(source, index, draws.get(index, 0)),
        )

    def _read_again(self, moment: Moment) -> list[Any]:
        numbers = range(moment.batch, moment.batch + self.accumulate)
        if hasattr(self._train, "read"):
            return [self._train.read(moment.epoch, number) for number in numbers if number < len(self._train)]  # type: ignore[arg-type]
        return list(self._train[numbers.start : numbers.stop]) if isinstance(self._train, Sequence) else []

    # --- evaluation and prediction ----------------------------------------------------------------------------------

    def evaluate(self, batches: Iterable[Any], split: str = "validation") -> dict[str, float]:
        """Scores named `split/label/value`, and `split/loss`, the mean over batches."""
        metrics = {label: make() for label, make in self.metrics.items()}
        blamed = {label: Blamed(self._named(f"metrics.{label}", metric)) for label, metric in metrics.items()}
        losses: list[Tensor] = []
        numbers: list[tuple[Tensor, Tensor | None]] = []  # whether the logits of a batch are, and its samples
        self.model.eval()
        self.processes.follow_first(self.model)
        reseed(self.device, seed_of_step(self.environment.seed, self.step, EVALUATION))
        count = len(batches) if isinstance(batches, Sized) else None
        self.events.evaluation_start(trainer=self, split=split, batches=count)
        with torch.inference_mode():
            for batch in map(self.evaluation_batch, self._on_device(batches)):
                logits = self._logits(batch)
                numbers.append((logits.isfinite().all(), batch.index))
                if self.loss is not None:
                    losses.append(self._loss(logits, batch))
                for label, metric in metrics.items():
                    with blamed[label]:
                        metric.update(logits, batch)
                self.events.evaluation_batch(trainer=self, split=split, batch=batch, logits=logits)
                if self.processes.count == 1 and self._fitting and self.stopped is not None and not self._stopped_for_good:
                    self.events.evaluation_end(trainer=self, split=split, scores={}, metrics={})
                    raise InterruptedPassError
            losses, metrics = self._of_all(losses, metrics)
            scores = {f"{split}/loss": torch.stack(losses).mean().item()} if losses else {}
            for label, metric in metrics.items():
                with blamed[label]:
                    computed = metric.compute()
                found = checked_scores(computed, blamed[label].name)
                scores |= {f"{split}/{label}/{name}": value for name, value in found.items()}
        self._check_logits_seen(numbers, split, getattr(batches, "source", None))
        self.events.evaluation_end(trainer=self, split=split, scores=scores, metrics=metrics)
        return scores

    def _of_all(self, losses: list[Tensor], metrics: dict[str, Metric]) -> tuple[list[Tensor], dict[str, Metric]]:
        """Losses in the order of the batches, and metrics, over all processes."""
        if self.processes.count == 1:
            return losses, metrics
        every = self.processes.gathered(([loss.cpu() for loss in losses], metrics))
        first, *others = [found for _, found in every]
        for other in others:
            for label, metric in first.items():
                metric.merge(other[label])
        # Batch b was read by process b modulo their number.
        ordered = [loss for row in zip_longest(*(found for found, _ in every)) for loss in row if loss is not None]
        return ordered, first

    def _check_logits_seen(self, numbers: Sequence[tuple[Tensor, Tensor | None]], split: str, source: Any) -> None:
        """Raises:
        NumbersError: The network returned something not finite; in a validation while training it is only told.
        """
        good = not numbers or all(torch.stack([finite for finite, _ in numbers]).tolist())
        if good:
            return
        bad = [(batch, index) for batch, (finite, index) in enumerate(numbers) if not finite]
        tiles = [placed(source, sample, 0) for _, index in bad if index is not None for sample in index.tolist()]
        where = f"batch {listed([str(batch + 1) for batch, _ in bad])} of the {split} split, with {listed(tiles)}"
        sentence = f"what the network returns is not finite in {where}"
        if not self._fitting:
            raise NumbersError(f"{sentence}; look at these tiles, or use a checkpoint of before")
        log.warning("%s", sentence)

    def validate(self, batches: Iterable[Any]) -> dict[str, float]:
        return self.evaluate(batches, "validation")

    def test(self, batches: Iterable[Any]) -> dict[str, float]:
        return self.evaluate(batches, "test")

    def predict(self, batches: Iterable[Any]) -> Iterator[Tensor]:
        """Gap probabilities (B, K, H, W) in float32, on the device, batch by batch."""
        self.model.eval()
        with torch.inference_mode():
            for batch in map(self.evaluation_batch, self._on_device(batches)):
                yield self._logits(batch).sigmoid()

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-identical continuation needs, at the border of a step. Plain values and tensors only.

        No state of a generator: torch's own is begun anew in each step, from (seed, step).
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
            "loss": state_of(self.loss),
            "loss_sum": self._loss_sum,
            "optimizer": self.optimizer.state_dict() if self.optimizer else None,
            "scheduler": state_of(self.scheduler),
            "schedule": self._fingerprint(),
            "scaler": self._scaler.state_dict(),
            "callbacks": {label: self._state_of_callback(label) for label in self.events.callbacks},
        }

    def _state_of_callback(self, label: str) -> Any:
        """Refused here what would be refused when the checkpoint is read."""
        callback = self.events.callbacks[label]
        name = self._named(f"callbacks.{label}", callback)
        with Blamed(name):
            state = state_of(callback)
        if reason := not_plain(state):
            raise PluginError(f"{name()}: its state_dict cannot be kept, {reason}")
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with the model, loss, optimizer, schedule and callbacks it was made with.

        Raises:
            CheckpointError: The state belongs to something else.
        """
        try:
            self.model.load_state_dict(state["model"])
        except (RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint belongs to another network: {str(error).splitlines()[0]}") from error
        unknown = set(state["callbacks"]) ^ set(self.events.callbacks)
        if unknown:
            raise CheckpointError(f"the checkpoint was made with other callbacks: {', '.join(sorted(unknown))}")
        missing = [key for key in STATE if key not in state]
        if missing:
            raise CheckpointError(
                f"the checkpoint is incomplete: {', '.join(missing)} missing; it serves to map with, not to resume"
            )
        if self.optimizer is not None:
            loaded("optimizer", partial(load_optimizer, self.optimizer), state["optimizer"])
        loaded("loss", partial(load_state, self.loss), state["loss"])
        loaded("scheduler", partial(load_state, self.scheduler), state["scheduler"])
        fingerprint = self._fingerprint()
        if not alike(fingerprint, state["schedule"]) or state["schedule"] != fingerprint:
            raise CheckpointError(
                "the learning-rate schedule differs from the checkpoint's; resume with the settings it was made with"
            )
        if self._scaler.is_enabled():
            loaded("loss scaling", self._scaler.load_state_dict, state["scaler"])
        for label, callback in self.events.callbacks.items():
            loaded(f"callback {label!r}", partial(load_state, callback), state["callbacks"][label])
        loaded("sum of losses", self._loss_sum.copy_, state["loss_sum"])
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self.stopped, self._stopped_for_good = position["stopped"], position["stopped"] is not None
        self.forget_bad_numbers()

    def _fingerprint(self) -> list[float]:
        """The schedule at a few steps: enough to notice that it is another one. A schedule that follows the scores has its
        own state.
        """
        return [] if hasattr(self.scheduler, "observe") else [self.scheduler(step) for step in (0, 1, 10, 100, 1_000, 10_000)]

    def _write_checkpoints(self) -> None:
        """Write those asked for. A disk that fails is told, once, and does not end the run: the next one may be written."""
        if not self.processes.first:
            self._requested.clear()
        if self._requested and self.processes.count == 1:  # several look at intervals, all of them at once
            self._check_numbers()
        while self._requested:
            path = self._requested.pop(0)
            try:
                save_checkpoint(path, self.state_dict())
            except DiskError as error:
                if path not in self.unwritten:
                    log.warning("%s; training goes on", error)
                self.unwritten.add(path)
            else:
                self.unwritten.discard(path)

    # --- batches ----------------------------------------------------------------------------------------------------

    def _from_here(self, train: Iterable[Any]) -> Iterable[Any]:
        if hasattr(train, "seek"):
            train.seek(self.epoch, self.batch)
            return train
        return islice(train, self.batch, None)

    def _on_device(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Each batch on the device, the next one already on its way there."""
        waiting = None
        for batch in batches:
            moved = batch.to(self.device, non_blocking=True)
            if waiting is not None:
                yield waiting
            waiting = moved
        if waiting is not None:
            yield waiting

    def _zero(self, dtype: torch.dtype | None = None) -> Tensor:
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        return torch.zeros((), dtype=dtype or wide, device=self.device)


def grouped(batches: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


def labelled(callbacks: Mapping[str, object] | Sequence[object]) -> Mapping[str, object]:
    """Callbacks by label; those of a list by their class, numbered where a class comes again."""
    if isinstance(callbacks, Mapping):
        return callbacks
    labels: dict[str, object] = {}
    for callback in callbacks:
        name = type(callback).__name__
        again = sum(label.split(" ")[0] == name for label in labels)
        labels[f"{name} {again + 1}" if again else name] = callback
    return labels


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    elif "momentum" in group:
        group["momentum"] = momentum


def state_of(thing: object) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") else None


def load_state(thing: object, state: Any) -> None:
    if state is not None and hasattr(thing, "load_state_dict"):
        thing.load_state_dict(state)
