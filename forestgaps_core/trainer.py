"""The training loop. What it does not do (logs, early stopping, pictures), a callback does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import torch
from attrs import define, field
from attrs.validators import ge, gt
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from forestgaps_core.checkpoint import save_checkpoint
from forestgaps_core.components import Batch, Data, Loss, Metric, Scheduler
from forestgaps_core.environment import Environment
from forestgaps_core.errors import CheckpointError
from forestgaps_core.events import Events

MakeBatch = Callable[[Any], Batch]


def unchanged(batch: Any) -> Any:
    return batch


def constant_rate(step: int) -> float:
    return 1.0


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
        about: Plain values that go into every checkpoint (the resolved config, versions).
        data: What the loaders read from, for callbacks that look at it.
        last: Where `fit` leaves a checkpoint when it ends without an error, just before `fit_end`.
        epoch: Completed epochs.
        batch: Batches of the current epoch that are done.
        step: Completed optimizer steps.
        gradient_norm: Of the last step before clipping, on the device; None where nothing asks for it.
        stopped: Why training stopped before its end, or None.
        scores: Of the last epoch completed by this object.
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
    _stopped_for_good: bool = field(default=False, init=False)
    _forward: Callable[..., Tensor] = field(init=False)
    _scaler: torch.amp.GradScaler = field(init=False)
    _base_rates: list[float] = field(factory=list, init=False)
    _loss_sum: Tensor = field(init=False)
    _requested: list[Path] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device)
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        self._forward = torch.compile(self.model) if self.environment.compile else self.model
        if isinstance(self.loss, nn.Module):
            self.loss.to(self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.environment.precision == "16")
        self._base_rates = [group["lr"] for group in self.optimizer.param_groups] if self.optimizer else []
        self._loss_sum = self._zero()
        self.callbacks = labelled(self.callbacks)
        self.events = Events(self.callbacks)

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
        try:
            self.events.fit_start(trainer=self)
            while self.epoch < epochs and self.stopped is None:
                if self._train_epoch(train):
                    self._finish_epoch(validation)
            if self.last is not None:
                save_checkpoint(self.last, self.state_dict())
        finally:
            self.events.fit_end(trainer=self)

    def _train_epoch(self, train: Iterable[Any]) -> bool:
        """Train to the end of the epoch, or until asked to stop; says whether the epoch is complete."""
        self.model.train()
        self.events.epoch_start(trainer=self)
        for group in grouped(self._on_device(self._from_here(train)), self.accumulate):
            loss = self.train_step(group)
            self._loss_sum += loss
            self.batch += len(group)
            self.step += 1
            self.events.step_end(trainer=self, loss=loss)
            self._write_checkpoints()
            if self.stopped is not None:
                return False
        return True

    def train_step(self, group: Sequence[Any]) -> Tensor:
        """One optimizer step on these batches; their mean loss, a scalar on the device."""
        assert self.optimizer is not None
        assert self.loss is not None
        self._set_rates()
        self.optimizer.zero_grad()
        total = self._zero(torch.float32)
        for batch in map(self.train_batch, group):
            logits = self._logits(batch)
            loss = self.loss(logits, batch) / len(group)
            torch.autograd.backward(self._scaler.scale(loss))
            total += loss.detach()
        self._scaler.unscale_(self.optimizer)
        self._clip()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return total

    def _logits(self, batch: Batch) -> Tensor:
        with self.environment.autocast(self.device):
            logits = self._forward(batch.dsm, batch.valid, batch.thresholds)
        return logits.float()  # losses and metrics are computed in float32, whatever the network's precision

    def _set_rates(self) -> None:
        assert self.optimizer is not None
        factor = self.scheduler(self.step)
        momentum = getattr(self.scheduler, "momentum", None)
        for group, base in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor
            if momentum is not None:
                set_momentum(group, momentum(self.step))

    def _clip(self) -> None:
        assert self.optimizer is not None
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.max_gradient_value < inf:
            clip_grad_value_(parameters, self.max_gradient_value)
        if self.max_gradient_norm < inf:
            self.gradient_norm = clip_grad_norm_(parameters, self.max_gradient_norm).detach()

    def _finish_epoch(self, validation: Iterable[Any] | None) -> None:
        steps = -(-self.batch // self.accumulate)
        # The only wait for the device in an epoch of training.
        scores = {"train/loss": (self._loss_sum / steps).item() if steps else float("nan"), "train/rate": self.rate}
        if validation is not None:
            scores |= self.evaluate(validation)
            if hasattr(self.scheduler, "observe"):
                self.scheduler.observe(scores)
        self.epoch, self.batch, self._loss_sum, self.scores = self.epoch + 1, 0, self._zero(), scores
        self.events.epoch_end(trainer=self, scores=scores)
        self._write_checkpoints()

    # --- evaluation and prediction ----------------------------------------------------------------------------------

    def evaluate(self, batches: Iterable[Any], split: str = "validation") -> dict[str, float]:
        """Scores named `split/label/value`, and `split/loss`, the mean over batches."""
        metrics = {label: make() for label, make in self.metrics.items()}
        losses: list[Tensor] = []
        self.model.eval()
        count = len(batches) if isinstance(batches, Sized) else None
        self.events.evaluation_start(trainer=self, split=split, batches=count)
        with torch.inference_mode():
            for batch in map(self.evaluation_batch, self._on_device(batches)):
                logits = self._logits(batch)
                if self.loss is not None:
                    losses.append(self.loss(logits, batch))
                for metric in metrics.values():
                    metric.update(logits, batch)
                self.events.evaluation_batch(trainer=self, split=split, batch=batch, logits=logits)
            scores = {f"{split}/loss": torch.stack(losses).mean().item()} if losses else {}
            for label, metric in metrics.items():
                scores |= {f"{split}/{label}/{name}": value for name, value in metric.compute().items()}
        self.events.evaluation_end(trainer=self, split=split, scores=scores, metrics=metrics)
        return scores

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
        """All that a bit-identical continuation needs, at the border of a step. Plain values and tensors only."""
        on_gpu = self.device.type == "cuda"
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
            "callbacks": {label: state_of(callback) for label, callback in self.events.callbacks.items()},
            "generators": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state(self.device) if on_gpu else None,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with the model, loss, optimizer, schedule and callbacks it was made with.

        Raises:
            CheckpointError: The state belongs to something else.
        """
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint belongs to another network: {str(error).splitlines()[0]}") from error
        unknown = set(state["callbacks"]) ^ set(self.events.callbacks)
        if unknown:
            raise CheckpointError(f"the checkpoint was made with other callbacks: {', '.join(sorted(unknown))}")
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        load_state(self.loss, state["loss"])
        load_state(self.scheduler, state["scheduler"])
        if state["schedule"] != self._fingerprint():
            raise CheckpointError(
                "the learning-rate schedule differs from the checkpoint's; resume with the settings it was made with"
            )
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])
        for label, callback in self.events.callbacks.items():
            load_state(callback, state["callbacks"][label])
        self._loss_sum = state["loss_sum"].to(self.device)
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self.stopped, self._stopped_for_good = position["stopped"], position["stopped"] is not None
        torch.set_rng_state(state["generators"]["cpu"])
        if self.device.type == "cuda" and state["generators"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self.device)

    def _fingerprint(self) -> list[float]:
        """The schedule at a few steps: enough to notice that it is another one. A schedule that follows the scores has its
        own state.
        """
        return [] if hasattr(self.scheduler, "observe") else [self.scheduler(step) for step in (0, 1, 10, 100, 1_000, 10_000)]

    def _write_checkpoints(self) -> None:
        while self._requested:
            save_checkpoint(self._requested[0], self.state_dict())
            del self._requested[0]

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
