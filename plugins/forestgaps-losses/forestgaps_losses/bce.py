from __future__ import annotations

from attrs import frozen
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from forestgaps_losses.planes import PlaneFormula, PlaneLossConfig, weighted_mean


def bce_loss(logits: Tensor, target: Tensor, pixels: Tensor) -> Tensor:
    """Mean binary cross-entropy of each plane, in nats: -y log p - (1 - y) log(1 - p).

    0.69 where the network knows nothing. Shapes: `PlaneFormula`.
    """
    return weighted_mean(binary_cross_entropy_with_logits(logits, target, reduction="none"), pixels)


@frozen(kw_only=True)
class Bce(PlaneLossConfig):
    """Binary cross-entropy: every pixel is a question of its own, answered with a probability.

    A valid pixel costs -log p, with p the probability given to its true class; a plane is the mean over its pixels. Proper: the
    least loss is at the true probability.

    Source: Good 1952 (the logarithmic score), doi 10.1111/j.2517-6161.1952.tb00104.x
    """

    @property
    def formula(self) -> PlaneFormula:
        return bce_loss
