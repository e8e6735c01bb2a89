from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_callbacks.checkpoints import Checkpoints
from forestgaps_callbacks.json_lines import JsonLines, JsonLinesConfig
from forestgaps_core.testing import build_component, check_callback


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_contract(tmp_path: Path) -> None:
    check_callback(JsonLinesConfig(every=7, timestamps=True), tmp_path)


def test_the_file_is_named_after_the_label(tmp_path: Path, trainer: Any) -> None:
    build_component("callbacks", JsonLinesConfig(), run_folder=tmp_path, label="log").fit_start(trainer)
    assert (tmp_path / "log.jsonl").exists()


def test_a_step_row_has_the_mean_loss_of_its_interval(tmp_path: Path, trainer: Any) -> None:
    log = JsonLines(tmp_path / "log.jsonl", every=2)
    log.fit_start(trainer)
    trainer.gradient_norm = torch.tensor(1.5)
    for trainer.step, loss in enumerate([1.0, 3.0, 5.0, 6.0, 9.0], start=1):
        log.step_end(trainer, torch.tensor(loss))
    first, second = rows(log.path)
    assert first == {"row": "step", "step": 2, "epoch": 0, "train/loss": 2.0, "train/rate": 1e-3, "train/gradient_norm": 1.5}
    assert (second["step"], second["train/loss"]) == (4, 5.5)


def test_an_epoch_row_has_every_score_and_null_for_nan(tmp_path: Path, trainer: Any) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.fit_start(trainer)
    trainer.step, trainer.epoch = 4, 1
    log.epoch_end(trainer, {"train/loss": 0.5, "validation/gaps/gap_iou@5m": math.nan})
    assert rows(log.path) == [{"row": "epoch", "step": 4, "epoch": 1, "train/loss": 0.5, "validation/gaps/gap_iou@5m": None}]


def test_the_log_shares_no_memory_with_the_loss(tmp_path: Path, trainer: Any) -> None:
    log = JsonLines(tmp_path / "log.jsonl", every=2)
    log.fit_start(trainer)
    loss = torch.tensor(1.0)
    trainer.step = 1
    log.step_end(trainer, loss)
    trainer.step = 2
    log.step_end(trainer, torch.tensor(3.0))
    assert loss == 1.0


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path, trainer: Any) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    whole = '{"row": "step", "step": 50, "epoch": 0}\n'
    log.path.write_text(whole + '{"row": "step", "st')
    trainer.step = 60
    log.fit_start(trainer)
    assert log.path.read_text() == whole


@pytest.mark.parametrize("every_steps", [1, 3, 5, 7])
def test_the_log_of_a_resumed_run_equals_that_of_one_never_stopped(
    tmp_path: Path, train: Callable[..., Any], every_steps: int
) -> None:
    """Killed at every possible place: each checkpoint of the whole run is one."""
    kept = tmp_path / "kept"

    class Keep(Checkpoints):
        def save_last(self, trainer: Any) -> None:
            trainer.checkpoint(kept / f"{trainer.step}_{trainer.epoch}.safetensors")

    def callbacks() -> dict[str, object]:
        return {"log": JsonLines(tmp_path / "log.jsonl", every=2), "keep": Keep(tmp_path / "c", every_steps=every_steps)}

    train(callbacks())
    whole = (tmp_path / "log.jsonl").read_text()
    assert len(whole.splitlines()) == 7 + 3
    for checkpoint in sorted(kept.iterdir()):
        train(callbacks(), resume=checkpoint)
        assert (tmp_path / "log.jsonl").read_text() == whole, f"resumed from {checkpoint.name}"
