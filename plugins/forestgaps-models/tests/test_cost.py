from __future__ import annotations

import torch
from torch import Tensor, nn

from forestgaps_core.testing import build_component
from forestgaps_models.cost import measure_cost
from forestgaps_models.unet import UNet


class OneConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 3, padding=1)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return self.convolution(dsm)


def test_a_convolution_costs_its_weights_at_each_pixel() -> None:
    found = measure_cost(OneConvolution(), size=16)
    assert found.parameters == 5 * 9 + 5
    assert found.multiply_adds == 16 * 16 * 5 * 9
    assert str(found) == "0.00 M parameters, 0.0 k multiply-adds per pixel"


def test_thresholds_cost_far_less_than_passes() -> None:
    model = build_component("model", UNet())
    one, ten = measure_cost(model, thresholds=1), measure_cost(model, thresholds=10)
    assert ten.multiply_adds < 1.05 * one.multiply_adds
    assert model.training


def test_the_default_network_fits_into_five_megabytes_at_half_precision() -> None:
    assert measure_cost(build_component("model", UNet()), size=32).parameters * 2 < 5e6
    assert torch.get_default_dtype() == torch.float32
