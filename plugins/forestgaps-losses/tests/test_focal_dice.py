from __future__ import annotations

from types import ModuleType

import pytest
import torch

from forestgaps_core.config.converter import structure
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import build_component, example_batch, example_logits
from forestgaps_losses import CombinedFocalDiceLoss
from forestgaps_losses.dice import Dice
from forestgaps_losses.focal import Focal


def test_one_unsure_pixel_worked_by_hand() -> None:
    """A gap at p = 1/2: focal (1/2)^2 log 2, Dice 1 - (1 + 1/2) / (1/2 + 1 + 1/2) = 1/4."""
    batch = example_batch(samples=1, size=1, thresholds=(100.0,), nodata=0)
    found = CombinedFocalDiceLoss(gamma=2.0, eps=0.5, focal_weight=4.0, dice_weight=2.0)(torch.zeros(1, 1, 1, 1), batch)
    assert batch.target == 1
    assert found.item() == pytest.approx(0.6931472 + 0.5)


def test_it_is_the_weighted_sum_of_its_parts() -> None:
    batch = example_batch()
    logits = example_logits(batch)
    common = {"threshold_weights": {"2": 5.0, "10": 1.0}, "pos_weight": 2.0, "label_smoothing": 0.1}
    both = build_component("loss", CombinedFocalDiceLoss(gamma=1.5, eps=0.02, focal_weight=3.0, dice_weight=0.5, **common))
    parts = build_component("loss", Focal(gamma=1.5, **common)), build_component("loss", Dice(eps=0.02, **common))
    torch.testing.assert_close(both(logits, batch), 3.0 * parts[0](logits, batch) + 0.5 * parts[1](logits, batch))


def test_it_agrees_with_monai(monai: ModuleType) -> None:
    batch = example_batch(nodata=0)
    logits, eps = example_logits(batch).requires_grad_(), 1e-3
    pixels = eps * 32 * 32
    peer = monai.DiceFocalLoss(sigmoid=True, gamma=1.5, smooth_nr=pixels, smooth_dr=pixels, lambda_dice=0.7, lambda_focal=2.0)(
        logits, batch.target
    )
    found = CombinedFocalDiceLoss(gamma=1.5, eps=eps, dice_weight=0.7, focal_weight=2.0)(logits, batch)
    torch.testing.assert_close(found, peer)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (found, peer)))


def test_it_refuses_to_be_nothing() -> None:
    with pytest.raises(ConfigError, match="nothing would be left"):
        structure({"focal_weight": 0.0, "dice_weight": 0.0}, CombinedFocalDiceLoss)
