from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forestgaps_core.testing import check_model, example_batch
from forestgaps_models.ground_unet import GroundNetwork, GroundUNet, compute_median


def network(*, components: int = 1, resolution_m: float = 1.0, seed: int = 0, trained: bool = True) -> GroundNetwork:
    torch.manual_seed(seed)
    made = GroundUNet(base=4, depth=2, components=components).build(nn.BatchNorm2d, resolution_m).eval()
    if trained:
        nn.init.normal_(made.last.weight, std=0.3)
    return made


@pytest.mark.parametrize("components", [1, 3])
def test_the_contract(components: int) -> None:
    check_model(GroundUNet(base=4, depth=2, components=components))


def test_it_begins_as_a_mean_of_its_guesses_and_its_height_is_what_stands_above() -> None:
    dsm = torch.full((1, 1, 96, 96), 512.0)
    dsm[..., 40:52, 40:52] += 18.0  # a tree narrower than every window but the first
    height = network(trained=False).predict_heights(dsm, torch.ones_like(dsm, dtype=torch.bool)).detach()
    assert height[..., 44:48, 44:48].mean().item() == pytest.approx(18.0, abs=1.5)
    assert height[..., :20, :20].abs().max() < 0.3


def test_detail_finer_than_its_cells_comes_from_the_surface() -> None:
    dsm = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(3)) * 25 + 100
    valid = torch.ones_like(dsm, dtype=torch.bool)
    ground = dsm - network().predict_heights(dsm, valid)
    steps = ground.diff(dim=-1).abs()
    assert dsm.diff(dim=-1).abs().mean() > 5 * steps.mean()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), components=st.sampled_from([1, 2, 4]))
def test_gaps_are_nested_whatever_the_weights(seed: int, components: int) -> None:
    batch = example_batch(samples=2, size=40, seed=seed)
    thresholds = torch.tensor([[0.5, 2.0, 2.001, 7.0, 30.0, 90.0]]).expand(2, -1)
    logits = network(components=components, seed=seed)(batch.dsm, batch.valid, thresholds)
    assert logits.isfinite().all()
    assert (logits.diff(dim=1) >= -1e-4).all()


def test_logits_are_those_of_the_mixture_written_out() -> None:
    batch = example_batch(samples=1, size=32)
    made = network(components=2).double().float()
    thresholds = torch.tensor([[3.0, 12.0]])
    height, scale, weight = (channel.double() for channel in made.compute_components(batch.dsm, batch.valid))
    below = sum(
        weight[:, c].exp()[:, None] * torch.sigmoid((thresholds[:, :, None, None] - height[:, c, None]) / scale[:, c, None])
        for c in range(2)
    )
    logits = made(batch.dsm, batch.valid, thresholds).double()
    sure = logits.abs() < 8
    torch.testing.assert_close(logits[sure], torch.logit(below)[sure], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("components", [1, 2, 4])
def test_heights_are_the_median_and_agree_with_the_gaps(components: int) -> None:
    batch = example_batch(samples=1, size=48)
    made = network(components=components)
    heights = made.predict_heights(batch.dsm, batch.valid)
    for threshold in (0.5, 3.0, 12.0, 30.0):
        gap = made(batch.dsm, batch.valid, torch.tensor([[threshold]])) > 0
        clear = (heights - threshold).abs() > 0.01
        assert torch.equal((heights < threshold)[clear], gap[clear])


def test_the_median_of_far_components_is_at_the_heavier() -> None:
    def of(*values: float) -> torch.Tensor:
        return torch.tensor(values).reshape(1, -1, 1, 1)

    assert compute_median(of(0.0, 30.0), of(0.1, 0.1), of(0.7, 0.3).log()).item() == pytest.approx(0.1 * 0.9163, abs=2e-3)
    assert compute_median(of(0.0, 30.0), of(0.1, 0.1), of(0.2, 0.8).log()).item() == pytest.approx(30 - 0.1 * 0.5108, abs=2e-3)
    assert compute_median(of(7.0), of(2.0), of(0.0)).item() == 7.0


@pytest.mark.parametrize("components", [1, 2, 4])
def test_logits_without_gradients_are_those_of_training(components: int) -> None:
    made = network(components=components)
    height = torch.linspace(-30, 60, 400).reshape(1, 1, 20, 20) + torch.arange(components).reshape(1, -1, 1, 1)
    scale = torch.full_like(height, 0.1) + torch.arange(components).reshape(1, -1, 1, 1)
    weight = torch.linspace(-30, 0, components).reshape(1, -1, 1, 1).expand_as(height).log_softmax(dim=1)
    distribution, thresholds = torch.cat([height, scale, weight], dim=1), torch.tensor([[0.5, 5.0, 30.0, 90.0]])
    trained = made.compute_logits(distribution.requires_grad_(), thresholds).detach()
    with torch.no_grad():
        read = made.compute_logits(distribution, thresholds)
    torch.testing.assert_close(read.sigmoid(), trained.sigmoid(), atol=3e-7, rtol=0)
    within = trained.abs() < 38
    assert within.any()
    torch.testing.assert_close(read[within], trained[within], atol=1e-5, rtol=1e-5)


def test_it_learns_that_the_ground_is_deeper_than_every_filter_says() -> None:
    """Under a canopy without a hole all openings are wrong by its height; only the residual can say so."""
    torch.manual_seed(0)
    made = GroundUNet(base=4, depth=1).build(nn.BatchNorm2d, 2.0)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    thresholds = torch.tensor([[5.0, 10.0, 15.0]]).expand(4, -1)
    for step in range(60):
        noise = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(step))
        height = 18 + 4 * noise
        logits = made(200 + height, torch.ones_like(height, dtype=torch.bool), thresholds)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, (height < thresholds[:, :, None, None]).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    assert made.predict_heights(200 + height, torch.ones_like(height, dtype=torch.bool)).mean() > 12


def test_from_half_the_pixel_size_of_the_training_on_it_counts_in_pixels() -> None:
    made = network()
    assert made.for_pixels(1.0) is made.for_pixels(0.5) is made.for_pixels(3.0) is made


@pytest.mark.parametrize(("times", "fine", "off_m"), [(0.25, 4, 0.1), (0.1, 8, 1.5)])  # 8 pixels are 0.8 m, not 1 m
def test_finer_pixels_get_cells_of_the_size_they_have_there(times: float, fine: int, off_m: float) -> None:
    made = network()
    finer = made.for_pixels(times)
    assert finer.candidates.fine == fine
    assert finer.multiple == 2 * fine * made.body.multiple
    assert finer.context_pixels == pytest.approx(made.context_m * 0.5 / times)
    assert made.candidates.fine == 2, "the network itself stays as it is"
    weights = finer.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in made.state_dict().items())
    k = round(0.5 / times)
    batch = example_batch(samples=1, size=64)
    enlarged = nn.functional.interpolate(batch.dsm, scale_factor=k, mode="nearest")
    valid = torch.ones_like(enlarged, dtype=torch.bool)
    with torch.inference_mode():
        coarse = made.predict_heights(batch.dsm, torch.ones_like(batch.dsm, dtype=torch.bool))
        fine_heights = nn.functional.avg_pool2d(finer.predict_heights(enlarged, valid), k)
    assert (coarse - fine_heights).abs().median() < off_m, "the same surface in finer pixels has the same heights"
