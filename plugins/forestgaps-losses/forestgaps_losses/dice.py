from __future__ import annotations

from functools import partial

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig, weighted_mean
from forestgaps_losses.fields import eps_field


def dice_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, eps: float) -> Tensor:
    """Return 1 - Dice coefficient of each channel, with probabilities instead of a mask: 0 (identical) to 1.

    1 - (2 mean(p y) + eps) / (mean(p) + mean(y) + eps), with means weighted by `pixel_weights`. In a channel without gaps this is
    mean(p) / (mean(p) + eps): 0 if no gap is predicted, 1/2 if a fraction `eps` is, without a jump. Shapes: `ChannelFormula`.

    Source: Milletari, Navab & Ahmadi 2016, section 3, arXiv:1606.04797 (sizes there are squared)
    """
    p = torch.sigmoid(logits)
    overlap, predicted, reference = (weighted_mean(values, pixel_weights) for values in (p * target, p, target))
    return 1 - (2 * overlap + eps) / (predicted + reference + eps)


@frozen(kw_only=True)
class Dice(ChannelLossConfig):
    """Dice loss: the overlap of predicted and reference gaps, whatever fraction of the channel they cover.

    1 - (2 overlap + eps) / (predicted + reference + eps) in each sample and threshold, all as fractions of the valid pixels of the
    channel, with probabilities for the prediction. Since these are fractions, `eps` means the same for tiles of any size.

    Source: Milletari, Navab & Ahmadi 2016, arXiv:1606.04797
    """

    eps: float = eps_field()

    @property
    def formula(self) -> ChannelFormula:
        return partial(dice_loss, eps=self.eps)
