"""Replace the normalization layers of an existing network."""

from __future__ import annotations

from itertools import chain

from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.blended import BlendedNorm
from forestgaps_normalization.layer import ChannelLayerNorm


def find_channels(layer: nn.Module) -> int | None:
    """Return the number of channels of a normalization layer for (B, C, H, W); None for any other layer."""
    match layer:
        case nn.BatchNorm2d() | nn.SyncBatchNorm() | nn.InstanceNorm2d():
            return layer.num_features
        case nn.GroupNorm() | BlendedNorm():
            return layer.num_channels
        case ChannelLayerNorm():
            return layer.normalized_shape[0]
    return None


def replace_layer(old: nn.Module, new: nn.Module) -> nn.Module:
    """Return `new` with the affine parameters, device, dtype and mode of `old`, and its running averages if both have them."""
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

    The parameters remain the same objects, so an optimizer of them still works. A layer without affine parameters is replaced by
    a layer without. Running averages are copied if both layers have them. Otherwise a new batch norm starts at mean 0 and
    variance 1: run some batches in training mode before you use it. A layer that is used several times is replaced by one layer.

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
        for name, child in parent._modules.items():  # named_children omits further names of the same layer
            if child in replaced:
                parent._modules[name] = replaced[child]
    return replaced.get(model, model)
