from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from forestgaps_callbacks.progress import Progress, ProgressConfig, shorten_names
from forestgaps_core import ConfigError
from forestgaps_core.testing import check_callback

SCORES = {"train/loss": 0.51234, "train/rate": 1e-3, "validation/loss": 0.6, "validation/gaps/gap_iou": 0.25}


def said(progress: Progress) -> str:
    assert isinstance(progress.console.file, io.StringIO)
    return progress.console.file.getvalue()


def plain(**settings: Any) -> Progress:
    return Progress(console=Console(file=io.StringIO(), width=40), **settings)


def test_contract(tmp_path: Path) -> None:
    check_callback(ProgressConfig(scores=("validation/gaps/gap_iou",)), tmp_path)


def test_without_a_terminal_an_epoch_is_one_plain_line(trainer: Any) -> None:
    progress = plain()
    progress.fit_start(trainer)
    progress.epoch_start(trainer)
    progress.step_end(trainer)
    progress.evaluation_start("validation", 2)
    progress.evaluation_batch()
    progress.evaluation_end()
    trainer.epoch = 1
    progress.epoch_end(trainer, SCORES)
    progress.fit_end(trainer)
    assert re.fullmatch(r"epoch  1/10  loss 0\.5123  gap_iou 0\.2500  \d+\.\d s\n", said(progress))


def test_without_a_gap_iou_the_first_score_of_the_validation_is_shown(trainer: Any) -> None:
    progress = plain()
    progress.epoch_end(trainer, {"train/loss": 0.5, "validation/loss": 0.6, "validation/gaps/f1": 0.25})
    assert "train/loss 0.5000  validation/loss 0.6000" in said(progress)
    assert "f1" not in said(progress)


def test_without_a_pooled_gap_iou_those_of_the_thresholds_are_shown(trainer: Any) -> None:
    progress = plain()
    progress.epoch_end(trainer, {"train/loss": 0.5, "validation/gaps/gap_iou@2m": 0.25, "validation/gaps/gap_iou@5m": 0.5})
    assert "loss 0.5000  gap_iou@2m 0.2500  gap_iou@5m 0.5000" in said(progress)


def test_chosen_scores_are_shown(trainer: Any) -> None:
    progress = plain(scores=("train/rate", "validation/loss"))
    progress.epoch_end(trainer, SCORES)
    assert "train/loss 0.5123  rate 0.0010  validation/loss 0.6000" in said(progress)


def test_a_misspelled_score_is_an_error(trainer: Any) -> None:
    with pytest.raises(ConfigError, match="did you mean 'validation/gaps/gap_iou'"):
        plain(scores=("validation/gaps/gap_oui",)).epoch_end(trainer, SCORES)


def test_titles_are_short_if_they_are_different() -> None:
    assert shorten_names(["validation/a/iou", "validation/b/iou", "validation/b/f1"]) == {
        "validation/a/iou": "validation/a/iou",
        "validation/b/iou": "validation/b/iou",
        "validation/b/f1": "f1",
    }


def test_the_reason_for_a_stop_is_printed(trainer: Any) -> None:
    progress = plain()
    trainer.stop("enough")
    progress.fit_end(trainer)
    assert "stopped after 0 epochs, 0 steps: enough" in said(progress)


def test_on_a_terminal_a_bar_follows_steps_and_validation(train: Callable[..., Any]) -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100))
    trainer = train({"progress": progress}, epochs=2)
    text = said(progress)
    assert "epoch 2/2" in text
    assert f"{trainer.step}/{trainer.total_steps}" in text
    assert progress.bars is None, "the bar is taken down at the end"


def test_the_bar_continues_where_a_resumed_run_does(trainer: Any) -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100))
    trainer.step = 12
    progress.fit_start(trainer)
    assert progress.bars is not None
    assert progress.bars.tasks[0].completed == 12
    assert progress.bars.tasks[0].total == 40
    progress.fit_end(trainer)


def test_without_a_terminal_a_long_epoch_is_reported_in_between(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forestgaps_callbacks.progress.INTERVAL_S", 0.01)
    progress = plain()
    progress.fit_start(trainer)
    wait_for(progress, "training: 0% (0 of 40 steps)")
    trainer.step = 10
    progress.step_end(trainer)
    wait_for(progress, "training: 25% (10 of 40 steps)")
    progress.evaluation_start("validation", 4)
    progress.evaluation_batch()
    wait_for(progress, "evaluating on validation: 25% (1 of 4 batches)")
    progress.fit_end(trainer)
    assert progress.lines is None
    length = len(said(progress))
    time.sleep(0.05)
    assert len(said(progress)) == length, "no line after the end"


def wait_for(progress: Progress, text: str) -> None:
    patience = time.monotonic() + 600
    while text not in said(progress):
        assert time.monotonic() < patience, said(progress)
        time.sleep(0.005)


def test_one_epoch_is_singular(trainer: Any) -> None:
    progress = plain()
    trainer.epoch, trainer.step = 1, 1
    trainer.stop("enough")
    progress.fit_end(trainer)
    assert "stopped after 1 epoch, 1 step: enough" in said(progress)
