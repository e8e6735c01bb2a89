from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forestgaps_callbacks.confusion_pictures import (
    ConfusionPictures,
    ConfusionPicturesConfig,
    draw_confusion_figure,
)
from forestgaps_core.testing import check_callback


def test_contract(tmp_path: Path) -> None:
    check_callback(ConfusionPicturesConfig(every=2), tmp_path)


def test_cells_show_pixels_and_their_share_of_the_row() -> None:
    figure = draw_confusion_figure(torch.tensor([[[90, 10], [0, 0]]]), [5.0])
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["90\n90.0 %", "10\n10.0 %", "0", "0"]
    assert ax.get_title() == "gaps below 5 m"


def test_a_picture_is_written_for_each_due_validation(tmp_path: Path, train: Callable[..., Any]) -> None:
    callback = ConfusionPictures(tmp_path / "confusion", every=2)
    train({"confusion": callback}, epochs=4)
    assert sorted(path.name for path in (tmp_path / "confusion").iterdir()) == ["epoch-0002.png", "epoch-0004.png"]
    assert callback.matrices.counts is not None
    assert callback.matrices.counts.sum(dim=(1, 2)).unique().numel() == 1, "every threshold counts the same valid pixels"
