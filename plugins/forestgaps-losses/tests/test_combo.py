from __future__ import annotations

import pytest
import torch

from forestgaps_core.config.converter import structure
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import build_component, example_batch, example_logits
from forestgaps_losses.bce import Bce
from forestgaps_losses.combo import Combo
from forestgaps_losses.dice import Dice
from forestgaps_losses.focal import Focal


def test_one_unsure_pixel_worked_by_hand() -> None:
    """A gap at p = 1/2: bce log 2, focal (1/2)^2 log 2, Dice 1/4 with a eps of 1/2."""
    batch = example_batch(samples=1, size=1, thresholds=(100.0,), nodata=0)
    found = Combo(eps=0.5, bce_weight=1.0, focal_weight=4.0, dice_weight=2.0)(torch.zeros(1, 1, 1, 1), batch)
    assert found.item() == pytest.approx(2 * 0.6931472 + 0.5)


def test_it_is_the_weighted_sum_of_its_parts() -> None:
    batch = example_batch()
    logits = example_logits(batch)
    common = {"threshold_weights": (1.0, 2.0, 3.0), "pos_weight": 0.5, "label_smoothing": 0.2}
    found = build_component("loss", Combo(bce_weight=0.3, dice_weight=0.6, focal_weight=2.0, gamma=3.0, eps=0.1, **common))
    bce, dice, focal = (
        build_component("loss", part) for part in (Bce(**common), Dice(eps=0.1, **common), Focal(gamma=3.0, **common))
    )
    expected = 0.3 * bce(logits, batch) + 0.6 * dice(logits, batch) + 2.0 * focal(logits, batch)
    torch.testing.assert_close(found(logits, batch), expected)


def test_it_refuses_to_be_nothing() -> None:
    with pytest.raises(ConfigError, match="nothing would be left"):
        structure({"bce_weight": 0.0, "focal_weight": 0.0, "dice_weight": 0.0}, Combo)
