from __future__ import annotations

from attrs import frozen
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig, weighted_mean


def bce_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each channel, in nats: -y log p - (1 - y) log(1 - p).

    It is log 2 = 0.69 at p = 0.5. Shapes: `ChannelFormula`.
    """
    return weighted_mean(binary_cross_entropy_with_logits(logits, target, reduction="none"), pixel_weights)


@frozen(kw_only=True)
class Bce(ChannelLossConfig):
    """Binary cross-entropy of each pixel.

    A valid pixel costs -log p, where p is the predicted probability of its true class; a channel is the mean over its pixels. It is
    a proper score: the minimum is at the true probability.

    Source: Good 1952 (the logarithmic score), doi 10.1111/j.2517-6161.1952.tb00104.x
    """

    @property
    def formula(self) -> ChannelFormula:
        return bce_loss
