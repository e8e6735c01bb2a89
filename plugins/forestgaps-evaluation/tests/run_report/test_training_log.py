from __future__ import annotations

import json

import pytest

from forestgaps_evaluation.run_report.training_log import make_training_charts, read_training_log

ROWS = [
    {"row": "step", "step": 1, "epoch": 0, "train/loss": 9.0},
    {
        "row": "epoch",
        "step": 2,
        "epoch": 1,
        "train/loss": 0.5,
        "train/rate": 1e-3,
        "validation/loss": 0.4,
        "validation/gaps/mean_iou": 0.3,
    },
    {
        "row": "epoch",
        "step": 4,
        "epoch": 2,
        "train/loss": 0.2,
        "train/rate": 0.0,
        "validation/loss": None,
        "validation/gaps/mean_iou": 0.6,
    },
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"row": "epo')
    return tmp_path


def test_epochs_are_read_and_what_is_missing_is_unknown(folder):
    log = read_training_log(folder)
    assert log.epochs == (1, 2)
    assert log.scores["train/loss"] == (0.5, 0.2)
    assert str(log.scores["validation/loss"]) == "(0.4, nan)"
    assert "epoch" not in log.scores


def test_loss_score_and_rate_are_drawn(folder):
    charts = {chart.name: chart for chart in make_training_charts(read_training_log(folder), 2)}
    assert list(charts) == ["training-loss", "training-score", "training-rate"]
    assert "0.3 to 0.6" in charts["training-score"].description
    assert all('class="line marker"' in "".join(chart.parts) for chart in charts.values())
    assert 'class="line reference"' in "".join(charts["training-loss"].parts)


def test_a_run_without_a_log_has_none(tmp_path):
    assert read_training_log(tmp_path) is None
    assert read_training_log(tmp_path / "best.safetensors") is None
    (tmp_path / "log.jsonl").write_text('{"row": "step", "train/loss": 1}\n[1]\n')
    assert read_training_log(tmp_path) is None


def test_logs_of_few_scores_give_few_charts(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"row": "epoch", "epoch": 1, "train/loss": 0.5}\n')
    charts = make_training_charts(read_training_log(tmp_path), None)
    assert [chart.name for chart in charts] == ["training-loss"]
    assert 'class="line marker"' not in "".join(charts[0].parts)
