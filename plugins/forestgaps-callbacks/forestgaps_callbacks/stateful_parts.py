"""The parts of a training whose state a callback may save and restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


def collect_stateful_parts(trainer: Trainer) -> dict[str, nn.Module | torch.optim.Optimizer]:
    """Return the network, the loss if it has weights, and the optimizer, by name."""
    parts = {"model": trainer.model, "loss": trainer.loss, "optimizer": trainer.optimizer}
    return {name: part for name, part in parts.items() if isinstance(part, (nn.Module, torch.optim.Optimizer))}
