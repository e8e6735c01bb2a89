"""Several losses in one: a sum with weights that are given, and a mixture with weights that are learned.

    [loss]
    name = "sum"

    [loss.parts.overlap]
    name = "dice"
    weight = 0.5

    [loss.parts.height]
    name = "crps"
    threshold_weights = "rarity"

Each part is a loss of this package with its own settings, under a label of your choice; `weight` is 1 if not said.
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
from forestgaps_core.config.converter import structured
from forestgaps_core.errors import nearest
from forestgaps_core.kinds import build
from forestgaps_losses import LOSSES
from forestgaps_losses.threshold_weights import GapFraction, unknown

OWN = "forestgaps-losses:"  # a full name, as anywhere else in a run file


class Sum(nn.Module):
    """sum(weight loss)."""

    def __init__(self, parts: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts, self.weights = dict(parts), dict(weights)
        self.learning = nn.ModuleList(part for part in parts.values() if isinstance(part, nn.Module))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return torch.stack([self.weights[label] * part(logits, batch) for label, part in self.parts.items()]).sum()


class Mixture(nn.Module):
    """sum(exp(-s) loss + s / 2) with a learned s = log sigma^2 for each loss; 0 in a batch without a valid pixel.

    So a loss weighs 1 / sigma^2, and left alone with a loss of constant value L, s comes to rest where that weight is 1 / (2 L).
    Unlike other losses it may be negative.
    """

    def __init__(self, parts: Mapping[str, Loss], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = dict(parts)
        self.learning = nn.ModuleList(part for part in parts.values() if isinstance(part, nn.Module))
        self.log_variance = nn.Parameter(torch.tensor([-math.log(weights[label]) for label in parts]))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = torch.stack([part(logits, batch) for part in self.parts.values()])
        doubt = self.log_variance / 2 * batch.valid.any()
        return (torch.exp(-self.log_variance) * losses + doubt).sum()

    def weights(self) -> dict[str, Tensor]:
        """The weight of each part as learned so far, by label."""
        return dict(zip(self.parts, torch.exp(-self.log_variance.detach()), strict=True))


def part_config(label: str, table: Mapping[str, Any]) -> Any:
    """The config of a part.

    Raises:
        ValueError: With all mistakes in its table.
    """
    name = table.get("name")
    name = name.removeprefix(OWN) if isinstance(name, str) else name
    if name not in LOSSES:
        raise ValueError(f"{label}.name: found {name!r}{nearest(str(name), LOSSES)}; there is: {', '.join(LOSSES)}")
    module, _, kind = LOSSES[name].partition(":")
    settings = {key: value for key, value in table.items() if key not in ("name", "weight")}
    config, problems = structured(settings, getattr(import_module(module), kind), (label,))
    if problems:
        raise ValueError("; ".join(problems))
    return config


def part_weight(label: str, table: Mapping[str, Any]) -> float:
    weight = table.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
        raise ValueError(f"{label}.weight: found {weight!r}, expected a number above 0")
    return float(weight)


def understood(instance: Any, attribute: Any, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Validates the field, with the mistakes of all parts."""
    problems = [] if parts else ["there must be at least one part"]
    for label, table in parts.items():
        for read in (part_config, part_weight):
            try:
                read(label, table)
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))


@frozen(kw_only=True)
class Parts:
    """What a sum and a mixture have in common."""

    parts: Mapping[str, Mapping[str, Any]] = field(
        factory=lambda: {"pixels": {"name": "bce"}, "overlap": {"name": "dice"}},
        validator=understood,
        metadata={
            "help": "Losses of this package by a label of your choice; each has a `name`, its own settings, and a `weight` above 0 "
            "(1 if not said)."
        },
    )

    def losses(self, thresholds: Sequence[float], gap_fraction: GapFraction) -> dict[str, Loss]:
        counted_once = cache(gap_fraction)  # however many parts ask
        available: dict[str, Callable[[], Any]] = {"thresholds": lambda: thresholds, "gap_fraction": lambda: counted_once}
        return {label: build("loss", part_config(label, table), available) for label, table in self.parts.items()}

    def weights(self) -> dict[str, float]:
        return {label: part_weight(label, table) for label, table in self.parts.items()}


@frozen(kw_only=True)
class SumConfig(Parts):
    """A sum of losses with the weights you give: sum of weight times loss.

    Source: Jadon 2020, section II (such sums in use), arXiv:2006.14822
    """

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = unknown) -> Sum:
        return Sum(self.losses(thresholds, gap_fraction), self.weights())


@frozen(kw_only=True)
class MixtureConfig(Parts):
    """A sum of losses whose weights are learned with the network: each by how well it can be brought down.

    sum(loss / sigma^2 + log sigma), with one sigma for each loss, trained by gradient like the network; `weight` is where
    1 / sigma^2 begins. For losses on different scales, such as meters and overlap.

    Source: Kendall, Gal & Cipolla 2018, eq. 10, arXiv:1705.07115
    """

    def build(self, thresholds: Sequence[float] = (), gap_fraction: GapFraction = unknown) -> Mixture:
        return Mixture(self.losses(thresholds, gap_fraction), self.weights())
