"""Stratified sampling: each class of places has an equal chance, so a data source can balance its samples."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from operator import mul

import torch
from attrs import field, frozen
from torch import Tensor


@frozen(eq=False)
class Strata:
    """Places drawn by inverse distribution: first a stratum, then a place in it, each by one number in [0, 1).

    A criterion (slope, or gap fraction at one threshold) sorts places into classes; a stratum is one class of one criterion that
    has any place. With several criteria a place is in several strata.

    Attributes:
        numbers: The stratum of each class of each criterion, (C, classes) int64; -1 where a class has no place.
        share: How often each stratum is drawn before emphasis, 1 in sum.
        places: The places of stratum 0, then those of stratum 1 ...
        ruler: Where the stretch of each of them ends: stratum s runs from s to s + 1, shared out by weight.
        emphasis: Factors on `share`, (S,) float64, in shared memory: loader processes see what is written here.
    """

    numbers: Tensor
    share: tuple[float, ...]  # a tuple is searched without any tensor operation
    places: tuple[int, ...]
    ruler: tuple[float, ...]
    emphasis: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        ones = torch.ones(len(self.share), dtype=torch.float64)
        shared: Tensor = ones.share_memory_()  # type: ignore[no-untyped-call]  # torch gives it no types
        object.__setattr__(self, "emphasis", shared)

    def __len__(self) -> int:
        return len(self.share)

    def stratum(self, number: float) -> int:
        bounds = tuple(accumulate(map(mul, self.share, self.emphasis.tolist())))
        return min(bisect_right(bounds, number * bounds[-1]), len(self) - 1)

    def place(self, stratum: int, number: float) -> int:
        # Nearer to 1, rounding could lead to the next stratum.
        return self.places[bisect_right(self.ruler, stratum + min(number, 1 - 2**-32))]

    def of(self, classes: Tensor) -> Tensor:
        """Strata of other places by their classes, (C, N) int64 both; -1 for no class, and for a class without a place here."""
        found = self.numbers.gather(1, classes.clamp(min=0))
        return torch.where(classes >= 0, found, -1)

    def emphasize(self, factors: Sequence[float]) -> None:
        """Draw stratum s `factors[s]` times as often as otherwise, relative to the others."""
        if len(factors) != len(self):
            raise ValueError(f"{len(factors)} factors for {len(self)} strata")
        self.emphasis.copy_(torch.tensor(factors, dtype=torch.float64))


def make_strata(classes: Tensor, weights: Tensor, *, count: int, evenness: float = 1.0) -> Strata:
    """Strata with equal shares: weights that balance classes are made here and nowhere else.

    Each criterion gives an equal part of all draws. Within a criterion, a class that has the share q of all weight is drawn in
    proportion to q^(1 - evenness): `evenness` 1, every class as often; 0, as often as its places weigh. Within a stratum places
    are drawn by weight.

    Args:
        classes: Class of each place by each criterion, (C, N) int64 from 0 to `count` - 1, or -1 for none.
        weights: Of the places, (N,), none negative.

    Raises:
        ValueError: No place with a weight has a class.
    """
    criteria, places = classes.shape
    spread = weights.to(torch.float64).expand(criteria, places)
    known = (classes >= 0) & (spread > 0)
    if not known.any():
        raise ValueError("no place has a class")
    flat = (classes + count * torch.arange(criteria)[:, None])[known]
    order = flat.argsort(stable=True)
    flat, weight = flat[order], spread[known][order]
    total = torch.bincount(flat, weight, minlength=criteria * count)
    some = total > 0
    numbers = torch.where(some, some.cumsum(0) - 1, -1)
    stratum = numbers[flat]
    # Sums round: no stretch may reach into the next stratum.
    ruler = torch.minimum((weight / total[flat]).cumsum(0), stratum + 1.0)
    table = total.view(criteria, count)
    share = torch.where(table > 0, (table / table.sum(1, keepdim=True)).pow(1 - evenness), 0.0)
    share = (share / share.sum(1, keepdim=True)).nan_to_num(nan=0.0).flatten()[some]
    entries = torch.arange(places).expand(criteria, places)[known][order]
    return Strata(
        numbers.view(criteria, count), tuple((share / share.sum()).tolist()), tuple(entries.tolist()), tuple(ruler.tolist())
    )


def classify(values: Tensor, borders: Sequence[float]) -> Tensor:
    """Class of each value among `borders`, ascending: 0 below the first; a value on a border is above it; -1 for NaN."""
    classes = torch.bucketize(values.contiguous(), torch.tensor(borders, dtype=values.dtype), right=True)
    return torch.where(values.isnan(), -1, classes)
