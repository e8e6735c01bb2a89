"""A trainer to tell callbacks about, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define, field
from torch import Tensor, nn

from forestgaps_core import Batch, Trainer
from forestgaps_core.checkpoint import load_checkpoint
from forestgaps_core.environment import Environment
from forestgaps_core.testing import example_batch


@define(eq=False)
class StandIn:
    """What a callback may use of a trainer."""

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
    about: dict[str, Any] = field(factory=dict)
    scores: dict[str, float] = field(factory=dict)

    @property
    def total_steps(self) -> int | None:
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs

    def stop(self, reason: str, *, final: bool = True) -> None:
        self.stopped, self.final = reason, final

    def checkpoint(self, path: Path) -> None:
        self.written.append(path)


@pytest.fixture
def trainer() -> StandIn:
    return StandIn()


class OneByOne(nn.Module):
    """The smallest network with weights, a norm and dropout: logits of each pixel from its height above the tile's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 1, 1)
        )

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        above = (dsm - dsm.mean((1, 2, 3), keepdim=True)) / 10
        return self.layers(above) + thresholds[:, :, None, None] / 10


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    cost = nn.functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none")
    return (cost * batch.valid).sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


class GapShare:
    """A metric: the share of pixels called gap, and one per threshold."""

    def __init__(self) -> None:
        self.shares: list[Tensor] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.shares.append((logits > 0).float().mean((0, 2, 3)))

    def merge(self, other: GapShare) -> None:
        self.shares += other.shares

    def compute(self) -> dict[str, float]:
        each = torch.stack(self.shares).mean(0)
        return {"share": each.mean().item(), "share@2m": each[0].item()}


BATCHES = [example_batch(samples=2, size=16, seed=seed) for seed in range(5)]


def real_trainer(
    callbacks: dict[str, object], *, network: Callable[[], nn.Module] = OneByOne, rate: float = 1e-2, about: Any = None
) -> Trainer:
    torch.manual_seed(0)
    model = network()
    return Trainer(
        model=model,
        loss=loss_of,
        optimizer=torch.optim.AdamW(model.parameters(), lr=rate),
        metrics={"gaps": GapShare},
        callbacks=callbacks,
        environment=Environment(device="cpu"),
        about=about or {},
    )


@pytest.fixture
def train() -> Callable[..., Trainer]:
    """Trains five steps an epoch, with validation; optionally on from a checkpoint."""

    def run(callbacks: dict[str, object], *, epochs: int = 3, resume: Path | None = None, **settings: Any) -> Trainer:
        trainer = real_trainer(callbacks, **settings)
        if resume is not None:
            trainer.load_state_dict(load_checkpoint(resume))
        trainer.fit(BATCHES, BATCHES[:2], epochs=epochs)
        return trainer

    return run
