"""Other normalization layers for a network that is already there."""

from __future__ import annotations

from itertools import chain

from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.blended import BlendedNorm
from forestgaps_normalization.layer import ChannelLayerNorm


def find_channels(layer: nn.Module) -> int | None:
    """The channels of a layer that normalizes (B, C, H, W); None for any other layer."""
    match layer:
        case nn.BatchNorm2d() | nn.SyncBatchNorm() | nn.InstanceNorm2d():
            return layer.num_features
        case nn.GroupNorm() | BlendedNorm():
            return layer.num_channels
        case ChannelLayerNorm():
            return layer.normalized_shape[0]
    return None


def replace_layer(old: nn.Module, new: nn.Module) -> nn.Module:
    """`new` in the place of `old`: its affine parameters, its running averages if both have them, its device, dtype and mode."""
    like = next(chain(old.parameters(), old.buffers()), None)
    if like is not None:
        new.to(device=like.device, dtype=like.dtype)
    for name in ("weight", "bias"):
        if hasattr(new, name):
            setattr(new, name, getattr(old, name))
    averages = dict(old.named_buffers(recurse=False))
    for name, buffer in new.named_buffers(recurse=False):
        if name in averages:
            buffer.copy_(averages[name])
    return new.train(old.training)


def convert_normalization(model: nn.Module, factory: NormFactory) -> nn.Module:
    """Replace the normalization layers of a network, in place, and keep their affine parameters.

    The parameters are the same objects, so an optimizer that holds them keeps working. A layer without affine parameters gets a
    successor without. Running averages are kept where old and new have them; a new batch norm without forerunner starts at mean
    0 and variance 1 and has to see some batches in training mode before it is used. A layer used in several places stays one.

    Args:
        model: Any network of 2-D layers. Batch, sync-batch, instance, group, blended and channel-wise layer norm are replaced.
        factory: Makes the new layers, such as `GroupNormConfig().build()`.

    Returns:
        The model; a new layer if the model is itself one of those replaced.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    for layer in list(model.modules()):
        channels = find_channels(layer)
        if channels is not None:
            replaced[layer] = replace_layer(layer, factory(channels))
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # named_children would leave out a layer's second name
            if child in replaced:
                parent._modules[name] = replaced[child]
    return replaced.get(model, model)
