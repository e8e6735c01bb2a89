"""Fold batch norms into the preceding convolutions: the same function, with fewer passes over memory.

Outside training a batch norm is a fixed scale and shift of each plane, which a convolution before it can do at no cost:

    weight'_c = weight_c * g_c / sqrt(variance_c + eps)        bias'_c = (bias_c - mean_c) * g_c / sqrt(variance_c + eps) + b_c

Equal but for rounding. Source: Jacob et al. 2018, section 3.2, arXiv:1712.05877; computed by torch.nn.utils.fusion
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution in an `nn.Sequential`; returns how many.

    In place, for a network in evaluation mode. Left alone is all where it would not be the same function: batch norms without
    running statistics, layers that are used in two places, and those with hooks or parametrizations, or of a subclass.
    """
    uses = Counter(id(child) for parent in network.modules() for child in parent._modules.values() if child is not None)
    folded = 0
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential) or type(parent).forward is not nn.Sequential.forward:
            continue
        for (place, layer), (following, norm) in pairwise(list(parent.named_children())):
            if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d and all(is_foldable(m, uses) for m in (layer, norm)):
                if norm.running_mean is None or norm.running_var is None:
                    continue
                setattr(parent, place, fuse_conv_bn_eval(layer, norm))
                setattr(parent, following, nn.Identity())
                folded += 1
    return folded


def is_foldable(layer: nn.Module, uses: Counter[int]) -> bool:
    """In one place, in evaluation mode, and without anything that listens to it."""
    listening = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return uses[id(layer)] == 1 and not layer.training and not any(listening)
