from __future__ import annotations

from forestgaps_tensorboard.hyperparameters import flat


def test_tables_become_dotted_names_and_lists_text() -> None:
    table = {"loss": {"name": "focal", "focus": 2.0}, "thresholds": {"values": [2.0, 5.0]}, "compile": False}
    assert flat(table) == {"loss.name": "focal", "loss.focus": 2.0, "thresholds.values": "2.0, 5.0", "compile": False}
