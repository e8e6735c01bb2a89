from __future__ import annotations

from functools import partial

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import logsigmoid

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig, weighted_mean
from forestgaps_losses.fields import gamma_field


def focal_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, gamma: float) -> Tensor:
    """Return the mean focal loss of each channel.

    A pixel costs -(1 - p)^gamma log p, where p is the predicted probability of its true class. A target y between 0 and 1 costs
    y times the cost of a gap and 1 - y times that of canopy. `gamma=0` is cross-entropy. Shapes: `ChannelFormula`.

    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002
    """
    log_gap, log_canopy = logsigmoid(logits), logsigmoid(-logits)
    # exp of a logarithm, not a power: the slope of x^gamma at 0 is infinite where gamma is below 1.
    gap_term = torch.exp(gamma * log_canopy) * log_gap
    canopy_term = torch.exp(gamma * log_gap) * log_canopy
    return weighted_mean(-torch.lerp(canopy_term, gap_term, target), pixel_weights)


@frozen(kw_only=True)
class Focal(ChannelLossConfig):
    """Focal loss: cross-entropy with more weight on misclassified pixels, for channels that are mostly easy canopy.

    A valid pixel costs -(1 - p)^gamma log p, where p is the predicted probability of its true class; a channel is the mean over its
    pixels.

    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002. Its alpha is here `pos_weight`, alpha / (1 - alpha).
    """

    gamma: float = gamma_field()

    @property
    def formula(self) -> ChannelFormula:
        return partial(focal_loss, gamma=self.gamma)
