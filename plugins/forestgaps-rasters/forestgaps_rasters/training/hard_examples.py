"""More of what the network does worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, field, frozen
from attrs.validators import ge, gt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from forestgaps_core import Batch, hookimpl
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.output.counts import format_count

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


def compute_tile_losses(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy of each tile, over its valid pixels and all thresholds, nats, (B,); NaN without a valid pixel."""
    cross_entropy = binary_cross_entropy_with_logits(logits.float(), batch.target, reduction="none")
    pixels = batch.valid.sum((1, 2, 3)) * logits.shape[1]
    return torch.where(batch.valid, cross_entropy, 0.0).sum((1, 2, 3)) / pixels


def compute_factors(losses: Tensor, strata: Tensor, count: int, *, power: float, limit: float) -> list[float]:
    """How much more often each stratum is to be drawn: (its mean loss / the mean of these means)^power, from 1 / limit to limit.

    A stratum without a tile keeps 1, and so do all where nothing was lost.

    Args:
        losses: Of the tiles, (N,); tiles with NaN count nowhere.
        strata: Of each tile by each criterion, (C, N); -1 for none.
        count: Strata there are.
    """
    losses = losses.to(torch.float64)
    known = (strata >= 0) & ~losses.isnan()
    tiles = torch.bincount(strata[known], minlength=count)
    mean = torch.bincount(strata[known], losses.expand(strata.shape)[known], minlength=count) / tiles
    relative = mean / mean.nanmean()
    factors: list[float] = relative.nan_to_num(nan=1.0).pow(power).clamp(1 / limit, limit).tolist()
    return factors


@frozen(kw_only=True)
class HardExamplesConfig:
    """Draws training crops more often where validation went worst.

    Needs data that draws its crops by classes: `[data.sampling]` with `balance = "gaps"` or `"slope"` (and `evenness = 0` where
    classes are to come as often as they occur). After each validation the mean cross-entropy of the validation tiles of each
    class is compared with the mean of all classes; in the next epoch a class is drawn (its loss / mean loss)^power times as
    often as its balance says. A class without a validation tile is left as it is. Validation then takes part in choosing
    what is learnt from, so evaluate the result on the test split.

    Source: the idea of Shrivastava et al. 2016, arXiv:1604.03540, by class instead of by example.
    """

    power: float = field(default=1.0, validator=gt(0), metadata={"help": "How strongly losses count: 1 in proportion, above 0."})
    limit: float = field(
        default=4.0,
        validator=ge(1),
        metadata={"help": "A class is drawn at most so many times as often as otherwise, or as rarely."},
    )

    def build(self, label: str) -> HardExamples:
        return HardExamples(self.power, self.limit, label)


@define(eq=False)
class HardExamples:
    power: float = 1.0
    limit: float = 4.0
    label: str = "hard_examples"
    factors: list[float] = field(factory=list, init=False)  # of the strata; empty before the first validation
    losses: Tensor | None = field(default=None, init=False)  # of the validation tiles in the current pass, on the device

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        """Before the loader asks for the epoch's first tile. A resumed run comes by here with the factors it stopped with."""
        strata = self.sources(trainer)[0].strata
        if self.factors and len(self.factors) != len(strata):
            raise CheckpointError(
                f"callbacks.{self.label}: the checkpoint has {format_count(len(self.factors), 'class', 'classes')}, the data "
                f"{len(strata)}; resume with the data and the sampling it was made with"
            )
        strata.emphasize(self.factors or [1.0] * len(strata))

    @hookimpl
    def evaluation_start(self, trainer: Trainer, split: str) -> None:
        if split == "validation":
            self.losses = torch.full((len(self.sources(trainer)[1]),), torch.nan, device=trainer.device)

    @hookimpl
    def evaluation_batch(self, split: str, batch: Batch, logits: Tensor) -> None:
        if split == "validation" and self.losses is not None:
            self.losses[batch.index] = compute_tile_losses(logits, batch)

    @hookimpl
    def epoch_end(self, trainer: Trainer) -> None:
        if self.losses is not None:  # one wait for the device
            train, validation = self.sources(trainer)
            self.factors = compute_factors(
                self.losses.cpu(), validation.strata, len(train.strata), power=self.power, limit=self.limit
            )
            self.losses = None

    def sources(self, trainer: Trainer) -> tuple[Any, Any]:
        """The run's training and validation data.

        Raises:
            ConfigError: It does not draw by classes.
        """
        data = getattr(trainer, "data", None)
        train, validation = getattr(data, "train", None), getattr(data, "validation", None)
        if not hasattr(validation, "strata") or len(getattr(train, "strata", ())) < 2:
            raise ConfigError(
                f"callbacks.{self.label}: the data draws its training tiles from one class only; choose data that balances "
                'classes, with balance = "gaps" or "slope" in [data.sampling]'
            )
        return train, validation

    def state_dict(self) -> dict[str, Any]:
        return {"factors": list(self.factors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.factors = list(state["factors"])
