from __future__ import annotations

import attrs
import pytest
import torch
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.config.converter import structure
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.bce import Bce, bce_loss
from forestgaps_losses.channel_loss import ChannelLoss, compute_pixel_weights, weighted_mean
from forestgaps_losses.threshold_weights import build_threshold_weights


def small_batch(target: Tensor, valid: Tensor | None = None, thresholds: tuple[float, ...] = (2.0, 5.0)) -> Batch:
    samples, _, *size = target.shape
    return Batch(
        dsm=torch.zeros(samples, 1, *size),
        thresholds=torch.tensor(thresholds).expand(samples, -1),
        target=target,
        valid=torch.ones(samples, 1, *size, dtype=torch.bool) if valid is None else valid,
    )


def loss_with_values(values: Tensor) -> ChannelLoss:
    """A loss whose channels have these values, (B, K), whatever the logits."""
    return ChannelLoss(
        formula=lambda logits, target, pixels: values, threshold_weights=build_threshold_weights({"2": 3.0, "5": 1.0})
    )


def test_a_weighted_mean_of_nothing_is_zero() -> None:
    assert weighted_mean(torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)).tolist() == [[0], [0]]


def test_channels_have_the_weight_of_their_threshold() -> None:
    batch = small_batch(torch.zeros(1, 2, 2, 2))
    assert loss_with_values(torch.tensor([[1.0, 5.0]]))(batch.target, batch) == (3 * 1 + 1 * 5) / 4


def test_weights_apply_to_each_sample_and_channel() -> None:
    batch = attrs.evolve(small_batch(torch.zeros(2, 2, 2, 2)), thresholds=torch.tensor([[2.0, 5.0], [5.0, 5.0]]))
    assert loss_with_values(torch.tensor([[1.0, 5.0], [7.0, 9.0]]))(batch.target, batch) == (3 * 1 + 5 + 7 + 9) / 6


def test_a_sample_without_data_leaves_the_mean_to_the_others() -> None:
    valid = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    valid[1] = False
    batch = small_batch(torch.zeros(2, 2, 2, 2), valid)
    assert loss_with_values(torch.tensor([[1.0, 5.0], [0.0, 0.0]]))(batch.target, batch) == 2


def test_gap_pixels_count_by_the_class_weight_and_pixels_without_data_not_at_all() -> None:
    target = torch.tensor([0.0, 1.0, 0.0, 1.0]).reshape(1, 1, 2, 2)
    valid = torch.tensor([True, True, False, False]).reshape(1, 1, 2, 2)
    assert compute_pixel_weights(target, valid, 3.0).flatten().tolist() == [1, 3, 0, 0]


def test_the_class_weight_moves_the_best_constant_answer_to_the_weighted_fraction() -> None:
    batch = small_batch(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2), thresholds=(2.0,))
    best = torch.logit(torch.tensor(3 / (3 + 3)))  # one gap counted three times, three canopy pixels
    logits = best.expand_as(batch.target).clone().requires_grad_()
    Bce(pos_weight=3.0)(logits, batch).backward()
    torch.testing.assert_close(logits.grad.sum(), torch.zeros(()))


def test_smoothed_labels_are_certain_to_that_degree() -> None:
    batch, smoothing = example_batch(nodata=0), 0.2
    logits = example_logits(batch)
    softer = batch.target * (1 - smoothing) + smoothing / 2
    expected = bce_loss(logits, softer, batch.valid.float()).mean()
    torch.testing.assert_close(Bce(label_smoothing=smoothing)(logits, batch), expected)


def test_a_config_is_itself_a_loss_and_reports_when_it_needs_the_run() -> None:
    batch = example_batch()
    logits = example_logits(batch)
    assert Bce()(logits, batch) == Bce().build(thresholds=(2.0, 5.0, 10.0), gap_fraction=lambda: (0.1, 0.2, 0.3))(logits, batch)
    with pytest.raises(ConfigError, match=r"build\(thresholds=\.\.\., gap_fraction=lambda: \.\.\.\)"):
        Bce(threshold_weights="rarity")(logits, batch)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("pos_weight", 0), ("pos_weight", -1.0), ("label_smoothing", 1.0), ("label_smoothing", -0.1), ("threshold_weights", "rare")],
)
def test_settings_out_of_range_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        structure({setting: value}, Bce)
