"""Sums of losses, with fixed weights (`sum`) or learned weights (`mixture`).

    [loss]
    name = "sum"

    [loss.parts.overlap]
    name = "dice"
    weight = 0.5

    [loss.parts.height]
    name = "crps"
    threshold_weights = "rarity"

Each part is a loss of this package with its own settings, under a label of your choice. The default of `weight` is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from forestgaps_core.components import Batch, Loss
from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import nearest
from forestgaps_core.kinds import build
from forestgaps_losses import LOSSES
from forestgaps_losses.threshold_weights import GapFraction, no_gap_fraction

PREFIX = "forestgaps-losses:"  # of full names, as in the other tables of a run file


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


def read_part_config(label: str, table: Mapping[str, Any]) -> Any:
    """Return the config of a part.

    Raises:
        ValueError: The table of the part has mistakes; the message lists all.
    """
    name = table.get("name")
    name = name.removeprefix(PREFIX) if isinstance(name, str) else name
    if name not in LOSSES:
        raise ValueError(f"{label}.name: found {name!r}{nearest(str(name), LOSSES)}; there is: {', '.join(LOSSES)}")
    module, _, kind = LOSSES[name].partition(":")
    settings = {key: value for key, value in table.items() if key not in ("name", "weight")}
    config, problems = structure_config(settings, getattr(import_module(module), kind), (label,))
    if problems:
        raise ValueError("; ".join(problems))
    return config


def read_part_weight(label: str, table: Mapping[str, Any]) -> float:
    weight = table.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
        raise ValueError(f"{label}.weight: found {weight!r}, expected a number above 0")
    return float(weight)


def validate_parts(instance: Any, attribute: Any, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Validate the field; the message lists the mistakes of all parts."""
    problems = [] if parts else ["there must be at least one part"]
    for label, table in parts.items():
        for read in (read_part_config, read_part_weight):
            try:
                read(label, table)
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))


@frozen(kw_only=True)
class PartsConfig:
    """The settings of a sum and a mixture."""

    parts: Mapping[str, Mapping[str, Any]] = field(
        factory=lambda: {"pixels": {"name": "bce"}, "overlap": {"name": "dice"}},
        validator=validate_parts,
        metadata={
            "help": "Losses of this package by a label of your choice; each has a `name`, its own settings, and a `weight` above 0 "
            "(default 1)."
        },
    )

    def build_parts(self, thresholds: Sequence[float], gap_fraction: GapFraction) -> dict[str, Loss]:
        count_once = cache(gap_fraction)  # for any number of parts
        available: dict[str, Callable[[], Any]] = {"thresholds": lambda: thresholds, "gap_fraction": lambda: count_once}
        return {label: build("loss", read_part_config(label, table), available) for label, table in self.parts.items()}

    def read_weights(self) -> dict[str, float]:
        return {label: read_part_weight(label, table) for label, table in self.parts.items()}


@frozen(kw_only=True)
class SumConfig(PartsConfig):
    """Sum of losses with fixed weights: sum of weight times loss.

    Source: Jadon 2020, section II (such sums in use), arXiv:2006.14822
    """

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = no_gap_fraction) -> Sum:
        return Sum(self.build_parts(thresholds, gap_fraction), self.read_weights())


@frozen(kw_only=True)
class MixtureConfig(PartsConfig):
    """Sum of losses whose weights are learned with the network, for losses on different scales, such as meters and overlap.

    sum(loss / sigma^2 + log sigma), with one sigma for each loss, trained as the weights of the network; `weight` is the initial
    value of 1 / sigma^2.

    Source: Kendall, Gal & Cipolla 2018, eq. 10, arXiv:1705.07115
    """

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = no_gap_fraction) -> Mixture:
        return Mixture(self.build_parts(thresholds, gap_fraction), self.read_weights())
