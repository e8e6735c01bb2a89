"""A run of a few seconds for tests of callbacks: a real trainer with a small network, and a stand-in that sends events.

from forestgaps_core.testing.example_run import StandInTrainer, train_example

def test_it_counts_epochs():
    count = EpochCount()
    train_example({"count": count}, epochs=2)
    assert count.epochs == 2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from forestgaps_core.components import Batch
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.runtime.environment import Environment
from forestgaps_core.testing.examples import example_batch
from forestgaps_core.training.trainer import Trainer

STEPS = 5  # of an epoch


@define(eq=False)
class StandInTrainer:
    """What a callback may use of a `Trainer`, without training; a test sets what it wants the callback to see.

    Attributes:
        final: Whether the last `stop` was for good; None before any.
        written: Where checkpoints were asked for; none is written.
        unwritten: Those of them that the disk did not take.
    """

    epochs: int = 10
    steps_per_epoch: int | None = 4
    epoch: int = 0
    batch: int = 0
    step: int = 0
    rate: float = 1e-3
    gradient_norm: Tensor | None = None
    stopped: str | None = None
    final: bool | None = None
    device: torch.device = field(factory=lambda: torch.device("cpu"))
    model: nn.Module = field(factory=lambda: nn.Conv2d(1, 1, 1))
    optimizer: Any = None
    loss: Any = None
    max_gradient_norm: float = 1.0
    written: list[Path] = field(factory=list)
    unwritten: set[Path] = field(factory=set)
    about: dict[str, Any] = field(factory=dict)
    scores: dict[str, float] = field(factory=dict)
    logged: dict[str, float | Tensor] = field(factory=dict)

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole run; None while the length of an epoch is unknown."""
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs

    def stop(self, reason: str, *, final: bool = True) -> None:
        """Record the events that it receives."""
        self.stopped, self.final = reason, final

    def log(self, name: str, value: float | Tensor) -> None:
        """Remembers the value."""
        self.logged[name] = value

    def checkpoint(self, path: Path) -> None:
        """Remembers the path."""
        self.written.append(path)


class SmallNetwork(nn.Module):
    """The smallest network with weights, a norm and dropout: logits of a pixel from heights around it above the tile's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 1, 1)
        )

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        """Logits (B, K, H, W)."""
        above = (dsm - dsm.mean((1, 2, 3), keepdim=True)) / 10
        logits: Tensor = self.layers(above) + thresholds[:, :, None, None] / 10
        return logits


def example_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy over valid pixels, 0 if there is none."""
    cost = nn.functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none")
    return (cost * batch.valid).sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


class GapFraction:
    """A metric: the fraction of valid pixels that are predicted gap, `gap_fraction`, and at each threshold, `gap_fraction@2m`."""

    def __init__(self) -> None:
        self.gaps: Tensor | None = None  # (K,) int64, on the device of the logits
        self.pixels: Tensor | None = None  # () int64
        self.thresholds: Tensor | None = None  # (K,) meters

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Count the pixels of a batch. Logits (B, K, H, W)."""
        counted = GapFraction()
        counted.gaps = ((logits > 0) & batch.valid).sum((0, 2, 3))
        counted.pixels, counted.thresholds = batch.valid.sum(), batch.thresholds[0].clone()
        self.merge(counted)

    def merge(self, other: GapFraction) -> None:
        """Add the counts of another metric."""
        if other.gaps is None or other.pixels is None:
            return
        self.gaps = other.gaps if self.gaps is None else self.gaps + other.gaps
        self.pixels = other.pixels if self.pixels is None else self.pixels + other.pixels
        self.thresholds = other.thresholds

    def compute(self) -> dict[str, float]:
        """Return the fractions over the pass; NaN without a valid pixel, nothing without a batch."""
        if self.gaps is None or self.pixels is None or self.thresholds is None:
            return {}
        fractions = (self.gaps / self.pixels).tolist()
        at_thresholds = {
            f"gap_fraction@{height_m:g}m": value for height_m, value in zip(self.thresholds.tolist(), fractions, strict=True)
        }
        return {"gap_fraction": sum(fractions) / len(fractions), **at_thresholds}


@frozen(kw_only=True)
class GapFractionConfig:
    """Fraction of the valid pixels that are predicted gap, at each height threshold and their mean."""

    def build(self) -> GapFraction:
        return GapFraction()


def example_trainer(
    callbacks: Mapping[str, object],
    *,
    network: Callable[[], nn.Module] = SmallNetwork,
    rate: float = 1e-2,
    about: Mapping[str, Any] | None = None,
    check_changes: bool = False,
) -> Trainer:
    """A trainer on the CPU whose weights begin the same each time.

    Args:
        callbacks: By label, as in a run file.
        network: Makes the network.
        rate: Learning rate of AdamW.
        about: What a checkpoint says of the run; nothing if left out.
        check_changes: Whether to fail if a callback changes something that it does not declare.
    """
    torch.manual_seed(0)
    model = network()
    return Trainer(
        model=model,
        loss=example_loss,
        optimizer=torch.optim.AdamW(model.parameters(), lr=rate),
        metrics={"gaps": GapFraction},
        callbacks=callbacks,
        environment=Environment(device="cpu"),
        about=dict(about or {}),
        check_changes=check_changes,
    )


def train_example(callbacks: Mapping[str, object], *, epochs: int = 3, resume: Path | None = None, **settings: Any) -> Trainer:
    """Trains `STEPS` steps an epoch, each epoch with a validation of two batches of 2 tiles of 16 pixels at 3 thresholds.

    Args:
        callbacks: By label, as in a run file.
        epochs: When to end.
        resume: A checkpoint to go on from.
        settings: Of `example_trainer`.
    """
    trainer = example_trainer(callbacks, **settings)
    if resume is not None:
        trainer.load_state_dict(load_checkpoint(resume))
    batches = [example_batch(samples=2, size=16, seed=seed) for seed in range(STEPS)]
    trainer.fit(batches, batches[:2], epochs=epochs)
    return trainer
