"""Words from elsewhere, as TensorBoard would show them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from forestgaps_tensorboard.board import TensorBoard, format_as_code
from forestgaps_tensorboard.hyperparameters import add_hyperparameters

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what TensorBoard brings along
    from tensorboard.plugin_util import markdown_to_safe_html

EVIL = "<script>window.ran = 1</script> <img src=x onerror=alert(1)> [x](javascript:alert(1))\n\n# {{7*7}} \x1b[2J"


class Boastful(torch.nn.Module):
    def forward(self, dsm: Any, valid: Any, thresholds: Any) -> Any:
        raise RuntimeError(EVIL)


def test_the_text_of_a_network_is_shown_as_it_is(tmp_path: Path, trainer: Any) -> None:
    board = TensorBoard(tmp_path)
    trainer.model, trainer.step = Boastful(), 3
    with SummaryWriter(str(tmp_path)) as writer:
        board.add_graph(trainer, writer, (torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool), torch.ones(1, 1)))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (text,) = events.Tensors("graph/text_summary")[0].tensor_proto.string_val
    assert b"\x1b" not in text
    assert b"cannot be drawn" in text
    shown = markdown_to_safe_html(text)
    assert not {"<script", "<img", "<a ", "<h1"} & {part for part in ("<script", "<img", "<a ", "<h1") if part in shown}


@pytest.mark.parametrize("text", [EVIL, "```\n" + EVIL, "one line", ""])
def test_lines_of_code_stay_lines_of_code(text: str) -> None:
    assert all(line.startswith("    ") for line in format_as_code(text).splitlines())
    shown = markdown_to_safe_html(f"Before:\n\n{format_as_code(text)}")
    assert "<img" not in shown
    assert "<script" not in shown


def test_settings_are_values_and_not_names_of_files(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "board")) as writer:
        add_hyperparameters(writer, {"model": {"name": EVIL, "../../x": EVIL, EVIL: 1}}, {"validation/loss": 1.0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board"]
    assert all(path.name.startswith("events.out.tfevents.") for path in (tmp_path / "board").iterdir())
