from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from forestgaps_core import Trainer, hookimpl
from forestgaps_core.testing import check_metric, example_batch, example_logits
from forestgaps_core.testing.example_run import (
    STEPS,
    GapFraction,
    GapFractionConfig,
    StandInTrainer,
    example_trainer,
    train_example,
)


class Seen:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.steps, self.splits, self.epochs = 0, [], 0

    @hookimpl
    def step_end(self) -> None:
        self.steps += 1

    @hookimpl
    def evaluation_start(self, split: str) -> None:
        self.splits.append(split)

    @hookimpl
    def epoch_end(self) -> None:
        self.epochs += 1


def test_a_callback_receives_every_step_validation_and_epoch() -> None:
    seen = Seen()
    trainer = train_example({"seen": seen}, epochs=2, about={"config": {}})
    assert (seen.steps, seen.splits, seen.epochs) == (2 * STEPS, ["validation"] * 2, 2)
    assert {
        "train/loss",
        "train/rate",
        "validation/loss",
        "validation/gaps/gap_fraction",
        *(f"validation/gaps/gap_fraction@{height_m}m" for height_m in (2, 5, 10)),
    } == set(trainer.scores)
    assert trainer.about == {"config": {}}


def test_two_runs_are_the_same_and_so_is_one_that_is_resumed(tmp_path: Path) -> None:
    class Keep:
        @hookimpl
        def step_end(self, trainer: Any) -> None:
            if trainer.step == 7:
                trainer.checkpoint(tmp_path / "seven.safetensors")

    runs = [train_example({"keep": Keep()}, epochs=2, resume=resume) for resume in (None, None, tmp_path / "seven.safetensors")]
    first, *others = ([*run.model.parameters()] for run in runs)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_stand_in_has_what_a_trainer_has() -> None:
    real = example_trainer({})
    assert isinstance(real, Trainer)
    offered = {name for name in dir(StandInTrainer) if not name.startswith("_")} - {"final", "written"}
    assert [name for name in sorted(offered) if not hasattr(real, name)] == []


def test_the_stand_in_remembers_what_it_received(tmp_path: Path) -> None:
    trainer = StandInTrainer(epochs=3, steps_per_epoch=None)
    trainer.stop("enough", final=False)
    trainer.checkpoint(tmp_path / "last.safetensors")
    assert (trainer.stopped, trainer.final, trainer.written, trainer.total_steps) == (
        "enough",
        False,
        [tmp_path / "last.safetensors"],
        None,
    )


def test_the_example_metric_merges() -> None:
    whole, first, second = GapFraction(), GapFraction(), GapFraction()
    for seed, part in enumerate((first, second)):
        batch = example_batch(samples=2, size=8, seed=seed)
        for metric in (whole, part):
            metric.update(example_logits(batch, seed), batch)
    first.merge(second)
    assert first.compute() == whole.compute()


def test_the_example_metric_keeps_the_contract() -> None:
    check_metric(GapFractionConfig())


def test_the_example_metric_counts_valid_pixels_only() -> None:
    batch = example_batch(samples=1, size=8)
    logits = torch.where(batch.valid, -1.0, 1.0).expand_as(batch.target)
    metric = GapFraction()
    metric.update(logits, batch)
    assert set(metric.compute().values()) == {0.0}
