"""Read batches from any iterable: start at a given batch, group batches into steps, move them to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from forestgaps_core.runtime.distributed import Processes
from forestgaps_core.training.nonfinite_report import StepPosition


def skip_to(train: Any, epoch: int, batch: int) -> Iterable[Any]:
    """The rest of an epoch. With `seek` nothing is read twice; without it, the batches before are read and left."""
    if hasattr(train, "seek"):
        train.seek(epoch, batch)
        rest: Iterable[Any] = train
        return rest
    return islice(train, batch, None)


def move_to_device(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Each batch on the device, the next one already on its way there."""
    waiting = None
    for batch in batches:
        moved = batch.to(device, non_blocking=True)
        if waiting is not None:
            yield waiting
        waiting = moved
    if waiting is not None:
        yield waiting


def group_batches(batches: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group


def find_batch_weights(train: Any, first: int, count: int, processes: Processes) -> list[float]:
    """What each of `count` batches of a step counts, from the batch `first` of the epoch on: the mean over them and, where each
    process has a share, over all samples of each.
    """
    if processes.count == 1:
        return [1 / count] * count
    return [train.weight(first + place) / (count * processes.count) for place in range(count)]


def read_again(train: Any, moment: StepPosition, accumulate: int) -> list[Any]:
    """The batches of a step, on the CPU; none if the loader cannot tell."""
    numbers = range(moment.batch, moment.batch + accumulate)
    if hasattr(train, "read"):
        return [train.read(moment.epoch, number) for number in numbers if number < len(train)]
    return list(train[numbers.start : numbers.stop]) if isinstance(train, Sequence) else []
