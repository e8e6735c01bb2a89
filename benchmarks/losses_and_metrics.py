"""What a loss and a count cost beside the libraries most people would take.

    python benchmarks/losses_and_metrics.py --json losses_and_metrics.json

How to read it: a ratio of 0.40 means 0.40 of the peer's CPU time, in one thread. Both work on the same logits and the same gaps, 16
samples of 256 x 256 pixels at five thresholds; jobs take turns (see `interleaved`). Before anything is timed, both must give the
same numbers.

- **Loss**: forward and backward of `focal_dice`, with a fifth of the pixels without data and a weight for each threshold, against
  MONAI's DiceFocalLoss, which does neither; then with `pos_weight` and `label_smoothing` besides.
- **Counts**: one update of a confusion matrix for each of five thresholds, against torchmetrics' BinaryConfusionMatrix without
  validation, which pools the thresholds; and the same with pixels to ignore. MultilabelConfusionMatrix, which tells the
  thresholds apart, stands there for orientation.

Needs forestgaps-losses and forestgaps-metrics; a peer that is not installed is left out, and says so.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import torch
from interleaved import Comparison, Job, interleaved, record, save, surroundings, table
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.focal_dice import CombinedFocalDiceLoss
from forestgaps_metrics.confusion import ConfusionMatrix

SAMPLES, SIZE = 16, 256  # pixels
THRESHOLDS = (2.0, 5.0, 10.0, 15.0, 20.0)  # meters
WITHOUT_DATA = 0.2  # fraction of pixels
IGNORED = -1


def peer(module: str) -> ModuleType | None:
    """The library, or None, with a sentence, where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, on import
            return __import__(module, fromlist=["_"])
    except ImportError as error:
        print(f"skipped what is compared with {module}: {error}\n")
        return None


def question(nodata: float) -> tuple[Batch, Tensor]:
    batch = example_batch(samples=SAMPLES, size=SIZE, thresholds=THRESHOLDS, nodata=nodata)
    return batch, example_logits(batch)


def step(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Job:
    """Forward and backward, down to the logits."""
    leaf = logits.clone().requires_grad_()

    def job() -> None:
        leaf.grad = None
        torch.autograd.backward(loss(leaf))

    return job


def same_loss(losses: ModuleType) -> None:
    """Value and gradient of the two agree where both accept the same input: no mask, no weights.

    Raises:
        AssertionError: They do not.
    """
    batch, logits = question(nodata=0.0)
    logits.requires_grad_()
    smooth = 1e-3
    pixels = smooth * SIZE * SIZE
    theirs = losses.DiceFocalLoss(sigmoid=True, smooth_nr=pixels, smooth_dr=pixels)(logits, batch.target)
    ours = CombinedFocalDiceLoss(eps=smooth)(logits, batch)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (ours, theirs)))


def compared_losses(rounds: int) -> Iterator[Comparison]:
    losses = peer("monai.losses")
    if losses is None:
        return
    same_loss(losses)
    batch, logits = question(WITHOUT_DATA)
    weighted = CombinedFocalDiceLoss(threshold_weights={"2": 3.0, "20": 1.0})
    everything = attrs.evolve(weighted, pos_weight=2.0, label_smoothing=0.1)
    monai = losses.DiceFocalLoss(sigmoid=True)
    jobs = {
        "MONAI DiceFocalLoss": step(lambda x: monai(x, batch.target), logits),
        "focal_dice, mask and threshold weights": step(lambda x: weighted.build()(x, batch), logits),
        "focal_dice, also pos_weight and label_smoothing": step(lambda x: everything.build()(x, batch), logits),
    }
    reference, *ours = jobs
    yield Comparison(
        f"focal-dice, forward and backward, {tuple(logits.shape)}",
        interleaved(jobs, rounds=rounds),
        reference,
        dict.fromkeys(ours, 0.4),
    )


def compared_counts(rounds: int) -> Iterator[Comparison]:
    classification = peer("torchmetrics.classification")
    if classification is None:
        return
    for nodata, ignored, goal in ((0.0, None, 0.4), (WITHOUT_DATA, IGNORED, 0.2)):
        batch, logits = question(nodata)
        settings: dict[str, Any] = {"ignore_index": ignored, "validate_args": False}
        binary = classification.BinaryConfusionMatrix(**settings)
        multilabel = classification.MultilabelConfusionMatrix(num_labels=len(THRESHOLDS), **settings)
        labels = batch.target.long().masked_fill(~batch.valid, IGNORED)
        counts = ConfusionMatrix()
        same_counts(counts, binary, multilabel, logits, batch, labels)
        jobs: dict[str, Job] = {
            "torchmetrics BinaryConfusionMatrix": lambda: binary.update(logits, labels),  # noqa: B023  # called within this turn
            "torchmetrics MultilabelConfusionMatrix": lambda: multilabel.update(logits, labels),  # noqa: B023
            "confusion, for each threshold": lambda: counts.update(logits, batch),  # noqa: B023
        }
        reference, _, ours = jobs
        pixels = "with pixels to ignore" if nodata else "every pixel counted"
        title = f"confusion counts, one update, {tuple(logits.shape)}, {pixels}"
        yield Comparison(title, interleaved(jobs, rounds=rounds), reference, {ours: goal})


def same_counts(counts: Any, binary: Any, multilabel: Any, logits: Tensor, batch: Batch, labels: Tensor) -> None:
    """The three count the same pixels.

    Raises:
        AssertionError: They do not.
    """
    counts.update(logits, batch)
    binary.update(logits, labels)
    multilabel.update(logits, labels)
    assert torch.equal(counts.matrix, multilabel.confmat), "the counts differ from MultilabelConfusionMatrix"
    assert torch.equal(counts.matrix.sum(0), binary.confmat), "the counts differ from BinaryConfusionMatrix"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each comparison")
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = surroundings(["torch", "monai", "torchmetrics", "forestgaps-losses", "forestgaps-metrics"])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds, 1 thread\n")
    comparisons = []
    for compared in (compared_losses, compared_counts):
        for comparison in compared(arguments.rounds):
            print(table(comparison), end="\n\n", flush=True)
            comparisons.append(record(comparison))
    save(arguments.json, {"about": about, "rounds": arguments.rounds, "comparisons": comparisons})


if __name__ == "__main__":
    main()
