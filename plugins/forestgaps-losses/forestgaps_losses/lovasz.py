from __future__ import annotations

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge, le
from torch import Tensor
from torch.nn.functional import relu

from forestgaps_losses.channel_loss import ChannelFormula, ChannelLossConfig


def lovasz_loss(logits: Tensor, target: Tensor, pixel_weights: Tensor, *, eps: float) -> Tensor:
    """Return the Lovasz extension of 1 - IoU at the hinge errors of each channel: 0 where every pixel is right by a margin of 1.

    Errors are sorted in descending order. The weight of an error is the increase of 1 - IoU when its pixel joins the wrong ones.
    IoU is that of a channel with `eps` of its pixels added as true positives: in a channel without gaps the loss is then shared by
    about that many of the largest errors, instead of the largest one alone. A target y between 0 and 1 has its mean error, and is
    y of a gap. Unbounded, as any hinge. Shapes: `ChannelFormula`.

    Source: Berman, Rannen Triki & Blaschko 2018, arXiv:1705.08790
    """
    x, y, m = logits.flatten(2), target.flatten(2), pixel_weights.expand_as(logits).flatten(2)
    errors, order = (y * relu(1 - x) + (1 - y) * relu(1 + x)).sort(dim=-1, descending=True)
    with torch.no_grad():
        y, m = y.gather(-1, order), m.gather(-1, order)
        gap, canopy = m * y, m * (1 - y)
        true_positives = gap.sum(-1, keepdim=True) + eps * m.sum(-1, keepdim=True)
        overlap = true_positives - gap.cumsum(-1) + gap  # before the pixel joins
        union = true_positives + canopy.cumsum(-1)  # after
        before = union - canopy
        # The increase as one fraction: the difference of two IoUs of 65,000 pixels would be rounding.
        increase = (overlap * canopy + before * gap) / torch.where(before > 0, before * union, 1)
        increase = torch.where(before > 0, increase, (canopy > 0).to(increase.dtype))  # the first error if there is no gap at all
    return (errors * increase).sum(-1)


@frozen(kw_only=True)
class Lovasz(ChannelLossConfig):
    """Lovasz hinge: the convex surrogate of 1 - IoU.

    The errors max(0, 1 - logit) of gaps and max(0, 1 + logit) of canopy, in descending order, each weighted by the increase of
    1 - IoU with its pixel, in each sample and threshold. The sigmoid of these logits is not a calibrated probability.

    Source: Berman, Rannen Triki & Blaschko 2018, arXiv:1705.08790
    """

    eps: float = field(
        default=1e-3,
        validator=[ge(0), le(1)],
        metadata={"help": "True positives added, as a fraction of the pixels of the channel, 0 (as in the paper) to 1."},
    )

    @property
    def formula(self) -> ChannelFormula:
        return partial(lovasz_loss, eps=self.eps)
