from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_callbacks.checkpoints import Checkpoints
from forestgaps_callbacks.csv_log import CsvLog, CsvLogConfig
from forestgaps_core.testing import build_component, check_callback


@pytest.fixture
def log(tmp_path: Path) -> CsvLog:
    made: CsvLog = build_component("callbacks", CsvLogConfig(every=2), run_folder=tmp_path, label="table")
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_contract(tmp_path: Path) -> None:
    check_callback(CsvLogConfig(every=7), tmp_path)


def test_steps_have_one_row_an_interval_under_fixed_columns(tmp_path: Path, log: CsvLog, trainer: Any) -> None:
    log.fit_start(trainer)
    for trainer.step, loss in enumerate([1.0, 3.0, 5.0, 6.0], start=1):
        log.step_end(trainer, torch.tensor(loss))
    text = (tmp_path / "table_steps.csv").read_text()
    assert text == ("step,epoch,train/loss,train/rate,train/gradient_norm\n2,0,2.0,0.001,\n4,0,5.5,0.001,\n")


def test_a_score_seen_later_gets_a_column_at_the_right_end(tmp_path: Path, log: CsvLog, trainer: Any) -> None:
    log.fit_start(trainer)
    for trainer.epoch, scores in enumerate(
        [{"train/loss": 0.5}, {"train/loss": 0.4, "validation/gaps/iou": math.nan}, {"train/loss": 0.3}], start=1
    ):
        log.epoch_end(trainer, scores)
    text = (tmp_path / "table_epochs.csv").read_text()
    assert text == "step,epoch,train/loss,validation/gaps/iou\n0,1,0.5,\n0,2,0.4,nan\n0,3,0.3,\n"


def test_a_new_run_in_the_same_folder_starts_new_tables(tmp_path: Path, trainer: Any) -> None:
    (tmp_path / "table_epochs.csv").write_text("step,epoch,old\n4,1,2\n")
    build_component("callbacks", CsvLogConfig(), run_folder=tmp_path, label="table").fit_start(trainer)
    assert (tmp_path / "table_epochs.csv").read_text() == "step,epoch\n"


def test_numbers_come_back_as_they_were(tmp_path: Path, log: CsvLog, trainer: Any) -> None:
    log.fit_start(trainer)
    log.epoch_end(trainer, {"train/loss": 1 / 3})
    assert float(rows(tmp_path / "table_epochs.csv")[0]["train/loss"]) == 1 / 3


@pytest.mark.parametrize("every_steps", [1, 3])
def test_the_tables_of_a_resumed_run_equal_those_of_one_never_stopped(
    tmp_path: Path, train: Callable[..., Any], every_steps: int
) -> None:
    kept = tmp_path / "kept"

    class Keep(Checkpoints):
        def save_last(self, trainer: Any) -> None:
            trainer.checkpoint(kept / f"{trainer.step}_{trainer.epoch}.safetensors")

    def callbacks() -> dict[str, object]:
        log = build_component("callbacks", CsvLogConfig(every=2), run_folder=tmp_path, label="table")
        return {"log": log, "keep": Keep(tmp_path / "c", every_steps=every_steps)}

    def tables() -> list[str]:
        return [(tmp_path / f"table_{what}.csv").read_text() for what in ("steps", "epochs")]

    train(callbacks())
    whole = tables()
    assert [text.count("\n") for text in whole] == [1 + 7, 1 + 3]
    for checkpoint in sorted(kept.iterdir()):
        train(callbacks(), resume=checkpoint)
        assert tables() == whole, f"resumed from {checkpoint.name}"
