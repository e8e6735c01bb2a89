from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.lovasz import lovasz_loss


def jaccard(wrong: set[int], gaps: set[int], eps: float) -> float:
    """1 - IoU of a plane whose pixels in `wrong` are misclassified, with so many found gap pixels added; 0 of 0 is no loss."""
    overlap, union = len(gaps - wrong) + eps, len(gaps | wrong) + eps
    return 1 - overlap / union if union else 0.0


def slow(errors: list[float], gaps: set[int], eps: float) -> float:
    """The definition: from the worst error down, each times the rise of 1 - IoU as its pixel joins the wrong ones."""
    total, wrong = 0.0, set()
    for pixel in sorted(range(len(errors)), key=lambda pixel: -errors[pixel]):
        before = jaccard(wrong, gaps, eps)
        wrong.add(pixel)
        total += max(errors[pixel], 0) * (jaccard(wrong, gaps, eps) - before)
    return total


def row(values: list[float]) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20), st.sampled_from([0.0, 0.01, 0.3]))
def test_where_errors_are_all_or_nothing_it_is_one_minus_iou(pixels: list[tuple[bool, bool]], eps: float) -> None:
    """The extension agrees with the set function it extends: a logit of 0 is an error of 1, a margin of 1 an error of 0."""
    gaps = {place for place, (gap, _) in enumerate(pixels) if gap}
    wrong = {place for place, (_, bad) in enumerate(pixels) if bad}
    logits = row([0.0 if bad else (1.0 if gap else -1.0) for gap, bad in pixels])
    found = lovasz_loss(logits, row([float(gap) for gap, _ in pixels]), torch.ones_like(logits), eps=eps)
    assert found.item() == pytest.approx(jaccard(wrong, gaps, eps * len(pixels)), abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.01, 0.3]), st.floats(0, 0.6))
def test_it_agrees_with_the_slow_definition(seed: int, eps: float, nodata: float) -> None:
    batch = example_batch(samples=1, size=6, seed=seed, nodata=nodata)
    logits = example_logits(batch, seed)
    found = lovasz_loss(logits, batch.target, batch.valid.float(), eps=eps)
    for plane in range(3):
        here = batch.valid[0, 0]
        x, y = logits[0, plane][here].tolist(), batch.target[0, plane][here].tolist()
        errors = [1 - logit * (1 if gap else -1) for logit, gap in zip(x, y, strict=True)]
        expected = slow(errors, {place for place, gap in enumerate(y) if gap}, eps * len(y))
        assert found[0, plane].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_pixel_of_weight_two_is_two_pixels() -> None:
    x, y = [0.3, -0.5, 1.2, -2.0], [1.0, 1.0, 0.0, 0.0]
    twice = lovasz_loss(row([*x, x[1]]), row([*y, y[1]]), torch.ones(1, 1, 1, 5), eps=0.0)
    torch.testing.assert_close(lovasz_loss(row(x), row(y), row([1, 2, 1, 1]), eps=0.0), twice)


def test_without_any_gap_the_worst_errors_share_the_loss() -> None:
    """Four pixels, one added: 1 - IoU rises to 1/2, 2/3, 3/4, 4/5 as they go wrong."""
    found = lovasz_loss(row([3.0, 2.0, 1.0, 0.0]), row([0.0] * 4), torch.ones(1, 1, 1, 4), eps=0.25)
    assert found.item() == pytest.approx(4 / 2 + 3 / 6 + 2 / 12 + 1 / 20)


def test_large_channels_keep_their_slopes() -> None:
    """With an error of 1 everywhere the slopes are what single pixels add to 1 - IoU: together all of it."""
    logits = torch.zeros(1, 1, 512, 512, requires_grad=True)
    target = (torch.arange(512 * 512) % 3 == 0).float().reshape(1, 1, 512, 512)
    value = lovasz_loss(logits, target, torch.ones_like(target), eps=0.0)
    assert value.item() == pytest.approx(1, abs=1e-4)
    assert torch.autograd.grad(value, logits)[0].abs().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("eps", [0.0, 0.25])
def test_uncertain_targets_count_in_parts(eps: float) -> None:
    """A logit of 0 is an error of 1 whatever the target, so the loss is 1 - IoU with all wrong: 1 - eps / (1 + eps)."""
    target = row([0.9, 0.3, 0.05, 0.5, 1.0])
    found = lovasz_loss(torch.zeros_like(target), target, torch.ones_like(target), eps=eps)
    assert found.item() == pytest.approx(1 / (1 + eps))
