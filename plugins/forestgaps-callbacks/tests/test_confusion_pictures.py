from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_callbacks.confusion_pictures import (
    ConfusionPictures,
    ConfusionPicturesConfig,
    confusion_counts,
    confusion_figure,
)
from forestgaps_core.testing import check_callback, example_batch, example_logits


def test_contract(tmp_path: Path) -> None:
    check_callback(ConfusionPicturesConfig(every=2), tmp_path)


@given(seed=st.integers(0, 20))
def test_counts_agree_with_a_loop_over_pixels(seed: int) -> None:
    batch = example_batch(samples=2, size=5, seed=seed)
    logits = example_logits(batch, seed)
    expected = torch.zeros(3, 2, 2, dtype=torch.int64)
    for b in range(2):
        for k in range(3):
            for y in range(5):
                for x in range(5):
                    if batch.valid[b, 0, y, x]:
                        expected[k, int(batch.target[b, k, y, x] > 0.5), int(logits[b, k, y, x] > 0)] += 1
    assert torch.equal(confusion_counts(logits, batch.target, batch.valid), expected)


def test_cells_show_pixels_and_their_share_of_the_row() -> None:
    figure = confusion_figure(torch.tensor([[[90, 10], [0, 0]]]), [5.0])
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["90\n90.0 %", "10\n10.0 %", "0", "0"]
    assert ax.get_title() == "gaps below 5 m"


def test_a_picture_is_written_for_each_due_validation(tmp_path: Path, train: Callable[..., Any]) -> None:
    callback = ConfusionPictures(tmp_path / "confusion", every=2)
    train({"confusion": callback}, epochs=4)
    assert sorted(path.name for path in (tmp_path / "confusion").iterdir()) == ["epoch-0002.png", "epoch-0004.png"]
    assert callback.counts is not None
    assert callback.counts.sum(dim=(1, 2)).unique().numel() == 1, "every threshold counts the same valid pixels"
