from __future__ import annotations

import torch
from attrs import frozen

from forestgaps_core import Metric
from forestgaps_core.contracts import describe_component
from forestgaps_core.runtime.distributed import ALONE, Processes
from forestgaps_core.testing import example_batch
from forestgaps_core.training.evaluation_loop import Evaluation


class Samples(Metric):
    def __init__(self):
        self.count = 0

    def update(self, logits, batch):
        self.count += len(batch)

    def merge(self, other):
        self.count += other.count

    def compute(self):
        return {"count": float(self.count)}


def gathered(*losses, bad=()):
    seen = Evaluation("test", {"samples": Samples}, lambda place, thing: describe_component(None, place, thing))
    for place, loss in enumerate(losses):
        batch = example_batch(samples=2, size=16, seed=place)
        logits = torch.zeros_like(batch.target) / (0.0 if place in bad else 1.0)
        seen.update(logits, batch, torch.tensor(loss))
    return seen


@frozen
class TwoProcesses(Processes):
    """Of which the other has gathered this."""

    other: Evaluation | None = None

    def gathered(self, thing):
        return [thing, (self.other.losses, self.other.metrics, self.other.values)]


def test_scores_are_named_by_split_label_and_value():
    assert gathered(1.0, 4.0).scores(ALONE) == {"test/loss": 2.5, "test/samples/count": 4.0}
    assert gathered().scores(ALONE) == {"test/samples/count": 0.0}


def test_losses_of_two_processes_come_in_the_order_of_the_batches_and_their_metrics_together():
    seen = gathered(0.0, 2.0, 4.0)
    here = TwoProcesses(0, 2, other=gathered(1.0, 3.0))
    assert [float(loss) for loss in seen._gather_losses(here)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert seen.metrics["samples"].count == 10


def test_values_logged_in_a_pass_are_means_over_all_processes():
    seen, other = gathered(0.0), gathered(1.0)
    for values, numbers in ((seen.values, (1.0, 2.0)), (other.values, (6.0,))):
        for number in numbers:
            values.add("part", torch.tensor(number))
    assert seen.scores(TwoProcesses(0, 2, other=other))["test/part"] == 3.0


def test_what_is_not_finite_is_reported_with_its_batch():
    assert gathered(1.0, 1.0).describe_nonfinite(None) is None
    assert gathered().describe_nonfinite(None) is None
    said = gathered(1.0, 1.0, bad=[1]).describe_nonfinite(None)
    assert said.startswith("what the network returns is not finite in batch 2 of the test split, with tile")
