from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from forestgaps_models.heads import EDGES_M, HeightHead

EDGES = (0.0, 1.0, 3.0, 10.0)  # five bins with the open ones


def head_with_scores(scores: Tensor, edges: tuple[float, ...] = EDGES) -> HeightHead:
    """A head whose scores are its features, but for the limit."""
    head = HeightHead(len(edges) + 1, nn.BatchNorm2d, edges_m=edges)
    head.compute_scores = lambda features: features - features.amax(1, keepdim=True)  # type: ignore[method-assign]  # what is tested is after it
    assert scores.shape[1] == len(edges) + 1
    return head


def slow_logit(scores: list[float], t: float, edges: tuple[float, ...]) -> float:
    """In plain Python, bin by bin, in the log space."""
    first, last = edges[1] - edges[0], edges[-1] - edges[-2]
    shares = [math.exp(min(t - edges[0], 0) / first)]
    shares += [min(max((t - low) / (high - low), 0.0), 1.0) for low, high in pairwise(edges)]
    shares += [1 - math.exp(-max(t - edges[-1], 0) / last)]
    top = max(scores)
    below = sum(w * math.exp(s - top) for w, s in zip(shares, scores, strict=True))
    above = sum((1 - w) * math.exp(s - top) for w, s in zip(shares, scores, strict=True))
    return math.log(below) - math.log(above)


def test_a_threshold_in_the_middle_of_even_mass_is_a_toss_up() -> None:
    scores = torch.zeros(1, 5, 1, 1)
    logits = head_with_scores(scores)(scores, torch.tensor([[2.0, 1.0, 3.0]]))
    # 5 bins of a fifth: below 2 m lie two and a half, below 1 m two, below 3 m three
    assert logits.flatten().tolist() == pytest.approx([0.0, math.log(2 / 3), math.log(3 / 2)], abs=1e-6)


@settings(deadline=None)
@given(
    scores=st.lists(st.floats(-25, 25), min_size=5, max_size=5),
    t=st.one_of(st.floats(0.01, 40), st.sampled_from([0.0, 1.0, 3.0, 10.0, -2.0])),
)
def test_logits_are_those_of_ten_slow_lines(scores: list[float], t: float) -> None:
    channels = torch.tensor(scores)[None, :, None, None]
    found = head_with_scores(channels)(channels, torch.tensor([[t]])).item()
    t32 = torch.tensor(t).item()
    assert found == pytest.approx(slow_logit(channels[0, :, 0, 0].tolist(), t32, EDGES), rel=1e-4, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 1000), thresholds=st.lists(st.floats(0.01, 199), min_size=2, max_size=6))
def test_logits_rise_with_the_threshold_whatever_the_weights(seed: int, size: float, thresholds: list[float]) -> None:
    torch.manual_seed(seed)
    head = HeightHead(4, nn.BatchNorm2d, edges_m=EDGES_M)
    nn.init.normal_(head.last.weight, std=1 + size)
    logits = head(torch.randn(2, 4, 3, 3), torch.tensor(sorted(thresholds)).expand(2, -1))
    assert logits.isfinite().all()
    # Rounding of the two sums: a few units in the last place of numbers up to 1, in a logit.
    assert (logits.diff(dim=1) >= -2e-5).all()


@pytest.mark.parametrize("t", [-50.0, 1e-3, 199.0, 1e5])
def test_logits_and_gradients_are_finite_far_beyond_the_edges(t: float) -> None:
    head = HeightHead(4, nn.BatchNorm2d, edges_m=EDGES_M)
    features = (torch.randn(2, 4, 3, 3) * 1e4).requires_grad_()
    logits = head(features, torch.full((2, 1), t))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert features.grad is not None and features.grad.isfinite().all()


def test_certain_pixels_still_have_a_gradient() -> None:
    scores = torch.tensor([-25.0, -25.0, -25.0, 25.0, -25.0])[None, :, None, None].requires_grad_()
    logit = head_with_scores(scores)(scores, torch.tensor([[1.0]]))
    assert logit.item() == pytest.approx(-50 + math.log(2), abs=1e-3)
    (gradient,) = torch.autograd.grad(logit.sum(), scores)
    assert gradient.flatten()[3].item() == pytest.approx(-1.0, abs=1e-3)  # the logit moves as the score does


def test_the_expected_height_of_a_sure_bin_is_its_middle() -> None:
    for place, height in enumerate([-1.0, 0.5, 2.0, 6.5, 17.0]):
        scores = torch.full((1, 5, 1, 1), -60.0)
        scores[:, place] = 60.0
        assert head_with_scores(scores).predict_heights(scores).item() == pytest.approx(height, abs=1e-4)


def test_the_distribution_is_float32_under_bf16() -> None:
    head = HeightHead(4, nn.BatchNorm2d, edges_m=EDGES_M).eval()
    features = torch.randn(1, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features, torch.tensor([[2.0, 2.01]]))
    assert logits.dtype == torch.float32
    assert (logits.diff(dim=1) > 0).all()
