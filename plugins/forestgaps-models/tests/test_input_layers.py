from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core import DataError, InputLayer
from forestgaps_core.testing import example_batch
from forestgaps_models.input_layers import LayerChannels
from forestgaps_models.unet import HeightUNet, UNet
from forestgaps_models.unet_plus_plus import UNetPlusPlus
from forestgaps_models.views import View

RGB = InputLayer(mean=(100.0, 50.0, 0.0), std=(20.0, 10.0, 0.0))
NEAR = View(relief_m=9, tophats_m=(3, 7))


def test_channels_are_scaled_and_say_where_there_are_data() -> None:
    layer = torch.zeros(1, 3, 2, 2)
    layer[0, :, 0, 0] = torch.tensor([120.0, 50.0, 0.5])
    layer[0, :, 0, 1] = torch.tensor([0.0, 40.0, 0.0])
    layer[0, :, 1, 1] = 9.0
    valid = torch.tensor([[[[True, True], [True, False]]]])
    channels = LayerChannels({"rgb": RGB})({"rgb": layer}, valid)
    assert channels.shape == (1, 4, 2, 2)
    assert channels[0, :, 0, 0].tolist() == [1.0, 0.0, 0.5, 1.0]
    assert channels[0, :, 0, 1].tolist() == [-5.0, -1.0, 0.0, 1.0]
    assert (channels[0, :, 1] == 0).all()  # without data in the layer, and in the survey


def test_a_missing_layer_is_named() -> None:
    with pytest.raises(DataError, match="needs the further layers 'rgb'; call it with layers="):
        LayerChannels({"rgb": RGB})(None, torch.ones(1, 1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize("config", [UNet(base=4, depth=2, view=NEAR), HeightUNet(base=4, depth=2, view=NEAR), UNetPlusPlus(base=4)])
def test_without_layers_a_network_has_the_same_weights_as_ever(config: UNet) -> None:
    torch.manual_seed(0)
    one = config.build(nn.BatchNorm2d, 1.0)
    torch.manual_seed(0)
    other = config.build(nn.BatchNorm2d, 1.0, {})
    assert one.layers is None
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not any(name.startswith("layers") for name in one.state_dict())


def test_heights_are_predicted_from_layers_too() -> None:
    torch.manual_seed(0)
    network = HeightUNet(base=4, depth=2, view=NEAR).build(nn.BatchNorm2d, 1.0, {"rgb": RGB}).eval()
    batch = example_batch(samples=1)
    layers = {"rgb": torch.rand(1, 3, 32, 32) * 100}
    heights = network.predict_heights(batch.dsm, batch.valid, layers)
    assert heights.shape == batch.dsm.shape
    assert not torch.equal(heights, network.predict_heights(batch.dsm, batch.valid, {"rgb": layers["rgb"].flip(-1)}))
