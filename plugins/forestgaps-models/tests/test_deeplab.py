from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core.testing import build_component, check_model, example_batch
from forestgaps_models.deeplab import DeepLabV3Plus, Pyramid, TileMean
from forestgaps_models.views import View

SMALL = DeepLabV3Plus(
    base=4, blocks=2, rates=(1, 2), tile_mean=True, view=View(relief_m=9, tophats_m=(3, 7)), drop_path=0.2, output="thresholds"
)


@pytest.mark.parametrize("config", [DeepLabV3Plus(), SMALL], ids=["default", "small"])
def test_contract(config: DeepLabV3Plus) -> None:
    check_model(config)


def test_the_pyramid_reaches_as_far_as_its_rates() -> None:
    pyramid = Pyramid(1, 2, nn.BatchNorm2d, rates=(2, 5), tile_mean=False).eval()
    x = torch.zeros(1, 1, 21, 21, requires_grad=True)
    for branch in pyramid.branches:
        branch[2] = nn.Identity()  # so that every path carries a gradient
    pyramid.mix[2] = nn.Identity()
    (gradient,) = torch.autograd.grad(pyramid(x, torch.ones_like(x, dtype=torch.bool))[0, :, 10, 10].sum(), x)
    rows, columns = gradient[0, 0].nonzero(as_tuple=True)
    assert sorted(set((rows - 10).tolist())) == sorted(set((columns - 10).tolist())) == [-5, -2, 0, 2, 5]


def test_the_tile_mean_is_the_same_everywhere_and_trains_with_one_sample() -> None:
    out = TileMean(3, 4)(torch.randn(1, 3, 5, 6), torch.ones(1, 1, 5, 6, dtype=torch.bool))
    assert out.shape == (1, 4, 5, 6)
    assert torch.equal(out, out[..., :1, :1].expand_as(out))
    model = build_component("model", SMALL)
    batch = example_batch(samples=1)
    assert model(batch.dsm, batch.valid, batch.thresholds).isfinite().all()


@pytest.mark.parametrize("output", ["thresholds", "heights"])
def test_both_answers_are_to_be_had(output: str) -> None:
    model = build_component("model", DeepLabV3Plus(base=4, output=output))
    assert hasattr(model, "predict_heights") == (output == "heights")
