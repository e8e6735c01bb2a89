"""Sums of losses, with fixed weights (`sum`) or learned weights (`mixture`).

    [loss]
    name = "sum"
    weights = {overlap = 0.5}

    [loss.parts.overlap]
    name = "dice"

    [loss.parts.height]
    name = "crps"
    threshold_weights = "rarity"

Each part is a loss of any package with its own settings, under a label of your choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from forestgaps_core import Batch, Component, Loss
from forestgaps_core.errors import nearest
from forestgaps_losses.bce import Bce
from forestgaps_losses.dice import Dice


class Sum(nn.Module):
    """sum(weight loss)."""

    def __init__(self, parts: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts, self.weights = dict(parts), dict(weights)
        self.trainable = nn.ModuleList(part for part in parts.values() if isinstance(part, nn.Module))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return torch.stack([self.weights[label] * part(logits, batch) for label, part in self.parts.items()]).sum()


class Mixture(nn.Module):
    """sum(exp(-s) loss + s / 2) with a learned s = log sigma^2 for each loss; 0 in a batch without a valid pixel.

    The weight of a loss is 1 / sigma^2. For a loss of constant value L it converges to 1 / (2 L). The sum may be negative.
    """

    def __init__(self, parts: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = dict(parts)
        self.trainable = nn.ModuleList(part for part in parts.values() if isinstance(part, nn.Module))
        self.log_variance = nn.Parameter(torch.tensor([-math.log(weights[label]) for label in parts]))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = torch.stack([part(logits, batch) for part in self.parts.values()])
        regularization = self.log_variance / 2 * batch.valid.any()
        return (torch.exp(-self.log_variance) * losses + regularization).sum()

    def compute_weights(self) -> dict[str, Tensor]:
        """Return the learned weight of each part, by label."""
        return dict(zip(self.parts, torch.exp(-self.log_variance.detach()), strict=True))


def validate_parts(instance: Any, attribute: Any, parts: Mapping[str, Any]) -> None:
    if not parts:
        raise ValueError("there must be at least one part")


def validate_weights(instance: Any, attribute: Any, weights: Mapping[str, float]) -> None:
    for label, weight in weights.items():
        if not 0 < weight < math.inf:
            raise ValueError(f"{label} = {weight}, expected a number above 0")
        if instance is not None and label not in instance.parts:
            raise ValueError(f"{label!r} is not a part{nearest(label, instance.parts)}; there is: {', '.join(instance.parts)}")


@frozen(kw_only=True)
class PartsConfig:
    """The settings of a sum and a mixture."""

    parts: Mapping[str, Component["loss"]] = field(  # noqa: F821, UP037
        factory=lambda: {"pixels": Bce(), "overlap": Dice()},
        validator=validate_parts,
        metadata={"help": "Losses of any package by a label of your choice, each with a `name` and its own settings."},
    )
    weights: Mapping[str, float] = field(
        factory=dict,
        validator=validate_weights,
        metadata={"help": "Weight of each part by its label, above 0. The default of a part is 1."},
    )

    def build_parts(self, build_inner: Callable[[Any], Loss]) -> dict[str, Loss]:
        return {label: build_inner(part) for label, part in self.parts.items()}

    def list_weights(self) -> dict[str, float]:
        return {label: self.weights.get(label, 1.0) for label in self.parts}


@frozen(kw_only=True)
class SumConfig(PartsConfig):
    """Sum of losses with fixed weights: sum of weight times loss.

    Source: Jadon 2020, section II (such sums in use), arXiv:2006.14822
    """

    def build(self, build_inner: Callable[[Any], Loss]) -> Sum:
        return Sum(self.build_parts(build_inner), self.list_weights())


@frozen(kw_only=True)
class MixtureConfig(PartsConfig):
    """Sum of losses whose weights are learned with the network, for losses on different scales, such as meters and overlap.

    sum(loss / sigma^2 + log sigma), with one sigma for each loss, trained as the weights of the network; `weights` are the initial
    values of 1 / sigma^2.

    Source: Kendall, Gal & Cipolla 2018, eq. 10, arXiv:1705.07115
    """

    def build(self, build_inner: Callable[[Any], Loss]) -> Mixture:
        return Mixture(self.build_parts(build_inner), self.list_weights())
