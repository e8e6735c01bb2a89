from __future__ import annotations

import pytest
import torch

from forestgaps_core.runtime.distributed import ALONE, Processes
from forestgaps_core.training.batch_iteration import find_batch_weights, group_batches, move_to_device, read_again, skip_to
from forestgaps_core.training.nonfinite_report import StepPosition

CPU = torch.device("cpu")


class Loader:
    """Of batches that are numbers, with all that a loader may have."""

    def __init__(self):
        self.place = (0, 0)

    def __len__(self):
        return 5

    def __iter__(self):
        return iter(range(self.place[1], 5))

    def seek(self, epoch, batch):
        self.place = (epoch, batch)

    def read(self, epoch, batch):
        return (epoch, batch)

    def weight(self, batch):
        return batch + 1.0


def test_a_loader_with_seek_is_sent_to_its_place_and_others_are_read_up_to_it():
    loader = Loader()
    assert list(skip_to(loader, 3, 2)) == [2, 3, 4]
    assert loader.place == (3, 2)
    assert list(skip_to(iter("abcde"), 3, 2)) == ["c", "d", "e"]


def test_one_batch_is_on_its_way_while_another_is_used():
    moved = []

    class Moving:
        def to(self, device, non_blocking):
            moved.append(self)
            return self

    batches = move_to_device((Moving() for _ in range(3)), CPU)
    assert [(next(batches) is moved[place], len(moved)) for place in range(3)] == [(True, 2), (True, 3), (True, 3)]
    assert list(move_to_device([], CPU)) == []


def test_the_last_group_may_be_short():
    assert list(group_batches(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_batches_of_a_step_count_alike_or_by_their_samples():
    assert find_batch_weights([], 0, 4, ALONE) == [0.25] * 4
    assert find_batch_weights(Loader(), 2, 2, Processes(rank=1, count=3)) == pytest.approx([3 / 6, 4 / 6])


def test_the_batches_of_a_step_are_read_again_where_that_is_possible():
    moment = StepPosition(step=2, epoch=7, batch=4)
    assert read_again(Loader(), moment, 2) == [(7, 4)]
    assert read_again(list("abcdef"), moment, 2) == ["e", "f"]
    assert read_again(iter("abcdef"), moment, 2) == []
