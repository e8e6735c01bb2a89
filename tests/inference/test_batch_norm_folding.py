from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core.inference.batch_norm_folding import fold_batch_norms


def chain(*layers):
    torch.manual_seed(0)
    made = nn.Sequential(*layers)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats:
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.2, 4)
                layer.weight.normal_()
                layer.bias.normal_()
    return made.eval()


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3, bias=False, stride=2), nn.Conv2d(3, 6, 3, groups=3, dilation=2, padding=2)],
    ids=["plain", "without bias, strided", "grouped, dilated"],
)
def test_the_function_stays_the_same(convolution):
    network = chain(nn.AvgPool2d(1), convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
    x = torch.randn(2, 3, 17, 19)
    with torch.inference_mode():
        expected = network(x)
        assert fold_batch_norms(network) == 1
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_what_would_not_stay_the_same_is_left_alone():
    shared, hooked = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    hooked.register_forward_hook(lambda *_: None)
    for network in (
        chain(shared, nn.BatchNorm2d(3), shared),
        chain(hooked, nn.BatchNorm2d(3)),
        chain(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        chain(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        chain(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train(),
        nn.ModuleList([nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)]).eval(),
    ):
        assert fold_batch_norms(network) == 0
