from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.dice import dice_loss

ALL = torch.ones(1, 1, 2, 2)


def test_half_sure_everywhere_of_half_a_channel_of_gaps() -> None:
    """Overlap 1/4, predicted 1/2, surveyed 1/2: 1 - (1/2 + 1/10) / (1 + 1/10) = 5/11."""
    assert dice_loss(0 * ALL, torch.eye(2)[None, None], ALL, eps=0.1).item() == pytest.approx(5 / 11)


def test_it_agrees_with_ten_slow_lines() -> None:
    batch = example_batch(samples=2, size=6, nodata=0.3)
    p = example_logits(batch).sigmoid()
    found = dice_loss(example_logits(batch), batch.target, batch.valid.float(), eps=0.01)
    for sample in range(2):
        for plane in range(3):
            pixels = [
                (p[sample, plane, row, column].item(), batch.target[sample, plane, row, column].item())
                for row in range(6)
                for column in range(6)
                if batch.valid[sample, 0, row, column]
            ]
            overlap = sum(a * b for a, b in pixels)
            eps = 0.01 * len(pixels)
            expected = 1 - (2 * overlap + eps) / (sum(a for a, _ in pixels) + sum(b for _, b in pixels) + eps)
            assert found[sample, plane].item() == pytest.approx(expected, rel=1e-5)


def test_it_agrees_with_monai(monai: ModuleType) -> None:
    batch = example_batch(nodata=0)
    logits, eps = example_logits(batch), 1e-3
    pixels = eps * 32 * 32
    peer = monai.DiceLoss(sigmoid=True, smooth_nr=pixels, smooth_dr=pixels, reduction="none")
    found = dice_loss(logits, batch.target, batch.valid.float(), eps=eps)
    torch.testing.assert_close(found, peer(logits, batch.target).flatten(1))


@settings(deadline=None)
@given(st.floats(1e-6, 1), st.floats(1e-4, 1))
def test_without_any_gap_it_rises_smoothly_with_what_is_predicted(share: float, eps: float) -> None:
    logits = torch.tensor(share, dtype=torch.float64).logit().clamp(max=40).expand(1, 1, 2, 2)
    found = dice_loss(logits, torch.zeros_like(logits), torch.ones_like(logits), eps=eps).item()
    assert found == pytest.approx(share / (share + eps), rel=1e-6)


def test_without_any_gap_and_without_a_prediction_it_is_zero() -> None:
    assert dice_loss(-1e4 * ALL, 0 * ALL, ALL, eps=1e-3) == 0


def test_pixels_without_data_leave_nothing_to_overlap() -> None:
    assert dice_loss(ALL, ALL, 0 * ALL, eps=1e-3) == 0


def test_tiles_of_any_size_cost_the_same() -> None:
    batch = example_batch(nodata=0.2)
    arguments = example_logits(batch), batch.target, batch.valid.float()
    twice = [plane.repeat(1, 1, 2, 2) for plane in arguments]
    torch.testing.assert_close(dice_loss(*twice, eps=1e-2), dice_loss(*arguments, eps=1e-2))
